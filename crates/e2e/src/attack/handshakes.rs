//! Floods of connections.

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use protocol::quic::Role;
use quic::client::Client;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::datagrams::pick;
use super::host::{self, HOSTS};
use super::pace::steadily;
use super::{Tally, Target};

/// Handshakes that are under way at a time.
const AT_A_TIME: usize = 32;
/// Longest wait for a handshake.
const PATIENCE: Duration = Duration::from_secs(2);
/// A camera that is not there, so that its viewers cost the relay no frames.
const NO_CAMERA: &str = "nowhere";
/// Time from the end of an idle connection to the next.
const AWAY: Duration = Duration::from_secs(1);
const HALF_A_REQUEST: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: nas\r\n";

/// Sends first packets of QUIC that are never followed by anything, and completes handshakes and leaves.
pub(super) async fn storm(target: Target, tally: Arc<Tally>) {
    let Some(initial) = first_packet().await else {
        return;
    };
    let sockets = host::sockets(1, target.relay);
    let initials = steadily(2_000, |n| {
        let _ = pick(&sockets, n).send_to(&initial, target.relay);
    });
    let room = Arc::new(Semaphore::new(AT_A_TIME));
    let whole = steadily(200, |n| {
        let Ok(permit) = room.clone().try_acquire_owned() else {
            return;
        };
        let (tally, relay) = (tally.clone(), target.relay);
        tokio::spawn(async move {
            let opening = host::open(n as usize, relay, Role::View, NO_CAMERA);
            let opened = timeout(PATIENCE, opening).await;
            tally.outcome(matches!(opened, Ok(Ok(_))));
            drop(permit);
        });
    });
    tokio::join!(initials, whole);
}

/// Returns the first packet of a client of ours.
async fn first_packet() -> Option<Vec<u8>> {
    let recorder = UdpSocket::bind("127.0.0.1:0").ok()?;
    recorder.set_nonblocking(true).ok()?;
    let at = recorder.local_addr().ok()?;
    let opening = tokio::spawn(async move { Client::new(at, None).ok()?.connect(at).await.ok() });
    let mut packet = vec![0; 2000];
    let length = loop {
        match recorder.recv(&mut packet) {
            Ok(length) => break length,
            Err(_) => sleep(Duration::from_millis(1)).await,
        }
    };
    opening.abort();
    packet.truncate(length);
    Some(packet)
}

/// Holds more connections open than the relay has slots, and opens each again when it ends.
pub(super) fn idle(target: &Target, tally: &Arc<Tally>) {
    let [quic, http] = [(); 2].map(|()| Arc::new(Semaphore::new(AT_A_TIME)));
    for n in 0..5 * HOSTS {
        let peer = (target.clone(), tally.clone(), quic.clone());
        tokio::spawn(idle_by_quic(n, peer));
    }
    for n in 0..4 * HOSTS {
        let peer = (target.clone(), tally.clone(), http.clone());
        tokio::spawn(idle_by_http(n, peer));
    }
}

type Peer = (Target, Arc<Tally>, Arc<Semaphore>);

async fn idle_by_quic(n: usize, (target, tally, arriving): Peer) {
    loop {
        let permit = arriving.acquire().await;
        let opened = host::open(n, target.relay, Role::View, NO_CAMERA).await;
        drop(permit);
        tally.outcome(opened.is_ok());
        if let Ok(session) = opened {
            session.connection.closed().await;
        }
        sleep(AWAY).await;
    }
}

async fn idle_by_http(n: usize, (target, tally, arriving): Peer) {
    loop {
        let permit = arriving.acquire().await;
        let opened = connect(n, &target).await;
        drop(permit);
        tally.outcome(opened.is_some());
        if let Some(mut stream) = opened {
            let _ = stream.write_all(HALF_A_REQUEST).await;
            while matches!(stream.read(&mut [0; 1024]).await, Ok(1..)) {}
        }
        sleep(AWAY).await;
    }
}

/// Opens a TCP connection of a host.
pub(super) async fn connect(host: usize, target: &Target) -> Option<TcpStream> {
    let socket = match target.http.is_ipv6() {
        true => TcpSocket::new_v6().ok()?,
        false => TcpSocket::new_v4().ok()?,
    };
    let address = host::address(host, target.http);
    socket.bind((address, 0).into()).ok()?;
    socket.connect(target.http).await.ok()
}
