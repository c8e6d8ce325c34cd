//! The configuration file in the repository is the program's own default.

use platform::config::{command, template};
use relay_server::args::Args;
use relay_server::camera_tables;

#[test]
fn the_configuration_file_has_every_key_at_its_default() {
    let text = template(&command::<Args>()) + camera_tables::EXAMPLE;
    testkit::config::same("relay-server", &text);
}
