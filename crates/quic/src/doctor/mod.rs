//! Checks of `pi-sender doctor` and `viewer doctor` on their relay: whether its name resolves, which transports it
//! answers by, what the path carries, and how far the clocks are apart.
//!
//! They send what the program itself would send: with a ticket or `--transport quic` nothing by plain UDP, and to a
//! relay that may be the tutorial's, which crashes on anything but a JPEG, a probe of one pixel and nothing else. This
//! module sends and measures; `judge` turns the outcomes into lines.

mod addresses;
mod judge;
#[cfg(test)]
mod tests;

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use platform::config::TransportChoice;
use platform::doctor::{Check, Report};
use platform::server::{self, Server};
use platform::udp;
use protocol::SMALL_FRAME;
use protocol::control::{Control, LeaseVerdict, Question};
use protocol::datagram::{Datagram, Foreign, MAX_DATAGRAM, classify};
use protocol::label::CameraName;
use protocol::quic::{Hello, Refusal, Role, ServerMessage, Trial};
use quinn::Connection;
use tokio::net::UdpSocket;
use tokio::time::{sleep, timeout};

use self::addresses::Found;
use crate::client::{Client, ConnectFailure, ControlEvent, Session};
use crate::clock::Offset;

/// Attempts of a probe.
const PROBE_ATTEMPTS: usize = 3;
/// Attempts of a probe of [`SMALL_FRAME`] bytes: a lossy path drops one of its eleven IP fragments now and then.
const LARGE_PROBE_ATTEMPTS: usize = 5;
/// Time that each attempt waits for its answer.
const PROBE_TIMEOUT: Duration = Duration::from_millis(400);
/// Largest packet that quinn tries on a path, in bytes of UDP payload; it passes every usual tunnel.
const MAX_PACKET: u16 = 1452;
/// Time for QUIC to find out the largest packet that the path carries.
const PATH_TIMEOUT: Duration = Duration::from_secs(1);
/// Time for the first clock exchanges.
const CLOCK_TIMEOUT: Duration = Duration::from_millis(500);
/// Time for the relay to receive the end of the connection.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(200);

/// The check of the relay that a sender or a viewer would use.
#[derive(Debug, Clone, Copy)]
pub struct RelayCheck<'a> {
    /// The relay.
    pub server: &'a Server,
    /// The transport that the program would use.
    pub transport: TransportChoice,
    /// The program's role.
    pub role: Role,
    /// The camera that the program sends, or wants to view.
    pub camera: Option<&'a CameraName>,
}

/// How the program would use the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Way {
    role: Role,
    transport: TransportChoice,
}

/// Outcome of a probe by the `udp` transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum UdpOutcome {
    /// No probe was sent.
    Skipped,
    /// An answer of our relay, after so long.
    Relay(LeaseVerdict, Duration),
    /// A report of the host that no program listens.
    Refused,
    /// No answer.
    Silent,
    /// No route to the address, or no addresses of its family on this host.
    NoRoute,
}

/// Outcome of a QUIC connection attempt.
#[derive(Debug)]
enum QuicOutcome {
    /// No attempt was made.
    Skipped,
    /// A connection with this round trip.
    Open(Duration),
    Failed(ConnectFailure),
}

impl RelayCheck<'_> {
    /// Runs the checks, and adds their results to the report as they come. Returns those on a relay that does not answer,
    /// which are not in the report yet: HTTP may lead to it. Blocks until they are done.
    ///
    /// # Errors
    /// If the system gives no runtime.
    pub fn run(&self, report: &mut Report) -> io::Result<Vec<Check>> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let unanswered = runtime.block_on(self.check(report));
        // A DNS query may hang for longer than a user waits.
        runtime.shutdown_background();
        Ok(unanswered)
    }

    async fn check(&self, report: &mut Report) -> Vec<Check> {
        let host = self.server.to_string();
        let resolved = server::resolve(&host).await;
        report.add(&judge::name(&host, &resolved));
        let addresses = resolved.unwrap_or_default();
        let (found, tried) = self.find(&addresses).await;
        let address = addresses::judge(&tried, addresses.len());
        let Some(found) = found else {
            return Vec::new();
        };
        let lines = address
            .into_iter()
            .chain(judge::udp(found.udp, self.server.host().port(), self.way()))
            .chain(judge::quic(found.udp, &found.quic, self.way()));
        if !found.answers() {
            return lines.collect();
        }
        report.extend(lines);
        let Found {
            relay,
            udp,
            quic,
            session,
            ..
        } = found;
        let refusal = self.refusal_by_udp(relay, udp).await;
        report.extend(refusal.map(judge::refusal_by_udp));
        if self.role == Role::Send && matches!(udp, UdpOutcome::Relay(..)) {
            let large = probe(relay, SMALL_FRAME, LARGE_PROBE_ATTEMPTS).await;
            report.add(&judge::fragments(large, &quic));
        }
        report.extend(self.cameras_of_udp_relay(relay, udp).await);
        if let Some((client, mut session)) = session {
            report.add(&judge::path(packet_size(&session.connection).await));
            let first = first_messages(&mut session).await;
            report.extend(first.offset.map(judge::clocks));
            if self.role == Role::View {
                report.add(&judge::cameras(
                    self.camera,
                    &session.answer.cameras,
                    first.foreign,
                ));
            }
            drop(session);
            client.close(CLOSE_TIMEOUT).await;
        }
        Vec::new()
    }

    /// Returns what a sender asks in place of joining: a check takes no camera's name and no slot.
    fn trial(&self) -> Option<Trial> {
        match (self.role, self.transport) {
            (Role::View, _) => None,
            (Role::Send, TransportChoice::Udp) => Some(Trial::Udp),
            (Role::Send, TransportChoice::Auto | TransportChoice::Quic) => Some(Trial::Quic),
        }
    }

    /// Returns why a relay of ours would refuse a sender that uses UDP alone, which it asks by QUIC.
    async fn refusal_by_udp(&self, relay: SocketAddr, udp: UdpOutcome) -> Option<Refusal> {
        let by_udp = self.trial() == Some(Trial::Udp);
        let is_ours = matches!(udp, UdpOutcome::Relay(..));
        if !by_udp || !is_ours {
            return None;
        }
        match self.open(relay).await {
            Err(ConnectFailure::Refused(refusal)) => Some(refusal),
            _ => None,
        }
    }

    /// Returns the check of the cameras for a viewer that uses UDP alone. Its transport names neither cameras nor wrong input,
    /// so both are requested of a relay of ours by QUIC; `None` if that does not open.
    async fn cameras_of_udp_relay(&self, relay: SocketAddr, udp: UdpOutcome) -> Option<Check> {
        let by_udp = self.role == Role::View && self.transport == TransportChoice::Udp;
        if !by_udp || !matches!(udp, UdpOutcome::Relay(LeaseVerdict::Welcome, _)) {
            return None;
        }
        let (client, mut session) = self.open(relay).await.ok()?;
        let first = first_messages(&mut session).await;
        let check = judge::cameras(self.camera, &session.answer.cameras, first.foreign);
        drop(session);
        client.close(CLOSE_TIMEOUT).await;
        Some(check)
    }

    fn way(&self) -> Way {
        Way {
            role: self.role,
            transport: self.transport,
        }
    }

    fn may_use_udp(&self) -> bool {
        self.server.ticket().is_none() && self.transport != TransportChoice::Quic
    }

    async fn try_quic(
        &self,
        relay: SocketAddr,
        udp: UdpOutcome,
    ) -> (QuicOutcome, Option<(Client, Session)>) {
        // A relay that does not answer may be the tutorial's, which crashes on QUIC.
        let unanswered = matches!(
            udp,
            UdpOutcome::Refused | UdpOutcome::Silent | UdpOutcome::NoRoute
        );
        if self.transport == TransportChoice::Udp || unanswered {
            return (QuicOutcome::Skipped, None);
        }
        match self.open(relay).await {
            Ok((client, session)) => {
                let round_trip = session.connection.rtt();
                (QuicOutcome::Open(round_trip), Some((client, session)))
            }
            Err(failure) => (QuicOutcome::Failed(failure), None),
        }
    }

    async fn open(&self, relay: SocketAddr) -> Result<(Client, Session), ConnectFailure> {
        let ticket = self.server.ticket();
        let mut client = Client::new(relay, ticket.map(|ticket| ticket.fingerprint))?;
        let hello = Hello {
            role: self.role,
            camera: self.camera.map(ToString::to_string),
            token: ticket.map(|ticket| ticket.token.to_string()),
            stream: None,
            cookie: None,
            trial: self.trial(),
            original: false,
        };
        let opened = match client.open(relay, &hello).await {
            Err(ConnectFailure::Silence) => client.open(relay, &hello).await,
            opened => opened,
        };
        Ok((client, opened?))
    }
}

/// Returns whether a relay of ours answers at this address.
pub async fn is_relay(address: SocketAddr) -> bool {
    matches!(
        probe(address, 0, PROBE_ATTEMPTS).await,
        UdpOutcome::Relay(..)
    )
}

/// Sends a probe as a datagram of at least `size` bytes, since zeros may follow a JPEG, until it is answered.
async fn probe(relay: SocketAddr, size: usize, attempts: usize) -> UdpOutcome {
    let nonce = getrandom::u64().unwrap_or_default();
    let mut datagram = Control::Probe(Question::new(nonce, None)).write();
    datagram.resize(size.max(datagram.len()), 0);
    let Ok(socket) = udp::connected(relay, None).and_then(UdpSocket::from_std) else {
        return UdpOutcome::NoRoute;
    };
    for _ in 0..attempts {
        let sent = Instant::now();
        // A datagram that cannot be sent has no answer.
        let _ = socket.send(&datagram).await;
        match timeout(PROBE_TIMEOUT, answer(&socket, nonce)).await {
            Ok(Ok(verdict)) => return UdpOutcome::Relay(verdict, sent.elapsed()),
            Ok(Err(err)) if err.kind() == ErrorKind::ConnectionRefused => {
                return UdpOutcome::Refused;
            }
            Ok(Err(_)) | Err(_) => {}
        }
    }
    UdpOutcome::Silent
}

/// Receives the answer to the probe with this nonce, and ignores all other datagrams.
async fn answer(socket: &UdpSocket, probe: u64) -> io::Result<LeaseVerdict> {
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        let length = socket.recv(&mut buffer).await?;
        match classify(buffer[..length].to_vec()) {
            Ok(Datagram::Control(Control::Accept { nonce, verdict, .. })) if nonce == probe => {
                return Ok(verdict);
            }
            _ => {}
        }
    }
}

/// Returns the largest packet that the path carries, in bytes of UDP payload, as QUIC finds it out.
async fn packet_size(connection: &Connection) -> u16 {
    let search = async {
        while connection.stats().path.current_mtu < MAX_PACKET {
            sleep(Duration::from_millis(20)).await;
        }
    };
    let _ = timeout(PATH_TIMEOUT, search).await;
    connection.stats().path.current_mtu
}

/// What a session's first messages tell.
#[derive(Debug, Default)]
struct FirstMessages {
    /// The relay's clock less ours, by the best of the first exchanges.
    offset: Option<Offset>,
    /// What other software sends to the relay in place of JPEGs.
    foreign: Option<Foreign>,
}

async fn first_messages(session: &mut Session) -> FirstMessages {
    let mut first = FirstMessages::default();
    let exchanges = async {
        while let Ok(event) = session.control.next().await {
            match event {
                ControlEvent::Offset(offset) => first.offset = Some(offset),
                ControlEvent::Message(ServerMessage::Foreign(foreign)) => first.foreign = foreign,
                ControlEvent::Message(_) => {}
            }
        }
    };
    let _ = timeout(CLOCK_TIMEOUT, exchanges).await;
    first
}
