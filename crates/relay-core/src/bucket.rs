//! A token bucket: so much on average, and so much at once.

use std::time::{Duration, Instant};

/// A token bucket.
#[derive(Debug, Clone)]
pub struct TokenBucket {
    /// Tokens a second.
    rate: f64,
    /// Most tokens.
    depth: f64,
    tokens: f64,
    filled: Instant,
}

impl TokenBucket {
    /// Returns a full bucket.
    pub fn new(rate: f64, depth: f64, now: Instant) -> Self {
        Self {
            rate,
            depth,
            tokens: depth,
            filled: now,
        }
    }

    /// Takes so many tokens. Returns whether they were there.
    pub fn take(&mut self, tokens: f64, now: Instant) -> bool {
        self.fill(now);
        let enough = self.tokens >= tokens;
        if enough {
            self.tokens -= tokens;
        }
        enough
    }

    /// Takes one token in any case, and returns how long to wait until it is there.
    pub fn take_later(&mut self, now: Instant) -> Duration {
        self.fill(now);
        self.tokens -= 1.0;
        Duration::try_from_secs_f64(-self.tokens / self.rate).unwrap_or(Duration::ZERO)
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.filled = self.filled.max(now);
        self.tokens = (self.tokens + passed * self.rate).min(self.depth);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_slowed_down_to_the_rate_and_a_burst_is_not() {
        let start = testkit::time::start();
        let mut bucket = TokenBucket::new(100.0, 20.0, start);
        let mut now = start;
        for n in 0..1020 {
            let wait = bucket.take_later(now);
            assert_eq!(wait.is_zero(), n < 20, "{n}: {wait:?}");
            now += wait;
        }
        let took = (now - start).as_secs_f64();
        assert!(
            (9.9..10.1).contains(&took),
            "{took} s for 1000 at 100 a second"
        );
    }
}
