//! Finds ONNX Runtime's shared library and the model files; an error lists the places that were searched.
//!
//! `ort` would panic if the library is missing, and the loader's own search depends on variables that a user should
//! not need to set.

use std::env;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use platform::{directories, logging};
use tracing::warn;

/// The library's name, as `scripts/setup` and packages install it.
const LIBRARY: &str = "libonnxruntime.so";

/// Starts this program anew in the same process, with ONNX Runtime's telemetry off.
///
/// Its official builds resolve a host name of Microsoft's as soon as they are loaded, before `with_telemetry(false)` can
/// be called (observed with 1.32.0); only this variable prevents it, and a program cannot set one for itself safely.
/// Does nothing if the variable is set, and returns if the start fails.
pub fn silence_telemetry() {
    const OFF: &str = "ORT_DISABLE_TELEMETRY";
    let Ok(program) = env::current_exe() else {
        return;
    };
    if env::var_os(OFF).is_none() {
        let err = Command::new(program)
            .args(env::args_os().skip(1))
            .env(OFF, "1")
            .stderr(logging::standard_error())
            .exec();
        warn!(%err, "ONNX Runtime's telemetry could not be turned off");
    }
}

/// Loads ONNX Runtime, from `flag` or else from the first place that has it. To be called once in a process.
///
/// # Errors
/// If there is none: all places; if it cannot be loaded or is too old.
pub fn load(flag: Option<&Path>) -> anyhow::Result<ort::environment::Environment> {
    let path = library(flag)?;
    let loading = || format!("loading ONNX Runtime from {}", path.display());
    // Errors of `ort` are not Send, so their text is taken.
    let builder = ort::init_from(&path)
        .map_err(|err| anyhow::anyhow!("{err}"))
        .with_context(loading)?;
    builder
        .with_telemetry(false)
        .build()
        .map_err(|err| anyhow::anyhow!("{err}"))
        .with_context(loading)
}

/// Returns the path of ONNX Runtime: `flag`, or else the first place that has it.
///
/// # Errors
/// If there is none: all places.
pub fn library(flag: Option<&Path>) -> anyhow::Result<PathBuf> {
    match flag {
        Some(path) => existing(path).context("--onnxruntime"),
        None => first(&library_places()).context(
            "ONNX Runtime is missing: run scripts/setup, or name the library with --onnxruntime FILE, or do without boxes with --model none",
        ),
    }
}

/// Returns the path of a model file like `models/yolov5n.onnx`: as given, or below one of Sightline's own directories.
///
/// # Errors
/// If no place has it: all places.
pub fn model(name: &Path) -> anyhow::Result<PathBuf> {
    let own = if name.is_absolute() {
        Vec::new()
    } else {
        own_directories()
    };
    let below = own.into_iter().map(|dir| dir.join(name));
    let places: Vec<PathBuf> = std::iter::once(name.to_owned()).chain(below).collect();
    first(&places)
}

fn existing(path: &Path) -> anyhow::Result<PathBuf> {
    first(&[path.to_owned()])
}

fn first(places: &[PathBuf]) -> anyhow::Result<PathBuf> {
    match places.iter().find(|path| path.is_file()) {
        Some(path) => Ok(path.clone()),
        None => {
            let list: Vec<String> = places
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            bail!("no such file (looked at {})", list.join(", "))
        }
    }
}

fn library_places() -> Vec<PathBuf> {
    let system = [
        "/usr/local/lib",
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/usr/lib64",
        "/usr/lib",
    ];
    let named = env::var_os("ORT_DYLIB_PATH").map(PathBuf::from);
    let directories = own_directories()
        .into_iter()
        .chain(system.map(PathBuf::from));
    named
        .into_iter()
        .chain(directories.map(|dir| dir.join(LIBRARY)))
        .collect()
}

/// Returns the executable's directory, those of the checkout it was built in, the user's data directory and the system's.
fn own_directories() -> Vec<PathBuf> {
    let mut directories = Vec::new();
    if let Ok(program) = env::current_exe() {
        directories.extend(program.parent().map(Path::to_owned));
        // CHECKOUT/target/release/relay-server
        let checkout = program
            .ancestors()
            .nth(3)
            .filter(|dir| dir.join("Cargo.toml").is_file());
        directories.extend(
            checkout
                .into_iter()
                .flat_map(|dir| [dir.join("target"), dir.to_owned()]),
        );
    }
    let user = directories::user("XDG_DATA_HOME", ".local/share");
    let system = ["/usr/local/share", "/usr/share"].map(PathBuf::from);
    directories.extend(
        user.into_iter()
            .chain(system)
            .map(|dir| dir.join("sightline")),
    );
    directories
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_model_lists_the_places() {
        let err = model(Path::new("models/no-such.onnx"))
            .unwrap_err()
            .to_string();
        assert!(
            err.contains("models/no-such.onnx") && err.contains("sightline/models/no-such.onnx"),
            "{err}"
        );
    }

    #[test]
    fn a_missing_library_names_the_file_that_was_asked_for() {
        let err = format!(
            "{:#}",
            load(Some(Path::new("/no/such/lib.so"))).unwrap_err()
        );
        assert!(
            err.contains("/no/such/lib.so") && err.contains("--onnxruntime"),
            "{err}"
        );
    }

    #[test]
    fn a_file_that_is_no_library_is_an_error_and_not_a_panic() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let err = format!("{:#}", load(Some(file.path())).unwrap_err());
        assert!(err.contains("loading ONNX Runtime"), "{err}");
    }
}
