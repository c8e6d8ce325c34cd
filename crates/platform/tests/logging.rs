//! The log of a whole process: this test's own program, started once more as the one that logs.

use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, thread};

use platform::config::LogFormat;
use platform::logging;
use tracing::{error, info, warn};

/// Logs 20 lines at each of these places.
macro_rules! flood {
    ($($place:literal)*) => {
        $((0..20).for_each(|_| warn!(place = $place, "dropped"));)*
    };
}

/// Names what the program does that logs.
const ACT: &str = "LOGGING_TEST_ACT";

#[test]
#[ignore = "it is the program that the other tests start"]
fn program() {
    let act = env::var(ACT).unwrap();
    let format = if act == "json" {
        LogFormat::Json
    } else {
        LogFormat::Text
    };
    let log = logging::init(format);
    info!("listening");
    match act.as_str() {
        "flood" | "json" => (0..1000).for_each(|n| warn!(n, "frame \x1b[31mdropped")),
        "library" => library("Corrupt JPEG data: \x1b[31m7 bytes\n"),
        "floods" => {
            flood!(1 2 3 4 5 6 7 8 9 10 11 12);
        }
        "minute" => {
            flood!(1);
            thread::sleep(Duration::from_secs(65));
        }
        "takes its place" => drop(start("library").stderr(logging::standard_error()).exec()),
        "runtime" => {
            info!(target: "ort::logging", "fused a node");
            warn!(target: "ort::logging", "a slow node");
        }
        "last words" => library("qt.qpa.xcb: could not connect to display\n"),
        "panic" => drop(
            thread::Builder::new()
                .name("model".to_owned())
                .spawn(|| panic!("no {}", "tensor"))
                .unwrap()
                .join(),
        ),
        "child" => drop(
            Command::new("sleep")
                .arg("20")
                .stdout(Stdio::null())
                .spawn()
                .unwrap(),
        ),
        _ => {}
    }
    error!("stopped");
    drop(log);
    library("behind the log\n");
}

/// Writes to standard error as a C library does.
fn library(text: &str) {
    let written = io::stderr().write_all(text.as_bytes());
    written.expect("standard error is open");
}

/// Returns what the program writes to standard error.
fn log(act: &str, filter: Option<&str>) -> String {
    let mut program = start(act);
    if let Some(filter) = filter {
        program.env("RUST_LOG", filter);
    }
    let output = program.output().expect("the program starts");
    String::from_utf8(output.stderr).expect("a log is text")
}

fn start(act: &str) -> Command {
    let mut program = Command::new(env::current_exe().expect("this program has a path"));
    program
        .args(["--exact", "program", "--ignored", "--nocapture"])
        .env(ACT, act)
        .env_remove("RUST_LOG")
        .env_remove("RUST_BACKTRACE");
    program
}

/// Returns how many lines contain a text.
fn count(log: &str, text: &str) -> usize {
    log.lines().filter(|line| line.contains(text)).count()
}

#[test]
fn a_flood_of_one_kind_is_ten_lines_and_a_count_and_hides_no_other() {
    let text = log("flood", None);
    assert_eq!(count(&text, "dropped n="), 10, "{text}");
    assert_eq!(count(&text, "count=990"), 1, "{text}");
    assert!(
        text.contains("first=\"frame") && text.contains("tests/logging.rs:"),
        "{text}"
    );
    assert!(
        count(&text, "listening") == 1 && count(&text, "stopped") == 1,
        "{text}"
    );
    assert!(!text.contains('\x1b'), "{text:?}");
}

#[test]
fn each_kind_of_many_is_counted_though_one_place_logs_the_counts() {
    let text = log("floods", None);
    assert_eq!(
        count(&text, "dropped place="),
        99,
        "with `listening`: {text}"
    );
    assert_eq!(count(&text, "more log lines"), 12, "{text}");
}

#[test]
#[ignore = "it takes over a minute"]
fn a_count_comes_after_a_minute_while_the_program_runs() {
    let text = log("minute", None);
    let at = |what: &str| text.lines().position(|line| line.contains(what));
    assert!(at("count=10").is_some(), "{text}");
    assert!(at("count=10") < at("stopped"), "{text}");
}

#[test]
fn a_json_log_has_the_same_bound() {
    let text = log("json", None);
    let fields: Vec<serde_json::Value> = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .map(|line: serde_json::Value| line["fields"].clone())
        .collect();
    let dropped = fields
        .iter()
        .filter(|fields| fields["n"].is_number())
        .count();
    let left_out = fields
        .iter()
        .filter(|fields| fields["count"] == 990)
        .count();
    assert_eq!((dropped, left_out), (10, 1), "{text}");
}

#[test]
fn lines_below_info_pass_all_since_the_user_asked_for_them() {
    let text = log("library", Some("debug"));
    assert_eq!(
        count(
            &text,
            "DEBUG standard error line=\"Corrupt JPEG data: \\u{1b}[31m7 bytes\""
        ),
        1,
        "{text}"
    );
}

#[test]
fn a_rust_log_that_cannot_be_used_is_a_warning_that_names_it() {
    for wrong in ["platform=loud", "debgu"] {
        let text = log("plain", Some(wrong));
        let named = format!("RUST_LOG={wrong} is ignored");
        let is_warning = |line: &&str| line.contains("WARN") && line.contains(&named);
        assert_eq!(text.lines().filter(is_warning).count(), 1, "{text}");
        assert_eq!(count(&text, "listening"), 1, "the default holds: {text}");
    }
    assert_eq!(count(&log("plain", Some("debug")), "RUST_LOG"), 0);
}

#[test]
fn the_steps_of_onnx_runtime_are_logged_where_rust_log_names_it_alone() {
    for (filter, steps) in [(None, 0), (Some("debug"), 0), (Some("debug,ort=info"), 1)] {
        let text = log("runtime", filter);
        assert_eq!(count(&text, "fused a node"), steps, "{filter:?}: {text}");
        assert_eq!(count(&text, "a slow node"), 1, "{filter:?}: {text}");
    }
}

#[test]
fn what_libraries_write_to_standard_error_is_no_line_by_default() {
    let text = log("library", None);
    assert_eq!(count(&text, "Corrupt"), 0, "{text}");
    assert_eq!(
        count(&text, "behind the log"),
        1,
        "standard error is given back: {text}"
    );
}

#[test]
fn a_program_that_takes_this_ones_place_has_its_log() {
    let text = log("takes its place", None);
    assert_eq!(count(&text, "listening"), 2, "{text}");
    assert_eq!(count(&text, "stopped"), 1, "{text}");
}

#[test]
fn a_panic_is_a_line_of_the_log() {
    let text = log("panic", None);
    let line = text.lines().find(|line| line.contains("panicked")).unwrap();
    assert!(
        line.contains("ERROR") && line.contains("no tensor"),
        "{line}"
    );
    assert!(
        line.contains("thread=\"model\"") && line.contains("tests/logging.rs:"),
        "{line}"
    );
}

#[test]
fn the_last_words_of_a_library_are_a_line_by_default() {
    let text = log("last words", None);
    assert_eq!(
        count(&text, "WARN standard error line=\"qt.qpa.xcb"),
        1,
        "{text}"
    );
}

#[test]
fn a_child_that_outlives_the_program_does_not_delay_its_end() {
    let begin = Instant::now();
    let mut program = start("child");
    program.stdout(Stdio::null()).stderr(Stdio::null());
    assert!(program.status().unwrap().success());
    assert!(
        begin.elapsed() < Duration::from_secs(2),
        "{:?}",
        begin.elapsed()
    );
}
