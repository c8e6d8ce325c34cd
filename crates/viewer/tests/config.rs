//! The configuration file that ships is the template of the flags, so it cannot fall behind them.

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
