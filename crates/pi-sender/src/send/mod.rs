//! Sends frames to the relay: by UDP, by QUIC, by HTTP, or by whichever the relay offers and the path carries.
//!
//! ```text
//!               +--> UDP: one datagram a frame --------------------------> a tutorial's relay, or ours
//!  frame --> Uplink                                <-- upgrade ----------- ours
//!               +--> QUIC: newest-wins slot --> frame window --> stream -> ours
//!               +--> HTTP: newest-wins slot --> frame window --> WebSocket -> ours, where UDP is blocked
//! ```
//!
//! A frame goes by one of them: by QUIC while that connection is up, else by HTTP while that is, else by UDP if that is
//! allowed. An `upgrade` alone opens no QUIC: [`relay_proof`]. HTTP is tried where nothing has come by UDP for 5 s, and kept
//! until QUIC is up again.

mod http;
mod label_clock;
mod proofs;
mod quic;
mod refusal;
mod relay_proof;
mod reports;
mod silence;
mod udp;

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use platform::config::TransportChoice;
use platform::egress::EgressSnapshot;
use platform::http_client::{HttpClient, UdpSilence};
use platform::server::{RelayAddress, RelayUrl, Server};
use protocol::SMALL_FRAME;
use protocol::label::{CameraName, StreamId};
use protocol::quic::{Hello, Refusal, Role};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tracing::warn;

use self::http::{HttpConfig, HttpSender, HttpState};
use self::label_clock::SharedLabelClock;
use self::proofs::SharedProof;
use self::quic::{ConnectionConfig, QuicConnectionState, QuicSender};
use self::udp::UdpSender;
use crate::health;

/// Time without an answer before the first small frames, which find out whether the relay is ours; doubled each time.
const FIRST_SMALL_FRAMES: Duration = Duration::from_secs(5);
/// Longest time between two rounds of small frames.
const MAX_SMALL_FRAMES_INTERVAL: Duration = Duration::from_secs(160);
/// Length of a round: the queue that large frames left on the path has to run empty first.
const SMALL_FRAMES_TIME: Duration = Duration::from_millis(800);

/// The path to the relay, over one transport or several.
#[derive(Debug)]
pub(crate) struct Uplink {
    udp: Option<UdpSender>,
    quic: Option<QuicSender>,
    http: Option<HttpSender>,
    /// How long the relay has been silent by UDP; `None` if it is not known, since nothing goes by UDP.
    silence: Option<UdpSilence>,
    address: RelayAddress,
    quality: watch::Sender<Option<u8>>,
    clock: SharedLabelClock,
    /// When the next round of small frames begins, and how long after that the one behind it.
    small_frames: Option<(Instant, Duration)>,
    /// Count of frames offered to QUIC and HTTP.
    offered: u64,
    totals: Totals,
}

/// Counters of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Totals {
    /// Frames that left.
    pub(crate) sent: u64,
    /// Bytes of those frames.
    pub(crate) bytes: u64,
    /// Frames that were given up in flight, since they were too old.
    pub(crate) expired: u64,
    /// Transport of the last frame.
    pub(crate) transport: &'static str,
}

/// What is known of the network, for the choice of quality and size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NetworkFeedback {
    /// Nothing: frames go by UDP.
    Unknown,
    /// There is no connection, and frames cannot leave.
    Disconnected,
    /// Counters of a connection by QUIC or HTTP.
    Connected {
        /// Frames sent and skipped since this connection began.
        offered: u64,
        /// Those that a newer one replaced while the frame window was full, and those that the relay did not take because of
        /// their size.
        skipped: u64,
    },
}

impl Uplink {
    /// Returns the path to a server at this address. `nonce` is a random number that no frame shows.
    /// Call it inside a tokio runtime.
    ///
    /// # Errors
    /// If HTTP is needed and cannot be used on this machine.
    pub(crate) fn new(
        server: &Server,
        address: RelayAddress,
        transport: TransportChoice,
        camera: &CameraName,
        stream: StreamId,
        nonce: u64,
    ) -> anyhow::Result<Self> {
        let ticket = server.ticket();
        let clock = SharedLabelClock::new();
        let (quality, qualities) = watch::channel(None);
        let (health, proof) = (health::watch(), SharedProof::default());
        let url = server.url();
        let uses_http = transport == TransportChoice::Auto && !server.http_urls().is_empty();
        let http = uses_http.then(|| -> anyhow::Result<_> {
            Ok(HttpSender::start(HttpConfig {
                client: HttpClient::new(server).context("using HTTP")?,
                camera: camera.clone(),
                stream,
                proof: proof.clone(),
                clock: clock.clone(),
                quality: qualities.clone(),
                health: health.clone(),
                udp: url.is_none().then(|| server.to_string()),
            }))
        });
        let http = http.transpose()?;
        let start_quic = |wait_for_upgrade| {
            let hello = Hello {
                role: Role::Send,
                camera: Some(camera.to_string()),
                token: ticket.map(|ticket| ticket.token.to_string()),
                stream: Some(format!("{:016x}", stream.0)),
                cookie: None,
                trial: None,
                original: false,
            };
            QuicSender::start(ConnectionConfig {
                address: address.clone(),
                clock: clock.clone(),
                hello,
                pinned: ticket.map(|ticket| ticket.fingerprint),
                wait_for_upgrade,
                proof: proof.clone(),
                quality: qualities.clone(),
                health: health.clone(),
                http: http.as_ref().map(HttpSender::states),
            })
        };
        let (udp, quic) = match (transport, ticket) {
            _ if url.is_some() => (false, None),
            (TransportChoice::Udp, _) => (true, None),
            (TransportChoice::Auto, None) => (true, Some(start_quic(true))),
            (TransportChoice::Quic, _) | (TransportChoice::Auto, Some(_)) => {
                (false, Some(start_quic(false)))
            }
        };
        if url.is_some_and(RelayUrl::exposes_token) {
            warn!("http:// shows the token to everything on the path; https:// does not");
        }
        Ok(Self {
            small_frames: None,
            offered: 0,
            totals: Totals {
                sent: 0,
                bytes: 0,
                expired: 0,
                transport: match () {
                    () if url.is_some() => "http",
                    () if udp => "udp",
                    () => "quic",
                },
            },
            udp: udp.then(|| UdpSender::new(address.clone(), quic.as_ref().map(|_| nonce))),
            silence: (url.is_none() && http.is_some()).then(|| UdpSilence::new(Instant::now())),
            address,
            quic,
            http,
            quality,
            clock,
        })
    }

    /// Returns the label's time of a picture that was captured at `captured_us` by the wall clock.
    pub(crate) fn label_us(&self, captured_us: u64) -> u64 {
        self.clock.label_us(captured_us)
    }

    /// Whether a frame of so many bytes should go out in its smallest form instead.
    ///
    /// A relay of ours answers a frame with `upgrade`, but a path that loses all large frames would hide such a relay
    /// without limit, and a relay that may be a tutorial's can be sent nothing but frames. So now and then frames are small
    /// for a moment, and also while QUIC connects.
    pub(crate) fn wants_small_frame(&mut self, bytes: usize, now: Instant) -> bool {
        let (Some(_), Some(quic)) = (&self.udp, &self.quic) else {
            return false;
        };
        if bytes <= SMALL_FRAME || self.is_by_http() {
            return false;
        }
        match *quic.state() {
            QuicConnectionState::Connecting => return true,
            QuicConnectionState::Down => {}
            QuicConnectionState::Up(_) | QuicConnectionState::Refused(_) => return false,
        }
        let first = (now + FIRST_SMALL_FRAMES, 2 * FIRST_SMALL_FRAMES);
        let (due, interval) = *self.small_frames.get_or_insert(first);
        if now >= due + SMALL_FRAMES_TIME {
            let next = MAX_SMALL_FRAMES_INTERVAL.min(2 * interval);
            self.small_frames = Some((due + interval, next));
        }
        (due..due + SMALL_FRAMES_TIME).contains(&now)
    }

    /// Sends a frame, or skips it.
    ///
    /// # Errors
    /// If the relay refuses this sender for good.
    pub(crate) fn send(&mut self, frame: Bytes, now: Instant) -> anyhow::Result<()> {
        self.follow_silence(now)?;
        if let Some(quic) = &self.quic {
            match &*quic.state() {
                QuicConnectionState::Refused(why) => bail!("{why}"),
                QuicConnectionState::Up(_) => {
                    self.offered += 1;
                    self.totals.transport = "quic";
                    self.small_frames = None;
                    self.udp.iter_mut().for_each(|udp| udp.pause(now));
                    quic.offer(self.offered, frame, now);
                    return Ok(());
                }
                QuicConnectionState::Down | QuicConnectionState::Connecting => {}
            }
        }
        if let Some(http) = self.http.as_ref().filter(|_| self.is_by_http()) {
            self.offered += 1;
            self.totals.transport = "http";
            http.offer(self.offered, frame, now);
            return Ok(());
        }
        let Some(udp) = &mut self.udp else {
            return Ok(());
        };
        self.totals.transport = "udp";
        if udp.send(&frame, now) {
            self.totals.sent += 1;
            self.totals.bytes += frame.len() as u64;
        }
        self.pass_offer_on();
        Ok(())
    }

    /// Takes what the relay has sent between two frames.
    ///
    /// # Errors
    /// If the relay refuses this sender for good.
    pub(crate) fn poll(&mut self, now: Instant) -> anyhow::Result<()> {
        if let Some(quic) = &self.quic
            && let QuicConnectionState::Refused(why) = &*quic.state()
        {
            bail!("{why}");
        }
        self.follow_silence(now)?;
        let by_http = self.is_by_http();
        match &mut self.udp {
            Some(udp) if by_http => udp.probe_beside_http(now),
            Some(udp) => udp.poll(now),
            None => {}
        }
        self.pass_offer_on();
        Ok(())
    }

    /// Requests HTTP where nothing comes by UDP, and gives it up once QUIC is up.
    fn follow_silence(&mut self, now: Instant) -> anyhow::Result<()> {
        let Some(http) = &self.http else {
            return Ok(());
        };
        if let HttpState::Refused(why) = &*http.state() {
            bail!("{why}");
        }
        let Some(silence) = &mut self.silence else {
            return Ok(());
        };
        let quic = self.quic.as_ref().map(|quic| quic.state().clone());
        let by_quic = matches!(quic, Some(QuicConnectionState::Up(_)));
        let answered = self.address.answered().into_iter();
        let answered = answered.chain(by_quic.then_some(now));
        answered.for_each(|at| silence.on_answer(at));
        let is_up = matches!(*http.state(), HttpState::Up(_));
        http.want(!by_quic && (is_up || silence.is_blocked(now)));
        Ok(())
    }

    /// Returns whether frames go by HTTP now, unless QUIC is up.
    fn is_by_http(&self) -> bool {
        let http = self.http.as_ref();
        http.is_some_and(|http| matches!(*http.state(), HttpState::Up(_)))
    }

    /// Passes the relay's offer to take QUIC on to the task that connects.
    fn pass_offer_on(&mut self) {
        if let (Some(quic), Some(udp)) = (&self.quic, &mut self.udp)
            && let Some(offer) = udp.take_offer()
        {
            quic.upgrade(offer);
        }
    }

    /// Returns why the relay drops the frames now, if it does.
    pub(crate) fn refusal(&self, now: Instant) -> Option<Refusal> {
        let by_quic = self.quic.as_ref().and_then(QuicSender::refusal);
        let by_http = || self.http.as_ref().and_then(HttpSender::refusal);
        let by_udp = || self.udp.as_ref().and_then(|udp| udp.refusal(now));
        by_quic.or_else(by_http).or_else(by_udp)
    }

    /// Returns the transport by which frames leave now.
    pub(crate) fn transport(&self) -> &'static str {
        self.totals.transport
    }

    /// Returns what is known of the network now.
    pub(crate) fn feedback(&self) -> NetworkFeedback {
        if let Some(quic) = &self.quic
            && let QuicConnectionState::Up(start) = *quic.state()
        {
            return connected(start, quic.stats());
        }
        if let Some(http) = &self.http
            && let HttpState::Up(start) = *http.state()
        {
            return connected(start, http.stats());
        }
        match self.udp {
            Some(_) => NetworkFeedback::Unknown,
            None => NetworkFeedback::Disconnected,
        }
    }

    /// Reports to the relay at which quality frames are encoded now; `None` if they are a camera's own JPEGs.
    pub(crate) fn set_quality(&self, quality: Option<u8>) {
        self.quality
            .send_if_modified(|known| std::mem::replace(known, quality) != quality);
    }

    /// Waits until the last frames have arrived or expired, and returns the counters. It blocks the calling thread.
    pub(crate) fn close(self) -> Totals {
        let mut totals = self.totals;
        if let Some(quic) = self.quic {
            let stats = Handle::current().block_on(quic.close());
            totals.sent += stats.sent;
            totals.bytes += stats.bytes;
            totals.expired = stats.expired;
        }
        if let Some(http) = self.http {
            let stats = Handle::current().block_on(http.close());
            totals.sent += stats.sent;
            totals.bytes += stats.bytes;
        }
        totals
    }
}

/// Returns what a connection's counters show since its `start`.
fn connected(start: EgressSnapshot, now: EgressSnapshot) -> NetworkFeedback {
    let skipped = now.skipped - start.skipped;
    NetworkFeedback::Connected {
        offered: now.sent - start.sent + skipped,
        skipped: skipped + now.refused - start.refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uplink(transport: TransportChoice) -> Uplink {
        let server: Server = "127.0.0.1:9".parse().unwrap();
        let address = RelayAddress::known(&[]);
        let camera: CameraName = "yard".parse().unwrap();
        Uplink::new(&server, address, transport, &camera, StreamId(7), 9).unwrap()
    }

    /// The seconds of five minutes in which a large frame went out small.
    fn small_frame_seconds(uplink: &mut Uplink, bytes: usize) -> Vec<u64> {
        let start = testkit::time::start();
        let second = |n: &u64| start + Duration::from_secs(*n);
        (0..300)
            .filter(|n| uplink.wants_small_frame(bytes, second(n)))
            .collect()
    }

    #[tokio::test]
    async fn one_of_many_large_frames_is_small_until_the_relay_answers() {
        let seconds = small_frame_seconds(&mut uplink(TransportChoice::Auto), 40_000);
        assert_eq!(seconds, [5, 15, 35, 75, 155]);
    }

    #[tokio::test]
    async fn frames_that_arrive_anyway_and_ways_that_were_named_stay_as_they_are() {
        assert_eq!(
            small_frame_seconds(&mut uplink(TransportChoice::Auto), 15_000),
            [0; 0]
        );
        assert_eq!(
            small_frame_seconds(&mut uplink(TransportChoice::Udp), 40_000),
            [0; 0]
        );
        assert_eq!(
            small_frame_seconds(&mut uplink(TransportChoice::Quic), 40_000),
            [0; 0]
        );
    }
}
