//! How much a sender's connection may make the relay hold: what has arrived and was not read yet (its flow-control window),
//! and what was read and not taken by the loop yet. As many bytes for each of the two.
//!
//! A sender has to own a camera, so there are at most [`MAX_CAMERAS`] of them, and all together hold 48 MiB. The first ones
//! of a host get the full share, the others share what is left of its 16 MiB.

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

#[cfg(test)]
mod tests {
    use super::*;

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
