//! The viewer's side of a lease: when to send a hello, a probe or `Request`.

use std::time::Instant;

use super::{
    ANSWER_TIMEOUT, KEEP_ALIVE, LeaseRequest, RENEW_INTERVAL, REPEAT_REQUEST_AFTER, SEARCH_INTERVAL,
};
use crate::control::LeaseVerdict;

/// What a viewer knows of the address that it sends its requests to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayKind {
    /// An address from which nothing has come for [`REPEAT_REQUEST_AFTER`].
    Silent,
    /// Our relay, which has granted a lease.
    Sightline,
    /// Our relay, whose leases are all taken.
    SightlineFull,
    /// Our relay, which takes no UDP viewers.
    SightlineClosed,
    /// Our relay, which admits tickets only.
    SightlinePrivate,
    /// A tutorial relay that streams to this viewer.
    Tutorial,
}

/// The schedule of a viewer's requests.
#[derive(Debug, Default)]
pub struct Renewal {
    /// Whether frames come, or may come, by another transport: then hellos become probes.
    elsewhere: bool,
    hello: Option<Instant>,
    request: Option<Instant>,
    answer: Option<Instant>,
    verdict: Option<LeaseVerdict>,
    echo: Option<Instant>,
    frame: Option<Instant>,
    /// Time of the last new cookie that made a hello due.
    cookie: Option<Instant>,
}

impl Renewal {
    /// Returns the schedule of a viewer that prefers to get its frames `elsewhere`, by the relay's `quic` transport, or
    /// wants them here.
    pub fn new(elsewhere: bool) -> Self {
        Self {
            elsewhere,
            ..Self::default()
        }
    }

    /// Notes whether frames come `elsewhere` now; a change makes the next hello or probe due at once.
    pub fn set_frames_by_quic(&mut self, elsewhere: bool) {
        if std::mem::replace(&mut self.elsewhere, elsewhere) != elsewhere {
            self.hello = None;
        }
    }

    /// Returns what to send now. Call it until it returns `None`, then again at [`Renewal::deadline`].
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

    /// Returns when to poll next; `None` means at once.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let hello = self.hello_due(now)?;
        Some(
            self.request_due()
                .map_or(hello, |request| request.min(hello)),
        )
    }

    /// Notes an answer of our relay.
    pub fn on_answer(&mut self, verdict: LeaseVerdict, now: Instant) {
        self.answer = Some(now);
        self.verdict = Some(verdict);
    }

    /// Notes that the answer held a new cookie: a hello with it is due at once, and proves the viewer's address. A relay that
    /// sends ever new cookies draws a hello a second by that.
    pub fn on_new_cookie(&mut self, now: Instant) {
        let lately = |at: Instant| now.saturating_duration_since(at) < SEARCH_INTERVAL;
        if !self.elsewhere && !self.cookie.is_some_and(lately) {
            self.cookie = Some(now);
            self.hello = None;
        }
    }

    /// Notes that this viewer's own hello came back.
    pub fn on_echo(&mut self, now: Instant) {
        self.echo = Some(now);
    }

    /// Notes that a frame came.
    pub fn on_frame(&mut self, now: Instant) {
        self.frame = Some(now);
    }

    /// Returns what is known of the other end.
    pub fn relay(&self, now: Instant) -> RelayKind {
        let recent = |at: Option<Instant>| {
            at.is_some_and(|at| now.saturating_duration_since(at) < REPEAT_REQUEST_AFTER)
        };
        match () {
            () if recent(self.answer) => match self.verdict {
                Some(LeaseVerdict::Private) => RelayKind::SightlinePrivate,
                // A viewer that gets its frames elsewhere needs no lease.
                _ if self.elsewhere => RelayKind::Sightline,
                Some(LeaseVerdict::Full) => RelayKind::SightlineFull,
                Some(LeaseVerdict::Closed) => RelayKind::SightlineClosed,
                Some(LeaseVerdict::Welcome) | None => RelayKind::Sightline,
            },
            () if recent(self.echo) || recent(self.frame) => RelayKind::Tutorial,
            () => RelayKind::Silent,
        }
    }

    fn hello_due(&self, now: Instant) -> Option<Instant> {
        let interval = match self.relay(now) {
            RelayKind::Tutorial if self.frame >= self.hello => KEEP_ALIVE,
            _ if self.answer < self.hello => SEARCH_INTERVAL,
            _ => RENEW_INTERVAL,
        };
        Some(self.hello? + interval)
    }

    /// Returns when `Request` is due: [`ANSWER_TIMEOUT`] after a hello that drew no answer, echo or frame, and
    /// [`REPEAT_REQUEST_AFTER`] after the last of those and of `Request` itself.
    fn request_due(&self) -> Option<Instant> {
        let hello = self.hello?;
        let received = [self.answer, self.echo, self.frame]
            .into_iter()
            .flatten()
            .max();
        let last = received.max(self.request);
        if last >= Some(hello) {
            return None;
        }
        let due = hello + ANSWER_TIMEOUT;
        Some(last.map_or(due, |last| due.max(last + REPEAT_REQUEST_AFTER)))
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use super::super::{Grant, Leases};
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn viewer(n: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], n))
    }

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    /// Runs a viewer for `span` and returns what it sent, each at so many milliseconds; `peer` plays the address that
    /// it sends to.
    fn run(
        renewal: &mut Renewal,
        start: Instant,
        span: Duration,
        mut peer: impl FnMut(Option<LeaseRequest>, &mut Renewal, Instant),
    ) -> Vec<(u128, LeaseRequest)> {
        let mut sent = Vec::new();
        let mut now = start;
        while now < start + span {
            let request = renewal.poll(now);
            if let Some(request) = request {
                sent.push(((now - start).as_millis(), request));
            }
            peer(request, renewal, now);
            now += 10 * MS;
        }
        sent
    }

    fn requests(sent: &[(u128, LeaseRequest)]) -> Vec<u128> {
        sent.iter()
            .filter(|(_, request)| *request == LeaseRequest::Request)
            .map(|(at, _)| *at)
            .collect()
    }

    #[test]
    fn our_relay_is_never_sent_a_request_and_the_place_is_kept() {
        let (start, mut leases, mut renewal) =
            (testkit::time::start(), Leases::new(1), Renewal::default());
        let sent = run(&mut renewal, start, secs(120), |request, renewal, now| {
            if let Some(request) = request {
                assert_ne!(leases.request(viewer(1), request, true, now), Grant::Full);
                renewal.on_answer(LeaseVerdict::Welcome, now);
            }
            assert!(leases.expire(now).is_empty());
        });
        assert_eq!(requests(&sent), []);
        assert_eq!(sent.len(), 60, "one hello every 2 s");
    }

    #[test]
    fn a_viewer_that_gets_its_frames_elsewhere_probes_and_gives_its_place_up_at_once() {
        let (start, mut leases) = (testkit::time::start(), Leases::new(1));
        let mut renewal = Renewal::new(true);
        assert_eq!(renewal.poll(start), Some(LeaseRequest::Probe));
        assert_eq!(
            leases.request(viewer(1), LeaseRequest::Probe, true, start),
            Grant::NotHeld
        );
        renewal.on_answer(LeaseVerdict::Welcome, start);
        renewal.set_frames_by_quic(false);
        assert_eq!(renewal.poll(start), Some(LeaseRequest::Hello), "at once");
        assert_eq!(
            leases.request(viewer(1), LeaseRequest::Hello, true, start),
            Grant::Joined
        );
        renewal.set_frames_by_quic(true);
        renewal.set_frames_by_quic(true);
        assert_eq!(renewal.poll(start), Some(LeaseRequest::Probe));
        assert_eq!(renewal.poll(start), None);
        assert_eq!(
            leases.request(viewer(1), LeaseRequest::Probe, true, start),
            Grant::Released
        );
        assert_eq!(leases.viewers().len(), 0);
    }

    #[test]
    fn a_new_cookie_is_returned_at_once_and_ever_new_ones_draw_a_hello_a_second() {
        let start = testkit::time::start();
        let mut renewal = Renewal::default();
        let sent = run(&mut renewal, start, secs(10), |request, renewal, now| {
            if request.is_some() {
                renewal.on_answer(LeaseVerdict::Welcome, now);
                renewal.on_new_cookie(now);
            }
        });
        assert_eq!(
            sent[..2],
            [(0, LeaseRequest::Hello), (10, LeaseRequest::Hello)]
        );
        assert!(sent.len() <= 11, "{sent:?}");
        let mut elsewhere = Renewal::new(true);
        assert_eq!(elsewhere.poll(start), Some(LeaseRequest::Probe));
        elsewhere.on_new_cookie(start);
        assert_eq!(elsewhere.poll(start), None, "no lease to prove");
    }

    #[test]
    fn a_probe_that_meets_silence_is_followed_by_a_request_too() {
        let sent = run(
            &mut Renewal::new(true),
            testkit::time::start(),
            secs(1),
            |_, _, _| {},
        );
        assert_eq!(
            sent,
            [(0, LeaseRequest::Probe), (300, LeaseRequest::Request)]
        );
    }

    #[test]
    fn a_waiting_tutorial_relay_gets_one_request_300_ms_after_the_hello() {
        let (start, mut streaming) = (testkit::time::start(), false);
        let sent = run(
            &mut Renewal::default(),
            start,
            secs(60),
            |request, renewal, now| {
                assert!(
                    !(streaming && request == Some(LeaseRequest::Request)),
                    "a second Request kills it"
                );
                streaming |= request == Some(LeaseRequest::Request);
                if streaming {
                    renewal.on_frame(now);
                }
            },
        );
        assert_eq!(requests(&sent), [300]);
        assert_eq!(
            sent.len(),
            1 + 1 + 3,
            "and a hello every 15 s that keeps the router's mapping"
        );
    }

    #[test]
    fn a_tutorial_relay_that_streams_to_us_already_is_never_sent_a_request() {
        for first_frame in [10, 290, 1_000_000] {
            let start = testkit::time::start();
            let sent = run(
                &mut Renewal::default(),
                start,
                secs(60),
                |request, renewal, now| {
                    if request == Some(LeaseRequest::Hello) {
                        renewal.on_echo(now);
                    }
                    if now >= start + first_frame * MS {
                        renewal.on_frame(now);
                    }
                },
            );
            assert_eq!(requests(&sent), [], "first frame after {first_frame} ms");
        }
    }

    #[test]
    fn a_frame_alone_is_proof_enough_that_no_request_is_needed() {
        let start = testkit::time::start();
        let sent = run(
            &mut Renewal::default(),
            start,
            secs(60),
            |_, renewal, now| {
                if now >= start + 100 * MS {
                    renewal.on_frame(now);
                }
            },
        );
        assert_eq!(requests(&sent), []);
    }

    #[test]
    fn a_silent_address_is_asked_every_second_and_sent_a_request_every_10_s_at_most() {
        let sent = run(
            &mut Renewal::default(),
            testkit::time::start(),
            secs(60),
            |_, _, _| {},
        );
        let requests = requests(&sent);
        assert!(
            requests.len() >= 5 && requests.windows(2).all(|w| w[1] - w[0] >= 10_000),
            "{requests:?}"
        );
        assert_eq!(sent.len() - requests.len(), 60);
    }

    #[test]
    fn after_a_pause_of_the_stream_the_next_request_waits_10_s() {
        let start = testkit::time::start();
        let sent = run(
            &mut Renewal::default(),
            start,
            secs(60),
            |_, renewal, now| {
                if (100..20_000).contains(&(now - start).as_millis()) {
                    renewal.on_frame(now);
                }
            },
        );
        assert!(requests(&sent)[0] >= 29_980, "{sent:?}");
    }

    #[test]
    fn a_restarted_relay_has_its_viewer_back_within_one_renewal() {
        let (start, mut leases, mut renewal) =
            (testkit::time::start(), Leases::new(4), Renewal::default());
        let restart = start + secs(21);
        let mut back = None;
        run(&mut renewal, start, secs(60), |request, renewal, now| {
            if now == restart {
                leases = Leases::new(4);
            }
            if let Some(request) = request {
                leases.request(viewer(1), request, true, now);
                renewal.on_answer(LeaseVerdict::Welcome, now);
            }
            if now >= restart && back.is_none() && leases.viewers().len() == 1 {
                back = Some(now - restart);
            }
        });
        assert!(back.unwrap() <= RENEW_INTERVAL, "{back:?}");
    }

    #[test]
    fn the_viewer_knows_whom_it_talks_to() {
        let (start, mut renewal) = (testkit::time::start(), Renewal::default());
        assert_eq!(renewal.relay(start), RelayKind::Silent);
        renewal.on_frame(start);
        assert_eq!(renewal.relay(start), RelayKind::Tutorial);
        renewal.on_answer(LeaseVerdict::Full, start);
        assert_eq!(renewal.relay(start), RelayKind::SightlineFull);
        renewal.on_answer(LeaseVerdict::Closed, start);
        assert_eq!(renewal.relay(start), RelayKind::SightlineClosed);
        renewal.set_frames_by_quic(true);
        assert_eq!(renewal.relay(start), RelayKind::Sightline, "it needs none");
        renewal.set_frames_by_quic(false);
        renewal.on_answer(LeaseVerdict::Welcome, start);
        assert_eq!(renewal.relay(start), RelayKind::Sightline);
        assert_eq!(
            renewal.relay(start + REPEAT_REQUEST_AFTER),
            RelayKind::Silent
        );
    }
}
