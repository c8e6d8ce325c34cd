//! Finds the relay and stays with it, and hands on each frame, the newest first.
//!
//! ```text
//!   --server HOST, --transport auto                            ticket, or --transport quic
//!     plain: probe --> our relay answers --> knock               knock, again and again
//!       | silence: Request (tutorial)    |     |                   |
//!       |                  700 ms: hello |     | opens             | opens
//!       v                                v     v                   v
//!     plain frames                plain frames native frames     native frames
//!                                              (plain: silent)
//! ```
//!
//! `plan` and `hunt` are pure and decide; `plain` and `native` move bytes; `intake` is where both end.

mod hunt;
mod intake;
mod native;
mod plain;
mod plan;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use platform::config::Transport;
use platform::latest::Sender;
use protocol::control::Verdict;
use protocol::lease::{RelayKind, Renewal};
use protocol::quic::Refusal;
use quic::client::{Client, ConnectFailure, Session};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, trace, warn};

use self::hunt::{Hunt, Quarry, SOON};
use self::intake::Intake;
pub(crate) use self::intake::{Door, Frame, Native, Status};
use self::plain::{Meaning, Plain};
pub(crate) use self::plan::Plan;
use crate::board::Board;

/// For the relay to hear that we are gone.
const LAST_WORD: Duration = Duration::from_millis(100);

/// Starts to receive from the relay at `address`, wherever that moves, until `stop`; the task then says good-bye and
/// ends. Call it inside a tokio runtime.
pub(crate) fn start(
    plan: Plan,
    address: watch::Receiver<Option<SocketAddr>>,
    frames: Sender<Frame>,
    board: Arc<Board>,
    stop: CancellationToken,
) -> (watch::Receiver<Status>, JoinHandle<()>) {
    let (tell, status) = watch::channel(Status::new(plan.door(), Instant::now()));
    let receiver = Receiver {
        intake: Intake::new(frames, board, tell),
        plan,
        client: None,
        greeted: false,
    };
    (status, tokio::spawn(receiver.run(address, stop)))
}

struct Receiver {
    plan: Plan,
    intake: Intake,
    /// Between knocks.
    client: Option<Client>,
    /// It has been said what the native door's encryption is worth.
    greeted: bool,
}

/// Why no waiting helps: a sentence for the user.
struct Hopeless(String);

impl Receiver {
    async fn run(
        mut self,
        mut address: watch::Receiver<Option<SocketAddr>>,
        stop: CancellationToken,
    ) {
        loop {
            let relay = *address.borrow_and_update();
            let moved = async {
                if address.changed().await.is_err() {
                    // An address that was given as numbers has nobody who would follow it.
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                () = stop.cancelled() => break,
                () = moved => {
                    self.client = None;
                    self.intake.ended();
                }
                Hopeless(why) = self.attend(relay) => {
                    let why = format!("the relay at {}: {why}", self.plan.host);
                    self.intake.status.send_modify(|status| status.failure = Some(why));
                    break;
                }
            }
        }
        if let Some(client) = self.client {
            client.close(LAST_WORD).await;
        }
    }

    /// Stays with one address for good.
    async fn attend(&mut self, relay: Option<SocketAddr>) -> Hopeless {
        let Some(relay) = relay else {
            return std::future::pending().await;
        };
        let attended = match self.plan.transport {
            Transport::Quic => self.native_alone(relay).await,
            Transport::Auto | Transport::Udp => self.both(relay).await,
        };
        match attended {
            Err(hopeless) => hopeless,
            Ok(never) => match never {},
        }
    }

    /// Knocks at the native door and nowhere else.
    async fn native_alone(&mut self, relay: SocketAddr) -> Result<Infallible, Hopeless> {
        let mut complained = false;
        let mut native = Native::Shut;
        loop {
            self.intake.tell(RelayKind::Silent, native, Instant::now());
            let (client, opened) = self.knock(relay).await;
            self.client = client;
            match opened {
                Ok(session) => {
                    (native, complained) = (Native::Shut, false);
                    self.stay(relay, session).await;
                }
                Err(failure) => native = self.weather(&failure, &mut complained)?,
            }
            sleep(SOON).await;
        }
    }

    /// Talks at the plain door, and goes over to the native one whenever that opens.
    async fn both(&mut self, relay: SocketAddr) -> Result<Infallible, Hopeless> {
        let quarry = self.plan.quarry();
        let mut hunt = Hunt::new(quarry);
        let mut renewal = Renewal::new(quarry != Quarry::Plain);
        loop {
            let now = Instant::now();
            self.intake.tell(renewal.relay(now), Native::Shut, now);
            let mut plain = Plain::open(relay, renewal).await;
            let session = self.hunt(relay, hunt, &mut plain).await?;
            tokio::select! {
                () = self.stay(relay, session) => {}
                () = plain.rest() => {}
            }
            let now = Instant::now();
            hunt = Hunt::again(quarry, now);
            renewal = Renewal::new(true);
            // It was ours a moment ago, so no `Request` is due there for now.
            renewal.on_answer(Verdict::Welcome, now);
        }
    }

    /// Talks at the plain door until the native one opens.
    async fn hunt(
        &mut self,
        relay: SocketAddr,
        mut hunt: Hunt,
        plain: &mut Plain,
    ) -> Result<Session, Hopeless> {
        let mut native = Native::Shut;
        let mut complained = false;
        let mut knocks = JoinSet::new();
        loop {
            let now = Instant::now();
            if hunt.is_content(now) {
                plain.renewal.set_elsewhere(false);
            }
            plain.speak(now).await;
            self.intake.tell(plain.renewal.relay(now), native, now);
            if hunt.knocks(now) {
                knocks.spawn(self.knock(relay));
            }
            plain.refresh(now).await;
            let due = plain.deadline(now);
            let due = hunt.deadline(now).map_or(due, |at| at.min(due));
            tokio::select! {
                heard = plain.hear(due) => {
                    if let Some(meaning) = heard {
                        self.heard(meaning, &mut hunt, &mut plain.renewal, Instant::now())?;
                    }
                }
                Some(knocked) = knocks.join_next() => {
                    let (client, opened) = knocked.expect("a knock neither panics nor is cancelled");
                    self.client = client;
                    match opened {
                        Ok(session) => return Ok(session),
                        Err(failure) => native = self.weather(&failure, &mut complained)?,
                    }
                    hunt.failed(Instant::now());
                }
            }
        }
    }

    /// Takes what came at the plain door.
    fn heard(
        &mut self,
        meaning: Meaning,
        hunt: &mut Hunt,
        renewal: &mut Renewal,
        now: Instant,
    ) -> Result<(), Hopeless> {
        match meaning {
            Meaning::Frame(frame) => {
                renewal.on_frame(now);
                if self.plan.camera.is_none() {
                    self.intake.frame(frame, Door::Plain);
                } else {
                    self.intake.drop_it("no_choice");
                }
            }
            Meaning::Answer(Verdict::Private) => {
                return Err(Hopeless(Refusal::Private.to_string()));
            }
            Meaning::Answer(verdict) => {
                renewal.on_answer(verdict, now);
                hunt.answered(now);
            }
            Meaning::Echo => renewal.on_echo(now),
            Meaning::Nothing(reason) => self.intake.drop_it(reason),
        }
        Ok(())
    }

    fn knock(
        &mut self,
        relay: SocketAddr,
    ) -> impl Future<Output = (Option<Client>, Result<Session, ConnectFailure>)> + use<> {
        native::knock(
            self.client.take(),
            self.plan.fingerprint,
            relay,
            native::hello(&self.plan),
        )
    }

    /// A knock was in vain. What may pass is weather: it is said once, when it begins.
    fn weather(&self, failure: &ConnectFailure, complained: &mut bool) -> Result<Native, Hopeless> {
        if !failure.is_temporary() {
            return Err(Hopeless(failure.to_string()));
        }
        match self.plan.quarry() {
            _ if std::mem::replace(complained, true) => {
                trace!(why = %failure, "the native door does not open");
            }
            Quarry::Best => warn!(
                why = %failure,
                "the relay's native door (QUIC) does not open; plain frames will do until it does"
            ),
            // The situation is told from what is seen of the relay.
            Quarry::Plain | Quarry::Native => {
                debug!(why = %failure, "the native door does not open")
            }
        }
        Ok(match failure {
            ConnectFailure::Refused(Refusal::Full) => Native::Full,
            _ => Native::Shut,
        })
    }

    /// Stays for as long as the connection stands.
    async fn stay(&mut self, relay: SocketAddr, session: Session) {
        info!(%relay, "connected by QUIC");
        if !std::mem::replace(&mut self.greeted, true) && !self.plan.has_ticket() {
            info!(
                "the connection is encrypted, but nobody vouches for the relay; a ticket (relay-server --private) does"
            );
        }
        self.intake
            .tell(RelayKind::Sightline, Native::Open, Instant::now());
        native::stay(session, &mut self.intake).await;
        info!(%relay, "the connection has ended");
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use platform::latest::latest;
    use tokio::net::UdpSocket;
    use tokio::time::timeout;

    use super::*;
    use crate::args::Args;

    #[tokio::test]
    async fn where_the_relay_moves_the_viewer_goes_too() {
        for transport in ["auto", "udp", "quic"] {
            let first = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let second = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let (tell, address) = watch::channel(first.local_addr().ok());
            let (frames, _taker) = latest();
            let stop = CancellationToken::new();
            let words = ["viewer", "--transport", transport];
            let plan = Plan::of(&Args::parse_from(words));
            let (_status, ended) = start(plan, address, frames, Arc::default(), stop.clone());
            for (relay, moved) in [(first, second.local_addr().ok()), (second, None)] {
                let heard = timeout(Duration::from_secs(10), relay.recv(&mut [0; 2000])).await;
                assert!(heard.unwrap().unwrap() > 7, "{transport}");
                moved.map(|moved| tell.send(Some(moved)));
            }
            stop.cancel();
            timeout(Duration::from_secs(10), ended)
                .await
                .unwrap()
                .unwrap();
        }
    }
}
