//! Reads pictures: from the demo scene, a file, a camera or a stream.
//!
//! ```text
//! demo, files:   read by the send loop, once a tick --------------> CapturedPicture
//! live sources:  camera --> reader thread --> newest-wins slot ---> CapturedPicture
//!                  ^ reopened with backoff
//! ```
//!
//! A file and the demo wait for the loop, so that a run can be repeated. A camera does not wait, so a thread of its own
//! reads it and holds its newest picture and nothing else. So does a pipe on standard input.
//!
//! | `--source` | read by |
//! |---|---|
//! | video | `video_file`, by its time stamps, through OpenCV (`capture`) |
//! | MJPEG file, numbered pictures | `file`, one a tick |
//! | one picture | `still_file`, again and again |
//! | `http://`, `https://` | `http`, and `capture` for videos |
//! | other URLs, `gst:`, `/dev/videoN` | `capture` |
//! | `rpicam`, `-` | `rpicam`, `stdin` (until the first picture by `pipe_watch`): JPEGs out of a pipe (`mjpeg`) |

mod backoff;
mod broken;
mod camera_url;
mod capture;
mod cover;
mod file;
mod http;
mod live;
mod mistyped;
mod mjpeg;
mod pipe_watch;
mod rpicam;
pub mod rpicam_options;
pub mod spec;
mod stdin;
mod still_file;
mod timeline;
mod video_file;

use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use opencv::core::Mat;
use platform::clock::unix_micros;
use platform::config::TransportChoice;
use protocol::detections::Detection;
use protocol::geometry::Size;
use protocol::jpeg::{self, Defect, Limits, Survey};

use crate::args::Args;
use crate::pacer::Tick;

use camera_url::CameraUrl;
pub(crate) use capture::devices;
use live::endless;
pub(crate) use rpicam::find as rpicam;
use scene::Scene;
use spec::SourceSpec;
use video_file::Shown;

const STILL: &str = "the URL gives a picture that is not a JPEG, such as a PNG, which is requested anew about twice a second \
                     at most; choose JPEG in the camera's settings, whose pictures are requested as often as --fps says";

/// A picture as its source delivers it. A clone has the same pixels.
#[derive(Debug, Clone)]
pub(crate) enum Picture {
    /// A JPEG within [`Limits::OWN`].
    Jpeg {
        /// The bytes, from SOI to EOI.
        jpeg: Bytes,
        /// Size that the scan read.
        size: Size,
        /// Whether it may leave as it is, since it is within [`Limits::NETWORK`].
        sendable: bool,
    },
    /// 8-bit BGR or grey.
    Raw(Mat),
}

impl Picture {
    /// Scans the JPEG that these bytes start with, and returns it without the bytes behind it.
    ///
    /// # Errors
    /// If it is not a whole JPEG, or beyond the limits of one's own pictures.
    pub(crate) fn from_jpeg(bytes: impl Into<Bytes>) -> Result<Self, Defect> {
        let mut jpeg = bytes.into();
        let end = jpeg::stream_end(&jpeg)?.ok_or(Defect::NoEnd)?;
        jpeg.truncate(end);
        let survey = Survey::of(&jpeg)?;
        let size = survey.check(Limits::OWN)?;
        let sendable = survey.check(Limits::NETWORK).is_ok();
        Ok(Self::Jpeg {
            jpeg,
            size,
            sendable,
        })
    }
}

/// A picture, and when it was captured.
#[derive(Debug)]
pub(crate) struct CapturedPicture {
    /// The picture.
    pub(crate) picture: Picture,
    /// Time right after it was read, in microseconds since the Unix epoch.
    pub(crate) captured_us: u64,
    /// Count of the pictures right before it that were lost because the sender was busy.
    pub(crate) missed: u64,
}

/// What a source has for a tick.
#[derive(Debug)]
pub(crate) enum Poll {
    /// A new picture.
    Picture(CapturedPicture),
    /// No new picture yet.
    Pending,
    /// The end: no picture will come any more.
    End,
}

/// An open source.
#[derive(Debug)]
pub(crate) enum PictureSource {
    /// The generated scene.
    Demo(Scene),
    /// A file.
    File(file::FileSource),
    /// A camera or a stream.
    Live(live::LiveSource),
}

impl PictureSource {
    /// Opens the source that the command line names.
    ///
    /// # Errors
    /// If a file does not exist or cannot be read, or a URL is mistyped; live sources are opened, and opened again, by their own thread.
    pub(crate) fn open(args: &Args) -> anyhow::Result<Self> {
        let goal = args.frame_goal();
        let by_udp = args.transport == TransportChoice::Udp;
        let (size, fps) = (goal.of_camera(by_udp), args.fps);
        let live = |open: live::OpenSource| {
            Ok(Self::Live(live::LiveSource::start(
                open,
                args.exit_on_source_error,
            )?))
        };
        match args.source.clone() {
            SourceSpec::Demo => Ok(Self::Demo(Scene::new(
                args.demo_seed,
                goal.of_demo(),
                fps,
                args.demo_speed,
            )?)),
            SourceSpec::File(path) => {
                file::FileSource::open(path, args.fps, args.again).map(Self::File)
            }
            SourceSpec::Stdin if stdin::is_file() => {
                file::FileSource::open(stdin::PATH.into(), args.fps, args.again).map(Self::File)
            }
            // What is read of it is gone, so it is not opened again.
            SourceSpec::Stdin => {
                let strict = args.exit_on_source_error;
                let open = Box::new(move |_: &live::ChildGuard| stdin::open(strict));
                Ok(Self::Live(live::LiveSource::start(open, true)?))
            }
            SourceSpec::Device(device) => live(Box::new(move |_| {
                capture::device(&device, size, fps).map(endless)
            })),
            SourceSpec::MistypedUrl(text) => bail!(mistyped::url_error(&text)),
            SourceSpec::Url(url) => {
                if let Some(why) = mistyped::scheme_error(&url) {
                    bail!(why);
                }
                let again = args.again;
                live(Box::new(move |_| open_url(&url, fps, again).map(endless)))
            }
            SourceSpec::Gst(pipeline) => {
                live(Box::new(move |_| capture::gst(&pipeline).map(endless)))
            }
            SourceSpec::Rpicam => {
                let camera = rpicam::Settings::new(size, fps, args.quality, &args.rpicam_options);
                live(Box::new(move |guard| camera.open(guard).map(endless)))
            }
            SourceSpec::Auto => {
                let camera = rpicam::Settings::new(size, fps, args.quality, &args.rpicam_options);
                live(Box::new(move |guard| {
                    auto(&camera, guard, size, fps).map(endless)
                }))
            }
        }
    }

    /// Returns the frames a second: `wanted`, or a video's own rate if that is lower.
    pub(crate) fn fps(&self, wanted: f64) -> f64 {
        match self {
            Self::File(file) => file.fps(),
            Self::Demo(_) | Self::Live(_) => wanted,
        }
    }

    /// Returns the picture for a tick; waits for a live source, `timeout` at most.
    ///
    /// # Errors
    /// If a file cannot be read on, or a live source is lost under `--exit-on-source-error`.
    pub(crate) fn poll(&mut self, tick: &Tick, timeout: Duration) -> anyhow::Result<Poll> {
        let shown = match self {
            Self::Live(live) => return live.poll(tick, timeout),
            Self::Demo(scene) => Shown::New(Picture::Raw(scene.draw(tick.index)?)),
            Self::File(file) => file.next(tick)?,
        };
        Ok(match shown {
            Shown::New(picture) => Poll::Picture(CapturedPicture {
                picture,
                captured_us: unix_micros(),
                missed: tick.missed,
            }),
            Shown::Same => {
                // No picture will come for this tick.
                thread::sleep(timeout);
                Poll::Pending
            }
            Shown::End => Poll::End,
        })
    }

    /// Returns the true boxes of a tick's picture, which only the demo knows.
    ///
    /// # Errors
    /// OpenCV's own; never seen.
    pub(crate) fn truth(&self, index: u64) -> anyhow::Result<Vec<Detection>> {
        match self {
            Self::Demo(scene) => scene.truth(index),
            Self::File(_) | Self::Live(_) => Ok(Vec::new()),
        }
    }
}

/// Opens the Pi's camera if it works, else the first V4L2 camera; the error contains why neither did.
fn auto(
    camera: &rpicam::Settings,
    guard: &live::ChildGuard,
    size: Size,
    fps: f64,
) -> anyhow::Result<live::ReadPicture> {
    let pi = match camera.open(guard) {
        Ok(read) => return Ok(read),
        Err(why) => why,
    };
    let usb = match devices().first() {
        Some(device) => match capture::device(device, size, fps) {
            Ok(read) => return Ok(read),
            Err(why) => why,
        },
        None => anyhow::anyhow!("there is no /dev/video*: plug in a USB camera"),
    };
    bail!(
        "no camera found; rpicam: {pi:#}; V4L2: {usb:#}; or name a source: --source demo needs no camera"
    )
}

/// Opens a network camera: HTTP's are read here, videos and other schemes by FFmpeg.
fn open_url(url: &str, fps: f64, again: bool) -> anyhow::Result<live::ReadPicture> {
    let url = CameraUrl::parse(url).context("a URL begins with a scheme, as in http://")?;
    let opened = match url.is_http() {
        true => http::open(&url, fps).with_context(|| format!("{url} gives no picture"))?,
        false => http::Opened::Video,
    };
    match opened {
        http::Opened::Pictures(read) => Ok(read),
        http::Opened::Video => capture::url(&url, again),
        http::Opened::Still => capture::url(&url, again).map(read_one).context(STILL),
    }
}

/// Returns the reading of one picture, after which the source starts over.
fn read_one(mut read: live::ReadPicture) -> live::ReadPicture {
    let mut first = true;
    Box::new(move || match std::mem::take(&mut first) {
        true => read(),
        false => bail!(live::StartsOver(Some(STILL))),
    })
}

fn is_jpeg(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0xFF, 0xD8, 0xFF])
}

fn has_extension(path: &Path, known: &[&str]) -> bool {
    let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
    known.iter().any(|known| extension == *known)
}
