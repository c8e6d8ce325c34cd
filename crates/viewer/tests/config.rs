//! The configuration file that ships is the template of the flags, so it cannot fall behind them.

use std::path::Path;

use std::fs;

use viewer::args::Args;

const PROGRAM: &str = env!("CARGO_BIN_EXE_viewer");

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
    testkit::words::check_completions(Path::new(PROGRAM), "--tra", "--transport");
}

#[test]
fn the_manual_page_renders_without_a_warning_and_has_what_a_user_looks_up() {
    testkit::words::check_manual(Path::new(PROGRAM), &["[HOST[:PORT]|TICKET|URL]"]);
}
