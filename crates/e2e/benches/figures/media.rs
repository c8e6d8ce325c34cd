//! Pictures to send: real ones where `../shared` is there, else generated ones that cost a codec the same.

use std::fs;
use std::path::PathBuf;

use imaging::jpeg;
use opencv::core::{self, CV_8UC3, Mat, Scalar};
use opencv::imgproc;

/// Returns the real YOLOv5n with its input fixed to 640x640.
pub(crate) fn model_640() -> Option<PathBuf> {
    testkit::shared("data/models/yolov5n-640.onnx")
}

/// Returns the real YOLOv5n with free input size.
pub(crate) fn model_free() -> Option<PathBuf> {
    testkit::shared("data/models/yolov5n-dynamic.onnx")
}

/// Returns frames of a camera, 300x200 at quality 95 as the tutorial's sender makes them: a video of people if it is here.
pub(crate) fn camera() -> Vec<Vec<u8>> {
    let Some(video) = testkit::shared("data/video/seq-person-300x200-q95.mjpeg") else {
        return (0..8)
            .map(|_| jpeg::encode(&cloudy(300, 200), 95).unwrap())
            .collect();
    };
    split(&fs::read(video).unwrap())
}

/// Returns a frame of exactly `bytes`: encoded as large as fits, then padded with zeros as some cameras do.
pub(crate) fn frame_of(bytes: usize) -> Vec<u8> {
    let picture = cloudy(300, 200);
    let encoded = (1..=100)
        .rev()
        .map(|quality| jpeg::encode(&picture, quality).unwrap());
    let mut frame = encoded
        .into_iter()
        .find(|jpeg| jpeg.len() <= bytes)
        .unwrap();
    frame.resize(bytes, 0);
    frame
}

/// Returns noise, smoothed until it is as hard to encode as a photograph.
pub(crate) fn cloudy(width: i32, height: i32) -> Mat {
    let mut noise =
        Mat::new_rows_cols_with_default(height, width, CV_8UC3, Scalar::all(0.0)).unwrap();
    core::randu(&mut noise, &0.0, &255.0).unwrap();
    let mut smooth = Mat::default();
    imgproc::blur_def(&noise, &mut smooth, core::Size::new(5, 5)).unwrap();
    smooth
}

/// Splits a file of JPEGs back to back.
fn split(mut stream: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    while let Ok(Some(end)) = protocol::jpeg::stream_end(stream) {
        frames.push(stream[..end].to_vec());
        stream = &stream[end..];
    }
    frames
}
