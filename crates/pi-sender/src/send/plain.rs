//! The plain way: one datagram a frame to wherever the relay's name points now.
//!
//! The network is weather. No error here ends anything; what changes is said once, and a frame that cannot leave now is
//! skipped, never kept for later.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use platform::udp;
use protocol::SMALL_FRAME;
use protocol::control::Control;
use protocol::datagram::{Datagram, classify};
use tokio::sync::watch;
use tracing::{debug, info, warn};

/// Refusals come as ICMP messages, of which a host sends about one a second: so long without one means that somebody
/// listens.
const HEARD: Duration = Duration::from_secs(3);

/// A relay of ours has opened its native door, which has no such trouble, long before so many frames have left.
const LONG: u32 = 30;

/// The way to the relay.
#[derive(Debug)]
pub(crate) struct Link {
    address: watch::Receiver<Option<SocketAddr>>,
    socket: Option<(SocketAddr, UdpSocket)>,
    trouble: Option<Trouble>,
    upgrade: bool,
    /// Large frames that left.
    large: u32,
}

/// What keeps frames from the relay, as it was logged, and when it last showed.
#[derive(Debug)]
struct Trouble {
    kind: ErrorKind,
    seen: Instant,
}

impl Link {
    /// A link that follows an address.
    pub(crate) fn new(address: watch::Receiver<Option<SocketAddr>>) -> Self {
        Self {
            address,
            socket: None,
            trouble: None,
            upgrade: false,
            large: 0,
        }
    }

    /// Whether the relay has said since the last time that its native door is open to us.
    pub(crate) fn take_upgrade(&mut self) -> bool {
        std::mem::take(&mut self.upgrade)
    }

    /// Sends a frame; false where it could not leave.
    pub(crate) fn send(&mut self, frame: &[u8], now: Instant) -> bool {
        let Some(peer) = *self.address.borrow() else {
            return false;
        };
        self.count_large(frame.len());
        let sent = self.connect(peer).and_then(|()| self.send_to_peer(frame));
        match sent {
            Ok(heard @ (Heard::Nothing | Heard::Upgrade)) => {
                self.upgrade |= heard == Heard::Upgrade;
                self.well(peer, now);
            }
            Ok(Heard::Refusal) => self.ill(peer, &ErrorKind::ConnectionRefused.into(), now),
            // The send buffer is full: this network is slow, not broken.
            Err(ref err) if err.kind() == ErrorKind::WouldBlock => {
                debug!("the send buffer is full")
            }
            Err(ref err) => {
                // The next socket takes the addresses that this computer has by then.
                self.socket = None;
                self.ill(peer, err, now);
            }
        }
        sent.is_ok()
    }

    fn count_large(&mut self, bytes: usize) {
        self.large = self.large.saturating_add(u32::from(bytes > SMALL_FRAME));
        if bytes > SMALL_FRAME && self.large == LONG {
            warn!(
                bytes,
                "frames above 15 kB in single datagrams often get lost on a lossy path such as Wi-Fi; a lower --quality or --size helps"
            );
        }
    }

    /// Makes sure that the socket is connected to `peer`; from the same port if it can be, which keeps a router's mapping.
    fn connect(&mut self, peer: SocketAddr) -> io::Result<()> {
        let port = match &self.socket {
            Some((at, _)) if *at == peer => return Ok(()),
            Some((at, socket)) => {
                info!(from = %at, to = %peer, "the relay's address changed");
                Some(socket.local_addr()?.port())
            }
            None => None,
        };
        self.socket = None;
        self.socket = Some((peer, udp::connected(peer, port)?));
        Ok(())
    }

    fn send_to_peer(&self, frame: &[u8]) -> io::Result<Heard> {
        let Some((_, socket)) = &self.socket else {
            return Err(ErrorKind::NotConnected.into());
        };
        let heard = drain(socket);
        match socket.send(frame) {
            // The refusal is the answer to an earlier frame; this one has not left yet.
            Err(err) if err.kind() == ErrorKind::ConnectionRefused => {
                socket.send(frame)?;
                Ok(Heard::Refusal)
            }
            sent => sent.map(|_| heard),
        }
    }

    fn well(&mut self, peer: SocketAddr, now: Instant) {
        let over = |trouble: &mut Trouble| {
            trouble.kind != ErrorKind::ConnectionRefused || now - trouble.seen > HEARD
        };
        if self.trouble.take_if(over).is_some() {
            info!(relay = %peer, "frames reach the relay's address again");
        }
    }

    fn ill(&mut self, peer: SocketAddr, err: &io::Error, now: Instant) {
        let kind = err.kind();
        let known = self
            .trouble
            .as_ref()
            .is_some_and(|trouble| trouble.kind == kind);
        self.trouble = Some(Trouble { kind, seen: now });
        if known {
            return;
        }
        if kind == ErrorKind::ConnectionRefused {
            warn!(relay = %peer, "no relay listens there (yet); frames are sent on");
        } else {
            warn!(relay = %peer, %err, "frames cannot leave; they are skipped until they can");
        }
    }
}

/// What came from the relay's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    Nothing,
    Refusal,
    Upgrade,
}

/// Reads what the relay sends, so that it does not pile up. A tutorial relay sends nothing to its sender.
fn drain(socket: &UdpSocket) -> Heard {
    let mut heard = Heard::Nothing;
    let mut buffer = [0; 512];
    for _ in 0..64 {
        match socket.recv(&mut buffer) {
            Ok(length) => {
                if classify(buffer[..length].to_vec()) == Ok(Datagram::Control(Control::Upgrade)) {
                    heard = Heard::Upgrade;
                }
            }
            Err(err) if err.kind() == ErrorKind::ConnectionRefused => heard = Heard::Refusal,
            Err(_) => break,
        }
    }
    heard
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relay() -> (UdpSocket, SocketAddr) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let addr = socket.local_addr().unwrap();
        (socket, addr)
    }

    fn received(relay: &UdpSocket) -> (Vec<u8>, SocketAddr) {
        let mut buffer = [0; 100];
        let (len, from) = relay.recv_from(&mut buffer).unwrap();
        (buffer[..len].to_vec(), from)
    }

    #[test]
    fn without_an_address_frames_are_skipped() {
        let (_tell, address) = watch::channel(None);
        assert!(!Link::new(address).send(b"frame", Instant::now()));
    }

    #[test]
    fn the_link_follows_the_relays_address_from_the_same_port() {
        let ((first, at_first), (second, at_second)) = (relay(), relay());
        let (tell, address) = watch::channel(Some(at_first));
        let mut link = Link::new(address);
        assert!(link.send(b"one", Instant::now()));
        let (_, from) = received(&first);
        tell.send(Some(at_second)).unwrap();
        assert!(link.send(b"two", Instant::now()));
        assert_eq!(received(&second), (b"two".to_vec(), from));
    }

    #[test]
    fn a_refusal_belongs_to_an_earlier_frame_and_costs_none() {
        let (relay, at) = relay();
        drop(relay);
        let (_tell, address) = watch::channel(Some(at));
        let mut link = Link::new(address);
        let now = Instant::now();
        assert!(link.send(b"nobody listens", now) && link.send(b"nobody yet", now));
        assert!(link.trouble.is_some());
        let relay = UdpSocket::bind(at).unwrap();
        relay
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        assert!(link.send(b"somebody", now));
        assert_eq!(received(&relay).0, b"somebody");
        assert!(link.send(b"still there", now + 2 * HEARD));
        assert!(link.trouble.is_none());
    }

    #[test]
    fn what_the_relay_sends_does_not_pile_up() {
        let (relay, at) = relay();
        let (_tell, address) = watch::channel(Some(at));
        let mut link = Link::new(address);
        link.send(b"frame", Instant::now());
        let (_, from) = received(&relay);
        for _ in 0..10 {
            relay.send_to(b"upgrade", from).unwrap();
        }
        assert!(link.send(b"frame", Instant::now()));
        assert!(!link.take_upgrade(), "whatever that was");
        let (_, socket) = link.socket.as_ref().unwrap();
        assert_eq!(
            socket.recv(&mut [0; 16]).unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
    }

    #[test]
    fn an_upgrade_is_heard_once() {
        let (relay, at) = relay();
        let (_tell, address) = watch::channel(Some(at));
        let mut link = Link::new(address);
        link.send(b"frame", Instant::now());
        let (_, from) = received(&relay);
        relay.send_to(&Control::Upgrade.write(), from).unwrap();
        let heard = (0..100).any(|_| {
            link.send(b"frame", Instant::now());
            link.take_upgrade()
        });
        assert!(heard && !link.take_upgrade());
    }
}
