//! How much a sender's connection may make the relay hold: what has arrived and was not read yet (its flow-control window),
//! and what was read and not taken by the loop yet. As many bytes for each of the two.
//!
//! A sender has to own a camera, so there are at most [`MAX_CAMERAS`] of them, and all together hold 48 MiB. The first ones
//! of a host get the full share, the others share what is left of its 16 MiB.

use std::collections::HashMap;

use protocol::peer::Host;
use protocol::quic::MAX_CAMERAS;

use crate::limits::{HOST_SHARES, LEAST_SHARE, SENDER_SHARE, TICKET_SHARE};

/// Returns the bytes of each of the two kinds that a sender may make the relay hold; `of_host` counts the senders of its
/// host, this one included.
pub fn share(of_host: usize, ticket: bool) -> usize {
    match ticket {
        true => TICKET_SHARE,
        false => (HOST_SHARES / of_host.clamp(1, MAX_CAMERAS)).clamp(LEAST_SHARE, SENDER_SHARE),
    }
}

/// How many senders each host has. Each sender owns a camera, so there are at most [`MAX_CAMERAS`] hosts.
#[derive(Debug, Default)]
pub struct SendersOfHosts(HashMap<Host, usize>);

impl SendersOfHosts {
    /// Counts a sender in. Returns the number of its host's senders, this one included.
    pub fn add(&mut self, host: Host) -> usize {
        let count = self.0.entry(host).or_default();
        *count += 1;
        *count
    }

    /// Counts a sender out.
    pub fn remove(&mut self, host: Host) {
        if let Some(count) = self.0.get_mut(&host) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&host);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn senders_are_counted_by_host_and_nothing_is_left_of_those_that_are_gone() {
        let [one, other] = ["192.0.2.1", "2001:db8::1"].map(|address| {
            let address: IpAddr = address.parse().unwrap();
            Host::from(address)
        });
        let mut senders = SendersOfHosts::default();
        assert_eq!([one, one, other].map(|host| senders.add(host)), [1, 2, 1]);
        senders.remove(one);
        assert_eq!(senders.add(one), 2);
        for host in [one, one, other, other] {
            senders.remove(host);
        }
        assert!(senders.0.is_empty());
        assert_eq!(senders.add(one), 1);
    }

    #[test]
    fn one_host_makes_the_relay_hold_16_mib_and_all_together_48() {
        let one_host: usize = (1..=MAX_CAMERAS).map(|n| 2 * share(n, false)).sum();
        assert!(one_host <= 16 << 20, "{one_host}");
        let all = MAX_CAMERAS * 2 * share(1, false);
        assert!(all <= 48 << 20, "{all}");
    }

    #[test]
    fn every_sender_may_send_the_largest_frame() {
        let least = share(MAX_CAMERAS, false);
        assert!(least >= protocol::datagram::MAX_DATAGRAM + (16 << 10) - 1);
    }
}
