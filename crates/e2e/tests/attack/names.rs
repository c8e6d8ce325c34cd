//! Names of cameras: a hostile sender takes no live one, and keeps no other camera out.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use e2e::attack::{Attack, Cameras};
use protocol::label::Label;

use crate::common::{LONG, finish, sender, viewer};
use crate::honest::{CAMERA, Honest, MS};

const REFUSED: &str = "another source sends as this camera";
const MOVED: &str = "camera goes on from here";
/// Longest time until a sender that is refused logs it.
const REPORTED: Duration = Duration::from_secs(2);

#[test]
fn a_datagram_with_the_cameras_public_stream_and_the_largest_number_takes_nothing() {
    let honest = Honest::start(&["--model", "none"]);
    let seen = e2e::attack::watch_one_frame(&honest.target);
    let label = Label::read(&seen).unwrap().unwrap();
    assert_eq!(label.camera.as_str(), CAMERA);
    let forged = Label {
        seq: u64::MAX,
        ..label
    };
    let forged = forged.write(&seen);
    let attacker = UdpSocket::bind("127.0.0.2:0").unwrap();
    let before = honest.shown().len();
    for _ in 0..30 {
        attacker.send_to(&forged, honest.target.relay).unwrap();
        thread::sleep(100 * MS);
    }
    let shown = honest.shown();
    assert!(
        shown.len() >= before + 27,
        "{} frames",
        shown.len() - before
    );
    assert!(!shown.contains(&u64::MAX));
    let log = honest.relay.stderr().join("\n");
    assert!(!log.contains(MOVED), "{log}");
    assert!(!honest.sender.stderr().join("\n").contains(REFUSED));
}

#[test]
fn a_camera_is_back_after_a_restart_of_the_relay_while_another_host_floods_its_name_by_udp() {
    let mut honest = Honest::start(&["--model", "none"]);
    let seen = e2e::attack::watch_one_frame(&honest.target);
    let (relay, over) = (honest.target.relay, Arc::new(AtomicBool::new(false)));
    let flood = thread::spawn({
        let over = Arc::clone(&over);
        move || {
            let attacker = UdpSocket::bind("127.0.0.2:0").unwrap();
            while !over.load(Ordering::Relaxed) {
                // The port is closed while the relay starts.
                let _ = attacker.send_to(&seen, relay);
                thread::sleep(MS);
            }
        }
    });
    honest.restart_relay();
    honest.relay.wait_for_line("127.0.0.2", LONG);
    let back = honest.wait_for_frames(10);
    over.store(true, Ordering::Relaxed);
    flood.join().unwrap();
    eprintln!("frames come {back:?} after the restart");
}

#[test]
fn a_second_sender_of_a_live_name_reports_its_refusal_within_2_s_by_udp_and_by_quic() {
    let honest = Honest::start(&["--model", "none"]);
    for transport in ["udp", "quic"] {
        let args = ["--source", "demo", "--camera", CAMERA, "--transport"];
        let second = sender(honest.port(), &[&args[..], &[transport]].concat());
        let line = second.wait_for_line("sending", Duration::from_secs(10));
        let start = Instant::now();
        second.wait_for_line(REFUSED, REPORTED);
        eprintln!("{transport}: {:?} behind: {line}", start.elapsed());
    }
    honest.assert_frames_come(1000 * MS);
}

#[test]
fn a_host_with_80_cameras_keeps_no_other_camera_out() {
    let honest = Honest::start(&["--model", "none"]);
    let cameras = Cameras::open(&honest.target, 80);
    assert!(cameras.open_now() >= 60, "{} are open", cameras.open_now());
    let second = sender(
        honest.port(),
        &[
            "--source",
            "demo",
            "--camera",
            "drive",
            "--transport",
            "quic",
        ],
    );
    let args = ["--camera", "drive", "--frames", "10", "--transport", "quic"];
    finish(viewer(honest.port(), &args));
    honest.assert_frames_come(1000 * MS);
    drop((cameras, second));
}

#[test]
fn a_flood_of_names_by_udp_quic_and_http_costs_the_viewer_no_frame() {
    let honest = Honest::start(&["--model", "none"]);
    let attacker = honest.attack(Attack::Names);
    honest.assert_frames_come(4000 * MS);
    assert!(attacker.stop().done > 100);
    let log = honest.relay.stderr().join("\n");
    assert!(!log.contains(MOVED), "{log}");
}
