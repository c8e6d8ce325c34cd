//! Reads V4L2 cameras, streams, GStreamer pipelines and video files through OpenCV.
//!
//! If the source's own coding is JPEG, its bytes are read instead of pixels: 0.05 ms instead of 1.4 ms a frame, and a
//! second encoding loses nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use opencv::core::{
    self, CV_8UC1, Mat, ROTATE_90_CLOCKWISE, ROTATE_90_COUNTERCLOCKWISE, ROTATE_180, Vector,
};
use opencv::prelude::*;
use opencv::videoio::{
    CAP_FFMPEG, CAP_GSTREAMER, CAP_PROP_CONVERT_RGB, CAP_PROP_FORMAT, CAP_PROP_FOURCC,
    CAP_PROP_FPS, CAP_PROP_FRAME_COUNT, CAP_PROP_FRAME_HEIGHT, CAP_PROP_FRAME_WIDTH,
    CAP_PROP_OPEN_TIMEOUT_MSEC, CAP_PROP_ORIENTATION_AUTO, CAP_PROP_ORIENTATION_META,
    CAP_PROP_POS_MSEC, CAP_PROP_READ_TIMEOUT_MSEC, CAP_V4L2, VideoCapture,
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use protocol::geometry::Size;
use tracing::debug;

use super::broken::BrokenRow;
use super::camera_url::CameraUrl;
use super::http::Login;
use super::live::{ReadPicture, StartsOver};
use super::timeline::{Timeline, believable};
use super::{Picture, is_jpeg};

/// Time (ms) that a stream may take to open, and to give the next picture.
const TIMEOUT_MS: i32 = 5000;
/// Count of a video's first pictures that show whether its rate is even: a second of most.
const PROBED_PICTURES: u32 = 30;

const VIDEO_ENDS: &str = "the URL gives a video that ends, and not a camera's stream: it starts over, now and each further \
                          time; add --loop if that is meant, or save it and name the file as --source, with which the \
                          sender ends";

/// Opens a V4L2 camera and requests JPEG near this size and rate.
pub(super) fn device(device: &Path, size: Size, fps: f64) -> anyhow::Result<ReadPicture> {
    // OpenCV's own error names no cause.
    ensure!(
        device.exists(),
        "{} does not exist; {}",
        device.display(),
        which_exist()
    );
    let mut video = VideoCapture::from_file(device, CAP_V4L2)?;
    ensure!(
        video.is_opened()?,
        "{} cannot be opened: another program may hold it, or this user may not (sudo usermod -aG video $USER, then log in again); {}",
        device.display(),
        which_exist()
    );
    let mjpg = f64::from(i32::from_le_bytes(*b"MJPG"));
    // Drivers choose the nearest that they can do, or ignore it; `first` shows what came.
    video.set(CAP_PROP_FOURCC, mjpg)?;
    video.set(CAP_PROP_FRAME_WIDTH, size.width.into())?;
    video.set(CAP_PROP_FRAME_HEIGHT, size.height.into())?;
    video.set(CAP_PROP_FPS, fps)?;
    video.set(CAP_PROP_CONVERT_RGB, 0.0)?;
    let mut video = Video {
        capture: video,
        turn: None,
        coded: false,
    };
    let mut first = video.read_mat()?;
    if !holds_jpeg(&first) {
        video.capture.set(CAP_PROP_CONVERT_RGB, 1.0)?;
        first = None;
    }
    read_live(video, first).context("the camera opens and gives no picture")
}

/// Opens a stream on the network, or a video there, which is played `again` and again.
pub(super) fn url(url: &CameraUrl<'_>, again: bool) -> anyhow::Result<ReadPicture> {
    let (video, first) = coded_or_decoded(for_ffmpeg(url).as_ref()).with_context(|| {
        format!("{url} gives no stream: are the address and the login right, and is the camera up?")
    })?;
    // A finished video behind a URL would arrive as fast as the network: play it by its time stamps. Recordings of a
    // browser have no length, and no rate either.
    let finished =
        video.capture.get(CAP_PROP_FRAME_COUNT)? > 0.0 || (url.is_http() && video.fps().is_none());
    match finished {
        true => Ok(read_paced(video, first, again)),
        false => read_live(video, first),
    }
}

/// Returns the reading of a finished video, each picture at its time.
fn read_paced(mut video: Video, first: Option<Mat>, again: bool) -> ReadPicture {
    let (mut first, mut start) = (first, None);
    let mut timeline = Timeline::new(video.fps());
    Box::new(move || {
        loop {
            let mat = match first.take() {
                Some(mat) => mat,
                None => match video.read_mat()? {
                    Some(mat) => mat,
                    None => bail!(StartsOver((!again).then_some(VIDEO_ENDS))),
                },
            };
            let time = Duration::from_secs_f64(timeline.place(video.stamp_ms()));
            let due = *start.get_or_insert_with(Instant::now) + time;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            match picture(mat) {
                Ok(picture) => return Ok(picture),
                Err(why) => debug!("a broken picture is skipped: {why:#}"),
            }
        }
    })
}

/// Returns the URL as FFmpeg understands it, which ends the host at the first slash: also at one in a password.
fn for_ffmpeg(url: &CameraUrl<'_>) -> String {
    let CameraUrl {
        scheme,
        login,
        host,
        rest,
        ..
    } = url;
    let Some(login) = login else {
        return format!("{scheme}://{host}{rest}");
    };
    let escaped = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let Login { user, password } = Login::decode(login);
    match login.contains(['/', '?', '#', '@']) {
        true => format!(
            "{scheme}://{}:{}@{host}{rest}",
            escaped(&user),
            escaped(&password)
        ),
        false => format!("{scheme}://{login}@{host}{rest}"),
    }
}

/// Opens a GStreamer pipeline.
pub(super) fn gst(pipeline: &str) -> anyhow::Result<ReadPicture> {
    ensure!(
        pipeline.contains("appsink"),
        "the pipeline has no appsink, so no picture comes out of it; end it with '! videoconvert ! appsink' (or '! jpegenc ! appsink')"
    );
    let video = VideoCapture::from_file(pipeline, CAP_GSTREAMER)?;
    ensure!(
        video.is_opened()?,
        "GStreamer cannot run the pipeline; try it with gst-launch-1.0, with fakesink in place of appsink"
    );
    read_live(
        Video {
            capture: video,
            turn: None,
            coded: false,
        },
        None,
    )
}

/// Returns the V4L2 devices of this machine, lowest number first.
pub(crate) fn devices() -> Vec<PathBuf> {
    let number = |path: &PathBuf| {
        let name = path.file_name()?.to_str()?.strip_prefix("video")?;
        name.parse::<u32>().ok()
    };
    let entries = fs::read_dir("/dev").into_iter().flatten().flatten();
    let mut devices: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| number(path).is_some())
        .collect();
    devices.sort_by_key(number);
    devices
}

fn which_exist() -> String {
    let devices: Vec<String> = devices()
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    match devices.as_slice() {
        [] => "there is no /dev/video* at all: plug in a camera".to_owned(),
        _ => format!("there are {}", devices.join(", ")),
    }
}

/// Opens a video file by its name for FFmpeg, as JPEG bytes if it consists of those, upright and at an even rate, else decoded; with the picture
/// that was read to find out.
pub(super) fn open_file(name: &Path) -> anyhow::Result<(Video, Option<Mat>)> {
    let (video, first) = coded_or_decoded(name)?;
    // Coded pictures come without time stamps.
    if video.coded && !has_even_rate(Video::open(name, false)?)? {
        return Ok((Video::open(name, false)?, None));
    }
    Ok((video, first))
}

/// Returns whether the first pictures of a decoded video stand where its rate says.
fn has_even_rate(mut video: Video) -> anyhow::Result<bool> {
    let Some(fps) = video.fps() else {
        return Ok(false);
    };
    let mut timeline = Timeline::new(Some(fps));
    for n in 0..PROBED_PICTURES {
        if !video.capture.grab()? {
            break;
        }
        let time = timeline.place(video.stamp_ms());
        if (time - f64::from(n) / fps).abs() > 0.5 / fps {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Opens a video, as JPEG bytes if it consists of those and is not to be turned, else decoded; with the picture that was
/// read to find out.
fn coded_or_decoded(name: &Path) -> anyhow::Result<(Video, Option<Mat>)> {
    let mut coded = Video::open(name, true)?;
    let first = coded.read_mat()?;
    if holds_jpeg(&first) && coded.turn.is_none() {
        return Ok((coded, first));
    }
    // Closed first: some cameras serve one client at a time.
    drop(coded);
    Ok((Video::open(name, false)?, None))
}

/// Returns the reading of a live video, which skips broken pictures.
fn read_live(mut video: Video, first: Option<Mat>) -> anyhow::Result<ReadPicture> {
    let mut first = first;
    let mut next = move || match first.take() {
        Some(mat) => Ok(Some(mat)),
        None => video.read_mat(),
    };
    let mut read = move || {
        let mut broken = BrokenRow::of("the source");
        loop {
            let mat = next()?.context("the source ended")?;
            match picture(mat) {
                Ok(picture) => return Ok(picture),
                Err(why) => broken.skip(&why)?,
            }
        }
    };
    // The first picture belongs to the opening: if there is none, `auto` goes on to the next camera.
    let mut first = Some(read()?);
    Ok(Box::new(move || first.take().map_or_else(&mut read, Ok)))
}

/// An open video.
#[derive(Debug)]
pub(super) struct Video {
    capture: VideoCapture,
    /// OpenCV's code of the rotation that makes a decoded picture upright.
    turn: Option<i32>,
    /// Whether it gives coded pictures.
    coded: bool,
}

impl Video {
    fn open(name: &Path, coded: bool) -> anyhow::Result<Self> {
        let timeouts = [
            CAP_PROP_OPEN_TIMEOUT_MSEC,
            TIMEOUT_MS,
            CAP_PROP_READ_TIMEOUT_MSEC,
            TIMEOUT_MS,
        ];
        let packets: &[i32] = if coded { &[CAP_PROP_FORMAT, -1] } else { &[] };
        let options: Vector<i32> = timeouts.iter().chain(packets).copied().collect();
        let mut capture = VideoCapture::from_file_with_params(name, CAP_FFMPEG, &options)?;
        ensure!(capture.is_opened()?, "ffmpeg cannot open it");
        capture.set(CAP_PROP_ORIENTATION_AUTO, 0.0)?;
        let version = [
            core::get_version_major(),
            core::get_version_minor(),
            core::get_version_revision(),
        ];
        let turn = turn(capture.get(CAP_PROP_ORIENTATION_META)?, version);
        Ok(Self {
            capture,
            turn,
            coded,
        })
    }

    /// Returns the frames a second that the container names, if it names any.
    pub(super) fn fps(&self) -> Option<f64> {
        believable(self.capture.get(CAP_PROP_FPS).unwrap_or(0.0))
    }

    /// Returns the time stamp of the last picture, in milliseconds; 0 if it has none, as coded pictures.
    pub(super) fn stamp_ms(&self) -> f64 {
        self.capture.get(CAP_PROP_POS_MSEC).unwrap_or(0.0)
    }

    /// Returns the next picture as OpenCV gives it, but upright; `None` at the end.
    pub(super) fn read_mat(&mut self) -> anyhow::Result<Option<Mat>> {
        let mut mat = Mat::default();
        let read = self.capture.read(&mut mat)?;
        if !read || mat.empty() {
            return Ok(None);
        }
        let Some(turn) = self.turn.filter(|_| !self.coded) else {
            return Ok(Some(mat));
        };
        let mut upright = Mat::default();
        core::rotate(&mat, &mut upright, turn)?;
        Ok(Some(upright))
    }
}

/// Returns OpenCV's code for a rotation in a video's header. OpenCV 4.6.0 alone names the angle in the other direction
/// (opencv#22088), so its own rotation shows videos of phones upside down.
fn turn(degrees: f64, opencv: [i32; 3]) -> Option<i32> {
    let degrees = if opencv == [4, 6, 0] {
        -degrees
    } else {
        degrees
    };
    match degrees.rem_euclid(360.0).round() as i32 {
        90 => Some(ROTATE_90_CLOCKWISE),
        180 => Some(ROTATE_180),
        270 => Some(ROTATE_90_COUNTERCLOCKWISE),
        _ => None,
    }
}

/// Returns a matrix as a picture; bytes that start like a JPEG have to be a whole one.
pub(super) fn picture(mat: Mat) -> anyhow::Result<Picture> {
    match bytes(&mat).filter(|bytes| is_jpeg(bytes)) {
        Some(jpeg) => Ok(Picture::from_jpeg(jpeg.to_vec())?),
        None => Ok(Picture::Raw(mat)),
    }
}

fn holds_jpeg(mat: &Option<Mat>) -> bool {
    mat.as_ref().and_then(bytes).is_some_and(is_jpeg)
}

/// Returns the content of a matrix of one row or column of bytes.
fn bytes(mat: &Mat) -> Option<&[u8]> {
    let line = mat.typ() == CV_8UC1 && (mat.rows() == 1 || mat.cols() == 1);
    line.then(|| mat.data_bytes().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sign_of_a_rotation_is_opencvs_but_for_the_one_version_that_has_it_wrong() {
        for (degrees, version, code) in [
            (90.0, [4, 5, 4], Some(ROTATE_90_CLOCKWISE)),
            (90.0, [4, 6, 0], Some(ROTATE_90_COUNTERCLOCKWISE)),
            (270.0, [4, 10, 0], Some(ROTATE_90_COUNTERCLOCKWISE)),
            (270.0, [4, 6, 0], Some(ROTATE_90_CLOCKWISE)),
            (180.0, [4, 6, 0], Some(ROTATE_180)),
            (-90.0, [4, 10, 0], Some(ROTATE_90_COUNTERCLOCKWISE)),
            (0.0, [4, 6, 0], None),
            (45.0, [4, 10, 0], None),
        ] {
            assert_eq!(turn(degrees, version), code, "{degrees} {version:?}");
        }
    }

    #[test]
    fn ffmpeg_gets_a_login_with_a_slash_escaped_and_any_other_as_it_is() {
        for (url, want) in [
            ("rtsp://cam/1?pwd=x", "rtsp://cam/1?pwd=x"),
            ("rtsp://me:p%40s@cam/1", "rtsp://me:p%40s@cam/1"),
            ("rtsp://me:p/w@cam/1", "rtsp://me:p%2Fw@cam/1"),
            ("rtsp://me:a@b@cam/1", "rtsp://me:a%40b@cam/1"),
        ] {
            assert_eq!(for_ffmpeg(&CameraUrl::parse(url).unwrap()), want);
        }
    }
}
