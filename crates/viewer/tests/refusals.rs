//! A viewer that a relay refuses, in whatever way: it reports why within 2 s, and tries again where that can help.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::quic_relay::QuicRelay;
use common::script::{FINAL_REFUSALS, RelayScript, ViewerSession, send, send_yard};
use common::shown::{identity, newest, numbers, start_headless, stop_and_report};
use common::{INTERVAL, LONG, eventually, labelled, viewer, viewer_without_args};
use protocol::control::LeaseVerdict;
use protocol::quic::{Refusal, ServerMessage, to_line};
use testkit::process::Running;

const ANY: &str = "127.0.0.1:0";
/// The promise.
const REPORTED: Duration = Duration::from_secs(2);

/// Asserts that a viewer logs this within 2 s of its start; a machine that runs other tests may be late twice.
fn assert_reported(what: &str, text: &str, start: impl Fn() -> Running) {
    let took = (0..3).map(|_| {
        let begun = Instant::now();
        let viewer = start();
        viewer.wait_for_line(text, LONG);
        let took = begun.elapsed();
        eprintln!("{what}: {took:?}");
        took
    });
    assert!(took.into_iter().any(|took| took < REPORTED), "{what}");
}

fn quic(relay: &QuicRelay, dir: &Path) -> Running {
    let args = ["--headless", "--transport", "quic"];
    viewer(relay.addr, dir).args(args).start()
}

#[test]
fn each_refusal_is_reported_within_2_s_on_every_transport() {
    let dir = tempfile::tempdir().unwrap();
    let full = [(Refusal::Full, "is full")];
    for (refusal, cure) in FINAL_REFUSALS.into_iter().chain(full) {
        let relay = QuicRelay::start(ANY, &identity(), RelayScript::refusing(refusal));
        assert_reported(&format!("{refusal:?} by QUIC"), cure, || {
            quic(&relay, dir.path())
        });
    }
    for (verdict, text) in [
        (LeaseVerdict::Private, FINAL_REFUSALS[0].1),
        (
            LeaseVerdict::Full,
            "is full of UDP viewers; use --transport auto",
        ),
        (
            LeaseVerdict::Closed,
            "takes no UDP viewers; use --transport quic",
        ),
    ] {
        let script = RelayScript {
            verdict,
            ..RelayScript::yard(1, 0)
        };
        let relay = QuicRelay::start(ANY, &identity(), script);
        assert_reported(&format!("{verdict:?} by UDP"), text, || {
            let args = ["--headless", "--transport", "udp"];
            viewer(relay.addr, dir.path()).args(args).start()
        });
    }
}

#[test]
fn doctor_names_each_refusal() {
    let dir = tempfile::tempdir().unwrap();
    let last = FINAL_REFUSALS.map(|(refusal, _)| refusal);
    for refusal in last.into_iter().chain([Refusal::Full, Refusal::Taken]) {
        let relay = QuicRelay::start(ANY, &identity(), RelayScript::refusing(refusal));
        let server = relay.addr.to_string();
        let done = viewer_without_args(dir.path())
            .args(["doctor", "--headless", "--transport", "quic"])
            .args(["--server", &server])
            .start()
            .finish();
        let lines = done.stdout;
        assert!(lines.contains(&refusal.to_string()), "{refusal:?}: {lines}");
    }
}

/// Returns how often the log has this.
fn count(viewer: &Running, text: &str) -> usize {
    let lines = viewer.stderr();
    lines.iter().filter(|line| line.contains(text)).count()
}

#[test]
fn an_answer_that_is_not_a_relays_is_reported_once_and_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let (script, good) = RelayScript::until_good(|mut session| async move {
        let nonsense = b"HTTP/1.1 400 Bad Request\r\n\r\n";
        session.control.write_all(nonsense).await.ok()
    });
    let relay = QuicRelay::start(ANY, &identity(), script);
    let text = "is not a relay, or of another version";
    assert_reported("nonsense", text, || quic(&relay, dir.path()));
    let before = relay.hellos().len();
    let viewer = start_headless(viewer(relay.addr, dir.path()).args(["--transport", "quic"]));
    eventually("further tries", || relay.hellos().len() >= before + 5);
    assert_eq!(count(&viewer, text), 1, "{:?}", viewer.stderr());
    good.store(true, Ordering::Relaxed);
    let start = Instant::now();
    eventually("frames", || newest(dir.path()) > 1);
    assert!(start.elapsed() < Duration::from_secs(3));
    stop_and_report(viewer);
}

#[test]
fn a_relay_that_ends_each_connection_is_reported_once_and_tried_ever_more_seldom() {
    // One that closes at once overtakes its own answer, so that its connections never open.
    for after in [Duration::ZERO, Duration::from_millis(50)] {
        ends_each_connection(after);
    }
}

/// Starts a viewer at a relay that ends each connection so long after its answer, until it does so no more.
fn ends_each_connection(after: Duration) {
    let dir = tempfile::tempdir().unwrap();
    let (script, good) = RelayScript::until_good(move |mut session| async move {
        session.answer(&["yard"]).await?;
        tokio::time::sleep(after).await;
        session.connection.close(7_u32.into(), b"\x1b[2Jno");
        Some(())
    });
    let relay = QuicRelay::start(ANY, &identity(), script);
    let viewer = start_headless(viewer(relay.addr, dir.path()).args(["--transport", "quic"]));
    let text = "ends each connection at once";
    viewer.wait_for_line(text, LONG);
    std::thread::sleep(Duration::from_secs(4));
    // 100, 200, 400, 800, 1600 and 2000 ms apart.
    assert!(relay.hellos().len() <= 9, "{}", relay.hellos().len());
    assert_eq!(count(&viewer, text), 1, "{:?}", viewer.stderr());
    assert!(count(&viewer, "connected by QUIC") <= 3);
    let ends = count(&viewer, "the connection has ended");
    assert!(ends <= 3, "{:?}", viewer.stderr());
    good.store(true, Ordering::Relaxed);
    let start = Instant::now();
    eventually("frames", || newest(dir.path()) > 1);
    let back = start.elapsed();
    assert!(back < Duration::from_secs(3), "{back:?}");
    stop_and_report(viewer);
}

#[test]
fn while_a_relay_ends_each_quic_connection_frames_come_by_udp_and_the_log_stays_short() {
    let dir = tempfile::tempdir().unwrap();
    let script = RelayScript::new(|mut session: ViewerSession| async move {
        session.answer(&["yard"]).await?;
        tokio::time::sleep(INTERVAL).await;
        session.connection.close(7_u32.into(), b"");
        Some(())
    });
    let relay = QuicRelay::start(ANY, &identity(), script);
    let viewer = start_headless(viewer(relay.addr, dir.path()));
    eventually("further connections", || relay.hellos().len() >= 7);
    eventually("UDP frames", || numbers(dir.path()).len() > 50);
    let lines = viewer.stderr();
    assert!(lines.len() <= 15, "{lines:#?}");
    stop_and_report(viewer);
}

#[test]
fn a_viewer_whose_ticket_is_revoked_ends_with_the_cause() {
    let dir = tempfile::tempdir().unwrap();
    let script = RelayScript::new(|mut session: ViewerSession| async move {
        session.answer(&["yard"]).await?;
        send(&session.connection, &labelled(1, 1)).await?;
        tokio::time::sleep(10 * INTERVAL).await;
        session
            .connection
            .close(2_u32.into(), &to_line(&Refusal::Token));
        Some(())
    });
    let relay = QuicRelay::start(ANY, &identity(), script);
    for transport in ["auto", "quic"] {
        let done = viewer(relay.addr, dir.path())
            .args(["--headless", "--transport", transport])
            .start()
            .finish();
        assert_eq!(done.status.code(), Some(1), "{}", done.stderr);
        assert!(
            done.stderr.contains("ticket is not in force"),
            "{}",
            done.stderr
        );
    }
    assert_eq!(relay.hellos().len(), 2);
}

#[test]
fn lists_of_cameras_that_change_all_the_time_do_not_fill_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let done = over.clone();
    let script = RelayScript::new(move |mut session: ViewerSession| {
        let done = done.clone();
        async move {
            session.answer(&["drive"]).await?;
            for n in 0..3000 {
                let long = |of| format!("{:060}", n * 64 + of);
                let cameras = ServerMessage::Cameras((0..64).map(long).collect());
                session.send_message(&cameras).await?;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let live = ServerMessage::Cameras(vec!["yard".to_owned()]);
            session.send_message(&live).await?;
            done.store(true, Ordering::Relaxed);
            send_yard(&session.connection).await
        }
    });
    let relay = QuicRelay::start(ANY, &identity(), script);
    let viewer = start_headless(viewer(relay.addr, dir.path()).args(["--camera", "yard"]));
    eventually("the end of the flood", || over.load(Ordering::Relaxed));
    eventually("frames", || newest(dir.path()) > 1);
    let lines = viewer.stderr();
    assert!(lines.len() < 30, "{} lines", lines.len());
    assert!(lines.iter().all(|line| line.len() < 1000), "{lines:?}");
    stop_and_report(viewer);
}
