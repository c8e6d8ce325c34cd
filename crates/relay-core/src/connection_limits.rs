//! Who may knock at a door: so many connections in all and from one host, and for a while nobody who guesses
//! tokens. Pure.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Connections in all. One that is idle costs about 60 kB, one that is blocked the frames that are in flight on it.
const IN_ALL: usize = 1024;
/// Connections from one host: a class behind one router.
const FROM_ONE: usize = 256;
/// So many wrong tokens from one host ..
const GUESSES: u32 = 5;
/// .. close the door to it for this long.
const PENALTY: Duration = Duration::from_secs(10);
/// Hosts whose guesses are remembered; the ones that guessed longest ago go first.
const REMEMBERED: usize = 1024;

/// Counts connections and wrong tokens.
#[derive(Debug)]
pub struct Guard {
    in_all: usize,
    from_one: usize,
    inside: usize,
    hosts: HashMap<IpAddr, usize>,
    guesses: HashMap<IpAddr, (u32, Instant)>,
}

/// The native door's.
impl Default for Guard {
    fn default() -> Self {
        Self::new(IN_ALL, FROM_ONE)
    }
}

impl Guard {
    /// Lets in so many connections in all, and so many from one host.
    pub fn new(in_all: usize, from_one: usize) -> Self {
        Self {
            in_all,
            from_one,
            inside: 0,
            hosts: HashMap::new(),
            guesses: HashMap::new(),
        }
    }

    /// Lets a connection in, if there is room, and its host has not guessed too often.
    pub fn enter(&mut self, from: IpAddr, now: Instant) -> bool {
        !self.is_barred(from, now) && self.enter_to_be_told(from)
    }

    /// Lets a connection in, if there is room: one that is barred is to be told so.
    pub fn enter_to_be_told(&mut self, from: IpAddr) -> bool {
        let host = host(from);
        let here = self.hosts.get(&host).copied().unwrap_or(0);
        if here >= self.from_one || !self.enter_uncounted() {
            return false;
        }
        self.hosts.insert(host, here + 1);
        true
    }

    /// Lets a connection in, if there is room in all, wherever it comes from.
    pub fn enter_uncounted(&mut self) -> bool {
        let room = self.inside < self.in_all;
        self.inside += usize::from(room);
        room
    }

    /// Whether a host has guessed too often.
    pub fn is_barred(&self, from: IpAddr, now: Instant) -> bool {
        self.guesses.get(&host(from)).is_some_and(|(count, last)| {
            *count >= GUESSES && now.saturating_duration_since(*last) < PENALTY
        })
    }

    /// A connection that was let in has ended.
    pub fn leave(&mut self, from: IpAddr) {
        let host = host(from);
        self.inside = self.inside.saturating_sub(1);
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

    /// A host had a wrong token.
    pub fn guessed(&mut self, from: IpAddr, now: Instant) {
        let forgiven = |last: Instant| now.saturating_duration_since(last) >= PENALTY;
        self.guesses.retain(|_, (_, last)| !forgiven(*last));
        if self.guesses.len() >= REMEMBERED {
            let oldest = self.guesses.iter().min_by_key(|(_, (_, last))| *last);
            let oldest = oldest.map(|(host, _)| *host);
            oldest.map(|host| self.guesses.remove(&host));
        }
        let (count, last) = self.guesses.entry(host(from)).or_insert((0, now));
        (*count, *last) = (*count + 1, now);
    }
}

/// A host: an IPv4 address, or the 64 bits of an IPv6 address that are one household's.
fn host(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let household = v6.to_bits() & !u128::from(u64::MAX);
            Ipv6Addr::from_bits(household).into()
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
        let (mut guard, now) = (Guard::default(), testkit::time::start());
        let entered = (0..FROM_ONE + 5)
            .filter(|_| guard.enter(from(1), now))
            .count();
        assert_eq!(entered, FROM_ONE);
        guard.leave(from(1));
        assert!(guard.enter(from(1), now));
        let others = (2..5000).filter(|n| guard.enter(from(*n), now)).count();
        assert_eq!(entered + others, IN_ALL);
        (0..FROM_ONE).for_each(|_| guard.leave(from(1)));
        assert!(guard.enter(from(6000), now));
    }

    #[test]
    fn who_guesses_tokens_is_barred_for_a_while_and_nobody_else() {
        let (mut guard, now) = (Guard::default(), testkit::time::start());
        for _ in 0..GUESSES {
            assert!(guard.enter(from(1), now));
            guard.leave(from(1));
            guard.guessed(from(1), now);
        }
        assert!(!guard.enter(from(1), now + PENALTY / 2));
        assert!(guard.enter_to_be_told(from(1)));
        guard.leave(from(1));
        assert!(guard.enter(from(2), now));
        assert!(guard.enter(from(1), now + PENALTY));
    }

    #[test]
    fn an_ipv6_household_is_one_host() {
        let (mut guard, now) = (Guard::default(), testkit::time::start());
        let address = |n: u128| IpAddr::from(Ipv6Addr::from_bits((0x2001_0db8 << 96) + n));
        let entered = (0..5000).filter(|n| guard.enter(address(*n), now)).count();
        assert_eq!(entered, FROM_ONE);
    }

    #[test]
    fn what_is_remembered_of_guesses_is_bounded() {
        let (mut guard, now) = (Guard::default(), testkit::time::start());
        for n in 0..10_000 {
            guard.guessed(from(n), now + Duration::from_micros(n.into()));
        }
        assert!(guard.guesses.len() <= REMEMBERED);
    }
}
