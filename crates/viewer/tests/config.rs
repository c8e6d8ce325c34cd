//! The configuration file that ships is the template of the flags, so it cannot fall behind them.

use std::path::Path;

use std::fs;

use viewer::args::Args;

#[test]
fn the_shipped_configuration_names_every_flag() {
    let file = testkit::repository().join("config/viewer.toml");
    let template = platform::config::template(&platform::config::command::<Args>());
    if std::env::var_os("UPDATE_CONFIG").is_some() {
        fs::write(&file, &template).unwrap();
    }
    let shipped = fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(
        shipped, template,
        "UPDATE_CONFIG=1 cargo test -p viewer writes it again"
    );
}

#[test]
fn bash_completes_flags_their_values_and_tasks() {
    let program = Path::new(env!("CARGO_BIN_EXE_viewer"));
    let completed = |words: &[&str]| testkit::words::completed(program, words);
    assert_eq!(completed(&["--tra"]), ["--transport"]);
    assert_eq!(completed(&["doctor", "--tra"]), ["--transport"]);
    assert_eq!(completed(&["--log-format", ""]), ["text", "json"]);
    assert_eq!(completed(&["do"]), ["doctor"]);
    assert_eq!(completed(&["completions", "ba"]), ["bash"]);
}

#[test]
fn the_manual_page_renders_without_a_warning_and_has_what_a_user_looks_up() {
    let program = Path::new(env!("CARGO_BIN_EXE_viewer"));
    let Some(page) = testkit::words::manual(program) else {
        return testkit::skip("man is not installed");
    };
    for text in [
        "viewer(1)",
        "/etc/sightline/viewer.toml",
        "VIEWER_LOG_FORMAT",
        "EXIT STATUS",
        "HOST[:PORT]|TICKET",
    ] {
        assert!(page.contains(text), "{text}:\n{page}");
    }
}
