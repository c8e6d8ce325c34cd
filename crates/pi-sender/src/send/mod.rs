//! The way to the relay: plain, native, or whichever it offers.
//!
//! ```text
//!             +--> plain: one datagram a frame -----------------> a tutorial's relay, or ours
//!  frame --> way                           <-- upgrade ---------- ours
//!             +--> native: [slot of one] --> gate --> QUIC -----> ours
//! ```
//!
//! A frame goes by one of them: natively while that door is open, else plainly where that is allowed.

mod native;
mod plain;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::bail;
use platform::config::Transport;
use platform::server::Server;
use protocol::SMALL_FRAME;
use protocol::label::{CameraName, StreamId};
use protocol::quic::{Hello, Role};
use tokio::runtime::Handle;
use tokio::sync::watch;

use self::native::State;

/// After so long without an answer a small frame seeks a relay of ours; the next twice as long after that, up to the
/// second.
const SEEK: Duration = Duration::from_secs(5);
const SELDOM: Duration = Duration::from_secs(160);
/// For so long frames are small then: the queue that the large ones left has to run empty first.
const SMALL: Duration = Duration::from_millis(800);

/// The way to the relay.
#[derive(Debug)]
pub(crate) struct Uplink {
    plain: Option<plain::Link>,
    native: Option<native::Link>,
    /// When a small frame is due, and how long after that the next one.
    seek: Option<(Instant, Duration)>,
    /// Frames offered to the native link.
    offered: u64,
    totals: Totals,
}

/// What left.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Totals {
    /// Frames.
    pub(crate) sent: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Frames that were given up on the way, since they were too old.
    pub(crate) expired: u64,
    /// How the last one went.
    pub(crate) transport: &'static str,
}

/// What the network does with frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Load {
    /// They go plainly: nobody knows.
    Plain,
    /// They cannot go.
    Lost,
    /// They go natively.
    Native {
        /// Frames sent and skipped since this connection began.
        offered: u64,
        /// Those that a newer one replaced while the gate was shut.
        skipped: u64,
    },
}

impl Uplink {
    /// The way to a server, wherever `address` says that it is. Call it inside a tokio runtime.
    pub(crate) fn new(
        server: &Server,
        address: watch::Receiver<Option<SocketAddr>>,
        transport: Transport,
        camera: &CameraName,
        stream: StreamId,
    ) -> Self {
        let ticket = server.ticket();
        let native = |when_asked| {
            let hello = Hello {
                role: Role::Send,
                camera: Some(camera.to_string()),
                token: ticket.map(|ticket| ticket.token.to_string()),
                stream: Some(format!("{:016x}", stream.0)),
            };
            native::Link::start(native::Way {
                address: address.clone(),
                hello,
                pinned: ticket.map(|ticket| ticket.fingerprint),
                when_asked,
            })
        };
        let (plain, native) = match (transport, ticket) {
            (Transport::Udp, _) => (true, None),
            (Transport::Auto, None) => (true, Some(native(true))),
            (Transport::Quic, _) | (Transport::Auto, Some(_)) => (false, Some(native(false))),
        };
        Self {
            native,
            seek: None,
            offered: 0,
            totals: Totals {
                sent: 0,
                bytes: 0,
                expired: 0,
                transport: if plain { "udp" } else { "quic" },
            },
            plain: plain.then(|| plain::Link::new(address)),
        }
    }

    /// Whether a frame of so many bytes should go out in the smallest form instead.
    ///
    /// A relay of ours answers a frame, but a path on which large ones never arrive would hide it for ever: plain frames
    /// are all that may be said to a relay that may be a tutorial's. So now and then they are small for a moment, and also
    /// while the native door is knocked at.
    pub(crate) fn seeks(&mut self, bytes: usize, now: Instant) -> bool {
        let (Some(_), Some(native)) = (&self.plain, &self.native) else {
            return false;
        };
        if bytes <= SMALL_FRAME {
            return false;
        }
        match *native.state() {
            State::Knocking => return true,
            State::Down => {}
            State::Up(_) | State::Refused(_) => return false,
        }
        let (due, gap) = *self.seek.get_or_insert((now + SEEK, 2 * SEEK));
        if now >= due + SMALL {
            self.seek = Some((due + gap, SELDOM.min(2 * gap)));
        }
        (due..due + SMALL).contains(&now)
    }

    /// Sends a frame, or skips it.
    ///
    /// # Errors
    /// Where the relay does not let us in, and will not.
    pub(crate) fn send(&mut self, frame: Vec<u8>, now: Instant) -> anyhow::Result<()> {
        if let Some(native) = &self.native {
            match &*native.state() {
                State::Refused(why) => bail!("{why}"),
                State::Up(_) => {
                    self.offered += 1;
                    self.totals.transport = "quic";
                    self.seek = None;
                    native.offer(self.offered, frame.into(), now);
                    return Ok(());
                }
                State::Down | State::Knocking => {}
            }
        }
        let Some(plain) = &mut self.plain else {
            return Ok(());
        };
        self.totals.transport = "udp";
        if plain.send(&frame, now) {
            self.totals.sent += 1;
            self.totals.bytes += frame.len() as u64;
        }
        if let Some(native) = &self.native
            && plain.take_upgrade()
        {
            native.upgrade();
        }
        Ok(())
    }

    /// What the network does with frames.
    pub(crate) fn load(&self) -> Load {
        let state = self
            .native
            .as_ref()
            .map(|native| (native.state().clone(), native.figures()));
        match state {
            Some((State::Up(start), now)) => {
                let skipped = now.skipped - start.skipped;
                Load::Native {
                    offered: now.sent - start.sent + skipped,
                    skipped,
                }
            }
            _ if self.plain.is_some() => Load::Plain,
            _ => Load::Lost,
        }
    }

    /// Tells whoever watches at which quality frames are encoded now; `None` where they are a camera's own.
    pub(crate) fn set_quality(&self, quality: Option<u8>) {
        if let Some(native) = &self.native {
            native.set_quality(quality);
        }
    }

    /// Lets the last frames arrive, and tells what left in all. Waits, so call it on a thread of its own.
    pub(crate) fn close(self) -> Totals {
        let mut totals = self.totals;
        if let Some(native) = self.native {
            let figures = Handle::current().block_on(native.close());
            totals.sent += figures.sent;
            totals.bytes += figures.bytes;
            totals.expired = figures.expired;
        }
        totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uplink(transport: Transport) -> Uplink {
        let server: Server = "127.0.0.1:9".parse().unwrap();
        let (_, address) = watch::channel(None);
        let camera: CameraName = "yard".parse().unwrap();
        Uplink::new(&server, address, transport, &camera, StreamId(7))
    }

    /// The seconds of five minutes in which a large frame went out small.
    fn sought(uplink: &mut Uplink, bytes: usize) -> Vec<u64> {
        let start = testkit::time::start();
        let second = |n: &u64| start + Duration::from_secs(*n);
        (0..300)
            .filter(|n| uplink.seeks(bytes, second(n)))
            .collect()
    }

    #[tokio::test]
    async fn one_of_many_large_frames_is_small_until_the_relay_answers() {
        let seconds = sought(&mut uplink(Transport::Auto), 40_000);
        assert_eq!(seconds, [5, 15, 35, 75, 155]);
    }

    #[tokio::test]
    async fn frames_that_arrive_anyway_and_ways_that_were_named_stay_as_they_are() {
        assert_eq!(sought(&mut uplink(Transport::Auto), 15_000), [0; 0]);
        assert_eq!(sought(&mut uplink(Transport::Udp), 40_000), [0; 0]);
        assert_eq!(sought(&mut uplink(Transport::Quic), 40_000), [0; 0]);
    }
}
