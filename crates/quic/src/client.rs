//! A peer's end of a connection: connects, sends the hello, receives the answer; then exchanges clocks and messages.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use platform::clock::steady_micros;
use platform::server::Outcome;
use platform::udp;
use protocol::quic::{self, Answer, ClientMessage, Hello, Refusal, ServerMessage};
use protocol::ticket::Key;
use quinn::{
    ClientConfig, ConnectError, Connection, ConnectionError, Endpoint, SendStream,
    TransportErrorCode, VarInt,
};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::debug;

use crate::clock::{Offset, OffsetEstimator};
use crate::endpoint;
use crate::frames::CONTROL_PRIORITY;
use crate::identity::{CertificateVerifier, NAME};
use crate::lines::Lines;
use crate::shown;

/// Close code of a connection that ends as intended.
pub const DONE: VarInt = VarInt::from_u32(0);
/// Timeouts of the attempts to connect, in turn: short ones, so that a path that is back is found at once, and a longer
/// one for paths on which a handshake takes that long.
const ATTEMPT_TIMEOUTS: [Duration; 4] = [
    Duration::from_millis(1500),
    Duration::from_millis(1500),
    Duration::from_millis(1500),
    Duration::from_millis(5000),
];

/// Addresses whose attempts are counted.
const MAX_COUNTED: usize = 64;
/// A QUIC packet of version 1 that is cut within its header: a relay drops it, and the host of a closed port reports
/// that to the connected socket that sent it, as it does not to quinn's socket.
const CLOSED_PORT_PROBE: [u8; 24] = {
    let mut packet = [0; 24];
    (packet[0], packet[4]) = (0xC0, 1);
    packet
};

/// Connects to relays.
#[derive(Debug)]
pub struct Client {
    ipv4: Option<Endpoint>,
    ipv6: Option<Endpoint>,
    config: ClientConfig,
    verifier: Arc<CertificateVerifier>,
    /// Attempts at each address since the last connection.
    attempts: HashMap<SocketAddr, usize>,
}

/// Why a QUIC connection to a relay did not open.
#[derive(Debug, thiserror::Error)]
pub enum ConnectFailure {
    /// No answer, or none in time.
    #[error("nothing answers")]
    Silence,
    /// A report of the relay's host.
    #[error("no program listens at that port")]
    PortClosed,
    /// A certificate that is not the ticket's.
    #[error(
        "the relay's certificate is not the ticket's: this is another relay, its --state was lost, or another \
         machine intercepts the connection; on the relay's machine, relay-server ticket add makes another ticket"
    )]
    Certificate,
    /// A refusal by the relay.
    #[error("{0}")]
    Refused(Refusal),
    /// An answer that is not one.
    #[error("what answers there is not a relay, or of another version")]
    Nonsense,
    /// A relay that takes no connection now.
    #[error("the relay takes no connection now: it has no room for another one, or stops")]
    NotAccepted,
    /// A connection that ended.
    #[error("{}", shown(.0))]
    Lost(ConnectionError),
    /// A failure of this host.
    #[error("{}", shown(.0))]
    Host(#[from] io::Error),
}

// Not `#[from]`: that would make it the source too, whose text has the peer's close reason as it is.
impl From<ConnectionError> for ConnectFailure {
    fn from(end: ConnectionError) -> Self {
        Self::Lost(end)
    }
}

impl ConnectFailure {
    /// Returns why a connection has ended: a refusal, if the relay sent that as its reason.
    pub fn of_connection(err: ConnectionError) -> Self {
        match err {
            ConnectionError::TimedOut => Self::Silence,
            ConnectionError::ApplicationClosed(ref close) => {
                quic::from_line::<Refusal>(&close.reason).map_or(Self::Lost(err), Self::Refused)
            }
            // A relay that has no slot left, or stops, does not spend a handshake on that answer.
            ConnectionError::ConnectionClosed(ref close)
                if close.error_code == TransportErrorCode::CONNECTION_REFUSED =>
            {
                Self::NotAccepted
            }
            other => Self::Lost(other),
        }
    }

    /// Returns whether a later attempt may succeed with nothing changed at this end.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Certificate => false,
            Self::Refused(refusal) => refusal.is_temporary(),
            Self::Silence
            | Self::PortClosed
            | Self::Nonsense
            | Self::NotAccepted
            | Self::Lost(_)
            | Self::Host(_) => true,
        }
    }

    /// Returns what the failure tells of the relay's address.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Silence | Self::Lost(ConnectionError::TimedOut) => Outcome::Silent,
            Self::PortClosed => Outcome::Refused,
            Self::Host(_) => Outcome::Unreachable,
            Self::Certificate
            | Self::Refused(_)
            | Self::Nonsense
            | Self::NotAccepted
            | Self::Lost(_) => Outcome::Answered,
        }
    }
}

/// An open connection, accepted by the relay.
#[derive(Debug)]
pub struct Session {
    /// The connection, for frames.
    pub connection: Connection,
    /// The relay's answer, with the cameras that are live.
    pub answer: Answer,
    /// The stream of control messages.
    pub control: ControlStream,
}

impl Client {
    /// Returns a client that trusts the relay with the pinned fingerprint alone, or any, with a socket for the address
    /// family of this relay. Call it inside a tokio runtime.
    ///
    /// # Errors
    /// If the system has no socket of that family left.
    pub fn new(relay: SocketAddr, pinned: Option<Key>) -> io::Result<Self> {
        Self::bound(udp::unconnected(relay)?, pinned)
    }

    /// Returns a client on a socket of the caller, which chose its address.
    ///
    /// # Errors
    /// If the socket cannot be used.
    pub fn bound(socket: UdpSocket, pinned: Option<Key>) -> io::Result<Self> {
        let verifier = Arc::new(CertificateVerifier::new(pinned, endpoint::ring_provider()));
        let mut client = Self {
            ipv4: None,
            ipv6: None,
            config: endpoint::client_config(Arc::clone(&verifier))?,
            verifier,
            attempts: HashMap::new(),
        };
        let family = socket.local_addr()?;
        *client.endpoint_mut(family) = Some(endpoint::client(socket)?);
        Ok(client)
    }

    fn endpoint_mut(&mut self, family_of: SocketAddr) -> &mut Option<Endpoint> {
        match family_of {
            SocketAddr::V4(_) => &mut self.ipv4,
            SocketAddr::V6(_) => &mut self.ipv6,
        }
    }

    fn endpoint(&self, family_of: SocketAddr) -> io::Result<&Endpoint> {
        let endpoint = match family_of {
            SocketAddr::V4(_) => self.ipv4.as_ref(),
            SocketAddr::V6(_) => self.ipv6.as_ref(),
        };
        endpoint.ok_or_else(|| ErrorKind::NotConnected.into())
    }

    /// Makes one attempt to connect to the relay at this address.
    ///
    /// # Errors
    /// [`ConnectFailure`].
    pub async fn open(
        &mut self,
        relay: SocketAddr,
        hello: &Hello,
    ) -> Result<Session, ConnectFailure> {
        if self.endpoint(relay).is_err() {
            let socket = udp::unconnected(relay)?;
            *self.endpoint_mut(relay) = Some(endpoint::client(socket)?);
        }
        let limit = self.next_timeout(relay);
        let session = tokio::select! {
            opened = timeout(limit, self.attempt(relay, hello)) => {
                opened.map_err(|_| ConnectFailure::Silence)??
            }
            failure = closed_port(relay) => return Err(failure),
        };
        self.attempts.clear();
        Ok(session)
    }

    /// Counts an attempt, and returns how long it may take.
    fn next_timeout(&mut self, relay: SocketAddr) -> Duration {
        if self.attempts.len() == MAX_COUNTED {
            self.attempts.clear();
        }
        let attempts = self.attempts.entry(relay).or_default();
        let limit = ATTEMPT_TIMEOUTS[*attempts % ATTEMPT_TIMEOUTS.len()];
        *attempts += 1;
        limit
    }

    async fn attempt(&self, relay: SocketAddr, hello: &Hello) -> Result<Session, ConnectFailure> {
        self.verifier
            .fingerprint_mismatch
            .store(false, Ordering::Relaxed);
        let connecting = self
            .endpoint(relay)?
            .connect_with(self.config.clone(), relay, NAME)
            .map_err(host_failure)?;
        let connection = connecting.await.map_err(|err| self.failure(err))?;
        let opened = handshake(&connection, hello).await;
        opened.map_err(|failure| match failure {
            // The end of the connection, which names the refusal too, may overtake the line with it.
            ConnectFailure::Lost(err) => self.failure(err),
            other => other,
        })
    }

    /// Returns the cause of a connection's end.
    fn failure(&self, err: ConnectionError) -> ConnectFailure {
        if self.verifier.fingerprint_mismatch.load(Ordering::Relaxed) {
            return ConnectFailure::Certificate;
        }
        ConnectFailure::of_connection(err)
    }

    /// Opens a connection without a hello: for tests and benchmarks.
    ///
    /// # Errors
    /// [`ConnectFailure`].
    pub async fn connect(&self, relay: SocketAddr) -> Result<Connection, ConnectFailure> {
        let endpoint = self.endpoint(relay)?;
        let connecting = endpoint.connect_with(self.config.clone(), relay, NAME);
        Ok(connecting.map_err(host_failure)?.await?)
    }

    /// Closes the connections, and waits until the relay has received that, at most for `limit`.
    pub async fn close(self, limit: Duration) {
        let close = async {
            for endpoint in [self.ipv4, self.ipv6].iter().flatten() {
                endpoint.close(DONE, b"");
                endpoint.wait_idle().await;
            }
        };
        let _ = timeout(limit, close).await;
    }
}

/// Opens a connection to any relay, without a hello: for tests and benchmarks.
///
/// # Errors
/// [`ConnectFailure`].
pub async fn connect(relay: SocketAddr) -> Result<Connection, ConnectFailure> {
    Client::new(relay, None)?.connect(relay).await
}

/// Returns why nothing can be received from this address, once the relay's host or this one reports it: in milliseconds,
/// where an attempt to connect takes seconds.
async fn closed_port(relay: SocketAddr) -> ConnectFailure {
    let socket = udp::connected(relay, None).and_then(tokio::net::UdpSocket::from_std);
    let socket = match socket {
        Ok(socket) => socket,
        Err(err) => return err.into(),
    };
    let _ = socket.send(&CLOSED_PORT_PROBE).await;
    match socket.recv(&mut [0]).await {
        Err(err) if err.kind() == ErrorKind::ConnectionRefused => ConnectFailure::PortClosed,
        _ => std::future::pending().await,
    }
}

fn host_failure(err: ConnectError) -> ConnectFailure {
    ConnectFailure::Host(io::Error::other(err))
}

/// Sends the hello, and receives the answer.
async fn handshake(connection: &Connection, hello: &Hello) -> Result<Session, ConnectFailure> {
    let (mut send, receive) = connection.open_bi().await?;
    // A clock exchange that waits behind a frame measures that wait.
    let _ = send.set_priority(CONTROL_PRIORITY);
    send.write_all(&quic::to_line(hello))
        .await
        .map_err(io::Error::other)?;
    let mut lines = Lines::new(receive);
    let Ok(line) = lines.next().await else {
        // The end of the connection, which follows, holds the reason.
        return Err(connection.closed().await.into());
    };
    let answer: Answer = quic::from_line(&line).ok_or(ConnectFailure::Nonsense)?;
    match answer.refusal {
        None if answer.ok => Ok(Session {
            connection: connection.clone(),
            answer,
            control: ControlStream {
                send,
                lines,
                clock: OffsetEstimator::default(),
                next_ping: Instant::now(),
            },
        }),
        Some(refusal) => Err(ConnectFailure::Refused(refusal)),
        None => Err(ConnectFailure::Nonsense),
    }
}

/// The stream of control messages: clock exchanges, and the relay's other messages.
#[derive(Debug)]
pub struct ControlStream {
    send: SendStream,
    lines: Lines,
    clock: OffsetEstimator,
    next_ping: Instant,
}

/// An event of the control stream.
#[derive(Debug, PartialEq, Eq)]
pub enum ControlEvent {
    /// A new estimate of the relay's clock less ours, by both hosts' steady clocks.
    Offset(Offset),
    /// A message of the relay.
    Message(ServerMessage),
}

impl ControlStream {
    /// Exchanges clocks while it is awaited, and returns the next event. Cancel-safe.
    ///
    /// # Errors
    /// The connection's end, or a line that is too long.
    pub async fn next(&mut self) -> io::Result<ControlEvent> {
        loop {
            tokio::select! {
                line = self.lines.next() => {
                    let line = line.map_err(io::Error::other)?;
                    match quic::from_line(&line) {
                        Some(ServerMessage::Pong(pong)) => {
                            if let Some(offset) = self.clock.on_pong(pong, steady_micros()) {
                                return Ok(ControlEvent::Offset(offset));
                            }
                        }
                        Some(message) => return Ok(ControlEvent::Message(message)),
                        None => debug!("unknown control message ignored"),
                    }
                }
                () = sleep_until(self.next_ping) => {
                    self.next_ping = Instant::now() + self.clock.interval();
                    let ping = self.clock.ping(steady_micros());
                    self.send(&ClientMessage::Ping(ping)).await?;
                }
            }
        }
    }

    /// Sends a message.
    ///
    /// # Errors
    /// The connection's end.
    pub async fn send(&mut self, message: &ClientMessage) -> io::Result<()> {
        self.send
            .write_all(&quic::to_line(message))
            .await
            .map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use quinn::ConnectionClose;

    use super::*;

    #[test]
    fn a_connection_that_is_refused_before_its_handshake_met_a_full_relay() {
        let of = |error_code| {
            let close = ConnectionClose {
                error_code,
                frame_type: None,
                reason: Vec::new().into(),
            };
            ConnectFailure::of_connection(ConnectionError::ConnectionClosed(close))
        };
        let refused = of(TransportErrorCode::CONNECTION_REFUSED);
        assert!(matches!(refused, ConnectFailure::NotAccepted));
        assert!(refused.is_temporary());
        let broken = of(TransportErrorCode::PROTOCOL_VIOLATION);
        assert!(matches!(broken, ConnectFailure::Lost(_)));
    }
}
