//! What `--save` and `--shown` write, frame by frame.
//!
//! A camera chooses the numbers of its frames, and with them the names in the directory of `--save`: no file is overwritten.
//!
//! A path that cannot be written at all is found before anything starts. A disk that fills up later costs one line in the
//! log and not the picture. Boxes are written as they were first drawn: those that come later are seen, and in no file but
//! the recording.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use protocol::detections::Detection;
use serde::Serialize;
use tracing::warn;

use crate::args::Args;
use crate::receive::ReceivedFrame;

/// The files of a run.
#[derive(Debug)]
pub(crate) struct OutputFiles {
    save: Option<PathBuf>,
    shown: Option<File>,
    /// A failure has been logged.
    warned: bool,
}

impl OutputFiles {
    /// Creates the directory and the file.
    ///
    /// # Errors
    /// When they cannot be created.
    pub(crate) fn open(args: &Args) -> anyhow::Result<Self> {
        if let Some(dir) = &args.save {
            fs::create_dir_all(dir)
                .with_context(|| format!("creating --save {}", dir.display()))?;
        }
        let create = |path: &PathBuf| {
            File::create(path).with_context(|| format!("creating --shown {}", path.display()))
        };
        Ok(Self {
            save: args.save.clone(),
            shown: args.shown.as_ref().map(create).transpose()?,
            warned: false,
        })
    }

    /// Writes a frame that has just been shown with these boxes drawn on it.
    pub(crate) fn on_shown(
        &mut self,
        received: &ReceivedFrame,
        boxes: &[Detection],
        age: Option<Duration>,
    ) {
        if let Err(err) = self.write(received, boxes, age)
            && !self.warned
        {
            self.warned = true;
            warn!(%err, "--save or --shown cannot be written; the viewer goes on and logs no further failure of them");
        }
    }

    fn write(
        &mut self,
        received: &ReceivedFrame,
        boxes: &[Detection],
        age: Option<Duration>,
    ) -> io::Result<()> {
        let saved = match &self.save {
            Some(dir) => {
                let name = format!("{:08}", received.seq);
                write_new(dir, &name, &received.frame.jpeg).map(drop)
            }
            None => Ok(()),
        };
        if let Some(file) = &mut self.shown {
            // One write a line, so that a program that follows the file never reads half of one.
            file.write_all(line(received.seq, boxes, age).as_bytes())?;
        }
        saved
    }
}

/// Writes a JPEG into the directory, under this name or, where that file exists, with the time behind it. Returns its path.
///
/// # Errors
/// The system's own.
pub(crate) fn write_new(dir: &Path, name: &str, jpeg: &[u8]) -> io::Result<PathBuf> {
    let path = dir.join(format!("{name}.jpg"));
    match write_whole(&path, jpeg) {
        Err(err) if err.kind() == ErrorKind::AlreadyExists => {
            let path = dir.join(format!("{name}-{}.jpg", now_as_name()));
            write_whole(&path, jpeg).map(|()| path)
        }
        written => written.map(|()| path),
    }
}

/// Writes a file that does not exist yet, following no link, and removes it when that fails: a file that a full disk cut
/// short is worse than none.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(bytes).inspect_err(|_| {
        let _ = fs::remove_file(path);
    })
}

/// Returns the seconds since the Unix epoch with their thousandths, so that file names sort and two in a second differ.
pub(crate) fn now_as_name() -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    format!("{}-{:03}", now.as_secs(), now.subsec_millis())
}

/// A line of `--shown`.
#[derive(Debug, Serialize)]
struct ShownLine<'a> {
    seq: u64,
    age_ms: Option<f64>,
    boxes: &'a [Detection],
}

fn line(seq: u64, boxes: &[Detection], age: Option<Duration>) -> String {
    let line = ShownLine {
        seq,
        age_ms: age.map(|age| age.as_secs_f64() * 1e3),
        boxes,
    };
    let json = serde_json::to_string(&line).expect("numbers, strings and lists have a JSON form");
    json + "\n"
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_line_is_one_json_object() {
        for (age, want) in [
            (Some(Duration::from_micros(35_500)), json!(35.5)),
            (None, Value::Null),
        ] {
            let line = line(7, &[], age);
            let value: Value = serde_json::from_str(line.strip_suffix('\n').unwrap()).unwrap();
            assert_eq!(value, json!({ "seq": 7, "age_ms": want, "boxes": [] }));
        }
    }

    #[test]
    fn no_file_is_overwritten_and_no_link_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (dir, other) = (dir.path(), dir.path().join("other"));
        fs::write(&other, b"mine").unwrap();
        std::os::unix::fs::symlink(&other, dir.join("00000008.jpg")).unwrap();
        let names = ["00000007", "00000007", "00000008"];
        let paths = names.map(|name| write_new(dir, name, name.as_bytes()).unwrap());
        assert_eq!(paths[0], dir.join("00000007.jpg"));
        for (path, name) in paths.iter().zip(names) {
            assert_eq!(fs::read(path).unwrap(), name.as_bytes(), "{path:?}");
            let file = path.file_name().unwrap().to_str().unwrap();
            assert!(file.starts_with(name) && file.ends_with(".jpg"), "{file}");
        }
        assert_eq!(fs::read(&other).unwrap(), b"mine");
    }

    #[test]
    fn boxes_are_written_as_in_the_detections_message() {
        let message = r#"{"id":3,"class":0,"label":"person","score":0.87,"box":[0.1,0.2,0.3,0.4]}"#;
        let boxes = [serde_json::from_str(message).unwrap()];
        let want = format!(r#"{{"seq":7,"age_ms":null,"boxes":[{message}]}}"#);
        assert_eq!(line(7, &boxes, None), want + "\n");
    }
}
