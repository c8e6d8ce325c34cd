//! Finds ONNX Runtime's shared library and the model files; an error lists the places that were searched.
//!
//! A library is code, and a model file is read by code that was not written for hostile files. So what a search finds is
//! used only if no other user of the machine can have put it there ([`platform::trusted_path`]); what the user names, by
//! flag, environment or configuration file, is taken as it is.
//!
//! `ort` would panic if the library is missing, and the loader's own search depends on variables that a user should
//! not need to set.

use std::env;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use platform::trusted_path::{self, Untrusted};
use platform::{directories, relaunch};
use tracing::warn;

use super::mistaken;

/// The library's name, as `scripts/setup` and packages install it.
const LIBRARY: &str = "libonnxruntime.so";

/// Starts this program anew in the same process, with ONNX Runtime's telemetry off. To be called before the log begins, since
/// all lines of before would come twice.
///
/// Its official builds resolve a host name of Microsoft's as soon as they are loaded, before `with_telemetry(false)` can
/// be called (observed with 1.32.0); only this variable prevents it, and a program cannot set one for itself safely.
/// Does nothing if the variable is set.
///
/// # Errors
/// If the start fails; the telemetry is on then.
pub fn silence_telemetry() -> io::Result<()> {
    const OFF: &str = "ORT_DISABLE_TELEMETRY";
    match env::var_os(OFF) {
        Some(_) => Ok(()),
        None => Err(relaunch::relaunch(&[(OFF, "1")])),
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

/// Returns the path of ONNX Runtime: `flag`, or else the first place that has it and that no other user can write.
///
/// # Errors
/// If there is none: all places.
pub fn library(flag: Option<&Path>) -> anyhow::Result<PathBuf> {
    match flag {
        Some(path) => first(&[Place::Named(path.to_owned())], LIBRARY_FLAG).context(LIBRARY_FLAG),
        None => first(&library_places(), LIBRARY_FLAG).context(
            "ONNX Runtime is missing: run scripts/setup, or name the library with --onnxruntime FILE, or do without boxes with --model none",
        ),
    }
}

/// Returns the path of a model file that the user has named: as given, or below one of Sightline's own directories, if no
/// other user can write that.
///
/// # Errors
/// If no place has it: all places.
pub fn model(name: &Path) -> anyhow::Result<PathBuf> {
    let below = below_own_directories(name);
    let places: Vec<Place> = std::iter::once(Place::Named(name.to_owned()))
        .chain(below)
        .collect();
    first(&places, MODEL_FLAG).map_err(|err| match mistaken::missing(name, &default_files()) {
        Some(cure) => anyhow::anyhow!("{err:#}; {cure}"),
        None => err,
    })
}

/// Returns the models that scripts/get-model has fetched.
fn default_files() -> Vec<PathBuf> {
    let fetched =
        mistaken::FETCHED.map(|name| default_model(Path::new(&format!("models/{name}.onnx"))));
    fetched.into_iter().flatten().collect()
}

/// Returns the path of a model file that the user has not named: in the current directory, or below one of Sightline's own,
/// if no other user can write it there. `None` if no place has it.
pub fn default_model(name: &Path) -> Option<PathBuf> {
    let here = std::iter::once(Place::Searched(name.to_owned()));
    let places: Vec<Place> = here.chain(below_own_directories(name)).collect();
    choose_and_warn(&places, MODEL_FLAG).taken
}

/// The flag that names the library.
const LIBRARY_FLAG: &str = "--onnxruntime";
/// The flag that names the model.
const MODEL_FLAG: &str = "--model";

/// A path that may have the file.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// Named by the user: taken as it is.
    Named(PathBuf),
    /// Searched by the program: taken only if no other user can have put it there.
    Searched(PathBuf),
}

impl Place {
    fn path(&self) -> &Path {
        match self {
            Self::Named(path) | Self::Searched(path) => path,
        }
    }
}

/// Outcome of a search.
#[derive(Debug, Default)]
struct Choice {
    taken: Option<PathBuf>,
    passed_over: Vec<(PathBuf, Untrusted)>,
}

/// Returns the first place that has the file, and those before it that are not trusted. Pure.
fn choose(
    places: &[Place],
    has: impl Fn(&Path) -> bool,
    trust: impl Fn(&Path) -> Result<PathBuf, Untrusted>,
) -> Choice {
    let mut choice = Choice::default();
    for place in places.iter().filter(|place| has(place.path())) {
        let trusted = match place {
            Place::Named(path) => Ok(path.clone()),
            Place::Searched(path) => trust(path),
        };
        match trusted {
            Ok(path) => {
                choice.taken = Some(path);
                break;
            }
            Err(why) => choice.passed_over.push((place.path().to_owned(), why)),
        }
    }
    choice
}

fn choose_and_warn(places: &[Place], flag: &str) -> Choice {
    let choice = choose(places, Path::is_file, trusted_path::resolve);
    for (path, why) in &choice.passed_over {
        let file = path.display();
        warn!(%file, "passed over, since another user may have put it there: {why}; {flag} FILE takes it all the same");
    }
    choice
}

fn first(places: &[Place], flag: &str) -> anyhow::Result<PathBuf> {
    let choice = choose_and_warn(places, flag);
    let list: Vec<String> = places
        .iter()
        .map(|place| place.path().display().to_string())
        .collect();
    let passed_over = match choice.passed_over.len() {
        0 => "",
        _ => "; what another user may have put there is passed over",
    };
    let list = list.join(", ");
    choice
        .taken
        .with_context(|| format!("no such file (looked at {list}{passed_over})"))
}

fn below_own_directories(name: &Path) -> Vec<Place> {
    let own = match name.is_absolute() {
        true => Vec::new(),
        false => own_directories(),
    };
    let below = own.into_iter().map(|dir| Place::Searched(dir.join(name)));
    below.collect()
}

fn library_places() -> Vec<Place> {
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
        .map(Place::Named)
        .into_iter()
        .chain(directories.map(|dir| Place::Searched(dir.join(LIBRARY))))
        .collect()
}

/// Returns the directory of Sightline's libraries where packages and tarballs have it: PREFIX/lib/sightline for
/// PREFIX/bin/relay-server. Pure.
fn installed_beside(program: &Path) -> Option<PathBuf> {
    let prefix = program.parent()?.parent()?;
    Some(prefix.join("lib/sightline"))
}

/// Returns the executable's directory, that of an installation's libraries, those of the checkout it was built in, the user's
/// data directory and the system's.
fn own_directories() -> Vec<PathBuf> {
    let mut directories = Vec::new();
    if let Ok(program) = env::current_exe() {
        directories.extend(program.parent().map(Path::to_owned));
        directories.extend(installed_beside(&program));
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
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

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
    fn an_installed_relay_searches_its_own_library_directory() {
        let of = |program: &str| installed_beside(Path::new(program));
        assert_eq!(
            of("/usr/bin/relay-server"),
            Some("/usr/lib/sightline".into())
        );
        assert_eq!(
            of("/opt/sightline/bin/relay-server"),
            Some("/opt/sightline/lib/sightline".into())
        );
        assert_eq!(of("/"), None);
    }

    fn untrusted(path: &Path) -> Result<PathBuf, Untrusted> {
        Err(Untrusted::Writable {
            path: path.to_owned(),
            mode: 0o777,
        })
    }

    #[test]
    fn a_searched_file_that_is_not_trusted_is_passed_over_and_a_named_one_is_taken() {
        let searched = |path: &str| Place::Searched(path.into());
        let places = [searched("/none/a"), searched("/tmp/a"), searched("/usr/a")];
        let has = |path: &Path| !path.starts_with("/none");
        let trust = |path: &Path| match path.starts_with("/tmp") {
            true => untrusted(path),
            false => Ok(path.with_extension("resolved")),
        };
        let choice = choose(&places, has, trust);
        assert_eq!(choice.taken, Some("/usr/a.resolved".into()));
        let (passed_over, _) = &choice.passed_over[0];
        assert_eq!(
            (choice.passed_over.len(), passed_over),
            (1, &"/tmp/a".into())
        );
        let named = [Place::Named("/tmp/a".into()), searched("/usr/a")];
        assert_eq!(choose(&named, has, untrusted).taken, Some("/tmp/a".into()));
        assert_eq!(choose(&places, has, untrusted).taken, None);
    }

    #[test]
    fn a_real_file_in_a_directory_that_others_write_is_passed_over_until_it_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("model.onnx");
        fs::write(&file, "").unwrap();
        let mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode));
        mode(&file, 0o644).unwrap();
        mode(dir.path(), 0o777).unwrap();
        assert_eq!(default_model(&file), None);
        let searched = [Place::Searched(file.clone())];
        let why = first(&searched, MODEL_FLAG).unwrap_err().to_string();
        assert!(why.contains("passed over"), "{why}");
        assert_eq!(model(&file).unwrap(), file);
        mode(dir.path(), 0o755).unwrap();
        assert_eq!(default_model(&file), Some(file.canonicalize().unwrap()));
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
