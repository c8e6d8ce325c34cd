//! How a direction treats what passes, and what became of it.

use std::time::Duration;

/// What one IP fragment carries: an MTU of 1500 without the header.
const FRAGMENT: usize = 1480;
const IP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;

/// How one direction treats what passes; by default it does nothing at all to it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Path {
    /// Which packets get lost. They are lost behind the queue: what is lost has used its share of the rate.
    pub loss: Loss,
    /// How long everything takes.
    pub delay: Duration,
    /// The slowest piece of the way; none is infinitely fast.
    pub bottleneck: Option<Bottleneck>,
    /// Share of the datagrams that arrive 10 ms later than they would, so that others overtake them.
    pub reorder: f64,
    /// Share of the datagrams that arrive twice.
    pub duplicate: f64,
}

/// Which packets get lost.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Loss {
    /// None.
    #[default]
    None,
    /// Each with this probability, whatever happens to the others.
    Random(f64),
    /// In runs, by Gilbert's model of two states: a good one, in which nothing is lost, and a bad one, in which everything
    /// is.
    Bursts {
        /// Of all packets; at most length / (length + 1), since between two runs there is a packet that arrives.
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
    /// How much it holds, in time at this rate. An idle link takes one packet whatever this is.
    pub queue: Duration,
}

/// Datagrams, and their bytes as IP carries them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Volume {
    /// Datagrams.
    pub datagrams: u64,
    /// Bytes with all headers.
    pub bytes: u64,
}

/// What became of the datagrams of one direction; those on their way are the difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Came to the link.
    pub offered: Volume,
    /// Were lost, did not fit into the queue, or met a cut link.
    pub dropped: Volume,
    /// Left it at the other end; one that arrives twice counts twice.
    pub delivered: Volume,
}

/// Bytes that IP needs for a datagram of so much payload: its own, the UDP header, and an IP header for each fragment.
pub fn ip_bytes(payload: usize) -> usize {
    packets(payload).sum()
}

impl Path {
    /// # Panics
    /// Where the settings make no sense.
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

/// The sizes of the packets in which IP carries a datagram.
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
