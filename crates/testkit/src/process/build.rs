//! Builds and finds the programs that tests run.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, OnceLock};

use serde_json::Value;

use super::log::lock;

/// Builds a program of this workspace and returns its path, for tests outside its own package (inside, the path is
/// `env!("CARGO_BIN_EXE_..")`).
///
/// A test process builds each program once, in the profile of the tests. The build covers the whole workspace, so that
/// dependencies have the features, and with them the artefacts, of `cargo test --workspace`.
///
/// # Panics
/// With cargo's output, if the build fails.
pub fn binary(name: &str) -> PathBuf {
    static BUILT: OnceLock<Mutex<BTreeMap<String, PathBuf>>> = OnceLock::new();
    let mut built = lock(BUILT.get_or_init(Mutex::default));
    built
        .entry(name.to_owned())
        .or_insert_with(|| build(name))
        .clone()
}

/// Returns the path of an installed program; `None` if `PATH` does not have it.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

fn build(name: &str) -> PathBuf {
    let mut command = cargo();
    command
        .args(["build", "--workspace", "--bin", name, "--locked"])
        .arg("--message-format=json-render-diagnostics")
        .current_dir(crate::repository());
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let output = command.output().expect("cargo starts");
    let messages = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} does not build:\n{errors}");
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == name)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .unwrap_or_else(|| panic!("cargo built no {name}:\n{errors}"))
}

/// Returns a cargo command with the environment of a shell. The variables that describe the test's own package are removed:
/// some build scripts read them (ring's does), and would rebuild all their dependents, here and then again outside.
fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let of_package = |name: &&OsString| {
        let name = name.to_string_lossy();
        name == "OUT_DIR" || name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
    };
    let names: Vec<OsString> = std::env::vars_os().map(|(name, _)| name).collect();
    for name in names.iter().filter(of_package) {
        cargo.env_remove(name);
    }
    cargo
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_knows_nothing_of_the_package_under_test() {
        let cargo = cargo();
        let removed: Vec<_> = cargo
            .get_envs()
            .filter(|(_, value)| value.is_none())
            .collect();
        for name in ["CARGO_MANIFEST_DIR", "CARGO_PKG_NAME"] {
            assert!(std::env::var_os(name).is_some(), "cargo sets {name}");
            assert!(
                removed.iter().any(|(removed, _)| *removed == name),
                "{name}"
            );
        }
    }
}
