//! True age when a clock is wrong: the real viewer with its clock set an hour off, and a camera whose clock is.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod common;

use std::fs;
use std::path::Path;

use common::quic_relay::QuicRelay;
use common::script::{RelayScript, ViewerSession, camera_info, send};
use common::{INTERVAL, captured, viewer};
use platform::clock::unix_micros;
use protocol::quic::ServerMessage;
use quic::identity::Identity;
use serde_json::Value;
use testkit::wrong_clock;

const ANY: &str = "127.0.0.1:0";
const HOUR: i64 = 3600;
/// Age of each picture when it is sent, in milliseconds.
const OLD: u64 = 250;

/// Starts a relay with a camera whose clock is so many seconds ahead of the relay's, and whose sender has measured that.
fn relay(ahead: i64) -> QuicRelay {
    let ahead_us = ahead * 1_000_000;
    let script = RelayScript::new(move |mut session: ViewerSession| async move {
        session.answer(&["yard"]).await?;
        let mut sender = camera_info("yard");
        sender.sender.offset_us = Some(-ahead_us);
        sender.sender.error_us = Some(1000);
        session.send_message(&ServerMessage::Camera(sender)).await?;
        let connection = session.connection.clone();
        let frames = async {
            for seq in 1.. {
                let taken = (unix_micros() - OLD * 1000).checked_add_signed(ahead_us)?;
                send(&connection, &captured(1, seq, taken)).await?;
                tokio::time::sleep(INTERVAL).await;
            }
            Some(())
        };
        session.answer_pings_beside(frames).await
    });
    QuicRelay::start(ANY, &Identity::generate().unwrap(), script)
}

/// Returns the report of a viewer whose clock is so many seconds ahead, and the ages that it showed.
fn seen(shim: &Path, dir: &Path, camera: i64, ours: i64) -> (Value, Vec<f64>) {
    let relay = relay(camera);
    let done = viewer(relay.addr, dir)
        .args(["--headless", "--frames", "25", "--shown", "shown.jsonl"])
        .env("LD_PRELOAD", shim)
        .env(wrong_clock::AHEAD, ours.to_string())
        .start()
        .finish();
    assert!(done.status.success(), "{}", done.stderr);
    let lines = fs::read_to_string(dir.join("shown.jsonl")).unwrap();
    let ages = lines.lines().filter_map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        line["age_ms"].as_f64()
    });
    (done.report.unwrap(), ages.collect())
}

#[test]
fn the_age_is_right_when_the_viewers_clock_or_the_cameras_is_an_hour_off() {
    let dir = tempfile::tempdir().unwrap();
    let Some(shim) = wrong_clock::library(dir.path()) else {
        return testkit::skip("no C compiler here (cc), and only a shim sets a program's clock");
    };
    // Half a minute is as wrong as an hour, and harder to notice.
    for (camera, ours) in [
        (0, HOUR),
        (0, -HOUR),
        (HOUR, 0),
        (-HOUR, HOUR),
        (0, 30),
        (30, 0),
    ] {
        let (report, ages) = seen(&shim, dir.path(), camera, ours);
        let p50 = report["age_ms_p50"].as_f64().unwrap();
        let old = OLD as f64;
        assert!(
            (old - 5.0..old + 1000.0).contains(&p50),
            "camera {camera} s ahead, viewer {ours} s: {report}"
        );
        assert!(ages.len() > 15, "{ages:?}");
        let wrong = |age: &&f64| !(old - 5.0..old + 2000.0).contains(*age);
        assert_eq!(ages.iter().find(wrong), None, "{camera} {ours} {ages:?}");
    }
}

#[test]
fn the_shim_sets_the_clock_or_the_test_above_proves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let Some(shim) = wrong_clock::library(dir.path()) else {
        return testkit::skip("no C compiler here (cc), and only a shim sets a program's clock");
    };
    let relay = common::UdpRelay::start(common::Behaviour::Sightline, ANY, |n| {
        vec![common::labelled(1, n)]
    });
    let age = |ahead: i64| {
        let done = viewer(relay.addr, dir.path())
            .args(["--headless", "--frames", "5", "--transport", "udp"])
            .env("LD_PRELOAD", &shim)
            .env(wrong_clock::AHEAD, ahead.to_string())
            .start()
            .finish();
        done.report.unwrap()["age_ms_p50"].clone()
    };
    let thirty = age(30).as_f64().unwrap();
    assert!((30_000.0..32_000.0).contains(&thirty), "{thirty}");
    assert_eq!(age(HOUR), Value::Null);
}
