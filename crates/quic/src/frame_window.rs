//! FrameGate: how many frames may be on their way at once. Pure.
//!
//! Congestion is controlled on whole frames, since half a frame is worth nothing: while `window` frames are unacknowledged
//! the next one waits in a slot of one, where a newer one replaces it. So a slow path costs frames, never age.
//!
//! What moves the window is the queue on the path, and not how long a frame took: at 5 % loss most frames of 30 packets
//! need a retransmission, which says nothing of congestion, and a gate that took their delay for it delivered 82 % of
//! them at a round trip of 100 ms. The queue is what the *first* packets of a frame met: the shortest round trip among
//! its packets less the shortest of the last seconds ([`crate::path`]).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Frames older than this are given up: their successors are worth more.
pub const MAX_FRAME_AGE: Duration = Duration::from_millis(400);
/// Below this queue a larger window may be of use; above, the path is busy all the time already.
const IDLE: Duration = Duration::from_millis(30);
/// Above this queue the window is too large: more than the one frame waits that should wait behind the one on its way.
const FULL: Duration = Duration::from_millis(100);
/// Frames in flight at the start; with fewer, a path would lie idle between a frame and its acknowledgement.
const START: f64 = 2.0;
/// With one in flight, frames that take as long as [`OLDEST`] allows still arrive, one after the other.
const LEAST: f64 = 1.0;
/// Frames of which the one that took the least tells how long the path is busy with one: at 5 % loss, one of four frames of
/// 30 packets comes through whole.
const SERVED: usize = 32;
/// What one frame more is worth while it is tried whether two at a time arrive at all: a failure costs two frames.
const CAREFUL: f64 = 0.1;
/// A path that has been kept busy for so long is let run empty once, for one frame: what its shortest round trip is shows
/// only then, and a queue that never empties would be taken for the path's own length.
const BUSY: Duration = Duration::from_secs(10);
/// A gate that has kept no frame back for so long has no busy path behind it, however many frames are on their way.
const EASY: Duration = Duration::from_secs(2);
/// More are never useful: at 240 frames a second, this is what [`OLDEST`] holds.
const MOST: f64 = 96.0;

/// How a frame's flight ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Every byte arrived.
    Acknowledged,
    /// It was given up.
    Expired,
}

/// A flight that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// When it began.
    pub sent: Instant,
    /// How it ended.
    pub outcome: Outcome,
    /// What it met; unknown where none of its packets was acknowledged.
    pub path: Option<PathSample>,
}

/// What the luckiest packet of a frame met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathSample {
    /// The round trip of an empty path.
    pub round_trip: Duration,
    /// The queue: what its own took longer.
    pub queue: Duration,
}

/// The gate of one path.
#[derive(Debug)]
pub struct FrameWindow {
    window: f64,
    in_flight: usize,
    /// The window was full, and has not been half empty since: only then a larger one would have been used.
    full: bool,
    /// Since when frames have been in flight without a pause.
    busy: Option<Instant>,
    /// When a frame was last kept back.
    skipped: Option<Instant>,
    /// The path is to run empty.
    drains: bool,
    /// Frames given up since the last one that arrived.
    given_up: u32,
    /// How long the path took for each of the last frames, without the way and the queue before them.
    served: VecDeque<Duration>,
    /// No queue has been seen yet: the window grows by half with each round trip.
    searching: bool,
    /// The last frame that was sent before the window became smaller; those before it say nothing new.
    shrunk: Option<Instant>,
}

impl Default for FrameWindow {
    fn default() -> Self {
        Self {
            window: START,
            in_flight: 0,
            full: false,
            busy: None,
            skipped: None,
            drains: false,
            given_up: 0,
            served: VecDeque::with_capacity(SERVED),
            searching: true,
            shrunk: None,
        }
    }
}

impl FrameWindow {
    /// Whether a frame may be sent now.
    pub fn is_open(&self) -> bool {
        self.in_flight < self.window as usize && !self.drains
    }

    /// Frames that may be in flight.
    pub fn window(&self) -> f64 {
        self.window
    }

    /// Frames in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// A frame leaves.
    pub fn on_sent(&mut self, now: Instant) {
        self.in_flight += 1;
        self.full |= !self.is_open();
        let busy = *self.busy.get_or_insert(now);
        let lately = |at: Instant| now.saturating_duration_since(at) < EASY;
        self.drains =
            now.saturating_duration_since(busy) >= BUSY && self.skipped.is_some_and(lately);
    }

    /// A frame was kept back until a newer one replaced it.
    pub fn on_skipped(&mut self, now: Instant) {
        self.skipped = Some(now);
    }

    /// The flight of a frame is over.
    pub fn on_delivery(
        &mut self,
        Delivery {
            sent,
            outcome: end,
            path: met,
        }: Delivery,
        now: Instant,
    ) {
        let full = self.full;
        self.in_flight = self.in_flight.saturating_sub(1);
        self.full &= 2.0 * self.in_flight as f64 >= self.window;
        if self.in_flight == 0 {
            (self.busy, self.drains) = (None, false);
        }
        match end {
            Outcome::Acknowledged => self.arrived(met, full, sent, now),
            Outcome::Expired => self.expired(met, sent, now),
        }
    }

    fn arrived(&mut self, met: Option<PathSample>, full: bool, sent: Instant, now: Instant) {
        self.given_up = 0;
        let Some(PathSample { round_trip, queue }) = met else {
            return;
        };
        if self.served.len() == SERVED {
            self.served.pop_front();
        }
        let took = now.saturating_duration_since(sent);
        self.served
            .push_back(took.saturating_sub(round_trip + queue));
        self.searching &= queue <= IDLE;
        if queue > FULL {
            self.shrink(0.8, START, sent, now);
        } else if queue <= IDLE && full {
            self.grow(took, round_trip);
        }
    }

    /// The newest goes first: with two on their way one alone may suffer; but where two in a row do, none would ever
    /// arrive. Lost so often that it became too old, on a path that is not busy: a smaller window would not help.
    fn expired(&mut self, met: Option<PathSample>, sent: Instant, now: Instant) {
        self.given_up += 1;
        match met {
            Some(PathSample { queue, .. }) if queue <= IDLE => {}
            _ if self.given_up == 1 => self.shrink(0.8, START, sent, now),
            _ => self.shrink(0.5, LEAST, sent, now),
        }
    }

    /// One more than keeps the path busy is never useful: while it serves one frame, the others are on their way, and one
    /// waits. (The bandwidth-delay product, in frames.)
    fn grow(&mut self, took: Duration, round_trip: Duration) {
        let served = self.served.iter().min().copied().unwrap_or_default();
        let useful = START + round_trip.as_secs_f64() / served.as_secs_f64().max(1e-6);
        let step = match self.window {
            window if window < START && took > MAX_FRAME_AGE / 2 => CAREFUL,
            window if window < START => START - window,
            _ if self.searching => 1.0,
            window => window.recip(),
        };
        self.window = (self.window + step).min(MOST).min(useful.max(self.window));
    }

    fn shrink(&mut self, factor: f64, least: f64, sent: Instant, now: Instant) {
        if self.shrunk.is_none_or(|shrunk| sent >= shrunk) {
            self.window = (self.window * factor).max(least.min(self.window));
            self.shrunk = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A path that serves a frame at once.
    const TRIP: Duration = Duration::from_millis(50);
    const MS: Duration = Duration::from_millis(1);
    const CLEAR: (Outcome, Option<Duration>) = (Outcome::Acknowledged, Some(Duration::ZERO));
    const BUSY_PATH: (Outcome, Option<Duration>) =
        (Outcome::Acknowledged, Some(Duration::from_millis(60)));
    const QUEUED: (Outcome, Option<Duration>) =
        (Outcome::Acknowledged, Some(Duration::from_millis(150)));
    const DEAD: (Outcome, Option<Duration>) = (Outcome::Expired, None);
    const UNLUCKY: (Outcome, Option<Duration>) = (Outcome::Expired, Some(Duration::ZERO));

    impl FrameWindow {
        fn ended(
            &mut self,
            (end, queue): (Outcome, Option<Duration>),
            sent: Instant,
            now: Instant,
        ) {
            let round_trip = TRIP;
            let met = queue.map(|queue| PathSample { round_trip, queue });
            self.on_delivery(
                Delivery {
                    sent,
                    outcome: end,
                    path: met,
                },
                now,
            );
        }
    }

    /// Fills the window, and tells how many frames that took.
    fn fill(gate: &mut FrameWindow, now: Instant) -> usize {
        let mut sent = 0;
        while gate.is_open() {
            gate.on_sent(now);
            sent += 1;
        }
        sent
    }

    #[test]
    fn two_frames_may_be_in_flight_at_the_start() {
        assert_eq!(fill(&mut FrameWindow::default(), testkit::time::start()), 2);
    }

    #[test]
    fn the_window_grows_by_half_with_each_round_trip_until_a_queue_is_seen() {
        let (mut gate, mut now) = (FrameWindow::default(), testkit::time::start());
        let mut windows = Vec::new();
        for _ in 0..4 {
            let sent = now;
            now += TRIP;
            let count = fill(&mut gate, sent);
            (0..count).for_each(|_| gate.ended(CLEAR, sent, now));
            windows.push(count);
        }
        assert_eq!(windows, [2, 4, 6, 9]);
    }

    #[test]
    fn a_queue_shrinks_the_window_by_a_fifth_and_at_most_once_a_flight() {
        let (mut gate, start) = (FrameWindow::default(), testkit::time::start());
        for _ in 0..3 {
            let count = fill(&mut gate, start);
            (0..count).for_each(|_| gate.ended(CLEAR, start, start));
        }
        let (window, _) = (gate.window(), fill(&mut gate, start));
        for ms in 0..8 {
            gate.ended(QUEUED, start, start + (100 + ms) * MS);
        }
        assert!(
            (gate.window() - window * 0.8).abs() < 1e-9,
            "{}",
            gate.window()
        );
        gate.ended(QUEUED, start + 101 * MS, start + 300 * MS);
        assert!(
            (gate.window() - window * 0.64).abs() < 1e-9,
            "{}",
            gate.window()
        );
    }

    #[test]
    fn loss_without_a_queue_is_no_congestion_however_long_a_frame_takes() {
        let (mut gate, start) = (FrameWindow::default(), testkit::time::start());
        for frame in 0..100 {
            fill(&mut gate, start);
            let sent = start + frame * 100 * MS;
            let took = if frame % 4 == 0 { TRIP } else { 390 * MS };
            gate.ended(CLEAR, sent, sent + took);
        }
        assert!(gate.window() >= 8.0, "{}", gate.window());
    }

    #[test]
    fn frames_that_expire_shrink_the_window_to_one_and_no_further() {
        let (mut gate, start) = (FrameWindow::default(), testkit::time::start());
        for n in 1..20 {
            fill(&mut gate, start);
            gate.ended(DEAD, start + n * 400 * MS, start + (n * 400 + 1) * MS);
        }
        assert_eq!(gate.window(), LEAST);
        while gate.in_flight() > 0 {
            gate.ended(DEAD, start, start);
        }
        assert_eq!(fill(&mut gate, start), 1, "one is always tried");
    }

    #[test]
    fn a_window_that_is_not_used_up_does_not_grow() {
        let (mut gate, start) = (FrameWindow::default(), testkit::time::start());
        for _ in 0..50 {
            gate.on_sent(start);
            gate.ended(CLEAR, start, start);
        }
        assert!(gate.window() <= 3.0, "{}", gate.window());
    }

    #[test]
    fn behind_the_search_it_grows_by_about_one_a_round_trip() {
        let (mut gate, mut now) = (FrameWindow::default(), testkit::time::start());
        fill(&mut gate, now);
        gate.ended(QUEUED, now, now);
        let before = gate.window();
        for _ in 0..4 {
            now += 100 * MS;
            let count = fill(&mut gate, now).max(gate.in_flight());
            (0..count).for_each(|_| gate.ended(CLEAR, now, now));
        }
        let grown = gate.window() - before;
        assert!((2.0..=4.0).contains(&grown), "{grown}");
    }

    #[test]
    fn on_a_path_that_is_busy_all_the_time_the_window_stays() {
        let (mut gate, start) = (FrameWindow::default(), testkit::time::start());
        for n in 0..100 {
            fill(&mut gate, start);
            gate.ended(BUSY_PATH, start + n * MS, start + (n + 200) * MS);
        }
        assert_eq!(gate.window(), START);
    }

    #[test]
    fn frames_that_expire_by_loss_alone_do_not_shrink_the_window() {
        let (mut gate, start) = (FrameWindow::default(), testkit::time::start());
        for n in 0..100 {
            fill(&mut gate, start);
            gate.ended(UNLUCKY, start + n * MS, start + (n + 400) * MS);
        }
        assert_eq!(gate.window(), START);
    }

    #[test]
    fn a_path_that_is_too_narrow_runs_empty_once_every_10_s() {
        let (mut gate, mut now) = (FrameWindow::default(), testkit::time::start());
        let start = now;
        let mut emptied = Vec::new();
        while now < start + 5 * BUSY / 2 {
            fill(&mut gate, now);
            gate.on_skipped(now);
            now += 100 * MS;
            gate.ended(BUSY_PATH, now - 100 * MS, now);
            if gate.in_flight() == 0 {
                emptied.push((now - start).as_secs());
            }
        }
        assert_eq!(emptied, [10, 20]);
    }

    #[test]
    fn a_long_path_that_keeps_no_frame_back_never_runs_empty() {
        let (mut gate, mut now) = (FrameWindow::default(), testkit::time::start());
        gate.on_sent(now);
        for _ in 0..1000 {
            now += 100 * MS;
            gate.on_sent(now);
            assert!(gate.is_open() || gate.in_flight() == 2);
            gate.ended(CLEAR, now - 200 * MS, now);
            assert!(gate.in_flight() > 0 && gate.is_open());
        }
    }

    #[test]
    fn one_frame_that_is_too_late_on_a_busy_path_is_forgiven_and_two_in_a_row_are_not() {
        let (mut gate, mut now) = (FrameWindow::default(), testkit::time::start());
        let late = (Outcome::Expired, Some(Duration::from_millis(60)));
        for _ in 0..5 {
            fill(&mut gate, now);
            now += 400 * MS;
            gate.ended(late, now - 400 * MS, now);
            gate.ended(BUSY_PATH, now - 300 * MS, now);
        }
        assert_eq!(gate.window(), START);
        fill(&mut gate, now);
        now += 400 * MS;
        gate.ended(late, now - 400 * MS, now);
        gate.ended(late, now, now);
        assert_eq!(gate.window(), LEAST);
    }

    #[test]
    fn more_than_fills_the_path_is_never_on_its_way() {
        let (mut gate, mut now) = (FrameWindow::default(), testkit::time::start());
        // 50 ms of way and 110 ms for the frame: 2.45 frames fill it, with the one that waits.
        for _ in 0..100 {
            fill(&mut gate, now);
            now += 160 * MS;
            gate.ended(CLEAR, now - 160 * MS, now);
        }
        assert!((2.0..2.5).contains(&gate.window()), "{}", gate.window());
    }
}
