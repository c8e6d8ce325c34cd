//! Hostile HTTP clients: malformed requests, half-open and idle connections, and too many of them.

mod common {
    pub(crate) mod http;
    pub(crate) mod process;
}

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Instant;

use common::http::{HttpRelay, exchange};
use common::process::SOON;

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
