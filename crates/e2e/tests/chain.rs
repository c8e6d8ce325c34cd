//! The three programs together, as a user runs them: started in any order, with any plug pulled.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

mod common;

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{LONG, alone, directory, figure, finish, relay, sender, stop, viewer};
use testkit::port;
use testkit::process::{Program, binary};

#[test]
fn a_demo_runs_through_the_whole_chain_and_nothing_is_lost() {
    let (_alone, port, state) = (alone(), port::free(), directory());
    let relay = relay(port, state.path(), &["--model", "none"]);
    let viewer = viewer(port, &["--frames", "60"]);
    relay.wait_for_line("viewer joined", LONG);
    let sender = finish(sender(
        port,
        &["--source", "demo", "--fps", "30", "--frames", "90"],
    ));
    let seen = finish(viewer);
    let relayed = stop(relay);
    assert_eq!(figure(&sender, "sent"), 90.0);
    assert_eq!(figure(&relayed, "received"), 90.0);
    assert_eq!((figure(&seen, "shown"), figure(&seen, "lost")), (60.0, 0.0));
    assert!(figure(&seen, "age_ms_p50") < 500.0);
}

#[test]
fn the_programs_find_each_other_in_any_order_and_after_the_relay_was_killed() {
    let (_alone, port, state) = (alone(), port::free(), directory());
    let viewer = viewer(port, &[]);
    let sender = sender(port, &["--source", "demo", "--camera", "yard"]);
    viewer.wait_for_line("No relay found", LONG);
    let first = relay(port, state.path(), &["--model", "none"]);
    viewer.wait_for_line("frames come", LONG);
    first.kill();
    drop(first.finish());
    let start = Instant::now();
    let second = relay(port, state.path(), &["--model", "none"]);
    second.wait_for_line("viewer joined", LONG);
    second.wait_for_line("camera appeared", LONG);
    // The viewer renews its lease every 2 s.
    assert!(
        start.elapsed() < Duration::from_secs(6),
        "{:?}",
        start.elapsed()
    );
    std::thread::sleep(Duration::from_secs(2));
    let relayed = stop(second);
    assert!(
        figure(&relayed, "forwarded") >= 10.0,
        "{:?}",
        relayed.report
    );
    stop(sender);
    assert_eq!(figure(&stop(viewer), "decode_errors"), 0.0);
}

#[test]
fn a_sender_that_is_killed_and_started_again_goes_on_in_the_same_window() {
    let (_alone, port, state) = (alone(), port::free(), directory());
    let relay = relay(port, state.path(), &["--model", "none"]);
    let viewer = viewer(port, &["--frames", "60"]);
    relay.wait_for_line("viewer joined", LONG);
    let args = ["--source", "demo", "--fps", "30", "--camera", "yard"];
    let first = sender(port, &args);
    relay.wait_for_line("camera appeared", LONG);
    std::thread::sleep(Duration::from_secs(1));
    first.kill();
    drop(first.finish());
    let second = sender(port, &args);
    relay.wait_for_line("camera goes on from here", LONG);
    finish(viewer);
    stop(second);
    stop(relay);
}

#[test]
fn two_cameras_share_a_relay_and_each_keeps_its_name() {
    let (_alone, port, state) = (alone(), port::free(), directory());
    let relay = relay(port, state.path(), &["--model", "none"]);
    let yard = sender(
        port,
        &["--source", "demo", "--camera", "yard", "--frames", "30"],
    );
    let drive = sender(
        port,
        &["--source", "demo", "--camera", "drive", "--frames", "30"],
    );
    relay.wait_for_line("camera=yard", LONG);
    relay.wait_for_line("camera=drive", LONG);
    // The next frame, by QUIC, may overtake one that goes by UDP, which is then too late.
    let sent = [finish(yard), finish(drive)].map(|sender| figure(&sender, "sent"));
    let relayed = stop(relay);
    let late = relayed.report.as_ref().unwrap()["dropped"]["late"].as_f64();
    let arrived = figure(&relayed, "received") + late.unwrap_or(0.0);
    assert_eq!(arrived, sent.iter().sum::<f64>(), "{:?}", relayed.report);
    assert!(arrived >= 56.0, "{:?}", relayed.report);
}

/// A real video, the real model and a real window, which shows boxes.
#[test]
fn a_real_video_is_seen_with_boxes_in_the_window() {
    let (Some(video), Some(model)) = (
        testkit::shared("data/video/intel-one-by-one-person-detection.mp4"),
        testkit::shared("data/models/yolov5n-640.onnx"),
    ) else {
        return testkit::skip("../shared/data is not here");
    };
    let _alone = alone();
    let Some(screen) = Screen::start() else {
        return;
    };
    let (port, state) = (port::free(), directory());
    let detections = state.path().join("detections.jsonl");
    let args = [
        "--every",
        "1",
        "--model",
        model.to_str().unwrap(),
        "--detections",
        detections.to_str().unwrap(),
    ];
    let relay = relay(port, state.path(), &args);
    let viewer = Program::new(binary("viewer"))
        .args(["--server", &format!("127.0.0.1:{port}"), "--report"])
        .env("DISPLAY", &screen.display)
        .start();
    relay.wait_for_line("viewer joined", LONG);
    let sender = sender(
        port,
        &["--source", video.to_str().unwrap(), "--camera", "yard"],
    );
    let person = r#""label":"person""#;
    let deadline = Instant::now() + LONG;
    while !fs::read_to_string(&detections)
        .unwrap_or_default()
        .contains(person)
    {
        assert!(Instant::now() < deadline, "no person was found");
        std::thread::sleep(Duration::from_millis(50));
    }
    // The person class's box and label are the only things of this green in the picture.
    let seen = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        screen.pixels_near([80, 220, 80]) > 200
    });
    assert!(seen, "no box was seen in the window");
    let seen = stop(viewer);
    assert!(figure(&seen, "shown") > 5.0);
    stop(sender);
    stop(relay);
}

/// A virtual screen of one test.
struct Screen {
    display: String,
    server: std::process::Child,
}

impl Screen {
    fn start() -> Option<Self> {
        let display = format!(":{}", 200 + std::process::id() % 300);
        let server = Command::new("Xvfb")
            .args([&display, "-screen", "0", "800x600x24", "-nolisten", "tcp"])
            .stderr(Stdio::null())
            .spawn();
        let Ok(server) = server else {
            testkit::skip("Xvfb is not installed (scripts/setup --test)");
            return None;
        };
        let socket = format!("/tmp/.X11-unix/X{}", &display[1..]);
        let deadline = Instant::now() + LONG;
        while !fs::exists(&socket).unwrap_or(false) {
            assert!(Instant::now() < deadline, "Xvfb does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(Self { display, server })
    }

    /// Returns the number of pixels of the screen with about this colour, R, G, B.
    fn pixels_near(&self, colour: [u8; 3]) -> usize {
        let shot = Command::new("import")
            .args([
                "-display",
                &self.display,
                "-window",
                "root",
                "-depth",
                "8",
                "rgb:-",
            ])
            .output()
            .expect("ImageMagick's import is installed with scripts/setup --test");
        let near = |pixel: &[u8]| pixel.iter().zip(colour).all(|(&a, b)| a.abs_diff(b) < 40);
        shot.stdout
            .chunks_exact(3)
            .filter(|pixel| near(pixel))
            .count()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// On a path of 1500 bytes, as everywhere but on loopback, a frame of 60 kB has 41 fragments. The relay's port itself forbids
/// fragments, for QUIC's sake.
#[test]
fn large_frames_cross_a_path_of_1500_bytes_whole_by_udp() {
    large_frames_cross_a_path_of_1500_bytes("udp");
}

#[test]
fn large_frames_cross_a_path_of_1500_bytes_whole_by_quic() {
    large_frames_cross_a_path_of_1500_bytes("quic");
}

fn large_frames_cross_a_path_of_1500_bytes(transport: &str) {
    let (_alone, work) = (alone(), directory());
    let programs = ["relay-server", "pi-sender", "viewer"].map(binary);
    let script = work.path().join("run");
    fs::write(&script, NAMESPACES).unwrap();
    let run = Program::new("unshare")
        .args(["--user", "--map-root-user", "--net", "bash"])
        .args([&script])
        .args([work.path()])
        .args(&programs)
        .args([transport])
        .start()
        .finish();
    if run.stderr.contains("unshare: ") {
        return testkit::skip("this machine allows no network namespaces (unshare --user --net)");
    }
    assert_eq!(run.status.code(), Some(0), "{}\n{}", run.stdout, run.stderr);
    let saved: Vec<u64> = fs::read_dir(work.path().join("saved"))
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .collect();
    let large = saved.iter().filter(|&&length| length > 50_000).count();
    assert_eq!((saved.len(), large), (30, 30), "{saved:?}\n{}", run.stderr);
}

/// Two hosts and a cable: the relay on one, the sender and the viewer on the other.
const NAMESPACES: &str = r#"
set -eu
work=$1 relay=$2 sender=$3 viewer=$4 transport=$5
ip link set lo up
ip link add near type veth peer name far
unshare --net sleep 120 &
host=$! server=
trap 'kill $host $server 2>/dev/null || true' EXIT
# The other host is there once its namespace is another one.
until [ "$(readlink /proc/$host/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.02; done
ip link set far netns $host
ip addr add 10.77.0.1/24 dev near
ip link set near mtu 1500 up
nsenter --target $host --net ip addr add 10.77.0.2/24 dev far
nsenter --target $host --net ip link set far mtu 1500 up
nsenter --target $host --net "$relay" --listen 10.77.0.2:8081 --model none --state "$work" 2>"$work/relay" &
server=$!
until grep -q listening "$work/relay"; do sleep 0.05; done
"$viewer" --server 10.77.0.2 --transport $transport --headless --frames 30 --save "$work/saved" 2>"$work/viewer" &
watching=$!
until grep -q 'viewer joined' "$work/relay"; do sleep 0.05; done
"$sender" --server 10.77.0.2 --transport $transport --source demo --size 1280x960 --quality 70 --frames 60 || cat "$work"/relay "$work"/viewer >&2
wait $watching
"#;
