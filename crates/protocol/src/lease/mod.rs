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
mod table;

use std::time::Duration;

pub use renewal::{RelayKind, Renewal};
pub use table::{Grant, Leases, REFUSED_FOR};

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
/// Time after its last hello at which a proved lease expires.
pub const LEASE_TIME: Duration = Duration::from_secs(10);
/// A viewer's request at the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseRequest {
    /// The tutorial's 7 bytes: once, without expiry.
    Request,
    /// Ours: a lease to be renewed.
    Hello,
    /// Ours: no lease, and with the relay's cookie an end of it, since the viewer's frames come by another transport.
    Probe,
}
