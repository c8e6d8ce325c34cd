//! Whether UDP leads to the relay. Pure.

use std::time::{Duration, Instant};

/// Time without any answer by UDP after which a relay is tried by HTTP: a name's second address has had its turn then, and
/// a relay that restarts is back.
pub const UDP_BLOCKED_AFTER: Duration = Duration::from_secs(5);

/// The time since the relay last answered by UDP.
#[derive(Debug, Clone, Copy)]
pub struct UdpSilence {
    since: Instant,
}

impl UdpSilence {
    /// Returns the state of a program that begins now.
    pub fn new(now: Instant) -> Self {
        Self { since: now }
    }

    /// Notes an answer at this time: a control message, a frame, or an open QUIC connection.
    pub fn on_answer(&mut self, at: Instant) {
        self.since = self.since.max(at);
    }

    /// Returns whether nothing has come for so long that HTTP is worth a try.
    pub fn is_blocked(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= UDP_BLOCKED_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn udp_is_blocked_5_s_after_the_last_answer_and_an_older_one_changes_nothing() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut silence = UdpSilence::new(start);
        assert!(!silence.is_blocked(at(4999)) && silence.is_blocked(at(5000)));
        silence.on_answer(at(3000));
        silence.on_answer(at(1000));
        assert!(!silence.is_blocked(at(7999)) && silence.is_blocked(at(8000)));
    }
}
