//! What a hostile relay or camera sends by QUIC, and what the viewer shows and writes of it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod common;

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use common::quic_relay::QuicRelay;
use common::script::{RelayScript, ViewerSession, camera_info, send, send_yard};
use common::shown::{identity, newest, numbers, shown, start_headless, stop_and_report};
use common::{INTERVAL, eventually, labelled, picture, viewer};
use opencv::core::{CV_8UC3, Mat, Scalar};
use platform::clock::unix_micros;
use protocol::label::{Label, StreamId};
use protocol::quic::ServerMessage;
use serde_json::{Value, json};
use testkit::process::Program;

const ANY: &str = "127.0.0.1:0";
const WEEK_MS: f64 = 7.0 * 24.0 * 3600.0 * 1000.0;

/// Returns a grey picture of this size, with a label of now.
fn grey(side: i32, seq: u64) -> Vec<u8> {
    let grey = Scalar::all(128.0);
    let picture = Mat::new_rows_cols_with_default(side, side, CV_8UC3, grey).unwrap();
    let label = Label {
        stream: StreamId(1),
        seq,
        captured_us: unix_micros(),
        camera: "yard".parse().unwrap(),
    };
    label.write(&imaging::jpeg::encode(&picture, 50).unwrap())
}

/// Returns the line of a message with so many boxes for a frame.
fn boxes(seq: u64, t: f64, count: usize) -> Vec<u8> {
    let one = |n: usize| {
        let x = n as f64 / 2000.0;
        json!({ "id": n, "class": n, "label": "x".repeat(40), "score": n as f64 / 2000.0, "box": [x, 0.2, x + 0.3, 0.8] })
    };
    let list: Vec<_> = (0..count).map(one).collect();
    let message = json!({ "v": 1, "camera": "yard", "seq": seq, "t": t, "w": 300, "h": 200, "kind": "tracked",
        "detections": list });
    format!("{message}\n").into_bytes()
}

#[test]
fn large_pictures_whose_size_changes_are_shown_recorded_and_never_late() {
    let dir = tempfile::tempdir().unwrap();
    let script = RelayScript::new(|mut session: ViewerSession| async move {
        session.answer(&["yard"]).await?;
        session
            .send_message(&ServerMessage::Camera(camera_info("yard")))
            .await?;
        let sides = [1900, 8, 1200, 1, 1900];
        let pictures = sides.map(|side| grey(side, 0));
        eprintln!("{:?} bytes", pictures.each_ref().map(Vec::len));
        for seq in 1.. {
            let mut label = Label::read(&pictures[0]).unwrap().unwrap();
            (label.seq, label.captured_us) = (seq, unix_micros());
            let picture = &pictures[seq as usize % sides.len()];
            send(&session.connection, &label.write(picture)).await?;
            tokio::time::sleep(Duration::from_millis(16)).await;
        }
        Some(())
    });
    let relay = QuicRelay::start(ANY, &identity(), script);
    let args = [
        "--transport",
        "quic",
        "--record",
        "film.avi",
        "--save",
        "saved",
    ];
    let viewer = start_headless(viewer(relay.addr, dir.path()).args(args));
    eventually("frames", || numbers(dir.path()).len() > 100);
    let report = stop_and_report(viewer);
    eprintln!("{report}");
    assert_eq!(report["decode_errors"], 0, "{report}");
    assert!(numbers(dir.path()).is_sorted_by(|a, b| a < b));
    let p50 = report["age_ms_p50"].as_f64().unwrap();
    assert!(p50 < 500.0, "the newest frame wins: {report}");
    let film = fs::metadata(dir.path().join("film.avi")).unwrap();
    assert!(film.len() > 10_000);
    let saved = fs::read_dir(dir.path().join("saved")).unwrap();
    let names = saved.map(|file| file.unwrap().file_name().into_string().unwrap());
    let of_the_camera = |name: String| name.starts_with("yard_20") && name.ends_with(".jpg");
    assert!(names.into_iter().all(of_the_camera));
}

/// Numbers and capture times that no camera has.
const ABSURD: [(u64, u64); 5] = [
    (u64::MAX, u64::MAX),
    (0, 0),
    (u64::MAX - 1, 1),
    (1, u64::MAX),
    (1 << 63, 1 << 63),
];

/// Sends absurd frames and messages of so many streams from this one on.
async fn send_absurd(connection: &quinn::Connection, streams: Range<u64>) -> Option<()> {
    let mut lines = connection.open_uni().await.ok()?;
    for stream in streams {
        // The first number of a stream is believed, so each of them is the first once.
        let others = ABSURD.iter().cycle().skip(stream as usize % ABSURD.len());
        for &(seq, captured_us) in others.take(ABSURD.len()) {
            for t in ["1e308", "-1e308", "1e999", "null", "18446744073709.55"] {
                let line = String::from_utf8(boxes(seq, 0.0, 3)).unwrap();
                let line = line.replace("\"t\":0.0", &format!("\"t\":{t}"));
                lines.write_all(line.as_bytes()).await.ok()?;
            }
            let label = Label {
                stream: StreamId(stream),
                seq,
                captured_us,
                camera: "yard".parse().unwrap(),
            };
            send(connection, &label.write(&picture(1))).await?;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    Some(())
}

#[test]
fn absurd_numbers_and_times_end_nothing_and_are_no_ages() {
    let dir = tempfile::tempdir().unwrap();
    let script = RelayScript::new(|mut session: ViewerSession| async move {
        session.answer(&["yard"]).await?;
        let connection = session.connection.clone();
        let mut info = camera_info("yard");
        for offset in [i64::MIN, i64::MAX] {
            info.sender.offset_us = Some(offset);
            info.sender.error_us = Some(u64::MAX);
            info.sender.quality = Some(255);
            let message = ServerMessage::Camera(info.clone());
            session.send_message(&message).await?;
            send_absurd(&connection, 10..14).await?;
        }
        (info.sender.offset_us, info.sender.error_us) = (Some(0), Some(1000));
        session.send_message(&ServerMessage::Camera(info)).await?;
        // The clocks are compared now, and right.
        let frames = async {
            send_absurd(&connection, 20..32).await?;
            send_yard(&connection).await
        };
        session.answer_pings_beside(frames).await
    });
    let relay = QuicRelay::start(ANY, &identity(), script);
    let viewer = start_headless(viewer(relay.addr, dir.path()).args(["--transport", "quic"]));
    let honest = |line: &Value| (2..100_000).contains(&line["seq"].as_u64().unwrap());
    eventually("honest frames", || shown(dir.path()).iter().any(honest));
    let report = stop_and_report(viewer);
    let lines = shown(dir.path());
    assert!(lines.iter().any(|line| line["seq"] == u64::MAX), "{report}");
    let sane = |age: &Value| age.is_null() || (0.0..=WEEK_MS).contains(&age.as_f64().unwrap());
    assert!(lines.iter().all(|line| sane(&line["age_ms"])), "{lines:?}");
    assert!(
        report["age_ms_p50"].is_number(),
        "honest ages are known: {report}"
    );
}

#[test]
fn a_thousand_boxes_a_frame_do_not_slow_the_viewer() {
    let dir = tempfile::tempdir().unwrap();
    let script = RelayScript::new(|mut session: ViewerSession| async move {
        session.answer(&["yard"]).await?;
        let mut lines = session.connection.open_uni().await.ok()?;
        for seq in 1.. {
            let jpeg = labelled(1, seq);
            let label = Label::read(&jpeg).unwrap().unwrap();
            let count = if seq % 10 == 9 { 1001 } else { 1000 };
            let message = boxes(seq, label.captured_us as f64 / 1e6, count);
            lines.write_all(&message).await.ok()?;
            send(&session.connection, &jpeg).await?;
            tokio::time::sleep(INTERVAL).await;
        }
        Some(())
    });
    let relay = QuicRelay::start(ANY, &identity(), script);
    let viewer = start_headless(viewer(relay.addr, dir.path()).args(["--transport", "quic"]));
    eventually("frames", || newest(dir.path()) > 10);
    let (start, before) = (Instant::now(), newest(dir.path()));
    eventually("50 frames", || newest(dir.path()) >= before + 50);
    eprintln!("50 frames in {:?}", start.elapsed());
    let noted = viewer.stderr();
    let noted = noted
        .iter()
        .filter(|line| line.contains("more boxes than are drawn"));
    assert_eq!(noted.count(), 1, "{:?}", viewer.stderr());
    stop_and_report(viewer);
    assert_crowded(dir.path());
}

/// Asserts that frames have the 100 best of their boxes.
fn assert_crowded(dir: &Path) {
    let lines = shown(dir);
    let crowded = lines.iter().map(|line| line["boxes"].as_array().unwrap());
    let crowded: Vec<_> = crowded.filter(|boxes| !boxes.is_empty()).collect();
    assert!(crowded.len() > 10, "{} of {}", crowded.len(), lines.len());
    assert!(crowded.iter().all(|boxes| boxes.len() == 100));
    assert!(crowded.iter().all(|boxes| boxes[0]["id"] == 999));
}

#[test]
fn a_camera_that_counts_its_frames_anew_overwrites_no_saved_frame() {
    let dir = tempfile::tempdir().unwrap();
    let script = RelayScript::new(|mut session: ViewerSession| async move {
        session.answer(&["yard"]).await?;
        for stream in 1.. {
            send(&session.connection, &labelled(stream, 7)).await?;
            tokio::time::sleep(INTERVAL).await;
        }
        Some(())
    });
    let relay = QuicRelay::start(ANY, &identity(), script);
    let done = viewer(relay.addr, dir.path())
        .args(["--headless", "--transport", "quic", "--frames", "10"])
        .args(["--save", "saved"])
        .start()
        .finish();
    assert!(done.status.success(), "{}", done.stderr);
    let saved = fs::read_dir(dir.path().join("saved")).unwrap();
    assert_eq!(saved.count(), 10, "{}", done.stderr);
}

#[test]
fn a_full_disk_costs_one_line_of_the_log_and_no_picture() {
    let dir = tempfile::tempdir().unwrap();
    let relay = QuicRelay::start(ANY, &identity(), RelayScript::yard(1, 0));
    let saved = dir.path().join("saved");
    fs::create_dir(&saved).unwrap();
    // A file system of 64 kB, which a program without rights may mount for itself.
    let mount = r#"mount -t tmpfs -o size=64k none "$1" && shift && exec "$@""#;
    let may = Command::new("unshare")
        .args(["-Urm", "mount", "-t", "tmpfs", "none"])
        .arg(&saved)
        .output();
    if !may.is_ok_and(|may| may.status.success()) {
        return testkit::skip("no user namespaces here (unshare -Urm), which a small disk takes");
    }
    let done = Program::new("unshare")
        .dir(dir.path())
        .env("XDG_CONFIG_HOME", dir.path())
        .env_remove("RUST_LOG")
        .args(["-Urm", "sh", "-c", mount, "sh"])
        .args([saved.as_path(), Path::new(env!("CARGO_BIN_EXE_viewer"))])
        .args(["--server", &relay.addr.to_string(), "--transport", "quic"])
        .args(["--headless", "--report", "--frames", "40"])
        .args(["--save", "saved", "--shown", "saved/shown.jsonl"])
        .start()
        .finish();
    assert!(done.status.success(), "{}", done.stderr);
    assert_eq!(done.report.unwrap()["shown"], 40);
    let warnings = done.stderr.lines().filter(|line| line.contains("WARN"));
    assert_eq!(warnings.count(), 1, "{}", done.stderr);
    assert!(done.stderr.contains("cannot be written"), "{}", done.stderr);
}
