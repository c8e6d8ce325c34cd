//! Offsets between two hosts' clocks, from NTP's four timestamps. Pure.
//!
//! ```text
//! peer    t1 ---------\            / t4        offset = ((t2 - t1) + (t3 - t4)) / 2
//! relay          t2    \--- t3 ---/            wrong by at most half of (t4 - t1) - (t3 - t2)
//! ```
//!
//! (RFC 5905, section 8.) The exchange with the shortest round trip is the best one: its error is the smallest,
//! whatever queues the others met. Both ends use their steady clocks, so that no wall clock that steps makes an exchange
//! wrong, and the kept ones stay comparable. A frame's age is the time of its display less the capture time in its label, both
//! converted to the relay's clock.

use std::collections::VecDeque;
use std::time::Duration;

use protocol::quic::{Ping, Pong};

/// Number of exchanges that are compared. They span 15 s, in which clocks that are 50 ppm apart drift by 0.8 ms.
const KEPT: usize = 8;
/// Time between two exchanges. Not a multiple of any usual frame interval: each exchange would wait behind the same
/// part of a frame, and none of the eight would find the path free.
pub const INTERVAL: Duration = Duration::from_millis(1873);
/// Time between the first few exchanges, so that the age is known soon.
pub const FIRST_INTERVAL: Duration = Duration::from_millis(97);

/// The relay's clock less ours, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offset {
    /// Microseconds to add to our time for the relay's.
    pub us: i64,
    /// Bound of the error of `us`, in microseconds.
    pub error_us: u64,
}

/// Estimates the offset between our clock and a relay's.
#[derive(Debug, Default)]
pub struct OffsetEstimator {
    exchanges: VecDeque<Offset>,
    /// `t1` of the exchange that waits for its answer.
    pending: Option<u64>,
}

impl OffsetEstimator {
    /// Starts an exchange at `now_us`, microseconds since the Unix epoch, and returns its request.
    pub fn ping(&mut self, now_us: u64) -> Ping {
        self.pending = Some(now_us);
        Ping { t1: now_us }
    }

    /// Returns the time from the last exchange to the next.
    pub fn interval(&self) -> Duration {
        if self.exchanges.len() < KEPT / 2 {
            FIRST_INTERVAL
        } else {
            INTERVAL
        }
    }

    /// Takes an answer that came at `t4`, and returns the best offset; `None` if it does not answer the last request.
    pub fn on_pong(&mut self, pong: Pong, t4: u64) -> Option<Offset> {
        self.pending.take_if(|t1| *t1 == pong.t1)?;
        let offset = offset(pong, t4)?;
        if self.exchanges.len() == KEPT {
            self.exchanges.pop_front();
        }
        self.exchanges.push_back(offset);
        self.exchanges.iter().min_by_key(|o| o.error_us).copied()
    }
}

fn offset(Pong { t1, t2, t3 }: Pong, t4: u64) -> Option<Offset> {
    let [t1, t2, t3, t4] = [t1, t2, t3, t4].map(i128::from);
    let round_trip = (t4 - t1) - (t3 - t2);
    Some(Offset {
        us: i64::try_from(((t2 - t1) + (t3 - t4)) / 2).ok()?,
        error_us: u64::try_from(round_trip).ok()?.div_ceil(2),
    })
}

/// Returns a frame's age in microseconds; below zero if the clocks' error is larger than the age.
///
/// `captured_us` is by the sender's clock and `now_us` by the viewer's; `sender` and `viewer` are the relay's clock
/// less theirs.
pub fn age_us(captured_us: u64, sender: i64, now_us: u64, viewer: i64) -> i64 {
    let age =
        i128::from(now_us) + i128::from(viewer) - i128::from(captured_us) - i128::from(sender);
    age.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000;
    const NOW: u64 = 1_763_820_000_000_000;

    /// Runs an exchange with a relay whose clock is `ahead` of ours, over a path of so many microseconds there and
    /// back.
    fn exchange(clock: &mut OffsetEstimator, ahead: i64, there: u64, back: u64) -> Option<Offset> {
        let Ping { t1 } = clock.ping(NOW);
        let t2 = (t1 + there).checked_add_signed(ahead).unwrap();
        let t3 = t2 + 30;
        clock.on_pong(Pong { t1, t2, t3 }, t1 + there + 30 + back)
    }

    #[test]
    fn an_hour_is_found_and_the_error_is_half_the_round_trip() {
        let mut clock = OffsetEstimator::default();
        for ahead in [-HOUR, 0, HOUR] {
            let found = exchange(&mut clock, ahead, 10_000, 10_000).unwrap();
            assert_eq!(
                found,
                Offset {
                    us: ahead,
                    error_us: 10_000
                }
            );
            clock = OffsetEstimator::default();
        }
    }

    #[test]
    fn a_lopsided_path_is_wrong_by_no_more_than_the_error_says() {
        let found = exchange(&mut OffsetEstimator::default(), HOUR, 5_000, 95_000).unwrap();
        assert!(found.us.abs_diff(HOUR) <= found.error_us, "{found:?}");
    }

    #[test]
    fn the_shortest_round_trip_of_the_last_eight_counts() {
        let mut clock = OffsetEstimator::default();
        exchange(&mut clock, HOUR, 1_000, 1_000);
        for _ in 0..7 {
            let best = exchange(&mut clock, HOUR, 90_000, 1_000).unwrap();
            assert_eq!(best.error_us, 1_000);
        }
        let best = exchange(&mut clock, HOUR, 90_000, 1_000).unwrap();
        assert_eq!(best.error_us, 45_500, "the good one is too old by now");
    }

    #[test]
    fn what_was_not_asked_is_not_answered_and_nonsense_is_no_offset() {
        let mut clock = OffsetEstimator::default();
        assert_eq!(
            clock.on_pong(
                Pong {
                    t1: 1,
                    t2: 2,
                    t3: 3
                },
                4
            ),
            None
        );
        let Ping { t1 } = clock.ping(NOW);
        assert_eq!(
            clock.on_pong(
                Pong {
                    t1,
                    t2: 0,
                    t3: u64::MAX
                },
                NOW
            ),
            None
        );
        let Ping { t1 } = clock.ping(NOW);
        assert_eq!(
            clock.on_pong(
                Pong {
                    t1,
                    t2: u64::MAX,
                    t3: u64::MAX
                },
                NOW + 1
            ),
            None
        );
    }

    #[test]
    fn the_first_questions_come_fast() {
        let mut clock = OffsetEstimator::default();
        assert_eq!(clock.interval(), FIRST_INTERVAL);
        for _ in 0..4 {
            exchange(&mut clock, 0, 1, 1);
        }
        assert_eq!(clock.interval(), INTERVAL);
    }

    #[test]
    fn age_is_true_whoever_is_an_hour_off() {
        for (sender_ahead, viewer_ahead) in [(0, 0), (HOUR, 0), (0, -HOUR), (-HOUR, HOUR)] {
            let captured = NOW.checked_add_signed(sender_ahead).unwrap();
            let shown = (NOW + 60_000).checked_add_signed(viewer_ahead).unwrap();
            assert_eq!(
                age_us(captured, -sender_ahead, shown, -viewer_ahead),
                60_000
            );
        }
        assert_eq!(age_us(u64::MAX, i64::MAX, 0, i64::MIN), i64::MIN);
    }
}
