//! The examples of `config/examples`, run against the real programs.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use common::{LONG, alone, directory, relay, sender, stop, tool};
use testkit::port;
use testkit::process::{Program, Running, binary};

/// What the examples' addresses are there; each is replaced by the test's relay.
const RELAY: &str = "http://127.0.0.1:8080";

/// A relay with the demo model and, if it is open, the camera `yard`.
struct Chain {
    relay: Running,
    sender: Option<Running>,
    port: u16,
    http: String,
    state: tempfile::TempDir,
}

impl Chain {
    fn start(args: &[&str]) -> Self {
        let (port, state) = (port::free(), directory());
        let always = ["--http", "127.0.0.1:0", "--model", "demo", "--every", "2"];
        let relay = relay(port, state.path(), &[&always, args].concat());
        let line = relay.wait_for_line("listening", LONG);
        let mut fields = line.split_whitespace();
        let http = fields.find_map(|field| field.strip_prefix("http="));
        Self {
            http: format!("http://{}", http.unwrap()),
            relay,
            sender: None,
            port,
            state,
        }
    }

    fn with_camera() -> Self {
        let chain = Self::start(&[]);
        let sender = sender(chain.port, &["--source", "demo", "--camera", "yard"]);
        chain.relay.wait_for_line("camera appeared", LONG);
        Self {
            sender: Some(sender),
            ..chain
        }
    }

    fn stop(self) {
        self.sender.map(stop);
        stop(self.relay);
    }
}

fn example(name: &str) -> PathBuf {
    testkit::repository().join("config/examples").join(name)
}

/// Returns the Python with numpy and OpenCV; without one, reports a skip.
fn python() -> Option<PathBuf> {
    let python = testkit::repository().join("target/tutorial-venv/bin/python");
    if !python.exists() {
        testkit::skip("target/tutorial-venv (scripts/setup --test) is not here");
        return None;
    }
    Some(python)
}

#[test]
fn frames_py_has_frames_and_their_boxes_in_pixels() {
    let _alone = alone();
    let Some(python) = python() else { return };
    let chain = Chain::with_camera();
    let camera = format!("{}/cam/yard", chain.http);
    let running = Program::new(python)
        .args([example("python/frames.py").into_os_string(), camera.into()])
        .start();
    let line = running.wait_for_line("(200, 300, 3) [('", LONG);
    let numbers: Vec<f64> = line
        .split(|c: char| !c.is_ascii_digit() && c != '.')
        .filter_map(|number| number.parse().ok())
        .collect();
    // The shape, then of the first box: score and edges.
    let [score, x0, y0, x1, y1] = numbers[3..8] else {
        panic!("{line}")
    };
    assert!((0.2..=1.0).contains(&score), "{line}");
    assert!(x0 < x1 && x1 <= 300.0 && x1 > 2.0, "{line}");
    assert!(y0 < y1 && y1 <= 200.0 && y1 > 2.0, "{line}");
    drop(running);
    chain.stop();
}

#[test]
fn publish_py_is_a_camera_by_udp_and_with_a_ticket() {
    let _alone = alone();
    let Some(python) = python() else { return };
    let script = example("python/publish.py");
    let open = Chain::start(&[]);
    let server = format!("127.0.0.1:{}", open.port);
    let publisher = Program::new(&python)
        .args([script.clone().into_os_string(), server.into()])
        .start();
    let line = open.relay.wait_for_line("camera appeared", LONG);
    assert!(line.contains("camera=cam1"), "{line}");
    drop(publisher);
    open.stop();

    let private = Chain::start(&["--private"]);
    let line = private
        .relay
        .wait_for_line("pi-sender --server 'sightline://", LONG);
    let ticket = line.split('\'').nth(1).unwrap().to_owned();
    let programs = binary("pi-sender").parent().unwrap().to_owned();
    let mut paths = vec![programs];
    paths.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap()));
    let publisher = Program::new(&python)
        .args([script.into_os_string(), ticket.into()])
        .env(
            "PATH",
            std::env::join_paths(paths).unwrap().into_string().unwrap(),
        )
        .start();
    let line = private.relay.wait_for_line("camera appeared", LONG);
    assert!(line.contains("camera=numpy"), "{line}");
    drop(publisher);
    private.stop();
}

#[test]
fn publish_py_is_a_camera_by_http_with_and_without_a_token() {
    let _alone = alone();
    let Some(python) = python() else { return };
    let publish = |chain: &Chain, words: &[&str]| {
        Program::new(&python)
            .args([example("python/publish.py")])
            .args([&chain.http])
            .args(words)
            .start()
    };
    let open = Chain::start(&[]);
    let publisher = publish(&open, &[]);
    let line = open.relay.wait_for_line("camera appeared", LONG);
    assert!(line.contains("camera=numpy"), "{line}");
    let other = Program::new(&python)
        .args(["-c", "import runpy, sys; send = runpy.run_path(sys.argv[1])['by_http'](sys.argv[2], camera='other'); send(b'no picture')"])
        .args([example("python/publish.py").as_os_str(), open.http.as_ref()])
        .start()
        .finish();
    assert!(
        other.stderr.contains("415 the body is not a frame"),
        "{}",
        other.stderr
    );
    drop(publisher);
    open.stop();

    let private = Chain::start(&["--private"]);
    let line = private
        .relay
        .wait_for_line("pi-sender --server 'sightline://", LONG);
    let token = line
        .split("token=")
        .nth(1)
        .unwrap()
        .split('#')
        .next()
        .unwrap();
    let stranger = publish(&private, &[]);
    stranger.wait_for_line("401 this relay is private", LONG);
    drop(stranger);
    let publisher = publish(&private, &[token]);
    let line = private.relay.wait_for_line("camera appeared", LONG);
    assert!(line.contains("camera=numpy"), "{line}");
    drop(publisher);
    private.stop();
}

#[test]
fn the_documented_curl_line_publishes_a_picture() {
    let _alone = alone();
    let Some(_) = tool("curl") else { return };
    let chain = Chain::start(&[]);
    let documentation = testkit::repository().join("crates/relay-server/README.md");
    let text = fs::read_to_string(documentation).unwrap();
    let line = text
        .lines()
        .map(str::trim)
        .find(|line| line.starts_with("curl ") && line.contains("/frame"))
        .unwrap();
    let picture = testkit::jpeg::Sketch::new(300, 200).bytes();
    fs::write(chain.state.path().join("picture.jpg"), picture).unwrap();
    let output = Command::new("bash")
        .args(["-c", &line.replace(RELAY, &chain.http)])
        .current_dir(chain.state.path())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {errors}");
    let line = chain.relay.wait_for_line("camera appeared", LONG);
    assert!(line.contains("camera=yard"), "{line}");
    chain.stop();
}

#[test]
fn curl_sh_gets_all_that_it_names() {
    let _alone = alone();
    let Some(_) = tool("curl") else { return };
    let chain = Chain::with_camera();
    let output = Command::new(example("curl.sh"))
        .args([&chain.http, "yard"])
        .current_dir(chain.state.path())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let printed = String::from_utf8(output.stdout).unwrap();
    for words in [
        r#""name":"yard""#,
        r#"sightline_frames_received_total{camera="yard"}"#,
        r#""kind":"tracked""#,
    ] {
        assert!(printed.contains(words), "{words}: {printed}");
    }
    let width = |name: &str| {
        let jpeg = fs::read(chain.state.path().join(name)).unwrap();
        let size = protocol::jpeg::scan(&jpeg, protocol::jpeg::Limits::default());
        size.unwrap().width
    };
    let widths = ["yard.jpg", "yard-boxes.jpg", "yard-small.jpg"].map(width);
    assert_eq!(widths, [300, 300, 160]);
    chain.stop();
}

/// Returns the addresses of the table in the API's documentation, of the camera `yard`, each also with its parameters; not
/// that of the WebSocket, which curl does not speak.
fn documented_addresses() -> Vec<String> {
    let file = testkit::repository().join("crates/relay-server/README.md");
    let text = fs::read_to_string(file).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| `/"));
    let mut found = Vec::new();
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let quoted = |cell: &str| -> Vec<String> {
            cell.split('`')
                .skip(1)
                .step_by(2)
                .map(str::to_owned)
                .collect()
        };
        for path in quoted(cells[1])
            .iter()
            .filter(|path| !path.ends_with("/ws"))
        {
            let path = path.replace("NAME", "yard");
            found.push(format!("{RELAY}{path}"));
            for parameter in quoted(cells[2]) {
                let value = match parameter.as_str() {
                    "width" => "160",
                    "quality" => "60",
                    "camera" => "yard",
                    _ => "1",
                };
                let joint = if path.contains('?') { '&' } else { '?' };
                found.push(format!("{RELAY}{path}{joint}{parameter}={value}"));
            }
        }
    }
    found
}

/// Returns the addresses of the relay in a text.
fn addresses(text: &str) -> Vec<String> {
    let found = text.match_indices(RELAY).map(|(at, _)| &text[at..]);
    let end = |c: char| c.is_whitespace() || "`#\"'|".contains(c);
    let addresses = found.map(|rest| rest.split(end).next().unwrap().to_owned());
    addresses.collect()
}

#[test]
fn each_address_in_an_example_is_one_that_the_relay_answers() {
    let _alone = alone();
    let Some(curl) = tool("curl") else { return };
    let chain = Chain::with_camera();
    let mut count = 0;
    let documented = documented_addresses();
    let examples = ["go2rtc.yaml", "home-assistant.yaml", "octoprint.md"]
        .map(|file| (file, addresses(&fs::read_to_string(example(file)).unwrap())));
    for (file, addresses) in examples.into_iter().chain([("README.md", documented)]) {
        for address in addresses {
            let url = address.replace(RELAY, &chain.http);
            // A stream does not end, so its status is what curl prints at its timeout.
            let output = Command::new(&curl)
                .args([
                    "-s",
                    "-o",
                    "/dev/null",
                    "-w",
                    "%{http_code}",
                    "-m",
                    "2",
                    &url,
                ])
                .output()
                .unwrap();
            let status = String::from_utf8(output.stdout).unwrap();
            assert_eq!(status, "200", "{file}: {address}");
            count += 1;
        }
    }
    assert!(count >= 25, "{count}");
    chain.stop();
}

#[test]
fn the_yaml_of_the_examples_has_what_its_programs_read() {
    // Debian's own, which has the package python3-yaml.
    let python = Path::new("/usr/bin/python3");
    let has_yaml = Command::new(python).args(["-c", "import yaml"]).output();
    if !has_yaml.is_ok_and(|output| output.status.success()) {
        return testkit::skip("python3-yaml is not here");
    }
    let check = "import sys, yaml; d = yaml.safe_load(open(sys.argv[1])); print(eval(sys.argv[2]))";
    for (file, expression, wanted) in [
        (
            "go2rtc.yaml",
            "d['streams']['yard'][0]",
            "ffmpeg:http://127.0.0.1:8080/cam/yard/stream.mjpg#video=h264",
        ),
        ("go2rtc.yaml", "d['rtsp']['listen']", ":8554"),
        (
            "home-assistant.yaml",
            "d['rest'][0]['resource'], list(d)",
            "('http://127.0.0.1:8080/api/cameras', ['rest'])",
        ),
    ] {
        let output = Command::new(python)
            .args(["-c", check])
            .arg(example(file))
            .arg(expression)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            String::from_utf8_lossy(&output.stdout).trim(),
            wanted,
            "{errors}"
        );
    }
}

#[test]
fn ffmpeg_makes_h264_of_the_stream_as_go2rtc_lets_it() {
    let _alone = alone();
    let (Some(ffmpeg), Some(ffprobe)) = (tool("ffmpeg"), tool("ffprobe")) else {
        return;
    };
    let chain = Chain::with_camera();
    let file = chain.state.path().join("yard.ts");
    let url = format!("{}/cam/yard/stream.mjpg", chain.http);
    let start = Instant::now();
    let status = Command::new(ffmpeg)
        .args([
            "-v",
            "error",
            "-fflags",
            "nobuffer",
            "-flags",
            "low_delay",
            "-i",
            &url,
        ])
        .args([
            "-c:v",
            "libx264",
            "-preset:v",
            "superfast",
            "-tune:v",
            "zerolatency",
        ])
        .args(["-frames:v", "20", "-f", "mpegts"])
        .arg(&file)
        .status()
        .unwrap();
    assert!(status.success() && start.elapsed() < Duration::from_secs(30));
    let entries = "stream=codec_name,width,height";
    let output = Command::new(ffprobe)
        .args(["-v", "error", "-show_entries", entries, "-of", "csv=p=0"])
        .arg(&file)
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.starts_with("h264,300,200"), "{printed}");
    chain.stop();
}
