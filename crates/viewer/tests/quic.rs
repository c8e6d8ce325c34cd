//! The viewer on the QUIC transport: connects, names its camera, and reports why a relay refuses it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::quic_relay::QuicRelay;
use common::script::{FINAL_REFUSALS, RelayScript, ViewerSession, send, send_yard};
use common::shown::{identity, newest, numbers, start_headless, stop_and_report};
use common::{
    Behaviour, INTERVAL, LONG, UdpRelay, eventually, labelled, viewer, viewer_without_args,
};
use protocol::control::{Control, LeaseVerdict, Question};
use protocol::quic::{CameraInfo, Refusal, Role, SenderInfo, ServerMessage};
use protocol::ticket::{Key, Ticket};
use quic::identity::Identity;
use tokio::time::timeout;

const ANY: &str = "127.0.0.1:0";

fn ticket(relay: &QuicRelay, identity: &Identity, camera: Option<&str>) -> String {
    let ticket = Ticket {
        host: relay.addr.to_string().parse().unwrap(),
        camera: camera.map(|name| name.parse().unwrap()),
        token: Key([0x1f; 32]),
        fingerprint: identity.fingerprint(),
    };
    ticket.to_string()
}

#[test]
fn quic_is_found_at_once_and_no_frame_by_udp_is_requested() {
    let dir = tempfile::tempdir().unwrap();
    let relay = QuicRelay::start(ANY, &identity(), RelayScript::yard(1, 0));
    let viewer = viewer(relay.addr, dir.path())
        .args(["--headless", "--shown", "shown.jsonl", "--frames", "30"])
        .start();
    viewer.wait_for_line("certificate is not verified", LONG);
    let done = viewer.finish();
    assert!(done.status.success(), "{}", done.stderr);
    let report = done.report.unwrap();
    assert_eq!(report["transport"], "quic");
    assert_eq!((&report["shown"], &report["lost"]), (&30.into(), &0.into()));
    assert!(!done.stderr.contains("WARN"), "{}", done.stderr);

    let hellos = relay.hellos();
    assert_eq!(hellos.len(), 1);
    assert_eq!((hellos[0].role, &hellos[0].camera), (Role::View, &None));
    assert_eq!((&hellos[0].token, &hellos[0].stream), (&None, &None));
    let messages = relay.udp_messages();
    assert_eq!(messages.len(), 1, "one probe, and silence: {messages:?}");
    assert!(matches!(messages[0].1, Control::Probe(_)), "{messages:?}");
    eventually("the viewer's close", || {
        relay
            .closed()
            .iter()
            .any(|end| end.contains("ApplicationClosed"))
    });
}

#[test]
fn udp_will_do_until_quic_is_open() {
    let dir = tempfile::tempdir().unwrap();
    let script = RelayScript::yard(1, 0);
    let accepts_quic = script.accepts_quic.clone();
    accepts_quic.store(false, Ordering::Relaxed);
    let relay = QuicRelay::start(ANY, &identity(), script);
    let viewer = start_headless(viewer(relay.addr, dir.path()));
    eventually("UDP frames", || numbers(dir.path()).len() > 5);
    viewer.wait_for_line("frames come over UDP", LONG);
    let messages = relay.udp_messages();
    let hello = |c: &Control| matches!(c, Control::Hello(_));
    let (requested, _) = messages.iter().find(|(_, c)| hello(c)).unwrap();
    let after = *requested - messages[0].0;
    assert!(
        (Duration::from_millis(690)..Duration::from_secs(5)).contains(&after),
        "{after:?}"
    );
    assert!(relay.attempts() > 0);

    accepts_quic.store(true, Ordering::Relaxed);
    viewer.wait_for_line("connected by QUIC", LONG);
    eventually("the UDP lease is released", || {
        matches!(relay.udp_messages().last(), Some((_, Control::Probe(_))))
    });
    let then = relay.udp_messages().len();
    std::thread::sleep(Duration::from_millis(4500));
    assert_eq!(relay.udp_messages().len(), then, "silence over UDP");
    let report = stop_and_report(viewer);
    assert_eq!(report["transport"], "quic");
    let numbers = numbers(dir.path());
    assert!(numbers.len() > 50, "{numbers:?}");
}

#[test]
fn udp_never_tries_quic_and_quic_never_requests_a_lease() {
    let dir = tempfile::tempdir().unwrap();
    let relay = QuicRelay::start(ANY, &identity(), RelayScript::yard(1, 0));
    let by = |transport: &str| {
        let done = viewer(relay.addr, dir.path())
            .args(["--headless", "--frames", "10", "--transport", transport])
            .start()
            .finish();
        assert!(done.status.success(), "{}", done.stderr);
        assert_eq!(done.report.unwrap()["transport"], transport);
    };
    by("udp");
    assert_eq!(relay.attempts(), 0);
    let before = relay.udp_messages().len();
    by("quic");
    assert_eq!(relay.udp_messages().len(), before);
}

#[test]
fn a_ticket_goes_by_quic_at_once_names_its_camera_and_shows_its_token() {
    let dir = tempfile::tempdir().unwrap();
    let identity = identity();
    let relay = QuicRelay::start(ANY, &identity, RelayScript::yard(1, 0));
    let done = viewer_without_args(dir.path())
        .args(["--headless", "--frames", "10", "--report"])
        .args(["--server", &ticket(&relay, &identity, Some("yard"))])
        .start()
        .finish();
    assert!(done.status.success(), "{}", done.stderr);
    assert!(
        !done.stderr.contains("certificate is not verified"),
        "{}",
        done.stderr
    );
    assert!(!done.stderr.contains(&"1f".repeat(32)), "a secret");
    let hello = &relay.hellos()[0];
    assert_eq!(hello.camera.as_deref(), Some("yard"));
    assert_eq!(hello.token, Some("1f".repeat(32)));
    assert_eq!(relay.udp_messages().len(), 0, "nothing over UDP");
}

#[test]
fn each_refusal_ends_the_program_with_its_cause_address_and_cure() {
    let dir = tempfile::tempdir().unwrap();
    for (refusal, remedy) in FINAL_REFUSALS {
        let identity = identity();
        let relay = QuicRelay::start(ANY, &identity, RelayScript::refusing(refusal));
        let with_ticket = ticket(&relay, &identity, None);
        for server in [relay.addr.to_string(), with_ticket] {
            let done = viewer_without_args(dir.path())
                .args(["--headless", "--server", &server])
                .start()
                .finish();
            let log = &done.stderr;
            assert_eq!(done.status.code(), Some(1), "{refusal:?}: {log}");
            assert!(log.contains("ERROR") && log.contains(remedy), "{log}");
            assert!(log.contains(&relay.addr.to_string()), "{log}");
        }
    }
}

#[test]
fn a_private_relay_says_so_by_udp_too() {
    let dir = tempfile::tempdir().unwrap();
    let private = RelayScript {
        verdict: LeaseVerdict::Private,
        ..RelayScript::yard(1, 0)
    };
    let relay = QuicRelay::start(ANY, &identity(), private);
    for transport in ["auto", "udp"] {
        let done = viewer(relay.addr, dir.path())
            .args(["--headless", "--transport", transport])
            .start()
            .finish();
        assert_eq!(done.status.code(), Some(1), "{}", done.stderr);
        let remedy = "start with a ticket, --server 'sightline://..'";
        assert!(done.stderr.contains(remedy), "{}", done.stderr);
        assert!(done.stderr.contains(&relay.addr.to_string()));
    }
    assert_eq!(relay.attempts(), 0);
}

#[test]
fn another_relays_certificate_is_not_talked_to() {
    let dir = tempfile::tempdir().unwrap();
    let relay = QuicRelay::start(ANY, &identity(), RelayScript::yard(1, 0));
    let done = viewer_without_args(dir.path())
        .args(["--headless", "--server", &ticket(&relay, &identity(), None)])
        .start()
        .finish();
    assert_eq!(done.status.code(), Some(1), "{}", done.stderr);
    assert!(
        done.stderr.contains("certificate is not the ticket's"),
        "{}",
        done.stderr
    );
    assert!(relay.hellos().is_empty(), "the token stays a secret");
}

#[test]
fn a_full_quic_transport_is_a_failure_that_passes() {
    let dir = tempfile::tempdir().unwrap();
    let full = QuicRelay::start(ANY, &identity(), RelayScript::refusing(Refusal::Full));
    let quic = viewer(full.addr, dir.path()).args(["--headless", "--transport", "quic"]);
    quic.start().wait_for_line("is full", LONG);
    let auto = start_headless(viewer(full.addr, dir.path()));
    eventually("UDP frames", || newest(dir.path()) > 10);
    assert_eq!(stop_and_report(auto)["transport"], "udp");
}

#[test]
fn a_camera_that_is_not_there_is_waited_for_and_appears_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let steps = [Arc::<AtomicBool>::default(), Arc::default()];
    let [second, third] = steps.clone();
    let script = RelayScript::new(move |mut session: ViewerSession| {
        let until = |step: &Arc<AtomicBool>| {
            let step = step.clone();
            async move {
                while !step.load(Ordering::Relaxed) {
                    tokio::time::sleep(INTERVAL).await;
                }
            }
        };
        let steps = (until(&second), until(&third));
        async move {
            session.answer(&["drive"]).await?;
            steps.0.await;
            let live = |names: &[&str]| {
                ServerMessage::Cameras(names.iter().map(ToString::to_string).collect())
            };
            session.send_message(&live(&["drive", "gate"])).await?;
            steps.1.await;
            session
                .send_message(&live(&["drive", "gate", "yard"]))
                .await?;
            send_yard(&session.connection).await
        }
    });
    let relay = QuicRelay::start(ANY, &identity(), script);
    let viewer = start_headless(viewer(relay.addr, dir.path()).args(["--camera", "yard"]));
    let line = viewer.wait_for_line("live are: drive", LONG);
    assert!(line.contains("WARN") && line.contains("'yard'"), "{line}");
    steps[0].store(true, Ordering::Relaxed);
    viewer.wait_for_line("live are: drive, gate", LONG);
    std::thread::sleep(Duration::from_millis(500));
    let warnings = viewer
        .stderr()
        .iter()
        .filter(|l| l.contains("WARN"))
        .count();
    assert_eq!(warnings, 2, "once a change");
    steps[1].store(true, Ordering::Relaxed);
    viewer.wait_for_line("frames come", LONG);
    stop_and_report(viewer);
    assert_eq!(relay.hellos()[0].camera.as_deref(), Some("yard"));
}

#[test]
fn without_quic_a_chosen_camera_is_not_shown_and_it_is_said_why() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["--headless", "--camera", "yard"];
    let closed = UdpRelay::start(Behaviour::Sightline, ANY, |n| vec![labelled(1, n)]);
    let at_closed = viewer(closed.addr, dir.path()).args(args).start();
    at_closed.wait_for_line("No QUIC connection", LONG);
    let tutorial = UdpRelay::start(Behaviour::TutorialWaiting, ANY, |n| vec![labelled(1, n)]);
    let at_tutorial = viewer(tutorial.addr, dir.path()).args(args).start();
    at_tutorial.wait_for_line("has one camera", LONG);
    for viewer in [at_closed, at_tutorial] {
        assert_eq!(stop_and_report(viewer)["shown"], 0);
    }
    assert!(tutorial.is_unharmed());
    let hello = |bytes: &[u8]| Control::Hello(Question::new(0, None)).write()[..20] == bytes[..20];
    let received = closed.received();
    assert!(!received.iter().any(|(_, bytes)| hello(bytes)));
}

#[test]
fn a_hostile_relay_neither_ends_nor_fattens_the_viewer() {
    let dir = tempfile::tempdir().unwrap();
    let calm = Arc::new(AtomicBool::new(false));
    let over = calm.clone();
    let script = RelayScript::new(move |mut session: ViewerSession| {
        let over = over.clone();
        async move {
            session.answer(&["yard", "\u{1b}[2J", ""]).await?;
            let sender = SenderInfo {
                offset_us: Some(i64::MIN),
                error_us: Some(u64::MAX),
                quality: Some(255),
                ..SenderInfo::default()
            };
            let name = "yard".to_owned();
            session
                .send_message(&ServerMessage::Camera(CameraInfo { name, sender }))
                .await?;
            attack(&session.connection).await;
            over.store(true, Ordering::Relaxed);
            send_yard(&session.connection).await
        }
    });
    let relay = QuicRelay::start(ANY, &identity(), script);
    let viewer = start_headless(viewer(relay.addr, dir.path()).args(["--transport", "quic"]));
    viewer.wait_for_line("connected by QUIC", LONG);
    let before = viewer.rss_kb();
    let mut peak = 0;
    let deadline = Instant::now() + 2 * LONG;
    while !calm.load(Ordering::Relaxed) {
        peak = peak.max(viewer.rss_kb());
        assert!(Instant::now() < deadline, "the attack never ends");
        std::thread::sleep(Duration::from_millis(20));
    }
    eventually("frames", || numbers(dir.path()).len() > 5);
    eprintln!("memory: {before} kB before, {peak} kB at most");
    assert!(peak < before + (100 << 10), "{before} kB, then {peak} kB");
    let report = stop_and_report(viewer);
    assert_eq!(report["decode_errors"], 0, "{report}");
    assert!(report["dropped"].as_u64() >= Some(1000), "{report}");
}

/// Sends what no relay may send, and more than a viewer may keep.
async fn attack(connection: &quinn::Connection) {
    // Frames that never end.
    let mut huge = tokio::task::JoinSet::new();
    for _ in 0..32 {
        let chunk = [&[0xFF, 0xD8, 0xFF][..], &[0x55; 64 << 10]].concat();
        huge.spawn(send_repeatedly(connection.clone(), chunk, 160));
    }
    huge.join_all().await;
    // A line without an end, and lines that are no message.
    send_repeatedly(connection.clone(), vec![b'{'; 10_000], 1000).await;
    let deep = format!("{{\"v\":1,\"deep\":{}}}\n", "[".repeat(200));
    send_repeatedly(connection.clone(), deep.into_bytes(), 2000).await;
    for n in 0_u32..10_000 {
        send(connection, &n.to_le_bytes()).await;
    }
}

/// Sends a piece again and again on one stream, until the viewer stops it. A writer that is stopped while the connection
/// waits for flow control notices it by its own timeout only.
async fn send_repeatedly(
    connection: quinn::Connection,
    piece: Vec<u8>,
    times: usize,
) -> Option<()> {
    let mut stream = connection.open_uni().await.ok()?;
    for _ in 0..times {
        let written = timeout(Duration::from_secs(1), stream.write_all(&piece)).await;
        if !matches!(written, Ok(Ok(()))) {
            return stream.reset(0_u32.into()).ok();
        }
    }
    stream.finish().ok()
}
