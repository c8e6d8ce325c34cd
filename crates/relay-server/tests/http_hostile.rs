//! Hostile HTTP clients: malformed requests, half-open and idle connections, and too many of them.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

mod common {
    pub(crate) mod http;
    pub(crate) mod process;
}

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use common::http::{HttpRelay, exchange, seq};
use common::process::{MS, SOON};
use relay_core::limits;

#[test]
fn hostile_requests_get_an_answer_or_the_end_and_harm_nobody() {
    let mut relay = HttpRelay::with_camera("yard", &[]);
    for mut request in hostile_requests() {
        let start = String::from_utf8_lossy(&request[..request.len().min(80)]).into_owned();
        // An empty line ends a head that is incomplete.
        if !request.ends_with(b"\r\n\r\n") {
            request.extend(b"\r\n\r\n");
        }
        let response = exchange(relay.http, &request);
        let status = response.map_or(0, |response| response.status);
        assert!(status < 500, "{start}: {status}");
    }
    let sent = relay.send_frame("yard", 0);
    assert!(relay.get("/snapshot").bytes() == sent);
    assert!(relay.running.rss_kb() < 150_000);
}

#[test]
fn half_open_connections_keep_nobody_out_and_are_closed() {
    let mut relay = HttpRelay::with_camera("yard", &[]);
    let start = Instant::now();
    let mut half: Vec<TcpStream> = (0..200)
        .map(|n| {
            let mut stream = TcpStream::connect(relay.http).unwrap();
            let begin = "GET / HTTP/1.1\r\nhost: nas\r\nx: ";
            stream
                .write_all(&begin.as_bytes()[..n % begin.len()])
                .unwrap();
            stream
        })
        .collect();
    let mut stream = relay.stream("/stream");
    stream.boundary();
    stream.seq();
    for _ in 0..20 {
        relay.send_frame("yard", 20_000);
        assert_eq!(stream.seq(), relay.seq);
        assert_eq!(relay.get("/healthz").status, 200);
    }
    for stream in &mut half {
        stream.set_read_timeout(Some(2 * SOON)).unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    }
    let took = start.elapsed();
    assert!((8..20).contains(&took.as_secs()), "{took:?}");
    relay.send_frame("yard", 0);
    assert_eq!(stream.seq(), relay.seq);
}

#[test]
fn a_connection_that_is_kept_open_for_nothing_is_closed() {
    let relay = HttpRelay::start(&[]);
    let mut answer = relay.get("/healthz");
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
fn a_body_that_no_path_reads_is_refused_and_not_stored() {
    let relay = HttpRelay::with_camera("yard", &[]);
    for (path, status) in [("/snapshot", 405), ("/nothing", 404), ("/metrics", 405)] {
        let mut stream = TcpStream::connect(relay.http).unwrap();
        stream.set_write_timeout(Some(SOON)).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let head =
            format!("POST {path} HTTP/1.1\r\nhost: nas\r\ntransfer-encoding: chunked\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let chunk = [b"8000\r\n".as_slice(), &[0x20; 0x8000], b"\r\n"].concat();
        let written = (0..1000).find(|_| stream.write_all(&chunk).is_err());
        assert!(written.is_some(), "{path}: 32 MB were taken");
        // The answer may be lost with the connection, since the relay does not read on.
        let mut answer = [0; 12];
        if stream.read_exact(&mut answer).is_ok() {
            assert_eq!(answer[9..], *status.to_string().as_bytes(), "{path}");
        }
    }
    assert_eq!(relay.get("/healthz").status, 200);
    assert!(relay.running.rss_kb() < 150_000);
}

#[test]
fn requests_whose_answers_are_not_read_are_not_answered_without_limit() {
    let relay = HttpRelay::with_camera("yard", &[]);
    let before = relay.running.rss_kb();
    let request = b"GET /metrics HTTP/1.1\r\nhost: nas\r\n\r\n".repeat(1000);
    let clients: Vec<_> = (0..32)
        .map(|_| {
            let mut stream = TcpStream::connect(relay.http).unwrap();
            stream.set_nonblocking(true).unwrap();
            while stream.write_all(&request).is_ok() {}
            stream
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(relay.get("/healthz").status, 200);
    }
    let each = relay.running.rss_kb().saturating_sub(before) / 32;
    assert!(each < 128, "{each} kB a client");
    drop(clients);
}

#[test]
fn a_request_that_does_not_name_one_host_of_the_relay_is_refused() {
    let relay = HttpRelay::start(&[]);
    let status = |request: &str| {
        let answer = exchange(relay.http, request.as_bytes()).unwrap();
        (
            answer.status,
            answer.header("x-frame-options").map(str::to_owned),
        )
    };
    for (request, expected) in [
        ("GET /api/cameras HTTP/1.0\r\n\r\n", 200),
        (
            "GET /api/cameras HTTP/1.0\r\nhost: evil.example\r\n\r\n",
            421,
        ),
        ("GET /api/cameras HTTP/1.1\r\n\r\n", 400),
        (
            "GET /api/cameras HTTP/1.1\r\nhost: nas\r\nhost: evil.example\r\n\r\n",
            400,
        ),
        (
            "GET http://evil.example/api/cameras HTTP/1.1\r\nhost: nas\r\n\r\n",
            421,
        ),
        (
            "GET http://nas@evil.example/ HTTP/1.1\r\nhost: nas\r\n\r\n",
            421,
        ),
        (
            "GET http://nas/api/cameras HTTP/1.1\r\nhost: nas\r\n\r\n",
            200,
        ),
        ("HEAD / HTTP/1.1\r\nhost: nas\r\n\r\n", 200),
        ("GET /nothing HTTP/1.1\r\nhost: nas\r\n\r\n", 404),
    ] {
        let expected = (expected, Some("SAMEORIGIN".to_owned()));
        assert_eq!(status(request), expected, "{request}");
    }
    let page = relay.get("/");
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("frame-ancestors 'self'"), "{policy}");
}

#[test]
fn the_head_of_a_stream_makes_no_viewer() {
    let mut relay = HttpRelay::with_camera("yard", &[]);
    for path in ["/stream", "/cam/yard/stream.mjpg", "/cam/yard/detections"] {
        let mut head = relay.request("HEAD", path, &[("connection", "close")]);
        assert_eq!(head.status, 200, "{path}");
        let mut rest = Vec::new();
        head.rest.read_to_end(&mut rest).unwrap();
        assert!(rest.is_empty(), "{path}");
    }
    relay.send_frame("yard", 0);
    let metrics = relay.get("/metrics").body();
    assert!(
        metrics.contains("sightline_viewers{transport=\"http\"} 0"),
        "{metrics}"
    );
}

#[test]
fn clients_that_request_metrics_all_the_time_delay_no_frame() {
    let mut relay = HttpRelay::with_camera("yard", &[]);
    let viewer = UdpSocket::bind("127.0.0.1:0").unwrap();
    viewer.connect(relay.running.listening()).unwrap();
    viewer.set_read_timeout(Some(SOON)).unwrap();
    viewer.send(b"Request").unwrap();
    let (http, answers) = (relay.http, Arc::<AtomicUsize>::default());
    let counted = answers.clone();
    let start = Instant::now();
    let flood = thread::spawn(move || flood(http, 64, &counted));
    let deadline = Instant::now() + SOON;
    while answers.load(Ordering::Relaxed) < 100 {
        assert!(Instant::now() < deadline);
        thread::sleep(MS);
    }
    let mut buffer = vec![0; 70_000];
    let mut delays: Vec<_> = (0..100)
        .map(|_| {
            thread::sleep(5 * MS);
            let start = Instant::now();
            relay.send_frame("yard", 0);
            let length = viewer.recv(&mut buffer).unwrap();
            assert_eq!(seq(&buffer[..length]), relay.seq, "none is lost");
            start.elapsed()
        })
        .collect();
    let got_in = Instant::now();
    assert_eq!(relay.get("/healthz").status, 200);
    assert!(got_in.elapsed() < SOON, "a client more has its turn");
    // Both figures were taken of a flood that goes on.
    let (answered, took) = (answers.load(Ordering::Relaxed), start.elapsed());
    let most = limits::HTTP_REQUEST_BURST + limits::HTTP_REQUEST_RATE * took.as_secs_f64();
    assert!(answered as f64 <= most, "{answered} answers in {took:?}");
    relay.stop();
    flood.join().unwrap();
    delays.sort();
    assert!(delays[75] < 20 * MS, "{answers:?} answers, {delays:?}");
}

/// Requests metrics on so many connections as fast as they are answered, until the relay ends.
fn flood(at: SocketAddr, connections: usize, answers: &AtomicUsize) {
    let connect = || {
        let stream = TcpStream::connect(at).unwrap();
        stream.set_nonblocking(true).unwrap();
        stream
    };
    let mut streams: Vec<_> = (0..connections).map(|_| connect()).collect();
    let mut buffer = vec![0; 1 << 16];
    while !streams.is_empty() {
        streams.retain_mut(|stream| {
            let _ = stream.write(b"GET /metrics HTTP/1.1\r\nhost: nas\r\n\r\n");
            loop {
                match stream.read(&mut buffer) {
                    Ok(0) => return false,
                    Ok(length) => {
                        let text = String::from_utf8_lossy(&buffer[..length]);
                        let count = text.matches("HTTP/1.1 200").count();
                        answers.fetch_add(count, Ordering::Relaxed);
                    }
                    Err(err) => return err.kind() == ErrorKind::WouldBlock,
                }
            }
        });
        thread::sleep(MS);
    }
}

/// Returns requests with hostile names, methods, heads and versions.
fn hostile_requests() -> Vec<Vec<u8>> {
    let mut requests: Vec<_> = malformed_requests().map(String::into_bytes).into();
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
            requests.push(format!("GET /cam/{name}/{what} HTTP/1.1\r\nhost: nas\r\n\r\n").into());
        }
    }
    for method in [
        "POST", "PUT", "DELETE", "TRACE", "CONNECT", "PATCH", "BREW", "get",
    ] {
        requests.push(format!("{method} /stream HTTP/1.1\r\nhost: nas\r\n\r\n").into());
    }
    requests
}

fn malformed_requests() -> [String; 17] {
    let long = "a".repeat(100_000);
    let headers: String = (0..500).map(|n| format!("x-{n}: y\r\n")).collect();
    [
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
    ]
}
