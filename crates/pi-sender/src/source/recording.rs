//! Files: videos, raw MJPEG, numbered sequences, and a single picture as a test card.
//!
//! The picture of a tick follows from the tick's number alone, never from the clock: frame number n of a run is the same
//! picture every time, also where the machine was too slow for some of them.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use opencv::core::Mat;
use opencv::imgcodecs;
use opencv::prelude::*;
use tracing::debug;

use super::capture::{self, Video};
use super::split::Splitter;
use super::{Picture, checked, has_extension, is_jpeg};
use crate::pace::Tick;

/// What a file is called that holds one picture.
const STILLS: [&str; 6] = ["jpg", "jpeg", "png", "bmp", "webp", "ppm"];
/// Numbers at which a sequence may start, as in ffmpeg.
const STARTS: std::ops::Range<u64> = 0..5;

/// An open file.
#[derive(Debug)]
pub(crate) struct Recording {
    path: PathBuf,
    reader: Reader,
    /// Start over at the end.
    again: bool,
    /// Ticks a second.
    fps: f64,
    /// Pictures of the file for each tick: more than 1 where it is faster than it is sent.
    per_tick: f64,
    /// The tick at which this pass began, and how many pictures of it were read.
    start: u64,
    position: u64,
}

#[derive(Debug)]
enum Reader {
    /// JPEGs back to back; no timing in them.
    Mjpeg(Splitter<File>),
    /// A container, which has a speed of its own.
    Video(Video, Option<Mat>),
    /// Numbered pictures, and the next number.
    Sequence(Pattern, u64),
    /// One picture, for ever.
    Still(PathBuf),
}

impl Recording {
    /// Opens a file that is to be sent at `fps` frames a second.
    pub(super) fn open(path: PathBuf, fps: f64, again: bool) -> anyhow::Result<Self> {
        let reader =
            Reader::open(&path).with_context(|| format!("opening --source {}", path.display()))?;
        let own = match &reader {
            Reader::Video(video, _) => video.fps(),
            _ => None,
        };
        let sent = own.map_or(fps, |own| own.min(fps));
        Ok(Self {
            path,
            reader,
            again,
            fps: sent,
            per_tick: own.map_or(1.0, |own| own / sent),
            start: 0,
            position: 0,
        })
    }

    pub(super) fn fps(&self) -> f64 {
        self.fps
    }

    /// The picture of a tick; `None` behind the last one.
    pub(super) fn next(&mut self, tick: &Tick) -> anyhow::Result<Option<Picture>> {
        if let Some(picture) = self.read(tick.index)? {
            return Ok(Some(picture));
        }
        if !self.again || self.position == 0 {
            ensure!(
                self.position > 0 || self.start > 0,
                "{} holds no picture that can be read",
                self.path.display()
            );
            return Ok(None);
        }
        self.reader = Reader::open(&self.path)
            .with_context(|| format!("starting over with {}", self.path.display()))?;
        (self.start, self.position) = (tick.index, 0);
        self.read(tick.index)
    }

    fn read(&mut self, tick: u64) -> anyhow::Result<Option<Picture>> {
        // The small addend keeps 3 * (30 / 10) from being 8.999...
        let wanted = ((tick - self.start) as f64 * self.per_tick + 1e-6) as u64;
        while self.position < wanted {
            if !self.reader.skip()? {
                return Ok(None);
            }
            self.position += 1;
        }
        let picture = self.reader.read()?;
        self.position += u64::from(picture.is_some());
        Ok(picture)
    }
}

impl Reader {
    fn open(path: &Path) -> anyhow::Result<Self> {
        if !path.exists() {
            return Self::sequence(path);
        }
        ensure!(path.is_file(), "it is no file");
        if has_extension(path, &STILLS) {
            return Ok(Self::Still(path.to_owned()));
        }
        let mut start = Vec::new();
        File::open(path)?.take(3).read_to_end(&mut start)?;
        if is_jpeg(&start) {
            return Ok(Self::Mjpeg(Splitter::new(File::open(path)?)));
        }
        let (video, first) = capture::coded_or_decoded(path)
            .context("it is neither a video that ffmpeg knows nor a file of JPEGs")?;
        Ok(Self::Video(video, first))
    }

    fn sequence(path: &Path) -> anyhow::Result<Self> {
        let pattern = Pattern::of(path)
            .context("there is no such file; give the path of a video, an MJPEG file or a picture, a pattern like img_%03d.jpg, or --source demo")?;
        let first = STARTS
            .clone()
            .find(|n| pattern.path(*n).exists())
            .with_context(|| {
                let (first, last) = (pattern.path(STARTS.start), pattern.path(STARTS.end - 1));
                format!(
                    "the sequence has no first picture: none of {} to {} exists",
                    first.display(),
                    last.display()
                )
            })?;
        Ok(Self::Sequence(pattern, first))
    }

    /// Passes over one picture; false at the end.
    fn skip(&mut self) -> anyhow::Result<bool> {
        match self {
            Self::Video(_, Some(_)) | Self::Mjpeg(_) => Ok(self.read()?.is_some()),
            Self::Video(video, None) => video.skip(),
            Self::Sequence(pattern, next) => {
                *next += 1;
                Ok(pattern.path(*next - 1).exists())
            }
            Self::Still(_) => Ok(true),
        }
    }

    /// The next picture; `None` at the end. Pictures that are broken are passed over.
    fn read(&mut self) -> anyhow::Result<Option<Picture>> {
        loop {
            let picture = match self {
                Self::Mjpeg(jpegs) => jpegs.next()?.map(|jpeg| Ok(Picture::Jpeg(checked(jpeg)?))),
                Self::Video(video, first) => match first.take() {
                    Some(mat) => Some(capture::picture(mat)),
                    None => video.read_mat()?.map(capture::picture),
                },
                Self::Sequence(pattern, next) => {
                    let path = pattern.path(*next);
                    *next += 1;
                    path.exists().then(|| still(&path))
                }
                Self::Still(path) => return still(path).map(Some),
            };
            match picture.transpose() {
                Ok(picture) => return Ok(picture),
                Err(why) => debug!("a broken picture was left out: {why:#}"),
            }
        }
    }
}

/// A file of one picture: the JPEG as it is, anything else decoded.
fn still(path: &Path) -> anyhow::Result<Picture> {
    let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    if let Ok(jpeg) = checked(bytes) {
        return Ok(Picture::Jpeg(jpeg));
    }
    let name = path.to_str().context("its name is not valid UTF-8")?;
    let picture = imgcodecs::imread(name, imgcodecs::IMREAD_COLOR)?;
    ensure!(
        !picture.empty(),
        "{} holds no picture that can be read",
        path.display()
    );
    Ok(Picture::Raw(picture))
}

/// A path with a number in it, written `%d` or `%03d`.
#[derive(Debug, PartialEq, Eq)]
struct Pattern {
    head: String,
    width: usize,
    tail: String,
}

impl Pattern {
    fn of(path: &Path) -> Option<Self> {
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
    use std::time::Instant;

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

    /// The width of the picture at a tick.
    fn width(recording: &mut Recording, index: u64) -> Option<u16> {
        match recording.next(&tick(index)).unwrap()? {
            Picture::Jpeg(jpeg) => {
                let header = protocol::jpeg::scan(&jpeg, protocol::jpeg::Limits::default());
                Some(header.unwrap().width)
            }
            Picture::Raw(_) => panic!("it is no JPEG"),
        }
    }

    #[test]
    fn the_picture_follows_from_the_tick_also_behind_missed_ones() {
        let (_dir, path) = mjpeg(9);
        let mut recording = Recording::open(path, 10.0, false).unwrap();
        let seen: Vec<_> = [0, 1, 5, 6, 8, 9].map(|n| width(&mut recording, n)).into();
        assert_eq!(seen, [Some(1), Some(2), Some(6), Some(7), Some(9), None]);
    }

    #[test]
    fn a_loop_starts_over_with_the_first_picture() {
        let (_dir, path) = mjpeg(2);
        let mut recording = Recording::open(path, 10.0, true).unwrap();
        let seen: Vec<_> = (0..5).map(|n| width(&mut recording, n)).collect();
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
        let mut recording = Recording::open(dir.path().join("img_%03d.jpg"), 10.0, false).unwrap();
        let seen: Vec<_> = (0..4).map(|n| width(&mut recording, n)).collect();
        assert_eq!(seen, [Some(1), Some(2), Some(3), None]);
    }

    #[test]
    fn one_picture_is_sent_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("card.jpg");
        fs::write(&path, Sketch::new(7, 8).bytes()).unwrap();
        let mut recording = Recording::open(path, 10.0, false).unwrap();
        assert!((0..100).all(|n| width(&mut recording, n) == Some(7)));
    }

    #[test]
    fn what_is_missing_is_named() {
        let why = |path: &str| {
            format!(
                "{:#}",
                Recording::open(path.into(), 10.0, false).unwrap_err()
            )
        };
        assert!(why("/no/such.mp4").contains("/no/such.mp4: there is no such file"));
        assert!(why("/no/img_%02d.jpg").contains("/no/img_00.jpg to /no/img_04.jpg"));
    }

    #[test]
    fn patterns_are_those_of_ffmpeg() {
        let path = |text: &str, n| Pattern::of(Path::new(text)).map(|pattern| pattern.path(n));
        assert_eq!(path("a/img_%03d.jpg", 7), Some("a/img_007.jpg".into()));
        assert_eq!(path("img%d.png", 12), Some("img12.png".into()));
        assert_eq!(path("100%.mp4", 1), None);
    }
}
