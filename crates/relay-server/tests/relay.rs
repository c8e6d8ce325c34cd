//! The real relay against plain sockets: what a camera, a viewer, a stranger and an operator do to it.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use opencv::core::{CV_8UC3, Mat, Scalar};
use protocol::control::{Control, Verdict};
use protocol::datagram::{Datagram, classify};
use protocol::detections::{Detections, Kind};
use protocol::label::{Label, StreamId};
use serde_json::Value;
use testkit::process::{Finished, Program, Running};

const RELAY: &str = env!("CARGO_BIN_EXE_relay-server");
const SOON: Duration = Duration::from_secs(10);

fn relay(words: &[&str]) -> Running {
    Program::new(RELAY)
        .args(["--report"])
        .args(words)
        .env("HOME", "/nonexistent")
        .start()
}

fn without_model(words: &[&str]) -> (Running, SocketAddr) {
    let running = relay(&[&["--listen", "127.0.0.1:0", "--model", "none"], words].concat());
    let address = running.listening();
    (running, address)
}

/// The relay with the real YOLOv5n; `None`, said as a skip, where that is not here.
fn with_model(words: &[&str]) -> Option<(Running, SocketAddr)> {
    let Some(model) = testkit::shared("data/models/yolov5n-dynamic.onnx") else {
        testkit::skip("../shared/data is not here");
        return None;
    };
    let always = [
        "--listen",
        "127.0.0.1:0",
        "--report",
        "--model",
        model.to_str().unwrap(),
    ];
    let running = Program::new(RELAY).args(always).args(words).start();
    let address = running.listening();
    Some((running, address))
}

fn stop(running: Running) -> Finished {
    running.terminate();
    let finished = running.finish();
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
    assert!(finished.stopped_in.unwrap() < Duration::from_secs(2));
    finished
}

fn report(finished: &Finished) -> &Value {
    finished
        .report
        .as_ref()
        .unwrap_or_else(|| panic!("no report\n{}", finished.stderr))
}

fn socket(from: &str, relay: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((from, 0)).unwrap();
    socket.connect(relay).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket
}

/// A viewer that has a place: it repeats its request until a frame of `camera` comes through.
fn viewer(relay: SocketAddr) -> UdpSocket {
    let socket = socket("127.0.0.1", relay);
    let hello = Control::Hello { nonce: 1 };
    socket.send(&hello.write()).unwrap();
    let welcome = Control::Accept {
        nonce: 1,
        verdict: Verdict::Welcome,
    };
    assert_eq!(receive(&socket), welcome.write());
    socket
}

fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 70_000];
    let length = socket.recv(&mut buffer).expect("a datagram in time");
    buffer.truncate(length);
    buffer
}

fn nothing_comes(socket: &UdpSocket) {
    socket
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    assert!(socket.recv(&mut [0; 70_000]).is_err(), "something came");
    socket.set_read_timeout(Some(SOON)).unwrap();
}

/// A picture whose brightness and label tell its number.
fn frame(camera: &str, stream: u64, seq: u64) -> Vec<u8> {
    let label = Label {
        stream: StreamId(stream),
        seq,
        captured_us: 1_763_820_000_000_000 + seq,
        camera: camera.parse().unwrap(),
    };
    label.write(&picture(seq))
}

fn picture(seq: u64) -> Vec<u8> {
    let grey = Scalar::all((seq % 256) as f64);
    let picture = Mat::new_rows_cols_with_default(200, 300, CV_8UC3, grey).unwrap();
    imaging::jpeg::encode(&picture, 80).unwrap()
}

#[test]
fn frames_pass_byte_identical_and_in_order() {
    let (relay, address) = without_model(&[]);
    let (viewer, camera) = (viewer(address), socket("127.0.0.1", address));
    for seq in 1..=200 {
        let sent = picture(seq);
        camera.send(&sent).unwrap();
        assert_eq!(receive(&viewer), sent);
    }
    let finished = stop(relay);
    let report = report(&finished);
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
    let (relay, address) = without_model(&["--plain-viewers", "100", "--plain-egress", "1000"]);
    let camera = socket("127.0.0.1", address);
    let mut seats = Vec::new();
    for seq in 1..=50 {
        let viewer = socket("127.0.0.1", address);
        viewer.send(&Control::Hello { nonce: 1 }.write()).unwrap();
        camera.send(&picture(seq)).unwrap();
        let both = [receive(&viewer), receive(&viewer)];
        assert!(both.contains(&picture(seq)), "viewer {seq}");
        seats.push(viewer);
    }
    stop(relay);
}

#[test]
fn a_tutorial_viewer_keeps_its_place_and_a_dead_one_loses_it() {
    let (relay, address) = without_model(&["--plain-viewers", "1"]);
    let camera = socket("127.0.0.1", address);
    let first = socket("127.0.0.1", address);
    first.send(b"Request").unwrap();
    relay.wait_for_line("viewer joined", SOON);
    camera.send(&picture(1)).unwrap();
    assert_eq!(receive(&first), picture(1));
    let second = socket("127.0.0.1", address);
    second.send(&Control::Hello { nonce: 9 }.write()).unwrap();
    let full = Control::Accept {
        nonce: 9,
        verdict: Verdict::Full,
    };
    assert_eq!(receive(&second), full.write());
    drop(first);
    let mut seq = 2;
    let deadline = Instant::now() + SOON;
    while !relay
        .stderr()
        .iter()
        .any(|line| line.contains("viewer left"))
    {
        assert!(Instant::now() < deadline);
        camera.send(&picture(seq)).unwrap();
        seq += 1;
        std::thread::sleep(Duration::from_millis(10));
    }
    second.send(b"Request").unwrap();
    relay.wait_for_line(&format!("viewer={}", second.local_addr().unwrap()), SOON);
    camera.send(&picture(seq)).unwrap();
    assert_eq!(receive(&second), picture(seq));
    stop(relay);
}

#[test]
fn two_cameras_are_told_apart_and_a_plain_viewer_sees_the_first() {
    let (relay, address) = without_model(&[]);
    let viewer = viewer(address);
    let (yard, porch) = (socket("127.0.0.1", address), socket("127.0.0.1", address));
    for seq in 1..=20 {
        yard.send(&frame("yard", 1, seq)).unwrap();
        porch.send(&frame("porch", 2, seq)).unwrap();
        assert_eq!(receive(&viewer), frame("yard", 1, seq));
    }
    for name in ["camera=yard", "camera=porch"] {
        relay.wait_for_line(name, SOON);
    }
    assert_eq!(report(&stop(relay))["received"], 40);
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
    assert_eq!(report(&finished)["dropped"]["stranger"], 20);
    assert_eq!(finished.stderr.matches("somebody else sends").count(), 1);
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
        serde_json::from_value(report(&finished)["dropped"].clone()).unwrap();
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

/// Every odd JPEG there is, whole frames with damaged bytes, and pure noise: the relay lives, does not grow, and good
/// frames pass between.
#[test]
fn odd_and_damaged_jpegs_harm_nothing() {
    let Some(folder) = testkit::shared("data/jpeg-oddities") else {
        return testkit::skip("../shared/data is not here");
    };
    let Some((relay, address)) = with_model(&["--every", "1", "--plain-egress", "10000"]) else {
        return;
    };
    let (viewer, camera) = (viewer(address), socket("127.0.0.1", address));
    let mut odd: Vec<Vec<u8>> = [folder.clone(), folder.join("made")]
        .iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| fs::read(path).unwrap())
        .filter(|jpeg| jpeg.len() <= protocol::datagram::MAX_DATAGRAM)
        .collect();
    assert!(odd.len() > 90, "{} files", odd.len());
    odd.extend((0..300).map(damaged));
    let mut good = 0;
    let mut warm = 0;
    for (n, jpeg) in odd.iter().enumerate() {
        camera.send(jpeg).unwrap();
        let marker = frame_until_seen(&camera, &viewer, 10_000 + n as u64);
        good += u64::from(marker);
        if n == 100 {
            warm = relay.rss_kb();
        }
    }
    assert_eq!(good, odd.len() as u64, "each good frame came through");
    let grown = relay.rss_kb().saturating_sub(warm);
    eprintln!(
        "resident memory {warm} kB after 100 odd frames, {grown} kB more after {}",
        odd.len()
    );
    assert!(
        warm < 600_000 && grown < 100_000,
        "{warm} kB, grown by {grown} kB"
    );
    stop(relay);
}

/// Sends a good frame, and reads until it or its annotated form is there; the number is in the picture's grey, but only
/// that a frame of its size comes is asked for.
fn frame_until_seen(camera: &UdpSocket, viewer: &UdpSocket, seq: u64) -> bool {
    let good = picture(seq);
    camera.send(&good).unwrap();
    let deadline = Instant::now() + SOON;
    while Instant::now() < deadline {
        if receive(viewer) == good {
            return true;
        }
    }
    false
}

/// A good frame with some bytes changed, by a seed.
fn damaged(seed: u64) -> Vec<u8> {
    let mut jpeg = picture(seed);
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    for _ in 0..=seed % 8 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let at = 2 + (state as usize) % (jpeg.len() - 4);
        jpeg[at] = (state >> 32) as u8;
    }
    jpeg
}

#[test]
fn the_nth_frames_carry_boxes_and_the_others_are_untouched() {
    let Some(sequence) = testkit::shared("data/video/seq-person-300x200-q95.mjpeg") else {
        return testkit::skip("../shared/data is not here");
    };
    let out = tempfile::tempdir().unwrap();
    let lines = out.path().join("detections.jsonl");
    let Some((relay, address)) =
        with_model(&["--every", "4", "--detections", lines.to_str().unwrap()])
    else {
        return;
    };
    let (viewer, camera) = (viewer(address), socket("127.0.0.1", address));
    let mut drawn = Vec::new();
    let stream = fs::read(sequence).unwrap();
    let frames = split(&stream);
    for (n, jpeg) in (1..=80).zip(&frames) {
        camera.send(jpeg).unwrap();
        let shown = receive(&viewer);
        assert!(
            matches!(classify(shown.clone()), Ok(Datagram::Frame(_))),
            "frame {n}"
        );
        if shown != *jpeg {
            drawn.push(n);
        }
        std::thread::sleep(Duration::from_millis(30));
    }
    // On a busy machine one may still be inferred, and one may have given way to a newer one.
    let deadline = Instant::now() + Duration::from_secs(2);
    while fs::read_to_string(&lines).unwrap().lines().count() < 20 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    let finished = stop(relay);
    let inferred = report(&finished)["inferred"].as_u64().unwrap();
    assert!(inferred >= 15, "{inferred} of 20 were inferred");
    assert!(drawn.iter().all(|n| n % 4 == 0), "{drawn:?}");
    let messages: Vec<Detections> = fs::read_to_string(lines)
        .unwrap()
        .lines()
        .map(|line| Detections::parse(line.as_bytes()).unwrap())
        .collect();
    assert_eq!(messages.len() as u64, inferred);
    assert!(messages.iter().all(|m| m.seq % 4 == 0));
    assert!(messages.windows(2).all(|pair| pair[0].seq < pair[1].seq));
    assert!(
        messages
            .iter()
            .all(|m| m.kind == Kind::Inferred && m.camera == "cam1" && (m.w, m.h) == (300, 200))
    );
    let with_boxes: Vec<u64> = messages
        .iter()
        .filter(|m| !m.detections.is_empty())
        .map(|m| m.seq)
        .collect();
    assert!(with_boxes.len() >= 5, "{with_boxes:?}");
    assert!(
        drawn.len() >= with_boxes.len() / 2,
        "drawn on {drawn:?}, found on {with_boxes:?}"
    );
    assert!(
        messages
            .iter()
            .flat_map(|m| &m.detections)
            .any(|d| d.label == "person")
    );
}

fn split(mut stream: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    while let Ok(Some(end)) = protocol::jpeg::stream_end(stream) {
        let (frame, rest) = stream.split_at(end);
        frames.push(frame);
        stream = rest;
    }
    frames
}

#[test]
fn a_second_relay_on_the_port_fails_with_in_use() {
    let (first, address) = without_model(&[]);
    let viewer = viewer(address);
    let second = Program::new(RELAY)
        .args(["--model", "none", "--listen", &address.to_string()])
        .start()
        .finish();
    assert_eq!(second.status.code(), Some(1));
    assert!(
        second.stderr.contains("in use") && second.stderr.contains("--listen"),
        "{}",
        second.stderr
    );
    drop(viewer);
    stop(first);
}

#[test]
fn what_is_missing_or_wrong_is_named_with_its_cure() {
    let junk = tempfile::NamedTempFile::new().unwrap();
    fs::write(junk.path(), "not a model").unwrap();
    let junk = junk.path().to_str().unwrap();
    // Away from the checkout, where scripts/setup put the library.
    let away = tempfile::tempdir().unwrap();
    let program = away.path().join("relay-server");
    fs::copy(RELAY, &program).unwrap();
    let fails = |words: &[&str], saying: &[&str]| {
        let finished = Program::new(&program)
            .args(words)
            .env("HOME", "/nonexistent")
            .start()
            .finish();
        assert_eq!(
            finished.status.code(),
            Some(1),
            "{words:?}\n{}",
            finished.stderr
        );
        for text in saying {
            assert!(
                finished.stderr.contains(text),
                "{words:?} does not say {text:?}:\n{}",
                finished.stderr
            );
        }
        assert!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
    };
    fails(&["--model", "no-such.onnx"], &["no-such.onnx", "looked at"]);
    fails(
        &["--model", junk],
        &[
            "ONNX Runtime is missing",
            "scripts/setup",
            "looked at",
            "/usr/lib",
        ],
    );
    fails(
        &["--model", junk, "--onnxruntime", "/no/such.so"],
        &["--onnxruntime", "/no/such.so"],
    );
    fails(
        &["--model", junk, "--onnxruntime", junk],
        &["loading ONNX Runtime from"],
    );
    fails(
        &["--listen", "192.0.2.1"],
        &["binding 192.0.2.1:8081", "an address of this machine"],
    );
    fails(
        &["--model", "none", "--detections", "/no/such/dir/file"],
        &["/no/such/dir/file", "--detections"],
    );
}

#[test]
fn a_file_that_is_no_model_is_refused_by_name() {
    if testkit::shared("data/models").is_none() {
        return testkit::skip("ONNX Runtime is only sure to be here where ../shared/data is");
    }
    let junk = tempfile::NamedTempFile::new().unwrap();
    fs::write(junk.path(), "not a model").unwrap();
    let words = [
        "--listen",
        "127.0.0.1:0",
        "--model",
        junk.path().to_str().unwrap(),
    ];
    let finished = Program::new(RELAY).args(words).start().finish();
    assert_eq!(finished.status.code(), Some(1));
    assert!(
        finished.stderr.contains(junk.path().to_str().unwrap()),
        "{}",
        finished.stderr
    );
}

#[test]
fn usage_errors_exit_with_2_and_say_what_is_wrong() {
    for (words, saying) in [
        (&["--every", "0"][..], "--every"),
        (&["--every", "often"], "auto"),
        (&["--conf", "1.5"], "from 0 to 1"),
        (&["--listen", "nowhere"], "0.0.0.0:8081"),
        (&["--plain-viewers", "-1"], "invalid value '-1'"),
        (&["--advertise", "http://relay"], "examples"),
        (&["--rotate"], "--private"),
        (&["--net-size", "640"], "WIDTHxHEIGHT"),
        (&["--no-such-flag"], "--no-such-flag"),
        (&["--http", "8080"], "ADDRESS:PORT or off"),
        (&["--http-origin", "cam.example"], "https://cam.example"),
        (&["--provider", "gpu"], "cuda"),
    ] {
        let finished = relay(words).finish();
        assert_eq!(
            finished.status.code(),
            Some(2),
            "{words:?}\n{}",
            finished.stderr
        );
        assert!(
            finished.stderr.contains(saying),
            "{words:?}\n{}",
            finished.stderr
        );
    }
}

#[test]
fn the_environment_goes_before_the_file_and_a_bad_value_of_either_is_named() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join(".config/sightline/relay-server.toml");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let start = |text: &str, variable: &str| {
        fs::write(&file, text).unwrap();
        Program::new(RELAY)
            .args(["--model", "none", "--listen", "127.0.0.1:0"])
            .env("HOME", home.path())
            .env("XDG_CONFIG_HOME", "")
            .env("RELAY_SERVER_EVERY", variable)
            .start()
    };
    for (text, variable, every) in [
        ("every = 3", "", "every=3"),
        ("every = 3", "7", "every=7"),
        ("", "", "every=4"),
    ] {
        let running = start(text, variable);
        assert!(
            running.wait_for_line("listening", SOON).contains(every),
            "{text} {variable}"
        );
        stop(running);
    }
    for (text, variable, origin) in [
        ("every = 'x'", "", "relay-server.toml"),
        ("", "x", "RELAY_SERVER_EVERY"),
    ] {
        let finished = start(text, variable).finish();
        assert_eq!(finished.status.code(), Some(2));
        assert!(
            finished.stderr.contains("--every") && finished.stderr.contains(origin),
            "{}",
            finished.stderr
        );
    }
}

#[test]
fn the_first_info_line_is_listening_in_both_forms_of_the_log() {
    for form in ["text", "json"] {
        let (running, _) = without_model(&["--log-format", form]);
        let finished = stop(running);
        let first = finished
            .stderr
            .lines()
            .find(|line| line.contains("INFO"))
            .unwrap();
        assert!(
            first.contains("listening") && first.contains("addr"),
            "{first}"
        );
        assert!(!first.contains('\x1b'), "no colours in a file: {first:?}");
    }
}

#[test]
fn a_closed_standard_error_stops_nothing() {
    let address = SocketAddr::from(([127, 0, 0, 1], testkit::port::free()));
    let words = format!("exec {RELAY} --listen {address} --model none 2>&-");
    let running = Program::new("/bin/sh").args(["-c", &words]).start();
    let viewer = socket("127.0.0.1", address);
    let deadline = Instant::now() + SOON;
    viewer
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    while viewer.send(&Control::Hello { nonce: 3 }.write()).is_err()
        || viewer.recv(&mut [0; 1000]).is_err()
    {
        assert!(Instant::now() < deadline, "no answer");
    }
    for _ in 0..3 {
        viewer.send(b"junk").unwrap();
        viewer.send(&Control::Hello { nonce: 3 }.write()).unwrap();
        assert!(viewer.recv(&mut [0; 1000]).is_ok());
    }
    stop(running);
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
