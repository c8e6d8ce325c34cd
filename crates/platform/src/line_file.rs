//! A file to which whole lines are added, by a program that others rotate, read and fill the disk of.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// Standard output, or a file that lines are added to.
///
/// - A file that was moved away, as logrotate does, is left, and the next line goes into a new one of the old name.
/// - A line that did not fit on the disk is taken back, and one that a power cut left torn is ended before the next.
/// - A FIFO is opened although nothing reads it yet; what then does not fit into it makes the writer wait.
#[derive(Debug)]
pub struct LineFile {
    path: PathBuf,
    out: Output,
}

#[derive(Debug)]
enum Output {
    Stdout,
    Regular(File),
    /// A FIFO or a device.
    Special(File),
}

impl LineFile {
    /// Opens a file; `-` is standard output.
    ///
    /// # Errors
    /// If it can be neither opened nor created.
    pub fn open(path: &Path) -> io::Result<Self> {
        let out = match path.as_os_str() == "-" {
            true => Output::Stdout,
            false => open(path)?,
        };
        Ok(Self {
            path: path.to_owned(),
            out,
        })
    }

    /// Adds a line, which has no end of its own.
    ///
    /// # Errors
    /// The system's own; nothing of the line is in a regular file then.
    pub fn write_line(&mut self, line: &str) -> io::Result<()> {
        let moved = matches!(&self.out, Output::Regular(file) if !is_at(file, &self.path));
        if moved {
            self.out = open(&self.path)?;
        }
        // One write, so that a program that follows the file never reads half a line.
        let line = format!("{line}\n");
        match &mut self.out {
            Output::Stdout => io::stdout().write_all(line.as_bytes()),
            Output::Special(file) => file.write_all(line.as_bytes()),
            Output::Regular(file) => {
                let before = file.metadata()?.len();
                file.write_all(line.as_bytes()).inspect_err(|_| {
                    let _ = file.set_len(before);
                })
            }
        }
    }
}

fn open(path: &Path) -> io::Result<Output> {
    let is_fifo = path
        .metadata()
        .is_ok_and(|found| found.file_type().is_fifo());
    if is_fifo {
        // To open one for writing alone would wait for a reader (fifo(7)).
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        return Ok(Output::Special(file));
    }
    let file = OpenOptions::new().append(true).create(true).open(path)?;
    match file.metadata()?.is_file() {
        false => Ok(Output::Special(file)),
        true => {
            end_torn_line(&file, path)?;
            Ok(Output::Regular(file))
        }
    }
}

fn end_torn_line(mut file: &File, path: &Path) -> io::Result<()> {
    // A file that may not be read is none that can be looked at.
    let Ok(mut content) = File::open(path) else {
        return Ok(());
    };
    let mut last = [b'\n'];
    if content.seek(SeekFrom::End(-1)).is_ok() {
        content.read_exact(&mut last)?;
    }
    match last {
        [b'\n'] => Ok(()),
        _ => file.write_all(b"\n"),
    }
}

/// Returns whether an open file still has this name.
pub(crate) fn is_at(file: &File, path: &Path) -> bool {
    let both = file
        .metadata()
        .and_then(|open| Ok((open, path.metadata()?)));
    both.is_ok_and(|(open, named)| (open.dev(), open.ino()) == (named.dev(), named.ino()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::{Command, Stdio};
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn lines_are_added_also_to_a_file_that_was_moved_away() {
        let dir = tempfile::tempdir().unwrap();
        let [path, old] = ["lines", "lines.1"].map(|name| dir.path().join(name));
        let mut file = LineFile::open(&path).unwrap();
        file.write_line("one").unwrap();
        fs::rename(&path, &old).unwrap();
        file.write_line("two").unwrap();
        fs::remove_file(&path).unwrap();
        file.write_line("three").unwrap();
        drop(file);
        let mut file = LineFile::open(&path).unwrap();
        file.write_line("four").unwrap();
        assert_eq!(fs::read_to_string(&old).unwrap(), "one\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "three\nfour\n");
    }

    #[test]
    fn a_torn_line_is_ended_before_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lines");
        fs::write(&path, "whole\nto").unwrap();
        LineFile::open(&path).unwrap().write_line("next").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole\nto\nnext\n");
    }

    /// The test runs itself again, with a limit on the size of files in place of a full disk.
    #[test]
    fn a_line_that_does_not_fit_is_taken_back() {
        let name = "line_file::tests::a_line_that_does_not_fit_is_taken_back";
        if let Some(dir) = std::env::var_os("LINE_FILE_LIMITED") {
            let mut file = LineFile::open(&Path::new(&dir).join("lines")).unwrap();
            while file.write_line(&"x".repeat(299)).is_ok() {}
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let script = r#"ulimit -f 2; trap '' XFSZ; exec "$0" --exact "$1""#;
        let status = Command::new("sh")
            .args(["-c", script])
            .arg(std::env::current_exe().unwrap())
            .arg(name)
            .env("LINE_FILE_LIMITED", dir.path())
            // The limit holds for a file with the results of tests as well.
            .stdout(Stdio::null())
            .status();
        assert!(status.unwrap().success());
        let text = fs::read_to_string(dir.path().join("lines")).unwrap();
        assert!(
            text.len() >= 300 && text.len().is_multiple_of(300),
            "{}",
            text.len()
        );
        assert!(text.ends_with("x\n"));
    }

    #[test]
    fn a_fifo_without_a_reader_is_opened_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fifo");
        assert!(
            Command::new("mkfifo")
                .arg(&path)
                .status()
                .unwrap()
                .success()
        );
        let (done, waits) = mpsc::channel();
        let other = path.clone();
        thread::spawn(move || {
            let mut file = LineFile::open(&other).unwrap();
            file.write_line("hello").unwrap();
            done.send(file).unwrap();
        });
        let _file = waits
            .recv_timeout(Duration::from_secs(10))
            .expect("it does not wait");
        let mut read = [0; 6];
        File::open(&path).unwrap().read_exact(&mut read).unwrap();
        assert_eq!(&read, b"hello\n");
    }
}
