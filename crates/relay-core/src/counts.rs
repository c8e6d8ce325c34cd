//! Counters since the start, for the report, the summary line and the metrics.

use std::collections::BTreeMap;

/// What the relay counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RelayCounts {
    /// Frames accepted.
    pub received: u64,
    /// Those of them whose boxes a viewer or an output wanted.
    pub wanted: u64,
    /// Frames that the model has answered.
    pub inferred: u64,
    /// Frames due for the model that a newer one replaced before the model was free.
    pub not_inferred: u64,
    /// Frames due for the model that could not be decoded.
    pub undecodable: u64,
    /// Datagrams and frames that were dropped, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Frames not sent to a UDP viewer because the rate limit was reached.
    pub over_egress: u64,
    /// Most viewers at one time.
    pub viewers_peak: usize,
}

impl RelayCounts {
    /// Counts a datagram or frame that was dropped.
    pub(crate) fn drop(&mut self, reason: &'static str) {
        *self.dropped.entry(reason).or_default() += 1;
    }
}
