//! What Sightline's tests and benchmarks share: JPEG fixtures, a harness for the real programs, a link emulator between
//! them, and the arithmetic and tables of measurements. Never part of a release.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::thread;

pub mod boxes;
#[cfg(unix)]
pub mod browser;
#[cfg(target_os = "linux")]
pub mod cells;
pub mod coco;
pub mod config;
#[cfg(target_os = "linux")]
pub mod cpu;
pub mod figures;
pub mod jpeg;
#[cfg(target_os = "linux")]
pub mod link;
pub mod port;
pub mod precision;
#[cfg(unix)]
pub mod process;
#[cfg(unix)]
pub mod service_manager;
pub mod time;
pub mod trend;
#[cfg(unix)]
pub mod words;
#[cfg(unix)]
pub mod wrong_clock;

/// Reports that the running test skips something: writes `skipped: reason` to standard error, and a line
/// `test name: reason` to the file that the environment variable `SIGHTLINE_SKIPS` names, whose lines `scripts/check` counts.
///
/// The test returns right after it; a skip that is not counted would look like a pass.
///
/// # Panics
/// If that file cannot be written.
pub fn skip(reason: &str) {
    eprintln!("skipped: {reason}");
    let Some(file) = std::env::var_os("SIGHTLINE_SKIPS") else {
        return;
    };
    record_skip(Path::new(&file), reason);
}

/// Returns the path of a file or directory in `shared/`, which lies beside the checkout; `None` if it is missing.
pub fn shared(path: &str) -> Option<PathBuf> {
    let file = repository().parent()?.join("shared").join(path);
    file.exists().then_some(file)
}

/// Returns the root of the checkout.
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors()
        .nth(2)
        .expect("this crate lives two levels below the root")
        .to_owned()
}

/// Appends one line with one write, so that test processes that run at the same time do not mix their lines.
fn record_skip(file: &Path, reason: &str) {
    let test = thread::current().name().unwrap_or("a test").to_owned();
    let line = format!("{test}: {}\n", reason.replace('\n', " "));
    let mut skips = OpenOptions::new()
        .append(true)
        .create(true)
        .open(file)
        .expect("the file that SIGHTLINE_SKIPS names can be opened");
    skips
        .write_all(line.as_bytes())
        .expect("the file that SIGHTLINE_SKIPS names can be written");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skip_is_one_line_with_the_tests_name() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("skips");
        record_skip(&file, "no camera\nhere");
        record_skip(&file, "no screen");
        assert_eq!(
            std::fs::read_to_string(file).unwrap(),
            "tests::a_skip_is_one_line_with_the_tests_name: no camera here\n\
             tests::a_skip_is_one_line_with_the_tests_name: no screen\n"
        );
    }

    #[test]
    fn the_repository_is_the_workspace_and_a_missing_shared_file_is_none() {
        assert!(repository().join("crates/testkit/Cargo.toml").is_file());
        assert_eq!(shared("no such file anywhere"), None);
    }
}
