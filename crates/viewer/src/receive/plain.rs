//! The conversation at the plain door: what to say and when is `protocol::lease`'s business, what a datagram is
//! `protocol::datagram`'s.
//!
//! The socket is connected, so only the relay's own datagrams arrive. Its errors are weather: a relay that is not there
//! (yet) refuses each question.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use platform::udp;
use protocol::VIEWER_PORT;
use protocol::control::{Control, Verdict};
use protocol::datagram::{Datagram, MAX_DATAGRAM, REQUEST, classify};
use protocol::frame::Frame;
use protocol::lease::{LeaseRequest, QUIET, RelayKind, Renewal, SEARCH};
use tokio::net::UdpSocket;
use tokio::time::{sleep, timeout_at};
use tracing::{debug, trace};

/// After an error of the socket: long enough not to spin on one that stays, too short to be seen.
const PAUSE: Duration = Duration::from_millis(10);
/// How often it is looked whether the peer has fallen silent, and whether there is a route again.
pub(super) const LOOK: Duration = Duration::from_millis(500);

/// A conversation with the relay at one address.
pub(super) struct Plain {
    pub(super) renewal: Renewal,
    relay: SocketAddr,
    nonce: u64,
    socket: UdpSocket,
    opened: Instant,
    buffer: Vec<u8>,
}

/// What a datagram means to us.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// A picture.
    Frame(Frame),
    /// Our relay answers what we asked.
    Answer(Verdict),
    /// A tutorial relay gives back what we said.
    Echo,
    /// Nothing of ours, and why.
    Nothing(&'static str),
}

impl Plain {
    /// Begins, once there is a route to the relay.
    pub(super) async fn open(relay: SocketAddr, renewal: Renewal) -> Self {
        let (socket, opened) = route(relay).await;
        Self {
            renewal,
            relay,
            nonce: getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id())),
            socket,
            opened,
            buffer: vec![0; MAX_DATAGRAM + 1],
        }
    }

    /// Takes another socket where the relay has been silent for so long that this one may be the reason: it keeps the
    /// local address that this machine had when it was opened, on whatever network that was.
    pub(super) async fn refresh(&mut self, now: Instant) {
        if self.renewal.relay(now) == RelayKind::Silent && now - self.opened >= QUIET {
            (self.socket, self.opened) = route(self.relay).await;
        }
    }

    /// Says what is due.
    pub(super) async fn speak(&mut self, now: Instant) {
        while let Some(ask) = self.renewal.poll(now) {
            self.say(ask).await;
        }
    }

    /// When to speak next.
    pub(super) fn deadline(&self, now: Instant) -> Instant {
        self.renewal.deadline(now).unwrap_or(now).min(now + LOOK)
    }

    /// The next datagram and what it means, at most until the deadline. May be cancelled.
    pub(super) async fn hear(&mut self, deadline: Instant) -> Option<Meaning> {
        match timeout_at(deadline.into(), self.socket.recv(&mut self.buffer)).await {
            Ok(Ok(length)) => Some(meaning(&self.buffer[..length], self.nonce)),
            Ok(Err(_)) => {
                sleep(PAUSE).await;
                None
            }
            Err(_) => None,
        }
    }

    /// For as long as frames come another way: gives the place here up, where there is one, and is silent from then on.
    /// A plain frame shows that the relay has missed that.
    pub(super) async fn rest(&mut self) {
        self.renewal.set_elsewhere(true);
        let mut said = None;
        let mut due = self.renewal.poll(Instant::now()) == Some(LeaseRequest::Probe);
        loop {
            let now = Instant::now();
            let lately = said.is_some_and(|at| now - at < SEARCH);
            if due && !lately {
                self.say(LeaseRequest::Probe).await;
                said = Some(now);
            }
            let heard = self.hear(now + LOOK).await;
            due = matches!(heard, Some(Meaning::Frame(..)));
        }
    }

    async fn say(&self, ask: LeaseRequest) {
        trace!(?ask, "said");
        let words = match ask {
            LeaseRequest::Request => REQUEST.to_vec(),
            LeaseRequest::Hello => Control::Hello { nonce: self.nonce }.write(),
            LeaseRequest::Probe => Control::Probe { nonce: self.nonce }.write(),
        };
        // A refusal of what was said before is reported here, in place of sending; the second try then sends.
        if self.socket.send(&words).await.is_err() {
            let _ = self.socket.send(&words).await;
        }
    }
}

async fn route(relay: SocketAddr) -> (UdpSocket, Instant) {
    loop {
        match udp::connected(relay, Some(VIEWER_PORT)).and_then(UdpSocket::from_std) {
            Ok(socket) => return (socket, Instant::now()),
            Err(err) => debug!(%relay, %err, "no route to the relay (yet)"),
        }
        sleep(LOOK).await;
    }
}

/// What a datagram means to a viewer that says hello with this nonce.
fn meaning(bytes: &[u8], ours: u64) -> Meaning {
    match classify(Bytes::copy_from_slice(bytes)) {
        Ok(Datagram::Frame(frame)) if is_echo(&frame) => Meaning::Echo,
        Ok(Datagram::Frame(frame)) => Meaning::Frame(frame),
        Ok(Datagram::Control(Control::Accept { nonce, verdict })) if nonce == ours => {
            Meaning::Answer(verdict)
        }
        Ok(Datagram::Control(Control::Hello { nonce } | Control::Probe { nonce }))
            if nonce == ours =>
        {
            Meaning::Echo
        }
        Ok(_) => Meaning::Nothing("not_ours"),
        Err(reason) => Meaning::Nothing(reason.name()),
    }
}

/// What we said, put through a tutorial relay's model, comes back without its label, as a picture of one pixel.
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
            let verdict = Verdict::Welcome;
            meaning(&Control::Accept { nonce, verdict }.write(), 7)
        };
        assert_eq!(accept(7), Meaning::Answer(Verdict::Welcome));
        assert_eq!(accept(8), Meaning::Nothing("not_ours"));
    }

    #[test]
    fn our_own_words_are_an_echo_with_or_without_their_label() {
        for nonce in [7, 8] {
            let says = [Control::Hello { nonce }, Control::Probe { nonce }];
            for said in says {
                let echo = meaning(&said.write(), 7) == Meaning::Echo;
                assert_eq!(echo, nonce == 7, "{said:?}");
            }
        }
        assert_eq!(meaning(&Sketch::new(1, 1).bytes(), 7), Meaning::Echo);
        let frame = meaning(&Sketch::new(300, 200).bytes(), 7);
        assert!(matches!(frame, Meaning::Frame(..)));
    }

    #[test]
    fn all_else_is_nothing_and_says_why() {
        for (bytes, why) in [
            (&b"Request"[..], "not_ours"),
            (&Control::Upgrade.write(), "not_ours"),
            (b"garbage", "not_jpeg"),
            (b"", "not_jpeg"),
        ] {
            assert_eq!(meaning(bytes, 7), Meaning::Nothing(why));
        }
    }
}
