//! The relay with the real YOLOv5n: boxes on every Nth frame, and JPEGs that a decoder may choke on.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

mod common {
    pub(crate) mod process;
    pub(crate) mod udp;
}

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use common::process::{RELAY, SOON, stop};
use common::udp::{picture, receive, socket, viewer};
use opencv::prelude::{MatTraitConst as _, MatTraitConstManual as _};
use protocol::datagram::{Datagram, classify};
use protocol::detections::{Detections, Kind};
use testkit::process::{Program, Running};

/// Sends the collection of odd JPEGs and frames with damaged bytes: the relay lives, does not grow, and good frames pass
/// between them.
#[test]
fn odd_and_damaged_jpegs_harm_nothing() {
    let Some(folder) = testkit::shared("data/jpeg-oddities") else {
        return testkit::skip("../shared/data is not here");
    };
    let Some((relay, address)) = with_model(&["--every", "1", "--udp-egress", "10000"]) else {
        return;
    };
    let (viewer, camera) = (viewer(address), socket("127.0.0.1", address));
    let mut odd: Vec<Vec<u8>> = [folder.clone(), folder.join("made")]
        .iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| fs::read(path).unwrap())
        .filter(|jpeg| jpeg.len() <= protocol::datagram::MAX_DATAGRAM)
        .collect();
    assert!(odd.len() > 90, "{} files", odd.len());
    odd.extend((0..300).map(damaged));
    let mut good = 0;
    let mut warm = 0;
    for (n, jpeg) in odd.iter().enumerate() {
        camera.send(jpeg).unwrap();
        let marker = passes_good_frame(&camera, &viewer, 10_000 + n as u64);
        good += u64::from(marker);
        if n == 100 {
            warm = relay.rss_kb();
        }
    }
    assert_eq!(good, odd.len() as u64, "each good frame came through");
    let grown = relay.rss_kb().saturating_sub(warm);
    eprintln!(
        "resident memory {warm} kB after 100 odd frames, {grown} kB more after {}",
        odd.len()
    );
    assert!(
        warm < 600_000 && grown < 100_000,
        "{warm} kB, grown by {grown} kB"
    );
    stop(relay);
}

#[test]
fn the_nth_frames_carry_boxes_and_the_others_are_untouched() {
    let Some(sequence) = testkit::shared("data/video/seq-person-300x200-q95.mjpeg") else {
        return testkit::skip("../shared/data is not here");
    };
    let out = tempfile::tempdir().unwrap();
    let lines = out.path().join("detections.jsonl");
    let Some((relay, address)) =
        with_model(&["--every", "4", "--detections", lines.to_str().unwrap()])
    else {
        return;
    };
    let (viewer, camera) = (viewer(address), socket("127.0.0.1", address));
    let stream = fs::read(sequence).unwrap();
    let drawn = annotated_frames(&camera, &viewer, &split(&stream));
    // On a busy machine one frame may still be at the model, and another may have been replaced by a newer one.
    let deadline = Instant::now() + Duration::from_secs(2);
    while fs::read_to_string(&lines).unwrap().lines().count() < 20 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    let finished = stop(relay);
    let inferred = finished.report.as_ref().unwrap()["inferred"]
        .as_u64()
        .unwrap();
    assert!(inferred >= 15, "{inferred} of 20 were inferred");
    assert!(drawn.iter().all(|n| n % 4 == 0), "{drawn:?}");
    let messages = read_detections(&lines);
    assert_eq!(messages.len() as u64, inferred);
    assert!(messages.iter().all(|m| m.seq % 4 == 0));
    assert!(messages.windows(2).all(|pair| pair[0].seq < pair[1].seq));
    assert!(
        messages
            .iter()
            .all(|m| m.kind == Kind::Inferred && m.camera == "cam1" && (m.w, m.h) == (300, 200))
    );
    let with_boxes: Vec<u64> = messages
        .iter()
        .filter(|m| !m.detections.is_empty())
        .map(|m| m.seq)
        .collect();
    assert!(with_boxes.len() >= 5, "{with_boxes:?}");
    assert!(
        drawn.len() >= with_boxes.len() / 2,
        "drawn on {drawn:?}, found on {with_boxes:?}"
    );
    assert!(
        messages
            .iter()
            .flat_map(|m| &m.detections)
            .any(|d| d.label == "person")
    );
}

/// Sends 80 frames and returns the numbers of those that arrive with boxes drawn in.
fn annotated_frames(camera: &UdpSocket, viewer: &UdpSocket, frames: &[&[u8]]) -> Vec<u64> {
    let mut annotated = Vec::new();
    for (n, jpeg) in (1..=80).zip(frames) {
        camera.send(jpeg).unwrap();
        let received = receive(viewer);
        assert!(
            matches!(classify(received.clone()), Ok(Datagram::Frame(_))),
            "frame {n}"
        );
        if received != *jpeg {
            annotated.push(n);
        }
        std::thread::sleep(Duration::from_millis(30));
    }
    annotated
}

fn read_detections(file: &Path) -> Vec<Detections> {
    let text = fs::read_to_string(file).unwrap();
    let lines = text.lines().map(str::as_bytes);
    lines.map(|line| Detections::parse(line).unwrap()).collect()
}

/// Starts a relay with the real YOLOv5n; skips the test and returns `None` if the model is not present.
fn with_model(flags: &[&str]) -> Option<(Running, SocketAddr)> {
    let Some(model) = testkit::shared("data/models/yolov5n-dynamic.onnx") else {
        testkit::skip("../shared/data is not here");
        return None;
    };
    let always = [
        "--listen",
        "127.0.0.1:0",
        "--report",
        "--model",
        model.to_str().unwrap(),
    ];
    let running = Program::new(RELAY).args(always).args(flags).start();
    let address = running.listening();
    Some((running, address))
}

/// Sends a good frame once and receives until it arrives; returns whether it did.
fn passes_good_frame(camera: &UdpSocket, viewer: &UdpSocket, seq: u64) -> bool {
    let good = picture(seq);
    camera.send(&good).unwrap();
    let deadline = Instant::now() + SOON;
    while Instant::now() < deadline {
        let received = receive(viewer);
        if received == good || is_picture_with_boxes(&received, seq) {
            return true;
        }
    }
    false
}

/// Returns whether this is [`picture`] with boxes drawn in: those of the frame before it, if they came too late for that
/// one. Most of it is still of its grey.
fn is_picture_with_boxes(jpeg: &[u8], seq: u64) -> bool {
    let Ok(picture) = imaging::jpeg::decode(jpeg) else {
        return false;
    };
    let grey = (seq % 256) as u8;
    let pixels = picture.data_bytes().unwrap();
    let alike = pixels.iter().filter(|pixel| pixel.abs_diff(grey) <= 3);
    (picture.cols(), picture.rows()) == (300, 200) && 2 * alike.count() > pixels.len()
}

/// Returns a good frame with some bytes changed, by a seed.
fn damaged(seed: u64) -> Vec<u8> {
    let mut jpeg = picture(seed);
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    for _ in 0..=seed % 8 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let at = 2 + (state as usize) % (jpeg.len() - 4);
        jpeg[at] = (state >> 32) as u8;
    }
    jpeg
}

fn split(mut stream: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    while let Ok(Some(end)) = protocol::jpeg::stream_end(stream) {
        let (frame, rest) = stream.split_at(end);
        frames.push(frame);
        stream = rest;
    }
    frames
}
