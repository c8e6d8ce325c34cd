//! How many handshakes the relay makes a second: one costs about half a millisecond of the thread that forwards frames.
//!
//! A host that has made few of late goes first, so that a flood from some hosts keeps no other one waiting.

use std::collections::HashMap;
use std::time::Instant;

use protocol::peer::Host;

use crate::bucket::TokenBucket;
use crate::limits::{
    FEW_HANDSHAKES, HANDSHAKE_BURST, HANDSHAKE_HOSTS, HANDSHAKE_WINDOW, HANDSHAKES_OF_FEW,
    HANDSHAKES_OF_MANY,
};

/// The handshakes of the last seconds.
#[derive(Debug)]
pub struct HandshakeLimit {
    few: TokenBucket,
    many: TokenBucket,
    hosts: HashMap<Host, (u32, Instant)>,
}

impl HandshakeLimit {
    /// Returns a limit that nothing was counted against yet.
    pub fn new(now: Instant) -> Self {
        Self {
            few: TokenBucket::new(HANDSHAKES_OF_FEW, HANDSHAKE_BURST, now),
            many: TokenBucket::new(HANDSHAKES_OF_MANY, HANDSHAKE_BURST, now),
            hosts: HashMap::new(),
        }
    }

    /// Returns whether to make a handshake with this host now; its client tries again soon.
    pub fn admit(&mut self, host: Host, now: Instant) -> bool {
        let few = self
            .count(host, now)
            .is_some_and(|count| count <= FEW_HANDSHAKES);
        few && self.few.take(1.0, now) || self.many.take(1.0, now)
    }

    /// Counts a handshake of a host; `None` if there is no room to count it.
    fn count(&mut self, host: Host, now: Instant) -> Option<u32> {
        let over = |since: Instant| now.saturating_duration_since(since) >= HANDSHAKE_WINDOW;
        if self.hosts.len() >= HANDSHAKE_HOSTS && !self.hosts.contains_key(&host) {
            self.hosts.retain(|_, (_, since)| !over(*since));
            if self.hosts.len() >= HANDSHAKE_HOSTS {
                return None;
            }
        }
        let (count, since) = self.hosts.entry(host).or_insert((0, now));
        if over(*since) {
            (*count, *since) = (0, now);
        }
        *count = count.saturating_add(1);
        Some(*count)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use std::time::Duration;

    use super::*;

    fn host(n: u32) -> Host {
        IpAddr::from(Ipv4Addr::from_bits(0x0A00_0000 + n)).into()
    }

    #[test]
    fn forty_peers_behind_one_router_come_at_once() {
        let now = testkit::time::start();
        let mut limit = HandshakeLimit::new(now);
        assert!((0..40).all(|_| limit.admit(host(1), now)));
    }

    #[test]
    fn a_flood_of_256_hosts_keeps_no_other_host_waiting_and_costs_100_handshakes_a_second() {
        let start = testkit::time::start();
        let mut limit = HandshakeLimit::new(start);
        let mut admitted = 0;
        for ms in 0..30_000 {
            let now = start + Duration::from_millis(ms);
            let attackers = (0..4).map(|n| host(1000 + (4 * ms as u32 + n) % 256));
            admitted += attackers
                .filter(|attacker| limit.admit(*attacker, now))
                .count();
            if ms % 5000 == 4999 {
                assert!(limit.admit(host(1), now), "after {ms} ms");
            }
        }
        assert!(admitted <= 100 * 30 + 100, "{admitted} in 30 s");
    }

    #[test]
    fn what_is_counted_is_bounded() {
        let now = testkit::time::start();
        let mut limit = HandshakeLimit::new(now);
        for n in 0..10_000 {
            limit.admit(host(n), now);
        }
        assert!(limit.hosts.len() <= HANDSHAKE_HOSTS);
    }
}
