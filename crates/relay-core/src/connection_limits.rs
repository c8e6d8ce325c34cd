//! Limits of a transport's connections: in all, from one host, and none for a while from a host that tries tokens. Pure.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Most QUIC connections in all. One that is idle costs about 60 kB, one that is blocked the frames that are in flight on it.
const MAX_CONNECTIONS: usize = 1024;
/// Most QUIC connections from one host: a class behind one router.
const MAX_PER_HOST: usize = 256;
/// Wrong tokens from one host after which ..
const WRONG_TOKENS: u32 = 5;
/// .. it is blocked for this long.
const PENALTY: Duration = Duration::from_secs(10);
/// Most hosts whose wrong tokens are remembered; the oldest go first.
const MAX_REMEMBERED: usize = 1024;

/// Counts connections and wrong tokens.
#[derive(Debug)]
pub struct ConnectionLimits {
    max: usize,
    max_per_host: usize,
    open: usize,
    hosts: HashMap<IpAddr, usize>,
    wrong_tokens: HashMap<IpAddr, (u32, Instant)>,
}

/// Returns the limits of QUIC connections.
impl Default for ConnectionLimits {
    fn default() -> Self {
        Self::new(MAX_CONNECTIONS, MAX_PER_HOST)
    }
}

impl ConnectionLimits {
    /// Returns limits of so many connections in all, and from one host.
    pub fn new(max: usize, max_per_host: usize) -> Self {
        Self {
            max,
            max_per_host,
            open: 0,
            hosts: HashMap::new(),
            wrong_tokens: HashMap::new(),
        }
    }

    /// Admits a connection if there is room and its host is not blocked. Returns whether it did.
    pub fn admit(&mut self, from: IpAddr, now: Instant) -> bool {
        !self.is_blocked(from, now) && self.admit_if_room(from)
    }

    /// Admits a connection if there is room, of a blocked host too: it will be sent the reason. Returns whether it did.
    pub fn admit_if_room(&mut self, from: IpAddr) -> bool {
        let host = host(from);
        let here = self.hosts.get(&host).copied().unwrap_or(0);
        if here >= self.max_per_host || !self.admit_uncounted() {
            return false;
        }
        self.hosts.insert(host, here + 1);
        true
    }

    /// Admits a connection if there is room in all, from whichever host. Returns whether it did.
    pub fn admit_uncounted(&mut self) -> bool {
        let room = self.open < self.max;
        self.open += usize::from(room);
        room
    }

    /// Returns whether a host has sent too many wrong tokens lately.
    pub fn is_blocked(&self, from: IpAddr, now: Instant) -> bool {
        self.wrong_tokens
            .get(&host(from))
            .is_some_and(|(count, last)| {
                *count >= WRONG_TOKENS && now.saturating_duration_since(*last) < PENALTY
            })
    }

    /// Releases a connection that was admitted and has ended.
    pub fn release(&mut self, from: IpAddr) {
        let host = host(from);
        self.open = self.open.saturating_sub(1);
        let left = self
            .hosts
            .get(&host)
            .copied()
            .unwrap_or(0)
            .saturating_sub(1);
        if left == 0 {
            self.hosts.remove(&host);
        } else {
            self.hosts.insert(host, left);
        }
    }

    /// Notes that a host sent a wrong token.
    pub fn note_wrong_token(&mut self, from: IpAddr, now: Instant) {
        let forgiven = |last: Instant| now.saturating_duration_since(last) >= PENALTY;
        self.wrong_tokens.retain(|_, (_, last)| !forgiven(*last));
        if self.wrong_tokens.len() >= MAX_REMEMBERED {
            let oldest = self.wrong_tokens.iter().min_by_key(|(_, (_, last))| *last);
            let oldest = oldest.map(|(host, _)| *host);
            oldest.map(|host| self.wrong_tokens.remove(&host));
        }
        let (count, last) = self.wrong_tokens.entry(host(from)).or_insert((0, now));
        (*count, *last) = (*count + 1, now);
    }
}

/// Returns the host of an address: the IPv4 address, or the /64 network of an IPv6 address, which is one household's.
fn host(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let network = v6.to_bits() & !u128::from(u64::MAX);
            Ipv6Addr::from_bits(network).into()
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(n: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(0x0A00_0000 + n).into()
    }

    #[test]
    fn one_host_gets_so_many_connections_and_all_together_so_many() {
        let (mut limits, now) = (ConnectionLimits::default(), testkit::time::start());
        let entered = (0..MAX_PER_HOST + 5)
            .filter(|_| limits.admit(from(1), now))
            .count();
        assert_eq!(entered, MAX_PER_HOST);
        limits.release(from(1));
        assert!(limits.admit(from(1), now));
        let others = (2..5000).filter(|n| limits.admit(from(*n), now)).count();
        assert_eq!(entered + others, MAX_CONNECTIONS);
        (0..MAX_PER_HOST).for_each(|_| limits.release(from(1)));
        assert!(limits.admit(from(6000), now));
    }

    #[test]
    fn who_guesses_tokens_is_blocked_for_a_while_and_nobody_else() {
        let (mut limits, now) = (ConnectionLimits::default(), testkit::time::start());
        for _ in 0..WRONG_TOKENS {
            assert!(limits.admit(from(1), now));
            limits.release(from(1));
            limits.note_wrong_token(from(1), now);
        }
        assert!(!limits.admit(from(1), now + PENALTY / 2));
        assert!(limits.admit_if_room(from(1)));
        limits.release(from(1));
        assert!(limits.admit(from(2), now));
        assert!(limits.admit(from(1), now + PENALTY));
    }

    #[test]
    fn an_ipv6_network_is_one_host() {
        let (mut limits, now) = (ConnectionLimits::default(), testkit::time::start());
        let address = |n: u128| IpAddr::from(Ipv6Addr::from_bits((0x2001_0db8 << 96) + n));
        let entered = (0..5000).filter(|n| limits.admit(address(*n), now)).count();
        assert_eq!(entered, MAX_PER_HOST);
    }

    #[test]
    fn what_is_remembered_of_wrong_tokens_is_bounded() {
        let (mut limits, now) = (ConnectionLimits::default(), testkit::time::start());
        for n in 0..10_000 {
            limits.note_wrong_token(from(n), now + Duration::from_micros(n.into()));
        }
        assert!(limits.wrong_tokens.len() <= MAX_REMEMBERED);
    }
}
