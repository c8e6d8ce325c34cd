//! Leases of UDP viewers: the relay's table ([`Leases`]) and the viewer's side ([`Renewal`]), tested against each
//! other.
//!
//! A viewer behind a router can be reached only at the address and port it sent from, and only until the router drops
//! that mapping. So our viewer sends a hello again and again. A tutorial viewer cannot: it sends `Request` once and
//! keeps its lease. And a tutorial relay must never receive a `Request` while it streams, since it takes every datagram
//! for a JPEG and crashes on one that is not. So our viewer sends a hello (a JPEG) first, and `Request` only to an
//! address from which neither an answer nor a frame has come. An echo of its hello means that a tutorial relay streams
//! to this very viewer already: no `Request` either.

mod renewal;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

pub use renewal::{RelayKind, Renewal};

/// Time between two hellos of a viewer that the relay answers.
pub const RENEW_INTERVAL: Duration = Duration::from_secs(2);
/// Time between two hellos while nothing answers: a relay that is back is found within it.
pub const SEARCH_INTERVAL: Duration = Duration::from_secs(1);
/// Time that our viewer waits for an answer before it takes the address for a tutorial relay that waits.
pub const ANSWER_TIMEOUT: Duration = Duration::from_millis(300);
/// Time without any frame after which a second `Request` is due.
pub const REPEAT_REQUEST_AFTER: Duration = Duration::from_secs(10);
/// Time between two hellos to a tutorial relay that streams: it shows each of them to its viewer for one frame, and all
/// that is needed is that routers on the way (30 s at the least) keep the mapping.
pub const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Time after its last hello at which a viewer's lease expires.
pub const LEASE_TIME: Duration = Duration::from_secs(10);
/// Time since its renewal after which a lease may go to a newcomer when the table is full.
pub const REPLACEABLE_AFTER: Duration = Duration::from_secs(60);

/// A viewer's request at the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseRequest {
    /// The tutorial's 7 bytes: once, without expiry.
    Request,
    /// Ours: a lease to be renewed.
    Hello,
    /// Ours: no lease, or an end of it, since the viewer's frames come by another transport.
    Probe,
}

/// The relay's answer to a [`LeaseRequest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// A new lease.
    Joined,
    /// A new lease in place of this viewer's, which had not been renewed for [`REPLACEABLE_AFTER`].
    Replaced(SocketAddr),
    /// A lease that the viewer held already.
    Renewed,
    /// No lease: the table is full.
    Full,
    /// The end of the viewer's lease.
    Released,
    /// No lease, before and after.
    NotHeld,
}

/// The relay's leases of UDP viewers.
#[derive(Debug)]
pub struct Leases {
    capacity: usize,
    held: Vec<Lease>,
}

#[derive(Debug)]
struct Lease {
    viewer: SocketAddr,
    renewed: Instant,
    /// Whether the viewer has sent a hello: then it sends more while it lives.
    renews: bool,
}

impl Leases {
    /// Returns an empty table for at most `capacity` leases; 0 closes the `udp` transport.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            held: Vec::new(),
        }
    }

    /// Grants, renews, replaces or ends a lease.
    pub fn request(&mut self, viewer: SocketAddr, request: LeaseRequest, now: Instant) -> Grant {
        if request == LeaseRequest::Probe {
            return if self.release(viewer) {
                Grant::Released
            } else {
                Grant::NotHeld
            };
        }
        let renews = request == LeaseRequest::Hello;
        if let Some(lease) = self.held.iter_mut().find(|l| l.viewer == viewer) {
            lease.renewed = now;
            lease.renews |= renews;
            return Grant::Renewed;
        }
        let joined = Lease {
            viewer,
            renewed: now,
            renews,
        };
        if self.held.len() < self.capacity {
            self.held.push(joined);
            return Grant::Joined;
        }
        let stale = |l: &&mut Lease| now.saturating_duration_since(l.renewed) >= REPLACEABLE_AFTER;
        match self.held.iter_mut().filter(stale).min_by_key(|l| l.renewed) {
            Some(oldest) => Grant::Replaced(std::mem::replace(oldest, joined).viewer),
            None => Grant::Full,
        }
    }

    /// Ends a lease, also when the viewer's host reports that no socket is open there. Returns whether it was held.
    pub fn release(&mut self, viewer: SocketAddr) -> bool {
        let before = self.held.len();
        self.held.retain(|l| l.viewer != viewer);
        self.held.len() < before
    }

    /// Ends the leases that were renewed once and have not been for [`LEASE_TIME`], and returns their viewers.
    pub fn expire(&mut self, now: Instant) -> Vec<SocketAddr> {
        let expired = self
            .held
            .extract_if(.., |l| l.expires().is_some_and(|at| at <= now));
        expired.map(|l| l.viewer).collect()
    }

    /// Returns when the next lease expires unless it is renewed.
    pub fn deadline(&self) -> Option<Instant> {
        self.held.iter().filter_map(Lease::expires).min()
    }

    /// Returns the viewers that sent one `Request` and will send none again: only the relay's memory leads back to
    /// them.
    pub fn permanent(&self) -> impl Iterator<Item = SocketAddr> {
        self.held.iter().filter(|l| !l.renews).map(|l| l.viewer)
    }

    /// Returns the viewers that hold a lease, in order of arrival.
    pub fn viewers(&self) -> impl ExactSizeIterator<Item = SocketAddr> {
        self.held.iter().map(|l| l.viewer)
    }
}

impl Lease {
    fn expires(&self) -> Option<Instant> {
        self.renews.then(|| self.renewed + LEASE_TIME)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn viewer(n: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], n))
    }

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn a_viewer_that_falls_silent_is_let_go_after_10_s_and_a_tutorial_viewer_never() {
        let (start, mut leases) = (testkit::time::start(), Leases::new(4));
        leases.request(viewer(1), LeaseRequest::Hello, start);
        leases.request(viewer(2), LeaseRequest::Request, start);
        assert_eq!(leases.deadline(), Some(start + LEASE_TIME));
        assert!(leases.expire(start + LEASE_TIME - MS).is_empty());
        assert_eq!(leases.expire(start + LEASE_TIME), [viewer(1)]);
        assert!(leases.expire(start + secs(1_000_000)).is_empty());
        assert_eq!(leases.viewers().collect::<Vec<_>>(), [viewer(2)]);
    }

    #[test]
    fn a_full_table_gives_a_newcomer_only_a_lease_not_renewed_for_60_s() {
        let (start, mut leases) = (testkit::time::start(), Leases::new(2));
        leases.request(viewer(1), LeaseRequest::Request, start);
        leases.request(viewer(2), LeaseRequest::Request, start + secs(1));
        assert_eq!(
            leases.request(viewer(3), LeaseRequest::Request, start + secs(59)),
            Grant::Full
        );
        assert_eq!(
            leases.request(viewer(1), LeaseRequest::Request, start + secs(59)),
            Grant::Renewed
        );
        assert_eq!(
            leases.request(viewer(3), LeaseRequest::Hello, start + secs(61)),
            Grant::Replaced(viewer(2))
        );
        assert_eq!(
            leases.request(viewer(2), LeaseRequest::Hello, start + secs(61)),
            Grant::Full
        );
    }

    #[test]
    fn a_closed_transport_has_no_lease() {
        assert_eq!(
            Leases::new(0).request(viewer(1), LeaseRequest::Request, testkit::time::start()),
            Grant::Full
        );
    }

    #[test]
    fn a_request_that_follows_a_hello_does_not_make_the_place_permanent() {
        let (start, mut leases) = (testkit::time::start(), Leases::new(4));
        leases.request(viewer(1), LeaseRequest::Hello, start);
        leases.request(viewer(1), LeaseRequest::Request, start);
        assert_eq!(leases.expire(start + LEASE_TIME), [viewer(1)]);
    }
}
