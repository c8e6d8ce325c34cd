//! What `--save`, `--save-labels` and `--shown` write, frame by frame.
//!
//! No file is overwritten: pictures have the time in their names, and lines are added.
//!
//! A path that cannot be written at all is found before anything starts. A disk that fills up later costs one line in the
//! log and not the picture. Boxes are written as they were first drawn: those that come later are seen, and in no file but
//! the recording.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use platform::clock::local_time_as_name;
use platform::line_file::LineFile;
use protocol::detections::Detection;
use serde::Serialize;
use tracing::warn;

use crate::args::Args;
use crate::labels::LabelFormat;
use crate::receive::ReceivedFrame;

/// Names that are tried for one picture, more than fit into a millisecond.
const MAX_NAMES: u32 = 1000;

/// The files of a run.
#[derive(Debug)]
pub(crate) struct OutputFiles {
    save: Option<PathBuf>,
    labels: Option<LabelFormat>,
    shown: Option<LineFile>,
    /// A failure has been logged.
    warned: bool,
    /// It has been logged that pictures have no label file.
    unlabelled: bool,
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
        let open = |path: &PathBuf| {
            LineFile::open(path).with_context(|| format!("opening --shown {}", path.display()))
        };
        Ok(Self {
            save: args.save.clone(),
            labels: args.save_labels,
            shown: args.shown.as_ref().map(open).transpose()?,
            warned: false,
            unlabelled: false,
        })
    }

    /// Writes a frame that has just been shown with these boxes drawn on it; `None` if boxes of it are pixels, or hidden.
    pub(crate) fn on_shown(
        &mut self,
        received: &ReceivedFrame,
        boxes: Option<&[Detection]>,
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
        boxes: Option<&[Detection]>,
        age: Option<Duration>,
    ) -> io::Result<()> {
        let saved = self.save(received, boxes);
        if let Some(file) = &mut self.shown {
            file.write_line(&line(received.seq, boxes.unwrap_or_default(), age))?;
        }
        saved
    }

    fn save(&mut self, received: &ReceivedFrame, boxes: Option<&[Detection]>) -> io::Result<()> {
        let Some(dir) = &self.save else {
            return Ok(());
        };
        let label = received.frame.label.as_ref();
        let camera = label.map(|label| label.camera.as_str());
        let picture = write_picture(dir, camera, &received.frame.jpeg)?;
        match (self.labels, boxes) {
            (None, _) => Ok(()),
            (Some(format), Some(boxes)) => write_whole(
                &picture.with_extension("txt"),
                format.text(boxes).as_bytes(),
            ),
            // An empty file would state that there is nothing on the picture.
            (Some(_), None) => {
                if !std::mem::replace(&mut self.unlabelled, true) {
                    warn!(
                        "pictures are saved without a label file while boxes are hidden (key b) or come by UDP, as pixels"
                    );
                }
                Ok(())
            }
        }
    }
}

/// Writes a JPEG into the directory, under the camera's name and the local time. Returns its path.
///
/// # Errors
/// The system's own.
pub(crate) fn write_picture(dir: &Path, camera: Option<&str>, jpeg: &[u8]) -> io::Result<PathBuf> {
    let name = name_of(camera);
    let names = (0..MAX_NAMES).map(|n| match n {
        0 => format!("{name}.jpg"),
        // Two pictures of one millisecond.
        n => format!("{name}_{n}.jpg"),
    });
    for path in names.map(|name| dir.join(name)) {
        match write_whole(&path, jpeg) {
            Err(err) if err.kind() == ErrorKind::AlreadyExists => {}
            written => return written.map(|()| path),
        }
    }
    Err(ErrorKind::AlreadyExists.into())
}

/// Returns a name for a file that shows a camera, such as `yard_2026-11-28_15-30-12.345`.
pub(crate) fn name_of(camera: Option<&str>) -> String {
    format!("{}_{}", camera.unwrap_or("sightline"), local_time_as_name())
}

/// Writes a file that does not exist yet, following no link, and removes it when that fails: a file that a full disk cut
/// short is worse than none.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(bytes).inspect_err(|_| {
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
        // Of whole microseconds, so that no more than three decimals are written.
        age_ms: age.map(|age| age.as_micros() as f64 / 1e3),
        boxes,
    };
    serde_json::to_string(&line).expect("numbers, strings and lists have a JSON form")
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
            let value: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(value, json!({ "seq": 7, "age_ms": want, "boxes": [] }));
        }
    }

    #[test]
    fn an_age_has_three_decimals_at_most() {
        for nanos in (0..1_000_000_000).step_by(7_654_321) {
            let line = line(7, &[], Some(Duration::from_nanos(nanos)));
            let age = line.split("age_ms\":").nth(1).unwrap();
            let decimals = age.split(',').next().unwrap().split('.').nth(1);
            assert!(decimals.is_some_and(|d| d.len() <= 3), "{line}");
        }
    }

    #[test]
    fn no_file_is_overwritten_and_no_link_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (dir, other) = (dir.path(), dir.path().join("other"));
        fs::write(&other, b"mine").unwrap();
        let taken = dir.join("taken.jpg");
        std::os::unix::fs::symlink(&other, &taken).unwrap();
        let refused = write_whole(&taken, b"picture").unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&other).unwrap(), b"mine");
        // Several in a millisecond.
        for n in 0..50_u8 {
            let path = write_picture(dir, Some("yard"), &[n]).unwrap();
            assert_eq!(fs::read(&path).unwrap(), [n]);
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(
                name.starts_with("yard_20") && name.ends_with(".jpg"),
                "{name}"
            );
        }
        assert_eq!(fs::read_dir(dir).unwrap().count(), 52);
    }

    #[test]
    fn boxes_are_written_as_in_the_detections_message() {
        let message = r#"{"id":3,"class":0,"label":"person","score":0.87,"box":[0.1,0.2,0.3,0.4]}"#;
        let boxes = [serde_json::from_str(message).unwrap()];
        let want = format!(r#"{{"seq":7,"age_ms":null,"boxes":[{message}]}}"#);
        assert_eq!(line(7, &boxes, None), want);
    }
}
