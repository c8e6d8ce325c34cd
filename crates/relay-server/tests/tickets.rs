//! Tickets per person and camera at a relay that runs: made, listed, revoked, bound to a camera, taken over from version 0.1.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

mod common {
    pub(crate) mod http;
    pub(crate) mod process;
    pub(crate) mod quic;
    pub(crate) mod tickets;
}

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use common::http::{frame, request};
use common::process::{MS, SOON, stop};
use common::quic::{hello, open};
use common::tickets::{PrivateRelay, add, ticket, ticket_ok};
use protocol::quic::{Refusal, Role, ServerMessage};
use protocol::ticket::Ticket;
use quic::client::{ConnectFailure, ControlEvent, Session};
use tokio::time::{sleep, timeout};

async fn connect(
    at: SocketAddr,
    role: Role,
    camera: Option<&str>,
    ticket: &Ticket,
) -> Result<Session, ConnectFailure> {
    let hello = hello(role, camera, Some(ticket.token.to_string()));
    open(at, &hello, Some(ticket.fingerprint)).await
}

/// Connects as soon as the relay has the ticket, which takes it 2 s at most.
async fn connect_soon(
    at: SocketAddr,
    role: Role,
    camera: Option<&str>,
    ticket: &Ticket,
) -> Session {
    let deadline = Instant::now() + SOON;
    loop {
        match connect(at, role, camera, ticket).await {
            Ok(session) => return session,
            Err(failure) => assert!(Instant::now() < deadline, "{failure}"),
        }
        sleep(50 * MS).await;
    }
}

/// Sends one frame of a camera.
async fn send_frame(session: &Session, camera: &str, seq: u64) {
    let mut stream = session.connection.open_uni().await.unwrap();
    let jpeg = frame(camera, seq, 0);
    stream.write_all(&jpeg).await.unwrap();
    stream.finish().unwrap();
}

fn bearer(ticket: &Ticket) -> String {
    format!("Bearer {}", ticket.token)
}

fn get(http: SocketAddr, path: &str, ticket: &Ticket) -> common::http::Response {
    request(http, "GET", path, &[("authorization", &bearer(ticket))])
}

/// Waits until the cameras that a ticket shows are these.
async fn wait_for_cameras(http: SocketAddr, ticket: &Ticket, names: &[&str]) {
    let deadline = Instant::now() + SOON;
    loop {
        let cameras = get(http, "/api/cameras", ticket).body();
        let shown = cameras.matches("\"name\":").count() == names.len();
        let all = names
            .iter()
            .all(|name| cameras.contains(&format!("\"name\":\"{name}\"")));
        if shown && all {
            return;
        }
        assert!(Instant::now() < deadline, "{cameras}");
        sleep(20 * MS).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_is_in_force_without_a_restart_and_its_revocation_ends_its_sessions_alone() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path();
    let relay = PrivateRelay::start(state, &[]);
    let [pi, anna, ben] =
        [["send", "pi"], ["view", "anna"], ["view", "ben"]].map(|words| add(state, &words));
    let sender = connect_soon(relay.quic, Role::Send, Some("yard"), &pi).await;
    send_frame(&sender, "yard", 1).await;
    let annas = connect_soon(relay.quic, Role::View, Some("yard"), &anna).await;
    let bens = connect_soon(relay.quic, Role::View, Some("yard"), &ben).await;
    wait_for_cameras(relay.http, &anna, &["yard"]).await;
    let mut stream = get(relay.http, "/cam/yard/stream.mjpg", &anna);
    assert_eq!(stream.status, 200);
    let url = format!("ws://{}/cam/yard/ws?token={}", relay.http, anna.token);
    let mut socket = socket(&url);
    assert!(socket.read().is_ok());

    ticket_ok(state, &["revoke", "anna"]);
    let ended = timeout(SOON, annas.connection.closed()).await.unwrap();
    let why = ConnectFailure::of_connection(ended);
    assert!(
        matches!(why, ConnectFailure::Refused(Refusal::Token)),
        "{why}"
    );
    let rest = tokio::task::spawn_blocking(move || {
        stream.rest.read_to_end(&mut Vec::new()).unwrap();
        while socket.read().is_ok() {}
    });
    timeout(SOON, rest).await.unwrap().unwrap();
    assert_eq!(get(relay.http, "/api/cameras", &anna).status, 401);
    for other in [&sender, &bens] {
        assert!(other.connection.close_reason().is_none());
    }
    assert_eq!(get(relay.http, "/api/cameras", &ben).status, 200);

    ticket_ok(state, &["revoke", "pi"]);
    let ended = timeout(SOON, sender.connection.closed()).await.unwrap();
    let why = ConnectFailure::of_connection(ended);
    assert!(
        !why.is_temporary(),
        "its program ends and does not try again: {why}"
    );
    stop(relay.running);
}

/// Waits for the next message that is wanted.
async fn next_message<T>(session: &mut Session, wanted: impl Fn(ServerMessage) -> Option<T>) -> T {
    let found = async {
        loop {
            let event = session.control.next().await.unwrap();
            if let ControlEvent::Message(message) = event
                && let Some(found) = wanted(message)
            {
                return found;
            }
        }
    };
    timeout(SOON, found).await.unwrap()
}

fn socket(url: &str) -> tungstenite::WebSocket<TcpStream> {
    let host = url.split('/').nth(2).unwrap();
    let stream = TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    tungstenite::client(url, stream).unwrap().0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_for_one_camera_sends_and_shows_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path();
    let [pi, yard_pi] = [
        &["send", "pi"][..],
        &["send", "yard pi", "--camera", "yard"],
    ]
    .map(|words| add(state, words));
    let [anna, ben] = [&["view", "anna"][..], &["view", "ben", "--camera", "yard"]]
        .map(|words| add(state, words));
    assert_eq!(
        ben.camera.as_ref().unwrap().as_str(),
        "yard",
        "the ticket names it"
    );
    let relay = PrivateRelay::start(state, &[]);
    let drive = connect(relay.quic, Role::Send, Some("drive"), &pi)
        .await
        .unwrap();
    send_frame(&drive, "drive", 1).await;
    let refused = connect(relay.quic, Role::Send, Some("drive 2"), &yard_pi).await;
    assert!(
        matches!(refused, Err(ConnectFailure::Refused(Refusal::Camera))),
        "{refused:?}"
    );
    let yard = connect(relay.quic, Role::Send, Some("yard"), &yard_pi)
        .await
        .unwrap();
    send_frame(&yard, "yard", 1).await;
    wait_for_cameras(relay.http, &anna, &["yard", "drive"]).await;
    wait_for_cameras(relay.http, &ben, &["yard"]).await;

    let refused = connect(relay.quic, Role::View, Some("drive"), &ben).await;
    assert!(matches!(
        refused,
        Err(ConnectFailure::Refused(Refusal::Camera))
    ));
    let mut viewer = connect(relay.quic, Role::View, None, &ben).await.unwrap();
    assert_eq!(viewer.answer.cameras, ["yard"]);
    let camera = next_message(&mut viewer, |message| match message {
        ServerMessage::Camera(camera) => Some(camera.name),
        _ => None,
    });
    assert_eq!(camera.await, "yard", "its own and not the first");
    let porch = connect(relay.quic, Role::Send, Some("porch"), &pi)
        .await
        .unwrap();
    send_frame(&porch, "porch", 1).await;
    let live = next_message(&mut viewer, |message| match message {
        ServerMessage::Cameras(live) => Some(live),
        _ => None,
    });
    assert_eq!(live.await, ["yard"]);
    let mut socket = socket(&format!(
        "ws://{}/cam/yard/ws?token={}",
        relay.http, ben.token
    ));
    let live = loop {
        let message = socket.read().unwrap();
        let text = message.to_text().unwrap_or_default();
        if text.contains("\"cameras\"") {
            break text.to_owned();
        }
    };
    assert_eq!(live, r#"{"cameras":["yard"]}"#);

    for path in ["snapshot.jpg", "stream.mjpg", "detections"] {
        let other = get(relay.http, &format!("/cam/drive/{path}"), &ben).status;
        assert_eq!(other, 403, "{path}");
    }
    let url = format!("/cam/drive/ws?token={}", ben.token);
    let upgrade = [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    assert_eq!(request(relay.http, "GET", &url, &upgrade).status, 403);
    assert_eq!(get(relay.http, "/metrics", &ben).status, 403);
    assert_eq!(get(relay.http, "/metrics", &anna).status, 200);
    let unknown = get(relay.http, "/cam/gate/snapshot.jpg", &anna).body();
    assert!(unknown.contains("drive") && unknown.contains("yard"));
    send_frame(&yard, "yard", 2).await;
    let snapshot = get(relay.http, "/snapshot", &ben);
    let label = protocol::label::Label::read(&snapshot.bytes())
        .unwrap()
        .unwrap();
    assert_eq!(label.camera.as_str(), "yard");
    stop(relay.running);
}

#[tokio::test]
async fn the_list_shows_the_last_use_and_from_where() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path();
    let anna = add(state, &["view", "anna", "--camera", "yard"]);
    let relay = PrivateRelay::start(state, &[]);
    let row = || {
        let list = ticket_ok(state, &["list"]);
        let row = list.lines().find(|line| line.starts_with("anna "));
        row.unwrap().to_owned()
    };
    assert!(row().contains("never"), "{}", row());
    let viewer = connect(relay.quic, Role::View, None, &anna).await.unwrap();
    let deadline = Instant::now() + SOON;
    while !row().ends_with("  127.0.0.1") {
        assert!(Instant::now() < deadline, "{}", row());
        sleep(100 * MS).await;
    }
    let row = row();
    assert!(row.contains("view") && row.contains("yard"), "{row}");
    drop(viewer);
    stop(relay.running);
}

#[tokio::test]
async fn token_files_of_version_0_1_stay_valid_and_are_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path();
    let [send, view] = ["1", "2"].map(|digit| digit.repeat(64));
    fs::write(state.join("sender.token"), format!("{send}\n")).unwrap();
    fs::write(state.join("viewer.token"), format!("{view}\n")).unwrap();
    for _ in 0..2 {
        let relay = PrivateRelay::start(state, &[]);
        relay
            .running
            .wait_for_line("relay-server ticket list", SOON);
        for (role, token) in [(Role::Send, &send), (Role::View, &view)] {
            let hello = hello(role, Some("yard"), Some(token.clone()));
            assert!(open(relay.quic, &hello, None).await.is_ok());
        }
        let log = stop(relay.running).stderr;
        assert!(!log.contains(&send) && !log.contains(&view));
        assert!(!state.join("sender.token").exists() && !state.join("viewer.token").exists());
    }
    let list = ticket_ok(state, &["list"]);
    assert!(list.contains("sender") && list.contains("viewer"), "{list}");
}

#[test]
fn what_cannot_be_done_is_named_with_its_cure() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path();
    add(state, &["view", "anna"]);
    for (words, code, text) in [
        (
            &["add", "send", "anna"][..],
            1,
            "there is a ticket named 'anna' already",
        ),
        (&["revoke", "ben"], 1, "there are: anna"),
        (&["add", "view", "a/b"], 2, "is not a ticket's name"),
        (
            &["add", "view", "a", "--advertise", "http://x"],
            2,
            "examples",
        ),
        (&["list", "--config", "/no/such/file"], 2, "/no/such/file"),
    ] {
        let done = ticket(state, words);
        assert_eq!(done.status.code(), Some(code), "{words:?}: {}", done.stderr);
        assert!(done.stderr.contains(text), "{words:?}: {}", done.stderr);
        assert!(done.stdout.is_empty());
    }
    fs::write(state.join("tickets"), "damaged").unwrap();
    let done = ticket(state, &["add", "view", "ben"]);
    assert!(
        done.stderr.contains("tickets is damaged"),
        "{}",
        done.stderr
    );
    assert_eq!(fs::read(state.join("tickets")).unwrap(), b"damaged");
}

#[test]
fn tickets_that_are_made_at_the_same_time_are_all_there() {
    let dir = tempfile::tempdir().unwrap();
    let names: Vec<_> = (0..6).map(|n| format!("t{n}")).collect();
    std::thread::scope(|scope| {
        for name in &names {
            scope.spawn(|| add(dir.path(), &["view", name]));
        }
    });
    let list = ticket_ok(dir.path(), &["list"]);
    assert!(
        names.iter().all(|name| list.contains(name.as_str())),
        "{list}"
    );
}

#[test]
fn the_configuration_names_state_host_and_page() {
    let dir = tempfile::tempdir().unwrap();
    let (state, file) = (dir.path().join("state"), dir.path().join("relay.toml"));
    let text = format!(
        "state = '{}'\nadvertise = 'relay.example:9000'\nhttp-url = 'https://cam.example'\nprivate = true\n",
        state.display()
    );
    fs::write(&file, text).unwrap();
    let done = testkit::process::Program::new(common::process::RELAY)
        .args(["ticket", "add", "view", "anna", "--config"])
        .args([&file])
        .start()
        .finish();
    let printed = done.stdout;
    assert!(printed.starts_with("viewer --server 'sightline://relay.example:9000?token="));
    assert!(
        printed.contains("\nhttps://cam.example/#token="),
        "{printed}"
    );
    assert!(ticket_ok(&state, &["list"]).contains("anna"));
}

#[test]
fn root_makes_tickets_in_a_services_state_that_the_service_can_read() {
    const SERVICE: u32 = 12345;
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path();
    add(state, &["view", "anna"]);
    let files = ["identity", "tickets"].map(|name| state.join(name));
    for path in [state]
        .into_iter()
        .chain(files.iter().map(|file| file.as_path()))
    {
        if chown(path, Some(SERVICE), Some(SERVICE)).is_err() {
            return testkit::skip("only root can give files to a service");
        }
    }
    add(state, &["view", "ben"]);
    ticket_ok(state, &["revoke", "anna"]);
    for file in &files {
        let found = fs::metadata(file).unwrap();
        assert_eq!(
            (found.uid(), found.gid(), found.mode() & 0o777),
            (SERVICE, SERVICE, 0o600)
        );
    }
    let names = names_in(state);
    assert_eq!(names.len(), 2, "no temporary file is left: {names:?}");
}

fn names_in(dir: &Path) -> Vec<String> {
    let files = fs::read_dir(dir).unwrap();
    files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// Sets how many descriptors a program may have open.
fn limit_descriptors(pid: u32, soft: &str) {
    let pid = pid.to_string();
    let done = Command::new("prlimit")
        .args(["--pid", &pid, &format!("--nofile={soft}:")])
        .status();
    assert!(done.unwrap().success());
}

#[test]
fn a_revocation_that_could_not_be_read_is_in_force_as_soon_as_it_can() {
    let state = tempfile::tempdir().unwrap();
    let ben = add(state.path(), &["view", "ben"]);
    let relay = PrivateRelay::start(state.path(), &[]);
    assert_eq!(get(relay.http, "/api/cameras", &ben).status, 200);
    let pid = relay.running.id();
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let before = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let before = before
        .unwrap()
        .split_whitespace()
        .nth(3)
        .unwrap()
        .to_owned();
    limit_descriptors(pid, "3");
    ticket_ok(state.path(), &["revoke", "ben"]);
    relay
        .running
        .wait_for_line("the tickets stay as they were", SOON);
    limit_descriptors(pid, &before);
    let deadline = Instant::now() + SOON;
    while get(relay.http, "/api/cameras", &ben).status != 401 {
        assert!(Instant::now() < deadline, "the ticket is still in force");
        std::thread::sleep(50 * MS);
    }
    stop(relay.running);
}

#[test]
fn a_frame_whose_ticket_is_revoked_on_its_way_is_refused() {
    let state = tempfile::tempdir().unwrap();
    let pi = add(state.path(), &["send", "pi"]);
    let relay = PrivateRelay::start(state.path(), &[]);
    let jpeg = frame("yard", 1, 0);
    let mut stream = TcpStream::connect(relay.http).unwrap();
    let head = format!(
        "POST /cam/yard/frame HTTP/1.1\r\nhost: {}\r\nauthorization: {}\r\ncontent-length: {}\r\n\r\n",
        relay.http,
        bearer(&pi),
        jpeg.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&jpeg[..10]).unwrap();
    ticket_ok(state.path(), &["revoke", "pi"]);
    stream.set_read_timeout(Some(SOON)).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 401");
    stop(relay.running);
}
