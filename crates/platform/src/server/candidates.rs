//! Which of a name's addresses a program uses now. Pure.
//!
//! ```text
//!   resolver's order:   [2001:db8::1]   192.0.2.1   192.0.2.2
//!                         refused  -->   silent -->  answers: kept, whatever order the resolver returns next
//! ```
//!
//! A round tries each address once. A round in which nothing answered begins again, but for two cases: where every host
//! refused, the next round begins after [`REFUSED_PAUSE`]; and a sender on the UDP transport cannot know whether a
//! tutorial relay, which never answers, receives its frames. It stays at the IPv4 address, since those relays bind
//! 0.0.0.0, and repeats the round seldom.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Time after its last answer during which an address is kept: a relay that restarts is back at the same one.
pub(super) const KEPT: Duration = Duration::from_secs(10);
/// Pause after a round in which no address had a listener or a route.
pub(super) const REFUSED_PAUSE: Duration = Duration::from_secs(1);
/// Pause after the first round of a sender that may be sending to a tutorial relay; doubled after each.
pub(super) const FIRST_UNCONFIRMED_PAUSE: Duration = Duration::from_secs(30);
/// Longest of those pauses: a round costs a tutorial relay the frames of a few seconds.
pub(super) const LAST_UNCONFIRMED_PAUSE: Duration = Duration::from_secs(300);
/// Addresses of a name that are tried; a resolver may return hundreds.
const MAX_CANDIDATES: usize = 16;

/// What a program saw of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A datagram or an answer of the relay.
    Answered,
    /// A report of the host that no program listens at the port.
    Refused,
    /// No route, or no addresses of that family on this host.
    Unreachable,
    /// No answer in time, from a relay that answers if it is there.
    Silent,
    /// No answer in time, from a relay that may be one that never answers.
    Unconfirmed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Candidate {
    address: SocketAddr,
    /// Its failure in this round.
    failure: Option<Outcome>,
}

/// The addresses of a relay's name, and the one in use.
#[derive(Debug, Clone)]
pub struct Candidates {
    /// In the resolver's order; empty until the name resolves.
    list: Vec<Candidate>,
    current: usize,
    /// Time of the last answer.
    answered: Option<Instant>,
    /// When the next round may begin.
    pause_until: Option<Instant>,
    /// Length of the next pause after an unconfirmed round.
    unconfirmed_pause: Duration,
    /// Rounds since the last answer.
    rounds: u32,
}

impl Default for Candidates {
    fn default() -> Self {
        Self {
            list: Vec::new(),
            current: 0,
            answered: None,
            pause_until: None,
            unconfirmed_pause: FIRST_UNCONFIRMED_PAUSE,
            rounds: 0,
        }
    }
}

impl Candidates {
    /// Returns the address to use now; `None` until the name resolves.
    pub fn current(&self) -> Option<SocketAddr> {
        self.list.get(self.current).map(|found| found.address)
    }

    /// Returns all addresses, in the resolver's order.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.list.iter().map(|found| found.address).collect()
    }

    /// Returns the time of the current address's last answer.
    pub fn answered(&self) -> Option<Instant> {
        self.answered
    }

    /// Returns the number of rounds in which nothing answered, since the last answer.
    pub fn rounds(&self) -> u32 {
        self.rounds
    }

    /// Takes the addresses to which the name resolves now. The current one is kept while it is among them.
    pub fn on_resolved(&mut self, addresses: &[SocketAddr]) {
        let before = self.current();
        let known = std::mem::take(&mut self.list);
        for address in addresses {
            let is_new = self.list.iter().all(|found| found.address != *address);
            if is_new && self.list.len() < MAX_CANDIDATES {
                let earlier = known.iter().find(|found| found.address == *address);
                let failure = earlier.and_then(|found| found.failure);
                self.list.push(Candidate {
                    address: *address,
                    failure,
                });
            }
        }
        if self.list.is_empty() {
            self.list = known;
            return;
        }
        let kept = self.list.iter().position(|at| Some(at.address) == before);
        self.current = kept.unwrap_or(0);
        if kept.is_none() {
            self.begin_round();
            (self.answered, self.pause_until) = (None, None);
        }
    }

    /// Takes what a program saw of an address, which counts if it is the current one.
    pub fn on_outcome(&mut self, address: SocketAddr, outcome: Outcome, now: Instant) {
        if self.current() != Some(address) {
            return;
        }
        if outcome == Outcome::Answered {
            self.begin_round();
            self.answered = Some(now);
            self.pause_until = None;
            self.unconfirmed_pause = FIRST_UNCONFIRMED_PAUSE;
            self.rounds = 0;
            return;
        }
        let lately = |at: Instant| now.saturating_duration_since(at) < KEPT;
        let pauses = self.pause_until.is_some_and(|until| now < until);
        if self.answered.is_some_and(lately) || pauses {
            return;
        }
        if self.pause_until.take().is_some() {
            self.begin_round();
        }
        self.list[self.current].failure = Some(outcome);
        match self.next_untried() {
            Some(next) => self.current = next,
            None => self.end_round(now),
        }
    }

    fn begin_round(&mut self) {
        self.list.iter_mut().for_each(|found| found.failure = None);
    }

    fn next_untried(&self) -> Option<usize> {
        let count = self.list.len();
        let following = (1..count).map(|step| (self.current + step) % count);
        let mut untried = following.filter(|at| self.list[*at].failure.is_none());
        untried.next()
    }

    fn end_round(&mut self, now: Instant) {
        self.rounds = self.rounds.saturating_add(1);
        let is_closed = |found: &Candidate| {
            matches!(found.failure, Some(Outcome::Refused | Outcome::Unreachable))
        };
        let unconfirmed = |found: &Candidate| found.failure == Some(Outcome::Unconfirmed);
        if self.list.iter().any(unconfirmed) {
            self.current = self.resting_place();
            self.pause_until = Some(now + self.unconfirmed_pause);
            self.unconfirmed_pause = (2 * self.unconfirmed_pause).min(LAST_UNCONFIRMED_PAUSE);
        } else if self.list.iter().all(is_closed) {
            self.current = self.resting_place();
            self.pause_until = Some(now + REFUSED_PAUSE);
        } else {
            self.current = (self.current + 1) % self.list.len();
            self.begin_round();
        }
    }

    /// Returns where frames go that nothing answers: to the first IPv4 address with a route.
    fn resting_place(&self) -> usize {
        let first = |is_it: &dyn Fn(&Candidate) -> bool| self.list.iter().position(is_it);
        let has_route = |found: &Candidate| found.failure != Some(Outcome::Unreachable);
        first(&|found| found.address.is_ipv4() && has_route(found))
            .or_else(|| first(&|found| found.failure == Some(Outcome::Unconfirmed)))
            .or_else(|| first(&has_route))
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests;
