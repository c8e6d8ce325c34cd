//! Publishing by HTTP: single frames, the WebSocket, and each refusal with its cause and cure.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

mod common {
    pub(crate) mod http;
    pub(crate) mod process;
    pub(crate) mod quic;
}

use std::net::TcpStream;
use std::time::Instant;

use bytes::Bytes;
use common::http::{HttpRelay, Response, exchange, frame, seq};
use common::process::SOON;
use common::quic::{hello, open};
use protocol::http::{COOKIE, SIGHTLINE, STREAM};
use protocol::label::Label;
use protocol::peer::Proof;
use protocol::quic::{Refusal, Role};
use protocol::ticket::Ticket;
use quic::client::ConnectFailure;
use serde_json::{Value, json};
use testkit::jpeg::Sketch;
use tungstenite::{Message, WebSocket};

type Socket = WebSocket<TcpStream>;

fn post(relay: &HttpRelay, path: &str, headers: &str, body: &[u8]) -> Response {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {}\r\ncontent-length: {}\r\n{headers}\r\n",
        relay.http,
        body.len()
    );
    exchange(relay.http, &[head.as_bytes(), body].concat()).unwrap()
}

/// The status of an error, its name and its sentence.
fn error(response: Response) -> (u16, String, String) {
    let status = response.status;
    assert_eq!(response.header("content-type"), Some("application/json"));
    let body: Value = serde_json::from_slice(&response.bytes()).unwrap();
    let text = |key: &str| body[key].as_str().unwrap().to_owned();
    (status, text("error"), text("message"))
}

fn plain() -> Vec<u8> {
    Sketch::new(300, 200).bytes()
}

fn cameras(relay: &HttpRelay) -> Value {
    serde_json::from_str(&relay.get("/api/cameras").body()).unwrap()
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
    }
}

/// Sends a frame by a publisher's socket and returns the answer.
fn publish(socket: &mut Socket, jpeg: Vec<u8>) -> Message {
    socket.send(Message::Binary(jpeg.into())).unwrap();
    next(socket)
}

/// Returns the next message but for pings.
fn next(socket: &mut Socket) -> Message {
    loop {
        match socket.read().unwrap() {
            Message::Ping(_) | Message::Pong(_) => {}
            message => return message,
        }
    }
}

fn is_taken(message: &Message) -> bool {
    *message == Message::Binary(Bytes::new())
}

fn tickets(relay: &HttpRelay) -> [Ticket; 2] {
    ["pi-sender --server '", "viewer --server '"].map(|start| {
        let line = relay.running.wait_for_line(start, SOON);
        let ticket = line.split_once(start).unwrap().1;
        ticket.split_once('\'').unwrap().0.parse().unwrap()
    })
}

#[test]
fn a_posted_frame_is_a_cameras_and_gets_a_label() {
    let relay = HttpRelay::start(&[]);
    let answer = post(&relay, "/cam/yard/frame", "", &plain());
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header(SIGHTLINE), Some("1"));
    let mut viewer = relay.socket("/cam/yard/ws");
    assert!(next(&mut viewer).is_text(), "it is subscribed");
    post(&relay, "/cam/yard/frame", "", &plain());
    let jpeg = loop {
        if let Message::Binary(jpeg) = next(&mut viewer) {
            break jpeg;
        }
    };
    let label = Label::read(&jpeg).unwrap().unwrap();
    assert!(label.camera == "yard" && label.seq >= 1, "{label:?}");
    assert!(label.captured_us > 1_700_000_000_000_000, "{label:?}");
    assert_eq!(
        post(&relay, "/cam/front%20yard/frame", "", &plain()).status,
        204
    );
    // The status is 50 ms old at most.
    wait_until("both are cameras", || {
        let list = cameras(&relay);
        list[0]["name"] == "yard" && list[1]["name"] == "front yard"
    });
    relay.stop();
}

#[test]
fn what_is_not_a_frame_is_refused_with_the_scans_reason() {
    let relay = HttpRelay::start(&[]);
    let whole = plain();
    let cut = &whole[..whole.len() - 2];
    let large = vec![0xFF; 200_000];
    for (body, status, name, cure) in [
        (&b"hello"[..], 415, "not_jpeg", "send one whole JPEG"),
        (b"\x89PNG\r\n\x1a\n", 415, "not_jpeg", "not JPEGs"),
        (b"--form", 415, "not_jpeg", "--data-binary"),
        (b"", 415, "not_jpeg", "send one whole JPEG"),
        (cut, 422, "no_end", "send one whole JPEG"),
        (&large, 413, "too_large", "lower the JPEG's quality"),
        (&frame("drive", 1, 0), 409, "misnamed", "/cam/NAME"),
    ] {
        let (got, error, message) = error(post(&relay, "/cam/yard/frame", "", body));
        assert_eq!((got, error.as_str()), (status, name), "{message}");
        assert!(message.contains(cure), "{message}");
    }
    let chunked = "POST /cam/yard/frame HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = [b"11000\r\n", &vec![7; 0x11000][..], b"\r\n0\r\n\r\n"].concat();
    let answer = exchange(relay.http, &[chunked.as_bytes(), &chunk].concat());
    assert_eq!(error(answer.unwrap()).0, 413);
    let (status, name, message) = error(post(&relay, "/cam/a%2Fb/frame", "", &plain()));
    assert_eq!((status, name.as_str()), (400, "hello"), "{message}");
    assert!(message.contains("letters, digits"), "{message}");
    assert_eq!(relay.get("/cam/yard/frame").status, 405);
    assert_eq!(cameras(&relay), json!([]));
    relay.stop();
}

#[test]
fn a_body_that_does_not_come_ends_its_request_and_nothing_else() {
    let relay = HttpRelay::start(&[]);
    let head = format!("POST /cam/yard/frame HTTP/1.1\r\nhost: {}\r\n", relay.http);
    let slow = format!("{head}content-length: 100\r\n\r\nslow");
    let at = relay.http;
    let slow = std::thread::spawn(move || {
        let mut stream = TcpStream::connect(at).unwrap();
        std::io::Write::write_all(&mut stream, slow.as_bytes()).unwrap();
        let mut answer = Vec::new();
        let _ = std::io::Read::read_to_end(&mut stream, &mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    });
    assert_eq!(post(&relay, "/cam/yard/frame", "", &plain()).status, 204);
    let answer = slow.join().unwrap();
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("\"too_slow\""), "{answer}");
    relay.stop();
}

#[test]
fn a_connection_that_posts_more_frames_than_a_camera_makes_is_slowed_down() {
    let relay = HttpRelay::start(&[]);
    let body = plain();
    let request = format!(
        "POST /cam/yard/frame HTTP/1.1\r\nhost: {}\r\ncontent-length: {}\r\n\r\n",
        relay.http,
        body.len()
    );
    let request = [request.as_bytes(), &body].concat();
    let many = request.repeat(400);
    let mut stream = TcpStream::connect(relay.http).unwrap();
    let mut answers = stream.try_clone().unwrap();
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        let mut buffer = [0; 4096];
        while !String::from_utf8_lossy(&all).contains("HTTP/1.1 429") {
            match std::io::Read::read(&mut answers, &mut buffer) {
                Ok(length @ 1..) => all.extend_from_slice(&buffer[..length]),
                _ => break,
            }
        }
        String::from_utf8_lossy(&all).into_owned()
    });
    let _ = std::io::Write::write_all(&mut stream, &many);
    let answers = reader.join().unwrap();
    assert!(answers.contains("HTTP/1.1 204"), "{answers}");
    let refused = answers.split("HTTP/1.1 429").nth(1);
    assert!(
        refused.is_some_and(|head| head.contains("retry-after: 1")),
        "{answers}"
    );
    relay.stop();
}

#[test]
fn the_token_of_a_private_relays_sender_publishes_and_no_other() {
    let relay = HttpRelay::start(&["--private"]);
    let [send, view] = tickets(&relay).map(|ticket| ticket.token.to_string());
    let bearer = |token: &str| format!("authorization: Bearer {token}\r\n");
    for (headers, status, name, cure) in [
        (String::new(), 401, "private", "Authorization: Bearer TOKEN"),
        (
            bearer(&"1".repeat(64)),
            401,
            "token",
            "the sender's ticket in force",
        ),
        (
            bearer(&view),
            403,
            "role",
            "the token of the sender's ticket",
        ),
    ] {
        let answer = post(&relay, "/cam/yard/frame", &headers, &plain());
        let challenge = answer.header("www-authenticate").map(str::to_owned);
        assert_eq!(challenge.is_some(), status == 401);
        let (got, error, message) = error(answer);
        assert_eq!((got, error.as_str()), (status, name));
        assert!(message.contains(cure), "{message}");
        let socket = relay.request("GET", "/cam/yard/publish", &[]);
        assert_eq!(socket.status, 401);
    }
    assert_eq!(
        post(&relay, "/cam/yard/frame", &bearer(&send), &plain()).status,
        204
    );
    let by_query = format!("/cam/drive/frame?token={send}");
    assert_eq!(post(&relay, &by_query, "", &plain()).status, 204);
    let bearer = format!("Bearer {send}");
    let headers = [("authorization", bearer.as_str())];
    let mut socket = relay.try_socket("/cam/porch/publish", &headers).unwrap();
    assert!(is_taken(&publish(&mut socket, frame("porch", 1, 0))));
    let reads = relay.request("GET", "/api/cameras", &headers);
    assert_eq!(reads.status, 403, "a sender's token reads nothing");
    relay.stop();
}

#[test]
fn a_page_of_another_origin_publishes_nothing() {
    let relay = HttpRelay::start(&["--http-origin", "https://cam.example"]);
    let from = |origin: &str| {
        let headers = format!("origin: {origin}\r\n");
        post(&relay, "/cam/yard/frame", &headers, &plain())
    };
    let (status, name, message) = error(from("https://evil.example"));
    assert_eq!((status, name.as_str()), (403, "origin"));
    assert!(message.contains("--http-origin"), "{message}");
    let evil = [("origin", "https://evil.example")];
    assert_eq!(
        relay.try_socket("/cam/yard/publish", &evil).err(),
        Some(403)
    );
    assert_eq!(from("https://cam.example").status, 204);
    let asks = relay.request(
        "OPTIONS",
        "/cam/yard/frame",
        &[("origin", "https://cam.example")],
    );
    assert_eq!(
        asks.header("access-control-allow-methods"),
        Some("GET, HEAD, POST")
    );
    relay.stop();
}

#[test]
fn a_websockets_frames_are_answered_one_by_one_and_its_clock_is_compared() {
    let relay = HttpRelay::start(&[]);
    let mut socket = relay.socket("/cam/yard/publish");
    let mut viewer = None;
    for number in 1..=3 {
        let taken = publish(&mut socket, frame("yard", number, 20_000));
        assert!(is_taken(&taken), "{taken:?}");
        let viewer = viewer.get_or_insert_with(|| relay.socket("/cam/yard/ws"));
        let shown = loop {
            if let Message::Binary(jpeg) = next(viewer) {
                break jpeg;
            }
        };
        assert_eq!(seq(&shown), number);
        viewer.send(Message::Binary(Bytes::new())).unwrap();
    }
    socket.send(Message::text(r#"{"ping":{"t1":7}}"#)).unwrap();
    let pong: Value = serde_json::from_str(next(&mut socket).to_text().unwrap()).unwrap();
    assert_eq!(pong["pong"]["t1"], 7);
    assert!(pong["pong"]["t3"].as_u64() >= pong["pong"]["t2"].as_u64());
    let facts = r#"{"facts":{"offset_us":120,"error_us":800,"quality":70}}"#;
    socket.send(Message::text(facts)).unwrap();
    let mut viewer = viewer.unwrap();
    let info = loop {
        match next(&mut viewer) {
            Message::Text(text) if text.contains("\"quality\":70") => break text,
            _ => {}
        }
    };
    assert!(info.contains("\"offset_us\":120"), "{info}");
    relay.stop();
}

#[test]
fn what_a_websocket_sends_beside_frames_is_explained_and_too_much_ends_it() {
    let relay = HttpRelay::start(&[]);
    let mut socket = relay.socket("/cam/yard/publish");
    for (bytes, reason) in [
        (b"no picture".to_vec(), "not_jpeg"),
        (frame("drive", 1, 0), "misnamed"),
    ] {
        let answer = publish(&mut socket, bytes);
        let dropped: Value = serde_json::from_str(answer.to_text().unwrap()).unwrap();
        assert_eq!(dropped["dropped"]["reason"], reason, "{dropped}");
    }
    assert!(is_taken(&publish(&mut socket, plain())), "it goes on");
    let Message::Close(Some(close)) = publish(&mut socket, vec![0; 100_000]) else {
        panic!("a message that is too large ends the connection");
    };
    assert_eq!(u16::from(close.code), 1009);
    assert!(close.reason.contains("at most"), "{}", close.reason);
    relay.stop();
}

#[test]
fn a_name_is_its_websockets_for_as_long_as_that_is_open() {
    let relay = HttpRelay::start(&[]);
    let mut first = relay.socket("/cam/yard/publish");
    assert!(is_taken(&publish(&mut first, frame("yard", 1, 0))));
    assert_eq!(relay.try_socket("/cam/yard/publish", &[]).err(), Some(409));
    let posted = error(post(&relay, "/cam/yard/frame", "", &plain()));
    assert_eq!((posted.0, posted.1.as_str()), (409, "taken"));
    assert!(posted.2.contains("choose another NAME"), "{}", posted.2);
    let asks = relay.get("/cam/yard/publish");
    assert_eq!(error(asks).0, 409, "who only asks learns it too");
    let (status, name, _) = error(relay.get("/cam/drive/publish"));
    assert_eq!((status, name.as_str()), (426, "upgrade"));
    drop(first);
    wait_until("the name is free", || {
        relay.try_socket("/cam/yard/publish", &[]).is_ok()
    });
    relay.stop();
}

#[tokio::test]
async fn a_sender_goes_on_by_quic_and_back_with_the_cookie_and_the_other_learns_why_it_ends() {
    let relay = HttpRelay::start(&[]);
    let at = relay.running.listening();
    let quic = |cookie: Option<String>| {
        let mut hello = hello(Role::Send, Some("yard"), None);
        (hello.stream, hello.cookie) = (Some("0000000000000007".to_owned()), cookie);
        async move { open(at, &hello, None).await }
    };
    let upgrade = |cookie: &str| {
        use tungstenite::client::IntoClientRequest as _;
        let url = format!("ws://{}/cam/yard/publish", relay.http);
        let mut request = url.into_client_request().unwrap();
        let headers = request.headers_mut();
        headers.insert(STREAM, "0000000000000007".parse().unwrap());
        headers.insert(COOKIE, cookie.parse().unwrap());
        let stream = TcpStream::connect(relay.http).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        tungstenite::client(request, stream).unwrap()
    };
    let (mut socket, answer) = upgrade("");
    let cookie = answer.headers()[COOKIE].to_str().unwrap().to_owned();
    assert!(Proof::parse(&cookie).is_some());
    assert!(is_taken(&publish(&mut socket, frame("yard", 1, 0))));
    let stranger = quic(None).await.unwrap_err();
    assert!(matches!(stranger, ConnectFailure::Refused(Refusal::Taken)));
    let session = quic(Some(cookie)).await.unwrap();
    let Message::Close(Some(close)) = next(&mut socket) else {
        panic!("the socket has lost its camera");
    };
    assert_eq!(u16::from(close.code), 1008);
    assert!(
        close.reason.starts_with("taken: another source"),
        "{}",
        close.reason
    );
    let cookie = session.answer.proof().to_digits().unwrap();
    let (mut socket, _) = upgrade(&cookie);
    assert!(is_taken(&publish(&mut socket, frame("yard", 2, 0))));
    session.connection.closed().await;
    relay.stop();
}

#[test]
fn a_full_relay_says_so() {
    let relay = HttpRelay::start(&[]);
    let sockets: Vec<_> = (0..64)
        .map(|n| {
            let mut socket = relay.socket(&format!("/cam/yard{n}/publish"));
            assert!(is_taken(&publish(&mut socket, plain())));
            socket
        })
        .collect();
    assert_eq!(relay.try_socket("/cam/more/publish", &[]).err(), Some(503));
    let (status, name, message) = error(post(&relay, "/cam/more/frame", "", &plain()));
    assert_eq!((status, name.as_str()), (503, "full"));
    assert!(message.contains("no further camera"), "{message}");
    drop(sockets);
    relay.stop();
}

#[test]
fn a_websocket_that_answers_no_ping_loses_its_camera() {
    let relay = HttpRelay::start(&[]);
    let mut silent = relay.socket("/cam/yard/publish");
    assert!(is_taken(&publish(&mut silent, plain())));
    wait_until("the name is free", || {
        let free = relay.try_socket("/cam/yard/publish", &[]).is_ok();
        std::thread::sleep(std::time::Duration::from_millis(100));
        free
    });
    relay.stop();
}
