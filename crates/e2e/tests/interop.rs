//! The tutorial's scripts and Sightline's programs in one chain, on every edge, with our end restarted in mid-stream. A script
//! ends when it receives something unexpected, so each must still run at the end.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

mod common;

use std::fs;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use common::namespace::in_namespace;
use common::{LONG, Tutorial, alone, directory, figure, finish, relay, sender, stop, viewer};
use protocol::VIEWER_PORT;
use protocol::label::Label;
use testkit::port;
use testkit::process::Running;

/// Asserts that a script still runs and reported no exception.
fn assert_alive(script: &Running) {
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
    let args = ["--every", "4", "--model", tutorial.model.to_str().unwrap()];
    let first = relay(port, state.path(), &args);
    let app = tutorial.app(port, 250);
    first.wait_for_line("viewer joined", LONG);
    let sender = tutorial.sender(port);
    first.wait_for_line("camera appeared", LONG);
    std::thread::sleep(Duration::from_secs(5));
    let before = stop(first);
    let second = relay(port, state.path(), &args);
    let app = finish(app);
    assert_alive(&sender);
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
    let args = ["--source", "demo", "--fps", "20", "--frames", "120"];
    assert_eq!(figure(&finish(sender(port, &args)), "sent"), 120.0);
    let again = sender(port, &args);
    let app = finish(app);
    assert_eq!(figure(&finish(again), "sent"), 120.0);
    assert_alive(&server);
    assert!(app.stdout.contains("received 230"), "{}", app.stdout);
}

#[test]
fn tutorial_sender_and_relay_to_our_viewer_which_is_started_again() {
    let Some(tutorial) = Tutorial::find() else {
        return;
    };
    let test = "tutorial_sender_and_relay_to_our_viewer_which_is_started_again";
    let body = || our_viewer_is_started_again_at_the_tutorials_relay(&tutorial);
    if in_namespace(test, "", body) {
        return;
    }
    match UdpSocket::bind(("0.0.0.0", VIEWER_PORT)) {
        Ok(free) => {
            drop(free);
            body();
        }
        Err(_) => testkit::skip("another process has the viewer's UDP port, 8082"),
    }
}

/// To the tutorial's relay a viewer that is started again is the same one only if it has its own port again. In a namespace
/// no other process has it.
fn our_viewer_is_started_again_at_the_tutorials_relay(tutorial: &Tutorial) {
    let (_alone, port) = (alone(), port::free());
    let server = tutorial.server(port);
    let sender = tutorial.sender(port);
    let first = finish(viewer(port, &["--frames", "120"]));
    assert!(first.stderr.contains("frames come"), "{}", first.stderr);
    // The relay streams on to the first viewer's address, where no program listens now.
    std::thread::sleep(Duration::from_secs(1));
    let start = Instant::now();
    let second = finish(viewer(port, &["--frames", "120"]));
    assert!(start.elapsed() < LONG);
    for viewer in [&first, &second] {
        assert_eq!(
            (figure(viewer, "shown"), figure(viewer, "decode_errors")),
            (120.0, 0.0)
        );
    }
    assert_alive(&server);
    assert_alive(&sender);
}

#[test]
fn what_passes_our_relay_reaches_a_udp_viewer_byte_for_byte_or_with_boxes() {
    let Some((same, drawn)) = passed_through("udp") else {
        return;
    };
    assert!(
        same >= 150 && same + drawn == 200 && drawn >= 10,
        "{same} as they came, {drawn} with boxes"
    );
}

#[test]
fn what_passes_our_relay_reaches_a_quic_viewer_byte_for_byte() {
    if let Some(passed) = passed_through("quic") {
        assert_eq!(passed, (200, 0));
    }
}

/// Returns the numbers of frames that arrive as they were sent and with boxes; `None` without the tutorial.
fn passed_through(transport: &str) -> Option<(usize, usize)> {
    let tutorial = Tutorial::find()?;
    let (_alone, port, state) = (alone(), port::free(), directory());
    let saved = state.path().join("saved");
    let model = ["--every", "4", "--model", tutorial.model.to_str().unwrap()];
    let relay = relay(port, state.path(), &model);
    let always = ["--transport", transport, "--frames", "200", "--save"];
    let viewer = viewer(port, &[&always[..], &[saved.to_str().unwrap()]].concat());
    relay.wait_for_line("viewer joined", LONG);
    let video = tutorial.video.to_str().unwrap();
    let always = ["--fps", "20", "--loop", "--quality", "95", "--source"];
    let sender = sender(port, &[&always[..], &[video]].concat());
    let seen = finish(viewer);
    stop(sender);
    let relayed = stop(relay);
    assert_eq!(figure(&seen, "lost"), 0.0);
    assert!(figure(&relayed, "inferred") >= 48.0, "{:?}", relayed.report);
    let video = fs::read(&tutorial.video).unwrap();
    let frames = frames(&video);
    let (mut same, mut drawn) = (0, 0);
    for entry in fs::read_dir(saved).unwrap() {
        let path = entry.unwrap().path();
        let saved = fs::read(&path).unwrap();
        let label = Label::read(&saved).unwrap().unwrap();
        let seq = usize::try_from(label.seq).unwrap();
        let source = frames[(seq - 1) % frames.len()];
        // The label follows SOI; all other bytes are the camera's own.
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

/// Returns the end of the first picture; the test video has no thumbnails, so the next SOI is enough.
fn end(stream: &[u8]) -> Option<usize> {
    let next = stream
        .windows(3)
        .skip(2)
        .position(|bytes| bytes == [0xFF, 0xD8, 0xFF]);
    next.map(|at| at + 2)
        .or((!stream.is_empty()).then_some(stream.len()))
}
