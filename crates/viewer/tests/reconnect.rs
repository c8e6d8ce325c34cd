//! The viewer finds its relay again: after restarts, sleep, new port mappings and a cut path.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod common;

use std::process::Command;
use std::time::{Duration, Instant};

use common::quic_relay::QuicRelay;
use common::router::Router;
use common::script::RelayScript;
use common::shown::{identity, newest, numbers, start_headless, stop_and_report};
use common::{eventually, viewer};
use quic::identity::Identity;

const ANY: &str = "127.0.0.1:0";
/// The second run of a relay shows frames with numbers above this.
const SECOND: u64 = 1_000_000;
/// The promise: the picture is back this soon after the path is.
const BACK: Duration = Duration::from_secs(3);

/// Restarts a relay after `pause`. Returns how long the picture is away from then on.
fn restart(with: &[&str], first: &Identity, second: &Identity, pause: Duration) -> Duration {
    let dir = tempfile::tempdir().unwrap();
    let port = format!("127.0.0.1:{}", testkit::port::free());
    let relay = QuicRelay::start(&port, first, RelayScript::yard(1, 0));
    let viewer = start_headless(viewer(relay.addr, dir.path()).args(with));
    eventually("the first frames", || newest(dir.path()) > 10);
    drop(relay);
    std::thread::sleep(pause);
    let start = Instant::now();
    let relay = QuicRelay::start(&port, second, RelayScript::yard(2, SECOND));
    eventually("the second relay's frames", || newest(dir.path()) > SECOND);
    let back = start.elapsed();
    eventually("a QUIC connection to the second relay", || {
        !relay.hellos().is_empty()
    });
    assert_eq!(stop_and_report(viewer)["transport"], "quic");
    back
}

#[test]
fn after_a_restart_of_the_relay_the_picture_is_back_within_3_s() {
    let (one, other) = (identity(), identity());
    let soon = Duration::from_millis(20);
    let long = Duration::from_secs(4);
    let quic: &[&str] = &["--transport", "quic"];
    let runs = [
        (&[] as &[&str], &one, soon),
        (&[], &other, soon),
        (&[], &other, long),
        (quic, &one, soon),
        (quic, &other, soon),
        (quic, &one, long),
    ];
    for (with, second, pause) in runs {
        let same = std::ptr::eq(second, &one);
        // A machine that runs other tests may be late once.
        let back = (0..3).map(|_| restart(with, &one, second, pause));
        let back = back.inspect(|back| {
            eprintln!(
                "{with:?}, the same identity: {same}, away for {pause:?}: back after {back:?}"
            );
        });
        assert!(
            back.into_iter().any(|back| back < BACK),
            "{with:?} {same} {pause:?}"
        );
    }
}

#[test]
fn a_viewer_that_slept_has_its_picture_back_within_3_s() {
    let dir = tempfile::tempdir().unwrap();
    let relay = QuicRelay::start(ANY, &identity(), RelayScript::yard(1, 0));
    let viewer = start_headless(viewer(relay.addr, dir.path()));
    eventually("the first frames", || newest(dir.path()) > 10);
    let signal = |name: &str| {
        let id = viewer.id().to_string();
        Command::new("kill").args([name, &id]).status().unwrap();
    };
    signal("-STOP");
    eventually("the relay has dropped it", || !relay.closed().is_empty());
    signal("-CONT");
    let start = Instant::now();
    eventually("another connection", || relay.hellos().len() == 2);
    let seen = numbers(dir.path()).len();
    eventually("frames", || numbers(dir.path()).len() > seen);
    assert!(start.elapsed() < BACK, "{:?}", start.elapsed());
    stop_and_report(viewer);
}

#[test]
fn a_router_that_forgets_its_ports_costs_no_connection() {
    let dir = tempfile::tempdir().unwrap();
    let relay = QuicRelay::start(ANY, &identity(), RelayScript::yard(1, 0));
    let router = Router::before(relay.addr);
    let viewer = start_headless(viewer(router.addr, dir.path()));
    eventually("the first frames", || newest(dir.path()) > 10);
    for _ in 0..3 {
        let ports = router.ports();
        router.rebind();
        eventually("another port", || router.ports() > ports);
        let (start, seen) = (Instant::now(), numbers(dir.path()).len());
        eventually("frames", || numbers(dir.path()).len() > seen + 5);
        assert!(start.elapsed() < BACK, "{:?}", start.elapsed());
    }
    stop_and_report(viewer);
    assert_eq!(relay.hellos().len(), 1);
}

#[test]
fn when_the_path_is_back_so_is_the_picture_within_3_s() {
    let dir = tempfile::tempdir().unwrap();
    let relay = QuicRelay::start(ANY, &identity(), RelayScript::yard(1, 0));
    let router = Router::before(relay.addr);
    let viewer = start_headless(viewer(router.addr, dir.path()));
    eventually("the first frames", || newest(dir.path()) > 10);
    for away in [800, 2200, 3000, 6000] {
        router.cut(true);
        std::thread::sleep(Duration::from_millis(away));
        router.cut(false);
        let (start, seen) = (Instant::now(), numbers(dir.path()).len());
        eventually("frames", || numbers(dir.path()).len() > seen);
        let back = start.elapsed();
        eprintln!("away for {away} ms: back after {back:?}");
        assert!(back < BACK, "away for {away} ms: {back:?}");
        std::thread::sleep(Duration::from_secs(1));
    }
    stop_and_report(viewer);
}
