//! A peer's way in: connect, say hello, hear the answer; then frames one way, and each other's clocks.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use platform::clock::unix_micros;
use platform::udp;
use protocol::quic::{self, Answer, ClientMessage, Hello, Refusal, ServerMessage};
use protocol::ticket::Key;
use quinn::{
    ClientConfig, ConnectError, Connection, ConnectionError, Endpoint, SendStream, VarInt,
};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::debug;

use crate::clock::{Clock, Offset};
use crate::endpoint;
use crate::frames::CONTROL_PRIORITY;
use crate::identity::{NAME, Trust};
use crate::lines::Lines;

/// A connection's end that was meant.
pub const DONE: VarInt = VarInt::from_u32(0);
/// Tries to connect, again and again: short ones, so that a path that is back is found at once; each few a longer one,
/// for paths on which a handshake takes that long.
const TRIES: [Duration; 4] = [
    Duration::from_millis(1500),
    Duration::from_millis(1500),
    Duration::from_millis(1500),
    Duration::from_millis(5000),
];

/// Connects to relays.
#[derive(Debug)]
pub struct Client {
    endpoint: Endpoint,
    v4: bool,
    config: ClientConfig,
    trust: Arc<Trust>,
    tries: usize,
}

/// Why a relay's native door did not open.
#[derive(Debug, thiserror::Error)]
pub enum ConnectFailure {
    /// Nothing answers there, or not in time: it may later.
    #[error("nothing answers")]
    Silence,
    /// What answers has another certificate than the ticket says.
    #[error(
        "the relay's certificate is not the ticket's: this is another relay, its --state was lost, or somebody stands \
         between; its log shows the ticket in force"
    )]
    Certificate,
    /// The relay says no.
    #[error("{0}")]
    Refused(Refusal),
    /// It ended while it began.
    #[error("{0}")]
    Lost(#[from] ConnectionError),
    /// This host cannot.
    #[error("{0}")]
    Host(#[from] io::Error),
}

impl ConnectFailure {
    /// Whether another try may succeed without anybody's doing something here.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Certificate => false,
            Self::Refused(refusal) => refusal.is_temporary(),
            Self::Silence | Self::Lost(_) | Self::Host(_) => true,
        }
    }
}

/// An open door.
#[derive(Debug)]
pub struct Session {
    /// For frames.
    pub connection: Connection,
    /// What the relay answered: the cameras that are live.
    pub answer: Answer,
    /// For what else is said.
    pub control: ControlStream,
}

impl Client {
    /// A client for relays in the address family of this one, that trusts the one with this fingerprint alone, or any.
    /// Call it inside a tokio runtime.
    ///
    /// # Errors
    /// Where the system has no socket of that family left.
    pub fn new(relay: SocketAddr, pinned: Option<Key>) -> io::Result<Self> {
        let trust = Arc::new(Trust::new(pinned, endpoint::ring_provider()));
        Ok(Self {
            endpoint: endpoint::client(udp::unconnected(relay)?)?,
            v4: relay.is_ipv4(),
            config: endpoint::client_config(Arc::clone(&trust))?,
            trust,
            tries: 0,
        })
    }

    /// Whether it can reach a relay at this address.
    pub fn is_for(&self, relay: SocketAddr) -> bool {
        self.v4 == relay.is_ipv4()
    }

    /// Tries once to open the door of the relay at this address.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn open(
        &mut self,
        relay: SocketAddr,
        hello: &Hello,
    ) -> Result<Session, ConnectFailure> {
        let patience = TRIES[self.tries % TRIES.len()];
        self.tries += 1;
        let opened = timeout(patience, self.try_to_open(relay, hello)).await;
        let session = opened.map_err(|_| ConnectFailure::Silence)??;
        self.tries = 0;
        Ok(session)
    }

    async fn try_to_open(
        &self,
        relay: SocketAddr,
        hello: &Hello,
    ) -> Result<Session, ConnectFailure> {
        self.trust
            .fingerprint_mismatch
            .store(false, Ordering::Relaxed);
        let connecting = self
            .endpoint
            .connect_with(self.config.clone(), relay, NAME)
            .map_err(cannot)?;
        let connection = connecting.await.map_err(|err| self.explain(err))?;
        let opened = handshake(&connection, hello).await;
        opened.map_err(|failure| match failure {
            // The refusal's line may be overtaken by the end of the connection, which says it too.
            ConnectFailure::Lost(err) => self.explain(err),
            other => other,
        })
    }

    fn explain(&self, err: ConnectionError) -> ConnectFailure {
        if self.trust.fingerprint_mismatch.load(Ordering::Relaxed) {
            return ConnectFailure::Certificate;
        }
        match err {
            ConnectionError::TimedOut => ConnectFailure::Silence,
            ConnectionError::ApplicationClosed(ref close) => {
                quic::from_line::<Refusal>(&close.reason)
                    .map_or(ConnectFailure::Lost(err), ConnectFailure::Refused)
            }
            other => ConnectFailure::Lost(other),
        }
    }

    /// Waits until the relay knows that we are gone, at most for `patience`.
    pub async fn close(self, patience: Duration) {
        self.endpoint.close(DONE, b"");
        let _ = timeout(patience, self.endpoint.wait_idle()).await;
    }
}

/// A bare connection to whatever relay is there, without a hello: for tests and benchmarks.
///
/// # Errors
/// [`Failure`].
pub async fn connect(relay: SocketAddr) -> Result<Connection, ConnectFailure> {
    let client = Client::new(relay, None)?;
    let connecting = client
        .endpoint
        .connect_with(client.config.clone(), relay, NAME);
    Ok(connecting.map_err(cannot)?.await?)
}

fn cannot(err: ConnectError) -> ConnectFailure {
    ConnectFailure::Host(io::Error::other(err))
}

async fn handshake(connection: &Connection, hello: &Hello) -> Result<Session, ConnectFailure> {
    let (mut say, told) = connection.open_bi().await?;
    // A question for the clock that waits behind a frame has a wrong answer.
    let _ = say.set_priority(CONTROL_PRIORITY);
    say.write_all(&quic::to_line(hello))
        .await
        .map_err(io::Error::other)?;
    let mut lines = Lines::new(told);
    let Ok(line) = lines.next().await else {
        // Why is told by the end of the connection, which is near.
        return Err(connection.closed().await.into());
    };
    let answer: Answer = quic::from_line(&line).ok_or(ConnectFailure::Refused(Refusal::Hello))?;
    match answer.refusal {
        None if answer.ok => Ok(Session {
            connection: connection.clone(),
            answer,
            control: ControlStream {
                say,
                lines,
                clock: Clock::default(),
                next: Instant::now(),
            },
        }),
        refusal => Err(ConnectFailure::Refused(refusal.unwrap_or(Refusal::Hello))),
    }
}

/// What is said beside frames: whose clock says what, and what else the relay tells.
#[derive(Debug)]
pub struct ControlStream {
    say: SendStream,
    lines: Lines,
    clock: Clock,
    next: Instant,
}

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub enum ControlEvent {
    /// The relay's clock less ours.
    Offset(Offset),
    /// Another word of the relay's.
    Message(ServerMessage),
}

impl ControlStream {
    /// Compares clocks for as long as it is awaited, and tells what came of it. May be cancelled.
    ///
    /// # Errors
    /// The connection's end, or a relay that talks nonsense.
    pub async fn next(&mut self) -> io::Result<ControlEvent> {
        loop {
            tokio::select! {
                line = self.lines.next() => {
                    let line = line.map_err(io::Error::other)?;
                    match quic::from_line(&line) {
                        Some(ServerMessage::Pong(pong)) => {
                            if let Some(offset) = self.clock.on_pong(pong, unix_micros()) {
                                return Ok(ControlEvent::Offset(offset));
                            }
                        }
                        Some(told) => return Ok(ControlEvent::Message(told)),
                        None => debug!("the relay says what this version does not know"),
                    }
                }
                () = sleep_until(self.next) => {
                    self.next = Instant::now() + self.clock.interval();
                    let ping = self.clock.ping(unix_micros());
                    self.send(&ClientMessage::Ping(ping)).await?;
                }
            }
        }
    }

    /// Says something.
    ///
    /// # Errors
    /// The connection's end.
    pub async fn send(&mut self, said: &ClientMessage) -> io::Result<()> {
        self.say
            .write_all(&quic::to_line(said))
            .await
            .map_err(io::Error::other)
    }
}
