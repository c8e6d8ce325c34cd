//! The relay's table of leases.
//!
//! A datagram's source address may be forged, so a lease is *proved* only when its viewer has returned the relay's cookie.
//! What an unproved request can do is bounded: it takes no lease from another viewer, ends none, and extends none that was
//! proved. A lease of a tutorial viewer, which sends one `Request` and cannot prove anything, stays until its host has
//! refused frames for [`REFUSED_FOR`].

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{LEASE_TIME, LeaseRequest};
use crate::CAMERA_TIMEOUT;
use crate::peer::Host;

/// Time without a hello after which an unproved lease expires.
const UNPROVED_LEASE_TIME: Duration = CAMERA_TIMEOUT;
/// Refusals (ICMP port unreachable) over this time, each soon after the last, make a viewer suspect: it gets a frame a
/// second. A single one may be forged.
const SUSPECT_AFTER: Duration = Duration::from_secs(1);
/// Refusals over this time end a lease.
pub const REFUSED_FOR: Duration = Duration::from_secs(60);
/// Frames over this time from a viewer's address make that a camera's.
const CAMERA_AFTER: Duration = CAMERA_TIMEOUT;
/// Time between two frames to a viewer that is suspect.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// The relay's answer to a [`LeaseRequest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// A new lease.
    Joined,
    /// A new lease in place of this viewer's.
    Replaced(SocketAddr),
    /// A lease that the viewer held already.
    Held,
    /// No lease: the table is full.
    Full,
    /// The end of the viewer's lease.
    Released,
    /// No lease, before and after.
    NotHeld,
}

/// The relay's leases of UDP viewers, in order of arrival.
#[derive(Debug)]
pub struct Leases {
    capacity: usize,
    held: Vec<Lease>,
}

#[derive(Debug)]
struct Lease {
    viewer: SocketAddr,
    kind: Kind,
    /// Time of the last hello that counts.
    renewed: Instant,
    /// The viewer's host refuses frames.
    refusals: Option<Spell>,
    /// Frames come from the viewer's address.
    frames: Option<Spell>,
    /// Time of the last frame while the viewer is suspect.
    probed: Option<Instant>,
}

/// How a lease was requested, from the weakest right to the strongest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// By hellos without a cookie.
    Hello,
    /// By one `Request`.
    Request,
    /// By hellos with the cookie.
    Proved,
}

/// Events of one kind that follow each other within [`CAMERA_TIMEOUT`].
#[derive(Debug, Clone, Copy)]
struct Spell {
    since: Instant,
    last: Instant,
}

impl Spell {
    /// Adds an event.
    fn note(spell: &mut Option<Self>, now: Instant) {
        let since = spell
            .filter(|spell| spell.goes_on(now))
            .map_or(now, |spell| spell.since);
        *spell = Some(Self { since, last: now });
    }

    fn goes_on(self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) < CAMERA_TIMEOUT
    }

    /// Returns whether the spell has lasted for this time and goes on.
    fn has_lasted(self, time: Duration, now: Instant) -> bool {
        self.goes_on(now) && self.last.saturating_duration_since(self.since) >= time
    }
}

impl Leases {
    /// Returns an empty table for at most `capacity` leases; 0 closes the `udp` transport.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            held: Vec::new(),
        }
    }

    /// Grants, renews or ends a lease; `proved` states whether the request came with the relay's cookie.
    pub fn request(
        &mut self,
        viewer: SocketAddr,
        request: LeaseRequest,
        proved: bool,
        now: Instant,
    ) -> Grant {
        let kind = match request {
            LeaseRequest::Probe if proved => {
                return match self.release(viewer) {
                    true => Grant::Released,
                    false => Grant::NotHeld,
                };
            }
            LeaseRequest::Probe => {
                return match self.holds(viewer) {
                    true => Grant::Held,
                    false => Grant::NotHeld,
                };
            }
            LeaseRequest::Hello if proved => Kind::Proved,
            LeaseRequest::Hello => Kind::Hello,
            LeaseRequest::Request => Kind::Request,
        };
        match self.held.iter_mut().find(|l| l.viewer == viewer) {
            Some(lease) => {
                lease.renew(kind, now);
                Grant::Held
            }
            None => self.grant(Lease::new(viewer, kind, now), now),
        }
    }

    /// Returns whether a viewer holds a lease, or would get one if it proved its address now.
    pub fn has_room_for(&self, viewer: SocketAddr, now: Instant) -> bool {
        let newcomer = Lease::new(viewer, Kind::Proved, now);
        let held = self.holds(viewer) || self.held.len() < self.capacity;
        held || self.replaceable(&newcomer, now).is_some()
    }

    fn grant(&mut self, joined: Lease, now: Instant) -> Grant {
        if self.held.len() < self.capacity {
            self.held.push(joined);
            return Grant::Joined;
        }
        let Some(place) = self.replaceable(&joined, now) else {
            return Grant::Full;
        };
        let replaced = self.held.remove(place);
        self.held.push(joined);
        Grant::Replaced(replaced.viewer)
    }

    /// Returns which lease a newcomer gets when all are given: none if it has proved nothing; else an unproved one, that of a
    /// suspect viewer or the weakest kind, and there the youngest first; or the youngest of the host that holds two more
    /// than its own.
    fn replaceable(&self, newcomer: &Lease, now: Instant) -> Option<usize> {
        if newcomer.kind < Kind::Proved {
            return None;
        }
        let rank = |lease: &Lease| (lease.kind, !lease.is_suspect(now));
        let places = (0..self.held.len()).rev();
        let weakest = places.min_by_key(|&at| rank(&self.held[at]))?;
        if self.held[weakest].kind < Kind::Proved {
            return Some(weakest);
        }
        let count = |host: Host| self.held.iter().filter(|l| l.host() == host).count();
        let most = (0..self.held.len()).max_by_key(|&at| (count(self.held[at].host()), at))?;
        let holds_two_more = count(self.held[most].host()) >= count(newcomer.host()) + 2;
        holds_two_more.then_some(most)
    }

    /// Notes that the host of a viewer refused a frame. Returns whether that ends the lease.
    pub fn on_refused(&mut self, viewer: SocketAddr, now: Instant) -> bool {
        let Some(lease) = self.held.iter_mut().find(|l| l.viewer == viewer) else {
            return false;
        };
        Spell::note(&mut lease.refusals, now);
        let over = lease
            .refusals
            .is_some_and(|spell| spell.has_lasted(REFUSED_FOR, now));
        over && self.release(viewer)
    }

    /// Notes that a frame came from this address. Returns whether a viewer has a lease there, so that it is not a frame: two
    /// relays that have leases with each other would feed each other without end. An address from which frames come on
    /// and on is a camera's, for which another peer requested a lease.
    pub fn on_frame_from(&mut self, address: SocketAddr, now: Instant) -> bool {
        let Some(lease) = self.held.iter_mut().find(|l| l.viewer == address) else {
            return false;
        };
        if lease.kind < Kind::Proved {
            Spell::note(&mut lease.frames, now);
        }
        !lease.is_camera(now)
    }

    /// Ends a lease. Returns whether it was held.
    pub fn release(&mut self, viewer: SocketAddr) -> bool {
        let before = self.held.len();
        self.held.retain(|l| l.viewer != viewer);
        self.held.len() < before
    }

    /// Ends the leases that have not been renewed in time, and returns their viewers.
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
        let permanent = self.held.iter().filter(|l| l.kind == Kind::Request);
        permanent.map(|l| l.viewer)
    }

    /// Returns the viewers that hold a lease, in order of arrival.
    pub fn viewers(&self) -> impl ExactSizeIterator<Item = SocketAddr> {
        self.held.iter().map(|l| l.viewer)
    }

    /// Returns whether a viewer holds a lease.
    pub fn holds(&self, viewer: SocketAddr) -> bool {
        self.held.iter().any(|l| l.viewer == viewer)
    }

    /// Returns the viewers that the next frame goes to: all but addresses of cameras, and a suspect one once a second.
    pub fn receivers(&mut self, now: Instant) -> Vec<SocketAddr> {
        let receivers = self.held.iter_mut().filter_map(|lease| {
            let receives = !lease.is_camera(now) && lease.takes_frame(now);
            receives.then_some(lease.viewer)
        });
        receivers.collect()
    }
}

impl Lease {
    fn new(viewer: SocketAddr, kind: Kind, now: Instant) -> Self {
        Self {
            viewer,
            kind,
            renewed: now,
            refusals: None,
            frames: None,
            probed: None,
        }
    }

    fn host(&self) -> Host {
        self.viewer.into()
    }

    /// Takes a request of the viewer, or of a peer that forges its address.
    fn renew(&mut self, kind: Kind, now: Instant) {
        if kind == Kind::Proved {
            *self = Self::new(self.viewer, kind, now);
        } else if self.kind == Kind::Hello {
            self.renewed = now;
        }
    }

    fn expires(&self) -> Option<Instant> {
        match self.kind {
            Kind::Hello => Some(self.renewed + UNPROVED_LEASE_TIME),
            Kind::Request => None,
            Kind::Proved => Some(self.renewed + LEASE_TIME),
        }
    }

    fn is_suspect(&self, now: Instant) -> bool {
        let refusals = self.refusals;
        refusals.is_some_and(|spell| spell.has_lasted(SUSPECT_AFTER, now))
    }

    fn is_camera(&self, now: Instant) -> bool {
        let frames = self.frames;
        frames.is_some_and(|spell| spell.has_lasted(CAMERA_AFTER, now))
    }

    fn takes_frame(&mut self, now: Instant) -> bool {
        if !self.is_suspect(now) {
            return true;
        }
        let due = |at: Instant| now.saturating_duration_since(at) >= PROBE_INTERVAL;
        let due = self.probed.is_none_or(due);
        if due {
            self.probed = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests;
