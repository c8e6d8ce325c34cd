//! What all UDP viewers together are sent at most: a token bucket, since a `Request` with a forged source address points
//! a stream of frames at a victim.

use std::time::{Duration, Instant};

use protocol::datagram::MAX_DATAGRAM;

use crate::bucket::TokenBucket;

/// The bucket holds the rate times this, and always the largest frame.
const BURST: Duration = Duration::from_millis(500);

/// What UDP viewers are sent.
#[derive(Debug)]
pub(crate) struct UdpEgress {
    /// Holds bits.
    bucket: TokenBucket,
    /// Counts frames, so that another viewer is served first with each.
    turn: usize,
}

impl UdpEgress {
    /// Returns a full bucket for `rate` bits per second.
    pub(crate) fn new(rate: u64, now: Instant) -> Self {
        let rate = rate as f64;
        let largest = if rate > 0.0 {
            8.0 * MAX_DATAGRAM as f64
        } else {
            0.0
        };
        let depth = largest.max(rate * BURST.as_secs_f64());
        Self {
            bucket: TokenBucket::new(rate, depth, now),
            turn: 0,
        }
    }

    /// Takes the tokens for a datagram of `bytes`. Returns whether they were there.
    pub(crate) fn take(&mut self, bytes: usize, now: Instant) -> bool {
        self.bucket.take(bytes as f64 * 8.0, now)
    }

    /// Returns which of `viewers` is served first: another one with each frame, so that all miss the same share.
    pub(crate) fn first(&mut self, viewers: usize) -> usize {
        self.turn = self.turn.wrapping_add(1);
        self.turn.checked_rem(viewers).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_rate_goes_out_over_ten_seconds() {
        let start = testkit::time::start();
        let mut egress = UdpEgress::new(20_000_000, start);
        let sent: usize = (0..10_000)
            .map(|ms| start + Duration::from_millis(ms))
            .filter(|&now| egress.take(60_000, now))
            .count();
        let bits = sent as f64 * 60_000.0 * 8.0;
        assert!(bits <= 20e6 * 10.5, "{bits} bits");
        assert!(bits >= 20e6 * 9.9, "{bits} bits");
    }

    #[test]
    fn a_rate_far_below_one_frame_lets_a_frame_through_now_and_then() {
        let start = testkit::time::start();
        let mut egress = UdpEgress::new(50_000, start);
        let seconds = (0..100).map(|s| start + Duration::from_secs(s));
        let sent = seconds.filter(|&now| egress.take(60_000, now)).count();
        assert_eq!(sent, 11, "one from the full bucket, then one each 9.6 s");
    }

    #[test]
    fn a_rate_of_nothing_sends_nothing() {
        let start = testkit::time::start();
        let mut egress = UdpEgress::new(0, start);
        assert!(!egress.take(100, start + Duration::from_secs(100)));
    }

    #[test]
    fn each_viewer_is_first_in_turn() {
        let mut egress = UdpEgress::new(1, testkit::time::start());
        let firsts: Vec<usize> = (0..4).map(|_| egress.first(2)).collect();
        assert_eq!(firsts, [1, 0, 1, 0]);
        assert_eq!(egress.first(0), 0);
    }
}
