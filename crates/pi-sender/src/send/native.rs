//! The native way: a task that keeps a QUIC connection to the relay and sends the newest frame whenever the gate is open.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use platform::egress::{EgressSnapshot, EgressStats};
use protocol::quic::{ClientMessage, Hello, SenderInfo};
use protocol::ticket::Key;
use quic::client::{Client, ConnectFailure, ControlEvent, ControlStream, DONE, Session};
use quic::frame_window::MAX_FRAME_AGE;
use quic::frames::{self, OutgoingFrame};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

/// Between two tries where nothing tells when the next is worth it.
const PAUSE: Duration = Duration::from_millis(100);
/// After a refusal that may pass: the camera's place is held by another source, or the door is full.
const REFUSED: Duration = Duration::from_secs(1);
/// For the relay to hear that we are gone.
const GOOD_BYE: Duration = Duration::from_millis(100);

/// How the native way stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    /// No connection.
    Down,
    /// No connection yet.
    Knocking,
    /// Frames may go this way; counted from these figures on.
    Up(EgressSnapshot),
    /// The relay lets us not in, and asking again does not help.
    Refused(String),
}

/// The near end of the task.
#[derive(Debug)]
pub(crate) struct Link {
    slot: watch::Sender<Option<OutgoingFrame>>,
    quality: watch::Sender<Option<u8>>,
    state: watch::Receiver<State>,
    upgrade: mpsc::Sender<()>,
    stats: Arc<EgressStats>,
    task: JoinHandle<()>,
}

/// To whom, and as what.
#[derive(Debug)]
pub(crate) struct Way {
    /// Where the relay is.
    pub(crate) address: watch::Receiver<Option<SocketAddr>>,
    /// What is said first.
    pub(crate) hello: Hello,
    /// The certificate that the relay must have.
    pub(crate) pinned: Option<Key>,
    /// Whether the relay has to say first that its native door is open: another one may die of a packet of QUIC.
    pub(crate) when_asked: bool,
}

impl Link {
    /// Starts the task. Call it inside a tokio runtime.
    pub(crate) fn start(way: Way) -> Self {
        let (slot, frames) = watch::channel(None);
        let (quality, qualities) = watch::channel(None);
        let (tell, state) = watch::channel(State::Down);
        let (upgrade, asked) = mpsc::channel(1);
        let stats = Arc::<EgressStats>::default();
        let task = Task {
            way,
            slot: frames,
            quality: qualities,
            state: tell,
            asked,
            stats: Arc::clone(&stats),
            client: None,
            trouble: None,
            warned: false,
        };
        Self {
            slot,
            quality,
            state,
            upgrade,
            stats,
            task: tokio::spawn(task.run()),
        }
    }

    /// How it stands.
    pub(crate) fn state(&self) -> watch::Ref<'_, State> {
        self.state.borrow()
    }

    /// The relay said that its native door is open.
    pub(crate) fn upgrade(&self) {
        // One word of that kind is enough.
        let _ = self.upgrade.try_send(());
    }

    /// Offers a frame, in place of one that still waits.
    pub(crate) fn offer(&self, number: u64, jpeg: Bytes, since: Instant) {
        let frame = OutgoingFrame {
            number,
            jpeg,
            ready_at: since,
        };
        self.slot.send_replace(Some(frame));
    }

    /// Tells whoever watches at which quality frames are encoded now; `None` where they are a camera's own.
    pub(crate) fn set_quality(&self, quality: Option<u8>) {
        self.quality
            .send_if_modified(|known| std::mem::replace(known, quality) != quality);
    }

    /// What became of the frames.
    pub(crate) fn figures(&self) -> EgressSnapshot {
        self.stats.snapshot()
    }

    /// Ends it, when the frames that are on their way have arrived or are too old.
    pub(crate) async fn close(self) -> EgressSnapshot {
        let up = matches!(*self.state.borrow(), State::Up(_));
        drop(self.slot);
        if up {
            let _ = timeout(MAX_FRAME_AGE + 2 * GOOD_BYE, self.task).await;
        }
        self.stats.snapshot()
    }
}

/// Why a session ended.
enum End {
    /// The program ends, and the last frame is through.
    Done,
    Lost,
}

struct Task {
    way: Way,
    slot: watch::Receiver<Option<OutgoingFrame>>,
    quality: watch::Receiver<Option<u8>>,
    state: watch::Sender<State>,
    asked: mpsc::Receiver<()>,
    stats: Arc<EgressStats>,
    client: Option<Client>,
    /// What keeps us from the relay, as it was logged.
    trouble: Option<String>,
    /// It was said that nobody vouches for the relay.
    warned: bool,
}

impl Task {
    /// Opens the door again and again, until the program ends or it is of no use.
    async fn run(mut self) {
        loop {
            if self.way.when_asked && self.asked.recv().await.is_none() {
                return;
            }
            let Some(relay) = self.address().await else {
                return;
            };
            self.state.send_replace(State::Knocking);
            match self.open(relay).await {
                Ok(session) => {
                    if let End::Done = self.attend(session, relay).await {
                        return self.say_good_bye().await;
                    }
                }
                Err(why) if !why.is_temporary() => {
                    let why = format!("the relay at {relay} does not let us in: {why}");
                    self.state.send_replace(State::Refused(why));
                    return;
                }
                Err(why) => self.wait(relay, &why).await,
            }
        }
    }

    async fn address(&mut self) -> Option<SocketAddr> {
        *self.way.address.wait_for(Option::is_some).await.ok()?
    }

    async fn open(&mut self, relay: SocketAddr) -> Result<Session, ConnectFailure> {
        let client = match &mut self.client {
            Some(client) if client.is_for(relay) => client,
            other => other.insert(Client::new(relay, self.way.pinned)?),
        };
        client.open(relay, &self.way.hello).await
    }

    /// Says what keeps us out, once, and lets some time pass.
    async fn wait(&mut self, relay: SocketAddr, why: &ConnectFailure) {
        let trouble = why.to_string();
        if self.trouble.as_ref() != Some(&trouble) {
            warn!(%relay, %why, "the native door does not open (yet)");
            self.trouble = Some(trouble);
        }
        self.state.send_replace(State::Down);
        let taken = matches!(why, ConnectFailure::Refused(_));
        sleep(if taken { REFUSED } else { PAUSE }).await;
    }

    /// Sends until the connection or the program ends, or the relay is elsewhere.
    async fn attend(&mut self, session: Session, relay: SocketAddr) -> End {
        if self.way.pinned.is_none() && !std::mem::replace(&mut self.warned, true) {
            info!(
                "without a ticket the connection is encrypted, but nobody vouches for the relay; relay-server --private gives tickets"
            );
        }
        self.trouble = None;
        info!(%relay, "frames go by QUIC, the newest first");
        self.state.send_replace(State::Up(self.stats.snapshot()));
        let moved = self
            .way
            .address
            .wait_for(|at| at.is_some_and(|at| at != relay));
        let end = tokio::select! {
            sent = frames::send(&session.connection, &self.stats, &mut self.slot) => match sent {
                Ok(()) => End::Done,
                Err(why) => {
                    warn!(%relay, %why, "the connection to the relay is lost");
                    End::Lost
                }
            },
            Err(why) = tell(session.control, &mut self.quality) => {
                debug!(%relay, %why, "the relay talks no more");
                End::Lost
            }
            Ok(_) = moved => {
                info!(from = %relay, "the relay's address changed");
                End::Lost
            }
        };
        session.connection.close(DONE, b"");
        self.state.send_replace(State::Down);
        end
    }

    async fn say_good_bye(self) {
        if let Some(client) = self.client {
            client.close(GOOD_BYE).await;
        }
    }
}

/// Compares clocks, and tells what the frames do not.
async fn tell(
    mut talk: ControlStream,
    quality: &mut watch::Receiver<Option<u8>>,
) -> io::Result<Infallible> {
    let mut facts = SenderInfo {
        quality: *quality.borrow_and_update(),
        ..SenderInfo::default()
    };
    loop {
        tokio::select! {
            heard = talk.next() => {
                let ControlEvent::Offset(offset) = heard? else {
                    continue;
                };
                facts.offset_us = Some(offset.us);
                facts.error_us = Some(offset.error_us);
            }
            Ok(()) = quality.changed() => facts.quality = *quality.borrow_and_update(),
        }
        talk.send(&ClientMessage::SenderInfo(facts)).await?;
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use protocol::quic::{Answer, Refusal, Role};
    use quic::endpoint;
    use quic::identity::Identity;
    use quic::lines::Lines;
    use quinn::{Endpoint, Runtime as _, TokioRuntime};

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    struct Relay {
        endpoint: Endpoint,
        at: SocketAddr,
        identity: Identity,
    }

    impl Relay {
        fn start() -> Self {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            let at = socket.local_addr().unwrap();
            let socket = TokioRuntime.wrap_udp_socket(socket).unwrap();
            let identity = Identity::generate().unwrap();
            let endpoint = endpoint::server(socket, &identity).unwrap();
            Self {
                endpoint,
                at,
                identity,
            }
        }

        /// Lets one sender in, or not, and gives the connection.
        async fn accept(&self, refusal: Option<Refusal>) -> quinn::Connection {
            let connection = self.endpoint.accept().await.unwrap().await.unwrap();
            let (mut say, hear) = connection.accept_bi().await.unwrap();
            let mut lines = Lines::new(hear);
            lines.next().await.unwrap();
            let answer = Answer {
                ok: refusal.is_none(),
                refusal,
                cameras: Vec::new(),
            };
            say.write_all(&protocol::quic::to_line(&answer))
                .await
                .unwrap();
            endpoint::widen_windows(&connection);
            // Both halves stay open as long as the test does.
            tokio::spawn(async move {
                let _say = say;
                while lines.next().await.is_ok() {}
            });
            connection
        }
    }

    fn way(address: watch::Receiver<Option<SocketAddr>>, pinned: Option<Key>) -> Way {
        Way {
            address,
            hello: Hello {
                role: Role::Send,
                camera: Some("yard".to_owned()),
                token: None,
                stream: None,
            },
            pinned,
            when_asked: false,
        }
    }

    async fn up(link: &mut Link) {
        let up = link.state.wait_for(|state| matches!(state, State::Up(_)));
        timeout(SOON, up).await.unwrap().unwrap();
    }

    async fn arrives(link: &Link, number: u64, connection: &quinn::Connection) {
        link.offer(number, Bytes::from_static(b"frame"), Instant::now());
        let mut stream = timeout(SOON, connection.accept_uni())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(stream.read_to_end(100).await.unwrap(), b"frame");
    }

    #[tokio::test]
    async fn the_link_follows_the_relay_to_another_address() {
        let (first, second) = (Relay::start(), Relay::start());
        let (tell, address) = watch::channel(Some(first.at));
        let mut link = Link::start(way(address, None));
        let connection = first.accept(None).await;
        up(&mut link).await;
        arrives(&link, 1, &connection).await;
        tell.send(Some(second.at)).unwrap();
        let connection = second.accept(None).await;
        up(&mut link).await;
        arrives(&link, 2, &connection).await;
        assert_eq!(link.figures().sent, 2);
    }

    #[tokio::test]
    async fn a_relay_that_is_not_the_tickets_is_refused_for_good() {
        let (relay, other) = (Relay::start(), Relay::start());
        let (_tell, address) = watch::channel(Some(relay.at));
        let link = Link::start(way(address, Some(other.identity.fingerprint())));
        let mut state = link.state.clone();
        let endpoint = relay.endpoint.clone();
        let incoming = tokio::spawn(async move { endpoint.accept().await.unwrap().await.is_ok() });
        let refused = state.wait_for(|state| matches!(state, State::Refused(_)));
        let refused = timeout(SOON, refused).await.unwrap().unwrap().clone();
        assert!(
            format!("{refused:?}").contains("not the ticket's"),
            "{refused:?}"
        );
        assert!(!incoming.await.unwrap());
    }

    #[tokio::test]
    async fn a_place_that_is_taken_is_asked_for_again() {
        let relay = Relay::start();
        let (_tell, address) = watch::channel(Some(relay.at));
        let mut link = Link::start(way(address, None));
        let refused = relay.accept(Some(Refusal::Taken)).await;
        let connection = relay.accept(None).await;
        up(&mut link).await;
        arrives(&link, 1, &connection).await;
        drop(refused);
    }

    #[tokio::test]
    async fn nothing_is_said_before_the_relay_asks() {
        let relay = Relay::start();
        let (_tell, address) = watch::channel(Some(relay.at));
        let mut link = Link::start(Way {
            when_asked: true,
            ..way(address, None)
        });
        let silence = timeout(Duration::from_millis(300), relay.endpoint.accept()).await;
        assert!(silence.is_err());
        link.upgrade();
        relay.accept(None).await;
        up(&mut link).await;
    }

    #[tokio::test]
    async fn the_end_waits_for_the_last_frame() {
        let relay = Relay::start();
        let (_tell, address) = watch::channel(Some(relay.at));
        let mut link = Link::start(way(address, None));
        let connection = relay.accept(None).await;
        up(&mut link).await;
        link.offer(1, vec![7; 60_000].into(), Instant::now());
        let (figures, stream) = tokio::join!(link.close(), async {
            let mut stream = connection.accept_uni().await.unwrap();
            stream.read_to_end(100_000).await.unwrap().len()
        });
        assert_eq!((figures.sent, stream), (1, 60_000));
    }
}
