//! The configuration file in the repository is the program's own default.

use std::path::Path;

use platform::config::{command, template};
use relay_server::args::Args;
use relay_server::camera_tables;

const PROGRAM: &str = env!("CARGO_BIN_EXE_relay-server");

#[test]
fn the_configuration_file_has_every_key_at_its_default() {
    let text = template(&command::<Args>()) + camera_tables::EXAMPLE;
    testkit::config::same("relay-server", &text);
}

#[test]
fn bash_completes_flags_their_values_and_tasks() {
    testkit::words::check_completions(Path::new(PROGRAM), "--over", "--overlay");
}

#[test]
fn the_manual_page_renders_without_a_warning_and_has_what_a_user_looks_up() {
    testkit::words::check_manual(Path::new(PROGRAM), &["/var/lib/sightline", "SIGHUP"]);
}
