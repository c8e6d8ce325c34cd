//! Video files as browsers, phones and drones write them.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use opencv::core::{CV_8UC3, Mat, Rect, Scalar, Size, Vec3b};
use opencv::prelude::*;
use opencv::videoio::{CAP_FFMPEG, VideoWriter};
use protocol::label::Label;

use crate::support::{Relay, expect_exit, jpeg, sender, sender_to, video, write};

fn element(id: &[u8], content: &[u8]) -> Vec<u8> {
    let size = (content.len() as u64 | 1 << 56).to_be_bytes();
    [id, &size, content].concat()
}

/// Returns a Matroska file of MJPEG tracks without a rate. A picture is its track, its time in milliseconds, and its bytes.
fn matroska(tracks: u8, pictures: &[(u8, u16, &[u8])]) -> Vec<u8> {
    let size = [element(&[0xB0], &[1, 64]), element(&[0xBA], &[0, 240])].concat();
    let entries = (1..=tracks).flat_map(|track| {
        let fields = [
            element(&[0xD7], &[track]),
            element(&[0x73, 0xC5], &[track]),
            element(&[0x83], &[1]),
            element(&[0x86], b"V_MJPEG"),
            element(&[0xE0], &size),
        ];
        element(&[0xAE], &fields.concat())
    });
    let entries: Vec<u8> = entries.collect();
    let blocks = pictures.iter().flat_map(|(track, ms, jpeg)| {
        let head = [&[0x80 | track][..], &ms.to_be_bytes(), &[0x80]].concat();
        element(&[0xA3], &[&head, *jpeg].concat())
    });
    let cluster = [element(&[0xE7], &[0]), blocks.collect()].concat();
    let parts = [
        element(
            &[0x15, 0x49, 0xA9, 0x66],
            &element(&[0x2A, 0xD7, 0xB1], &[0x0F, 0x42, 0x40]),
        ),
        element(&[0x16, 0x54, 0xAE, 0x6B], &entries),
        element(&[0x1F, 0x43, 0xB6, 0x75], &cluster),
    ];
    let head = element(
        &[0x1A, 0x45, 0xDF, 0xA3],
        &element(&[0x42, 0x82], b"matroska"),
    );
    [head, element(&[0x18, 0x53, 0x80, 0x67], &parts.concat())].concat()
}

/// Sends a file to its end, and returns the frames and the time between the first and the last.
fn played(path: &Path, words: &[&str]) -> (Vec<Vec<u8>>, Duration) {
    let relay = Relay::start();
    let running = sender_to(relay.addr(), path.to_str().unwrap(), words)
        .args(["--report"])
        .start();
    let mut frames = vec![relay.datagram()];
    let start = Instant::now();
    relay
        .0
        .set_read_timeout(Some(Duration::from_millis(1500)))
        .unwrap();
    let mut buffer = vec![0; 65_536];
    let mut took = Duration::ZERO;
    while let Ok(length) = relay.0.recv(&mut buffer) {
        frames.push(buffer[..length].to_vec());
        took = start.elapsed();
    }
    let done = running.finish();
    assert_eq!(done.status.code(), Some(0), "{}", done.stderr);
    (frames, took)
}

#[test]
fn a_video_without_a_rate_is_played_by_its_time_stamps() {
    let dir = tempfile::tempdir().unwrap();
    let pictures: Vec<Vec<u8>> = (0..6)
        .map(|n| jpeg(320, 240, f64::from(n) * 40.0))
        .collect();
    let times = [0, 15, 300, 320, 900, 1200];
    let blocks: Vec<_> = times
        .iter()
        .zip(&pictures)
        .map(|(ms, jpeg)| (1, *ms, &jpeg[..]))
        .collect();
    let path = write(dir.path(), "recorder.webm", matroska(1, &blocks));
    let (frames, took) = played(&path, &["--fps", "50"]);
    assert_eq!(frames.len(), 6);
    assert!(took.as_millis().abs_diff(1200) < 250, "{took:?}");
}

#[test]
fn a_cover_picture_in_front_of_a_video_is_not_the_video() {
    let dir = tempfile::tempdir().unwrap();
    // The cover is blue and the video green.
    let (cover, picture) = (jpeg(300, 200, 250.0), jpeg(320, 240, 10.0));
    let mut blocks = vec![(1, 0, &cover[..])];
    blocks.extend((0..5).map(|n| (2, n * 100, &picture[..])));
    let path = write(dir.path(), "drone.mkv", matroska(2, &blocks));
    let (frames, _) = played(&path, &[]);
    assert_eq!(frames.len(), 5);
    for frame in frames {
        let picture = imaging::jpeg::decode(&frame).unwrap();
        let green = picture.at_2d::<Vec3b>(100, 150).unwrap()[1];
        assert!(green > 200, "the cover is shown: {green}");
    }
}

/// Writes a video whose pictures are white on the left, to be turned by 90 degrees clockwise.
fn phone(dir: &Path, name: &str, codec: &[u8; 4]) -> std::path::PathBuf {
    let path = dir.join(name);
    let codec = i32::from_le_bytes(*codec);
    let size = Size::new(320, 240);
    let mut file =
        VideoWriter::new_with_backend(path.to_str().unwrap(), CAP_FFMPEG, codec, 10.0, size, true)
            .unwrap();
    let mut picture = Mat::new_rows_cols_with_default(240, 320, CV_8UC3, Scalar::all(0.0)).unwrap();
    let mut left = Mat::roi_mut(&mut picture, Rect::new(0, 0, 160, 240)).unwrap();
    left.set_to(&Scalar::all(255.0), &opencv::core::no_array())
        .unwrap();
    drop(left);
    for _ in 0..3 {
        file.write(&picture).unwrap();
    }
    file.release().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let header = bytes.windows(4).position(|name| name == b"tkhd").unwrap();
    for (n, value) in [0_i32, 0x10000, 0, -0x10000, 0].iter().enumerate() {
        let at = header + 44 + 4 * n;
        bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
    }
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn a_phones_video_is_upright_whether_it_is_decoded_or_passed_through() {
    let dir = tempfile::tempdir().unwrap();
    for (name, codec) in [("phone.mp4", b"mp4v"), ("phone.mov", b"MJPG")] {
        let path = phone(dir.path(), name, codec);
        let (frames, _) = played(&path, &["--size", "240x320"]);
        let picture = imaging::jpeg::decode(&frames[0]).unwrap();
        let at = |row, column| picture.at_2d::<Vec3b>(row, column).unwrap()[0];
        assert_eq!((picture.cols(), picture.rows()), (240, 320), "{name}");
        assert!(
            at(40, 40) > 200 && at(40, 200) > 200 && at(280, 120) < 50,
            "{name}"
        );
    }
}

#[test]
fn a_file_may_have_any_name() {
    let dir = tempfile::tempdir().unwrap();
    let content = fs::read(video(dir.path(), 10.0, 2)).unwrap();
    let path = dir.path().to_str().unwrap();
    let latin1 = OsString::from_vec([path.as_bytes(), b"/k\xfcche.avi"].concat());
    for (name, source) in [
        // FFmpeg would take the 10 for a protocol.
        ("10:30 a.avi".into(), "10:30 a.avi".into()),
        ("100%.avi".into(), format!("{path}/100%.avi").into()),
        (
            "50%20.avi".into(),
            format!("file://{path}/50%20.avi").into(),
        ),
        (
            "a b%.avi".into(),
            format!("file://{path}/a%20b%25.avi").into(),
        ),
        (
            "c d.avi".into(),
            format!("file://localhost{path}/c%20d.avi").into(),
        ),
        (OsString::from_vec(b"k\xfcche.avi".to_vec()), latin1),
    ] {
        let name: OsString = name;
        fs::write(dir.path().join(&name), &content).unwrap();
        let relay = Relay::start();
        let server = relay.addr().to_string();
        let program = sender(&["--server", &server, "--source"])
            .args([source])
            .dir(&dir);
        expect_exit(program, 0);
        Label::read(&relay.datagram()).unwrap().unwrap();
    }
}
