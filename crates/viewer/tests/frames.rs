//! The viewer without a window, against relays of every kind.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod common;

use std::fs;
use std::path::Path;
use std::time::Duration;

use common::{
    Behaviour, LONG, UdpRelay, eventually, labelled, picture, viewer, viewer_without_args,
};
use serde_json::Value;

const ANY: &str = "127.0.0.1:0";

#[test]
fn our_relays_frames_are_shown_saved_and_reported() {
    let dir = tempfile::tempdir().unwrap();
    let relay = UdpRelay::start(Behaviour::Sightline, ANY, |n| vec![labelled(1, n)]);
    let done = viewer(relay.addr, dir.path())
        .args([
            "--headless",
            "--frames",
            "15",
            "--save",
            "saved/here",
            "--shown",
            "shown.jsonl",
        ])
        .start()
        .finish();
    assert!(done.status.success(), "{}", done.stderr);

    let report = done.report.unwrap();
    assert_eq!(report["shown"], 15, "{report}");
    assert!(report["received"].as_u64() >= Some(15), "{report}");
    for (key, want) in [("lost", 0), ("decode_errors", 0), ("detections", 0)] {
        assert_eq!(report[key], want, "{report}");
    }
    assert_eq!(report["transport"], "udp");
    for key in ["age_ms_p50", "age_ms_p99"] {
        assert!(
            report[key]
                .as_f64()
                .is_some_and(|ms| (0.0..5000.0).contains(&ms)),
            "{report}"
        );
    }

    assert_saved_as_sent(dir.path(), &relay, 15);
    assert!(
        relay.requests().is_empty(),
        "a Sightline relay gets hellos and probes alone"
    );
}

/// Asserts that `--shown` has so many lines without boxes, and that `--save` wrote each of these frames as it was sent.
#[track_caller]
fn assert_saved_as_sent(dir: &Path, relay: &UdpRelay, count: usize) {
    let lines = fs::read_to_string(dir.join("shown.jsonl")).unwrap();
    let lines: Vec<Value> = lines
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(lines.len(), count);
    let saved = fs::read_dir(dir.join("saved/here")).unwrap();
    let mut saved: Vec<_> = saved.map(|file| file.unwrap().path()).collect();
    saved.sort();
    assert_eq!(saved.len(), count);
    for (line, saved) in lines.iter().zip(saved) {
        assert!(
            line["age_ms"].is_number() && line["boxes"] == Value::Array(vec![]),
            "{line}"
        );
        let seq = line["seq"].as_u64().unwrap();
        let saved = fs::read(saved).unwrap();
        assert_eq!(saved, relay.sent()[seq as usize - 1], "byte for byte");
    }
}

#[test]
fn a_waiting_tutorial_relay_gets_one_request_and_never_a_second() {
    let dir = tempfile::tempdir().unwrap();
    // Every 4th came back from its model, without our label.
    let relay = UdpRelay::start(Behaviour::TutorialWaiting, ANY, |n| {
        vec![if n % 4 == 0 {
            picture(n)
        } else {
            labelled(1, n)
        }]
    });
    let done = viewer(relay.addr, dir.path())
        .args(["--headless", "--frames", "75", "--shown", "shown.jsonl"])
        .start()
        .finish();
    assert!(done.status.success(), "{}", done.stderr);
    let report = done.report.unwrap();
    assert_eq!(report["shown"], 75, "{report}");
    // A busy machine may drop one; the frames without label alone would be 18.
    assert!(report["lost"].as_u64() < Some(5), "{report}");

    let (hello, _) = relay.received()[0];
    let requests = relay.requests();
    assert_eq!(requests.len(), 1, "a tutorial relay dies of the second");
    let after = requests[0] - hello;
    assert!(
        (Duration::from_millis(250)..Duration::from_secs(2)).contains(&after),
        "{after:?}"
    );

    let lines = fs::read_to_string(dir.path().join("shown.jsonl")).unwrap();
    let numbers = lines
        .lines()
        .map(|l| serde_json::from_str::<Value>(l).unwrap());
    let numbers: Vec<u64> = numbers.map(|l| l["seq"].as_u64().unwrap()).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    assert!(numbers.iter().any(|n| n % 4 == 0), "{numbers:?}");
    assert!(relay.is_unharmed());
}

#[test]
fn a_streaming_tutorial_relay_never_hears_a_request() {
    let dir = tempfile::tempdir().unwrap();
    // It echoes every datagram, and sends pictures only after a while.
    let relay = UdpRelay::start(Behaviour::TutorialStreaming, ANY, |n| {
        if n > 50 { vec![picture(n)] } else { vec![] }
    });
    let done = viewer(relay.addr, dir.path())
        .args(["--headless", "--frames", "10"])
        .start()
        .finish();
    assert!(done.status.success(), "{}", done.stderr);
    let report = done.report.unwrap();
    assert_eq!(report["received"], 10, "an echo is not a frame: {report}");
    assert_eq!(
        (&report["age_ms_p50"], &report["lost"]),
        (&Value::Null, &0.into())
    );
    assert!(relay.requests().is_empty(), "it would die of it");
    assert!(relay.is_unharmed());
}

#[test]
fn garbage_between_frames_is_dropped_and_a_broken_picture_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let relay = UdpRelay::start(Behaviour::Sightline, ANY, |n| {
        let good = labelled(1, n);
        let mut cut = good.clone();
        cut.truncate(good.len() / 2);
        // Headers that pass every scan, and Huffman tables that no decoder takes.
        let broken = testkit::jpeg::Sketch::new(300, 200).bytes();
        vec![
            b"garbage".to_vec(),
            vec![],
            cut,
            b"Request".to_vec(),
            vec![0xFF; 6000],
            protocol::control::Control::Upgrade.write(),
            protocol::control::Control::Hello(protocol::control::Question::new(1, None)).write(),
            if n % 5 == 0 { broken } else { good },
        ]
    });
    let done = viewer(relay.addr, dir.path())
        .args(["--headless", "--frames", "20"])
        .start()
        .finish();
    assert!(done.status.success(), "{}", done.stderr);
    let report = done.report.unwrap();
    assert_eq!(report["shown"], 20, "{report}");
    assert!(report["decode_errors"].as_u64() >= Some(3), "{report}");
    assert!(report["dropped"].as_u64() >= Some(100), "{report}");
}

#[test]
fn a_restarted_relay_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let port = format!("127.0.0.1:{}", testkit::port::free());
    let relay = UdpRelay::start(Behaviour::Sightline, &port, |n| vec![labelled(1, n)]);
    let viewer = viewer(relay.addr, dir.path())
        .args(["--headless", "--shown", "shown.jsonl"])
        .start();
    let shown = || fs::read_to_string(dir.path().join("shown.jsonl")).unwrap_or_default();
    eventually("the first frames", || shown().lines().count() > 3);
    drop(relay);
    viewer.wait_for_line("No frames from the relay", LONG);
    let _relay = UdpRelay::start(Behaviour::Sightline, &port, |n| {
        vec![labelled(2, 1_000_000 + n)]
    });
    eventually("frames of the second relay", || {
        shown().contains("\"seq\":100000")
    });
    viewer.terminate();
    let done = viewer.finish();
    assert!(done.status.success(), "{}", done.stderr);
    assert!(
        done.stopped_in.unwrap() < Duration::from_secs(2),
        "{:?}",
        done.stopped_in
    );
    let report = done.report.unwrap();
    assert_eq!(
        report["lost"], 0,
        "another stream id is another count: {report}"
    );
}

#[test]
fn a_relay_that_is_not_there_is_named_once_with_the_cure() {
    let dir = tempfile::tempdir().unwrap();
    // Bound and never read: no other program gets the port meanwhile.
    let silent = std::net::UdpSocket::bind(ANY).unwrap();
    let addr = silent.local_addr().unwrap();
    let viewer = viewer(addr, dir.path()).args(["--headless"]).start();
    let line = viewer.wait_for_line("No relay found", LONG);
    assert!(
        line.contains("WARN") && line.contains(&addr.to_string()),
        "{line}"
    );
    assert!(line.contains("viewer --server HOST[:PORT]"), "{line}");
    viewer.interrupt();
    let done = viewer.finish();
    assert!(done.status.success());
    assert_eq!(done.stderr.matches("WARN").count(), 1, "{}", done.stderr);
    assert_eq!(done.report.unwrap()["received"], 0);
}

#[test]
fn a_closed_terminal_ends_the_viewer_cleanly() {
    let dir = tempfile::tempdir().unwrap();
    let relay = UdpRelay::start(Behaviour::Sightline, ANY, |n| vec![labelled(1, n)]);
    let viewer = viewer(relay.addr, dir.path()).args(["--headless"]).start();
    viewer.wait_for_line("frames come", LONG);
    viewer.hang_up();
    let done = viewer.finish();
    assert_eq!(done.status.code(), Some(0), "{}", done.stderr);
    assert!(done.stopped_in.unwrap() < Duration::from_secs(2));
    assert!(done.stderr.contains("stopped"), "{}", done.stderr);
    assert!(done.report.unwrap()["received"].as_u64() > Some(0));
}

#[test]
fn a_refusing_port_is_no_reason_to_end_or_to_spin() {
    let dir = tempfile::tempdir().unwrap();
    let addr = std::net::SocketAddr::from(([127, 0, 0, 1], testkit::port::free()));
    let viewer = viewer(addr, dir.path()).args(["--headless"]).start();
    viewer.wait_for_line("No relay found", LONG);
    let relay = UdpRelay::start(Behaviour::Sightline, &addr.to_string(), |n| {
        vec![labelled(1, n)]
    });
    viewer.wait_for_line("frames come", LONG);
    let ticks = fs::read_to_string(format!("/proc/{}/stat", viewer.id())).unwrap();
    let used: u64 = ticks
        .split(' ')
        .skip(13)
        .take(2)
        .map(|n| n.parse::<u64>().unwrap())
        .sum();
    assert!(used < 200, "{used} hundredths of a second of CPU time");
    drop(relay);
}

#[test]
fn a_full_relay_and_one_without_a_camera_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let full = UdpRelay::start(Behaviour::SightlineFull, ANY, |_| vec![]);
    let dark = UdpRelay::start(Behaviour::Sightline, ANY, |_| vec![]);
    let [at_full, at_dark] =
        [&full, &dark].map(|relay| viewer(relay.addr, dir.path()).args(["--headless"]).start());
    let line = at_full.wait_for_line("is full", LONG);
    assert!(line.contains(&full.addr.to_string()), "{line}");
    let line = at_dark.wait_for_line("no camera is live yet", LONG);
    assert!(
        line.contains("Relay found") && line.contains(&dark.addr.to_string()),
        "{line}"
    );
}

#[test]
fn a_name_that_does_not_resolve_is_tried_again_until_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let viewer = viewer_without_args(dir.path())
        .args(["--headless", "--server", "no-such-relay.invalid"])
        .start();
    viewer.wait_for_line("does not resolve", LONG);
    viewer.terminate();
    let done = viewer.finish();
    assert!(done.status.success() && done.stopped_in.unwrap() < Duration::from_secs(2));
}

#[test]
fn usage_errors_exit_with_2_and_failures_with_1() {
    let dir = tempfile::tempdir().unwrap();
    for (args, code, text) in [
        (["--camera", "a/b"], 2, "a camera's name"),
        (["--server", "sightline://h/c"], 2, "single quotes"),
        (["--record", "film.gif"], 2, ".mp4, .avi or .mkv"),
        (["--server", "ftp://h"], 2, "examples"),
        (["--server", "http://h/x"], 2, "has no path"),
        (["--no-such", "flag"], 2, "--no-such"),
        (["--save", "/dev/null/x"], 1, "--save /dev/null/x"),
        (["--shown", "/no/such/dir/x"], 1, "--shown /no/such/dir/x"),
        (["--record", "/no/such/dir/x.mp4"], 1, "/no/such/dir/x.mp4"),
    ] {
        let done = viewer_without_args(dir.path())
            .args(["--headless"])
            .args(args)
            .start()
            .finish();
        assert_eq!(done.status.code(), Some(code), "{args:?}: {}", done.stderr);
        assert!(done.stderr.contains(text), "{args:?}: {}", done.stderr);
    }
}

#[test]
fn the_relay_may_be_the_first_word() {
    let dir = tempfile::tempdir().unwrap();
    let relay = UdpRelay::start(Behaviour::Sightline, ANY, |n| vec![labelled(1, n)]);
    let done = viewer_without_args(dir.path())
        .args([&relay.addr.to_string(), "--headless", "--frames", "3"])
        .start()
        .finish();
    assert!(done.status.success(), "{}", done.stderr);
    for words in [&["doctr"][..], &["relay.example", "relay.example"]] {
        let done = viewer_without_args(dir.path()).args(words).start().finish();
        assert_eq!(done.status.code(), Some(2), "{words:?}: {}", done.stderr);
    }
}
