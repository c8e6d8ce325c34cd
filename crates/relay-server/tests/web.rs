//! The relay's web door against plain sockets: what a browser, other software, a slow reader and a stranger get.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use protocol::label::{Label, StreamId};
use serde_json::Value;
use testkit::jpeg::Sketch;
use testkit::process::{Finished, Program, Running};
use tungstenite::{Message, WebSocket};

const RELAY: &str = env!("CARGO_BIN_EXE_relay-server");
const SOON: Duration = Duration::from_secs(10);
const MS: Duration = Duration::from_millis(1);

/// A relay without a model, its web door, and a camera's socket.
struct Scene {
    running: Running,
    http: SocketAddr,
    camera: UdpSocket,
    seq: u64,
    _state: tempfile::TempDir,
}

impl Scene {
    fn new(words: &[&str]) -> Self {
        let state = tempfile::tempdir().unwrap();
        let running = Program::new(RELAY)
            .args(["--listen", "127.0.0.1:0", "--model", "none", "--report"])
            .args(["--http", "127.0.0.1:0", "--state"])
            .args([state.path()])
            .args(words)
            .start();
        let line = running.wait_for_line("listening", SOON);
        let http = line
            .split_whitespace()
            .find_map(|word| word.strip_prefix("http="));
        let http = http.unwrap().parse().unwrap();
        let camera = UdpSocket::bind("127.0.0.1:0").unwrap();
        camera.connect(running.listening()).unwrap();
        Self {
            running,
            http,
            camera,
            seq: 0,
            _state: state,
        }
    }

    /// Sends the next frame of a camera, of about so many bytes.
    fn send(&mut self, camera: &str, bytes: usize) -> Vec<u8> {
        self.seq += 1;
        let frame = frame(camera, self.seq, bytes);
        self.camera.send(&frame).unwrap();
        frame
    }

    /// A camera that is live.
    fn with(camera: &str, words: &[&str]) -> Self {
        let mut scene = Self::new(words);
        let deadline = Instant::now() + SOON;
        while !scene.get("/api/cameras").body().contains("\"live\":true") {
            scene.send(camera, 0);
            assert!(Instant::now() < deadline);
        }
        scene
    }

    fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[])
    }

    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        ask(self.http, method, path, headers)
    }

    fn stream(&self, path: &str) -> Stream {
        Stream(open(self.http, "GET", path, &[]))
    }

    fn socket(&self, path: &str) -> WebSocket<TcpStream> {
        self.try_socket(path, &[]).unwrap()
    }

    fn try_socket(
        &self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<WebSocket<TcpStream>, u16> {
        use tungstenite::client::IntoClientRequest as _;
        let url = format!("ws://{}{path}", self.http);
        let mut request = url.into_client_request().unwrap();
        for (name, value) in headers {
            let name: tungstenite::http::HeaderName = name.parse().unwrap();
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        let stream = TcpStream::connect(self.http).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        match tungstenite::client(request, stream) {
            Ok((socket, _)) => Ok(socket),
            Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(answer))) => {
                Err(answer.status().as_u16())
            }
            Err(err) => panic!("{err}"),
        }
    }

    fn stop(self) -> Finished {
        self.running.terminate();
        let finished = self.running.finish();
        assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
        assert!(finished.stopped_in.unwrap() < Duration::from_secs(2));
        finished
    }
}

fn frame(camera: &str, seq: u64, bytes: usize) -> Vec<u8> {
    let label = Label {
        stream: StreamId(7),
        seq,
        captured_us: 1_700_000_000_000_000 + seq,
        camera: camera.parse().unwrap(),
    };
    let sketch = Sketch::new(300, 200);
    let sketch = match bytes {
        0 => sketch,
        bytes => sketch.segment(0xFE, &vec![0x20; bytes]),
    };
    label.write(&sketch.bytes())
}

struct Answer {
    status: u16,
    version: String,
    headers: Vec<(String, String)>,
    rest: BufReader<TcpStream>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    fn bytes(mut self) -> Vec<u8> {
        let length = self.header("content-length").unwrap().parse().unwrap();
        let mut body = vec![0; length];
        self.rest.read_exact(&mut body).unwrap();
        body
    }

    fn body(self) -> String {
        String::from_utf8(self.bytes()).unwrap()
    }
}

fn ask(at: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    open(at, method, path, headers)
}

fn open(at: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let named = headers.iter().any(|(name, _)| *name == "host");
    let host = format!("host: {at}\r\n");
    let headers: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let host = if named { "" } else { &host };
    let question = format!("{method} {path} HTTP/1.1\r\n{host}{headers}\r\n");
    answer(at, question.as_bytes()).unwrap()
}

/// What comes back for these bytes; nothing where the connection ends instead.
fn answer(at: SocketAddr, question: &[u8]) -> Option<Answer> {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    // The door may have closed it already.
    let _ = stream.write_all(question);
    let mut rest = BufReader::new(stream);
    let mut line = || {
        let mut line = Vec::new();
        rest.read_until(b'\n', &mut line).ok()?;
        Some(String::from_utf8_lossy(&line).trim_end().to_owned())
    };
    let first = line().filter(|line| !line.is_empty())?;
    let (version, status) = first.split_once(' ').unwrap();
    let (version, status) = (version.to_owned(), status[..3].parse().unwrap());
    let mut headers = Vec::new();
    while let Some((name, value)) = line()?.split_once(": ") {
        headers.push((name.to_owned(), value.to_owned()));
    }
    Some(Answer {
        status,
        version,
        headers,
        rest,
    })
}

/// MJPEG.
struct Stream(Answer);

impl Stream {
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.rest.read_line(&mut line).unwrap();
        assert!(line.ends_with("\r\n"), "{line:?}");
        line.trim_end().to_owned()
    }

    fn boundary(&mut self) {
        assert_eq!(self.line(), "--frame");
    }

    /// A part's timestamp and picture, and the boundary behind it.
    fn part(&mut self) -> (String, Vec<u8>) {
        assert_eq!(self.line(), "Content-Type: image/jpeg");
        let length = self.line();
        let length: usize = length
            .strip_prefix("Content-Length: ")
            .unwrap()
            .parse()
            .unwrap();
        let time = self.line();
        let time = time.strip_prefix("X-Timestamp: ").unwrap().to_owned();
        assert_eq!(self.line(), "");
        let mut jpeg = vec![0; length];
        self.0.rest.read_exact(&mut jpeg).unwrap();
        assert_eq!(self.line(), "");
        self.boundary();
        (time, jpeg)
    }

    fn seq(&mut self) -> u64 {
        seq(&self.part().1)
    }
}

fn seq(jpeg: &[u8]) -> u64 {
    Label::read(jpeg).unwrap().unwrap().seq
}

#[test]
fn a_part_of_mjpeg_is_the_frame_as_it_came_and_its_boundary_follows_at_once() {
    let mut scene = Scene::with("yard", &[]);
    let mut stream = scene.stream("/cam/yard/stream.mjpg");
    assert_eq!(
        (stream.0.status, stream.0.version.as_str()),
        (200, "HTTP/1.0")
    );
    assert_eq!(
        stream.0.header("content-type"),
        Some("multipart/x-mixed-replace; boundary=frame")
    );
    assert_eq!(stream.0.header("cache-control"), Some("no-store"));
    assert_eq!(stream.0.header("access-control-allow-origin"), None);
    stream.boundary();
    // The newest of those before, at once.
    assert_eq!(stream.seq(), scene.seq);
    for bytes in [0, 100, 20_000, 60_000] {
        let sent = scene.send("yard", bytes);
        let (time, jpeg) = stream.part();
        assert!(jpeg == sent, "byte for byte");
        assert_eq!(time, format!("1700000000.{:06}", scene.seq));
    }
}

#[test]
fn a_frame_without_a_label_gets_one() {
    let mut scene = Scene::new(&[]);
    let bare = Sketch::new(300, 200).bytes();
    while scene.get("/api/cameras").body() == "[]" {
        scene.camera.send(&bare).unwrap();
    }
    let mut stream = scene.stream("/cam/cam1/stream.mjpg");
    stream.boundary();
    scene.camera.send(&bare).unwrap();
    let (_, jpeg) = stream.part();
    let label = Label::read(&jpeg).unwrap().unwrap();
    assert_eq!(label.camera.as_str(), "cam1");
    assert!(jpeg.ends_with(&bare[2..]));
    // A snapshot is never the frame that somebody saw last, long ago.
    drop(stream);
    thread::sleep(1500 * MS);
    for _ in 0..5 {
        scene.camera.send(&bare).unwrap();
        thread::sleep(20 * MS);
    }
    scene.seq = label.seq;
    let http = scene.http;
    let asked =
        thread::spawn(move || seq(&ask(http, "GET", "/cam/cam1/snapshot.jpg", &[]).bytes()));
    while !asked.is_finished() {
        scene.camera.send(&bare).unwrap();
        thread::sleep(20 * MS);
    }
    assert!(asked.join().unwrap() > label.seq + 1);
}

#[test]
fn a_slow_reader_misses_frames_and_gets_the_newest() {
    let mut scene = Scene::with("yard", &[]);
    let mut stream = scene.stream("/cam/yard/stream.mjpg");
    stream.boundary();
    stream.seq();
    for _ in 0..600 {
        scene.send("yard", 40_000);
        thread::sleep(2 * MS);
    }
    let mut seen = vec![stream.seq()];
    while seen.last() != Some(&scene.seq) {
        seen.push(stream.seq());
    }
    assert!(seen.is_sorted() && seen.len() < 100, "{seen:?}");
    let report = scene.stop().report.unwrap();
    assert!(report["not_forwarded"].as_u64() > Some(400), "{report}");
}

#[test]
fn where_a_camera_stops_its_streams_hold_and_go_on_with_it() {
    let mut scene = Scene::with("yard", &[]);
    let mut stream = scene.stream("/stream");
    stream.boundary();
    assert_eq!(stream.seq(), scene.seq);
    assert_eq!(scene.get("/snapshot").status, 200);
    thread::sleep(3500 * MS);
    let cameras: Value = serde_json::from_str(&scene.get("/api/cameras").body()).unwrap();
    assert_eq!(
        (&cameras[0]["live"], &cameras[0]["fps"]),
        (&false.into(), &Value::Null)
    );
    assert!(cameras[0]["age_ms"].as_u64() > Some(3400), "{cameras}");
    // What was is not shown as what is, but whoever looks at the stream sees where it stands.
    let snapshot = scene.get("/cam/yard/snapshot.jpg");
    assert_eq!(snapshot.status, 503);
    let mut late = scene.stream("/cam/yard/stream.mjpg");
    late.boundary();
    assert_eq!(late.seq(), scene.seq);
    scene.send("yard", 0);
    assert_eq!((stream.seq(), late.seq()), (scene.seq, scene.seq));
}

#[test]
fn a_camera_that_never_was_is_not_found_and_those_that_are_are_named() {
    let scene = Scene::with("front door", &[]);
    for what in ["stream.mjpg", "snapshot.jpg", "detections"] {
        let answer = scene.get(&format!("/cam/yard/{what}"));
        assert_eq!(answer.status, 404, "{what}");
        assert!(answer.body().contains("these are: front door"), "{what}");
    }
    assert_eq!(scene.try_socket("/cam/yard/ws", &[]).unwrap_err(), 404);
    assert_eq!(scene.get("/cam/front%20door/snapshot.jpg").status, 200);
}

#[test]
fn other_software_finds_the_first_live_camera_where_it_looks() {
    let mut scene = Scene::new(&[]);
    let streams = [
        "/stream.mjpg",
        "/stream",
        "/?action=stream",
        "/stream?boxes=1",
    ];
    let snapshots = [
        "/snapshot.jpg",
        "/snapshot",
        "/?action=snapshot",
        "/snapshot?boxes=1",
    ];
    for path in streams.into_iter().chain(snapshots) {
        let answer = scene.get(path);
        assert_eq!(answer.status, 503, "{path}");
        assert!(answer.body().contains("no camera has appeared yet"));
    }
    while scene.get("/readyz").status != 200 {
        scene.send("yard", 0);
    }
    let sent = scene.send("yard", 0);
    for path in streams {
        let mut stream = scene.stream(path);
        assert_eq!(stream.0.status, 200, "{path}");
        stream.boundary();
        // With boxes, of which there are none here, from the next frame on.
        let sent = if path.contains("boxes") {
            scene.send("yard", 0)
        } else {
            sent.clone()
        };
        assert_eq!(stream.seq(), seq(&sent), "{path}");
    }
    let sent = scene.send("yard", 0);
    for path in &snapshots[..3] {
        let answer = scene.get(path);
        assert_eq!(answer.header("content-type"), Some("image/jpeg"), "{path}");
        assert_eq!(answer.header("x-timestamp").unwrap()[..10], *"1700000000");
        assert!(answer.bytes() == sent, "{path}");
    }
    assert_eq!(scene.get("/?action=reboot").status, 400);
}

#[test]
fn cameras_are_listed_with_what_is_known_of_them() {
    let mut scene = Scene::new(&[]);
    assert_eq!(scene.get("/api/cameras").body(), "[]");
    for _ in 0..20 {
        scene.send("yard", 0);
        thread::sleep(50 * MS);
    }
    let answer = scene.get("/api/cameras");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let cameras: Value = serde_json::from_str(&answer.body()).unwrap();
    let [camera] = cameras.as_array().unwrap().as_slice() else {
        panic!("{cameras}")
    };
    assert_eq!(
        (&camera["name"], &camera["live"]),
        (&"yard".into(), &true.into())
    );
    assert_eq!(
        (&camera["width"], &camera["height"]),
        (&300.into(), &200.into())
    );
    assert!(
        (10.0..25.0).contains(&camera["fps"].as_f64().unwrap()),
        "{camera}"
    );
    assert!(camera["age_ms"].as_u64().unwrap() < 3000, "{camera}");
}

#[test]
fn alive_is_not_yet_ready() {
    let mut scene = Scene::new(&[]);
    assert_eq!(scene.get("/healthz").status, 200);
    let unready = scene.get("/readyz");
    assert_eq!(unready.status, 503);
    assert_eq!(unready.body(), "no camera is live\n");
    while scene.get("/readyz").status != 200 {
        scene.send("yard", 0);
    }
    let deadline = Instant::now() + SOON;
    while scene.get("/readyz").status == 200 {
        assert!(Instant::now() < deadline);
        thread::sleep(50 * MS);
    }
}

#[test]
fn the_page_is_whole_and_runs_nothing_else() {
    let scene = Scene::new(&[]);
    let answer = scene.get("/?camera=yard");
    assert_eq!(
        answer.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
    let policy = answer.header("content-security-policy").unwrap().to_owned();
    let nonce = policy.split('\'').find(|word| word.starts_with("nonce-"));
    let nonce = nonce.unwrap().strip_prefix("nonce-").unwrap().to_owned();
    assert!(
        policy.starts_with("default-src 'none'") && !policy.contains("unsafe"),
        "{policy}"
    );
    let page = answer.body();
    assert!(page.contains(&format!("<script nonce=\"{nonce}\">")));
    for elsewhere in ["http://", "https://", "src=\"", "innerHTML", "eval("] {
        assert!(!page.contains(elsewhere), "{elsewhere}");
    }
    assert_ne!(
        scene.get("/").header("content-security-policy"),
        Some(policy.as_str())
    );
    let head = scene.ask("HEAD", "/", &[]);
    assert_eq!(
        (head.status, head.header("content-length").is_some()),
        (200, true)
    );
    assert_eq!(scene.get("/nothing").status, 404);
}

#[test]
fn one_frame_is_under_way_on_a_socket_and_the_next_is_the_newest() {
    let mut scene = Scene::with("yard", &[]);
    let mut socket = scene.socket("/cam/yard/ws");
    let frames = |socket: &mut WebSocket<TcpStream>| loop {
        match socket.read().unwrap() {
            Message::Binary(jpeg) => return seq(&jpeg),
            Message::Text(_) => {}
            other => panic!("{other}"),
        }
    };
    assert_eq!(frames(&mut socket), scene.seq);
    for _ in 0..50 {
        scene.send("yard", 0);
        thread::sleep(2 * MS);
    }
    socket.get_ref().set_read_timeout(Some(300 * MS)).unwrap();
    match socket.read() {
        Err(tungstenite::Error::Io(err)) => assert_eq!(err.kind(), ErrorKind::WouldBlock),
        Ok(Message::Text(_)) => {}
        other => panic!("{other:?}"),
    }
    socket.get_ref().set_read_timeout(Some(SOON)).unwrap();
    socket.send(Message::Binary(Vec::new().into())).unwrap();
    assert_eq!(frames(&mut socket), scene.seq);
    socket.send(Message::Binary(Vec::new().into())).unwrap();
    scene.send("yard", 60_000);
    assert_eq!(frames(&mut socket), scene.seq);
    let report = scene.stop().report.unwrap();
    assert_eq!(report["viewers_peak"], 1);
}

#[test]
fn a_socket_tells_whose_frames_these_are_which_cameras_there_are_and_the_time() {
    let mut scene = Scene::with("yard", &[]);
    let mut socket = scene.socket("/cam/yard/ws");
    let mut told = |what: &str| loop {
        if let Message::Text(text) = socket.read().unwrap() {
            let said: Value = serde_json::from_str(&text).unwrap();
            if !said[what].is_null() {
                return said[what].clone();
            }
        } else {
            socket.send(Message::Binary(Vec::new().into())).unwrap();
            socket.send(Message::text(r#"{"ping":{"t1":5}}"#)).unwrap();
            socket.send(Message::text("what?")).unwrap();
        }
    };
    assert_eq!(told("camera")["name"], "yard");
    let pong = told("pong");
    assert!(pong["t1"] == 5 && pong["t3"].as_u64() > Some(1_700_000_000_000_000));
    while !told("cameras").as_array().unwrap().contains(&"door".into()) {
        scene.send("door", 0);
        scene.send("yard", 0);
    }
}

#[test]
fn a_socket_that_says_too_much_is_closed() {
    let scene = Scene::with("yard", &[]);
    let mut socket = scene.socket("/cam/yard/ws");
    let _ = socket.send(Message::Binary(vec![0; 100_000].into()));
    loop {
        match socket.read() {
            Ok(Message::Close(_)) => break,
            Err(tungstenite::Error::Io(err)) => {
                assert_ne!(err.kind(), ErrorKind::WouldBlock, "it stays open");
                break;
            }
            Err(_) => break,
            Ok(_) => {}
        }
    }
    assert_eq!(scene.get("/healthz").status, 200);
}

#[test]
fn who_leaves_is_no_viewer_any_more() {
    let mut scene = Scene::with("yard", &[]);
    for _ in 0..3 {
        let (mut stream, socket) = (scene.stream("/stream"), scene.socket("/cam/yard/ws"));
        let events = scene.get("/cam/yard/detections");
        assert_eq!(events.header("content-type"), Some("text/event-stream"));
        stream.boundary();
        stream.seq();
        drop((stream, socket, events));
        for _ in 0..20 {
            scene.send("yard", 0);
            thread::sleep(5 * MS);
        }
    }
    assert_eq!(scene.stop().report.unwrap()["viewers_peak"], 3);
}

#[test]
fn a_private_relay_asks_for_the_viewers_token_at_every_path_but_one() {
    let mut scene = Scene::new(&["--private"]);
    let tokens: Vec<String> = ["pi-sender --server", "viewer --server"]
        .iter()
        .map(|line| {
            let line = scene.running.wait_for_line(line, SOON);
            let (_, rest) = line.split_once("token=").unwrap();
            rest[..64].to_owned()
        })
        .collect();
    let [send, view] = tokens.as_slice() else {
        panic!()
    };
    scene
        .running
        .wait_for_line(&format!("/?token={view}"), SOON);
    scene.send("yard", 0);
    let paths = [
        "/",
        "/api/cameras",
        "/readyz",
        "/stream",
        "/snapshot",
        "/cam/yard/ws",
        "/cam/yard/stream.mjpg",
        "/metrics",
        "/cam/yard/snapshot.jpg",
        "/cam/yard/detections",
        "/nothing",
        "/%2e%2e/healthz",
        "//healthz",
        "/healthz/",
    ];
    for path in paths {
        let without = scene.get(path);
        assert_eq!(without.status, 401, "{path}");
        assert_eq!(without.header("www-authenticate"), Some("Bearer"));
        let wrong = format!("Bearer {}", "0".repeat(64));
        assert_eq!(
            scene.ask("GET", path, &[("authorization", &wrong)]).status,
            401
        );
        let other = format!("Bearer {send}");
        assert_eq!(
            scene.ask("GET", path, &[("authorization", &other)]).status,
            403
        );
        assert_eq!(scene.get(&format!("{path}?token={send}")).status, 403);
        let good = format!("bearer {view}");
        let good = scene.ask("GET", path, &[("authorization", &good)]).status;
        assert!(![401, 403].contains(&good), "{path}: {good}");
        let good = scene.get(&format!("{path}?token={view}")).status;
        assert!(![401, 403].contains(&good), "{path}: {good}");
    }
    assert_eq!(scene.get("/healthz").status, 200);
    assert_eq!(scene.try_socket("/cam/yard/ws", &[]).unwrap_err(), 401);
    let with = scene.try_socket(&format!("/cam/yard/ws?token={view}"), &[]);
    assert_eq!(with.unwrap_err(), 404, "nobody sends");
    let log = scene.stop().stderr;
    assert!(
        !log.lines()
            .any(|line| line.contains("DEBUG") && line.contains(view))
    );
}

#[test]
fn a_name_that_is_not_the_relays_and_pages_of_others_are_turned_away() {
    let scene = Scene::with("yard", &[]);
    for (host, status) in [
        ("localhost", 200),
        ("evil.example", 421),
        ("evil.example:8080", 421),
    ] {
        assert_eq!(
            scene.ask("GET", "/api/cameras", &[("host", host)]).status,
            status,
            "{host}"
        );
    }
    let here = format!("http://{}", scene.http);
    assert!(
        scene
            .try_socket("/cam/yard/ws", &[("origin", &here)])
            .is_ok()
    );
    let evil = scene.try_socket("/cam/yard/ws", &[("origin", "http://evil.example")]);
    assert_eq!(evil.unwrap_err(), 403);
    let allowed = |scene: &Scene, origin| {
        let answer = scene.ask("GET", "/api/cameras", &[("origin", origin)]);
        answer
            .header("access-control-allow-origin")
            .map(str::to_owned)
    };
    assert_eq!(allowed(&scene, "http://evil.example"), None);
    let scene = Scene::with(
        "yard",
        &["--http-origin", "https://cam.example,http://nas:8123"],
    );
    let cam = "https://cam.example";
    assert_eq!(allowed(&scene, cam).as_deref(), Some(cam));
    assert_eq!(allowed(&scene, "http://evil.example"), None);
    assert!(scene.try_socket("/cam/yard/ws", &[("origin", cam)]).is_ok());
    assert_eq!(
        scene.ask("GET", "/", &[("host", "cam.example")]).status,
        200
    );
    let before = scene.ask("OPTIONS", "/api/cameras", &[("origin", cam)]);
    assert_eq!(
        (before.status, before.header("access-control-allow-origin")),
        (204, Some(cam))
    );
}

#[test]
fn hostile_requests_get_an_answer_or_the_end_and_harm_nobody() {
    let mut scene = Scene::with("yard", &[]);
    let long = "a".repeat(100_000);
    let headers: String = (0..500).map(|n| format!("x-{n}: y\r\n")).collect();
    let mut questions: Vec<Vec<u8>> = Vec::new();
    for name in [
        "..",
        "%2e%2e",
        "%00",
        "%ff%fe",
        "%3Cscript%3E",
        "a%2Fb",
        "%E2%80%AE",
        "%",
        "%zz",
        "'\"",
        "yard%20",
        "%0d%0aX:y",
    ] {
        for what in ["stream.mjpg", "snapshot.jpg", "detections", "ws"] {
            questions.push(format!("GET /cam/{name}/{what} HTTP/1.1\r\nhost: nas\r\n\r\n").into());
        }
    }
    for method in [
        "POST", "PUT", "DELETE", "TRACE", "CONNECT", "PATCH", "BREW", "get",
    ] {
        questions.push(format!("{method} /stream HTTP/1.1\r\nhost: nas\r\n\r\n").into());
    }
    for question in [
        format!("GET /{long} HTTP/1.1\r\nhost: nas\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nhost: nas\r\nx: {long}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nhost: nas\r\n{headers}\r\n"),
        "GET / HTTP/1.1\r\nhost: \u{fc}\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nhost: a.b\r\nhost: nas\r\n\r\n".to_owned(),
        "GET /?token=1&token=2 HTTP/1.1\r\nhost: nas\r\n\r\n".to_owned(),
        "GET /?%ff=%fe&&&=&action=%00 HTTP/1.1\r\nhost: nas\r\n\r\n".to_owned(),
        "GET / HTTP/9.9\r\n\r\n".to_owned(),
        "GET http://evil.example/ HTTP/1.1\r\nhost: evil.example\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nhost: nas\r\ncontent-length: 99999999999\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nhost: nas\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nhost: nas\r\norigin: \r\nauthorization: Bearer\r\n\r\n".to_owned(),
        "GET /cam/yard/ws HTTP/1.1\r\nhost: nas\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n".to_owned(),
        "GET /cam/yard/ws HTTP/1.1\r\nhost: nas\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: x\r\n\r\n".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        "\u{16}\u{3}\u{1}\r\n\r\n".to_owned(),
        "\r\n\r\n\r\n\r\n".to_owned(),
    ] {
        questions.push(question.into());
    }
    for question in &questions {
        let start = String::from_utf8_lossy(&question[..question.len().min(80)]).into_owned();
        let mut question = question.clone();
        // The last words end what waits for more.
        if !question.ends_with(b"\r\n\r\n") {
            question.extend(b"\r\n\r\n");
        }
        let first = answer(scene.http, &question);
        let status = first.map_or(0, |answer| answer.status);
        assert!(status < 500, "{start}: {status}");
    }
    let sent = scene.send("yard", 0);
    assert!(scene.get("/snapshot").bytes() == sent);
    assert!(scene.running.rss_kb() < 150_000);
}

#[test]
fn half_open_connections_keep_nobody_out_and_are_closed() {
    let mut scene = Scene::with("yard", &[]);
    let start = Instant::now();
    let mut half: Vec<TcpStream> = (0..200)
        .map(|n| {
            let mut stream = TcpStream::connect(scene.http).unwrap();
            let begun = "GET / HTTP/1.1\r\nhost: nas\r\nx: ";
            stream
                .write_all(&begun.as_bytes()[..n % begun.len()])
                .unwrap();
            stream
        })
        .collect();
    let mut stream = scene.stream("/stream");
    stream.boundary();
    stream.seq();
    for _ in 0..20 {
        scene.send("yard", 20_000);
        assert_eq!(stream.seq(), scene.seq);
        assert_eq!(scene.get("/healthz").status, 200);
    }
    for stream in &mut half {
        stream.set_read_timeout(Some(2 * SOON)).unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    }
    let took = start.elapsed();
    assert!((8..20).contains(&took.as_secs()), "{took:?}");
    scene.send("yard", 0);
    assert_eq!(stream.seq(), scene.seq);
}

#[test]
fn a_connection_that_is_kept_open_for_nothing_is_closed() {
    let scene = Scene::new(&[]);
    let mut answer = scene.get("/healthz");
    let start = Instant::now();
    let mut rest = Vec::new();
    answer
        .rest
        .get_ref()
        .set_read_timeout(Some(2 * SOON))
        .unwrap();
    answer.rest.read_to_end(&mut rest).unwrap();
    assert!((8..20).contains(&start.elapsed().as_secs()));
}

#[test]
fn there_are_so_many_places_and_no_more() {
    let scene = Scene::new(&[]);
    let mut inside: Vec<TcpStream> = (0..512)
        .map(|_| TcpStream::connect(scene.http).unwrap())
        .collect();
    // The last of them is inside when it is answered.
    inside[511]
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: nas\r\n\r\n")
        .unwrap();
    let mut first = [0; 12];
    inside[511].read_exact(&mut first).unwrap();
    assert!(answer(scene.http, b"GET /healthz HTTP/1.1\r\nhost: nas\r\n\r\n").is_none());
    drop(inside);
    let deadline = Instant::now() + SOON;
    while answer(scene.http, b"GET /healthz HTTP/1.1\r\nhost: nas\r\n\r\n").is_none() {
        assert!(Instant::now() < deadline);
        thread::sleep(10 * MS);
    }
    scene.stop();
}

#[test]
fn a_busy_port_is_an_error_where_it_was_asked_for_and_a_warning_where_not() {
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = busy.local_addr().unwrap().to_string();
    let start = |words: &[&str]| {
        Program::new(RELAY)
            .args(["--listen", "127.0.0.1:0", "--model", "none"])
            .args(words)
            .start()
    };
    let asked = start(&["--http", &address]).finish();
    assert_eq!(asked.status.code(), Some(1), "{}", asked.stderr);
    for word in ["in use", &address, "--http"] {
        assert!(asked.stderr.contains(word), "{}", asked.stderr);
    }
    // Held by this test, or by whoever holds it already.
    let _usual = TcpListener::bind("127.0.0.1:8080");
    let unasked = start(&[]);
    let line = unasked.wait_for_line("WARN", SOON);
    assert!(
        line.contains("127.0.0.1:8080") && line.contains("--http"),
        "{line}"
    );
    let line = unasked.wait_for_line("listening", SOON);
    assert!(line.contains("http=off"), "{line}");
    let off = start(&["--http", "off"]);
    assert!(off.wait_for_line("listening", SOON).contains("http=off"));
}
