//! The socket: finds the relay and keeps the place there, and hands on each frame, the newest first.
//!
//! What to say and when is `protocol::handshake`'s business, what a datagram is `protocol::datagram`'s. The socket is
//! connected, so only the relay's own datagrams arrive. Its errors are weather: a relay that is not there (yet) refuses
//! each hello.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use platform::latest::Putter;
use platform::udp;
use protocol::VIEWER_PORT;
use protocol::control::{Control, Verdict};
use protocol::datagram::{self, Datagram, MAX_DATAGRAM, REQUEST, classify};
use protocol::handshake::{Ask, Peer, QUIET, Renewal};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::time::{sleep, timeout_at};
use tracing::{debug, trace};

use crate::stream::{Counts, Order};

/// After an error of the socket: long enough not to spin on one that stays, too short to be seen.
const PAUSE: Duration = Duration::from_millis(10);
/// How often it is looked whether the peer has fallen silent, and whether there is a route again.
const LOOK: Duration = Duration::from_millis(500);

/// A frame on its way to the window.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The JPEG as it came.
    pub(crate) jpeg: Bytes,
    /// Its number: the label's, or counted here.
    pub(crate) seq: u64,
    /// When it was captured, in microseconds since the Unix epoch by the camera's clock; unknown without a label.
    pub(crate) captured_us: Option<u64>,
}

/// What the receiving side knows, for the HUD and the report.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Status {
    /// Whether the relay's name has an address.
    pub(crate) resolved: bool,
    /// Who is there.
    pub(crate) peer: Peer,
    /// Since when these two are as they are.
    pub(crate) since: Instant,
    /// Frames so far.
    pub(crate) counts: Counts,
    /// Datagrams that are no frame and nothing that we asked for.
    pub(crate) dropped: u64,
    /// Frames that a newer one overtook before they could be shown.
    pub(crate) overtaken: u64,
}

/// Starts to receive from the relay at `address`, wherever that moves. Call it inside a tokio runtime.
pub(crate) fn start(
    address: watch::Receiver<Option<SocketAddr>>,
    frames: Putter<Frame>,
) -> watch::Receiver<Status> {
    let (tell, status) = watch::channel(Status {
        resolved: false,
        peer: Peer::Silent,
        since: Instant::now(),
        counts: Counts::default(),
        dropped: 0,
        overtaken: 0,
    });
    let receiver = Receiver {
        frames,
        status: tell,
        order: Order::default(),
        nonce: 0,
        renewal: Renewal::default(),
    };
    tokio::spawn(receiver.run(address));
    status
}

struct Receiver {
    frames: Putter<Frame>,
    status: watch::Sender<Status>,
    order: Order,
    nonce: u64,
    renewal: Renewal,
}

impl Receiver {
    async fn run(mut self, mut address: watch::Receiver<Option<SocketAddr>>) {
        while !self.frames.is_closed() {
            let relay = *address.borrow_and_update();
            let moved = async {
                if address.changed().await.is_err() {
                    // An address that was given as numbers has nobody who would follow it.
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                () = moved => {}
                () = self.attend(relay) => {}
            }
        }
    }

    /// Stays with one address for good.
    async fn attend(&mut self, relay: Option<SocketAddr>) {
        let Some(relay) = relay else {
            return std::future::pending().await;
        };
        self.renewal = Renewal::default();
        self.nonce = getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()));
        self.tell(Instant::now());
        loop {
            let socket = udp::connected(relay, Some(VIEWER_PORT)).and_then(UdpSocket::from_std);
            match socket {
                Ok(socket) => self.converse(&socket, Instant::now()).await,
                Err(err) => {
                    debug!(%relay, %err, "no route to the relay (yet)");
                    sleep(LOOK).await;
                }
            }
        }
    }

    /// Talks to the relay until it has been silent for so long that the socket itself may be the reason: one keeps the
    /// local address that this machine had at its `start`, on whatever network that was.
    async fn converse(&mut self, socket: &UdpSocket, start: Instant) {
        let mut buffer = vec![0; MAX_DATAGRAM + 1];
        loop {
            let now = Instant::now();
            while let Some(ask) = self.renewal.poll(now) {
                self.say(socket, ask).await;
            }
            self.tell(now);
            if self.renewal.peer(now) == Peer::Silent && now - start >= QUIET {
                return;
            }
            let due = self.renewal.deadline(now).unwrap_or(now).min(now + LOOK);
            match timeout_at(due.into(), socket.recv(&mut buffer)).await {
                Ok(Ok(length)) => self.datagram(&buffer[..length], Instant::now()),
                Ok(Err(_)) => sleep(PAUSE).await,
                Err(_) => {}
            }
        }
    }

    async fn say(&self, socket: &UdpSocket, ask: Ask) {
        trace!(?ask, "said");
        let words = match ask {
            Ask::Request => REQUEST.to_vec(),
            Ask::Hello => Control::Hello { nonce: self.nonce }.write(),
        };
        // A refusal of what was said before is reported here, in place of sending; the second try then sends.
        if socket.send(&words).await.is_err() {
            let _ = socket.send(&words).await;
        }
    }

    fn datagram(&mut self, bytes: &[u8], now: Instant) {
        match classify(bytes) {
            Ok(Datagram::Frame(frame)) if is_echo(&frame) => self.renewal.echoed(now),
            Ok(Datagram::Frame(frame)) => self.frame(bytes, &frame, now),
            Ok(Datagram::Control(Control::Accept { nonce, verdict })) if nonce == self.nonce => {
                self.renewal.answered(verdict == Verdict::Full, now);
            }
            Ok(Datagram::Control(Control::Hello { nonce })) if nonce == self.nonce => {
                self.renewal.echoed(now);
            }
            Ok(_) => self.drop_it("not_ours"),
            Err(reason) => self.drop_it(reason.name()),
        }
    }

    fn frame(&mut self, bytes: &[u8], frame: &datagram::Frame, now: Instant) {
        self.renewal.frame(now);
        let number = self.order.admit(frame.label.as_ref());
        self.status
            .send_modify(|status| status.counts = self.order.counts());
        if let Some(seq) = number {
            let displaced = self.frames.put(Frame {
                jpeg: Bytes::copy_from_slice(bytes),
                seq,
                captured_us: frame.label.as_ref().map(|label| label.captured_us),
            });
            let count = u64::from(displaced.is_some());
            self.status.send_modify(|status| status.overtaken += count);
        }
    }

    fn drop_it(&self, reason: &'static str) {
        trace!(reason, "datagram dropped");
        self.status.send_modify(|status| status.dropped += 1);
    }

    /// Passes on who is there, now that there is an address.
    fn tell(&self, now: Instant) {
        let peer = self.renewal.peer(now);
        self.status.send_if_modified(|status| {
            let changed = (status.resolved, status.peer) != (true, peer);
            if changed {
                debug!(?peer, "peer");
                (status.resolved, status.peer, status.since) = (true, peer, now);
            }
            changed
        });
    }
}

/// A hello that a tutorial relay put through its model comes back without its label, as a picture of one pixel.
fn is_echo(frame: &datagram::Frame) -> bool {
    frame.label.is_none() && (frame.header.width, frame.header.height) == (1, 1)
}
