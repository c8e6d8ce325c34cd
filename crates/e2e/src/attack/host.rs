//! The attacker's hosts: addresses of this machine, their sockets, and QUIC peers on them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use protocol::quic::{Hello, Role, to_line};
use quic::client::{Client, ConnectFailure, Session};
use quinn::{Connection, RecvStream, SendStream};

/// Number of the attacker's hosts.
pub(crate) const HOSTS: usize = 256;

/// Addresses that the attacker uses in each of its IPv6 networks: all of a /64 are one host to the relay.
const ADDRESSES_OF_A_NETWORK: usize = 5;

/// Returns the address with this number, of the relay's family. By IPv4, 127.0.0.2 to 127.0.1.1 are the hosts. By IPv6,
/// fd00:0:0:1::/64 to fd00:0:0:100::/64 are, and numbers from [`HOSTS`] on are further addresses of theirs; this machine has
/// them once [`ipv6_addresses`] were added to it.
pub(crate) fn address(number: usize, relay: SocketAddr) -> IpAddr {
    if relay.is_ipv6() {
        return ipv6_address(number).into();
    }
    let [high, low] = (2 + (number % HOSTS) as u16).to_be_bytes();
    Ipv4Addr::new(127, 0, high, low).into()
}

fn ipv6_address(number: usize) -> Ipv6Addr {
    let network = 1 + (number % HOSTS) as u16;
    let interface = 1 + (number / HOSTS % ADDRESSES_OF_A_NETWORK) as u16;
    Ipv6Addr::new(0xfd00, 0, 0, network, 0, 0, 0, interface)
}

/// Returns all addresses from which a relay is attacked by IPv6.
pub fn ipv6_addresses() -> impl Iterator<Item = Ipv6Addr> {
    (0..HOSTS * ADDRESSES_OF_A_NETWORK).map(ipv6_address)
}

/// Returns a socket on this address and any port.
pub(crate) fn socket(number: usize, relay: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((address(number, relay), 0))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Returns sockets of all hosts, some of each.
pub(crate) fn sockets(of_each: usize, relay: SocketAddr) -> Vec<UdpSocket> {
    let all = (0..of_each * HOSTS).filter_map(|n| socket(n, relay).ok());
    all.collect()
}

/// Returns a QUIC client on this address.
pub(crate) fn client(number: usize, relay: SocketAddr) -> io::Result<Client> {
    Client::bound(socket(number, relay)?, None)
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
    client(host, relay)?.open(relay, &hello(role, camera)).await
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
        let connection = client(host, relay).ok()?.connect(relay).await.ok()?;
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use protocol::peer::Host;

    use super::*;

    #[test]
    fn the_attacker_has_256_hosts_by_each_family() {
        for relay in ["127.0.0.1:8081", "[::1]:8081"] {
            let relay: SocketAddr = relay.parse().unwrap();
            let hosts = |numbers: usize| {
                let hosts = (0..numbers).map(|n| Host::from(address(n, relay)).to_string());
                hosts.collect::<BTreeSet<_>>().len()
            };
            assert_eq!((hosts(HOSTS), hosts(9 * HOSTS)), (HOSTS, HOSTS), "{relay}");
        }
        let addresses: BTreeSet<_> = ipv6_addresses().collect();
        assert_eq!(addresses.len(), HOSTS * ADDRESSES_OF_A_NETWORK);
    }
}
