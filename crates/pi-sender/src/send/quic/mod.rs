//! The QUIC transport: a task that keeps a connection to the relay and sends the newest frame whenever the frame window
//! is open.

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use platform::egress::{EgressSnapshot, EgressStats};
use platform::server::{Outcome, RelayAddress};
use protocol::health::Health;
use protocol::peer::{Cookie, Proof};
use protocol::quic::{ClientMessage, Hello, Refusal, ServerMessage};
use protocol::ticket::Key;
use quic::client::{Client, ConnectFailure, ControlEvent, ControlStream, DONE, Session};
use quic::frame_window::MAX_FRAME_AGE;
use quic::frames::{self, OutgoingFrame};
use quic::shown;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::http::HttpState;
use super::label_clock::SharedLabelClock;
use super::proofs::SharedProof;
use super::relay_proof::Offer;
use super::reports::SenderReports;

/// Delay between two attempts to connect to the same address after an ordinary failure.
const RETRY_DELAY: Duration = Duration::from_millis(100);
/// Delay after a refusal that may pass: another source owns the camera's name, or the relay is full.
const REFUSED_RETRY_DELAY: Duration = Duration::from_secs(1);
/// A connection that lasted for less is followed by a delay of [`REFUSED_RETRY_DELAY`].
const SHORT_SESSION: Duration = Duration::from_secs(1);
/// Delay between two attempts while frames go by HTTP.
const RETRY_BESIDE_HTTP: Duration = Duration::from_secs(30);
/// Time for the relay to receive the close of the connection.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(100);

/// State of the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum QuicConnectionState {
    /// No connection, and no attempt in progress.
    Down,
    /// An attempt in progress.
    Connecting,
    /// A connection that carries frames, with the counters as they stood when it began.
    Up(EgressSnapshot),
    /// A refusal that another attempt would not change, with its reason.
    Refused(String),
}

/// Handle of the task that keeps the connection.
#[derive(Debug)]
pub(crate) struct QuicSender {
    slot: watch::Sender<Option<OutgoingFrame>>,
    state: watch::Receiver<QuicConnectionState>,
    refusal: watch::Receiver<Option<Refusal>>,
    upgrade: mpsc::Sender<Offer>,
    stats: Arc<EgressStats>,
    task: JoinHandle<()>,
}

/// What to connect to, and how.
#[derive(Debug)]
pub(crate) struct ConnectionConfig {
    /// The relay's address.
    pub(crate) address: RelayAddress,
    /// The clock of the frames' labels.
    pub(crate) clock: SharedLabelClock,
    /// The first line on the control stream.
    pub(crate) hello: Hello,
    /// Fingerprint of the certificate that the relay must have.
    pub(crate) pinned: Option<Key>,
    /// Whether to wait for the relay's `upgrade` first: a relay of another make may crash on a QUIC packet.
    pub(crate) wait_for_upgrade: bool,
    /// The proof that this is the camera's sender, by whatever transport.
    pub(crate) proof: SharedProof,
    /// JPEG quality in force.
    pub(crate) quality: watch::Receiver<Option<u8>>,
    /// State of this machine.
    pub(crate) health: watch::Receiver<Health>,
    /// State of the connection by HTTP, which carries frames where QUIC is blocked; `None` if HTTP is not used.
    pub(crate) http: Option<watch::Receiver<HttpState>>,
}

impl QuicSender {
    /// Starts the task. Call it inside a tokio runtime.
    pub(crate) fn start(config: ConnectionConfig) -> Self {
        let (slot, frames) = watch::channel(None);
        let (state_sender, state) = watch::channel(QuicConnectionState::Down);
        let (refusal_sender, refusal) = watch::channel(None);
        let (upgrade, upgrades) = mpsc::channel(1);
        let stats = Arc::<EgressStats>::default();
        let task = ConnectionTask {
            config,
            slot: frames,
            state: state_sender,
            refusal: refusal_sender,
            upgrades,
            stats: Arc::clone(&stats),
            client: None,
            of_address: None,
            logged_failure: None,
            logged_unauthenticated: false,
        };
        Self {
            slot,
            state,
            refusal,
            upgrade,
            stats,
            task: tokio::spawn(task.run()),
        }
    }

    /// Returns the state of the connection now.
    pub(crate) fn state(&self) -> watch::Ref<'_, QuicConnectionState> {
        self.state.borrow()
    }

    /// Returns why the relay refused the last attempt; `None` while frames go by QUIC.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        *self.refusal.borrow()
    }

    /// Reports that the relay takes QUIC.
    pub(crate) fn upgrade(&self, offer: Offer) {
        // One that is not yet taken is enough.
        let _ = self.upgrade.try_send(offer);
    }

    /// Puts a frame into the slot, in place of one that still waits there.
    pub(crate) fn offer(&self, number: u64, jpeg: Bytes, ready_at: Instant) {
        let frame = OutgoingFrame {
            number,
            jpeg,
            ready_at,
        };
        self.slot.send_replace(Some(frame));
    }

    /// Returns the counters of all connections so far.
    pub(crate) fn stats(&self) -> EgressSnapshot {
        self.stats.snapshot()
    }

    /// Ends the task once the frames in flight have arrived or expired, and returns the counters.
    pub(crate) async fn close(self) -> EgressSnapshot {
        let up = matches!(*self.state.borrow(), QuicConnectionState::Up(_));
        drop(self.slot);
        if up {
            let _ = timeout(MAX_FRAME_AGE + 2 * CLOSE_TIMEOUT, self.task).await;
        }
        self.stats.snapshot()
    }
}

/// Why a session ended.
enum SessionEnd {
    /// The program ends, and the last frame has left.
    Finished,
    /// The connection broke, or the relay's address changed.
    Lost,
}

struct ConnectionTask {
    config: ConnectionConfig,
    slot: watch::Receiver<Option<OutgoingFrame>>,
    state: watch::Sender<QuicConnectionState>,
    refusal: watch::Sender<Option<Refusal>>,
    upgrades: mpsc::Receiver<Offer>,
    stats: Arc<EgressStats>,
    client: Option<Client>,
    /// The cookie of the relay's last answer by UDP.
    of_address: Option<Cookie>,
    /// The last failure to connect that was logged.
    logged_failure: Option<String>,
    /// Whether the missing authentication of the relay was logged.
    logged_unauthenticated: bool,
}

impl ConnectionTask {
    /// Connects again and again, until the program ends or the relay refuses for good.
    async fn run(mut self) {
        loop {
            if self.config.wait_for_upgrade {
                let Some(offer) = self.upgrades.recv().await else {
                    return;
                };
                self.of_address = offer.cookie.or(self.of_address);
            }
            let relay = self.config.address.resolved().await;
            self.state.send_replace(QuicConnectionState::Connecting);
            match self.connect(relay).await {
                Ok(session) => {
                    self.config.address.report(relay, Outcome::Answered);
                    self.refusal.send_replace(None);
                    self.config.proof.set(session.answer.proof());
                    let began = Instant::now();
                    if let SessionEnd::Finished = self.run_session(session, relay).await {
                        return self.close().await;
                    }
                    // It has answered until a moment ago, whatever the reason of the end.
                    self.config.address.report(relay, Outcome::Answered);
                    self.wait_after_session(began.elapsed()).await;
                }
                Err(why) if !why.is_temporary() => {
                    let why = format!("the relay at {relay} refuses this sender: {why}");
                    self.state.send_replace(QuicConnectionState::Refused(why));
                    return;
                }
                Err(why) => self.wait_after_failure(relay, &why).await,
            }
        }
    }

    async fn connect(&mut self, relay: SocketAddr) -> Result<Session, ConnectFailure> {
        let client = match &mut self.client {
            Some(client) => client,
            none => none.insert(Client::new(relay, self.config.pinned)?),
        };
        let of_sessions = self.config.proof.cookies();
        let proof: Proof = self.of_address.into_iter().chain(of_sessions).collect();
        self.config.hello.cookie = proof.to_digits();
        client.open(relay, &self.config.hello).await
    }

    /// Logs a failure if it is another than the last one, and waits before the next attempt.
    async fn wait_after_failure(&mut self, relay: SocketAddr, why: &ConnectFailure) {
        self.config.address.report(relay, why.outcome());
        let moves_on = self.config.address.current() != Some(relay);
        let failure = why.to_string();
        if !moves_on && self.logged_failure.as_ref() != Some(&failure) {
            warn!(%relay, %why, "no QUIC connection to the relay (yet); trying again");
            self.logged_failure = Some(failure);
        }
        self.state.send_replace(QuicConnectionState::Down);
        let refusal = match why {
            ConnectFailure::Refused(refusal) => Some(*refusal),
            _ => None,
        };
        self.refusal.send_replace(refusal);
        let delay = match why {
            ConnectFailure::Refused(_) | ConnectFailure::Nonsense | ConnectFailure::NotAccepted => {
                REFUSED_RETRY_DELAY
            }
            _ => RETRY_DELAY,
        };
        // The name's next address need not wait.
        let _ = timeout(delay, self.config.address.moved_from(Some(relay))).await;
        self.wait_beside_http().await;
    }

    /// Waits for long while frames go by HTTP.
    async fn wait_beside_http(&mut self) {
        let Some(http) = &mut self.config.http else {
            return;
        };
        let down = http.wait_for(|state| !matches!(state, HttpState::Up(_)));
        let _ = timeout(RETRY_BESIDE_HTTP, down).await;
    }

    /// Waits before the next attempt if the relay ended the connection soon, as one does that is overloaded or hostile.
    async fn wait_after_session(&self, lasted: Duration) {
        if lasted < SHORT_SESSION {
            sleep(REFUSED_RETRY_DELAY).await;
        }
    }

    /// Sends frames until the connection or the program ends, or the relay's address changes.
    async fn run_session(&mut self, session: Session, relay: SocketAddr) -> SessionEnd {
        if self.config.pinned.is_none()
            && !std::mem::replace(&mut self.logged_unauthenticated, true)
        {
            info!(
                "the connection is encrypted, but without a ticket nothing proves that the relay is yours; relay-server --private makes tickets"
            );
        }
        self.logged_failure = None;
        info!(%relay, "frames go by QUIC, the newest first");
        self.state
            .send_replace(QuicConnectionState::Up(self.stats.snapshot()));
        let reports = SenderReports::new(
            self.config.clock.clone(),
            self.config.quality.clone(),
            self.config.health.clone(),
        );
        let moved = self.config.address.moved_from(Some(relay));
        let end = tokio::select! {
            sent = frames::send(&session.connection, &self.stats, &mut self.slot) => match sent {
                Ok(()) => SessionEnd::Finished,
                Err(why) => {
                    note_loss(&self.refusal, relay, &ConnectFailure::of_connection(why));
                    SessionEnd::Lost
                }
            },
            Err(why) = run_control(session.control, reports, &self.stats) => {
                warn!(%relay, why = %shown(&why), "the connection to the relay is lost");
                SessionEnd::Lost
            }
            to = moved => {
                info!(from = %relay, %to, "the relay's address changed");
                SessionEnd::Lost
            }
        };
        session.connection.close(DONE, b"");
        self.state.send_replace(QuicConnectionState::Down);
        end
    }

    async fn close(self) {
        if let Some(client) = self.client {
            client.close(CLOSE_TIMEOUT).await;
        }
    }
}

/// Logs why the connection has ended: a failure, or that the relay gave the camera to another sender.
fn note_loss(refusals: &watch::Sender<Option<Refusal>>, relay: SocketAddr, why: &ConnectFailure) {
    if let ConnectFailure::Refused(refusal) = why {
        refusals.send_replace(Some(*refusal));
    }
    warn!(%relay, %why, "the connection to the relay is lost");
}

/// Compares clocks with the relay, and sends it what no frame contains.
async fn run_control(
    mut control: ControlStream,
    mut reports: SenderReports,
    stats: &EgressStats,
) -> io::Result<Infallible> {
    loop {
        tokio::select! {
            event = control.next() => match event? {
                ControlEvent::Offset(offset) => reports.on_offset(offset),
                ControlEvent::Message(ServerMessage::FrameTooLarge(true)) => stats.on_refused(),
                ControlEvent::Message(_) => {}
            },
            info = reports.next() => control.send(&ClientMessage::SenderInfo(info)).await?,
        }
    }
}
