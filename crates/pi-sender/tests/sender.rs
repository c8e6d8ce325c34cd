//! The real program against plain sockets: what arrives, what ends it, and what it says of itself.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test may panic as the test may"
)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use protocol::datagram::{Datagram, MAX_DATAGRAM, classify};
use protocol::frame::Frame;
use protocol::label::Label;
use serde_json::Value;
use testkit::process::{Finished, Program, Running};

const PATIENCE: Duration = Duration::from_secs(30);

/// A relay that only listens.
struct Relay(UdpSocket);

impl Relay {
    fn start() -> Self {
        Self::at("127.0.0.1:0".parse().unwrap())
    }

    fn at(addr: SocketAddr) -> Self {
        let socket = UdpSocket::bind(addr).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    fn addr(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    fn datagram(&self) -> Vec<u8> {
        let mut buffer = vec![0; MAX_DATAGRAM];
        let len = self.0.recv(&mut buffer).expect("a frame comes");
        buffer.truncate(len);
        buffer
    }

    fn frame(&self) -> (Frame, Label) {
        match classify(self.datagram()) {
            Ok(Datagram::Frame(frame)) => {
                let label = frame.label.clone().expect("every frame has a label");
                (frame, label)
            }
            other => panic!("no frame: {other:?}"),
        }
    }
}

fn sender(words: &[&str]) -> Program {
    Program::new(env!("CARGO_BIN_EXE_pi-sender"))
        .env("XDG_CONFIG_HOME", "/nonexistent")
        .args(words)
}

/// A sender of a source to a relay.
fn to(relay: SocketAddr, source: &str, words: &[&str]) -> Program {
    sender(&["--server", &relay.to_string(), "--source", source]).args(words)
}

fn ended(program: Program, code: i32) -> Finished {
    let done = program.start().finish();
    assert_eq!(done.status.code(), Some(code), "{}", done.stderr);
    done
}

fn stopped(running: Running) -> Finished {
    running.terminate();
    let done = running.finish();
    assert_eq!(done.status.code(), Some(0), "{}", done.stderr);
    assert!(done.stopped_in.unwrap() < Duration::from_secs(2));
    done
}

/// A JPEG of real pixels; `shade` tells them apart.
fn jpeg(width: i32, height: i32, shade: f64) -> Vec<u8> {
    use opencv::core::{CV_8UC3, Mat, Scalar};
    let colour = Scalar::new(shade, 255.0 - shade, 90.0, 0.0);
    let picture = Mat::new_rows_cols_with_default(height, width, CV_8UC3, colour).unwrap();
    // Not the default quality: encoded again, it would have other bytes.
    imaging::jpeg::encode(&picture, 60).unwrap()
}

fn write(dir: &Path, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, content).unwrap();
    path
}

/// An MJPEG file of so many pictures, and the pictures.
fn mjpeg(dir: &Path, count: u8) -> (String, Vec<Vec<u8>>) {
    let pictures: Vec<_> = (0..count)
        .map(|n| jpeg(320, 240, f64::from(n) * 20.0))
        .collect();
    let path = write(dir, "a.mjpeg", pictures.concat());
    (path.to_str().unwrap().to_owned(), pictures)
}

/// Levels of grey between two frames of a video.
const SHADE: u64 = 8;

/// An AVI whose frame n is of shade n.
fn video(dir: &Path, fps: f64, count: u64) -> String {
    use opencv::core::{CV_8UC3, Mat, Scalar, Size};
    use opencv::prelude::*;
    use opencv::videoio::{CAP_OPENCV_MJPEG, VideoWriter};
    let path = dir.join("a.avi").to_str().unwrap().to_owned();
    let codec = i32::from_le_bytes(*b"MJPG");
    let size = Size::new(640, 480);
    let mut file =
        VideoWriter::new_with_backend(&path, CAP_OPENCV_MJPEG, codec, fps, size, true).unwrap();
    for n in 0..count {
        let grey = Scalar::all((n * SHADE) as f64);
        let picture = Mat::new_rows_cols_with_default(480, 640, CV_8UC3, grey).unwrap();
        file.write(&picture).unwrap();
    }
    file.release().unwrap();
    path
}

/// The grey level in a frame's middle.
fn shade(frame: &[u8]) -> u64 {
    use opencv::core::Vec3b;
    use opencv::prelude::*;
    let picture = imaging::jpeg::decode(frame).unwrap();
    picture
        .at_2d::<Vec3b>(picture.rows() / 2, picture.cols() / 2)
        .unwrap()[0]
        .into()
}

/// A network camera that gives each client these pictures over and over for a second, and then hangs up.
fn stream(pictures: Vec<Vec<u8>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming() {
            let pictures = pictures.clone();
            thread::spawn(move || serve(client.unwrap(), &pictures));
        }
    });
    addr
}

fn serve(mut client: TcpStream, pictures: &[Vec<u8>]) -> std::io::Result<()> {
    let _request = client.read(&mut [0; 4096])?;
    client.write_all(
        b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=b\r\n\r\n",
    )?;
    for picture in pictures.iter().cycle().take(20) {
        let head = format!(
            "--b\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n",
            picture.len()
        );
        client.write_all(&[head.as_bytes(), picture, b"\r\n"].concat())?;
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

#[test]
fn labelled_frames_arrive_with_consecutive_numbers() {
    let relay = Relay::start();
    let running = to(relay.addr(), "demo", &["--fps", "50", "--camera", "yard"]).start();
    let frames: Vec<_> = (0..20).map(|_| relay.frame()).collect();
    stopped(running);
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
    let program = to(
        relay.addr(),
        "demo",
        &["--fps", "50", "--frames", "7", "--report"],
    );
    let report = ended(program, 0).report.expect("there is a report");
    let count = |key: &str| report[key].as_u64().unwrap();
    assert_eq!(count("sent") + count("skipped"), 7);
    assert!(count("bytes") > 7 * 1000 && report["encode_ms_p50"].as_f64().unwrap() > 0.0);
    assert_eq!(report["transport"], "udp");
}

#[test]
fn a_file_of_jpegs_arrives_to_the_byte_but_for_the_label() {
    let dir = tempfile::tempdir().unwrap();
    let (path, pictures) = mjpeg(dir.path(), 5);
    let relay = Relay::start();
    let done = ended(to(relay.addr(), &path, &["--report"]), 0);
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
    ended(
        to(
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
    ended(to(relay.addr(), &path, &[]), 0);
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
    let done = ended(to(relay.addr(), &path, &["--fps", "100", "--report"]), 0);
    let report = done.report.unwrap();
    assert_eq!(
        report["sent"].as_u64().unwrap() + report["skipped"].as_u64().unwrap(),
        6
    );
    assert!(done.took > Duration::from_millis(240));
}

#[test]
fn a_stream_is_passed_through_and_opened_again_when_it_ends() {
    let pictures: Vec<_> = (0..4)
        .map(|n| jpeg(300, 200, f64::from(n) * 50.0))
        .collect();
    let camera = stream(pictures.clone());
    let relay = Relay::start();
    let running = to(
        relay.addr(),
        &format!("http://{camera}/stream"),
        &["--fps", "30"],
    )
    .start();
    running.wait_for_line("the source is back", PATIENCE);
    let frame = relay.datagram();
    let label = Label::read(&frame).unwrap().unwrap();
    assert!(pictures.iter().any(|picture| frame == label.write(picture)));
    stopped(running);
}

#[test]
fn a_real_recording_of_a_sender_is_passed_through() {
    let Some(path) = testkit::shared("data/video/seq-cars-300x200-q80.mjpeg") else {
        return testkit::skip("shared/data is not here");
    };
    let relay = Relay::start();
    let file = fs::read(&path).unwrap();
    ended(
        to(
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
    let done = ended(
        to(
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
    let done = ended(to(relay.addr(), "demo", &words), 0);
    // Two rungs, at once, and said once.
    let steps = done.stderr.matches("a step down in quality").count();
    assert_eq!(steps, 1, "{}", done.stderr);
    assert_eq!(relay.frame().0.size.width, 1600);
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
    ended(to(relay.addr(), "demo", &words), 0);
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
    let running = to(addr, "demo", &["--fps", "30"]).start();
    running.wait_for_line("no relay listens there", PATIENCE);
    let relay = Relay::at(addr);
    relay.frame();
    running.wait_for_line("frames reach the relay", PATIENCE);
    let done = stopped(running);
    assert_eq!(done.stderr.matches("no relay listens there").count(), 1);
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
    running.wait_for_line("does not resolve (yet)", PATIENCE);
    let report = stopped(running).report.unwrap();
    assert_eq!(report["sent"], 0);
}

#[test]
fn a_camera_that_hangs_does_not_hold_up_the_stop() {
    // Takes connections and never answers.
    let camera = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/stream", camera.local_addr().unwrap());
    let relay = Relay::start();
    let running = to(relay.addr(), &url, &[]).start();
    let _connection = camera.accept().unwrap();
    stopped(running);
}

#[test]
fn a_missing_file_ends_it_at_once_and_names_it() {
    let relay = Relay::start();
    let done = ended(to(relay.addr(), "/no/such.mp4", &[]), 1);
    assert!(
        done.stderr.contains("/no/such.mp4: there is no such file"),
        "{}",
        done.stderr
    );
}

#[test]
fn a_missing_camera_ends_it_where_that_is_asked_for() {
    let relay = Relay::start();
    let done = ended(
        to(relay.addr(), "/dev/video97", &["--exit-on-source-error"]),
        1,
    );
    assert!(
        done.stderr.contains("/dev/video97 does not exist"),
        "{}",
        done.stderr
    );
}

#[test]
fn usage_errors_exit_2_and_name_the_cure() {
    let dir = tempfile::tempdir().unwrap();
    let config = write(dir.path(), "c.toml", "sourse = 'demo'");
    for (words, says) in [
        (&["--source", "demo"][..], "--server is missing"),
        (&["--server", "sightline://h:8081/yard"], "single quotes"),
        (
            &["--config", config.to_str().unwrap()],
            "unknown key 'sourse'",
        ),
        (&["--server", "h", "--fixd"], "--fixed"),
    ] {
        let done = ended(sender(words), 2);
        assert!(done.stderr.contains(says), "{}", done.stderr);
    }
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
        let running = to(relay.addr(), source, &["--fps", "30"])
            .env("PATH", &path)
            .start();
        let (_, first) = relay.frame();
        running.wait_for_line("ERROR: camera unplugged", PATIENCE);
        running.wait_for_line("the source is back", PATIENCE);
        let (_, later) = std::iter::repeat_with(|| relay.frame())
            .find(|(_, label)| {
                label.seq > first.seq + 1 && label.captured_us > first.captured_us + 400_000
            })
            .expect("frames go on");
        assert_eq!(later.stream, first.stream);
        stopped(running);
        // What the first of the two still had on its way is not the second one's.
        relay.0.set_nonblocking(true).unwrap();
        while relay.0.recv(&mut [0; 16]).is_ok() {}
        relay.0.set_nonblocking(false).unwrap();
    }
}

#[test]
fn without_any_camera_auto_says_what_was_tried() {
    let relay = Relay::start();
    let program = to(relay.addr(), "auto", &["--exit-on-source-error"]).env("PATH", "/nonexistent");
    if Path::new("/dev/video0").exists() {
        return testkit::skip("this computer has a camera");
    }
    let done = ended(program, 1);
    for tried in [
        "rpicam-vid nor libcamera-vid",
        "/dev/video*",
        "--source demo",
    ] {
        assert!(done.stderr.contains(tried), "{}", done.stderr);
    }
}

#[test]
fn a_preview_without_a_display_ends_it_with_the_cure() {
    let relay = Relay::start();
    let program = to(relay.addr(), "demo", &["--preview"])
        .env_remove("DISPLAY")
        .env_remove("WAYLAND_DISPLAY")
        .env_remove("QT_QPA_PLATFORM");
    let done = ended(program, 1);
    assert!(
        done.stderr.contains("--preview needs a display"),
        "{}",
        done.stderr
    );
}

#[test]
fn a_preview_shows_what_is_sent() {
    let relay = Relay::start();
    let program = to(relay.addr(), "demo", &["--preview", "--frames", "5"])
        .env("QT_QPA_PLATFORM", "offscreen");
    ended(program, 0);
    relay.frame();
}
