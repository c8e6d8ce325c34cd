//! Sends frames to the relay: by UDP, by QUIC, or by whichever the relay offers.
//!
//! ```text
//!               +--> UDP: one datagram a frame --------------------------> a tutorial's relay, or ours
//!  frame --> Uplink                                <-- upgrade ----------- ours
//!               +--> QUIC: newest-wins slot --> frame window --> stream -> ours
//! ```
//!
//! A frame goes by one of them: by QUIC while that connection is up, else by UDP if that is allowed. An `upgrade` alone opens
//! no QUIC: [`relay_proof`].

mod label_clock;
mod quic;
mod refusal;
mod relay_proof;
mod silence;
mod udp;

use std::time::{Duration, Instant};

use anyhow::bail;
use bytes::Bytes;
use platform::config::TransportChoice;
use platform::server::{RelayAddress, Server};
use protocol::SMALL_FRAME;
use protocol::label::{CameraName, StreamId};
use protocol::quic::{Hello, Refusal, Role};
use tokio::runtime::Handle;

use self::label_clock::SharedLabelClock;
use self::quic::{ConnectionConfig, QuicConnectionState, QuicSender};
use self::udp::UdpSender;

/// Time without an answer before the first small frames, which find out whether the relay is ours; doubled each time.
const FIRST_SMALL_FRAMES: Duration = Duration::from_secs(5);
/// Longest time between two rounds of small frames.
const MAX_SMALL_FRAMES_INTERVAL: Duration = Duration::from_secs(160);
/// Length of a round: the queue that large frames left on the path has to run empty first.
const SMALL_FRAMES_TIME: Duration = Duration::from_millis(800);

/// The path to the relay, over one transport or two.
#[derive(Debug)]
pub(crate) struct Uplink {
    udp: Option<UdpSender>,
    quic: Option<QuicSender>,
    clock: SharedLabelClock,
    /// When the next round of small frames begins, and how long after that the one behind it.
    small_frames: Option<(Instant, Duration)>,
    /// Count of frames offered to QUIC.
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
    /// Counters of a QUIC connection.
    Connected {
        /// Frames sent and skipped since this connection began.
        offered: u64,
        /// Those that a newer one replaced while the frame window was full.
        skipped: u64,
    },
}

impl Uplink {
    /// Returns the path to a server at this address. `nonce` is a random number that no frame shows.
    /// Call it inside a tokio runtime.
    pub(crate) fn new(
        server: &Server,
        address: RelayAddress,
        transport: TransportChoice,
        camera: &CameraName,
        stream: StreamId,
        nonce: u64,
    ) -> Self {
        let ticket = server.ticket();
        let clock = SharedLabelClock::new();
        let start_quic = |wait_for_upgrade| {
            let hello = Hello {
                role: Role::Send,
                camera: Some(camera.to_string()),
                token: ticket.map(|ticket| ticket.token.to_string()),
                stream: Some(format!("{:016x}", stream.0)),
                cookie: None,
                trial: None,
            };
            QuicSender::start(ConnectionConfig {
                address: address.clone(),
                clock: clock.clone(),
                hello,
                pinned: ticket.map(|ticket| ticket.fingerprint),
                wait_for_upgrade,
            })
        };
        let (udp, quic) = match (transport, ticket) {
            (TransportChoice::Udp, _) => (true, None),
            (TransportChoice::Auto, None) => (true, Some(start_quic(true))),
            (TransportChoice::Quic, _) | (TransportChoice::Auto, Some(_)) => {
                (false, Some(start_quic(false)))
            }
        };
        Self {
            small_frames: None,
            offered: 0,
            totals: Totals {
                sent: 0,
                bytes: 0,
                expired: 0,
                transport: if udp { "udp" } else { "quic" },
            },
            udp: udp.then(|| UdpSender::new(address, quic.as_ref().map(|_| nonce))),
            quic,
            clock,
        }
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
        if bytes <= SMALL_FRAME {
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
        if let Some(udp) = &mut self.udp {
            udp.poll(now);
        }
        self.pass_offer_on();
        Ok(())
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
        let by_udp = || self.udp.as_ref().and_then(|udp| udp.refusal(now));
        by_quic.or_else(by_udp)
    }

    /// Returns the transport by which frames leave now.
    pub(crate) fn transport(&self) -> &'static str {
        self.totals.transport
    }

    /// Returns what is known of the network now.
    pub(crate) fn feedback(&self) -> NetworkFeedback {
        let quic = self
            .quic
            .as_ref()
            .map(|quic| (quic.state().clone(), quic.stats()));
        match quic {
            Some((QuicConnectionState::Up(start), now)) => {
                let skipped = now.skipped - start.skipped;
                NetworkFeedback::Connected {
                    offered: now.sent - start.sent + skipped,
                    skipped,
                }
            }
            _ if self.udp.is_some() => NetworkFeedback::Unknown,
            _ => NetworkFeedback::Disconnected,
        }
    }

    /// Reports to the relay at which quality frames are encoded now; `None` if they are a camera's own JPEGs.
    pub(crate) fn set_quality(&self, quality: Option<u8>) {
        if let Some(quic) = &self.quic {
            quic.set_quality(quality);
        }
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
        totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uplink(transport: TransportChoice) -> Uplink {
        let server: Server = "127.0.0.1:9".parse().unwrap();
        let address = RelayAddress::known(&[]);
        let camera: CameraName = "yard".parse().unwrap();
        Uplink::new(&server, address, transport, &camera, StreamId(7), 9)
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
