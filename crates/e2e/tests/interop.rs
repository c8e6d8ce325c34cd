//! The tutorial's scripts and Sightline's programs in one chain, on every edge, with our end started again in mid-stream.
//! A script that gets what it does not expect dies, so each must be alive at the end.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

mod common;

use std::fs;
use std::time::{Duration, Instant};

use common::{LONG, Tutorial, alone, directory, figure, relay, sender, stop, viewer, well};
use testkit::port;
use testkit::process::Running;

/// Still running, and nothing said of an exception.
fn alive(script: &Running) {
    script.rss_kb();
    assert!(
        !script.stderr().join("\n").contains("Traceback"),
        "{}",
        script.stderr().join("\n")
    );
}

#[test]
fn tutorial_sender_and_viewer_with_our_relay_between_which_is_restarted() {
    let Some(tutorial) = Tutorial::find() else {
        return;
    };
    let (_alone, port, state) = (alone(), port::free(), directory());
    let words = ["--every", "4", "--model", tutorial.model.to_str().unwrap()];
    let first = relay(port, state.path(), &words);
    let app = tutorial.app(port, 250);
    first.wait_for_line("viewer joined", LONG);
    let sender = tutorial.sender(port);
    first.wait_for_line("camera appeared", LONG);
    std::thread::sleep(Duration::from_secs(5));
    let before = stop(first);
    let second = relay(port, state.path(), &words);
    let app = well(app);
    alive(&sender);
    let after = stop(second);
    assert!(app.stdout.contains("received 250"), "{}", app.stdout);
    for relay in [&before, &after] {
        assert!(
            figure(relay, "forwarded") > 60.0 && figure(relay, "inferred") > 15.0,
            "{:?}",
            relay.report
        );
    }
}

#[test]
fn our_sender_to_the_tutorials_relay_and_viewer_and_started_again() {
    let Some(tutorial) = Tutorial::find() else {
        return;
    };
    let (_alone, port) = (alone(), port::free());
    let server = tutorial.server(port);
    let app = tutorial.app(port, 230);
    server.wait_for_line("Received request", LONG);
    let words = ["--source", "demo", "--fps", "20", "--frames", "120"];
    assert_eq!(figure(&well(sender(port, &words)), "sent"), 120.0);
    let again = sender(port, &words);
    let app = well(app);
    assert_eq!(figure(&well(again), "sent"), 120.0);
    alive(&server);
    assert!(app.stdout.contains("received 230"), "{}", app.stdout);
}

#[test]
fn tutorial_sender_and_relay_to_our_viewer_which_is_started_again() {
    let Some(tutorial) = Tutorial::find() else {
        return;
    };
    let (_alone, port) = (alone(), port::free());
    let server = tutorial.server(port);
    let sender = tutorial.sender(port);
    let first = well(viewer(port, &["--frames", "120"]));
    assert!(first.stderr.contains("frames come"), "{}", first.stderr);
    // Nobody listens now, and the relay streams on to where the first viewer was.
    std::thread::sleep(Duration::from_secs(1));
    let start = Instant::now();
    let second = well(viewer(port, &["--frames", "120"]));
    assert!(start.elapsed() < LONG);
    for viewer in [&first, &second] {
        assert_eq!(
            (figure(viewer, "shown"), figure(viewer, "decode_errors")),
            (120.0, 0.0)
        );
    }
    alive(&server);
    alive(&sender);
}

#[test]
fn what_passes_our_relay_reaches_a_plain_viewer_byte_for_byte_or_with_boxes() {
    let Some((same, drawn)) = passed_through("udp") else {
        return;
    };
    assert!(
        same >= 150 && same + drawn == 200 && drawn >= 10,
        "{same} as they came, {drawn} with boxes"
    );
}

#[test]
fn what_passes_our_relay_reaches_a_native_viewer_byte_for_byte() {
    if let Some(passed) = passed_through("quic") {
        assert_eq!(passed, (200, 0));
    }
}

/// How many frames come as they were sent, and how many with boxes; `None` where the tutorial is not here.
fn passed_through(transport: &str) -> Option<(usize, usize)> {
    let tutorial = Tutorial::find()?;
    let (_alone, port, state) = (alone(), port::free(), directory());
    let saved = state.path().join("saved");
    let model = ["--every", "4", "--model", tutorial.model.to_str().unwrap()];
    let relay = relay(port, state.path(), &model);
    let viewer = viewer(
        port,
        &[
            "--transport",
            transport,
            "--frames",
            "200",
            "--save",
            saved.to_str().unwrap(),
        ],
    );
    relay.wait_for_line("viewer joined", LONG);
    let video = tutorial.video.to_str().unwrap();
    let sender = sender(
        port,
        &[
            "--source",
            video,
            "--fps",
            "20",
            "--loop",
            "--quality",
            "95",
        ],
    );
    let seen = well(viewer);
    stop(sender);
    let relayed = stop(relay);
    assert_eq!(figure(&seen, "lost"), 0.0);
    assert!(figure(&relayed, "inferred") >= 48.0, "{:?}", relayed.report);
    let video = fs::read(&tutorial.video).unwrap();
    let frames = frames(&video);
    let (mut same, mut drawn) = (0, 0);
    for entry in fs::read_dir(saved).unwrap() {
        let path = entry.unwrap().path();
        let seq: usize = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
        let saved = fs::read(&path).unwrap();
        let source = frames[(seq - 1) % frames.len()];
        // behind SOI stands the label; everything else is the camera's own bytes
        if saved.ends_with(&source[2..]) {
            same += 1;
        } else {
            assert_eq!(seq % 4, 0, "frame {seq} was changed and is not due");
            drawn += 1;
        }
    }
    Some((same, drawn))
}

fn frames(mut stream: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    while let Some(end) = end(stream) {
        frames.push(&stream[..end]);
        stream = &stream[end..];
    }
    frames
}

/// The end of the first picture; the test video has no thumbnails, so the next SOI is enough.
fn end(stream: &[u8]) -> Option<usize> {
    let next = stream
        .windows(3)
        .skip(2)
        .position(|bytes| bytes == [0xFF, 0xD8, 0xFF]);
    next.map(|at| at + 2)
        .or((!stream.is_empty()).then_some(stream.len()))
}
