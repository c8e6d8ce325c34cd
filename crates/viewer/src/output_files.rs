//! What `--save` and `--shown` write, frame by frame.
//!
//! A path that cannot be written at all is found before anything starts. A disk that fills up later costs one line in the
//! log and not the picture. Boxes are written as they were first drawn: those that come later are seen, and in no file but
//! the recording.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

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
                let path = dir.join(format!("{:08}.jpg", received.seq));
                write_whole(&path, &received.frame.jpeg)
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

/// Writes a file and removes it when that fails: a file that a full disk cut short is worse than none.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    fs::write(path, bytes).inspect_err(|_| {
        let _ = fs::remove_file(path);
    })
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
    fn boxes_are_written_as_in_the_detections_message() {
        let message = r#"{"id":3,"class":0,"label":"person","score":0.87,"box":[0.1,0.2,0.3,0.4]}"#;
        let boxes = [serde_json::from_str(message).unwrap()];
        let want = format!(r#"{{"seq":7,"age_ms":null,"boxes":[{message}]}}"#);
        assert_eq!(line(7, &boxes, None), want + "\n");
    }
}
