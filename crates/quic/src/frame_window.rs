//! The frame window: congestion control on frames in flight. Pure.
//!
//! It controls whole frames, since half a frame is worth nothing: while `window` frames are unacknowledged, the next
//! one waits in a newest-wins slot. So a slow path costs frames, never age.
//!
//! The window follows the queue on the path, and not the time that a frame took: at 5 % loss most frames of 30 packets
//! need a retransmission, which is not a sign of congestion, and a window that took their delay for one delivered 82 %
//! of them at a round trip of 100 ms. The queue is what the *first* packets of a frame waited in: the shortest round
//! trip among its packets less the shortest of the last seconds ([`crate::path`]).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Age at which a frame in flight is given up, since its successors are worth more.
pub const MAX_FRAME_AGE: Duration = Duration::from_millis(400);
/// Largest queue at which the window may grow; with a longer one the path is busy all the time already.
const MAX_QUEUE_TO_GROW: Duration = Duration::from_millis(30);
/// Largest queue at which the window does not shrink: above it, more than one frame waits behind the one being served.
const MAX_QUEUE: Duration = Duration::from_millis(100);
/// Window at the start; with a smaller one, a path would be idle between a frame and its acknowledgement.
const INITIAL_WINDOW: f64 = 2.0;
/// Smallest window: with one frame in flight, frames that take as long as [`MAX_FRAME_AGE`] still arrive, one by one.
const MIN_WINDOW: f64 = 1.0;
/// Number of service times kept, of which the shortest counts: at 5 % loss, one of four frames of 30 packets needs no
/// retransmission.
const MAX_SERVICE_TIMES: usize = 32;
/// Growth per frame below [`INITIAL_WINDOW`] on a slow path: if a second frame in flight is too many, both are lost.
const CAREFUL_STEP: f64 = 0.1;
/// Time for which a path may be kept busy before it is drained once, for one frame: only an empty path shows its
/// shortest round trip, and a queue that never empties would be taken for the path's own length.
const MAX_BUSY: Duration = Duration::from_secs(10);
/// Time since the last skipped frame after which the path counts as wide enough, however many frames are in flight.
const SKIP_MEMORY: Duration = Duration::from_secs(2);
/// Largest window: the frames of [`MAX_FRAME_AGE`] at 240 frames a second.
const MAX_WINDOW: f64 = 96.0;

/// Outcome of a frame in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All bytes arrived.
    Acknowledged,
    /// The frame was given up.
    Expired,
}

/// A frame that is no longer in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// Time of sending.
    pub sent: Instant,
    /// Outcome.
    pub outcome: Outcome,
    /// State of the path; `None` if none of the frame's packets was acknowledged.
    pub path: Option<PathSample>,
}

/// State of the path, by the fastest packet of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathSample {
    /// Round trip of the empty path.
    pub round_trip: Duration,
    /// Queue: the packet's round trip less that of the empty path.
    pub queue: Duration,
}

/// The frame window of one path.
#[derive(Debug)]
pub struct FrameWindow {
    window: f64,
    in_flight: usize,
    /// Whether the window was full, and has not been half empty since: only then a larger one would have been used.
    limited: bool,
    /// Time since which frames have been in flight without a pause.
    busy_since: Option<Instant>,
    /// Time of the last skipped frame.
    skipped_at: Option<Instant>,
    /// Whether the path is drained: no frame is sent until none is in flight.
    draining: bool,
    /// Frames given up since the last one that arrived.
    expired: u32,
    /// Time that the path took for each of the last frames, without the round trip and the queue before them.
    service_times: VecDeque<Duration>,
    /// Whether no queue has been seen yet: the window grows by half with each round trip.
    slow_start: bool,
    /// Time at which the window last shrank; frames sent before that do not shrink it again.
    shrunk_at: Option<Instant>,
}

impl Default for FrameWindow {
    fn default() -> Self {
        Self {
            window: INITIAL_WINDOW,
            in_flight: 0,
            limited: false,
            busy_since: None,
            skipped_at: None,
            draining: false,
            expired: 0,
            service_times: VecDeque::with_capacity(MAX_SERVICE_TIMES),
            slow_start: true,
            shrunk_at: None,
        }
    }
}

impl FrameWindow {
    /// Returns whether a frame may be sent now.
    pub fn is_open(&self) -> bool {
        self.in_flight < self.window as usize && !self.draining
    }

    /// Returns the number of frames that may be in flight.
    pub fn window(&self) -> f64 {
        self.window
    }

    /// Returns the number of frames in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Notes that a frame was sent.
    pub fn on_sent(&mut self, now: Instant) {
        self.in_flight += 1;
        self.limited |= !self.is_open();
        let busy_since = *self.busy_since.get_or_insert(now);
        let recent = |at: Instant| now.saturating_duration_since(at) < SKIP_MEMORY;
        self.draining = now.saturating_duration_since(busy_since) >= MAX_BUSY
            && self.skipped_at.is_some_and(recent);
    }

    /// Notes that a frame was held back until a newer one replaced it.
    pub fn on_skipped(&mut self, now: Instant) {
        self.skipped_at = Some(now);
    }

    /// Notes that a frame is no longer in flight, and moves the window.
    pub fn on_delivery(&mut self, delivery: Delivery, now: Instant) {
        let limited = self.limited;
        self.in_flight = self.in_flight.saturating_sub(1);
        self.limited &= 2.0 * self.in_flight as f64 >= self.window;
        if self.in_flight == 0 {
            (self.busy_since, self.draining) = (None, false);
        }
        let Delivery { sent, path, .. } = delivery;
        match delivery.outcome {
            Outcome::Acknowledged => self.on_acknowledged(path, limited, sent, now),
            Outcome::Expired => self.on_expired(path, sent, now),
        }
    }

    fn on_acknowledged(
        &mut self,
        path: Option<PathSample>,
        limited: bool,
        sent: Instant,
        now: Instant,
    ) {
        self.expired = 0;
        let Some(PathSample { round_trip, queue }) = path else {
            return;
        };
        if self.service_times.len() == MAX_SERVICE_TIMES {
            self.service_times.pop_front();
        }
        let took = now.saturating_duration_since(sent);
        self.service_times
            .push_back(took.saturating_sub(round_trip + queue));
        self.slow_start &= queue <= MAX_QUEUE_TO_GROW;
        if queue > MAX_QUEUE {
            self.shrink(0.8, INITIAL_WINDOW, sent, now);
        } else if queue <= MAX_QUEUE_TO_GROW && limited {
            self.grow(took, round_trip);
        }
    }

    /// Shrinks the window if the path is busy; on an idle path the frame expired by loss, and a smaller window would
    /// not help. The newest frame goes first, so with two in flight one alone may expire; if two in a row do, none
    /// would ever arrive.
    fn on_expired(&mut self, path: Option<PathSample>, sent: Instant, now: Instant) {
        self.expired += 1;
        match path {
            Some(PathSample { queue, .. }) if queue <= MAX_QUEUE_TO_GROW => {}
            _ if self.expired == 1 => self.shrink(0.8, INITIAL_WINDOW, sent, now),
            _ => self.shrink(0.5, MIN_WINDOW, sent, now),
        }
    }

    /// Grows the window, at most to the bandwidth-delay product in frames and one frame more: while the path serves one
    /// frame, others are in flight, and one waits.
    fn grow(&mut self, took: Duration, round_trip: Duration) {
        let service_time = self.service_times.iter().min().copied();
        let service_time = service_time.unwrap_or_default().as_secs_f64().max(1e-6);
        let useful = INITIAL_WINDOW + round_trip.as_secs_f64() / service_time;
        let step = match self.window {
            window if window < INITIAL_WINDOW && took > MAX_FRAME_AGE / 2 => CAREFUL_STEP,
            window if window < INITIAL_WINDOW => INITIAL_WINDOW - window,
            _ if self.slow_start => 1.0,
            window => window.recip(),
        };
        self.window = (self.window + step)
            .min(MAX_WINDOW)
            .min(useful.max(self.window));
    }

    fn shrink(&mut self, factor: f64, min: f64, sent: Instant, now: Instant) {
        if self.shrunk_at.is_none_or(|shrunk_at| sent >= shrunk_at) {
            self.window = (self.window * factor).max(min.min(self.window));
            self.shrunk_at = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Round trip of a path that serves a frame at once.
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
            (outcome, queue): (Outcome, Option<Duration>),
            sent: Instant,
            now: Instant,
        ) {
            let round_trip = TRIP;
            let path = queue.map(|queue| PathSample { round_trip, queue });
            let delivery = Delivery {
                sent,
                outcome,
                path,
            };
            self.on_delivery(delivery, now);
        }
    }

    /// Fills the window, and returns how many frames that took.
    fn fill(frame_window: &mut FrameWindow, now: Instant) -> usize {
        let mut sent = 0;
        while frame_window.is_open() {
            frame_window.on_sent(now);
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
        let (mut frame_window, mut now) = (FrameWindow::default(), testkit::time::start());
        let mut windows = Vec::new();
        for _ in 0..4 {
            let sent = now;
            now += TRIP;
            let count = fill(&mut frame_window, sent);
            (0..count).for_each(|_| frame_window.ended(CLEAR, sent, now));
            windows.push(count);
        }
        assert_eq!(windows, [2, 4, 6, 9]);
    }

    #[test]
    fn a_queue_shrinks_the_window_by_a_fifth_and_at_most_once_a_flight() {
        let (mut frame_window, start) = (FrameWindow::default(), testkit::time::start());
        for _ in 0..3 {
            let count = fill(&mut frame_window, start);
            (0..count).for_each(|_| frame_window.ended(CLEAR, start, start));
        }
        let (window, _) = (frame_window.window(), fill(&mut frame_window, start));
        for ms in 0..8 {
            frame_window.ended(QUEUED, start, start + (100 + ms) * MS);
        }
        assert!(
            (frame_window.window() - window * 0.8).abs() < 1e-9,
            "{}",
            frame_window.window()
        );
        frame_window.ended(QUEUED, start + 101 * MS, start + 300 * MS);
        assert!(
            (frame_window.window() - window * 0.64).abs() < 1e-9,
            "{}",
            frame_window.window()
        );
    }

    #[test]
    fn loss_without_a_queue_is_no_congestion_however_long_a_frame_takes() {
        let (mut frame_window, start) = (FrameWindow::default(), testkit::time::start());
        for frame in 0..100 {
            fill(&mut frame_window, start);
            let sent = start + frame * 100 * MS;
            let took = if frame % 4 == 0 { TRIP } else { 390 * MS };
            frame_window.ended(CLEAR, sent, sent + took);
        }
        assert!(frame_window.window() >= 8.0, "{}", frame_window.window());
    }

    #[test]
    fn frames_that_expire_shrink_the_window_to_one_and_no_further() {
        let (mut frame_window, start) = (FrameWindow::default(), testkit::time::start());
        for n in 1..20 {
            fill(&mut frame_window, start);
            frame_window.ended(DEAD, start + n * 400 * MS, start + (n * 400 + 1) * MS);
        }
        assert_eq!(frame_window.window(), MIN_WINDOW);
        while frame_window.in_flight() > 0 {
            frame_window.ended(DEAD, start, start);
        }
        assert_eq!(fill(&mut frame_window, start), 1, "one is always tried");
    }

    #[test]
    fn a_window_that_is_not_used_up_does_not_grow() {
        let (mut frame_window, start) = (FrameWindow::default(), testkit::time::start());
        for _ in 0..50 {
            frame_window.on_sent(start);
            frame_window.ended(CLEAR, start, start);
        }
        assert!(frame_window.window() <= 3.0, "{}", frame_window.window());
    }

    #[test]
    fn behind_the_search_it_grows_by_about_one_a_round_trip() {
        let (mut frame_window, mut now) = (FrameWindow::default(), testkit::time::start());
        fill(&mut frame_window, now);
        frame_window.ended(QUEUED, now, now);
        let before = frame_window.window();
        for _ in 0..4 {
            now += 100 * MS;
            let count = fill(&mut frame_window, now).max(frame_window.in_flight());
            (0..count).for_each(|_| frame_window.ended(CLEAR, now, now));
        }
        let grown = frame_window.window() - before;
        assert!((2.0..=4.0).contains(&grown), "{grown}");
    }

    #[test]
    fn on_a_path_that_is_busy_all_the_time_the_window_stays() {
        let (mut frame_window, start) = (FrameWindow::default(), testkit::time::start());
        for n in 0..100 {
            fill(&mut frame_window, start);
            frame_window.ended(BUSY_PATH, start + n * MS, start + (n + 200) * MS);
        }
        assert_eq!(frame_window.window(), INITIAL_WINDOW);
    }

    #[test]
    fn frames_that_expire_by_loss_alone_do_not_shrink_the_window() {
        let (mut frame_window, start) = (FrameWindow::default(), testkit::time::start());
        for n in 0..100 {
            fill(&mut frame_window, start);
            frame_window.ended(UNLUCKY, start + n * MS, start + (n + 400) * MS);
        }
        assert_eq!(frame_window.window(), INITIAL_WINDOW);
    }

    #[test]
    fn a_path_that_is_too_narrow_runs_empty_once_every_10_s() {
        let (mut frame_window, mut now) = (FrameWindow::default(), testkit::time::start());
        let start = now;
        let mut emptied = Vec::new();
        while now < start + 5 * MAX_BUSY / 2 {
            fill(&mut frame_window, now);
            frame_window.on_skipped(now);
            now += 100 * MS;
            frame_window.ended(BUSY_PATH, now - 100 * MS, now);
            if frame_window.in_flight() == 0 {
                emptied.push((now - start).as_secs());
            }
        }
        assert_eq!(emptied, [10, 20]);
    }

    #[test]
    fn a_long_path_that_keeps_no_frame_back_never_runs_empty() {
        let (mut frame_window, mut now) = (FrameWindow::default(), testkit::time::start());
        frame_window.on_sent(now);
        for _ in 0..1000 {
            now += 100 * MS;
            frame_window.on_sent(now);
            assert!(frame_window.is_open() || frame_window.in_flight() == 2);
            frame_window.ended(CLEAR, now - 200 * MS, now);
            assert!(frame_window.in_flight() > 0 && frame_window.is_open());
        }
    }

    #[test]
    fn one_frame_that_is_too_late_on_a_busy_path_is_forgiven_and_two_in_a_row_are_not() {
        let (mut frame_window, mut now) = (FrameWindow::default(), testkit::time::start());
        let late = (Outcome::Expired, Some(Duration::from_millis(60)));
        for _ in 0..5 {
            fill(&mut frame_window, now);
            now += 400 * MS;
            frame_window.ended(late, now - 400 * MS, now);
            frame_window.ended(BUSY_PATH, now - 300 * MS, now);
        }
        assert_eq!(frame_window.window(), INITIAL_WINDOW);
        fill(&mut frame_window, now);
        now += 400 * MS;
        frame_window.ended(late, now - 400 * MS, now);
        frame_window.ended(late, now, now);
        assert_eq!(frame_window.window(), MIN_WINDOW);
    }

    #[test]
    fn more_than_fills_the_path_is_never_on_its_way() {
        let (mut frame_window, mut now) = (FrameWindow::default(), testkit::time::start());
        // 50 ms of way and 110 ms for the frame: 2.45 frames fill it, with the one that waits.
        for _ in 0..100 {
            fill(&mut frame_window, now);
            now += 160 * MS;
            frame_window.ended(CLEAR, now - 160 * MS, now);
        }
        assert!(
            (2.0..2.5).contains(&frame_window.window()),
            "{}",
            frame_window.window()
        );
    }
}
