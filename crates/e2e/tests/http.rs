//! The HTTP server in a whole chain, read by common software: ffmpeg, OpenCV, curl, promtool.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

mod common;

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Output};

use common::{LONG, alone, directory, relay, sender, stop, tool};
use protocol::detections::Detections;
use testkit::port;
use testkit::process::Running;

struct Chain {
    relay: Running,
    sender: Running,
    http: String,
    state: tempfile::TempDir,
}

impl Chain {
    /// Starts a chain with the demo scene, every second frame through the demo model.
    fn start() -> Self {
        let (port, state) = (port::free(), directory());
        let args = ["--http", "127.0.0.1:0", "--model", "demo", "--every", "2"];
        let relay = relay(port, state.path(), &args);
        let line = relay.wait_for_line("listening", LONG);
        let http = line
            .split_whitespace()
            .find_map(|field| field.strip_prefix("http="));
        let http = format!("http://{}", http.unwrap());
        let sender = sender(
            port,
            &["--source", "demo", "--camera", "yard", "--fps", "20"],
        );
        relay.wait_for_line("camera appeared", LONG);
        Self {
            relay,
            sender,
            http,
            state,
        }
    }

    fn stop(self) {
        stop(self.sender);
        stop(self.relay);
    }
}

/// Runs a program to its end, and requires success.
fn run(program: &Path, args: &[&str]) -> Output {
    let output = Command::new(program).args(args).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", program.display());
    output
}

#[test]
fn ffmpeg_reads_the_stream() {
    let _alone = alone();
    let (Some(ffmpeg), Some(_)) = (tool("ffmpeg"), tool("ffprobe")) else {
        return;
    };
    let chain = Chain::start();
    for path in ["/stream.mjpg", "/cam/yard/stream.mjpg?boxes=1"] {
        let url = format!("{}{path}", chain.http);
        let file = chain.state.path().join("frames.rgb");
        let args = [
            "-v",
            "error",
            "-y",
            "-i",
            &url,
            "-frames:v",
            "20",
            "-pix_fmt",
            "rgb24",
            "-f",
            "rawvideo",
        ];
        run(&ffmpeg, &[&args[..], &[file.to_str().unwrap()]].concat());
        let pictures = std::fs::read(&file).unwrap();
        let frames: Vec<_> = pictures.chunks(300 * 200 * 3).collect();
        assert_eq!(
            (frames.len(), pictures.len() % (300 * 200 * 3)),
            (20, 0),
            "{path}"
        );
        assert!(frames.windows(2).any(|two| two[0] != two[1]), "it moves");
    }
    chain.stop();
}

#[test]
fn opencv_reads_the_stream_and_sees_the_boxes_that_are_burned_in() {
    let _alone = alone();
    let python = testkit::repository().join("target/tutorial-venv/bin/python");
    if !python.exists() {
        return testkit::skip("target/tutorial-venv (scripts/setup --test) is not here");
    }
    let chain = Chain::start();
    // Both streams at once; equal timestamps mean equal frames.
    let script = r#"
import cv2, sys, urllib.request, threading
def parts(url, into):
    stream = urllib.request.urlopen(url)
    while len(into) < 40:
        line = stream.readline()
        if line.startswith(b"Content-Length"): length = int(line.split()[1])
        if line.startswith(b"X-Timestamp"): time = line.split()[1]
        if line == b"\r\n" and "length" in dir():
            into[time] = cv2.imdecode(__import__("numpy").frombuffer(stream.read(length), "uint8"), 1); del length
passthrough, annotated = {}, {}
threads = [threading.Thread(target=parts, args=(sys.argv[1] + q, into)) for q, into in (("", passthrough), ("?boxes=1", annotated))]
[t.start() for t in threads]; [t.join() for t in threads]
both = [t for t in passthrough if t in annotated]
print(len(both), sum((cv2.absdiff(passthrough[t], annotated[t]).max(axis=2) > 100).sum() > 200 for t in both))
capture = cv2.VideoCapture(sys.argv[1])
for _ in range(20):
    good, picture = capture.read()
    assert good and picture.shape == (200, 300, 3), (good, picture)
"#;
    let url = format!("{}/cam/yard/stream.mjpg", chain.http);
    let output = run(&python, &["-c", script, &url]);
    let printed = String::from_utf8(output.stdout).unwrap();
    let mut counts = printed
        .split_whitespace()
        .map(|n| n.parse::<u32>().unwrap());
    let (both, drawn) = (counts.next().unwrap(), counts.next().unwrap());
    assert!(both >= 15 && drawn * 10 >= both * 8, "{printed}");
    chain.stop();
}

#[test]
fn promtool_finds_nothing_to_say_against_the_metrics() {
    let _alone = alone();
    let (Some(curl), Some(promtool)) = (tool("curl"), tool("promtool")) else {
        return;
    };
    let chain = Chain::start();
    let stream = format!("{}/stream", chain.http);
    // A viewer for a while: the stream ends with curl's timeout.
    let _ = Command::new(&curl)
        .args(["-sN", "-m", "2", &stream])
        .output()
        .unwrap();
    let file = chain.state.path().join("metrics");
    let url = format!("{}/metrics", chain.http);
    run(&curl, &["-sf", "-o", file.to_str().unwrap(), &url]);
    let checked = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(File::open(&file).unwrap())
        .output()
        .unwrap();
    let printed =
        String::from_utf8_lossy(&checked.stdout) + String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success() && printed.is_empty(), "{printed}");
    let text = std::fs::read_to_string(&file).unwrap();
    let forwarded = text
        .lines()
        .find(|line| line.contains("forwarded") && line.contains(r#"transport="http""#));
    let frames: f64 = forwarded
        .and_then(|line| line.split(' ').next_back()?.parse().ok())
        .unwrap_or_else(|| panic!("{text}"));
    assert!(frames > 10.0, "{text}");
    chain.stop();
}

#[test]
fn curl_reads_the_detections_as_the_messages_that_they_are() {
    let _alone = alone();
    let Some(curl) = tool("curl") else { return };
    let chain = Chain::start();
    let url = format!("{}/cam/yard/detections", chain.http);
    // The stream does not end, so curl fails at its timeout.
    let output = Command::new(curl)
        .args(["-sN", "-m", "4", &url])
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let mut kinds: HashMap<String, usize> = HashMap::new();
    let mut found = 0;
    for line in printed
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
    {
        // The timeout may cut the last message.
        let Ok(message) = Detections::parse(line.as_bytes()) else {
            continue;
        };
        assert_eq!(
            (message.camera.as_str(), message.w, message.h),
            ("yard", 300, 200)
        );
        *kinds.entry(format!("{:?}", message.kind)).or_default() += 1;
        found += message.detections.len();
    }
    assert!(
        kinds["Inferred"] >= 15 && found >= 15,
        "{kinds:?} {printed}"
    );
    chain.stop();
}
