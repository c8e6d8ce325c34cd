//! Compares a committed configuration file with the one that its program generates.

use std::fs;

/// Compares `config/PROGRAM.toml` with `template`, the text that the program's own flags generate.
///
/// With `UPDATE_CONFIG` in the environment the file is written instead.
///
/// # Panics
/// If they differ.
pub fn same(program: &str, template: &str) {
    let file = crate::repository().join(format!("config/{program}.toml"));
    if std::env::var_os("UPDATE_CONFIG").is_some() {
        fs::write(&file, template).expect("the file can be written");
    }
    let committed = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        committed == template,
        "{} differs from the flags of {program}; UPDATE_CONFIG=1 cargo test -p {program} writes it again",
        file.display()
    );
}
