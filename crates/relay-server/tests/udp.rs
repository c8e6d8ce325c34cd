//! The UDP transport against plain sockets: what cameras, viewers and hostile peers do to it.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

mod common {
    pub(crate) mod process;
    pub(crate) mod udp;
}

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use common::process::{SOON, report, stop, without_model};
use common::udp::{hello, picture, receive, socket, viewer};
use protocol::control::{Control, LeaseVerdict, Question};
use protocol::label::{Label, StreamId};

#[test]
fn frames_pass_byte_identical_and_in_order() {
    let (relay, address) = without_model(&[]);
    let (viewer, camera) = (viewer(address), socket("127.0.0.1", address));
    for seq in 1..=200 {
        let sent = picture(seq);
        camera.send(&sent).unwrap();
        assert_eq!(receive(&viewer), sent);
    }
    let report = report(relay);
    assert_eq!(
        (&report["received"], &report["forwarded"]),
        (&200.into(), &200.into())
    );
    assert_eq!(
        (&report["viewers_peak"], &report["inferred"]),
        (&1.into(), &0.into())
    );
    assert!(
        report["forward_us_p50"].is_u64() && report["inference_ms_p50"].is_null(),
        "{report}"
    );
}

#[test]
fn the_frame_right_behind_a_hello_is_not_lost() {
    let (relay, address) = without_model(&["--udp-viewers", "100", "--udp-egress", "1000"]);
    let camera = socket("127.0.0.1", address);
    let mut viewers = Vec::new();
    for seq in 1..=50 {
        let viewer = socket("127.0.0.1", address);
        viewer
            .send(&Control::Hello(Question::new(1, None)).write())
            .unwrap();
        camera.send(&picture(seq)).unwrap();
        let both = [receive(&viewer), receive(&viewer)];
        assert!(both.contains(&picture(seq)), "viewer {seq}");
        viewers.push(viewer);
    }
    stop(relay);
}

#[test]
fn a_tutorial_viewer_keeps_its_lease_and_the_next_one_gets_none() {
    let (relay, address) = without_model(&["--udp-viewers", "1"]);
    let camera = socket("127.0.0.1", address);
    let first = socket("127.0.0.1", address);
    first.send(b"Request").unwrap();
    relay.wait_for_line("viewer joined", SOON);
    let second = socket("127.0.0.1", address);
    assert_eq!(hello(&second, None).0, LeaseVerdict::Full);
    second.send(b"Request").unwrap();
    let line = relay.wait_for_line("UDP viewer refused", SOON);
    assert!(
        line.contains("INFO") && line.contains("--udp-viewers"),
        "{line}"
    );
    for seq in 1..=3 {
        camera.send(&picture(seq)).unwrap();
        assert_eq!(receive(&first), picture(seq));
    }
    stop(relay);
}

#[test]
fn viewers_of_a_relay_that_takes_none_are_reported_and_do_not_fill_the_log() {
    let (relay, address) = without_model(&["--udp-viewers", "0"]);
    for _ in 0..100 {
        let viewer = socket("127.0.0.1", address);
        assert_eq!(hello(&viewer, None).0, LeaseVerdict::Closed);
    }
    let line = relay.wait_for_line("UDP viewer refused", SOON);
    assert!(line.contains("--udp-viewers 0 closes"), "{line}");
    let lines = relay.stderr();
    let refused = lines.iter().filter(|line| line.contains("refused"));
    assert_eq!(refused.count(), 10, "{lines:#?}");
    stop(relay);
}

#[test]
fn a_camera_that_falls_silent_is_logged_as_gone() {
    let (relay, address) = without_model(&[]);
    let yard = socket("127.0.0.1", address);
    for seq in 1..=3 {
        yard.send(&frame("yard", 1, seq)).unwrap();
    }
    let line = relay.wait_for_line("camera gone", SOON);
    let fields = ["INFO", "camera=yard", "silence_s=3"];
    assert!(fields.iter().all(|field| line.contains(field)), "{line}");
    stop(relay);
}

#[test]
fn a_viewer_that_is_back_on_its_closed_port_gets_frames_again() {
    let (relay, address) = without_model(&[]);
    let camera = socket("127.0.0.1", address);
    let viewer = socket("127.0.0.1", address);
    let at = viewer.local_addr().unwrap();
    viewer.send(b"Request").unwrap();
    relay.wait_for_line("viewer joined", SOON);
    drop(viewer);
    for seq in 1..=100 {
        camera.send(&picture(seq)).unwrap();
        std::thread::sleep(Duration::from_millis(10));
    }
    let viewer = UdpSocket::bind(at).unwrap();
    viewer.connect(address).unwrap();
    viewer.set_read_timeout(Some(SOON)).unwrap();
    let resent = std::thread::spawn(move || {
        for _ in 0..300 {
            camera.send(&picture(7)).unwrap();
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    assert_eq!(receive(&viewer), picture(7));
    resent.join().unwrap();
    stop(relay);
}

#[test]
fn a_viewer_that_proves_its_address_gets_the_lease_of_one_that_does_not() {
    let (relay, address) = without_model(&["--udp-viewers", "1"]);
    let forged = socket("127.0.0.1", address);
    forged.send(b"Request").unwrap();
    relay.wait_for_line("viewer joined", SOON);
    let honest = socket("127.0.0.1", address);
    let (verdict, cookie) = hello(&honest, None);
    assert_eq!(verdict, LeaseVerdict::Full);
    assert_eq!(hello(&honest, cookie).0, LeaseVerdict::Welcome);
    let camera = socket("127.0.0.1", address);
    camera.send(&picture(1)).unwrap();
    assert_eq!(receive(&honest), picture(1));
    stop(relay);
}

#[test]
fn two_cameras_are_told_apart_and_a_udp_viewer_sees_the_first() {
    let (relay, address) = without_model(&[]);
    let viewer = viewer(address);
    let (yard, drive) = (socket("127.0.0.1", address), socket("127.0.0.1", address));
    for seq in 1..=20 {
        yard.send(&frame("yard", 1, seq)).unwrap();
        drive.send(&frame("drive", 2, seq)).unwrap();
        assert_eq!(receive(&viewer), frame("yard", 1, seq));
    }
    for name in ["camera=yard", "camera=drive"] {
        relay.wait_for_line(name, SOON);
    }
    assert_eq!(report(relay)["received"], 40);
}

#[test]
fn a_stranger_does_not_take_a_live_cameras_place() {
    let (relay, address) = without_model(&[]);
    let viewer = viewer(address);
    let (yard, stranger) = (socket("127.0.0.1", address), socket("127.0.0.2", address));
    for seq in 1..=20 {
        yard.send(&frame("yard", 1, seq)).unwrap();
        assert_eq!(receive(&viewer), frame("yard", 1, seq));
        stranger.send(&frame("yard", 2, 1000 + seq)).unwrap();
    }
    nothing_comes(&viewer);
    let finished = stop(relay);
    assert_eq!(finished.report.as_ref().unwrap()["dropped"]["stranger"], 20);
    assert_eq!(finished.stderr.matches("another source sends").count(), 1);
}

#[test]
fn a_restarted_camera_is_back_within_half_a_second() {
    let (relay, address) = without_model(&[]);
    let viewer = viewer(address);
    let first = socket("127.0.0.1", address);
    for seq in 1..=5 {
        first.send(&frame("yard", 1, seq)).unwrap();
        assert_eq!(receive(&viewer), frame("yard", 1, seq));
    }
    drop(first);
    let second = socket("127.0.0.1", address);
    viewer
        .set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    let start = Instant::now();
    let back = (1..).find(|&seq| {
        second.send(&frame("yard", 2, seq)).unwrap();
        viewer.recv(&mut [0; 70_000]).is_ok()
    });
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "frame {back:?} was the first, after {:?}",
        start.elapsed()
    );
    relay.wait_for_line("camera goes on from here", SOON);
    stop(relay);
}

#[test]
fn garbage_is_counted_by_reason_and_passes_nowhere() {
    let (relay, address) = without_model(&[]);
    let (viewer, camera) = (viewer(address), socket("127.0.0.1", address));
    for junk in [
        &b"hello"[..],
        &[9; 1472],
        &[9; 1472],
        &picture(1)[..500],
        &[0xFF, 0xD8, 0xFF, 0xD9],
    ] {
        camera.send(junk).unwrap();
    }
    camera.send(&picture(7)).unwrap();
    assert_eq!(receive(&viewer), picture(7));
    let finished = stop(relay);
    let dropped: BTreeMap<String, u64> =
        serde_json::from_value(finished.report.as_ref().unwrap()["dropped"].clone()).unwrap();
    let want = [
        ("no_end", 1),
        ("no_frame_header", 1),
        ("not_jpeg", 1),
        ("piece", 2),
    ];
    assert_eq!(
        dropped,
        want.map(|(reason, n)| (reason.to_owned(), n)).into()
    );
    assert_eq!(finished.stderr.matches("pkt_size=65507").count(), 1);
}

#[test]
fn nobody_is_heard_and_nothing_stops_when_a_viewer_vanishes_in_mid_stream() {
    let (relay, address) = without_model(&[]);
    let (stays, camera) = (viewer(address), socket("127.0.0.1", address));
    let vanishes = viewer(address);
    for seq in 1..=100 {
        camera.send(&picture(seq)).unwrap();
        assert_eq!(receive(&stays), picture(seq));
        if seq == 50 {
            vanishes.set_nonblocking(true).unwrap();
            while vanishes.recv(&mut [0; 70_000]).is_ok() {}
            vanishes.connect("127.0.0.1:9").unwrap();
        }
    }
    stop(relay);
}

/// Returns a labelled frame; its brightness, too, depends on its number.
fn frame(camera: &str, stream: u64, seq: u64) -> Vec<u8> {
    let label = Label {
        stream: StreamId(stream),
        seq,
        captured_us: 1_763_820_000_000_000 + seq,
        camera: camera.parse().unwrap(),
    };
    label.write(&picture(seq))
}

fn nothing_comes(socket: &UdpSocket) {
    socket
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    assert!(socket.recv(&mut [0; 70_000]).is_err(), "something came");
    socket.set_read_timeout(Some(SOON)).unwrap();
}
