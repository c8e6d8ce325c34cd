//! Reads files: videos, raw MJPEG, numbered sequences, and a single picture as a test card.
//!
//! The picture of a tick follows from the tick's number alone, never from the clock: frame number n of a run is the same
//! picture every time, even if the machine was too slow for some of them.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use percent_encoding::percent_decode;
use tracing::debug;

use super::mistyped;
use super::mjpeg::JpegSplitter;
use super::still_file::StillFile;
use super::video_file::{Shown, VideoFile};
use super::{Picture, has_extension, is_jpeg};
use crate::pacer::Tick;

/// Extensions of files that hold one picture.
const STILL_EXTENSIONS: [&str; 6] = ["jpg", "jpeg", "png", "bmp", "webp", "ppm"];
/// Numbers at which a sequence may start, as in ffmpeg.
const FIRST_NUMBERS: std::ops::Range<u64> = 0..5;

/// An open file.
#[derive(Debug)]
pub(crate) struct FileSource {
    path: PathBuf,
    reader: FileReader,
    /// Whether to start over at the end.
    repeat: bool,
    /// Ticks a second.
    fps: f64,
    /// Tick at which this pass began.
    start: u64,
    /// Count of pictures read or skipped in this pass; of a video, of those shown.
    position: u64,
}

#[derive(Debug)]
enum FileReader {
    /// A container, which has times of its own.
    Video(VideoFile),
    /// One picture a tick.
    Pictures(Pictures),
}

/// Pictures without times.
#[derive(Debug)]
enum Pictures {
    /// JPEGs back to back.
    Mjpeg(JpegSplitter<File>),
    /// Numbered pictures, and the next number.
    Sequence(SequencePattern, u64),
    /// One picture, without end.
    Still(StillFile),
}

impl FileSource {
    /// Opens a file that is to be sent at `fps` frames a second.
    pub(super) fn open(path: PathBuf, fps: f64, repeat: bool) -> anyhow::Result<Self> {
        let path = existing(path);
        let reader = FileReader::open(&path)
            .with_context(|| format!("opening --source {}", path.display()))?;
        let native_fps = match &reader {
            FileReader::Video(video) => video.fps(),
            FileReader::Pictures(_) => None,
        };
        let sent_fps = native_fps.map_or(fps, |native| native.min(fps));
        Ok(Self {
            path,
            reader,
            repeat,
            fps: sent_fps,
            start: 0,
            position: 0,
        })
    }

    pub(super) fn fps(&self) -> f64 {
        self.fps
    }

    /// Returns what the file shows at a tick.
    pub(super) fn next(&mut self, tick: &Tick) -> anyhow::Result<Shown> {
        let shown = self.read(tick.index)?;
        if !matches!(shown, Shown::End) {
            return Ok(shown);
        }
        if !self.repeat || self.position == 0 {
            ensure!(
                self.position > 0 || self.start > 0,
                "{} holds no picture that can be read",
                self.path.display()
            );
            return Ok(Shown::End);
        }
        self.reader = FileReader::open(&self.path)
            .with_context(|| format!("starting over with {}", self.path.display()))?;
        (self.start, self.position) = (tick.index, 0);
        self.read(tick.index)
    }

    fn read(&mut self, tick: u64) -> anyhow::Result<Shown> {
        let wanted = tick - self.start;
        let shown = match &mut self.reader {
            FileReader::Video(video) => video.at(wanted as f64 / self.fps)?,
            FileReader::Pictures(reader) => {
                while self.position < wanted {
                    if !reader.skip()? {
                        return Ok(Shown::End);
                    }
                    self.position += 1;
                }
                reader.read()?.map_or(Shown::End, Shown::New)
            }
        };
        self.position += u64::from(matches!(shown, Shown::New(_)));
        Ok(shown)
    }
}

impl FileReader {
    fn open(path: &Path) -> anyhow::Result<Self> {
        if !path.exists() {
            return Pictures::sequence(path).map(Self::Pictures);
        }
        ensure!(path.is_file(), "it is not a file");
        if has_extension(path, &STILL_EXTENSIONS) {
            return Ok(Self::Pictures(Pictures::Still(StillFile::new(path))));
        }
        let mut start = Vec::new();
        File::open(path)?.take(3).read_to_end(&mut start)?;
        if is_jpeg(&start) {
            return Ok(Self::Pictures(Pictures::Mjpeg(JpegSplitter::new(
                File::open(path)?,
            ))));
        }
        VideoFile::open(path)
            .map(Self::Video)
            .context("it is neither a video that ffmpeg knows nor a file of JPEGs")
    }
}

impl Pictures {
    fn sequence(path: &Path) -> anyhow::Result<Self> {
        let pattern = SequencePattern::parse(path)
            .with_context(|| {
                let meant = mistyped::meant_word(path)
                    .map_or_else(String::new, |word| format!("did you mean '{word}'? Else "));
                format!("there is no such file; {meant}give the path of a video, an MJPEG file or a picture, a pattern like img_%03d.jpg, or --source demo")
            })?;
        let first = FIRST_NUMBERS
            .clone()
            .find(|n| pattern.path(*n).exists())
            .with_context(|| {
                let (first, last) = (
                    pattern.path(FIRST_NUMBERS.start),
                    pattern.path(FIRST_NUMBERS.end - 1),
                );
                format!(
                    "the sequence has no first picture: none of {} to {} exists",
                    first.display(),
                    last.display()
                )
            })?;
        Ok(Self::Sequence(pattern, first))
    }

    /// Skips one picture; false at the end.
    fn skip(&mut self) -> anyhow::Result<bool> {
        match self {
            Self::Mjpeg(_) => Ok(self.read()?.is_some()),
            Self::Sequence(pattern, next) => {
                *next += 1;
                Ok(pattern.path(*next - 1).exists())
            }
            Self::Still(_) => Ok(true),
        }
    }

    /// Returns the next picture; `None` at the end. Broken pictures are skipped.
    fn read(&mut self) -> anyhow::Result<Option<Picture>> {
        loop {
            let picture = match self {
                Self::Mjpeg(jpegs) => jpegs.next()?.map(|jpeg| Ok(Picture::from_jpeg(jpeg)?)),
                Self::Sequence(pattern, next) => {
                    let path = pattern.path(*next);
                    *next += 1;
                    path.exists().then(|| StillFile::read_once(&path))
                }
                Self::Still(file) => return file.picture().map(Some),
            };
            match picture.transpose() {
                Ok(picture) => return Ok(picture),
                Err(why) => debug!("a broken picture is skipped: {why:#}"),
            }
        }
    }
}

/// Returns the path, or where there is no such file, the one that it is with its percent escapes decoded: file managers
/// give names as URLs, `file:///home/me/a%20b.mp4`, and names may contain percent signs of their own.
fn existing(path: PathBuf) -> PathBuf {
    if path.exists() {
        return path;
    }
    let bytes = path.as_os_str().as_bytes();
    let local = bytes
        .strip_prefix(b"localhost")
        .filter(|rest| rest.starts_with(b"/"));
    let decoded = percent_decode(local.unwrap_or(bytes)).collect::<Vec<u8>>();
    let decoded = PathBuf::from(OsString::from_vec(decoded));
    if decoded.exists() { decoded } else { path }
}

/// A path with a number in it, written `%d` or `%03d`.
#[derive(Debug, PartialEq, Eq)]
struct SequencePattern {
    head: String,
    width: usize,
    tail: String,
}

impl SequencePattern {
    fn parse(path: &Path) -> Option<Self> {
        let (head, rest) = path.to_str()?.split_once('%')?;
        let (width, tail) = rest.split_once('d')?;
        let width = match width {
            "" => 0,
            _ => width
                .strip_prefix('0')?
                .parse()
                .ok()
                .filter(|width| *width <= 20)?,
        };
        Some(Self {
            head: head.to_owned(),
            width,
            tail: tail.to_owned(),
        })
    }

    fn path(&self, number: u64) -> PathBuf {
        let Self { head, width, tail } = self;
        format!("{head}{number:0width$}{tail}").into()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Instant;

    use opencv::prelude::*;
    use testkit::jpeg::Sketch;

    use super::*;

    fn tick(index: u64) -> Tick {
        Tick {
            index,
            due: Instant::now(),
            missed: 0,
        }
    }

    /// A file of pictures whose widths are 1, 2, ..
    fn mjpeg(count: u16) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.mjpeg");
        let pictures: Vec<u8> = (1..=count)
            .flat_map(|w| Sketch::new(w, 8).bytes())
            .collect();
        fs::write(&path, pictures).unwrap();
        (dir, path)
    }

    /// Returns the width of the picture at a tick.
    fn width(source: &mut FileSource, index: u64) -> Option<u16> {
        match source.next(&tick(index)).unwrap() {
            Shown::New(Picture::Jpeg { size, .. }) => Some(size.width),
            Shown::New(Picture::Raw(_)) => panic!("it is not a JPEG"),
            Shown::Same | Shown::End => None,
        }
    }

    #[test]
    fn the_picture_follows_from_the_tick_also_behind_missed_ones() {
        let (_dir, path) = mjpeg(9);
        let mut source = FileSource::open(path, 10.0, false).unwrap();
        let seen: Vec<_> = [0, 1, 5, 6, 8, 9].map(|n| width(&mut source, n)).into();
        assert_eq!(seen, [Some(1), Some(2), Some(6), Some(7), Some(9), None]);
    }

    #[test]
    fn a_loop_starts_over_with_the_first_picture() {
        let (_dir, path) = mjpeg(2);
        let mut source = FileSource::open(path, 10.0, true).unwrap();
        let seen: Vec<_> = (0..5).map(|n| width(&mut source, n)).collect();
        assert_eq!(seen, [Some(1), Some(2), Some(1), Some(2), Some(1)]);
    }

    #[test]
    fn a_sequence_starts_at_its_first_number_and_ends_behind_its_last() {
        let dir = tempfile::tempdir().unwrap();
        for n in 1..=3 {
            fs::write(
                dir.path().join(format!("img_{n:03}.jpg")),
                Sketch::new(n, 8).bytes(),
            )
            .unwrap();
        }
        let mut source = FileSource::open(dir.path().join("img_%03d.jpg"), 10.0, false).unwrap();
        let seen: Vec<_> = (0..4).map(|n| width(&mut source, n)).collect();
        assert_eq!(seen, [Some(1), Some(2), Some(3), None]);
    }

    #[test]
    fn one_picture_is_sent_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("card.jpg");
        fs::write(&path, Sketch::new(7, 8).bytes()).unwrap();
        let mut source = FileSource::open(path, 10.0, false).unwrap();
        assert!((0..100).all(|n| width(&mut source, n) == Some(7)));
    }

    #[test]
    fn a_picture_of_another_format_is_decoded_and_junk_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("card.ppm");
        fs::write(&path, b"P6 2 1 255 abcdef").unwrap();
        let mut source = FileSource::open(path.clone(), 10.0, false).unwrap();
        let Shown::New(Picture::Raw(picture)) = source.next(&tick(0)).unwrap() else {
            panic!("it is not decoded");
        };
        assert_eq!((picture.cols(), picture.rows()), (2, 1));
        fs::write(&path, b"junk").unwrap();
        let mut source = FileSource::open(path, 10.0, false).unwrap();
        let why = format!("{:#}", source.next(&tick(0)).unwrap_err());
        assert!(
            why.contains("card.ppm holds no picture that can be read"),
            "{why}"
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        let why = |path: &str| {
            format!(
                "{:#}",
                FileSource::open(path.into(), 10.0, false).unwrap_err()
            )
        };
        assert!(why("/no/such.mp4").contains("/no/such.mp4: there is no such file"));
        assert!(why("/no/img_%02d.jpg").contains("/no/img_00.jpg to /no/img_04.jpg"));
    }

    #[test]
    fn patterns_are_those_of_ffmpeg() {
        let path =
            |text: &str, n| SequencePattern::parse(Path::new(text)).map(|pattern| pattern.path(n));
        assert_eq!(path("a/img_%03d.jpg", 7), Some("a/img_007.jpg".into()));
        assert_eq!(path("img%d.png", 12), Some("img12.png".into()));
        assert_eq!(path("100%.mp4", 1), None);
    }
}
