//! The attacker's hosts: addresses of this machine, their sockets, and QUIC peers on them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use protocol::quic::{Hello, Role, to_line};
use quic::client::{Client, ConnectFailure, Session};
use quinn::{Connection, RecvStream, SendStream};

/// Number of the attacker's hosts.
pub(crate) const HOSTS: usize = 256;

/// Returns the address of a host: 127.0.0.2 to 127.0.1.1.
pub(crate) fn address(host: usize) -> Ipv4Addr {
    let [high, low] = (2 + (host % HOSTS) as u16).to_be_bytes();
    Ipv4Addr::new(127, 0, high, low)
}

/// Returns a socket of this host on any port.
pub(crate) fn socket(host: usize) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((address(host), 0))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Returns sockets of all hosts, some of each.
pub(crate) fn sockets(of_each: usize) -> Vec<UdpSocket> {
    let all = (0..of_each * HOSTS).filter_map(|n| socket(n).ok());
    all.collect()
}

/// Returns a QUIC client of this host.
pub(crate) fn client(host: usize) -> io::Result<Client> {
    Client::bound(socket(host)?, None)
}

/// Returns a hello without a proof.
pub(crate) fn hello(role: Role, camera: &str) -> Hello {
    Hello {
        role,
        camera: Some(camera.to_owned()),
        token: None,
        stream: (role == Role::Send).then(|| format!("{:016x}", 7)),
        cookie: None,
        trial: None,
        original: false,
    }
}

/// Opens a session of a host.
pub(crate) async fn open(
    host: usize,
    relay: SocketAddr,
    role: Role,
    camera: &str,
) -> Result<Session, ConnectFailure> {
    client(host)?.open(relay, &hello(role, camera)).await
}

/// A sender whose hello was accepted, with its control stream as it is.
pub(crate) struct RawSender {
    pub(crate) connection: Connection,
    pub(crate) control: SendStream,
    pub(crate) answers: RecvStream,
}

impl RawSender {
    /// Opens a connection of a host, as the sender of a camera.
    pub(crate) async fn open(host: usize, relay: SocketAddr, camera: &str) -> Option<Self> {
        let connection = client(host).ok()?.connect(relay).await.ok()?;
        let (mut control, answers) = connection.open_bi().await.ok()?;
        let hello = to_line(&hello(Role::Send, camera));
        control.write_all(&hello).await.ok()?;
        Some(Self {
            connection,
            control,
            answers,
        })
    }
}
