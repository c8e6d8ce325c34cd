//! The configuration file in the repository is the program's own default.

use std::path::Path;

use platform::config::{command, template};
use relay_server::args::Args;

#[test]
fn the_configuration_file_has_every_key_at_its_default() {
    testkit::config::same("relay-server", &template(&command::<Args>()));
}

#[test]
fn bash_completes_flags_their_values_and_tasks() {
    let program = Path::new(env!("CARGO_BIN_EXE_relay-server"));
    let completed = |words: &[&str]| testkit::words::completed(program, words);
    assert_eq!(completed(&["--over"]), ["--overlay"]);
    assert_eq!(completed(&["doctor", "--over"]), ["--overlay"]);
    assert_eq!(completed(&["--log-format", ""]), ["text", "json"]);
    assert_eq!(completed(&["do"]), ["doctor"]);
    assert_eq!(completed(&["completions", "ba"]), ["bash"]);
}

#[test]
fn the_manual_page_renders_without_a_warning_and_has_what_a_user_looks_up() {
    let program = Path::new(env!("CARGO_BIN_EXE_relay-server"));
    let Some(page) = testkit::words::manual(program) else {
        return testkit::skip("man is not installed");
    };
    for text in [
        "relay-server(1)",
        "/etc/sightline/relay-server.toml",
        "RELAY_SERVER_LOG_FORMAT",
        "EXIT STATUS",
        "/var/lib/sightline",
    ] {
        assert!(page.contains(text), "{text}:\n{page}");
    }
}
