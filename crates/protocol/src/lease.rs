//! Places at the plain door: the relay's side (`Leases`) and the viewer's (`Renewal`), tested against each other.
//!
//! A viewer behind a router can be reached only where it spoke from, and only for as long as the router remembers, so it
//! says hello again and again. A tutorial viewer cannot: it says `Request` once and keeps its place. And a tutorial relay
//! must never hear a `Request` while it streams, since it takes every datagram for a JPEG and dies of one that is not.
//! So our viewer says hello (a JPEG) first, and `Request` only to an address from which neither an answer nor a frame
//! has come. An echo of its hello means that a tutorial relay streams to this very viewer already: no `Request` either.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::control::Verdict;

/// How often our viewer renews its place.
pub const RENEW: Duration = Duration::from_secs(2);
/// How often it asks while nothing answers: a relay that is back is found within this.
pub const SEARCH: Duration = Duration::from_secs(1);
/// How long our viewer waits for an answer before it takes the address for a tutorial relay that waits.
pub const ANSWER_TIMEOUT: Duration = Duration::from_millis(300);
/// A second `Request` is due only after this long without any frame.
pub const QUIET: Duration = Duration::from_secs(10);
/// Between hellos to a tutorial relay that streams: it shows each to its viewer for one frame, and all that is needed
/// is that routers on the way (30 s at the least) do not forget.
pub const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// A viewer that said hello and has not for this long has gone.
pub const LEASE_TIME: Duration = Duration::from_secs(10);
/// When the door is full, a newcomer may take the place of one that has not renewed for this long.
pub const REPLACEABLE_AFTER: Duration = Duration::from_secs(60);

/// How a viewer asks for frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseRequest {
    /// The tutorial's 7 bytes: once, for good.
    Request,
    /// Ours: to be renewed.
    Hello,
    /// Ours: who are you? No frames here, or no more, since they shall come another way.
    Probe,
}

/// The relay's answer to an [`Ask`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// A new viewer.
    Joined,
    /// A new viewer in the place of this one, which had not renewed for [`REPLACE`].
    Replaced(SocketAddr),
    /// One that has its place already.
    Renewed,
    /// All places are taken.
    Full,
    /// The place is given up.
    Released,
    /// There was none to give up.
    NotHeld,
}

/// The plain door's places.
#[derive(Debug)]
pub struct Leases {
    capacity: usize,
    held: Vec<Lease>,
}

#[derive(Debug)]
struct Lease {
    viewer: SocketAddr,
    renewed: Instant,
    /// It said hello once, so it will again while it lives.
    renews: bool,
}

impl Leases {
    /// A door with so many places.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            held: Vec::new(),
        }
    }

    /// A viewer asks.
    pub fn request(&mut self, viewer: SocketAddr, ask: LeaseRequest, now: Instant) -> Grant {
        if ask == LeaseRequest::Probe {
            return if self.release(viewer) {
                Grant::Released
            } else {
                Grant::NotHeld
            };
        }
        let renews = ask == LeaseRequest::Hello;
        if let Some(lease) = self.held.iter_mut().find(|l| l.viewer == viewer) {
            lease.renewed = now;
            lease.renews |= renews;
            return Grant::Renewed;
        }
        let joined = Lease {
            viewer,
            renewed: now,
            renews,
        };
        if self.held.len() < self.capacity {
            self.held.push(joined);
            return Grant::Joined;
        }
        let stale = |l: &&mut Lease| now.saturating_duration_since(l.renewed) >= REPLACEABLE_AFTER;
        match self.held.iter_mut().filter(stale).min_by_key(|l| l.renewed) {
            Some(oldest) => Grant::Replaced(std::mem::replace(oldest, joined).viewer),
            None => Grant::Full,
        }
    }

    /// Takes a place back, where the viewer's host says that nobody listens there. Tells whether there was one.
    pub fn release(&mut self, viewer: SocketAddr) -> bool {
        let before = self.held.len();
        self.held.retain(|l| l.viewer != viewer);
        self.held.len() < before
    }

    /// Takes back and returns the places of those that used to renew and have not for [`GONE`].
    pub fn expire(&mut self, now: Instant) -> Vec<SocketAddr> {
        let gone = self
            .held
            .extract_if(.., |l| l.ends().is_some_and(|end| end <= now));
        gone.map(|l| l.viewer).collect()
    }

    /// When the next place ends unless it is renewed.
    pub fn deadline(&self) -> Option<Instant> {
        self.held.iter().filter_map(Lease::ends).min()
    }

    /// The viewers that asked once and will not ask again: only the relay's memory leads back to them.
    pub fn permanent(&self) -> impl Iterator<Item = SocketAddr> {
        self.held.iter().filter(|l| !l.renews).map(|l| l.viewer)
    }

    /// The viewers that hold a place, in order of arrival.
    pub fn viewers(&self) -> impl ExactSizeIterator<Item = SocketAddr> {
        self.held.iter().map(|l| l.viewer)
    }
}

impl Lease {
    fn ends(&self) -> Option<Instant> {
        self.renews.then(|| self.renewed + LEASE_TIME)
    }
}

/// What a viewer knows of the address it asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayKind {
    /// Nothing has come from there for [`QUIET`].
    Silent,
    /// Our relay, and we have a place.
    Sightline,
    /// Our relay, and all places are taken.
    SightlineFull,
    /// Our relay, which lets in nobody without a ticket.
    SightlinePrivate,
    /// A tutorial relay that streams to us.
    Tutorial,
}

/// The viewer's side: when to say what.
#[derive(Debug, Default)]
pub struct Renewal {
    /// Frames come, or may come, another way: hellos become probes.
    elsewhere: bool,
    hello: Option<Instant>,
    request: Option<Instant>,
    answer: Option<Instant>,
    verdict: Option<Verdict>,
    echo: Option<Instant>,
    frame: Option<Instant>,
}

impl Renewal {
    /// A viewer that would rather get its frames `elsewhere`, at the native door of what answers, or here.
    pub fn new(elsewhere: bool) -> Self {
        Self {
            elsewhere,
            ..Self::default()
        }
    }

    /// Frames come `elsewhere`, or shall come here again; to be told to the relay at once.
    pub fn set_elsewhere(&mut self, elsewhere: bool) {
        if std::mem::replace(&mut self.elsewhere, elsewhere) != elsewhere {
            self.hello = None;
        }
    }

    /// What to send now, if anything. Call again until it returns `None`, then at [`Renewal::deadline`].
    pub fn poll(&mut self, now: Instant) -> Option<LeaseRequest> {
        if self.request_due().is_some_and(|due| due <= now) {
            self.request = Some(now);
            return Some(LeaseRequest::Request);
        }
        if self.hello_due(now).is_none_or(|due| due <= now) {
            self.hello = Some(now);
            return Some(if self.elsewhere {
                LeaseRequest::Probe
            } else {
                LeaseRequest::Hello
            });
        }
        None
    }

    /// When to poll next; `None` means at once.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let hello = self.hello_due(now)?;
        Some(
            self.request_due()
                .map_or(hello, |request| request.min(hello)),
        )
    }

    /// Our relay answered.
    pub fn on_answer(&mut self, verdict: Verdict, now: Instant) {
        self.answer = Some(now);
        self.verdict = Some(verdict);
    }

    /// Our own hello came back.
    pub fn on_echo(&mut self, now: Instant) {
        self.echo = Some(now);
    }

    /// A frame came.
    pub fn on_frame(&mut self, now: Instant) {
        self.frame = Some(now);
    }

    /// Whom we are talking to.
    pub fn relay(&self, now: Instant) -> RelayKind {
        let lately =
            |at: Option<Instant>| at.is_some_and(|at| now.saturating_duration_since(at) < QUIET);
        match () {
            () if lately(self.answer) => match self.verdict {
                Some(Verdict::Full) => RelayKind::SightlineFull,
                Some(Verdict::Private) => RelayKind::SightlinePrivate,
                Some(Verdict::Welcome) | None => RelayKind::Sightline,
            },
            () if lately(self.echo) || lately(self.frame) => RelayKind::Tutorial,
            () => RelayKind::Silent,
        }
    }

    fn hello_due(&self, now: Instant) -> Option<Instant> {
        let peer = self.relay(now);
        let interval = match peer {
            RelayKind::Tutorial if self.frame >= self.hello => KEEP_ALIVE,
            _ if self.answer < self.hello => SEARCH,
            _ => RENEW,
        };
        Some(self.hello? + interval)
    }

    /// `Request` follows a hello that neither an answer, an echo nor a frame has met, [`QUIET`] after the last of each.
    fn request_due(&self) -> Option<Instant> {
        let hello = self.hello?;
        let met = [self.answer, self.echo, self.frame]
            .into_iter()
            .flatten()
            .max();
        if met.is_some_and(|met| met >= hello) || self.request.is_some_and(|asked| asked >= hello) {
            return None;
        }
        let quiet = [met, self.request]
            .into_iter()
            .flatten()
            .max()
            .map(|last| last + QUIET);
        Some(quiet.map_or(hello + ANSWER_TIMEOUT, |quiet| {
            quiet.max(hello + ANSWER_TIMEOUT)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn viewer(n: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], n))
    }

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    /// Runs a viewer for `span`; `answer` plays the address it asked and says what comes back, and when.
    fn run(
        renewal: &mut Renewal,
        start: Instant,
        span: Duration,
        mut peer: impl FnMut(Option<LeaseRequest>, &mut Renewal, Instant),
    ) -> Vec<(u128, LeaseRequest)> {
        let mut said = Vec::new();
        let mut now = start;
        while now < start + span {
            let ask = renewal.poll(now);
            if let Some(ask) = ask {
                said.push(((now - start).as_millis(), ask));
            }
            peer(ask, renewal, now);
            now += 10 * MS;
        }
        said
    }

    fn requests(said: &[(u128, LeaseRequest)]) -> Vec<u128> {
        said.iter()
            .filter(|(_, ask)| *ask == LeaseRequest::Request)
            .map(|(at, _)| *at)
            .collect()
    }

    #[test]
    fn our_relay_is_never_sent_a_request_and_the_place_is_kept() {
        let (start, mut leases, mut renewal) =
            (testkit::time::start(), Leases::new(1), Renewal::default());
        let said = run(&mut renewal, start, secs(120), |ask, renewal, now| {
            if let Some(ask) = ask {
                assert_ne!(leases.request(viewer(1), ask, now), Grant::Full);
                renewal.on_answer(Verdict::Welcome, now);
            }
            assert!(leases.expire(now).is_empty());
        });
        assert_eq!(requests(&said), []);
        assert_eq!(said.len(), 60, "one hello every 2 s");
    }

    #[test]
    fn a_viewer_that_gets_its_frames_elsewhere_probes_and_gives_its_place_up_at_once() {
        let (start, mut leases) = (testkit::time::start(), Leases::new(1));
        let mut renewal = Renewal::new(true);
        assert_eq!(renewal.poll(start), Some(LeaseRequest::Probe));
        assert_eq!(
            leases.request(viewer(1), LeaseRequest::Probe, start),
            Grant::NotHeld
        );
        renewal.on_answer(Verdict::Welcome, start);
        renewal.set_elsewhere(false);
        assert_eq!(renewal.poll(start), Some(LeaseRequest::Hello), "at once");
        assert_eq!(
            leases.request(viewer(1), LeaseRequest::Hello, start),
            Grant::Joined
        );
        renewal.set_elsewhere(true);
        renewal.set_elsewhere(true);
        assert_eq!(renewal.poll(start), Some(LeaseRequest::Probe));
        assert_eq!(renewal.poll(start), None);
        assert_eq!(
            leases.request(viewer(1), LeaseRequest::Probe, start),
            Grant::Released
        );
        assert_eq!(leases.viewers().len(), 0);
    }

    #[test]
    fn a_probe_that_meets_silence_is_followed_by_a_request_too() {
        let said = run(
            &mut Renewal::new(true),
            testkit::time::start(),
            secs(1),
            |_, _, _| {},
        );
        assert_eq!(
            said,
            [(0, LeaseRequest::Probe), (300, LeaseRequest::Request)]
        );
    }

    #[test]
    fn a_waiting_tutorial_relay_gets_one_request_300_ms_after_the_hello() {
        let (start, mut streaming) = (testkit::time::start(), false);
        let said = run(
            &mut Renewal::default(),
            start,
            secs(60),
            |ask, renewal, now| {
                assert!(
                    !(streaming && ask == Some(LeaseRequest::Request)),
                    "a second Request kills it"
                );
                streaming |= ask == Some(LeaseRequest::Request);
                if streaming {
                    renewal.on_frame(now);
                }
            },
        );
        assert_eq!(requests(&said), [300]);
        assert_eq!(
            said.len(),
            1 + 1 + 3,
            "and a hello every 15 s that keeps the router's mapping"
        );
    }

    #[test]
    fn a_tutorial_relay_that_streams_to_us_already_is_never_sent_a_request() {
        for first_frame in [10, 290, 1_000_000] {
            let start = testkit::time::start();
            let said = run(
                &mut Renewal::default(),
                start,
                secs(60),
                |ask, renewal, now| {
                    if ask == Some(LeaseRequest::Hello) {
                        renewal.on_echo(now);
                    }
                    if now >= start + first_frame * MS {
                        renewal.on_frame(now);
                    }
                },
            );
            assert_eq!(requests(&said), [], "first frame after {first_frame} ms");
        }
    }

    #[test]
    fn a_frame_alone_is_proof_enough_that_no_request_is_needed() {
        let start = testkit::time::start();
        let said = run(
            &mut Renewal::default(),
            start,
            secs(60),
            |_, renewal, now| {
                if now >= start + 100 * MS {
                    renewal.on_frame(now);
                }
            },
        );
        assert_eq!(requests(&said), []);
    }

    #[test]
    fn a_silent_address_is_asked_every_second_and_sent_a_request_every_10_s_at_most() {
        let said = run(
            &mut Renewal::default(),
            testkit::time::start(),
            secs(60),
            |_, _, _| {},
        );
        let requests = requests(&said);
        assert!(
            requests.len() >= 5 && requests.windows(2).all(|w| w[1] - w[0] >= 10_000),
            "{requests:?}"
        );
        assert_eq!(said.len() - requests.len(), 60);
    }

    #[test]
    fn after_a_pause_of_the_stream_the_next_request_waits_10_s() {
        let start = testkit::time::start();
        let said = run(
            &mut Renewal::default(),
            start,
            secs(60),
            |_, renewal, now| {
                if (100..20_000).contains(&(now - start).as_millis()) {
                    renewal.on_frame(now);
                }
            },
        );
        assert!(requests(&said)[0] >= 29_980, "{said:?}");
    }

    #[test]
    fn a_restarted_relay_has_its_viewer_back_within_one_renewal() {
        let (start, mut leases, mut renewal) =
            (testkit::time::start(), Leases::new(4), Renewal::default());
        let restart = start + secs(21);
        let mut back = None;
        run(&mut renewal, start, secs(60), |ask, renewal, now| {
            if now == restart {
                leases = Leases::new(4);
            }
            if let Some(ask) = ask {
                leases.request(viewer(1), ask, now);
                renewal.on_answer(Verdict::Welcome, now);
            }
            if now >= restart && back.is_none() && leases.viewers().len() == 1 {
                back = Some(now - restart);
            }
        });
        assert!(back.unwrap() <= RENEW, "{back:?}");
    }

    #[test]
    fn a_viewer_that_falls_silent_is_let_go_after_10_s_and_a_tutorial_viewer_never() {
        let (start, mut leases) = (testkit::time::start(), Leases::new(4));
        leases.request(viewer(1), LeaseRequest::Hello, start);
        leases.request(viewer(2), LeaseRequest::Request, start);
        assert_eq!(leases.deadline(), Some(start + LEASE_TIME));
        assert!(leases.expire(start + LEASE_TIME - MS).is_empty());
        assert_eq!(leases.expire(start + LEASE_TIME), [viewer(1)]);
        assert!(leases.expire(start + secs(1_000_000)).is_empty());
        assert_eq!(leases.viewers().collect::<Vec<_>>(), [viewer(2)]);
    }

    #[test]
    fn a_full_door_gives_a_newcomer_only_a_place_not_renewed_for_60_s() {
        let (start, mut leases) = (testkit::time::start(), Leases::new(2));
        leases.request(viewer(1), LeaseRequest::Request, start);
        leases.request(viewer(2), LeaseRequest::Request, start + secs(1));
        assert_eq!(
            leases.request(viewer(3), LeaseRequest::Request, start + secs(59)),
            Grant::Full
        );
        assert_eq!(
            leases.request(viewer(1), LeaseRequest::Request, start + secs(59)),
            Grant::Renewed
        );
        assert_eq!(
            leases.request(viewer(3), LeaseRequest::Hello, start + secs(61)),
            Grant::Replaced(viewer(2))
        );
        assert_eq!(
            leases.request(viewer(2), LeaseRequest::Hello, start + secs(61)),
            Grant::Full
        );
    }

    #[test]
    fn a_closed_door_has_no_place() {
        assert_eq!(
            Leases::new(0).request(viewer(1), LeaseRequest::Request, testkit::time::start()),
            Grant::Full
        );
    }

    #[test]
    fn a_request_that_follows_a_hello_does_not_make_the_place_permanent() {
        let (start, mut leases) = (testkit::time::start(), Leases::new(4));
        leases.request(viewer(1), LeaseRequest::Hello, start);
        leases.request(viewer(1), LeaseRequest::Request, start);
        assert_eq!(leases.expire(start + LEASE_TIME), [viewer(1)]);
    }

    #[test]
    fn the_viewer_knows_whom_it_talks_to() {
        let (start, mut renewal) = (testkit::time::start(), Renewal::default());
        assert_eq!(renewal.relay(start), RelayKind::Silent);
        renewal.on_frame(start);
        assert_eq!(renewal.relay(start), RelayKind::Tutorial);
        renewal.on_answer(Verdict::Full, start);
        assert_eq!(renewal.relay(start), RelayKind::SightlineFull);
        renewal.on_answer(Verdict::Welcome, start);
        assert_eq!(renewal.relay(start), RelayKind::Sightline);
        assert_eq!(renewal.relay(start + QUIET), RelayKind::Silent);
    }
}
