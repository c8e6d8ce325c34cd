//! An honest camera beside hostile ones whose pictures are expensive to decode, at the real relay.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

mod common {
    pub(crate) mod process;
    pub(crate) mod udp;
}

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use common::process::{MS, relay, stop};
use common::udp::{picture, socket};
use protocol::datagram::MAX_DATAGRAM;
use protocol::detections::Detections;
use protocol::label::{Label, StreamId};
use testkit::jpeg::bombs;

/// Frames of the honest camera, at 10 a second.
const FRAMES: u64 = 60;
const HOSTILE: u64 = 8;

#[test]
fn eight_cameras_of_expensive_pictures_leave_an_honest_one_its_inferences() {
    let out = tempfile::tempdir().unwrap();
    let lines = out.path().join("detections.jsonl");
    let flags = ["--listen", "127.0.0.1:0", "--model", "demo"];
    let more = ["--every", "1", "--detections", lines.to_str().unwrap()];
    let running = relay(&[&flags[..], &more].concat());
    let address = running.listening();
    let expensive = bombs::flat_progressive(2800, 2800);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for camera in 0..HOSTILE {
            let (expensive, done) = (&expensive, &done);
            scope.spawn(move || {
                let socket = socket("127.0.0.1", address);
                for seq in 1.. {
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                    let frame = labelled(&format!("hostile{camera}"), seq, expensive);
                    assert!(frame.len() <= MAX_DATAGRAM, "{}", frame.len());
                    socket.send(&frame).unwrap();
                    thread::sleep(8 * MS);
                }
            });
        }
        let socket = socket("127.0.0.1", address);
        for seq in 1..=FRAMES {
            socket.send(&labelled("yard", seq, &picture(seq))).unwrap();
            thread::sleep(Duration::from_millis(100));
        }
        done.store(true, Ordering::Relaxed);
    });
    stop(running);
    let text = fs::read_to_string(lines).unwrap();
    let inferred: Vec<_> = text
        .lines()
        .map(|line| Detections::parse(line.as_bytes()).unwrap().camera)
        .collect();
    let own = inferred.iter().filter(|camera| *camera == "yard").count();
    eprintln!("{own} of {} inferences, {} of all", FRAMES, inferred.len());
    // With turns by frame half of them were missed.
    assert!(own as u64 >= FRAMES * 3 / 4, "{own} inferences");
}

fn labelled(camera: &str, seq: u64, jpeg: &[u8]) -> Vec<u8> {
    let label = Label {
        stream: StreamId(7),
        seq,
        captured_us: seq,
        camera: camera.parse().unwrap(),
    };
    label.write(jpeg)
}
