//! The frames that the relay has not answered, and whether one more may leave. Pure.
//!
//! The relay answers in order. The shortest of the last frames' times until the answer is that of an empty path: its round trip,
//! which the clock exchanges measure, and the frame's own length. What a frame took longer is its queue.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use quic::frame_window::{Delivery, FrameWindow, Outcome, PathSample};

/// Frames whose times are compared: those of some seconds.
const KEPT: usize = 64;

/// The frames in flight on a TCP connection.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    window: FrameWindow,
    sent: VecDeque<Instant>,
    /// Times until the answer of the last frames.
    took: VecDeque<Duration>,
    /// Round trip of the empty path; zero until it is known, and the window does not grow before.
    round_trip: Duration,
}

impl InFlight {
    pub(super) fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    /// Returns whether a frame may leave now.
    pub(super) fn is_open(&self) -> bool {
        self.window.is_open()
    }

    /// Notes a frame that leaves, and how many were held back before it.
    pub(super) fn on_sent(&mut self, skipped: u64, now: Instant) {
        if skipped > 0 {
            self.window.on_skipped(now);
        }
        self.window.on_sent(now);
        self.sent.push_back(now);
    }

    /// Notes the path's round trip.
    pub(super) fn on_round_trip(&mut self, round_trip: Duration) {
        self.round_trip = round_trip;
    }

    /// Notes the answer to the oldest frame in flight.
    pub(super) fn on_answer(&mut self, now: Instant) {
        let Some(sent) = self.sent.pop_front() else {
            return;
        };
        let took = now.saturating_duration_since(sent);
        if self.took.len() == KEPT {
            self.took.pop_front();
        }
        self.took.push_back(took);
        let shortest = self.took.iter().min().copied().unwrap_or(took);
        let delivery = Delivery {
            sent,
            outcome: Outcome::Acknowledged,
            path: Some(PathSample {
                round_trip: self.round_trip.min(shortest),
                queue: took - shortest,
            }),
        };
        self.window.on_delivery(delivery, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Offers 10 frames a second for a minute to a path with this round trip that serves one frame in `service`, and
    /// returns how many left and the longest time until an answer in the last half.
    fn run(round_trip: Duration, service: Duration) -> (usize, Duration) {
        let start = testkit::time::start();
        let (mut flight, mut free_at) = (InFlight::default(), start);
        flight.on_round_trip(round_trip);
        let mut answers: VecDeque<(Instant, Instant)> = VecDeque::new();
        let (mut waiting, mut sent, mut longest) = (false, 0, Duration::ZERO);
        for ms in 0..60_000 {
            let now = start + MS * ms;
            while let Some((left, _)) = answers.pop_front_if(|(_, at)| *at <= now) {
                flight.on_answer(now);
                if ms > 30_000 {
                    longest = longest.max(now - left);
                }
            }
            let due = ms % 100 == 0;
            let skipped = u64::from(waiting && due);
            waiting |= due;
            if waiting && flight.is_open() {
                flight.on_sent(skipped, now);
                free_at = free_at.max(now) + service;
                answers.push_back((now, free_at + round_trip));
                (waiting, sent) = (false, sent + 1);
            }
        }
        (sent, longest)
    }

    #[test]
    fn a_wide_path_carries_every_frame_however_long_it_is() {
        for round_trip in [0, 50, 250] {
            let (sent, longest) = run(MS * round_trip, 10 * MS);
            assert!(sent >= 595, "{round_trip}: {sent}");
            assert!(longest <= MS * (round_trip + 20), "{longest:?}");
        }
    }

    #[test]
    fn a_narrow_path_costs_frames_and_never_age() {
        let (sent, longest) = run(50 * MS, 300 * MS);
        assert!(sent >= 180, "{sent}");
        assert!(longest <= 800 * MS, "{longest:?}");
    }

    #[test]
    fn an_answer_to_no_frame_opens_nothing() {
        let mut flight = InFlight::default();
        let now = testkit::time::start();
        flight.on_answer(now);
        flight.on_sent(0, now);
        flight.on_sent(0, now);
        assert!(!flight.is_open() && !flight.is_empty());
    }
}
