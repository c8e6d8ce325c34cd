//! The UDP transport: one datagram a frame to the relay's address, or to the next one of its name if nothing answers.
//!
//! No error here ends anything: networks fail and recover. A change is logged once, and a frame that cannot leave now is
//! skipped, never kept for later.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use platform::server::{Outcome as AddressOutcome, RelayAddress};
use platform::udp;
use protocol::SMALL_FRAME;
use protocol::control::Control;
use protocol::datagram::{Datagram, classify};
use protocol::quic::Refusal;
use tracing::{debug, info, warn};

use super::refusal::RefusalNotice;
use super::relay_proof::{Offer, RelayProof};
use super::silence::Silence;

/// Time without an ICMP refusal after which a relay listens: a host sends about one refusal a second.
const RECOVERED_AFTER: Duration = Duration::from_secs(3);

/// Large frames before the warning about them. A relay of ours has answered with `upgrade` long before so many frames,
/// and QUIC carries large frames well.
const LARGE_FRAMES_BEFORE_WARNING: u32 = 30;

/// Sends frames as datagrams.
#[derive(Debug)]
pub(crate) struct UdpSender {
    address: RelayAddress,
    silence: Silence,
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
    pub(crate) fn new(address: RelayAddress, nonce: Option<u64>) -> Self {
        Self {
            address,
            silence: Silence::default(),
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

    /// Notes that frames go by QUIC for now.
    pub(crate) fn pause(&mut self, now: Instant) {
        self.silence.pause();
        if let Some(proof) = &mut self.proof {
            proof.on_quic(now);
        }
    }

    /// Notes that frames go by HTTP for now, and sends a probe now and then, which finds out whether UDP leads to the relay
    /// again.
    pub(crate) fn probe_beside_http(&mut self, now: Instant) {
        self.silence.pause();
        if let Some(proof) = &mut self.proof {
            proof.on_http(now);
        }
        self.poll(now);
    }

    /// Reads what the relay has sent, and answers it. A slow camera would otherwise learn of it with its next frame.
    pub(crate) fn poll(&mut self, now: Instant) {
        if let Some((peer, socket)) = self.socket.take() {
            let outcome = self.read_messages(peer, &socket, now);
            self.socket = Some((peer, socket));
            if outcome == Outcome::PortClosed {
                self.on_failure(peer, &ErrorKind::ConnectionRefused.into(), now);
            }
        }
    }

    /// Sends a frame; false if it could not leave.
    pub(crate) fn send(&mut self, frame: &[u8], now: Instant) -> bool {
        self.count_large(frame.len());
        let mut tried = Vec::new();
        // An address without a route costs no frame while the name has another.
        while let Some(peer) = self.address.current().filter(|at| !tried.contains(at)) {
            if self.send_to(peer, frame, now) {
                return true;
            }
            tried.push(peer);
        }
        false
    }

    fn send_to(&mut self, peer: SocketAddr, frame: &[u8], now: Instant) -> bool {
        if let Err(err) = self.connect(peer) {
            self.address
                .report_at(peer, AddressOutcome::Unreachable, now);
            self.on_failure(peer, &err, now);
            return false;
        }
        let sent = self.send_to_peer(frame, now);
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
        if sent.is_ok() && self.silence.on_frame(now) {
            self.address
                .report_at(peer, AddressOutcome::Unconfirmed, now);
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
                debug!(from = %at, to = %peer, "frames go to another address");
                Some(socket.local_addr()?.port())
            }
            None => None,
        };
        self.socket = None;
        self.silence = Silence::default();
        self.socket = Some((peer, udp::connected(peer, port)?));
        Ok(())
    }

    fn send_to_peer(&mut self, frame: &[u8], now: Instant) -> io::Result<Outcome> {
        let Some((peer, socket)) = self.socket.take() else {
            return Err(ErrorKind::NotConnected.into());
        };
        let outcome = self.read_messages(peer, &socket, now);
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
    fn read_messages(&mut self, peer: SocketAddr, socket: &UdpSocket, now: Instant) -> Outcome {
        let outcome = drain(socket, |control| {
            self.silence.on_answer();
            self.address.report_at(peer, AddressOutcome::Answered, now);
            match control {
                Control::Refused(refusal) => self.refusal.on_refused(refusal, now),
                control => {
                    if let Some(proof) = &mut self.proof {
                        proof.on_control(control);
                    }
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
        if let Some(outcome) = address_outcome(kind) {
            self.address.report_at(peer, outcome, now);
        }
        if self.address.current() != Some(peer) {
            // Another address of the name may do.
            return;
        }
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

/// Returns what a failure to send tells of the address; `None` if it may be the frame's.
fn address_outcome(kind: ErrorKind) -> Option<AddressOutcome> {
    match kind {
        ErrorKind::ConnectionRefused => Some(AddressOutcome::Refused),
        ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable | ErrorKind::NetworkDown => {
            Some(AddressOutcome::Unreachable)
        }
        _ => None,
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
mod tests;
