//! The UDP transport: one datagram a frame to the address to which the relay's name resolves now.
//!
//! No error here ends anything: networks fail and recover. A change is logged once, and a frame that cannot leave now is
//! skipped, never kept for later.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use platform::udp;
use protocol::SMALL_FRAME;
use protocol::control::Control;
use protocol::datagram::{Datagram, classify};
use protocol::quic::Refusal;
use tokio::sync::watch;
use tracing::{debug, info, warn};

use super::refusal::RefusalNotice;
use super::relay_proof::{Offer, RelayProof};

/// Time without an ICMP refusal after which a relay listens: a host sends about one refusal a second.
const RECOVERED_AFTER: Duration = Duration::from_secs(3);

/// Large frames before the warning about them. A relay of ours has answered with `upgrade` long before so many frames,
/// and QUIC carries large frames well.
const LARGE_FRAMES_BEFORE_WARNING: u32 = 30;

/// Sends frames as datagrams.
#[derive(Debug)]
pub(crate) struct UdpSender {
    address: watch::Receiver<Option<SocketAddr>>,
    socket: Option<(SocketAddr, UdpSocket)>,
    failure: Option<Failure>,
    /// Decides when the relay has shown that it takes QUIC; `None` if QUIC is not wanted.
    proof: Option<RelayProof>,
    /// Why the relay drops the frames, by its last message.
    refusal: RefusalNotice,
    /// Count of large frames that left.
    large: u32,
}

/// The failure to send that was logged last, and when it last occurred.
#[derive(Debug)]
struct Failure {
    kind: ErrorKind,
    seen: Instant,
}

impl UdpSender {
    /// Returns a sender that follows an address, and probes the relay there for QUIC with messages that hold this nonce.
    pub(crate) fn new(address: watch::Receiver<Option<SocketAddr>>, nonce: Option<u64>) -> Self {
        Self {
            address,
            socket: None,
            failure: None,
            proof: nonce.map(RelayProof::new),
            refusal: RefusalNotice::default(),
            large: 0,
        }
    }

    /// Returns the proof of this sender's address once the relay has shown that it takes QUIC; each offer once.
    pub(crate) fn take_offer(&mut self) -> Option<Offer> {
        self.proof.as_mut()?.take_offer()
    }

    /// Returns why the relay drops the frames, if it has sent a refusal lately.
    pub(crate) fn refusal(&self, now: Instant) -> Option<Refusal> {
        self.refusal.current(now)
    }

    /// Reads what the relay has sent, and answers it. A slow camera would otherwise learn of it with its next frame.
    pub(crate) fn poll(&mut self, now: Instant) {
        if let Some((peer, socket)) = self.socket.take() {
            let outcome = self.read_messages(&socket, now);
            self.socket = Some((peer, socket));
            if outcome == Outcome::PortClosed {
                self.on_failure(peer, &ErrorKind::ConnectionRefused.into(), now);
            }
        }
    }

    /// Sends a frame; false if it could not leave.
    pub(crate) fn send(&mut self, frame: &[u8], now: Instant) -> bool {
        let Some(peer) = *self.address.borrow() else {
            return false;
        };
        self.count_large(frame.len());
        let sent = self
            .connect(peer)
            .and_then(|()| self.send_to_peer(frame, now));
        match sent {
            Ok(Outcome::Sent) => self.on_success(peer, now),
            Ok(Outcome::PortClosed) => {
                self.on_failure(peer, &ErrorKind::ConnectionRefused.into(), now)
            }
            // The send buffer is full: this network is slow, not broken.
            Err(ref err) if err.kind() == ErrorKind::WouldBlock => {
                debug!("the send buffer is full")
            }
            Err(ref err) => {
                // The next socket takes the addresses that this computer has by then.
                self.socket = None;
                self.on_failure(peer, err, now);
            }
        }
        sent.is_ok()
    }

    fn count_large(&mut self, bytes: usize) {
        self.large = self.large.saturating_add(u32::from(bytes > SMALL_FRAME));
        if bytes > SMALL_FRAME && self.large == LARGE_FRAMES_BEFORE_WARNING {
            warn!(
                bytes,
                "frames above 15 kB in single datagrams often get lost on a lossy path such as Wi-Fi; a lower --quality or --size helps"
            );
        }
    }

    /// Connects the socket to `peer`, from the same local port if possible, which keeps a router's mapping.
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

    fn send_to_peer(&mut self, frame: &[u8], now: Instant) -> io::Result<Outcome> {
        let Some((peer, socket)) = self.socket.take() else {
            return Err(ErrorKind::NotConnected.into());
        };
        let outcome = self.read_messages(&socket, now);
        let sent = match socket.send(frame) {
            // The refusal is the answer to an earlier frame; this one has not left yet.
            Err(err) if err.kind() == ErrorKind::ConnectionRefused => {
                socket.send(frame).map(|_| Outcome::PortClosed)
            }
            sent => sent.map(|_| outcome),
        };
        self.socket = Some((peer, socket));
        sent
    }

    /// Reads what the relay has sent, and probes it if it offers QUIC.
    fn read_messages(&mut self, socket: &UdpSocket, now: Instant) -> Outcome {
        let outcome = drain(socket, |control| match control {
            Control::Refused(refusal) => self.refusal.on_refused(refusal, now),
            control => {
                if let Some(proof) = &mut self.proof {
                    proof.on_control(control);
                }
            }
        });
        if let Some(probe) = self.proof.as_mut().and_then(|proof| proof.poll(now)) {
            // It is sent again after the relay's next `upgrade`.
            let _ = socket.send(&probe.write());
        }
        outcome
    }

    fn on_success(&mut self, peer: SocketAddr, now: Instant) {
        let over = |failure: &mut Failure| {
            failure.kind != ErrorKind::ConnectionRefused || now - failure.seen > RECOVERED_AFTER
        };
        if self.failure.take_if(over).is_some() {
            info!(relay = %peer, "frames reach the relay's address again");
        }
    }

    fn on_failure(&mut self, peer: SocketAddr, err: &io::Error, now: Instant) {
        let kind = err.kind();
        let known = self
            .failure
            .as_ref()
            .is_some_and(|failure| failure.kind == kind);
        self.failure = Some(Failure { kind, seen: now });
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

/// What is known of the relay's address after a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// No failure.
    Sent,
    /// Its host refused a datagram: no program listens there.
    PortClosed,
}

/// Reads what the relay sends, so that it does not pile up. A tutorial relay sends nothing to its sender.
fn drain(socket: &UdpSocket, mut on_control: impl FnMut(Control)) -> Outcome {
    let mut outcome = Outcome::Sent;
    let mut buffer = [0; 512];
    for _ in 0..64 {
        match socket.recv(&mut buffer) {
            Ok(length) => {
                if let Ok(Datagram::Control(control)) = classify(buffer[..length].to_vec()) {
                    on_control(control);
                }
            }
            Err(err) if err.kind() == ErrorKind::ConnectionRefused => {
                outcome = Outcome::PortClosed;
            }
            Err(_) => break,
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use protocol::control::{LeaseVerdict, Question};
    use protocol::peer::Cookie;

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
        let (_set_address, address) = watch::channel(None);
        assert!(!UdpSender::new(address, None).send(b"frame", Instant::now()));
    }

    #[test]
    fn the_link_follows_the_relays_address_from_the_same_port() {
        let ((first, at_first), (second, at_second)) = (relay(), relay());
        let (set_address, address) = watch::channel(Some(at_first));
        let mut sender = UdpSender::new(address, None);
        assert!(sender.send(b"one", Instant::now()));
        let (_, from) = received(&first);
        set_address.send(Some(at_second)).unwrap();
        assert!(sender.send(b"two", Instant::now()));
        assert_eq!(received(&second), (b"two".to_vec(), from));
    }

    #[test]
    fn a_refusal_belongs_to_an_earlier_frame_and_costs_none() {
        let (relay, at) = relay();
        drop(relay);
        let (_set_address, address) = watch::channel(Some(at));
        let mut sender = UdpSender::new(address, None);
        let now = Instant::now();
        assert!(sender.send(b"no relay", now) && sender.send(b"not yet", now));
        assert!(sender.failure.is_some());
        let relay = UdpSocket::bind(at).unwrap();
        relay
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        assert!(sender.send(b"a relay", now));
        assert_eq!(received(&relay).0, b"a relay");
        assert!(sender.send(b"still there", now + 2 * RECOVERED_AFTER));
        assert!(sender.failure.is_none());
    }

    #[test]
    fn what_the_relay_sends_does_not_pile_up() {
        let (relay, at) = relay();
        let (_set_address, address) = watch::channel(Some(at));
        let mut sender = UdpSender::new(address, None);
        sender.send(b"frame", Instant::now());
        let (_, from) = received(&relay);
        for _ in 0..10 {
            relay.send_to(b"upgrade", from).unwrap();
        }
        assert!(sender.send(b"frame", Instant::now()));
        let (_, socket) = sender.socket.as_ref().unwrap();
        assert_eq!(
            socket.recv(&mut [0; 16]).unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
    }

    #[test]
    fn an_offer_counts_when_the_relay_has_answered_this_senders_own_probe() {
        let (relay, at) = relay();
        let (_set_address, address) = watch::channel(Some(at));
        let mut sender = UdpSender::new(address, Some(7));
        let frame = Control::Refused(Refusal::Taken).write();
        let now = Instant::now();
        sender.send(&frame, now);
        let (_, from) = received(&relay);
        relay.send_to(&Control::Upgrade.write(), from).unwrap();
        let mut buffer = [0; 1000];
        let question = (0..1000).find_map(|_| {
            sender.send(&frame, now);
            let length = relay.recv(&mut buffer).unwrap();
            match classify(buffer[..length].to_vec()) {
                Ok(Datagram::Control(Control::Probe(question))) => Some(question),
                _ => None,
            }
        });
        assert_eq!(question, Some(Question::new(7, None)));
        assert_eq!(
            sender.take_offer(),
            None,
            "an `upgrade` alone proves nothing"
        );
        let accept = |nonce, cookie| Control::Accept {
            nonce,
            verdict: LeaseVerdict::Full,
            cookie: Some(Cookie(cookie)),
        };
        for answer in [accept(8, 1), accept(7, 2)] {
            relay.send_to(&answer.write(), from).unwrap();
        }
        let offer = (0..1000).find_map(|_| {
            sender.send(&frame, now);
            sender.take_offer()
        });
        assert_eq!(offer.map(|offer| offer.cookie), Some(Some(Cookie(2))));
        assert_eq!(sender.take_offer(), None);
    }

    #[test]
    fn why_the_relay_drops_the_frames_is_known() {
        let (relay, at) = relay();
        let (_set_address, address) = watch::channel(Some(at));
        let mut sender = UdpSender::new(address, None);
        let now = Instant::now();
        sender.send(b"frame", now);
        let (_, from) = received(&relay);
        let refused = Control::Refused(Refusal::Taken).write();
        relay.send_to(&refused, from).unwrap();
        let known = (0..1000).any(|_| {
            // Between two frames: the next one of a slow camera may be seconds away.
            sender.poll(now);
            sender.refusal(now) == Some(Refusal::Taken)
        });
        assert!(known);
    }
}
