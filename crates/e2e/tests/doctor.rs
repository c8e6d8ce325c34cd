//! `doctor` of the real programs: on a machine without a fault, and on machines with one.

mod common;

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use common::{LONG, alone, directory, relay, stop, viewer};
use e2e::attack::{Cameras, Target};
use protocol::control::{Control, LeaseVerdict, Question};
use protocol::datagram::{Datagram, classify};
use testkit::port;
use testkit::process::{Finished, Program, binary};
use testkit::wrong_clock;

/// Prepares `doctor` of a program, without the user's configuration.
fn doctor(program: &str, args: &[&str]) -> Program {
    Program::new(binary(program))
        .args(["doctor"])
        .args(args)
        .env("XDG_CONFIG_HOME", "/nonexistent")
        .env_remove("RUST_LOG")
}

fn run(program: Program) -> Finished {
    program.start().finish()
}

/// Asserts that the program ended with `code`, and that its line on `about` begins with `verdict` and contains `text`.
#[track_caller]
fn assert_check(done: &Finished, code: i32, verdict: &str, about: &str, text: &str) {
    assert_eq!(done.status.code(), Some(code), "{done:?}");
    let begins = format!("{verdict:<6}  {about:<12}  ");
    let line = done.stdout.lines().find(|line| line.starts_with(&begins));
    assert!(
        line.is_some_and(|line| line.contains(text)),
        "{verdict} {about} .. {text}: {}\n{}",
        done.stdout,
        done.stderr
    );
}

fn at(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

#[test]
fn a_relay_that_would_start_is_good_and_nothing_is_left_behind() {
    let state = directory();
    let kept = state.path().join("made/later");
    let args = ["--listen", "127.0.0.1:0", "--model", "demo", "--state"];
    let done = run(doctor("relay-server", &args).args([&kept]));
    assert_check(&done, 0, "good", "port", "is free");
    assert_check(&done, 0, "good", "state", "can be written");
    assert_check(&done, 0, "good", "ONNX Runtime", "libonnxruntime.so");
    assert_check(&done, 0, "good", "model", "demo loads");
    for about in ["processors", "container", "buffers", "reassembly", "clock"] {
        assert!(done.stdout.contains(&format!("  {about}")), "{done:?}");
    }
    assert!(
        !done.stdout.contains('\x1b'),
        "no colours but on a terminal"
    );
    assert_eq!(fs::read_dir(state.path()).unwrap().count(), 0);
}

#[test]
fn a_library_or_model_that_does_not_load_is_bad() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let broken = file.path().to_str().unwrap();
    let relay =
        |args: &[&str]| run(doctor("relay-server", &["--listen", "127.0.0.1:0"]).args(args));
    let done = relay(&["--onnxruntime", "/no/such.so"]);
    assert_check(&done, 1, "BAD", "ONNX Runtime", "/no/such.so");
    let done = relay(&["--onnxruntime", broken]);
    assert_check(&done, 1, "BAD", "ONNX Runtime", "loading ONNX Runtime");
    let done = relay(&["--model", "/no/such.onnx"]);
    assert_check(&done, 1, "BAD", "model", "/no/such.onnx");
    let done = relay(&["--model", broken]);
    assert_check(&done, 1, "BAD", "model", broken);
}

#[test]
fn a_port_in_use_is_bad_unless_a_relay_of_ours_uses_it() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let args = ["--listen", &at(port), "--model", "none"];
    let done = run(doctor("relay-server", &args));
    assert_check(&done, 1, "BAD", "port", "use another port with --listen");
    drop(taken);
    let (state, port) = (directory(), port::free());
    let running = relay(port, state.path(), &["--model", "none"]);
    let args = ["--listen", &at(port), "--model", "none"];
    let done = run(doctor("relay-server", &args));
    assert_check(&done, 0, "good", "port", "a Sightline relay answers");
    stop(running);
}

#[test]
fn a_relay_without_place_for_a_udp_viewer_is_bad_within_2_s() {
    let _alone = alone();
    let args = |port| ["--headless", "--server", &at(port)].map(str::to_owned);
    for (places, cause, cure) in [
        ("1", "are taken", "--transport auto"),
        ("0", "--udp-viewers 0", "--transport quic"),
    ] {
        let (state, port) = (directory(), port::free());
        let args = args(port);
        let args = args.each_ref().map(String::as_str);
        let relay_args = ["--model", "none", "--udp-viewers", places];
        let running = relay(port, state.path(), &relay_args);
        let watching = viewer(port, &["--transport", "udp"]);
        let joined = if places == "1" { "joined" } else { "refused" };
        running.wait_for_line(joined, LONG);
        let udp = doctor("viewer", &args).args(["--transport", "udp"]);
        let begun = Instant::now();
        let done = run(udp);
        assert!(begun.elapsed() < Duration::from_secs(2), "{done:?}");
        assert_check(&done, 1, "BAD", "udp", cause);
        assert_check(&done, 1, "BAD", "udp", cure);
        let auto = run(doctor("viewer", &args));
        assert_check(&auto, 0, "good", "udp", cause);
        stop(watching);
        stop(running);
    }
}

#[test]
fn a_sender_that_would_be_refused_learns_it_from_doctor_by_each_transport_and_takes_nothing() {
    let (_alone, state) = (alone(), directory());
    let relay = relay(
        port::free(),
        state.path(),
        &["--http", "off", "--model", "none"],
    );
    let server = at(relay.listening().port());
    let check = |camera, transport| {
        let args = ["--source", "demo", "--server", &server, "--camera", camera];
        run(doctor("pi-sender", &args).args(["--transport", transport]))
    };
    for transport in ["udp", "quic"] {
        assert_eq!(check("yard", transport).status.code(), Some(0));
    }
    let log = relay.stderr().join("\n");
    assert!(!log.contains("yard"), "it only asks: {log}");
    let target = Target {
        relay: relay.listening(),
        http: relay.listening(),
        camera: "none".to_owned(),
    };
    let cameras = Cameras::open(&target, 64);
    assert_eq!(cameras.open_now(), 64);
    let full = check("one-more", "udp");
    assert_check(&full, 1, "BAD", "udp", "no further camera");
    // By QUIC it would get a place of the host that has all.
    assert_eq!(check("one-more", "quic").status.code(), Some(0));
    assert_eq!(cameras.open_now(), 64, "none lost its place to a question");
}

#[test]
fn what_comes_in_place_of_jpegs_is_named_with_the_cure_in_log_window_and_doctor() {
    let (_alone, state) = (alone(), directory());
    let relay = relay(port::free(), state.path(), &["--http", "off"]);
    let address = relay.listening();
    let viewer = viewer(address.port(), &["--transport", "quic"]);
    let camera = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut sent = 0;
    let mut send_until = |over: &dyn Fn() -> bool| {
        let deadline = Instant::now() + LONG;
        while !over() {
            assert!(Instant::now() < deadline, "{:?}", viewer.stderr());
            camera
                .send_to(b"\0\0\0\x01\x67\x42\0\x1e", address)
                .unwrap();
            sent += 1;
            thread::sleep(Duration::from_millis(20));
        }
    };
    let has = |lines: Vec<String>, text: &str| lines.iter().any(|line| line.contains(text));
    send_until(&|| has(viewer.stderr(), "receives H.264 or H.265 video"));
    let server = at(address.port());
    let check = thread::spawn(move || run(doctor("viewer", &["--headless", "--server", &server])));
    send_until(&|| check.is_finished());
    let done = check.join().unwrap();
    assert_check(&done, 1, "BAD", "cameras", "ffmpeg -i INPUT -c:v mjpeg");
    assert!(sent > 10);
    let log = relay.stderr();
    let named = log.iter().filter(|line| line.contains("sends H.264"));
    assert_eq!(named.count(), 1, "{log:?}");
}

#[test]
fn torn_udp_frames_matter_to_those_alone_who_take_them() {
    let state = directory();
    let args = ["--listen", "127.0.0.1:0", "--model", "none", "--state"];
    let open = run(doctor("relay-server", &args).args([state.path()]));
    let kernels = fs::read_to_string("/proc/sys/net/ipv4/ipfrag_time").unwrap_or_default();
    let long = kernels.trim().parse().is_ok_and(|seconds: u64| seconds > 2);
    let verdict = if long { "advice" } else { "good" };
    assert_check(&open, 0, verdict, "reassembly", "incomplete datagrams");
    let private = doctor("relay-server", &args).args([state.path()]);
    assert_check(
        &run(private.args(["--private"])),
        0,
        "good",
        "reassembly",
        "",
    );
}

#[test]
fn a_state_that_cannot_be_is_bad_for_a_private_relay() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let state = file.path().join("state");
    let args = ["--listen", "127.0.0.1:0", "--model", "none", "--state"];
    let done = run(doctor("relay-server", &args).args([&state]));
    assert_check(&done, 0, "advice", "state", "--state DIR");
    let done = run(doctor("relay-server", &args)
        .args([&state])
        .args(["--private"]));
    assert_check(&done, 1, "BAD", "state", "--state DIR");
}

#[test]
fn what_would_end_the_relay_at_its_start_is_bad() {
    let (state, other) = (directory(), directory());
    let args = ["--listen", "127.0.0.1:0", "--model", "none", "--state"];
    let relay = |more: &[&str]| {
        run(doctor("relay-server", &args)
            .args([state.path()])
            .args(more))
    };
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap().to_string();
    assert_check(
        &relay(&["--http", &at]),
        1,
        "BAD",
        "http",
        "stop what holds it",
    );
    let done = relay(&["--detections", "/no/such/file"]);
    assert_check(&done, 1, "BAD", "files", "--detections /no/such/file");
    let record = ["--headless", "--record", "/no/such.mp4"];
    let done = run(doctor("viewer", &record));
    assert_check(&done, 1, "BAD", "files", "--record /no/such.mp4");
    fs::write(state.path().join("identity"), "no certificate").unwrap();
    assert_check(&relay(&["--private"]), 1, "BAD", "state", "is damaged");
    assert_check(&relay(&[]), 0, "advice", "state", "is damaged");
    let relative = run(doctor("relay-server", &args[..4])
        .args(["--state", "made"])
        .args(["--private"])
        .dir(other.path()));
    assert_check(&relative, 0, "good", "state", "made can be written");
}

#[test]
fn a_sender_and_a_viewer_whose_relay_answers_are_good() {
    let (_alone, state, port) = (alone(), directory(), port::free());
    let running = relay(port, state.path(), &["--model", "none"]);
    let done = run(doctor(
        "pi-sender",
        &["--source", "demo", "--server", &at(port)],
    ));
    for (about, text) in [
        ("camera", "demo gives pictures"),
        ("frame", "300x200, quality 80"),
        ("udp", "a Sightline relay answers"),
        ("quic", "QUIC opens"),
        ("fragments", "15 kB arrives"),
        ("path", "carries packets of"),
        ("clocks", "of the relay's"),
    ] {
        assert_check(&done, 0, "good", about, text);
    }
    let viewer =
        |args: &[&str]| run(doctor("viewer", &["--headless", "--server", &at(port)]).args(args));
    assert_check(&viewer(&[]), 0, "advice", "cameras", "pi-sender doctor");
    let camera = common::sender(port, &["--source", "demo", "--camera", "yard"]);
    running.wait_for_line("camera appeared", LONG);
    let done = viewer(&["--camera", "yard"]);
    assert_check(&done, 0, "good", "cameras", "live: yard");
    assert_check(&done, 0, "good", "quic", "QUIC opens");
    let done = viewer(&["--transport", "udp"]);
    assert_check(&done, 0, "good", "udp", "a Sightline relay answers");
    assert!(!done.stdout.contains("  quic  "), "{done:?}");
    if let Some(library) = wrong_clock::library(state.path()) {
        let wrong = doctor("viewer", &["--headless", "--server", &at(port)])
            .env("LD_PRELOAD", library)
            .env(wrong_clock::AHEAD, "3600");
        let done = run(wrong);
        assert_check(&done, 0, "advice", "clocks", "ms ahead of the relay's");
    }
    stop(camera);
    let done = stop(running);
    assert!(!done.stderr.contains("WARN"), "{}", done.stderr);
}

/// Returns the number of received datagrams that would end the tutorial's relay: those that are not a JPEG. Requires at least
/// one JPEG.
fn count_fatal(relay: &UdpSocket) -> usize {
    relay
        .set_nonblocking(true)
        .expect("a socket that need not wait");
    let mut buffer = [0; 2048];
    let (mut jpegs, mut others) = (0, 0);
    while let Ok(length) = relay.recv(&mut buffer) {
        match buffer[..length].starts_with(&[0xFF, 0xD8, 0xFF]) {
            true => jpegs += 1,
            false => others += 1,
        }
    }
    assert!(jpegs > 0);
    others
}

#[test]
fn a_relay_that_is_dead_and_one_that_is_silent_are_told_apart() {
    for (program, args) in [
        ("pi-sender", &["--source", "demo"][..]),
        ("viewer", &["--headless"]),
    ] {
        let dead = doctor(program, &["--server", &at(port::free())]).args(args);
        assert_check(&run(dead), 1, "BAD", "udp", "no program listens");
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let server = silent.local_addr().unwrap().to_string();
        let done = run(doctor(program, &["--server", &server]).args(args));
        assert_check(&done, 1, "BAD", "udp", "ufw allow");
        assert_eq!(count_fatal(&silent), 0, "it may be the tutorial's");
        let done = run(doctor(program, &["--server", &server, "--transport", "quic"]).args(args));
        assert_check(&done, 1, "BAD", "quic", "nothing answers by QUIC");
        let done = run(doctor(program, &["--server", "no.such.host.invalid"]).args(args));
        assert_check(&done, 1, "BAD", "relay", "does not resolve");
    }
}

#[test]
fn a_private_relay_asks_for_the_ticket_and_takes_the_right_one() {
    let (state, port) = (directory(), port::free());
    let running = relay(port, state.path(), &["--model", "none", "--private"]);
    let line = running.wait_for_line("viewer --server 'sightline://", LONG);
    let ticket = line.split('\'').nth(1).unwrap();
    let viewer = |server: &str| run(doctor("viewer", &["--headless", "--server", server]));
    assert_check(&viewer(&at(port)), 1, "BAD", "udp", "this relay is private");
    let done = viewer(ticket);
    assert_check(&done, 0, "good", "quic", "QUIC opens");
    let token = ticket.split(['=', '#']).nth(1).unwrap();
    assert!(
        !done.stdout.contains("  udp  "),
        "no frame goes by UDP: {done:?}"
    );
    assert!(!done.stdout.contains(token), "a secret is shown: {done:?}");
    let sender = doctor("pi-sender", &["--source", "demo", "--server", ticket]);
    assert_check(&run(sender), 1, "BAD", "quic", "for the other role");
    stop(running);
}

#[test]
fn a_path_that_drops_pieces_is_found_before_a_frame_is_lost() {
    let path = UdpSocket::bind("127.0.0.1:0").unwrap();
    let server = path.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let mut buffer = [0; 65_536];
        while let Ok((length, from)) = path.recv_from(&mut buffer) {
            if length > 1472 {
                continue;
            }
            if let Ok(Datagram::Control(Control::Probe(Question { nonce, .. }))) =
                classify(buffer[..length].to_vec())
            {
                let verdict = LeaseVerdict::Welcome;
                let answer = Control::Accept {
                    nonce,
                    verdict,
                    cookie: None,
                }
                .write();
                path.send_to(&answer, from).unwrap();
            }
        }
    });
    let args = [
        "--source",
        "demo",
        "--transport",
        "udp",
        "--server",
        &server,
    ];
    assert_check(
        &run(doctor("pi-sender", &args)),
        1,
        "BAD",
        "fragments",
        "the path drops IP fragments",
    );
}

#[test]
fn a_camera_and_a_display_that_are_not_there_are_bad() {
    let server = ["--server", "127.0.0.1:1"];
    let done = run(doctor("pi-sender", &["--source", "/dev/video99"]).args(server));
    assert_check(&done, 1, "BAD", "camera", "/dev/video99 does not exist");
    let viewer = || {
        let displays = ["DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"];
        let viewer = doctor("viewer", &[]).args(server);
        displays
            .iter()
            .fold(viewer, |viewer, name| viewer.env_remove(name))
    };
    assert_check(&run(viewer()), 1, "BAD", "display", "neither DISPLAY nor");
    let dead = viewer().env("DISPLAY", ":987654");
    assert_check(&run(dead), 1, "BAD", "display", "a trial window failed");
    let offscreen = viewer().env("QT_QPA_PLATFORM", "offscreen");
    assert_check(&run(offscreen), 1, "good", "display", "a window opens");
}

#[test]
fn a_sender_without_a_relay_is_told_among_the_rest_and_a_typo_is_a_usage_error() {
    let done = run(doctor("pi-sender", &["--source", "demo"]));
    assert_check(&done, 1, "BAD", "relay", "--server is missing");
    assert_check(&done, 1, "good", "camera", "demo gives pictures");
    for program in ["pi-sender", "relay-server", "viewer"] {
        let done = run(doctor(program, &["--no-such-flag"]));
        assert_eq!(done.status.code(), Some(2), "{done:?}");
        let done = run(Program::new(binary(program)).args(["docter"]));
        assert_eq!(done.status.code(), Some(2), "{done:?}");
    }
}
