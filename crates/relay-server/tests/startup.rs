//! How the relay starts: errors with their cure, where its settings come from, and its log.

mod common {
    pub(crate) mod process;
    pub(crate) mod udp;
}

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use common::process::{RELAY, SOON, relay, stop, without_model};
use common::udp::{socket, viewer};
use protocol::control::{Control, Question};
use testkit::process::{Program, Running};

#[test]
fn a_second_relay_on_the_port_fails_with_in_use() {
    let (first, address) = without_model(&[]);
    let viewer = viewer(address);
    let second = Program::new(RELAY)
        .args(["--model", "none", "--listen", &address.to_string()])
        .start()
        .finish();
    assert_eq!(second.status.code(), Some(1));
    assert!(
        second.stderr.contains("in use") && second.stderr.contains("--listen"),
        "{}",
        second.stderr
    );
    drop(viewer);
    stop(first);
}

#[test]
fn what_is_missing_or_wrong_is_named_with_its_cure() {
    let junk = tempfile::NamedTempFile::new().unwrap();
    fs::write(junk.path(), "not a model").unwrap();
    let junk = junk.path().to_str().unwrap();
    // Outside the checkout, where scripts/setup installs the library.
    let outside = tempfile::tempdir().unwrap();
    let program = outside.path().join("relay-server");
    fs::copy(RELAY, &program).unwrap();
    let fails = |flags: &[&str], texts: &[&str]| assert_fails(&program, flags, texts);
    fails(&["--model", "no-such.onnx"], &["no-such.onnx", "looked at"]);
    fails(
        &["--model", junk],
        &[
            "ONNX Runtime is missing",
            "scripts/setup",
            "looked at",
            "/usr/lib",
        ],
    );
    fails(
        &["--model", junk, "--onnxruntime", "/no/such.so"],
        &["--onnxruntime", "/no/such.so"],
    );
    fails(
        &["--model", junk, "--onnxruntime", junk],
        &["loading ONNX Runtime from"],
    );
    fails(
        &["--listen", "192.0.2.1"],
        &["binding 192.0.2.1:8081", "an address of this machine"],
    );
    fails(
        &["--model", "none", "--detections", "/no/such/dir/file"],
        &["/no/such/dir/file", "--detections"],
    );
}

/// Starts the program, which has to fail with all of these texts in its log.
fn assert_fails(program: &Path, flags: &[&str], texts: &[&str]) {
    let finished = Program::new(program)
        .args(flags)
        .env("HOME", "/nonexistent")
        .start()
        .finish();
    let log = &finished.stderr;
    assert_eq!(finished.status.code(), Some(1), "{flags:?}\n{log}");
    for text in texts {
        assert!(log.contains(text), "{flags:?}: {text:?} is missing:\n{log}");
    }
    assert!(!log.contains("panicked"), "{log}");
}

#[test]
fn a_file_that_is_no_model_is_refused_by_name() {
    if testkit::shared("data/models").is_none() {
        return testkit::skip("ONNX Runtime is only sure to be here where ../shared/data is");
    }
    let junk = tempfile::NamedTempFile::new().unwrap();
    fs::write(junk.path(), "not a model").unwrap();
    let flags = [
        "--listen",
        "127.0.0.1:0",
        "--model",
        junk.path().to_str().unwrap(),
    ];
    let finished = Program::new(RELAY).args(flags).start().finish();
    assert_eq!(finished.status.code(), Some(1));
    assert!(
        finished.stderr.contains(junk.path().to_str().unwrap()),
        "{}",
        finished.stderr
    );
}

#[test]
fn a_model_in_the_current_directory_is_used_unless_another_user_may_have_put_it_there() {
    if vision::detect::runtime::library(None).is_err() {
        return testkit::skip("ONNX Runtime is not here (scripts/setup)");
    }
    let place = tempfile::tempdir().unwrap();
    let models = place.path().join("models");
    fs::create_dir(&models).unwrap();
    fs::write(models.join("yolov5n.onnx"), "not a model").unwrap();
    let start = || {
        let flags = ["--listen", "127.0.0.1:0", "--http", "off"];
        Program::new(RELAY).args(flags).dir(place.path()).start()
    };
    set_mode(&models, 0o777);
    let running = start();
    running.listening();
    let done = stop(running);
    for text in ["passed over", "yolov5n.onnx", "chmod go-w", "--model FILE"] {
        assert!(done.stderr.contains(text), "{text}: {}", done.stderr);
    }
    assert!(done.stderr.contains("model=demo"), "{}", done.stderr);
    set_mode(&models, 0o755);
    let done = start().finish();
    assert_eq!(done.status.code(), Some(1), "{}", done.stderr);
    assert!(done.stderr.contains("yolov5n.onnx"), "{}", done.stderr);
}

#[test]
fn a_mistyped_environment_variable_is_logged_with_the_name_that_was_meant() {
    let running = without_model_and_with("RELAY_SERVER_UDP_VIEWRS", "7");
    running.listening();
    running.wait_for_line("did you mean RELAY_SERVER_UDP_VIEWERS?", SOON);
    let done = stop(running);
    assert!(
        !done.stderr.contains("RELAY_SERVER_STATE"),
        "{}",
        done.stderr
    );
}

fn without_model_and_with(variable: &str, value: &str) -> Running {
    let flags = [
        "--listen",
        "127.0.0.1:0",
        "--model",
        "none",
        "--http",
        "off",
    ];
    Program::new(RELAY).args(flags).env(variable, value).start()
}

#[test]
fn a_model_that_was_found_and_a_flag_without_effect_are_logged() {
    if vision::detect::runtime::library(None).is_err() {
        return testkit::skip("ONNX Runtime is not here (scripts/setup)");
    }
    let model = testkit::repository().join("models/demo.onnx");
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("models")).unwrap();
    fs::copy(model, place.path().join("models/yolov5n.onnx")).unwrap();
    let flags = [
        "--listen",
        "127.0.0.1:0",
        "--http",
        "off",
        "--advertise",
        "relay.example",
    ];
    let running = Program::new(RELAY).args(flags).dir(place.path()).start();
    running.wait_for_line("a model was found and is used", SOON);
    running.wait_for_line("--advertise names the host in tickets", SOON);
    stop(running);
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("the file is ours");
}

#[test]
fn usage_errors_exit_with_2_and_say_what_is_wrong() {
    for (flags, text) in [
        (&["--every", "0"][..], "--every"),
        (&["--every", "often"], "auto"),
        (&["--conf", "1.5"], "from 0 to 1"),
        (&["--listen", "nowhere"], "0.0.0.0:8081"),
        (&["--udp-viewers", "-1"], "invalid value '-1'"),
        (&["--advertise", "http://relay"], "examples"),
        (&["--rotate"], "--private"),
        (&["--net-size", "640"], "WIDTHxHEIGHT"),
        (&["--no-such-flag"], "--no-such-flag"),
        (&["--http", "8080"], "ADDRESS:PORT or off"),
        (&["--http-origin", "cam.example"], "https://cam.example"),
        (&["--http-trust-proxy", "localhost"], "172.16.0.0/12"),
        (&["--provider", "gpu"], "cuda"),
    ] {
        let finished = relay(flags).finish();
        assert_eq!(
            finished.status.code(),
            Some(2),
            "{flags:?}\n{}",
            finished.stderr
        );
        assert!(
            finished.stderr.contains(text),
            "{flags:?}\n{}",
            finished.stderr
        );
    }
}

#[test]
fn the_environment_goes_before_the_file_and_a_bad_value_of_either_is_named() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join(".config/sightline/relay-server.toml");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let start = |text: &str, variable: &str| {
        fs::write(&file, text).unwrap();
        Program::new(RELAY)
            .args(["--model", "none", "--listen", "127.0.0.1:0"])
            .env("HOME", home.path())
            .env("XDG_CONFIG_HOME", "")
            .env("RELAY_SERVER_EVERY", variable)
            .start()
    };
    for (text, variable, every) in [
        ("every = 3", "", "every=3"),
        ("every = 3", "7", "every=7"),
        ("", "", "every=4"),
    ] {
        let running = start(text, variable);
        assert!(
            running.wait_for_line("listening", SOON).contains(every),
            "{text} {variable}"
        );
        stop(running);
    }
    for (text, variable, origin) in [
        ("every = 'x'", "", "relay-server.toml"),
        ("", "x", "RELAY_SERVER_EVERY"),
    ] {
        let finished = start(text, variable).finish();
        assert_eq!(finished.status.code(), Some(2));
        assert!(
            finished.stderr.contains("--every") && finished.stderr.contains(origin),
            "{}",
            finished.stderr
        );
    }
}

#[test]
fn the_first_info_line_is_listening_in_both_forms_of_the_log() {
    for form in ["text", "json"] {
        let (running, _) = without_model(&["--log-format", form]);
        let finished = stop(running);
        let first = finished
            .stderr
            .lines()
            .find(|line| line.contains("INFO"))
            .unwrap();
        assert!(
            first.contains("listening") && first.contains("addr"),
            "{first}"
        );
        assert!(!first.contains('\x1b'), "no colours in a file: {first:?}");
    }
}

#[test]
fn a_pipe_for_detections_that_nothing_reads_holds_nothing_up() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.unwrap().success());
    let (relay, address) = without_model(&["--detections", fifo.to_str().unwrap()]);
    let doctor = Program::new(RELAY)
        .args(["doctor", "--model", "none", "--listen", "127.0.0.1:0"])
        .args(["--detections", fifo.to_str().unwrap()])
        .start()
        .finish();
    assert!(doctor.stdout.contains("can be written"), "{doctor:?}");
    viewer(address);
    stop(relay);
}

#[test]
fn a_closed_standard_error_stops_nothing() {
    let address = SocketAddr::from(([127, 0, 0, 1], testkit::port::free()));
    let flags = format!("exec {RELAY} --listen {address} --model none 2>&-");
    let running = Program::new("/bin/sh").args(["-c", &flags]).start();
    let viewer = socket("127.0.0.1", address);
    let deadline = Instant::now() + SOON;
    viewer
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    while viewer
        .send(&Control::Hello(Question::new(3, None)).write())
        .is_err()
        || viewer.recv(&mut [0; 1000]).is_err()
    {
        assert!(Instant::now() < deadline, "no answer");
    }
    for _ in 0..3 {
        viewer.send(b"junk").unwrap();
        viewer
            .send(&Control::Hello(Question::new(3, None)).write())
            .unwrap();
        assert!(viewer.recv(&mut [0; 1000]).is_ok());
    }
    stop(running);
}
