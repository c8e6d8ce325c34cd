//! Finds the relay and stays with it, and hands on each frame, the newest first. Where nothing comes by UDP for 5 s, frames
//! come by HTTP until QUIC opens again; with a URL in the place of a host by HTTP alone.
//!
//! ```text
//!   --server HOST, --transport auto                            ticket, or --transport quic
//!     UDP: probe ----> our relay answers --> connect             connect, again and again
//!       | silence: Request (tutorial)    |     |                   |
//!       |                  700 ms: hello |     | connected         | connected
//!       v                                v     v                   v
//!     UDP frames                  UDP frames  QUIC frames        QUIC frames
//!                                             (UDP: lease released)
//! ```
//!
//! `options`, `upgrade`, `requests` and `reconnect` are pure and decide; `udp`, `quic` and `http` move bytes and hand in at the
//! `inbox`, which publishes the `status`; `fallback` finds out that HTTP is needed, and that it is not any more.

mod fallback;
mod http;
mod inbox;
mod options;
mod quic;
mod reconnect;
mod requests;
mod status;
mod udp;
mod upgrade;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::quic::client::{Client, ConnectFailure, Session};
use platform::config::TransportChoice;
use platform::latest::Sender;
use platform::server::{Outcome, RelayAddress};
use protocol::control::LeaseVerdict;
use protocol::lease::{RelayKind, Renewal};
use protocol::quic::Refusal;
use protocol::transport::Transport;
use quinn::ConnectionError;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, trace, warn};

use self::inbox::Inbox;
pub(crate) use self::inbox::ReceivedFrame;
pub(crate) use self::options::ConnectOptions;
use self::reconnect::Reconnect;
use self::requests::Requests;
pub(crate) use self::status::{LinkState, ReceiveStatus};
use self::udp::{UdpMessage, UdpSession};
use self::upgrade::{Preference, Upgrade};
use crate::shared_box_timeline::SharedBoxTimeline;

/// How long the end of the program waits for the relay to acknowledge the end of the connection.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(100);

/// Starts to receive the `chosen` camera from the relay at `address`, whenever either changes, until `stop`; the task then
/// closes the connection and ends. Call it inside a tokio runtime.
pub(crate) fn start(
    chosen: watch::Receiver<ConnectOptions>,
    address: RelayAddress,
    frames: Sender<ReceivedFrame>,
    timeline: Arc<SharedBoxTimeline>,
    stop: CancellationToken,
) -> (watch::Receiver<ReceiveStatus>, JoinHandle<()>) {
    let options = chosen.borrow().clone();
    let first = ReceiveStatus::new(options.first_transport(), Instant::now());
    let (publish, status) = watch::channel(first);
    let task = ReceiveTask {
        inbox: Inbox::new(frames, timeline, publish),
        options,
        address,
        requests: Requests::default(),
        client: None,
        reconnect: Reconnect::default(),
        explained: false,
        ready: None,
    };
    (status, tokio::spawn(task.run(chosen, stop)))
}

struct ReceiveTask {
    options: ConnectOptions,
    inbox: Inbox,
    address: RelayAddress,
    requests: Requests,
    /// The QUIC client between two tries.
    client: Option<Client>,
    reconnect: Reconnect,
    /// It has been logged what the encryption without a ticket is worth.
    explained: bool,
    /// A connection by QUIC that was opened while frames came by HTTP.
    ready: Option<Session>,
}

/// An error that no waiting helps against: a sentence for the user.
struct FatalError(String);

/// Why it has ended to receive.
enum Ended {
    /// HTTP is not needed any more, or leads to no relay any more either.
    ByHttp,
    Fatal(FatalError),
}

/// A QUIC client and what came of its try to connect.
type Attempt = (Option<Client>, Result<Session, ConnectFailure>);

impl ReceiveTask {
    async fn run(mut self, mut chosen: watch::Receiver<ConnectOptions>, stop: CancellationToken) {
        let mut address = self.address.clone();
        let mut relay = None;
        let mut by_http = chosen.borrow().is_http_only();
        let mut found = Box::pin(fallback::relay_by_http(
            &self.options,
            &self.address,
            self.inbox.statuses(),
        ));
        loop {
            self.options = chosen.borrow_and_update().clone();
            tokio::select! {
                () = stop.cancelled() => break,
                to = address.moved_from(relay) => {
                    relay = Some(to);
                    self.reconnect = Reconnect::default();
                    self.inbox.on_disconnected();
                }
                () = changed(&mut chosen) => self.inbox.on_camera_left(),
                () = &mut found, if !by_http => by_http = true,
                ended = self.receive(relay, by_http) => match ended {
                    Ended::ByHttp => {
                        by_http = false;
                        let (options, address) = (&self.options, &self.address);
                        found = Box::pin(fallback::relay_by_http(
                            options,
                            address,
                            self.inbox.statuses(),
                        ));
                    }
                    Ended::Fatal(FatalError(why)) => {
                        let why = format!("the relay at {}: {why}", self.options.host);
                        self.inbox.set_failure(why);
                        break;
                    }
                },
            }
        }
        if let Some(client) = self.client {
            client.close(CLOSE_TIMEOUT).await;
        }
    }

    /// Receives by HTTP until QUIC is back, or from an address by the other transports.
    async fn receive(&mut self, relay: Option<SocketAddr>, by_http: bool) -> Ended {
        match by_http {
            true => match self.by_http().await {
                Ok(()) => Ended::ByHttp,
                Err(error) => Ended::Fatal(error),
            },
            false => Ended::Fatal(self.receive_from(relay).await),
        }
    }

    /// Receives from one address until an error that no waiting helps against.
    async fn receive_from(&mut self, relay: Option<SocketAddr>) -> FatalError {
        let Some(relay) = relay else {
            return std::future::pending().await;
        };
        let ended = match self.options.transport {
            TransportChoice::Quic => self.quic_only(relay).await,
            TransportChoice::Auto | TransportChoice::Udp => self.udp_and_quic(relay).await,
        };
        match ended {
            Err(error) => error,
            Ok(never) => match never {},
        }
    }

    /// Connects by QUIC, again and again, and sends nothing over UDP.
    async fn quic_only(&mut self, relay: SocketAddr) -> Result<Infallible, FatalError> {
        let mut warned = false;
        let mut state = LinkState::Closed;
        loop {
            let now = Instant::now();
            self.inbox.set_relay(RelayKind::Silent, state, now);
            let connected = match self.ready.take() {
                Some(session) => Ok(session),
                None => {
                    let (client, connected) = self.connect(relay).await;
                    self.client = client;
                    connected
                }
            };
            match connected {
                Ok(session) => {
                    state = self.receive_by_quic(relay, session).await?;
                    warned = self.reconnect.is_unstable();
                }
                Err(failure) => {
                    state = self.note_failure(&failure, &mut warned)?;
                    self.address.report(relay, failure.outcome());
                }
            }
            sleep(self.reconnect.pause()).await;
        }
    }

    /// Receives over UDP, and by QUIC whenever there is a connection.
    async fn udp_and_quic(&mut self, relay: SocketAddr) -> Result<Infallible, FatalError> {
        let preference = self.options.preference();
        let mut upgrade = Upgrade::new(preference);
        let elsewhere = preference != Preference::UdpOnly;
        let mut renewal = self.requests.renewal(relay, elsewhere, Instant::now());
        let mut state = LinkState::Closed;
        loop {
            let now = Instant::now();
            self.inbox.set_relay(renewal.relay(now), state, now);
            let mut udp = UdpSession::open(relay, renewal, self.address.clone()).await;
            let session = self.udp_until_quic(relay, state, upgrade, &mut udp).await?;
            tokio::select! {
                ended = self.receive_by_quic(relay, session) => state = ended?,
                () = udp.stay_released() => {}
            }
            let now = Instant::now();
            upgrade = Upgrade::after_disconnect(preference, self.reconnect.pause(), now);
            renewal = Renewal::new(true);
            // It was a Sightline relay a moment ago, so no `Request` is due there for now.
            renewal.on_answer(LeaseVerdict::Welcome, now);
        }
    }

    /// Receives over UDP until a QUIC connection is open.
    async fn udp_until_quic(
        &mut self,
        relay: SocketAddr,
        mut state: LinkState,
        mut upgrade: Upgrade,
        udp: &mut UdpSession,
    ) -> Result<Session, FatalError> {
        let mut warned = self.reconnect.is_unstable();
        let mut attempts = JoinSet::new();
        loop {
            let now = Instant::now();
            if upgrade.wants_udp_frames(now) {
                udp.renewal.set_frames_by_quic(false);
            }
            if udp.send_due(now).await {
                self.requests.on_request(relay, now);
            }
            self.inbox.set_relay(udp.renewal.relay(now), state, now);
            if upgrade.should_connect(now) {
                attempts.spawn(self.connect(relay));
            }
            udp.reopen_if_silent(now).await;
            udp.report_silence(now);
            let due = udp.deadline(now);
            let due = upgrade.deadline(now).map_or(due, |at| at.min(due));
            tokio::select! {
                message = udp.recv(due) => {
                    if let Some(message) = message {
                        let now = Instant::now();
                        self.on_udp_message(message, &mut upgrade, udp, now)?;
                    }
                }
                Some(attempt) = attempts.join_next() => {
                    let (client, connected) =
                        attempt.expect("a try to connect neither panics nor is cancelled");
                    self.client = client;
                    match connected {
                        Ok(session) => return Ok(session),
                        Err(failure) => state = self.note_failure(&failure, &mut warned)?,
                    }
                    upgrade.on_failure(self.reconnect.pause(), Instant::now());
                }
            }
        }
    }

    fn on_udp_message(
        &mut self,
        message: UdpMessage,
        upgrade: &mut Upgrade,
        udp: &mut UdpSession,
        now: Instant,
    ) -> Result<(), FatalError> {
        match message {
            UdpMessage::Frame(frame) => {
                udp.renewal.on_frame(now);
                if self.options.camera.is_none() {
                    self.inbox.on_frame(frame, Transport::Udp);
                } else {
                    self.inbox.count_dropped("no_choice");
                }
            }
            UdpMessage::Answer(LeaseVerdict::Private, _) => {
                return Err(FatalError(Refusal::Private.to_string()));
            }
            UdpMessage::Answer(verdict, cookie) => {
                udp.on_answer(verdict, cookie, now);
                upgrade.on_answer(now);
            }
            UdpMessage::Echo => udp.renewal.on_echo(now),
            UdpMessage::Other(reason) => self.inbox.count_dropped(reason),
        }
        Ok(())
    }

    /// Tries once to connect by QUIC.
    fn connect(&mut self, relay: SocketAddr) -> impl Future<Output = Attempt> + use<> {
        quic::connect(
            self.client.take(),
            self.options.fingerprint,
            relay,
            quic::hello(&self.options),
        )
    }

    /// Logs a failed try, once until the next connection, and returns the state of QUIC after it.
    fn note_failure(
        &mut self,
        failure: &ConnectFailure,
        warned: &mut bool,
    ) -> Result<LinkState, FatalError> {
        let state = state_after(failure)?;
        self.reconnect.on_failure(failure);
        self.inbox.set_unstable(self.reconnect.is_unstable());
        match self.options.preference() {
            _ if std::mem::replace(warned, true) => trace!(why = %failure, "no QUIC connection"),
            Preference::QuicPreferred => warn!(
                why = %failure,
                "no QUIC connection to the relay; frames come over UDP until there is one"
            ),
            // The window and the log show the connection's state.
            Preference::UdpOnly | Preference::QuicOnly => {
                debug!(why = %failure, "no QUIC connection")
            }
        }
        Ok(state)
    }

    /// Receives by QUIC until the connection ends. Returns the state of QUIC after it.
    async fn receive_by_quic(
        &mut self,
        relay: SocketAddr,
        session: Session,
    ) -> Result<LinkState, FatalError> {
        let known = self.reconnect.is_unstable();
        match known {
            true => debug!(%relay, "connected by QUIC"),
            false => info!(%relay, "connected by QUIC"),
        }
        if !std::mem::replace(&mut self.explained, true) && !self.options.has_ticket() {
            info!(
                "the connection is encrypted, but the relay's certificate is not verified; a ticket \
                 (relay-server --private) verifies it"
            );
        }
        let now = Instant::now();
        self.address.report(relay, Outcome::Answered);
        self.inbox
            .set_relay(RelayKind::Sightline, LinkState::Open, now);
        let why = quic::receive(session, &mut self.inbox).await;
        // It has answered until a moment ago, whatever the reason of the end.
        self.address.report(relay, Outcome::Answered);
        self.reconnect.on_end(now.elapsed());
        self.inbox.set_unstable(self.reconnect.is_unstable());
        match known && self.reconnect.is_unstable() {
            true => debug!(%relay, %why, "the connection has ended"),
            false => info!(%relay, %why, "the connection has ended"),
        }
        state_after(&why)
    }
}

/// Returns when the value changes.
async fn changed<T>(value: &mut watch::Receiver<T>) {
    if value.changed().await.is_err() {
        // Nothing chooses another camera any more.
        std::future::pending::<()>().await;
    }
}

/// Returns the state of QUIC after a try or a connection that ended like this.
fn state_after(end: &ConnectFailure) -> Result<LinkState, FatalError> {
    match end {
        _ if !end.is_temporary() => Err(FatalError(end.to_string())),
        ConnectFailure::Refused(Refusal::Full) | ConnectFailure::NotAccepted => Ok(LinkState::Full),
        // A peer that does not complete the handshake is of another kind or version.
        ConnectFailure::Nonsense
        | ConnectFailure::Lost(
            ConnectionError::ConnectionClosed(_)
            | ConnectionError::TransportError(_)
            | ConnectionError::VersionMismatch,
        ) => Ok(LinkState::Nonsense),
        _ => Ok(LinkState::Closed),
    }
}

#[cfg(test)]
mod tests;
