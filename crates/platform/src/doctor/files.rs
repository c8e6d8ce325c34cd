//! Whether what a program is to write can be written, found by trying, with nothing left behind.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::Path;

use super::Check;

/// Whether a file can be made in a directory, or in what is there of the way to it.
///
/// # Errors
/// Why not.
pub fn try_directory(directory: &Path) -> io::Result<()> {
    let there = directory.ancestors().map(or_here).find(|dir| dir.exists());
    let there = there.unwrap_or(directory);
    if !there.is_dir() {
        return Err(ErrorKind::NotADirectory.into());
    }
    let unique = getrandom::u64().map_err(io::Error::other)?;
    let trial = there.join(format!(".doctor-{unique:016x}"));
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&trial)?;
    fs::remove_file(trial)
}

/// Whether a file can be written: it, or in its directory, which has to be there.
///
/// # Errors
/// Why not.
pub fn try_file(file: &Path) -> io::Result<()> {
    if file.exists() {
        return OpenOptions::new().append(true).open(file).map(drop);
    }
    match or_here(file.parent().unwrap_or(file)) {
        directory if directory.is_dir() => try_directory(directory),
        _ => Err(ErrorKind::NotFound.into()),
    }
}

/// The directory in which a relative path begins.
fn or_here(path: &Path) -> &Path {
    match path.as_os_str().is_empty() {
        true => Path::new("."),
        false => path,
    }
}

/// `tried`: what became of the path that this flag names.
pub fn judge(flag: &str, path: &Path, tried: io::Result<()>) -> Check {
    let path = path.display();
    match tried {
        Ok(()) => Check::good("files", format!("{flag} {path} can be written")),
        Err(err) => Check::bad(
            "files",
            format!(
                "{flag} {path} cannot be written: {err}; make its directory, or name another place"
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
            let check = judge("--record", &bad, try_file(&bad));
            assert!(check.verdict == Verdict::Bad && check.text.contains("--record"));
        }
    }
}
