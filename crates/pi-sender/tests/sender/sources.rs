//! Sources: files, streams and cameras, and what happens when one is missing, hangs or dies.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use protocol::label::Label;
use serde_json::Value;

use crate::support::{
    Relay, SHADE, TIMEOUT, expect_exit, jpeg, mjpeg, sender, sender_to, shade, stop, stream, video,
    write,
};

#[test]
fn a_file_of_jpegs_arrives_to_the_byte_but_for_the_label() {
    let dir = tempfile::tempdir().unwrap();
    let (path, pictures) = mjpeg(dir.path(), 5);
    let relay = Relay::start();
    let done = expect_exit(sender_to(relay.addr(), &path, &["--report"]), 0);
    let report = done.report.expect("there is a report");
    assert_eq!(report["encode_ms_p50"], Value::Null);
    for _ in 0..report["sent"].as_u64().unwrap() {
        let frame = relay.datagram();
        let label = Label::read(&frame).unwrap().unwrap();
        assert_eq!(frame, label.write(&pictures[label.seq as usize - 1]));
    }
}

#[test]
fn a_loop_goes_on_at_the_files_end() {
    let dir = tempfile::tempdir().unwrap();
    let (path, pictures) = mjpeg(dir.path(), 3);
    let relay = Relay::start();
    expect_exit(
        sender_to(
            relay.addr(),
            &path,
            &["--loop", "--frames", "8", "--fps", "20"],
        ),
        0,
    );
    let mut last = 0;
    while last < 8 {
        let frame = relay.datagram();
        let label = Label::read(&frame).unwrap().unwrap();
        assert!(label.seq > last);
        last = label.seq;
        // A tick that was missed behind the file's end shifts the next pass, and no test can know by how much.
        assert!(pictures.iter().any(|picture| frame == label.write(picture)));
    }
}

#[test]
fn a_video_is_played_at_its_own_speed() {
    let dir = tempfile::tempdir().unwrap();
    let path = video(dir.path(), 30.0, 30);
    let relay = Relay::start();
    expect_exit(sender_to(relay.addr(), &path, &[]), 0);
    for n in 0..10 {
        let frame = relay.datagram();
        let label = Label::read(&frame).unwrap().unwrap();
        assert!(label.seq > n);
        // Of 30 frames a second each third one is sent.
        let expected = (label.seq - 1) * 3 * SHADE;
        assert!(
            shade(&frame).abs_diff(expected) < SHADE / 2,
            "{label:?}: {}",
            shade(&frame)
        );
        if label.seq == 10 {
            break;
        }
    }
}

#[test]
fn a_video_slower_than_the_rate_is_sent_at_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let path = video(dir.path(), 20.0, 6);
    let relay = Relay::start();
    let done = expect_exit(
        sender_to(relay.addr(), &path, &["--fps", "100", "--report"]),
        0,
    );
    let report = done.report.unwrap();
    assert_eq!(
        report["sent"].as_u64().unwrap() + report["skipped"].as_u64().unwrap(),
        6
    );
    assert!(done.took > Duration::from_millis(240));
}

#[test]
fn a_stream_is_passed_through_and_requested_again_when_it_ends() {
    let pictures: Vec<_> = (0..4)
        .map(|n| jpeg(300, 200, f64::from(n) * 50.0))
        .collect();
    let camera = stream(pictures.clone());
    let relay = Relay::start();
    let running = sender_to(
        relay.addr(),
        &format!("http://{camera}/stream"),
        &["--fps", "30"],
    )
    .start();
    running.wait_for_line("the camera's stream ended; it is requested again", TIMEOUT);
    // Twenty pictures are one connection's.
    let frame = std::iter::repeat_with(|| relay.datagram()).nth(24).unwrap();
    let label = Label::read(&frame).unwrap().unwrap();
    assert!(label.seq > 20);
    assert!(pictures.iter().any(|picture| frame == label.write(picture)));
    stop(running);
}

#[test]
fn a_real_recording_of_a_sender_is_passed_through() {
    let Some(path) = testkit::shared("data/video/seq-cars-300x200-q80.mjpeg") else {
        return testkit::skip("shared/data is not here");
    };
    let relay = Relay::start();
    let file = fs::read(&path).unwrap();
    expect_exit(
        sender_to(
            relay.addr(),
            path.to_str().unwrap(),
            &["--frames", "10", "--fps", "60"],
        ),
        0,
    );
    let frame = relay.datagram();
    let label = Label::read(&frame).unwrap().unwrap();
    let picture = frame.len() - label.write(&[0xFF, 0xD8]).len();
    assert!(file.windows(picture).any(|part| frame.ends_with(part)));
}

#[test]
fn one_picture_is_a_test_card() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), "card.jpg", jpeg(300, 200, 10.0));
    let relay = Relay::start();
    let done = expect_exit(
        sender_to(
            relay.addr(),
            path.to_str().unwrap(),
            &["--frames", "4", "--fps", "50", "--report"],
        ),
        0,
    );
    assert_eq!(done.report.unwrap()["encode_ms_p50"], Value::Null);
    relay.frame();
}

#[test]
fn a_camera_that_hangs_does_not_hold_up_the_stop() {
    // Takes connections and never answers.
    let camera = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/stream", camera.local_addr().unwrap());
    let relay = Relay::start();
    let running = sender_to(relay.addr(), &url, &[]).start();
    let _connection = camera.accept().unwrap();
    stop(running);
}

#[test]
fn a_missing_file_ends_it_at_once_and_names_it() {
    let relay = Relay::start();
    let done = expect_exit(sender_to(relay.addr(), "/no/such.mp4", &[]), 1);
    assert!(
        done.stderr.contains("/no/such.mp4: there is no such file"),
        "{}",
        done.stderr
    );
}

#[test]
fn a_mistyped_source_ends_it_with_its_cure_and_without_its_password() {
    let relay = Relay::start();
    for (source, cure) in [
        (
            "http:/u:topsecret@127.0.0.1/x",
            "http://127.0.0.1 looks like a URL",
        ),
        (
            "u:topsecret@127.0.0.1:1/std",
            "write scheme://[user:password@]host/..",
        ),
        ("htp://u:topsecret@127.0.0.1/x", "unknown scheme 'htp'"),
        ("demoo", "did you mean 'demo'?"),
    ] {
        let done = expect_exit(sender_to(relay.addr(), source, &[]), 1);
        let shown = done.stdout + &done.stderr;
        assert!(
            shown.contains(cure) && !shown.contains("topsecret"),
            "{shown}"
        );
        let words = [
            "doctor",
            "--server",
            "127.0.0.1:1",
            "--transport",
            "udp",
            "--source",
            source,
        ];
        let done = expect_exit(sender(&words), 1);
        let shown = done.stdout + &done.stderr;
        assert!(
            shown.contains(cure) && !shown.contains("topsecret"),
            "{shown}"
        );
    }
}

#[test]
fn a_missing_camera_ends_it_where_that_is_asked_for() {
    let relay = Relay::start();
    let done = expect_exit(
        sender_to(relay.addr(), "/dev/video97", &["--exit-on-source-error"]),
        1,
    );
    assert!(
        done.stderr.contains("/dev/video97 does not exist"),
        "{}",
        done.stderr
    );
}

#[test]
fn a_pi_camera_that_dies_comes_back_and_the_stream_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (pictures, _) = mjpeg(dir.path(), 3);
    let script = format!(
        "#!/bin/sh\ncat '{pictures}'\nsleep 0.4\necho 'ERROR: camera unplugged' >&2\nexit 1\n"
    );
    let camera = write(dir.path(), "rpicam-vid", script);
    fs::set_permissions(camera, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", dir.path().display());
    let relay = Relay::start();
    for source in ["rpicam", "auto"] {
        let running = sender_to(relay.addr(), source, &["--fps", "30"])
            .env("PATH", &path)
            .start();
        let (_, first) = relay.frame();
        running.wait_for_line("ERROR: camera unplugged", TIMEOUT);
        running.wait_for_line("the source is back", TIMEOUT);
        let (_, later) = std::iter::repeat_with(|| relay.frame())
            .find(|(_, label)| {
                label.seq > first.seq + 1 && label.captured_us > first.captured_us + 400_000
            })
            .expect("frames go on");
        assert_eq!(later.stream, first.stream);
        stop(running);
        // What the first of the two still had on its way is not the second one's.
        relay.0.set_nonblocking(true).unwrap();
        while relay.0.recv(&mut [0; 16]).is_ok() {}
        relay.0.set_nonblocking(false).unwrap();
    }
}

#[test]
fn without_any_camera_auto_says_what_was_tried() {
    let relay = Relay::start();
    let program =
        sender_to(relay.addr(), "auto", &["--exit-on-source-error"]).env("PATH", "/nonexistent");
    if Path::new("/dev/video0").exists() {
        return testkit::skip("this computer has a camera");
    }
    let done = expect_exit(program, 1);
    for tried in [
        "rpicam-vid nor libcamera-vid",
        "/dev/video*",
        "--source demo",
    ] {
        assert!(done.stderr.contains(tried), "{}", done.stderr);
    }
}
