//! The HTTP server's slots when there are more connections than slots: which host gets one and which gives one up.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

mod common {
    pub(crate) mod http;
    pub(crate) mod process;
}

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use common::http::HttpRelay;
use common::process::SOON;
use socket2::{Domain, Socket, Type};

const SLOTS: usize = 512;

/// A client of its own host: all of 127.0.0.0/8 is this machine.
struct Client(TcpStream);

impl Client {
    fn connect(relay: &HttpRelay, host: u8) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let from = SocketAddr::from(([127, 0, 0, host], 0));
        socket.bind(&from.into()).unwrap();
        socket.connect(&relay.http.into()).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        Self(socket.into())
    }

    /// Requests the state of the relay; returns whether an answer came, and leaves the connection open.
    fn is_served(&mut self, headers: &str) -> bool {
        let request = format!("GET /healthz HTTP/1.1\r\nhost: nas\r\n{headers}\r\n");
        let mut answer = vec![0; 4096];
        let sent = self.0.write_all(request.as_bytes());
        let read = sent.and_then(|()| self.0.read(&mut answer));
        read.is_ok_and(|length| answer[..length].starts_with(b"HTTP/1.1 200"))
    }

    /// Reads what the relay still sends until it closes the connection.
    fn is_closed(&mut self) -> bool {
        let deadline = Instant::now() + SOON;
        let mut rest = [0; 4096];
        while Instant::now() < deadline {
            match self.0.read(&mut rest) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(err) => return err.kind() == std::io::ErrorKind::ConnectionReset,
            }
        }
        false
    }
}

fn clients(relay: &HttpRelay, count: usize, headers: &str) -> Vec<Client> {
    (0..count)
        .map(|n| {
            let mut client = Client::connect(relay, 1);
            assert!(client.is_served(headers), "client {n}");
            client
        })
        .collect()
}

#[test]
fn a_newcomer_gets_the_youngest_slot_of_the_host_that_holds_most_and_that_ends_streams_too() {
    let mut relay = HttpRelay::with_camera("yard", &[]);
    let mut greedy = clients(&relay, SLOTS - 2, "");
    let mut stream = relay.stream("/stream");
    stream.boundary();
    stream.seq();
    let socket = relay.socket("/cam/yard/ws");
    assert!(
        !Client::connect(&relay, 1).is_served(""),
        "it holds all of them"
    );
    let mut newcomers = [2, 3].map(|host| {
        let mut client = Client::connect(&relay, host);
        assert!(client.is_served(""), "host {host}");
        client
    });
    assert!(Client(socket.into_inner()).is_closed(), "the WebSocket");
    assert!(Client(stream.0.rest.into_inner()).is_closed(), "the stream");
    assert!(greedy[SLOTS - 3].is_served(""), "the others stay");
    newcomers
        .iter_mut()
        .for_each(|client| assert!(client.is_served("")));
    relay.send_frame("yard", 0);
    drop(greedy);
    let deadline = Instant::now() + SOON;
    while !Client::connect(&relay, 1).is_served("") {
        assert!(Instant::now() < deadline, "slots are free again");
    }
    relay.stop();
}

#[test]
fn behind_a_trusted_proxy_the_client_that_holds_most_gives_way_and_not_the_proxy() {
    let relay = HttpRelay::start(&["--http-trust-proxy", "127.0.0.1"]);
    let mut honest = Client::connect(&relay, 1);
    assert!(honest.is_served("x-forwarded-for: 198.51.100.7\r\n"));
    let mut greedy = clients(&relay, SLOTS - 1, "x-forwarded-for: 6.6.6.6, 192.0.2.1\r\n");
    let mut other = Client::connect(&relay, 1);
    assert!(other.is_served("forwarded: for=203.0.113.5\r\n"));
    assert!(greedy[SLOTS - 2].is_closed());
    assert!(honest.is_served("") && other.is_served(""));
    relay.stop();
}

#[test]
fn a_right_token_works_at_once_after_many_wrong_ones_from_the_same_address() {
    let relay = HttpRelay::start(&["--private"]);
    let line = relay.running.wait_for_line("viewer --server", SOON);
    let (_, token) = line.split_once("token=").unwrap();
    for _ in 0..50 {
        let wrong = relay.get(&format!("/api/cameras?token={}", "0".repeat(64)));
        assert_eq!(wrong.status, 401);
    }
    let right = relay.get(&format!("/api/cameras?token={}", &token[..64]));
    assert_eq!(right.status, 200);
    relay.stop();
}

#[test]
fn a_private_relay_keeps_slots_for_clients_with_a_token() {
    let relay = HttpRelay::start(&["--private"]);
    let line = relay.running.wait_for_line("viewer --server", SOON);
    let (_, token) = line.split_once("token=").unwrap();
    let mut with_token = Vec::new();
    let header = format!("authorization: Bearer {}\r\n", &token[..64]);
    // One connection each, so that the hosts' numbers decide nothing.
    let mut strangers: Vec<_> = (1..=250)
        .flat_map(|host| [host, host])
        .map(|host| Client::connect(&relay, host))
        .collect();
    for client in &mut strangers {
        client.is_served("");
    }
    // A client for which there is no slot has its answer, and then the connection ends.
    let stay = strangers
        .iter_mut()
        .filter_map(|client| client.is_served("").then_some(()));
    assert_eq!(stay.count(), SLOTS * 3 / 4);
    for host in 251..=254 {
        let mut client = Client::connect(&relay, host);
        let request = format!("GET /api/cameras HTTP/1.1\r\nhost: nas\r\n{header}\r\n");
        client.0.write_all(request.as_bytes()).unwrap();
        let mut answer = [0; 12];
        client.0.read_exact(&mut answer).unwrap();
        assert_eq!(answer, *b"HTTP/1.1 200", "host {host}");
        with_token.push(client);
    }
    relay.stop();
}
