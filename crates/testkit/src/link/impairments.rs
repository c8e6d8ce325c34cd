//! What one direction of a link does to datagrams, and the counts of what it did.

use std::time::Duration;

/// Payload of one IP fragment: an MTU of 1500 without the header.
const FRAGMENT: usize = 1480;
const IP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;

/// What one direction does to datagrams; by default, nothing.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Impairments {
    /// Loss of packets, behind the queue: a lost packet has used its share of the rate.
    pub loss: Loss,
    /// One-way delay.
    pub delay: Duration,
    /// Slowest piece of the path; `None` is infinitely fast.
    pub bottleneck: Option<Bottleneck>,
    /// Share of the datagrams that arrive 10 ms later than they would, so that others overtake them.
    pub reorder: f64,
    /// Share of the datagrams that arrive twice.
    pub duplicate: f64,
}

/// A model of packet loss.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Loss {
    /// No loss.
    #[default]
    None,
    /// Independent losses, each with this probability.
    Random(f64),
    /// Losses in runs, by Gilbert's model of two states: a good one, in which nothing is lost, and a bad one, in which everything
    /// is.
    Bursts {
        /// Share of all packets that is lost; at most length / (length + 1), since between two runs there is a packet that arrives.
        share: f64,
        /// Mean length of a run in packets, at least 1.
        length: f64,
    },
}

/// A queue that drops what does not fit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bottleneck {
    /// Bits of IP a second, more than 0.
    pub rate: u64,
    /// Capacity, in time at this rate. An idle link takes one packet whatever this is.
    pub queue: Duration,
}

/// A number of datagrams, and of their bytes as IP carries them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Volume {
    /// Number of datagrams.
    pub datagrams: u64,
    /// Number of bytes with all headers.
    pub bytes: u64,
}

/// Counts of the datagrams of one direction; those on their way are the difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Datagrams that came to the link.
    pub offered: Volume,
    /// Datagrams that were lost, did not fit into the queue, or met a cut link.
    pub dropped: Volume,
    /// Datagrams that left the link at the other end; one that arrives twice counts twice.
    pub delivered: Volume,
}

/// Returns the bytes that IP needs for a datagram of so much payload: its own, the UDP header, and an IP header for each fragment.
pub fn ip_bytes(payload: usize) -> usize {
    packets(payload).sum()
}

impl Impairments {
    /// # Panics
    /// If the settings make no sense.
    pub(super) fn check(&self) {
        let share = |share: f64| (0.0..=1.0).contains(&share);
        let loss = match self.loss {
            Loss::None => true,
            Loss::Random(p) => share(p),
            Loss::Bursts { share, length } => {
                (0.0..=length / (length + 1.0)).contains(&share) && length >= 1.0
            }
        };
        let rate = self.bottleneck.is_none_or(|b| b.rate > 0);
        assert!(
            loss && rate && share(self.reorder) && share(self.duplicate),
            "no network is like this: {self:?}"
        );
    }
}

impl Volume {
    pub(super) fn add(&mut self, payload: usize) {
        self.datagrams += 1;
        self.bytes += ip_bytes(payload) as u64;
    }
}

/// Returns the sizes of the packets in which IP carries a datagram.
pub(super) fn packets(payload: usize) -> impl Iterator<Item = usize> {
    let all = payload + UDP_HEADER;
    (0..all)
        .step_by(FRAGMENT)
        .map(move |at| IP_HEADER + FRAGMENT.min(all - at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ip_needs_a_header_for_each_fragment() {
        assert_eq!(packets(1472).collect::<Vec<_>>(), [1500]);
        assert_eq!(packets(1473).collect::<Vec<_>>(), [1500, 21]);
        assert_eq!(packets(0).collect::<Vec<_>>(), [28]);
        assert_eq!(ip_bytes(40_000), 40_000 + 8 + 28 * 20);
    }
}
