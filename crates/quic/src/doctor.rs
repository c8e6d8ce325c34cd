//! What a sender and a viewer ask of their relay before they blame anything else: does its name resolve, which of its
//! doors open, what does the path between carry, and are the clocks far apart.
//!
//! Asked as the program itself would ask: with a ticket or by `--transport quic` nothing goes plainly, and a tutorial's
//! relay, which dies of what is no JPEG, gets a probe of one pixel and nothing else.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use platform::config::Transport;
use platform::doctor::{Check, Report};
use platform::server::{self, Server};
use platform::udp;
use protocol::SMALL_FRAME;
use protocol::control::{Control, Verdict};
use protocol::datagram::{Datagram, MAX_DATAGRAM, classify};
use protocol::label::CameraName;
use protocol::quic::{Hello, Refusal, Role};
use quinn::Connection;
use tokio::net::UdpSocket;
use tokio::time::{sleep, timeout};

use crate::client::{Client, ConnectFailure, ControlEvent, Session};
use crate::clock::Offset;

/// How often a probe is said, and how long each waits for its answer.
const TRIES: usize = 3;
const ANSWER: Duration = Duration::from_millis(400);
/// Tries of it: of its eleven pieces a lossy path loses one now and then.
const LARGE_TRIES: usize = 5;
/// What QUIC tries at most on a path (bytes of UDP payload): quinn's upper bound, which passes every usual tunnel.
const WHOLE: u16 = 1452;
/// For QUIC to find out what the path carries, and for the first clock exchanges.
const PATH: Duration = Duration::from_secs(1);
const CLOCKS: Duration = Duration::from_millis(500);
/// Clocks further apart than this are worth a word.
const APART_US: u64 = 500_000;
/// For the relay to hear that we are gone.
const LAST_WORD: Duration = Duration::from_millis(200);

/// Who asks, and for what.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The relay.
    pub server: &'a Server,
    /// Which of its doors the program would use.
    pub transport: Transport,
    /// As what.
    pub role: Role,
    /// The camera that it is, or wants to see.
    pub camera: Option<&'a CameraName>,
}

/// What a probe at the plain door met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plain {
    /// It was not asked.
    Unasked,
    /// A relay of ours, after so long.
    Relay(Verdict, Duration),
    /// The host says that nobody listens.
    Refused,
    /// Nothing.
    Silent,
}

/// What came of the native door.
#[derive(Debug)]
enum Native {
    Unasked,
    Open(Duration),
    Shut(ConnectFailure),
}

impl Question<'_> {
    /// Asks, and reports what comes of it.
    pub async fn ask(&self, report: &mut Report) {
        let host = self.server.to_string();
        let found = server::resolve(&host).await;
        report.add(&judge_name(&host, &found));
        let Ok(relay) = found else { return };
        let plain = match self.plainly() {
            true => probe(relay, 0, TRIES).await,
            false => Plain::Unasked,
        };
        let (native, session) = self.knock(relay, plain).await;
        report.extend(judge_plain(plain, self.server.host().port()));
        report.extend(judge_native(plain, &native, self.transport));
        if self.role == Role::Send && matches!(plain, Plain::Relay(..)) {
            let large = probe(relay, SMALL_FRAME, LARGE_TRIES).await;
            report.add(&judge_large(large, &native));
        }
        if let Some((client, mut session)) = session {
            report.add(&judge_path(packet_size(&session.connection).await));
            report.extend(offset(&mut session).await.map(judge_clocks));
            if self.role == Role::View {
                report.add(&judge_cameras(self.camera, &session.answer.cameras));
            }
            drop(session);
            client.close(LAST_WORD).await;
        }
    }

    /// Whether anything may go plainly.
    fn plainly(&self) -> bool {
        self.server.ticket().is_none() && self.transport != Transport::Quic
    }

    async fn knock(&self, relay: SocketAddr, plain: Plain) -> (Native, Option<(Client, Session)>) {
        // Where nothing answers it may be the tutorial's, which QUIC would kill.
        let hopeless = matches!(plain, Plain::Refused | Plain::Silent);
        if self.transport == Transport::Udp || hopeless {
            return (Native::Unasked, None);
        }
        match self.open(relay).await {
            Ok((client, session)) => {
                let round_trip = session.connection.rtt();
                (Native::Open(round_trip), Some((client, session)))
            }
            Err(failure) => (Native::Shut(failure), None),
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
        };
        let opened = match client.open(relay, &hello).await {
            Err(ConnectFailure::Silence) => client.open(relay, &hello).await,
            opened => opened,
        };
        Ok((client, opened?))
    }
}

/// Whether a relay of ours answers at this address.
pub async fn is_relay(address: SocketAddr) -> bool {
    matches!(probe(address, 0, TRIES).await, Plain::Relay(..))
}

/// Asks at the plain door who is there, in a datagram of at least `size` bytes: a JPEG may be followed by zeros.
async fn probe(relay: SocketAddr, size: usize, tries: usize) -> Plain {
    let nonce = getrandom::u64().unwrap_or_default();
    let mut words = Control::Probe { nonce }.write();
    words.resize(size.max(words.len()), 0);
    let Ok(socket) = udp::connected(relay, None).and_then(UdpSocket::from_std) else {
        return Plain::Silent;
    };
    for _ in 0..tries {
        let asked = Instant::now();
        // What cannot be sent has no answer.
        let _ = socket.send(&words).await;
        match timeout(ANSWER, answer(&socket, nonce)).await {
            Ok(Ok(verdict)) => return Plain::Relay(verdict, asked.elapsed()),
            Ok(Err(err)) if err.kind() == ErrorKind::ConnectionRefused => return Plain::Refused,
            Ok(Err(_)) | Err(_) => {}
        }
    }
    Plain::Silent
}

/// The answer to a probe; whatever else comes is somebody else's.
async fn answer(socket: &UdpSocket, ours: u64) -> io::Result<Verdict> {
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        let length = socket.recv(&mut buffer).await?;
        match classify(buffer[..length].to_vec()) {
            Ok(Datagram::Control(Control::Accept { nonce, verdict })) if nonce == ours => {
                return Ok(verdict);
            }
            _ => {}
        }
    }
}

/// The largest packet that the path carries whole, in bytes of UDP payload, as QUIC finds out by itself.
async fn packet_size(connection: &Connection) -> u16 {
    let found = async {
        while connection.stats().path.current_mtu < WHOLE {
            sleep(Duration::from_millis(20)).await;
        }
    };
    let _ = timeout(PATH, found).await;
    connection.stats().path.current_mtu
}

/// The relay's clock less ours, by the best of the first exchanges.
async fn offset(session: &mut Session) -> Option<Offset> {
    let mut best = None;
    let compare = async {
        while let Ok(heard) = session.control.next().await {
            if let ControlEvent::Offset(offset) = heard {
                best = Some(offset);
            }
        }
    };
    let _ = timeout(CLOCKS, compare).await;
    best
}

fn judge_name(host: &str, found: &Result<SocketAddr, String>) -> Check {
    match found {
        Ok(address) if address.to_string() == host => Check::good("relay", host),
        Ok(address) => Check::good("relay", format!("{host} is {address}")),
        Err(why) => Check::bad(
            "relay",
            format!("{host} does not resolve: {why}; is the name right, and is the network up?"),
        ),
    }
}

/// What is said where nothing answers, whichever door was asked.
fn silence(port: u16) -> String {
    format!(
        "nothing answers: start relay-server there, open UDP port {port} in the provider's firewall and in the \
         machine's (ufw allow {port}/udp), or name another port; the tutorial's server never answers, and where plain \
         frames are dropped on the way, --transport quic does without"
    )
}

fn judge_plain(plain: Plain, port: u16) -> Option<Check> {
    Some(match plain {
        Plain::Unasked => return None,
        Plain::Relay(Verdict::Private, _) => Check::bad("plain door", Refusal::Private.to_string()),
        Plain::Relay(_, took) => Check::good(
            "plain door",
            format!("a Sightline relay answers in {} ms", millis(took)),
        ),
        Plain::Refused => Check::bad(
            "plain door",
            format!(
                "the host is there and nobody listens at its UDP port {port}: start relay-server there, or name its port"
            ),
        ),
        Plain::Silent => Check::bad("plain door", silence(port)),
    })
}

fn judge_native(plain: Plain, native: &Native, transport: Transport) -> Option<Check> {
    let answers = matches!(plain, Plain::Relay(verdict, _) if verdict != Verdict::Private);
    Some(match native {
        // Nobody is there, or a ticket is missing: that was said, and is to be mended first.
        Native::Unasked => return None,
        Native::Shut(ConnectFailure::Refused(Refusal::Private)) if plain != Plain::Unasked => {
            return None;
        }
        Native::Open(round_trip) => Check::good(
            "native door",
            format!("QUIC opens, round trip {} ms", millis(*round_trip)),
        ),
        Native::Shut(ConnectFailure::Refused(Refusal::Taken)) => Check::advice(
            "native door",
            format!(
                "{}; if this camera's pi-sender runs already, all is well",
                Refusal::Taken
            ),
        ),
        Native::Shut(why) if answers && transport == Transport::Auto => Check::advice(
            "native door",
            format!("does not open: {why}; frames would go plainly, which a bad network tears"),
        ),
        Native::Shut(ConnectFailure::Silence) => Check::bad(
            "native door",
            "nothing answers by QUIC: start relay-server there, and open its UDP port in the firewalls; the relay's log \
             shows the ticket in force",
        ),
        Native::Shut(why) => Check::bad("native door", why.to_string()),
    })
}

/// `large`: what a probe of [`SMALL_FRAME`] bytes met after a small one was answered.
fn judge_large(large: Plain, native: &Native) -> Check {
    let kb = SMALL_FRAME / 1000;
    match (large, native) {
        (Plain::Relay(..), _) => Check::good(
            "fragments",
            format!("a datagram of {kb} kB arrives, in pieces, as a plain frame would"),
        ),
        (_, Native::Open(_)) => Check::advice(
            "fragments",
            format!(
                "a datagram of {kb} kB does not arrive: the path drops pieces, so only QUIC carries large frames"
            ),
        ),
        _ => Check::bad(
            "fragments",
            format!(
                "a datagram of {kb} kB does not arrive: the path drops pieces, and plain frames with them; use --transport \
                 auto, or frames below 1400 bytes"
            ),
        ),
    }
}

fn judge_path(packet: u16) -> Check {
    match packet {
        WHOLE.. => Check::good("path", format!("carries packets of {packet} bytes whole")),
        _ => Check::good(
            "path",
            format!(
                "carries packets of {packet} bytes, as a tunnel does; QUIC fits its own to that"
            ),
        ),
    }
}

fn judge_clocks(Offset { us, error_us }: Offset) -> Check {
    let apart = us.unsigned_abs();
    if apart <= APART_US.saturating_add(error_us) {
        let most = apart.saturating_add(error_us).div_ceil(1000);
        return Check::good("clocks", format!("within {most} ms of the relay's"));
    }
    let way = if us < 0 { "ahead of" } else { "behind" };
    let ms = apart / 1000;
    Check::advice(
        "clocks",
        format!(
            "this one is {ms} ms {way} the relay's: by QUIC the age is right all the same, plainly it is not"
        ),
    )
}

fn judge_cameras(asked: Option<&CameraName>, live: &[String]) -> Check {
    let names = live.join(", ");
    match asked {
        _ if live.is_empty() => Check::advice(
            "cameras",
            "none is live: pi-sender doctor, there where the camera is, says why",
        ),
        Some(asked) if !live.iter().any(|name| name == asked.as_str()) => {
            Check::advice("cameras", format!("{asked} is not live; live are: {names}"))
        }
        _ => Check::good("cameras", format!("live: {names}")),
    }
}

/// Milliseconds with a digit below them that counts on a local network.
fn millis(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use platform::doctor::Verdict as Found;

    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const OPEN: Native = Native::Open(MS);
    const WELCOME: Plain = Plain::Relay(Verdict::Welcome, MS);

    fn told(check: Option<Check>, verdict: Found, words: &str) {
        let check = check.expect("something is said");
        assert!(
            check.verdict == verdict && check.text.contains(words),
            "{check:?}"
        );
    }

    fn silent() -> Native {
        Native::Shut(ConnectFailure::Silence)
    }

    fn refused(refusal: Refusal) -> Native {
        Native::Shut(ConnectFailure::Refused(refusal))
    }

    #[test]
    fn a_name_without_address_is_bad() {
        let address = Ok(SocketAddr::from(([192, 0, 2, 1], 8081)));
        told(
            Some(judge_name("relay:8081", &address)),
            Found::Good,
            "relay:8081 is 192.0.2.1:8081",
        );
        let none = Err("no such host".to_owned());
        told(
            Some(judge_name("relay:8081", &none)),
            Found::Bad,
            "no such host",
        );
    }

    #[test]
    fn who_does_not_answer_plainly_is_told_apart() {
        let plain = |plain| judge_plain(plain, 8081);
        told(plain(WELCOME), Found::Good, "1.0 ms");
        told(
            plain(Plain::Refused),
            Found::Bad,
            "nobody listens at its UDP port 8081",
        );
        told(plain(Plain::Silent), Found::Bad, "ufw allow 8081/udp");
        let private = Plain::Relay(Verdict::Private, MS);
        told(plain(private), Found::Bad, "sightline://");
        assert_eq!(plain(Plain::Unasked), None);
    }

    #[test]
    fn a_native_door_that_is_shut_is_bad_where_nothing_else_carries_frames() {
        let native = |plain, native: &Native, transport| judge_native(plain, native, transport);
        use Transport::{Auto, Quic};
        told(native(WELCOME, &OPEN, Auto), Found::Good, "QUIC opens");
        told(
            native(WELCOME, &silent(), Auto),
            Found::Advice,
            "go plainly",
        );
        told(
            native(Plain::Unasked, &silent(), Quic),
            Found::Bad,
            "nothing answers by QUIC",
        );
        let certificate = Native::Shut(ConnectFailure::Certificate);
        told(
            native(Plain::Unasked, &certificate, Auto),
            Found::Bad,
            "another relay",
        );
        told(
            native(Plain::Unasked, &refused(Refusal::Role), Auto),
            Found::Bad,
            "other role",
        );
        told(
            native(WELCOME, &refused(Refusal::Taken), Auto),
            Found::Advice,
            "runs already",
        );
    }

    #[test]
    fn what_was_said_of_one_door_is_not_said_again_of_the_other() {
        let native = |plain, native: &Native| judge_native(plain, native, Transport::Auto);
        assert_eq!(native(Plain::Silent, &Native::Unasked), None);
        assert_eq!(native(Plain::Refused, &Native::Unasked), None);
        let private = Plain::Relay(Verdict::Private, MS);
        assert_eq!(native(private, &refused(Refusal::Private)), None);
        told(
            native(Plain::Unasked, &refused(Refusal::Private)),
            Found::Bad,
            "ticket",
        );
    }

    #[test]
    fn a_path_that_drops_pieces_is_bad_for_plain_frames_alone() {
        told(Some(judge_large(WELCOME, &silent())), Found::Good, "15 kB");
        told(
            Some(judge_large(Plain::Silent, &OPEN)),
            Found::Advice,
            "only QUIC",
        );
        told(
            Some(judge_large(Plain::Silent, &silent())),
            Found::Bad,
            "--transport auto",
        );
    }

    #[test]
    fn a_narrow_path_and_clocks_that_are_apart_are_said() {
        told(Some(judge_path(1452)), Found::Good, "1452 bytes whole");
        told(Some(judge_path(1280)), Found::Good, "tunnel");
        let clocks = |us, error_us| Some(judge_clocks(Offset { us, error_us }));
        told(clocks(-3_200_000, 4000), Found::Advice, "3200 ms ahead");
        told(clocks(4000, 4000), Found::Good, "within 8 ms");
        told(clocks(600_000, 300_000), Found::Good, "within 900 ms");
        told(clocks(i64::MIN, u64::MAX), Found::Good, "within");
    }

    #[test]
    fn a_camera_that_is_not_live_is_named_with_those_that_are() {
        let yard: CameraName = "yard".parse().expect("a name");
        let door = "door".to_owned();
        told(
            Some(judge_cameras(None, &[])),
            Found::Advice,
            "pi-sender doctor",
        );
        told(
            Some(judge_cameras(Some(&yard), from_ref(&door))),
            Found::Advice,
            "live are: door",
        );
        told(
            Some(judge_cameras(None, from_ref(&door))),
            Found::Good,
            "door",
        );
        let both = [door, "yard".to_owned()];
        told(
            Some(judge_cameras(Some(&yard), &both)),
            Found::Good,
            "door, yard",
        );
    }
}
