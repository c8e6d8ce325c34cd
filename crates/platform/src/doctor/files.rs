//! Checks whether a program can write its files, by trying; no file is left behind.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use super::Check;

/// Tries to create a file in a directory or, if that does not exist, in its nearest ancestor that does.
///
/// # Errors
/// The error of the attempt.
pub fn try_directory(directory: &Path) -> io::Result<()> {
    let mut ancestors = directory.ancestors().map(or_current);
    let existing = ancestors.find(|dir| dir.exists()).unwrap_or(directory);
    if !existing.is_dir() {
        return Err(ErrorKind::NotADirectory.into());
    }
    let unique = getrandom::u64().map_err(io::Error::other)?;
    let trial = existing.join(format!(".doctor-{unique:016x}"));
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&trial)?;
    fs::remove_file(trial)
}

/// Tries to open an existing file for writing, or to create a file in its directory, which has to exist.
///
/// # Errors
/// The error of the attempt.
pub fn try_file(file: &Path) -> io::Result<()> {
    if let Ok(found) = file.metadata() {
        let mut options = OpenOptions::new();
        // A FIFO without a reader would make this wait for one.
        match found.file_type().is_fifo() {
            true => options.read(true).write(true),
            false => options.append(true),
        };
        return options.open(file).map(drop);
    }
    match or_current(file.parent().unwrap_or(file)) {
        directory if directory.is_dir() => try_directory(directory),
        _ => Err(ErrorKind::NotFound.into()),
    }
}

/// Returns the current directory for the empty path, at which the ancestors of a relative path end.
fn or_current(path: &Path) -> &Path {
    match path.as_os_str().is_empty() {
        true => Path::new("."),
        false => path,
    }
}

/// Turns the outcome of an attempt on the path that a flag names into a line of the report.
pub fn check(flag: &str, path: &Path, outcome: io::Result<()>) -> Check {
    let path = path.display();
    match outcome {
        Ok(()) => Check::good("files", format!("{flag} {path} can be written")),
        Err(err) => Check::bad(
            "files",
            format!(
                "{flag} {path} cannot be written: {err}; create its directory, or name another path"
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn a_directory_that_is_to_be_made_is_tried_at_what_is_there_of_it() {
        let dir = tempfile::tempdir().unwrap();
        assert!(try_directory(&dir.path().join("a/b/c")).is_ok());
        assert!(try_directory(Path::new("made-here-perhaps")).is_ok());
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(try_directory(&dir.path().join("file/b")).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no trial");
    }

    #[test]
    fn a_file_needs_its_directory() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        assert!(try_file(&file).is_ok() && !file.exists());
        fs::write(&file, "kept").unwrap();
        assert!(try_file(&file).is_ok());
        assert_eq!(fs::read(&file).unwrap(), b"kept");
        assert!(try_file(Path::new("made-here-perhaps")).is_ok());
        for bad in [dir.path().join("none/file"), dir.path().to_owned()] {
            let line = check("--record", &bad, try_file(&bad));
            assert!(line.verdict == Verdict::Bad && line.text.contains("--record"));
        }
    }
}
