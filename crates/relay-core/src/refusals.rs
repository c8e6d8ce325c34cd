//! How often senders by UDP are sent the reason why their frames are dropped. Their addresses may be forged, so each gets it
//! once a second at most, and so many in all.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use crate::limits::{REFUSAL_INTERVAL, REFUSALS};

/// The refusals of the last second.
#[derive(Debug, Default)]
pub(crate) struct RefusalPacer(VecDeque<(SocketAddr, Instant)>);

impl RefusalPacer {
    /// Returns whether to send a refusal to this address now, and notes that it is sent.
    pub(crate) fn is_due(&mut self, to: SocketAddr, now: Instant) -> bool {
        let over = |at: Instant| now.saturating_duration_since(at) >= REFUSAL_INTERVAL;
        while self.0.pop_front_if(|(_, at)| over(*at)).is_some() {}
        let due = self.0.len() < REFUSALS && self.0.iter().all(|(known, _)| *known != to);
        if due {
            self.0.push_back((to, now));
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_refused_once_a_second_and_all_together_64_times() {
        let (mut pacer, now) = (RefusalPacer::default(), testkit::time::start());
        let address = |n: u16| SocketAddr::from(([192, 0, 2, 1], n));
        assert!(pacer.is_due(address(1), now));
        assert!(!pacer.is_due(address(1), now + REFUSAL_INTERVAL / 2));
        let refused = (2..1000).filter(|n| pacer.is_due(address(*n), now)).count();
        assert_eq!(refused, REFUSALS - 1);
        assert!(pacer.is_due(address(1), now + REFUSAL_INTERVAL));
    }
}
