//! What `PROGRAM completions` and `PROGRAM man` print, as bash and `man` read it.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::process::on_path;

/// Prints what bash completes at the end of these words, as its Tab key does.
const COMPLETE: &str = r#"
source "$1"; program=$2; shift 2
COMP_WORDS=("$program" "$@"); COMP_CWORD=$#
function=$(complete -p "$program" | sed 's/.* -F \([^ ]*\) .*/\1/')
"$function" "$program" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\n' "${COMPREPLY[@]}"
"#;

/// Returns what bash offers for the last of these words, behind the program's name.
///
/// # Panics
/// If the program prints no completions that bash understands.
fn completed(program: &Path, words: &[&str]) -> Vec<String> {
    let name = program.file_name().expect("a program has a name");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("completions");
    fs::write(&file, run(program, &["completions", "bash"]).stdout).expect("they can be written");
    let output = Command::new("bash")
        .args(["--norc", "-c", COMPLETE, "bash"])
        .arg(&file)
        .arg(name)
        .args(words)
        .output()
        .expect("bash starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.is_empty(), "{errors}");
    let offered = String::from_utf8_lossy(&output.stdout);
    offered.lines().map(str::to_owned).collect()
}

/// Returns the manual page as `man` shows it; `None` if this machine has no `man`.
///
/// # Panics
/// With the warnings, if the page has any.
fn manual(program: &Path) -> Option<String> {
    let man = on_path("man")?;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let name = program.file_name().expect("a program has a name");
    let file = dir.path().join(name).with_extension("1");
    fs::write(&file, run(program, &["man"]).stdout).expect("it can be written");
    let output = Command::new(man)
        .args(["--warnings=w", "-E", "UTF-8", "--local-file"])
        .arg(&file)
        .env("LC_ALL", "C.UTF-8")
        .env("MANWIDTH", "100")
        .env("MAN_KEEP_FORMATTING", "")
        .output()
        .expect("man starts");
    let warnings = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && warnings.is_empty(), "{warnings}");
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Checks that bash completes what a user types first: a flag from its `stem`, also behind a task, the values of a flag, tasks.
///
/// # Panics
/// If it does not.
pub fn check_completions(program: &Path, stem: &str, flag: &str) {
    for (words, offered) in [
        (&[stem][..], &[flag][..]),
        (&["doctor", stem], &[flag]),
        (&["--log-format", ""], &["text", "json"]),
        (&["do"], &["doctor"]),
        (&["completions", "ba"], &["bash"]),
    ] {
        assert_eq!(completed(program, words), offered, "{words:?}");
    }
}

/// Checks that the manual page renders without a warning and has what a user looks up, with `more` of this program's.
///
/// # Panics
/// If it does not.
pub fn check_manual(program: &Path, more: &[&str]) {
    let Some(page) = manual(program) else {
        return crate::skip("man is not installed");
    };
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let always = [
        format!("{name}(1)"),
        format!("/etc/sightline/{name}.toml"),
        format!("{}_LOG_FORMAT", name.replace('-', "_").to_uppercase()),
        "EXIT STATUS".to_owned(),
    ];
    let always = always.iter().map(String::as_str);
    for text in always.chain(more.iter().copied()) {
        assert!(page.contains(text), "{text}:\n{page}");
    }
}

/// Runs the program in an environment that breaks its configuration, and expects nothing but an answer.
fn run<A: AsRef<OsStr>>(program: &Path, words: &[A]) -> Output {
    let output = Command::new(program)
        .args(words)
        .env("RUST_LOG", "trace")
        .env("NOTIFY_SOCKET", "/nonexistent/socket")
        .env("VIEWER_CONFIG", "/nonexistent/file")
        .env("PI_SENDER_CONFIG", "/nonexistent/file")
        .env("RELAY_SERVER_CONFIG", "/nonexistent/file")
        .output()
        .expect("the program starts");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && log.is_empty(), "{log}");
    output
}
