//! The sender's source: files of JPEGs that become frames of exactly the given size.

use std::fs;
use std::path::{Path, PathBuf};

use protocol::label::{Label, StreamId};
use testkit::jpeg::mosaic;

/// The camera's name in every label.
pub(crate) const CAMERA: &str = "link";
/// Number of pictures in a file, which the sender repeats.
const PICTURES: u64 = 50;

/// Writes a file of pictures that become frames of `bytes` with their label.
pub(crate) fn write(directory: &Path, bytes: usize) -> PathBuf {
    let pictures = (0..PICTURES).flat_map(|n| mosaic(300, 200, n, bytes - label()));
    let file = directory.join(format!("{bytes}.mjpeg"));
    fs::write(&file, pictures.collect::<Vec<u8>>()).unwrap();
    file
}

/// Returns the bytes that the label adds.
fn label() -> usize {
    let label = Label {
        stream: StreamId(0),
        seq: 0,
        captured_us: 0,
        camera: CAMERA.parse().unwrap(),
    };
    let soi = protocol::jpeg::SOI;
    label.write(&soi).len() - soi.len()
}
