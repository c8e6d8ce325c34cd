//! Reads a file of one picture again and again, and follows another program that rewrites it.
//!
//! Programs write such a file in pieces, or delete it and write a new one. So the last picture stays while the file is away
//! or not whole.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use tracing::{info, warn};

use super::{Picture, is_jpeg};

/// Longest time for which a file may be away or torn at the start, where there is no last picture.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Wait between two looks at such a file.
const RETRY_INTERVAL: Duration = Duration::from_millis(20);
/// Largest file of one picture: 64 million pixels of a raw format have 200 MB, of a compressed one a tenth of that.
const MAX_FILE: u64 = 64 << 20;
/// Time for which a file may be away or torn before the log reports it: no writer needs as long.
const QUIET: Duration = Duration::from_secs(5);

/// A file of one picture, and what was read of it.
#[derive(Debug)]
pub(super) struct StillFile {
    path: PathBuf,
    /// The content last read, and the picture in it.
    last: Option<(Bytes, Picture)>,
    /// Time since when nothing new can be read.
    broken_since: Option<Instant>,
    warned: bool,
}

impl StillFile {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            last: None,
            broken_since: None,
            warned: false,
        }
    }

    /// Returns the file's picture, or the last one while the file is away or being written.
    ///
    /// # Errors
    /// If there has been no picture yet.
    pub(super) fn picture(&mut self) -> anyhow::Result<Picture> {
        let deadline = Instant::now() + FIRST_WAIT;
        loop {
            let late = Instant::now() >= deadline;
            // A file that stays cut is one that was left so.
            let read = self.read(late && self.last.is_none());
            self.report(read.as_ref().err(), Instant::now());
            match (read, &self.last) {
                (Err(why), None) if late => return Err(why),
                (Err(_), None) => thread::sleep(RETRY_INTERVAL),
                (_, Some((_, picture))) => return Ok(picture.clone()),
                (Ok(()), None) => bail!("{} gave no picture", self.path.display()),
            }
        }
    }

    /// Reads a file that no other program writes, such as one of a sequence.
    pub(super) fn read_once(path: &Path) -> anyhow::Result<Picture> {
        let mut file = Self::new(path);
        file.read(true)?;
        let (_, picture) = file.last.context("it was just read")?;
        Ok(picture)
    }

    /// Reads the file, and decodes it if it has changed; with `cut_too`, also what is not whole.
    fn read(&mut self, cut_too: bool) -> anyhow::Result<()> {
        let path = self.path.display();
        let content = self.content()?;
        if self.last.as_ref().is_some_and(|(last, _)| *last == content) {
            return Ok(());
        }
        anyhow::ensure!(
            cut_too || is_whole(&content),
            "{path} is cut short, or is being written"
        );
        let picture = match Picture::from_jpeg(content.clone()) {
            Ok(picture) => picture,
            Err(_) => Picture::Raw(
                imaging::still::decode(&content)
                    .with_context(|| format!("{path} holds no picture that can be read"))?,
            ),
        };
        self.last = Some((content, picture));
        Ok(())
    }

    /// Reads the whole file, if it is one: another program may have put a pipe, a device or something huge in its place.
    fn content(&self) -> anyhow::Result<Bytes> {
        let path = self.path.display();
        let reading = || format!("reading {path}");
        let found = fs::metadata(&self.path).with_context(reading)?;
        anyhow::ensure!(found.is_file(), "{path} is no regular file");
        let file = fs::File::open(&self.path).with_context(reading)?;
        let mut content = Vec::new();
        file.take(MAX_FILE + 1)
            .read_to_end(&mut content)
            .with_context(reading)?;
        anyhow::ensure!(
            content.len() as u64 <= MAX_FILE,
            "{path} is larger than {} MB, more than any picture",
            MAX_FILE >> 20
        );
        Ok(content.into())
    }

    /// Logs once that a file has been away or torn for a while, and once that it is back.
    fn report(&mut self, why: Option<&anyhow::Error>, now: Instant) {
        let Some(why) = why else {
            self.broken_since = None;
            if std::mem::take(&mut self.warned) {
                info!(file = %self.path.display(), "the picture can be read again");
            }
            return;
        };
        let since = *self.broken_since.get_or_insert(now);
        if now - since >= QUIET && !self.warned {
            self.warned = true;
            warn!("the last picture is sent on, since there is no new one: {why:#}");
        }
    }
}

/// Returns whether a file ends as its format does. Decoders show a file that is cut with grey for what is missing.
fn is_whole(content: &[u8]) -> bool {
    let le32 = |at: usize| -> Option<usize> {
        let bytes = content.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    };
    let until = |length: Option<usize>| length.is_some_and(|length| content.len() >= length);
    match content {
        [] => false,
        _ if is_jpeg(content) => matches!(protocol::jpeg::stream_end(content), Ok(Some(_))),
        [0x89, b'P', b'N', b'G', ..] => content.windows(4).any(|part| part == b"IEND"),
        [b'R', b'I', b'F', b'F', ..] => until(le32(4).map(|length| length + 8)),
        [b'B', b'M', ..] => until(le32(2)),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use opencv::core::{CV_8UC3, Mat, Scalar, Vector};
    use opencv::imgcodecs::imencode;
    use opencv::prelude::*;
    use testkit::jpeg::Sketch;

    use super::*;

    fn width(file: &mut StillFile) -> i32 {
        match file.picture().unwrap() {
            Picture::Jpeg { size, .. } => size.width.into(),
            Picture::Raw(picture) => picture.cols(),
        }
    }

    fn coded(extension: &str, width: i32) -> Vec<u8> {
        let picture =
            Mat::new_rows_cols_with_default(20, width, CV_8UC3, Scalar::all(90.0)).unwrap();
        let mut file = Vector::new();
        imencode(extension, &picture, &mut file, &Vector::new()).unwrap();
        file.into()
    }

    #[test]
    fn a_pipe_or_something_huge_in_the_files_place_keeps_the_last_picture() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("latest.jpg");
        fs::write(&path, coded(".jpg", 30)).unwrap();
        let mut file = StillFile::new(&path);
        assert_eq!(width(&mut file), 30);
        fs::remove_file(&path).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        assert_eq!(width(&mut file), 30, "it does not wait for a writer");
        fs::remove_file(&path).unwrap();
        fs::File::create(&path)
            .unwrap()
            .set_len(10 * MAX_FILE)
            .unwrap();
        assert_eq!(width(&mut file), 30);
        let why = format!("{:#}", file.read(true).unwrap_err());
        assert!(why.contains("larger than 64 MB"), "{why}");
    }

    #[test]
    fn a_file_that_is_rewritten_is_followed_and_a_torn_moment_keeps_the_last_picture() {
        let dir = tempfile::tempdir().unwrap();
        for extension in [".jpg", ".png", ".bmp", ".webp", ".ppm"] {
            let path = dir.path().join(format!("latest{extension}"));
            fs::write(&path, coded(extension, 30)).unwrap();
            let mut file = StillFile::new(&path);
            assert_eq!(width(&mut file), 30, "{extension}");
            let next = coded(extension, 40);
            for cut in [0, 1, 5, 20, next.len() / 2, next.len() - 1] {
                fs::write(&path, &next[..cut]).unwrap();
                assert_eq!(width(&mut file), 30, "{extension}, {cut} bytes");
            }
            fs::remove_file(&path).unwrap();
            assert_eq!(width(&mut file), 30, "{extension}");
            fs::write(&path, &next).unwrap();
            assert_eq!(width(&mut file), 40, "{extension}");
        }
    }

    #[test]
    fn a_file_that_is_torn_at_the_start_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("latest.jpg");
        let whole = Sketch::new(7, 8).bytes();
        fs::write(&path, &whole[..20]).unwrap();
        let late = path.clone();
        let writer = thread::spawn(move || {
            thread::sleep(2 * RETRY_INTERVAL);
            fs::write(late, whole).unwrap();
        });
        assert_eq!(width(&mut StillFile::new(&path)), 7);
        writer.join().unwrap();
    }

    #[test]
    fn a_file_that_was_left_cut_shows_what_there_is_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("card.jpg");
        let whole = coded(".jpg", 30);
        fs::write(&path, &whole[..whole.len() - 2]).unwrap();
        assert_eq!(width(&mut StillFile::new(&path)), 30);
    }

    #[test]
    fn a_file_that_stays_torn_is_reported_once() {
        let mut file = StillFile::new(Path::new("/nonexistent"));
        let why = anyhow::anyhow!("away");
        let start = Instant::now();
        let mut warned = Vec::new();
        for second in [0, 4, 5, 6] {
            file.report(Some(&why), start + Duration::from_secs(second));
            warned.push(file.warned);
        }
        assert_eq!(warned, [false, false, true, true]);
        file.report(None, start);
        assert!(!file.warned && file.broken_since.is_none());
    }
}
