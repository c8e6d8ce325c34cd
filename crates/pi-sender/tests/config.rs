//! The configuration file in `config/` is the one that the program's own flags give.

use std::path::Path;

use pi_sender::args::Args;
use platform::config;

#[test]
fn the_configuration_file_is_the_programs_own_template() {
    let path = testkit::repository().join("config/pi-sender.toml");
    let wanted = config::template(&config::command::<Args>());
    if std::env::var_os("UPDATE_CONFIG").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "config/pi-sender.toml is not up to date; write it with: UPDATE_CONFIG=1 cargo test -p pi-sender --test config"
    );
}

#[test]
fn bash_completes_flags_their_values_and_tasks() {
    let program = Path::new(env!("CARGO_BIN_EXE_pi-sender"));
    let completed = |words: &[&str]| testkit::words::completed(program, words);
    assert_eq!(completed(&["--tra"]), ["--transport"]);
    assert_eq!(completed(&["doctor", "--tra"]), ["--transport"]);
    assert_eq!(completed(&["--log-format", ""]), ["text", "json"]);
    assert_eq!(completed(&["do"]), ["doctor"]);
    assert_eq!(completed(&["completions", "ba"]), ["bash"]);
}

#[test]
fn the_manual_page_renders_without_a_warning_and_has_what_a_user_looks_up() {
    let program = Path::new(env!("CARGO_BIN_EXE_pi-sender"));
    let Some(page) = testkit::words::manual(program) else {
        return testkit::skip("man is not installed");
    };
    for text in [
        "pi-sender(1)",
        "/etc/sightline/pi-sender.toml",
        "PI_SENDER_LOG_FORMAT",
        "EXIT STATUS",
        "pi-sender.ticket",
    ] {
        assert!(page.contains(text), "{text}:\n{page}");
    }
}
