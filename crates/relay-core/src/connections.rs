//! Which of a transport's connections stay when there is no room for all. Pure.
//!
//! While there is room, each connection is admitted: twenty cameras behind one router are honest. In a full table a newcomer
//! gets the slot of the host that holds most, that host's youngest first, if that host then still holds no fewer than the
//! newcomer's. So a host with one connection never loses it to a host that floods the relay.
//!
//! A peer shows its ticket only after it has connected. A private relay's table therefore keeps a reserve twice: no more than
//! `capacity - reserve` connections may be settled, so that there is always room to arrive, and no more than
//! `capacity - 2 * reserve` without a ticket. Connections are compared within their class only, with or without a ticket, so a
//! large site with tickets does not count against its own next peer while that has not shown its ticket yet.
//!
//! ```text
//!   capacity  |  without a ticket: - 2 * reserve  | reserve | reserve |
//!             |  settled in all: - reserve                  | arriving, at least
//! ```

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use protocol::peer::{Host, Standing};

use crate::limits::{ARRIVAL, ESTABLISHED_AFTER};

/// A connection in the table; later ones are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(u64);

/// What becomes of a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// There was room for it.
    Admitted(ConnectionId),
    /// It has the slot of the second one, which the shell closes.
    AdmittedInPlaceOf(ConnectionId, ConnectionId),
    /// There is no slot for it.
    Refused,
}

/// What becomes of a connection whose peer has shown what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    /// It stays.
    Kept,
    /// It stays in the slot of another one, which the shell closes.
    KeptInPlaceOf(ConnectionId),
    /// It has lost its slot, now or before; the shell closes it.
    Refused,
}

#[derive(Debug)]
struct Entry {
    host: Host,
    opened: Instant,
    standing: Standing,
    protected_from: Option<Instant>,
}

/// The connections of one transport.
#[derive(Debug)]
pub struct ConnectionTable {
    capacity: usize,
    reserve: usize,
    last: u64,
    entries: BTreeMap<ConnectionId, Entry>,
    /// Connections of each host, without and with a ticket.
    held: HashMap<Host, [usize; 2]>,
    /// Connections by standing.
    standings: [usize; 3],
}

impl Entry {
    fn class(&self) -> usize {
        usize::from(self.standing == Standing::Authenticated)
    }

    fn is_protected(&self, now: Instant) -> bool {
        self.protected_from.is_some_and(|from| from <= now)
    }

    fn is_overdue(&self, now: Instant) -> bool {
        let arriving = self.standing == Standing::Unvalidated && !self.is_protected(now);
        arriving && self.opened + ARRIVAL <= now
    }
}

impl ConnectionTable {
    /// Returns an empty table. An open relay needs no reserve: it has no peers with a ticket.
    pub fn new(capacity: usize, reserve: usize) -> Self {
        Self {
            capacity,
            reserve,
            last: 0,
            entries: BTreeMap::new(),
            held: HashMap::new(),
            standings: [0; 3],
        }
    }

    /// Admits a connection if there is room or a host holds more than its host then would.
    pub fn open(&mut self, host: Host, now: Instant) -> Opening {
        let displaced = match self.entries.len() < self.capacity {
            true => None,
            false => match self.displaceable_by_newcomer(host, now) {
                None => return Opening::Refused,
                displaced => displaced,
            },
        };
        if let Some(displaced) = displaced {
            self.close(displaced);
        }
        self.last += 1;
        let id = ConnectionId(self.last);
        self.held.entry(host).or_default()[0] += 1;
        self.standings[Standing::Unvalidated as usize] += 1;
        let entry = Entry {
            host,
            opened: now,
            standing: Standing::Unvalidated,
            protected_from: None,
        };
        self.entries.insert(id, entry);
        match displaced {
            None => Opening::Admitted(id),
            Some(displaced) => Opening::AdmittedInPlaceOf(id, displaced),
        }
    }

    /// Notes what a peer has proved; it is unvalidated until then. A standing never falls.
    pub fn set_standing(
        &mut self,
        id: ConnectionId,
        standing: Standing,
        now: Instant,
    ) -> Settlement {
        let Some(Entry {
            host,
            standing: before,
            ..
        }) = self.entries.get(&id)
        else {
            return Settlement::Refused;
        };
        let (host, before) = (*host, *before);
        if standing <= before {
            return Settlement::Kept;
        }
        let displaced = match self.has_room_for(before, standing) {
            true => None,
            false => match self.displaceable_by(host, standing, now) {
                None => {
                    self.close(id);
                    return Settlement::Refused;
                }
                displaced => displaced,
            },
        };
        if let Some(displaced) = displaced {
            self.close(displaced);
        }
        self.raise(id, standing);
        displaced.map_or(Settlement::Kept, Settlement::KeptInPlaceOf)
    }

    /// Counts a connection for another host from now on: that of the client behind a proxy.
    pub fn set_host(&mut self, id: ConnectionId, host: Host) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        let class = entry.class();
        let before = std::mem::replace(&mut entry.host, host);
        self.uncount(before, class);
        self.held.entry(host).or_default()[class] += 1;
    }

    /// Notes that a connection carries a camera from now on: once it is known for long enough, it is never displaced.
    pub fn protect(&mut self, id: ConnectionId, now: Instant) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.protected_from.get_or_insert(now + ESTABLISHED_AFTER);
        }
    }

    /// Removes a connection that has ended; one that is not in the table is left out.
    pub fn close(&mut self, id: ConnectionId) {
        if let Some(entry) = self.entries.remove(&id) {
            self.standings[entry.standing as usize] -= 1;
            self.uncount(entry.host, entry.class());
        }
    }

    /// Returns the number of connections.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether there is no connection.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn raise(&mut self, id: ConnectionId, standing: Standing) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        let (host, class) = (entry.host, entry.class());
        self.standings[entry.standing as usize] -= 1;
        self.standings[standing as usize] += 1;
        entry.standing = standing;
        let raised = entry.class();
        self.uncount(host, class);
        self.held.entry(host).or_default()[raised] += 1;
    }

    fn uncount(&mut self, host: Host, class: usize) {
        if let Some(held) = self.held.get_mut(&host) {
            held[class] -= 1;
            if *held == [0; 2] {
                self.held.remove(&host);
            }
        }
    }

    fn held(&self, host: Host, class: usize) -> usize {
        self.held.get(&host).map_or(0, |held| held[class])
    }

    fn has_room_for(&self, before: Standing, standing: Standing) -> bool {
        let [_, validated, authenticated] = self.standings;
        let settles = usize::from(before == Standing::Unvalidated);
        let room = validated + authenticated + settles <= self.capacity - self.reserve;
        let without = validated < self.capacity.saturating_sub(2 * self.reserve);
        room && (without || standing == Standing::Authenticated)
    }

    fn displaceable_by_newcomer(&self, host: Host, now: Instant) -> Option<ConnectionId> {
        let will_hold = self.held(host, 0) + 1;
        let unauthenticated = |entry: &Entry| entry.class() == 0;
        self.of_largest_host(unauthenticated, will_hold, now)
            .or_else(|| {
                let mut entries = self.entries.iter();
                let overdue = entries.find(|(_, entry)| entry.is_overdue(now));
                overdue.map(|(id, _)| *id)
            })
    }

    /// Returns the connection that gives way to one of this host that has shown its standing. One without a ticket gives
    /// way to one with a ticket whatever their hosts hold.
    fn displaceable_by(
        &self,
        host: Host,
        standing: Standing,
        now: Instant,
    ) -> Option<ConnectionId> {
        let validated = |entry: &Entry| entry.standing == Standing::Validated;
        if standing == Standing::Validated {
            return self.of_largest_host(validated, self.held(host, 0), now);
        }
        let will_hold = self.held(host, 1) + 1;
        self.of_largest_host(validated, 0, now)
            .or_else(|| self.of_largest_host(|entry| entry.class() == 1, will_hold, now))
    }

    /// Returns the youngest connection, among some, of the host that holds most of their class, if that is more than `above`.
    fn of_largest_host(
        &self,
        among: impl Fn(&Entry) -> bool,
        above: usize,
        now: Instant,
    ) -> Option<ConnectionId> {
        let entries = self.entries.iter();
        entries
            .filter(|(_, entry)| among(entry) && !entry.is_protected(now))
            .map(|(id, entry)| (self.held(entry.host, entry.class()), *id))
            .filter(|(held, _)| *held > above)
            .max()
            .map(|(_, id)| id)
    }
}

#[cfg(test)]
mod tests;
