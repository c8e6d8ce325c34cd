//! Frames: their labels, sizes and numbers, and what becomes of them when the relay is not there.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use crate::support::{Relay, TIMEOUT, expect_exit, jpeg, sender, sender_to, stop, write};

#[test]
fn labelled_frames_arrive_with_consecutive_numbers() {
    let relay = Relay::start();
    let running = sender_to(relay.addr(), "demo", &["--fps", "50", "--camera", "yard"]).start();
    let frames: Vec<_> = (0..20).map(|_| relay.frame()).collect();
    stop(running);
    let stream = frames[0].1.stream;
    for (pair, n) in frames.windows(2).zip(1..) {
        let ((frame, label), (_, next)) = (&pair[0], &pair[1]);
        assert!(label.seq >= n && next.seq > label.seq);
        assert!(next.captured_us > label.captured_us);
        assert_eq!((label.stream, label.camera.as_str()), (stream, "yard"));
        assert_eq!((frame.size.width, frame.size.height), (300, 200));
    }
}

#[test]
fn a_number_of_frames_ends_it_with_a_report() {
    let relay = Relay::start();
    let program = sender_to(
        relay.addr(),
        "demo",
        &["--fps", "50", "--frames", "7", "--report"],
    );
    let report = expect_exit(program, 0).report.expect("there is a report");
    let count = |key: &str| report[key].as_u64().unwrap();
    assert_eq!(count("sent") + count("skipped"), 7);
    assert!(count("bytes") > 7 * 1000 && report["encode_ms_p50"].as_f64().unwrap() > 0.0);
    assert_eq!(report["transport"], "udp");
}

#[test]
fn frames_too_large_for_a_datagram_step_the_quality_down() {
    let relay = Relay::start();
    let words = [
        "--size",
        "1600x1200",
        "--quality",
        "95",
        "--frames",
        "3",
        "--fps",
        "5",
    ];
    let done = expect_exit(sender_to(relay.addr(), "demo", &words), 0);
    // Two rungs at once are one line in the log.
    let steps = done.stderr.matches("a step down in quality").count();
    assert_eq!(steps, 1, "{}", done.stderr);
    assert_eq!(relay.frame().0.size.width, 1600);
}

#[test]
fn a_wide_picture_keeps_its_shape_unless_it_is_stretched_and_its_data_rate_is_logged() {
    let dir = tempfile::tempdir().unwrap();
    let wide = write(dir.path(), "wide.jpg", jpeg(1280, 720, 10.0));
    for (words, expected) in [
        (&[][..], (300, 169)),
        (&["--size", "640x480"], (640, 360)),
        (&["--size", "300x200", "--stretch"], (300, 200)),
    ] {
        let relay = Relay::start();
        let sender = sender_to(relay.addr(), wide.to_str().unwrap(), words);
        let done = expect_exit(sender.args(["--frames", "1"]), 0);
        let size = relay.frame().0.size;
        assert_eq!((size.width, size.height), expected, "{words:?}");
        assert!(done.stderr.contains("GB a day"), "{}", done.stderr);
    }
}

#[test]
fn the_relay_may_be_the_first_word() {
    let relay = Relay::start();
    let to = relay.addr().to_string();
    expect_exit(sender(&[&to, "--source", "demo", "--frames", "1"]), 0);
    relay.frame();
}

#[test]
fn the_truth_of_the_demo_is_one_line_a_frame() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("truth.jsonl");
    let relay = Relay::start();
    let words = [
        "--frames",
        "9",
        "--fps",
        "50",
        "--demo-truth",
        path.to_str().unwrap(),
    ];
    expect_exit(sender_to(relay.addr(), "demo", &words), 0);
    let text = fs::read_to_string(path).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let numbers: Vec<u64> = lines
        .iter()
        .map(|line| line["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, (1..=9).collect::<Vec<_>>());
    let first = &lines[0]["boxes"][0];
    assert!(first["label"].is_string() && first["class"].is_u64() && first["score"] == 1.0);
    assert_eq!(first["box"].as_array().unwrap().len(), 4);
}

#[test]
fn a_relay_that_comes_later_gets_the_frames() {
    let addr = SocketAddr::from(([127, 0, 0, 1], testkit::port::free()));
    let running = sender_to(addr, "demo", &["--fps", "30"]).start();
    running.wait_for_line("no relay listens there", TIMEOUT);
    let relay = Relay::at(addr);
    relay.frame();
    running.wait_for_line("frames reach the relay", TIMEOUT);
    let done = stop(running);
    assert_eq!(done.stderr.matches("no relay listens there").count(), 1);
}

#[test]
fn a_closed_terminal_ends_the_sender_cleanly() {
    let relay = Relay::start();
    let running = sender_to(relay.addr(), "demo", &["--report"]).start();
    relay.frame();
    running.hang_up();
    let done = running.finish();
    assert_eq!(done.status.code(), Some(0), "{}", done.stderr);
    assert!(done.stopped_in.unwrap() < Duration::from_secs(2));
    assert!(done.stderr.contains("stopped"), "{}", done.stderr);
    assert!(done.figure("sent") >= 1.0);
}

#[test]
fn a_name_that_does_not_resolve_is_tried_again_until_the_stop() {
    let words = [
        "--server",
        "no-such-relay.invalid",
        "--source",
        "demo",
        "--report",
    ];
    let running = sender(&words).start();
    running.wait_for_line("does not resolve (yet)", TIMEOUT);
    let report = stop(running).report.unwrap();
    assert_eq!(report["sent"], 0);
}
