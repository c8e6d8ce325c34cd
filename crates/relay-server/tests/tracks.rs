//! Boxes between inferences, and settings that change at run time: the real relay and a camera of the demo scene.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

mod common {
    pub(crate) mod http;
    pub(crate) mod process;
}

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::LazyLock;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use common::http::request;
use common::process::{RELAY, SOON, stop};
use imaging::jpeg;
use opencv::core::{self, Mat, Rect, Vec3b};
use opencv::prelude::*;
use protocol::detections::{Detection, Detections, Kind};
use protocol::geometry::{BBox, Size};
use protocol::label::{Label, StreamId};
use scene::Scene;
use testkit::process::{Program, Running};

const SIZE: Size = Size {
    width: 300,
    height: 200,
};
const FPS: u32 = 20;
const INTERVAL: Duration = Duration::from_millis(50);

/// Starts a relay with the demo model; skips the test and returns `None` if ONNX Runtime is not installed.
fn relay(flags: &[&str]) -> Option<(Running, SocketAddr)> {
    // A process loads the library once; the tests share one.
    static INSTALLED: LazyLock<bool> =
        LazyLock::new(|| vision::detect::runtime::load(None).is_ok());
    if !*INSTALLED {
        testkit::skip("ONNX Runtime is not installed (scripts/setup)");
        return None;
    }
    let always = ["--listen", "127.0.0.1:0", "--model", "demo", "--report"];
    let running = Program::new(RELAY).args(always).args(flags).start();
    let address = running.listening();
    Some((running, address))
}

/// A camera that films the demo scene.
struct DemoCamera {
    scene: Scene,
    socket: UdpSocket,
    sent: u64,
}

impl DemoCamera {
    fn connect(relay: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(relay).unwrap();
        Self {
            scene: Scene::new(5, SIZE, FPS.into(), 60.0).unwrap(),
            socket,
            sent: 0,
        }
    }

    /// Sends the next frame, waits for an interval, and returns the frame.
    fn send(&mut self) -> Vec<u8> {
        self.sent += 1;
        let picture = self.scene.draw(self.sent).unwrap();
        let label = Label {
            stream: StreamId(1),
            seq: self.sent,
            captured_us: 1_763_820_000_000_000 + self.sent * 50_000,
            camera: "yard".parse().unwrap(),
        };
        let frame = label.write(&jpeg::encode(&picture, 80).unwrap());
        self.socket.send(&frame).unwrap();
        sleep(INTERVAL);
        frame
    }

    fn truth(&self, seq: u64) -> Vec<Detection> {
        self.scene.truth(seq).unwrap()
    }
}

/// Returns the difference of two frames, pixel by pixel.
fn difference(before: &[u8], after: &[u8]) -> Mat {
    let (before, after) = (jpeg::decode(before).unwrap(), jpeg::decode(after).unwrap());
    let mut difference = Mat::default();
    core::absdiff(&before, &after, &mut difference).unwrap();
    difference
}

/// Returns whether most of a box's outline is drawn, within some pixels.
fn is_outlined(difference: &Mat, bbox: BBox) -> bool {
    const TOLERANCE: i32 = 6;
    let [x0, y0, x1, y1] = bbox.edges();
    let x = [x0, x1].map(|x| (x * f32::from(SIZE.width)) as i32);
    let y = [y0, y1].map(|y| (y * f32::from(SIZE.height)) as i32);
    let drawn = |from: [i32; 2], to: [i32; 2]| {
        let picture = Rect::new(0, 0, SIZE.width.into(), SIZE.height.into());
        let (w, h) = (to[0] - from[0], to[1] - from[1]);
        let around = Rect::new(
            from[0] - TOLERANCE,
            from[1] - TOLERANCE,
            w + 2 * TOLERANCE,
            h + 2 * TOLERANCE,
        );
        let part = difference.roi(picture & around).unwrap();
        let pixels = part.iter::<Vec3b>().unwrap();
        pixels.filter(|(_, p)| p.iter().any(|&d| d > 60)).count() as i32 >= w.max(h) / 2
    };
    let sides = [
        ([x[0], y[0]], [x[1], y[0]]),
        ([x[0], y[1]], [x[1], y[1]]),
        ([x[0], y[0]], [x[0], y[1]]),
        ([x[1], y[0]], [x[1], y[1]]),
    ];
    sides.iter().filter(|(from, to)| drawn(*from, *to)).count() >= 3
}

#[test]
fn with_hold_udp_viewers_see_boxes_on_every_frame_and_every_frame_once() {
    let Some((relay, address)) = relay(&["--overlay", "hold", "--every", "4"]) else {
        return;
    };
    let viewer = UdpSocket::bind("127.0.0.1:0").unwrap();
    viewer.connect(address).unwrap();
    viewer.send(b"Request").unwrap();
    viewer.set_read_timeout(Some(SOON)).unwrap();
    let mut camera = DemoCamera::connect(address);
    let (mut truths, mut outlined, mut drawn) = (0, 0, 0);
    for seq in 1..=80 {
        let sent = camera.send();
        let mut buffer = vec![0; 70_000];
        let length = viewer.recv(&mut buffer).unwrap();
        let seen = &buffer[..length];
        assert_eq!(Label::read(seen).unwrap().unwrap().seq, seq);
        if seq <= 12 {
            continue;
        }
        drawn += u64::from(seen != sent);
        let difference = difference(&sent, seen);
        let truth = camera.truth(seq);
        truths += truth.len();
        let boxes = truth.iter().filter(|d| is_outlined(&difference, d.bbox));
        outlined += boxes.count();
    }
    let report = stop(relay).report.unwrap();
    assert!(drawn >= 66, "{drawn} of 68 frames have boxes");
    assert!(
        10 * outlined >= 8 * truths,
        "{outlined} of {truths} objects"
    );
    assert_eq!(report["received"], 80);
    assert_eq!(report["forwarded"], 80);
}

#[test]
fn a_snapshot_with_boxes_waits_for_an_inference_although_there_is_no_viewer() {
    let Some((relay, address)) = relay(&["--http", "127.0.0.1:0", "--every", "4"]) else {
        return;
    };
    let line = relay.wait_for_line("listening", SOON);
    let http = line
        .split_whitespace()
        .find_map(|word| word.strip_prefix("http="));
    let http: SocketAddr = http.unwrap().parse().unwrap();
    let mut camera = DemoCamera::connect(address);
    let mut sent: Vec<_> = (0..10).map(|_| camera.send()).collect();
    for _ in 0..2 {
        let start = Instant::now();
        let path = "/cam/yard/snapshot.jpg?boxes=1";
        let snapshot = thread::spawn(move || request(http, "GET", path, &[]).bytes());
        while !snapshot.is_finished() {
            sent.push(camera.send());
        }
        let took = start.elapsed();
        let seen = snapshot.join().unwrap();
        let seq = Label::read(&seen).unwrap().unwrap().seq;
        let difference = difference(&sent[usize::try_from(seq).unwrap() - 1], &seen);
        let truth = camera.truth(seq);
        let outlined = truth
            .iter()
            .filter(|d| is_outlined(&difference, d.bbox))
            .count();
        assert!(
            2 * outlined > truth.len(),
            "frame {seq}: {outlined} of {}",
            truth.len()
        );
        assert!(took < Duration::from_secs(1), "{took:?}");
        // The boxes of this request are gone by the next one.
        (0..20).for_each(|_| sent.push(camera.send()));
    }
    stop(relay);
}

/// Returns the detections of these frames on the relay's standard output.
fn inferred(relay: &Running, frames: RangeInclusive<u64>) -> Vec<Detection> {
    let messages = relay.stdout().into_iter().filter_map(|line| {
        let message = Detections::parse(line.as_bytes()).ok()?;
        assert_eq!(message.kind, Kind::Inferred, "the file holds nothing else");
        frames.contains(&message.seq).then_some(message.detections)
    });
    messages.flatten().collect()
}

/// Sends frames until the log contains `text`, and then some more; returns the numbers of these.
fn send_until(relay: &Running, camera: &mut DemoCamera, text: &str) -> RangeInclusive<u64> {
    let start = Instant::now();
    while !relay.stderr().iter().any(|line| line.contains(text)) {
        assert!(
            start.elapsed() < SOON,
            "{text:?} is missing: {:?}",
            relay.stderr()
        );
        camera.send();
    }
    let first = camera.sent + 1;
    (0..16).for_each(|_| drop(camera.send()));
    sleep(Duration::from_millis(300));
    first..=camera.sent
}

fn write(file: &Path, text: &str) {
    fs::write(file, text).unwrap();
}

#[test]
fn what_finds_boxes_changes_with_the_configuration_file_while_cameras_run() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("relay.toml");
    write(&file, "classes = \"ball\"\nevery = \"1\"\n");
    let flags = [
        "--config",
        file.to_str().unwrap(),
        "--detections",
        "-",
        "--conf",
        "0.3",
    ];
    let Some((relay, address)) = relay(&flags) else {
        return;
    };
    let mut camera = DemoCamera::connect(address);
    let only = |frames, label: &str| {
        let found = inferred(&relay, frames);
        assert!(!found.is_empty(), "no {label} was found");
        assert!(found.iter().all(|d| d.label == label), "{found:?}");
    };
    (0..16).for_each(|_| drop(camera.send()));
    only(1..=16, "ball");
    write(&file, "classes = \"crate\"\nevery = \"1\"\nconf = 0.99\n");
    let changed = "the model's settings changed conf=0.3 iou=0.45 classes=";
    let now = send_until(&relay, &mut camera, changed);
    only(now, "crate");
    for (text, complaint) in [
        ("classes = \"dragon\"\nevery = \"1\"\n", "dragon"),
        ("classes = [\n", "the configuration stays as it was"),
        ("classes = \"crate\"\nevery = \"1\"\nconf = 7\n", "0 to 1"),
        ("classes = \"crate\"\nevery = \"2\"\n", "keys=every"),
    ] {
        write(&file, text);
        let now = send_until(&relay, &mut camera, complaint);
        only(now, "crate");
    }
    stop(relay);
}

#[test]
fn the_file_is_read_again_at_once_when_asked_to() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("relay.toml");
    write(&file, "");
    let Some((relay, _)) = relay(&["--config", file.to_str().unwrap()]) else {
        return;
    };
    relay.hang_up();
    relay.wait_for_line("the configuration was read again", SOON);
    stop(relay);
}

#[test]
fn auto_says_which_n_it_reached() {
    let Some((relay, address)) = relay(&["--every", "auto", "--detections", "-"]) else {
        return;
    };
    let mut camera = DemoCamera::connect(address);
    let start = Instant::now();
    while start.elapsed() < SOON + Duration::from_secs(1) {
        camera.send();
    }
    let line = relay.wait_for_line("last 10 s", SOON);
    let every = line.split("every=").nth(1).unwrap();
    let every: f64 = every.split_whitespace().next().unwrap().parse().unwrap();
    assert!((1.0..=10.0).contains(&every), "{line}");
    let report = stop(relay).report.unwrap();
    let (inferred, received) = (&report["inferred"], &report["received"]);
    let reached = received.as_f64().unwrap() / inferred.as_f64().unwrap();
    assert!((reached - every).abs() < 0.3 * every, "{reached}: {line}");
    assert_eq!(report["not_inferred"], 0);
}
