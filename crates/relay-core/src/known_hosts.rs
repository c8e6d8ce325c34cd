//! The hosts that have, or had, a QUIC connection. Pure.
//!
//! A packet in the middle of a connection that comes from any other host is a peer's that has moved there, or one that was
//! sent in that host's name: the relay would answer it with frames, twenty times the bytes (RFC 9000, section 9.3.1). Such a
//! packet is dropped; a peer that has really moved connects again within its timeout. A router's new port is the same host.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use protocol::peer::Host;

use crate::limits::KNOWN_HOSTS;

/// Time after the relay's start in which all hosts are known: connections from before it get a reset, and no timeout.
const AFTER_START: Duration = Duration::from_secs(5);

/// The table of hosts.
#[derive(Debug)]
pub struct KnownHosts {
    started: Instant,
    hosts: HashMap<Host, Known>,
}

#[derive(Debug)]
struct Known {
    /// Connections that are open.
    open: usize,
    /// When one was last opened or closed.
    changed: Instant,
}

impl KnownHosts {
    /// Returns a table without hosts, of a relay that starts now.
    pub fn new(now: Instant) -> Self {
        Self {
            started: now,
            hosts: HashMap::new(),
        }
    }

    /// Notes that a host, whose address is validated, has opened a connection.
    pub fn on_opened(&mut self, host: Host, now: Instant) {
        if self.hosts.len() >= KNOWN_HOSTS && !self.hosts.contains_key(&host) {
            self.forget_oldest();
        }
        let known = self.hosts.entry(host).or_insert(Known {
            open: 0,
            changed: now,
        });
        known.open += 1;
        known.changed = now;
    }

    /// Notes that a connection of a host has ended. The host stays known: its packets get a reset.
    pub fn on_closed(&mut self, host: Host, now: Instant) {
        if let Some(known) = self.hosts.get_mut(&host) {
            known.open = known.open.saturating_sub(1);
            known.changed = now;
        }
    }

    /// Returns whether a packet in the middle of a connection may come from this host.
    pub fn knows(&self, host: Host, now: Instant) -> bool {
        now.saturating_duration_since(self.started) < AFTER_START || self.hosts.contains_key(&host)
    }

    /// Removes the host that has been without a connection for longest.
    fn forget_oldest(&mut self) {
        let idle = self.hosts.iter().filter(|(_, known)| known.open == 0);
        let oldest = idle.min_by_key(|(_, known)| known.changed);
        if let Some(host) = oldest.map(|(host, _)| *host) {
            self.hosts.remove(&host);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn host(n: u32) -> Host {
        IpAddr::from(n.to_be_bytes()).into()
    }

    #[test]
    fn a_host_is_known_from_its_first_connection_on_and_the_others_for_a_moment_after_the_start() {
        let start = testkit::time::start();
        let mut hosts = KnownHosts::new(start);
        hosts.on_opened(host(1), start);
        assert!(hosts.knows(host(2), start + AFTER_START / 2));
        let later = start + AFTER_START;
        assert!(hosts.knows(host(1), later) && !hosts.knows(host(2), later));
        hosts.on_closed(host(1), later);
        assert!(hosts.knows(host(1), later), "a packet of it gets a reset");
    }

    #[test]
    fn hosts_without_a_connection_give_way_the_oldest_first() {
        let start = testkit::time::start();
        let mut hosts = KnownHosts::new(start);
        hosts.on_opened(host(0), start);
        let count = u32::try_from(KNOWN_HOSTS).unwrap();
        for n in 1..2 * count {
            let now = start + Duration::from_millis(n.into());
            hosts.on_opened(host(n), now);
            hosts.on_closed(host(n), now);
        }
        let later = start + Duration::from_secs(3600);
        assert_eq!(hosts.hosts.len(), KNOWN_HOSTS);
        assert!(hosts.knows(host(0), later), "it is connected");
        assert!(hosts.knows(host(2 * count - 1), later) && !hosts.knows(host(1), later));
    }
}
