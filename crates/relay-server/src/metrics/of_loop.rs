//! The loop's part of the metrics, and how the rest is added on another thread.

use std::collections::BTreeMap;

use platform::egress::{EgressSnapshot, EgressStats};
use platform::kernel;
use protocol::transport::Transport;

use super::distribution::{BucketHistogram, FORWARDING};
use super::tally::Tally;
use super::{Metrics, TransportMetrics};
use crate::egress::EgressByTransport;
use crate::events::EventCounts;

/// Copies of the loop's counters, cheap to make.
#[derive(Debug, Clone, Default)]
pub struct LoopMetrics {
    /// Counters by camera and class.
    pub tally: Tally,
    /// The cameras that are live.
    pub live: Vec<String>,
    /// Datagrams and frames that came and went no further, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Frames that UDP viewers did not get because of `--udp-egress`.
    pub over_egress: u64,
    /// The transports' counters, shared with them.
    pub egress: EgressByTransport,
    /// Durations of inferences.
    pub inference: BucketHistogram,
    /// Frames that were due for the model and went without, by reason.
    pub not_inferred: Vec<(&'static str, u64)>,
    /// The model's name; `none` without one.
    pub model: String,
    /// Counters of events.
    pub events: EventCounts,
}

impl LoopMetrics {
    /// Adds what the transports and the kernel count. It walks histograms and reads `/proc`: not for the loop's thread.
    pub fn complete(self) -> Metrics {
        let transports = self.egress.transports();
        let over_egress = self.over_egress;
        Metrics {
            transports: transports
                .map(|(transport, stats)| transport_metrics(transport, stats, over_egress))
                .collect(),
            tally: self.tally,
            live: self.live,
            dropped: self.dropped,
            inference: self.inference,
            not_inferred: self.not_inferred,
            model: self.model,
            events: self.events,
            reassembly_failures: kernel::reassembly_failures(),
        }
    }
}

fn transport_metrics(
    transport: Transport,
    stats: &EgressStats,
    over_egress: u64,
) -> TransportMetrics {
    let EgressSnapshot {
        sent,
        annotated,
        skipped,
        expired,
        refused: _,
        bytes,
        viewers,
    } = stats.snapshot();
    let over_egress = (transport == Transport::Udp).then_some(("egress", over_egress));
    let unsent = [("skipped", skipped), ("expired", expired)];
    // Copied first: frames wait for the lock.
    let waits = stats.waits().clone();
    TransportMetrics {
        name: transport.name(),
        viewers,
        forwarded: vec![
            ("passthrough", sent.saturating_sub(annotated)),
            ("annotated", annotated),
        ],
        bytes,
        unsent: over_egress.into_iter().chain(unsent).collect(),
        forwarding: BucketHistogram::of(FORWARDING, &waits),
    }
}
