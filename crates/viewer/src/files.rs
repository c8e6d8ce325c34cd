//! What `--save` and `--shown` write, frame by frame.
//!
//! A place that cannot be written at all is found before anything starts. A disk that fills up later costs one line in
//! the log and not the picture.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};
use tracing::warn;

use crate::args::Args;
use crate::receive::Frame;

/// The files of a run.
#[derive(Debug)]
pub(crate) struct Files {
    save: Option<PathBuf>,
    shown: Option<File>,
    complained: bool,
}

impl Files {
    /// Creates the directory and the file.
    ///
    /// # Errors
    /// Where they cannot be created.
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
            complained: false,
        })
    }

    /// Notes a frame that has just been shown.
    pub(crate) fn shown(&mut self, frame: &Frame, age: Option<Duration>) {
        if let Err(err) = self.write(frame, age)
            && !self.complained
        {
            self.complained = true;
            warn!(%err, "--save or --shown cannot be written; the viewer goes on without a further word of it");
        }
    }

    fn write(&mut self, frame: &Frame, age: Option<Duration>) -> io::Result<()> {
        let saved = match &self.save {
            Some(dir) => write_whole(&dir.join(format!("{:08}.jpg", frame.seq)), &frame.jpeg),
            None => Ok(()),
        };
        if let Some(file) = &mut self.shown {
            // One write a line, so that a reader who follows the file never sees half of one.
            file.write_all(line(frame.seq, age).as_bytes())?;
        }
        saved
    }
}

/// A file that a full disk cut short is worse than none.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    fs::write(path, bytes).inspect_err(|_| {
        let _ = fs::remove_file(path);
    })
}

fn line(seq: u64, age: Option<Duration>) -> String {
    let age_ms = age.map_or(Value::Null, |age| json!(age.as_secs_f64() * 1e3));
    format!("{}\n", json!({ "seq": seq, "age_ms": age_ms, "boxes": [] }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_json_object() {
        for (age, want) in [
            (Some(Duration::from_micros(35_500)), json!(35.5)),
            (None, Value::Null),
        ] {
            let line = line(7, age);
            let value: Value = serde_json::from_str(line.strip_suffix('\n').unwrap()).unwrap();
            assert_eq!(value, json!({ "seq": 7, "age_ms": want, "boxes": [] }));
        }
    }
}
