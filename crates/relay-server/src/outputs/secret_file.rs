//! Secrets that outputs read from a file, or from a credential that systemd hands over (`LoadCredential=`).

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use tracing::warn;

/// Largest secret in bytes.
const MAX_SECRET: u64 = 4096;

/// Reads the secret of a flag: from the file that it names, else from systemd's credential of this name, if there is one.
///
/// # Errors
/// If the file cannot be used.
pub(super) fn read(
    flag: &str,
    file: Option<&Path>,
    credential: &str,
) -> anyhow::Result<Option<Vec<u8>>> {
    let of_systemd = || {
        let directory = std::env::var_os("CREDENTIALS_DIRECTORY")?;
        let file = PathBuf::from(directory).join(credential);
        file.exists().then_some(file)
    };
    let Some(file) = file.map(Path::to_owned).or_else(of_systemd) else {
        return Ok(None);
    };
    let secret = read_file(&file).with_context(|| format!("{flag} {}", file.display()))?;
    Ok(Some(secret))
}

/// Returns the content of a file without the line's end.
fn read_file(path: &Path) -> anyhow::Result<Vec<u8>> {
    let file = File::open(path).context("it cannot be read")?;
    let facts = file.metadata()?;
    ensure!(facts.is_file(), "it is not a file");
    if facts.permissions().mode() & 0o004 != 0 && facts.size() > 0 {
        let file = path.display();
        warn!("{file} holds a secret, and all users of this machine can read it: chmod 600 {file}");
    }
    let mut secret = Vec::new();
    file.take(MAX_SECRET + 1).read_to_end(&mut secret)?;
    ensure!(
        secret.len() as u64 <= MAX_SECRET,
        "it has more than {MAX_SECRET} bytes; it holds the secret alone"
    );
    while secret
        .last()
        .is_some_and(|last| matches!(last, b'\n' | b'\r'))
    {
        secret.pop();
    }
    ensure!(!secret.is_empty(), "it is empty; it holds the secret alone");
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_the_files_content_without_the_end_of_its_line() {
        let directory = tempfile::tempdir().unwrap();
        let read = |content: &[u8]| {
            let file = directory.path().join("secret");
            std::fs::write(&file, content).unwrap();
            read("--x", Some(&file), "x").map_err(|why| format!("{why:#}"))
        };
        assert_eq!(read(b"s3cret\r\n").unwrap().unwrap(), b"s3cret");
        assert!(read(b"\n").unwrap_err().contains("it is empty"));
        assert!(read(&[b'x'; 5000]).unwrap_err().contains("4096"));
        let missing = super::read("--x", Some(Path::new("/nonexistent")), "x").unwrap_err();
        assert!(format!("{missing:#}").starts_with("--x /nonexistent: "));
        assert!(super::read("--x", None, "x").unwrap().is_none());
    }
}
