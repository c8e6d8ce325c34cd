//! Reads V4L2 cameras, streams, GStreamer pipelines and video files through OpenCV.
//!
//! If the source's own coding is JPEG, its bytes are read instead of pixels: 0.05 ms instead of 1.4 ms a frame, and a
//! second encoding loses nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use opencv::core::{CV_8UC1, Mat, Vector};
use opencv::prelude::*;
use opencv::videoio::{
    CAP_FFMPEG, CAP_GSTREAMER, CAP_PROP_CONVERT_RGB, CAP_PROP_FORMAT, CAP_PROP_FOURCC,
    CAP_PROP_FPS, CAP_PROP_FRAME_COUNT, CAP_PROP_FRAME_HEIGHT, CAP_PROP_FRAME_WIDTH,
    CAP_PROP_OPEN_TIMEOUT_MSEC, CAP_PROP_READ_TIMEOUT_MSEC, CAP_V4L2, VideoCapture,
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use protocol::geometry::Size;
use tracing::debug;

use super::camera_url::CameraUrl;
use super::http::Login;
use super::live::ReadPicture;
use super::{MAX_BROKEN_PICTURES, Picture, is_jpeg};

/// Time (ms) that a stream may take to open, and to give the next picture.
const TIMEOUT_MS: i32 = 5000;

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
    let mut video = Video(video);
    let mut first = video.read_mat()?;
    if !holds_jpeg(&first) {
        video.0.set(CAP_PROP_CONVERT_RGB, 1.0)?;
        first = None;
    }
    read_live(video, first).context("the camera opens and gives no picture")
}

/// Opens a stream on the network.
pub(super) fn url(url: &CameraUrl<'_>) -> anyhow::Result<ReadPicture> {
    let (video, first) = coded_or_decoded(for_ffmpeg(url).as_ref()).with_context(|| {
        format!("{url} gives no stream: are the address and the login right, and is the camera up?")
    })?;
    // A finished video behind a URL has a length. It would arrive as fast as the network: play it at its own speed.
    let finished = video.0.get(CAP_PROP_FRAME_COUNT)? > 0.0;
    let pause = video
        .fps()
        .filter(|_| finished)
        .map(|fps| Duration::from_secs_f64(1.0 / fps));
    let mut read = read_live(video, first)?;
    Ok(Box::new(move || {
        pause.inspect(|pause| thread::sleep(*pause));
        read()
    }))
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
    read_live(Video(video), None)
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

/// Opens a video, as JPEG bytes if it consists of those, else decoded; with the picture that was read to find out.
pub(super) fn coded_or_decoded(name: &Path) -> anyhow::Result<(Video, Option<Mat>)> {
    let mut coded = Video::open(name, &[CAP_PROP_FORMAT, -1])?;
    let first = coded.read_mat()?;
    if holds_jpeg(&first) {
        return Ok((coded, first));
    }
    // Closed first: some cameras serve one client at a time.
    drop(coded);
    Ok((Video::open(name, &[])?, None))
}

/// Returns the reading of a live video, which skips broken pictures.
fn read_live(mut video: Video, first: Option<Mat>) -> anyhow::Result<ReadPicture> {
    let mut first = first;
    let mut next = move || match first.take() {
        Some(mat) => Ok(Some(mat)),
        None => video.read_mat(),
    };
    let mut read = move || {
        for _ in 0..MAX_BROKEN_PICTURES {
            let mat = next()?.context("the source ended")?;
            match picture(mat) {
                Ok(picture) => return Ok(picture),
                Err(why) => debug!("a broken picture is skipped: {why:#}"),
            }
        }
        bail!("the source gave {MAX_BROKEN_PICTURES} broken pictures in a row");
    };
    // The first picture belongs to the opening: if there is none, `auto` goes on to the next camera.
    let mut first = Some(read()?);
    Ok(Box::new(move || first.take().map_or_else(&mut read, Ok)))
}

/// An open video.
#[derive(Debug)]
pub(super) struct Video(VideoCapture);

impl Video {
    fn open(name: &Path, options: &[i32]) -> anyhow::Result<Self> {
        let timeouts = [
            CAP_PROP_OPEN_TIMEOUT_MSEC,
            TIMEOUT_MS,
            CAP_PROP_READ_TIMEOUT_MSEC,
            TIMEOUT_MS,
        ];
        let options: Vector<i32> = timeouts.iter().chain(options).copied().collect();
        let video = VideoCapture::from_file_with_params(name, CAP_FFMPEG, &options)?;
        ensure!(video.is_opened()?, "ffmpeg cannot open it");
        Ok(Self(video))
    }

    /// Returns the frames a second that the container names, if it names any.
    pub(super) fn fps(&self) -> Option<f64> {
        let fps = self.0.get(CAP_PROP_FPS).unwrap_or(0.0);
        (0.01..=1000.0).contains(&fps).then_some(fps)
    }

    /// Skips one picture; false at the end.
    pub(super) fn skip(&mut self) -> anyhow::Result<bool> {
        Ok(self.0.grab()?)
    }

    /// Returns the next picture as OpenCV gives it; `None` at the end.
    pub(super) fn read_mat(&mut self) -> anyhow::Result<Option<Mat>> {
        let mut mat = Mat::default();
        let read = self.0.read(&mut mat)?;
        Ok((read && !mat.empty()).then_some(mat))
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
