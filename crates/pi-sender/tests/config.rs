//! The configuration file in `config/` is the one that the program's own flags give.

use std::path::Path;

use pi_sender::args::Args;
use platform::config;

const PROGRAM: &str = env!("CARGO_BIN_EXE_pi-sender");

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
    testkit::words::check_completions(Path::new(PROGRAM), "--tra", "--transport");
}

#[test]
fn the_manual_page_renders_without_a_warning_and_has_what_a_user_looks_up() {
    testkit::words::check_manual(
        Path::new(PROGRAM),
        &["/etc/sightline/pi-sender.ticket", "SIGHTLINE_INSTANCE"],
    );
}
