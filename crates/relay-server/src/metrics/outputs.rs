//! What became of events at the outputs.

use super::text::{Family, counters, gauges};
use super::{flag, labels};
use crate::outputs::hub::NamedSnapshot;

/// Returns the families of the outputs.
pub(super) fn families(outputs: &[NamedSnapshot]) -> Vec<Family> {
    let each = || {
        outputs
            .iter()
            .map(|(name, output)| (labels("output", name), output))
    };
    let lost = each().flat_map(|(of, output)| {
        output.lost.map(|(reason, count)| {
            let mut labels = of.clone();
            labels.push(("reason", reason.to_owned()));
            (labels, count)
        })
    });
    vec![
        counters(
            "sightline_output_events_total",
            "Events that reached the receiver of an output.",
            each().map(|(labels, output)| (labels, output.delivered)),
        ),
        counters(
            "sightline_output_events_lost_total",
            "Events that did not reach the receiver of an output.",
            lost.collect::<Vec<_>>(),
        ),
        counters(
            "sightline_output_retries_total",
            "Further attempts of an output to reach its receiver.",
            each().map(|(labels, output)| (labels, output.retries)),
        ),
        gauges(
            "sightline_output_waiting",
            "Events that wait for an output.",
            each().map(|(labels, output)| (labels, output.waiting as f64)),
        ),
        gauges(
            "sightline_output_failing",
            "Whether the last attempt of an output failed.",
            each().map(|(labels, output)| (labels, flag(output.failing))),
        ),
    ]
}
