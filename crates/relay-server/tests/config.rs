//! The configuration file in the repository is the program's own default.

use platform::config::{command, template};
use relay_server::args::Args;

#[test]
fn the_configuration_file_has_every_key_at_its_default() {
    testkit::config::same("relay-server", &template(&command::<Args>()));
}
