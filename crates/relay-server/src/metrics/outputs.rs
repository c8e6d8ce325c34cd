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

#[cfg(test)]
mod tests {
    use crate::metrics::Metrics;
    use crate::outputs::retry::{Lost, OutputStats};

    #[test]
    fn what_is_delivered_lost_and_waits_is_listed_by_output() {
        let stats = OutputStats::default();
        stats.on_delivered();
        stats.on_lost(Lost::QueueFull, 2);
        stats.on_retry();
        stats.set_queued(3);
        stats.set_held(4);
        let metrics = Metrics {
            outputs: vec![("mqtt", stats.snapshot())],
            ..Metrics::default()
        };
        let text = metrics.render();
        for line in [
            "sightline_output_events_total{output=\"mqtt\"} 1",
            "sightline_output_events_lost_total{output=\"mqtt\",reason=\"queue_full\"} 2",
            "sightline_output_events_lost_total{output=\"mqtt\",reason=\"refused\"} 0",
            "sightline_output_retries_total{output=\"mqtt\"} 1",
            "sightline_output_waiting{output=\"mqtt\"} 7",
            "sightline_output_failing{output=\"mqtt\"} 1",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
