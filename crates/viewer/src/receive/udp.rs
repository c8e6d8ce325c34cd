//! The UDP transport: `protocol::lease` decides what to send and when, `protocol::datagram` what a datagram is.
//!
//! The socket is connected, so only the relay's own datagrams arrive. Its errors end nothing: each datagram to a relay that
//! is not there (yet) is refused.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use platform::server::{Outcome, RelayAddress};
use platform::udp;
use protocol::VIEWER_PORT;
use protocol::control::{Control, LeaseVerdict, Question};
use protocol::datagram::{Datagram, MAX_DATAGRAM, REQUEST, classify};
use protocol::frame::Frame;
use protocol::lease::{LeaseRequest, REPEAT_REQUEST_AFTER, RelayKind, Renewal, SEARCH_INTERVAL};
use protocol::peer::Cookie;
use tokio::net::UdpSocket;
use tokio::time::{sleep, timeout_at};
use tracing::{debug, trace};

/// After an error of the socket: long enough not to spin on one that lasts, too short to be seen.
const PAUSE: Duration = Duration::from_millis(10);
/// How often the session checks whether the relay has fallen silent, and whether there is a route again.
const POLL: Duration = Duration::from_millis(500);
/// Time without any answer after which the name's next address is tried: two hellos, and a tutorial relay's echo of the
/// one that follows its `Request`.
const SILENT_AFTER: Duration = Duration::from_secs(2);

/// The exchange with the relay at one address.
pub(super) struct UdpSession {
    pub(super) renewal: Renewal,
    relay: SocketAddr,
    address: RelayAddress,
    began: Instant,
    nonce: u64,
    /// The relay's proof of this viewer's address.
    cookie: Option<Cookie>,
    socket: UdpSocket,
    opened: Instant,
    buffer: Vec<u8>,
}

/// What a datagram is to a viewer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum UdpMessage {
    /// A frame.
    Frame(Frame),
    /// A Sightline relay's answer to this viewer.
    Answer(LeaseVerdict, Option<Cookie>),
    /// This viewer's own datagram, which a tutorial relay echoes.
    Echo,
    /// Anything else, with the name of the reason.
    Other(&'static str),
}

impl UdpSession {
    /// Opens a socket as soon as there is a route to the relay.
    pub(super) async fn open(relay: SocketAddr, renewal: Renewal, address: RelayAddress) -> Self {
        let (socket, opened) = connected_socket(relay, &address).await;
        Self {
            renewal,
            relay,
            address,
            began: opened,
            nonce: getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id())),
            cookie: None,
            socket,
            opened,
            buffer: vec![0; MAX_DATAGRAM + 1],
        }
    }

    /// Opens another socket when the relay has been silent for so long that this one may be the reason: it keeps the local
    /// address that this machine had when it was opened, on whatever network that was.
    pub(super) async fn reopen_if_silent(&mut self, now: Instant) {
        if self.renewal.relay(now) == RelayKind::Silent && now - self.opened >= REPEAT_REQUEST_AFTER
        {
            (self.socket, self.opened) = connected_socket(self.relay, &self.address).await;
        }
    }

    /// Reports that nothing answers, once that is certain.
    pub(super) fn report_silence(&self, now: Instant) {
        let searched = now.saturating_duration_since(self.began) >= SILENT_AFTER;
        if searched && self.renewal.relay(now) == RelayKind::Silent {
            self.address.report(self.relay, Outcome::Silent);
        }
    }

    /// Sends what is due, and returns whether a `Request` was.
    pub(super) async fn send_due(&mut self, now: Instant) -> bool {
        let mut requested = false;
        while let Some(request) = self.renewal.poll(now) {
            self.send(request).await;
            requested |= request == LeaseRequest::Request;
        }
        requested
    }

    /// Returns when to send next.
    pub(super) fn deadline(&self, now: Instant) -> Instant {
        self.renewal.deadline(now).unwrap_or(now).min(now + POLL)
    }

    /// Receives the next datagram; `None` at the deadline. May be cancelled.
    pub(super) async fn recv(&mut self, deadline: Instant) -> Option<UdpMessage> {
        match timeout_at(deadline.into(), self.socket.recv(&mut self.buffer)).await {
            Ok(Ok(length)) => {
                let message = classify_for(&self.buffer[..length], self.nonce);
                if !matches!(message, UdpMessage::Other(_)) {
                    self.address.report(self.relay, Outcome::Answered);
                }
                Some(message)
            }
            Ok(Err(err)) => {
                self.report_error(&err);
                sleep(PAUSE).await;
                None
            }
            Err(_) => None,
        }
    }

    /// Takes the relay's answer: a new cookie is returned at once, so that no other viewer gets the lease.
    pub(super) fn on_answer(
        &mut self,
        verdict: LeaseVerdict,
        cookie: Option<Cookie>,
        now: Instant,
    ) {
        self.renewal.on_answer(verdict, now);
        if cookie.is_some() && cookie != self.cookie {
            self.cookie = cookie;
            self.renewal.on_new_cookie(now);
        }
    }

    /// Gives up the lease, if there is one, and sends nothing more while frames come by QUIC. A UDP frame shows that the
    /// relay has missed the release, which is then repeated. Never returns.
    pub(super) async fn stay_released(&mut self) {
        self.renewal.set_frames_by_quic(true);
        let mut sent_at = None;
        let mut due = self.renewal.poll(Instant::now()) == Some(LeaseRequest::Probe);
        loop {
            let now = Instant::now();
            let lately = sent_at.is_some_and(|at| now - at < SEARCH_INTERVAL);
            if due && !lately {
                self.send(LeaseRequest::Probe).await;
                sent_at = Some(now);
            }
            let message = self.recv(now + POLL).await;
            if let Some(UdpMessage::Answer(verdict, cookie)) = message {
                let fresh = cookie != self.cookie;
                self.on_answer(verdict, cookie, Instant::now());
                // The probe had no cookie, or an old one, so it released nothing.
                due = fresh;
            } else {
                due = matches!(message, Some(UdpMessage::Frame(..)));
            }
        }
    }

    async fn send(&self, request: LeaseRequest) {
        trace!(?request, "sent");
        let question = Question::new(self.nonce, self.cookie);
        let datagram = match request {
            LeaseRequest::Request => REQUEST.to_vec(),
            LeaseRequest::Hello => Control::Hello(question).write(),
            LeaseRequest::Probe => Control::Probe(question).write(),
        };
        // The socket reports the refusal of an earlier datagram here, in place of sending; the second try then sends.
        if let Err(err) = self.socket.send(&datagram).await {
            self.report_error(&err);
            let _ = self.socket.send(&datagram).await;
        }
    }

    fn report_error(&self, err: &io::Error) {
        match err.kind() {
            ErrorKind::ConnectionRefused => self.address.report(self.relay, Outcome::Refused),
            ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable | ErrorKind::NetworkDown => {
                self.address.report(self.relay, Outcome::Unreachable);
            }
            _ => {}
        }
    }
}

/// Opens a socket that is connected to the relay, as soon as there is a route.
async fn connected_socket(relay: SocketAddr, address: &RelayAddress) -> (UdpSocket, Instant) {
    loop {
        match udp::connected(relay, Some(VIEWER_PORT)).and_then(UdpSocket::from_std) {
            Ok(socket) => return (socket, Instant::now()),
            Err(err) => debug!(%relay, %err, "no route to the relay (yet)"),
        }
        address.report(relay, Outcome::Unreachable);
        sleep(POLL).await;
    }
}

/// Classifies a datagram for a viewer whose hellos carry this nonce.
fn classify_for(bytes: &[u8], own_nonce: u64) -> UdpMessage {
    match classify(Bytes::copy_from_slice(bytes)) {
        Ok(Datagram::Frame(frame)) if is_echo(&frame) => UdpMessage::Echo,
        Ok(Datagram::Frame(frame)) => UdpMessage::Frame(frame),
        Ok(Datagram::Control(Control::Accept {
            nonce,
            verdict,
            cookie,
        })) if nonce == own_nonce => UdpMessage::Answer(verdict, cookie),
        Ok(Datagram::Control(Control::Hello(question) | Control::Probe(question)))
            if question.nonce == own_nonce =>
        {
            UdpMessage::Echo
        }
        Ok(_) => UdpMessage::Other("not_ours"),
        Err(reason) => UdpMessage::Other(reason.name()),
    }
}

/// Returns whether this is a hello that went through a tutorial relay's model: a picture of one pixel without its label.
fn is_echo(frame: &Frame) -> bool {
    frame.label.is_none() && (frame.size.width, frame.size.height) == (1, 1)
}

#[cfg(test)]
mod tests {
    use testkit::jpeg::Sketch;

    use super::*;

    #[test]
    fn only_an_answer_to_our_own_question_is_one() {
        let accept = |nonce| {
            let accept = Control::Accept {
                nonce,
                verdict: LeaseVerdict::Welcome,
                cookie: Some(Cookie(9)),
            };
            classify_for(&accept.write(), 7)
        };
        let answer = UdpMessage::Answer(LeaseVerdict::Welcome, Some(Cookie(9)));
        assert_eq!(accept(7), answer);
        assert_eq!(accept(8), UdpMessage::Other("not_ours"));
    }

    #[test]
    fn our_own_words_are_an_echo_with_or_without_their_label() {
        for nonce in [7, 8] {
            let question = Question::new(nonce, Some(Cookie(9)));
            let sent = [Control::Hello(question), Control::Probe(question)];
            for control in sent {
                let echo = classify_for(&control.write(), 7) == UdpMessage::Echo;
                assert_eq!(echo, nonce == 7, "{control:?}");
            }
        }
        assert_eq!(
            classify_for(&Sketch::new(1, 1).bytes(), 7),
            UdpMessage::Echo
        );
        let frame = classify_for(&Sketch::new(300, 200).bytes(), 7);
        assert!(matches!(frame, UdpMessage::Frame(..)));
    }

    #[test]
    fn all_else_is_nothing_and_says_why() {
        for (bytes, why) in [
            (&b"Request"[..], "not_ours"),
            (&Control::Upgrade.write(), "not_ours"),
            (b"garbage", "not_jpeg"),
            (b"", "not_jpeg"),
        ] {
            assert_eq!(classify_for(bytes, 7), UdpMessage::Other(why));
        }
    }
}
