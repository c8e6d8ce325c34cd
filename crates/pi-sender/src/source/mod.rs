//! Where pictures come from.
//!
//! ```text
//! demo, files:   the loop asks, once a tick ----------------------> Shot
//! live sources:  camera --> reader thread --> slot of one --------> Shot
//!                  ^ reopened with backoff      newest wins
//! ```
//!
//! A file and the demo wait for the loop, so that a run can be repeated; a camera waits for nobody, so it has a thread that
//! always holds its newest picture and nothing else.

mod backoff;
mod capture;
pub mod choice;
mod live;
mod recording;
mod rpicam;
mod split;

use std::path::Path;
use std::time::Duration;

use opencv::core::Mat;
use platform::clock::unix_micros;
use protocol::detections::Detection;
use protocol::geometry::Size;
use protocol::jpeg::{self, Defect, Limits};

use crate::args::Args;
use crate::pace::Tick;

pub(crate) use capture::devices;
use choice::Choice;
pub(crate) use rpicam::find as rpicam;
use scene::Scene;

/// What a source gives.
#[derive(Debug)]
pub(crate) enum Picture {
    /// A JPEG that passed the header scan.
    Jpeg(Vec<u8>),
    /// 8-bit BGR or grey.
    Raw(Mat),
}

/// A picture and when it was taken.
#[derive(Debug)]
pub(crate) struct Shot {
    /// It.
    pub(crate) picture: Picture,
    /// Wall time right after it was read, in microseconds since the Unix epoch.
    pub(crate) captured_us: u64,
    /// Pictures before it that were lost because the sender was busy.
    pub(crate) missed: u64,
}

/// The answer to a tick.
#[derive(Debug)]
pub(crate) enum Next {
    /// A new picture.
    Shot(Shot),
    /// None yet.
    Nothing,
    /// There will be none any more.
    End,
}

/// An open source.
#[derive(Debug)]
pub(crate) enum Source {
    /// The generated scene.
    Demo(Scene),
    /// A file.
    Recording(recording::Recording),
    /// A camera or a stream.
    Live(live::Live),
}

impl Source {
    /// Opens what the command line asks for.
    ///
    /// # Errors
    /// Where a file does not exist or cannot be read; live sources are opened by their own thread and tried again.
    pub(crate) fn open(args: &Args) -> anyhow::Result<Self> {
        let (size, fps) = (args.size, args.fps);
        let live = |open: live::Open| {
            Ok(Self::Live(live::Live::start(
                open,
                args.exit_on_source_error,
            )?))
        };
        match args.source.clone() {
            Choice::Demo => Ok(Self::Demo(Scene::new(
                args.demo_seed,
                size,
                fps,
                args.demo_speed,
            )?)),
            Choice::File(path) => {
                recording::Recording::open(path, args.fps, args.again).map(Self::Recording)
            }
            Choice::Device(device) => live(Box::new(move |_| capture::device(&device, size, fps))),
            Choice::Url(url) => live(Box::new(move |_| capture::url(&url))),
            Choice::Gst(pipeline) => live(Box::new(move |_| capture::gst(&pipeline))),
            Choice::Rpicam => {
                let camera = rpicam::Settings::new(size, fps, args.quality);
                live(Box::new(move |leash| camera.open(leash)))
            }
            Choice::Auto => {
                let camera = rpicam::Settings::new(size, fps, args.quality);
                live(Box::new(move |leash| auto(&camera, leash, size, fps)))
            }
        }
    }

    /// Frames a second: `asked`, or a video's own rate where that is lower.
    pub(crate) fn fps(&self, asked: f64) -> f64 {
        match self {
            Self::Recording(recording) => recording.fps(),
            Self::Demo(_) | Self::Live(_) => asked,
        }
    }

    /// The picture for a tick; a live source is waited for, `patience` at most.
    ///
    /// # Errors
    /// Where a file breaks, or a live source under `--exit-on-source-error`.
    pub(crate) fn next(&mut self, tick: &Tick, patience: Duration) -> anyhow::Result<Next> {
        let picture = match self {
            Self::Live(live) => return live.next(tick, patience),
            Self::Demo(scene) => Some(Picture::Raw(scene.draw(tick.index)?)),
            Self::Recording(recording) => recording.next(tick)?,
        };
        Ok(picture.map_or(Next::End, |picture| {
            Next::Shot(Shot {
                picture,
                captured_us: unix_micros(),
                missed: tick.missed,
            })
        }))
    }

    /// The true boxes of a tick's picture, which only the demo knows.
    ///
    /// # Errors
    /// OpenCV's own; never seen.
    pub(crate) fn truth(&self, index: u64) -> anyhow::Result<Vec<Detection>> {
        match self {
            Self::Demo(scene) => scene.truth(index),
            Self::Recording(_) | Self::Live(_) => Ok(Vec::new()),
        }
    }
}

/// The Pi's camera where it works, else the first V4L2 camera; the error tells why neither did.
fn auto(
    camera: &rpicam::Settings,
    leash: &live::Leash,
    size: Size,
    fps: f64,
) -> anyhow::Result<live::Feed> {
    let pi = match camera.open(leash) {
        Ok(feed) => return Ok(feed),
        Err(why) => why,
    };
    let usb = match devices().first() {
        Some(device) => match capture::device(device, size, fps) {
            Ok(feed) => return Ok(feed),
            Err(why) => why,
        },
        None => anyhow::anyhow!("there is no /dev/video*: plug in a USB camera"),
    };
    anyhow::bail!(
        "no camera found; rpicam: {pi:#}; V4L2: {usb:#}; or name a source: --source demo needs no camera"
    )
}

/// The JPEG that these bytes start with, checked, without what may stand behind it.
fn checked(mut bytes: Vec<u8>) -> Result<Vec<u8>, Defect> {
    let end = jpeg::stream_end(&bytes)?.ok_or(Defect::NoEnd)?;
    bytes.truncate(end);
    jpeg::scan(&bytes, Limits::default())?;
    Ok(bytes)
}

fn is_jpeg(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0xFF, 0xD8, 0xFF])
}

fn has_extension(path: &Path, known: &[&str]) -> bool {
    let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
    known.iter().any(|known| extension == *known)
}
