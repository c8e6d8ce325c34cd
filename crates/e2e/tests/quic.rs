//! The three programs by QUIC: they find each other, admit tickets only if private, and survive a bad network.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

mod common;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use common::{LONG, alone, directory, figure, finish, relay, stop};
use serde_json::Value;
use testkit::link::{Bottleneck, Conditions, Impairments, Link};
use testkit::port;
use testkit::process::{Finished, Program, Running, binary};
use testkit::{skip, wrong_clock};

const MS: Duration = Duration::from_millis(1);
/// Longest time until the picture returns after its path did.
const RECOVERY: Duration = Duration::from_secs(3);

fn sender(to: SocketAddr, args: &[&str]) -> Running {
    program("pi-sender", to, args)
        .args(["--source", "demo"])
        .start()
}

fn viewer(to: SocketAddr, args: &[&str]) -> Running {
    program("viewer", to, args).args(["--headless"]).start()
}

fn program(name: &str, to: SocketAddr, args: &[&str]) -> Program {
    let program = Program::new(binary(name)).args(["--report", "--server", &to.to_string()]);
    program.args(args)
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn transport(finished: &Finished) -> &str {
    finished.report.as_ref().unwrap()["transport"]
        .as_str()
        .unwrap()
}

/// The frames that a viewer shows, a line each.
struct ShownFrames(PathBuf);

impl ShownFrames {
    fn within(dir: &Path) -> Self {
        Self(dir.join("shown.jsonl"))
    }

    fn file(&self) -> &str {
        self.0.to_str().unwrap()
    }

    fn lines(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.0).unwrap_or_default();
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// Waits until so many more frames are shown, and returns the time that took.
    fn wait_for(&self, frames: usize) -> Duration {
        let (start, before) = (Instant::now(), self.lines().len());
        while self.lines().len() < before + frames {
            assert!(start.elapsed() < LONG, "no frame is shown any more");
            thread::sleep(10 * MS);
        }
        start.elapsed()
    }
}

#[test]
fn the_programs_find_quic_by_themselves_and_no_frame_goes_on_by_udp() {
    let (_alone, port, state) = (alone(), port::free(), directory());
    let relay = relay(port, state.path(), &["--model", "demo", "--every", "2"]);
    let viewer = viewer(local(port), &["--frames", "40"]);
    let sender = sender(local(port), &["--frames", "60"]);
    let (seen, sent) = (finish(viewer), finish(sender));
    assert_eq!((transport(&seen), transport(&sent)), ("quic", "quic"));
    assert!(figure(&seen, "detections") >= 10.0, "{:?}", seen.report);
    assert!(figure(&seen, "lost") <= 1.0);
    let relayed = stop(relay);
    assert_eq!(figure(&relayed, "received"), figure(&sent, "sent"));
    assert_eq!(figure(&relayed, "viewers_peak"), 1.0);
}

#[test]
fn a_transport_that_was_named_is_the_one_that_is_used() {
    let (_alone, port, state) = (alone(), port::free(), directory());
    let relay = relay(port, state.path(), &["--model", "none"]);
    for (of_viewer, of_sender) in [("udp", "quic"), ("quic", "udp")] {
        let viewer = viewer(local(port), &["--frames", "10", "--transport", of_viewer]);
        let sender = sender(local(port), &["--frames", "30", "--transport", of_sender]);
        let (seen, sent) = (finish(viewer), finish(sender));
        assert_eq!((transport(&seen), transport(&sent)), (of_viewer, of_sender));
    }
    stop(relay);
}

#[test]
fn a_network_that_was_away_for_five_seconds_brings_the_picture_back_within_three() {
    let (_alone, port, state) = (alone(), port::free(), directory());
    let relay = relay(port, state.path(), &["--model", "none"]);
    let up = Link::start(local(port), Conditions::default(), 1);
    let down = Link::start(local(port), Conditions::default(), 2);
    let shown = ShownFrames::within(state.path());
    let viewer = viewer(down.address(), &["--shown", shown.file()]);
    let sender = sender(up.address(), &["--camera", "yard"]);
    shown.wait_for(20);
    for links in [&[&up][..], &[&down], &[&up, &down]] {
        links.iter().for_each(|link| link.cut(true));
        thread::sleep(5000 * MS);
        links.iter().for_each(|link| link.cut(false));
        let took = shown.wait_for(1);
        assert!(took < RECOVERY, "{took:?}");
        shown.wait_for(10);
    }
    for link in [&up, &down] {
        link.rebind();
        let took = shown.wait_for(5);
        assert!(took < RECOVERY, "{took:?} after another source port");
    }
    stop(sender);
    assert_eq!(transport(&stop(viewer)), "quic");
    stop(relay);
}

#[test]
fn a_relay_that_was_killed_is_back_in_the_window_within_three_seconds() {
    let (_alone, port, state) = (alone(), port::free(), directory());
    let args = ["--model", "none"];
    let mut running = relay(port, state.path(), &args);
    let shown = ShownFrames::within(state.path());
    let viewer = viewer(local(port), &["--shown", shown.file()]);
    let sender = sender(local(port), &[]);
    shown.wait_for(20);
    for away in [100 * MS, 4000 * MS] {
        running.kill();
        drop(running.finish());
        thread::sleep(away);
        running = relay(port, state.path(), &args);
        let took = shown.wait_for(1);
        assert!(took < RECOVERY, "{took:?} after {away:?}");
        shown.wait_for(20);
    }
    stop(sender);
    stop(viewer);
    stop(running);
}

#[test]
fn an_uplink_that_is_too_narrow_costs_quality_and_then_size_and_not_age() {
    let (_alone, port, state) = (alone(), port::free(), directory());
    let relay = relay(port, state.path(), &["--model", "none"]);
    let narrow = Impairments {
        delay: 20 * MS,
        bottleneck: Some(Bottleneck {
            rate: 1_000_000,
            queue: 200 * MS,
        }),
        ..Impairments::default()
    };
    let link = Link::start(
        local(port),
        Conditions {
            up: narrow,
            down: Impairments::default(),
        },
        3,
    );
    let args = ["--size", "640x480", "--quality", "90", "--fps", "10"];
    let shown = ShownFrames::within(state.path());
    let viewer = viewer(local(port), &["--shown", shown.file()]);
    let adapts = sender(link.address(), &args);
    adapts.wait_for_line("a step down in quality or size", LONG);
    relay.wait_for_line(" q", LONG);
    thread::sleep(15_000 * MS);
    let before = shown.lines().len();
    thread::sleep(5000 * MS);
    let late = shown.lines().split_off(before);
    assert!(late.len() >= 40, "{} frames in 5 s", late.len());
    let mut ages: Vec<f64> = late
        .iter()
        .filter_map(|line| line["age_ms"].as_f64())
        .collect();
    ages.sort_by(f64::total_cmp);
    assert!(ages[ages.len() / 2] < 400.0, "{ages:?}");
    stop(adapts);
    let fixed = sender(
        link.address(),
        &[&args[..], &["--fixed", "--frames", "50"]].concat(),
    );
    assert!(!finish(fixed).stderr.contains("a step"));
    stop(viewer);
    stop(relay);
}

#[test]
fn age_is_true_when_the_senders_and_the_viewers_clock_are_hours_off() {
    let (_alone, port, state) = (alone(), port::free(), directory());
    let Some(library) = wrong_clock::library(state.path()) else {
        return skip("no C compiler here (cc), and only a library of ours sets a program's clock");
    };
    let relay = relay(port, state.path(), &["--model", "none"]);
    let wrong = |name: &str, args: &[&str], ahead: &str| {
        let program = program(name, local(port), args).env("LD_PRELOAD", &library);
        program.env(wrong_clock::AHEAD, ahead).start()
    };
    for (of_sender, of_viewer) in [("3600", "0"), ("0", "-3600"), ("-7200", "3600")] {
        let sender = wrong("pi-sender", &["--source", "demo"], of_sender);
        let viewer = wrong("viewer", &["--headless", "--frames", "40"], of_viewer);
        let seen = finish(viewer);
        stop(sender);
        let age = figure(&seen, "age_ms_p50");
        assert!(
            (0.0..100.0).contains(&age),
            "{of_sender} {of_viewer}: {age} ms"
        );
    }
    stop(relay);
}

/// Part of the error for another certificate than the ticket's.
const MISMATCH: &str = "certificate is not the ticket's";

/// Returns the ticket with another token.
fn wrong_token(ticket: &str) -> String {
    let (start, end) = ticket.split_once('#').unwrap();
    format!("{}{}#{end}", &start[..start.len() - 64], "0".repeat(64))
}

/// Returns the ticket with the fingerprint of another certificate.
fn wrong_certificate(ticket: &str) -> String {
    format!("{}{}", &ticket[..ticket.len() - 64], "0".repeat(64))
}

#[test]
fn a_private_relay_works_with_its_tickets_and_ends_everybody_else_with_the_reason() {
    let (_alone, port, state) = (alone(), port::free(), directory());
    let relay = relay(port, state.path(), &["--model", "none", "--private"]);
    let pasted = |start: &str| {
        let line = relay.wait_for_line(start, LONG);
        let ticket = line.split_once(start).unwrap().1;
        ticket.split_once('\'').unwrap().0.to_owned()
    };
    let send = pasted("pi-sender --server '");
    let view = pasted("viewer --server '");
    let with = |name: &str, server: &str| {
        let args: &[&str] = match name {
            "viewer" => &["--headless", "--frames", "10"],
            _ => &["--source", "demo", "--frames", "100"],
        };
        Program::new(binary(name))
            .args(["--report", "--server", server])
            .args(args)
            .start()
    };
    let sender = with("pi-sender", &send);
    assert_eq!(transport(&finish(with("viewer", &view))), "quic");
    stop(sender);
    let bare = local(port).to_string();
    for (name, server, why) in [
        ("viewer", bare.clone(), "private"),
        ("pi-sender", bare, "private"),
        ("viewer", send.clone(), "other role"),
        ("pi-sender", view.clone(), "other role"),
        ("viewer", wrong_token(&view), "ticket is not in force"),
        ("pi-sender", wrong_token(&send), "ticket is not in force"),
        ("viewer", wrong_certificate(&view), MISMATCH),
        ("pi-sender", wrong_certificate(&send), MISMATCH),
    ] {
        let finished = with(name, &server).finish();
        assert_eq!(
            finished.status.code(),
            Some(1),
            "{name}: {}",
            finished.stderr
        );
        assert!(finished.stderr.contains(why), "{name}: {}", finished.stderr);
    }
    stop(relay);
}

#[test]
fn a_camera_is_chosen_by_name_and_waited_for() {
    let (_alone, port, state) = (alone(), port::free(), directory());
    let relay = relay(port, state.path(), &["--model", "none"]);
    let yard = sender(local(port), &["--camera", "yard"]);
    relay.wait_for_line("camera=yard", LONG);
    let viewer = viewer(local(port), &["--camera", "side drive", "--frames", "10"]);
    let line = viewer.wait_for_line("side drive", LONG);
    assert!(line.contains("yard"), "the cameras of the relay: {line}");
    let drive = sender(local(port), &["--camera", "side drive"]);
    assert_eq!(figure(&finish(viewer), "shown"), 10.0);
    stop(drive);
    stop(yard);
    stop(relay);
}
