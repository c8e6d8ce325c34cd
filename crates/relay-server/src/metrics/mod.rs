//! What an operator graphs: the relay's figures as Prometheus reads them (text format 0.0.4).
//!
//! ```text
//!  the loop --> Tally, counted as it goes --+
//!           --> its other counters ---------+--> LoopMetrics, on request
//!                                                    |
//!  a thread that may wait:                           +--> complete() --> Metrics --> render()
//! ```
//!
//! The HTTP server requests a copy of the loop's counters ([`RelayHandle::metrics`]) and makes text of it at most once a
//! second, on a thread where no frame waits. So graphs cost a frame a few additions.
//!
//! Units are seconds and bytes, what only grows ends in `_total`. Labels are bounded: the relay knows at most
//! [`MAX_CAMERAS`] cameras, and the model its classes. Addresses are nowhere.
//!
//! [`RelayHandle::metrics`]: crate::handle::RelayHandle::metrics
//! [`MAX_CAMERAS`]: protocol::quic::MAX_CAMERAS

pub mod distribution;
mod of_loop;
pub mod tally;
mod text;

use std::collections::BTreeMap;

use prometheus::core::Collector as _;
use prometheus::process_collector::ProcessCollector;
use prometheus::{TEXT_FORMAT, TextEncoder};
use protocol::health::{Health, Temperature};

use self::distribution::BucketHistogram;
pub use self::of_loop::LoopMetrics;
use self::tally::Tally;
use self::text::{Labels, counters, gauges, histograms};
use crate::events::EventCounts;

/// What the text calls itself in `Content-Type`.
pub const CONTENT_TYPE: &str = TEXT_FORMAT;

/// All figures of one moment.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// What the loop counted.
    pub tally: Tally,
    /// The cameras that are live.
    pub live: Vec<String>,
    /// Datagrams and frames that came and went no further, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
    /// The transports by which frames leave.
    pub transports: Vec<TransportMetrics>,
    /// From taking a JPEG to its final boxes.
    pub inference: BucketHistogram,
    /// Frames that were due for the model and went without, by reason.
    pub not_inferred: Vec<(&'static str, u64)>,
    /// The model's name; `none` without one.
    pub model: String,
    /// Counters of events.
    pub events: EventCounts,
    /// Datagrams that the kernel could not put together, where it tells.
    pub reassembly_failures: Option<u64>,
}

/// A transport by which frames leave.
#[derive(Debug, Clone, Default)]
pub struct TransportMetrics {
    /// Its name in labels.
    pub name: &'static str,
    /// Viewers now.
    pub viewers: usize,
    /// Frames that left for one viewer each, by kind.
    pub forwarded: Vec<(&'static str, u64)>,
    /// Bytes of those.
    pub bytes: u64,
    /// Frames that a viewer did not get, by reason.
    pub unsent: Vec<(&'static str, u64)>,
    /// From a frame's arrival to its turn.
    pub forwarding: BucketHistogram,
}

impl Metrics {
    /// The text, with the figures of this process added.
    pub fn render(&self) -> String {
        let mut families = self.camera_families();
        families.extend(self.sender_families());
        families.extend(self.transport_families());
        families.extend(self.model_families());
        families.extend(self.event_families());
        families.extend(self.machine_families());
        families.extend(ProcessCollector::for_self().collect());
        // It refuses nothing but a family without a name or a figure.
        families.retain(|family| !family.get_metric().is_empty());
        TextEncoder::new()
            .encode_to_string(&families)
            .unwrap_or_default()
    }

    fn camera_families(&self) -> Vec<text::Family> {
        let cameras = || {
            let all = self.tally.cameras.iter();
            all.map(|(name, camera)| (labels("camera", name), camera))
        };
        let up = |name| flag(self.live.contains(name));
        vec![
            counters(
                "sightline_frames_received_total",
                "Frames of a camera that were accepted.",
                cameras().map(|(labels, camera)| (labels, camera.frames)),
            ),
            counters(
                "sightline_received_bytes_total",
                "Bytes of those frames.",
                cameras().map(|(labels, camera)| (labels, camera.bytes)),
            ),
            counters(
                "sightline_frames_dropped_total",
                "Datagrams and frames that came and went no further.",
                self.dropped
                    .iter()
                    .map(|(reason, count)| (labels("reason", reason), *count)),
            ),
            gauges(
                "sightline_camera_up",
                "Whether a camera is live.",
                self.tally
                    .cameras
                    .keys()
                    .map(|name| (labels("camera", name), up(name))),
            ),
            gauges(
                "sightline_camera_last_frame_timestamp_seconds",
                "When a camera's last frame came, since the Unix epoch.",
                cameras().map(|(labels, camera)| (labels, camera.last_us as f64 / 1e6)),
            ),
            histograms(
                "sightline_frame_age_seconds",
                "From the capture of a frame to its arrival; of a sender that has not compared clocks by the two clocks.",
                cameras().map(|(labels, camera)| (labels, &camera.age)),
            ),
        ]
    }

    /// What live cameras' senders report of their machines.
    fn sender_families(&self) -> Vec<text::Family> {
        let live = self
            .tally
            .cameras
            .iter()
            .filter(|(name, _)| self.live.contains(name));
        let live: Vec<_> = live.map(|(name, camera)| (name, camera.health)).collect();
        let each = |value: fn(&Health) -> Option<f64>| {
            let values = live.iter();
            let values =
                values.filter_map(|(name, health)| Some((labels("camera", name), value(health)?)));
            values.collect::<Vec<_>>()
        };
        let versions = live.iter().filter_map(|(name, health)| {
            let mut labels = labels("camera", name);
            labels.push(("version", health.version?.as_str().to_owned()));
            Some((labels, 1.0))
        });
        vec![
            gauges(
                "sightline_sender_temperature_celsius",
                "Temperature of a sender's processor.",
                each(|health| health.temperature.map(Temperature::degrees)),
            ),
            gauges(
                "sightline_sender_throttled",
                "Whether a sender's processor runs slower than it could, since it is too hot or its supply too weak.",
                each(|health| health.throttled.map(flag)),
            ),
            gauges(
                "sightline_sender_undervoltage",
                "Whether a sender's supply has too low a voltage.",
                each(|health| health.undervoltage.map(flag)),
            ),
            gauges(
                "sightline_sender_wifi_dbm",
                "Signal of the Wi-Fi that a sender's frames leave by.",
                each(|health| health.wifi_dbm.map(f64::from)),
            ),
            gauges(
                "sightline_sender_info",
                "The version of a sender.",
                versions,
            ),
        ]
    }

    fn transport_families(&self) -> Vec<text::Family> {
        let of = |transport: &TransportMetrics| labels("transport", transport.name);
        let by = |key: &'static str, counts: fn(&TransportMetrics) -> &[(&'static str, u64)]| {
            let all = self.transports.iter().flat_map(move |from| {
                let each = move |(value, count): &(&'static str, u64)| {
                    let mut labels = labels("transport", from.name);
                    labels.push((key, (*value).to_owned()));
                    (labels, *count)
                };
                counts(from).iter().map(each)
            });
            all.collect::<Vec<_>>()
        };
        let transports = || self.transports.iter();
        vec![
            counters(
                "sightline_frames_forwarded_total",
                "Frames that left, one for each viewer: passed through unchanged, or with boxes drawn in.",
                by("kind", |transport| &transport.forwarded),
            ),
            counters(
                "sightline_sent_bytes_total",
                "Bytes of those frames.",
                transports().map(|from| (of(from), from.bytes)),
            ),
            counters(
                "sightline_frames_unsent_total",
                "Frames that a viewer did not get.",
                by("reason", |transport| &transport.unsent),
            ),
            gauges(
                "sightline_viewers",
                "Viewers now.",
                transports().map(|from| (of(from), from.viewers as f64)),
            ),
            histograms(
                "sightline_forwarding_seconds",
                "From the arrival of a frame that is not held to its turn for a viewer.",
                transports().map(|from| (of(from), &from.forwarding)),
            ),
        ]
    }

    fn model_families(&self) -> Vec<text::Family> {
        let skipped = self.not_inferred.iter();
        vec![
            histograms(
                "sightline_inference_seconds",
                "From taking a JPEG to its final boxes.",
                [(Labels::new(), &self.inference)],
            ),
            counters(
                "sightline_inferences_skipped_total",
                "Frames that were due for the model and went without.",
                skipped.map(|(reason, count)| (labels("reason", reason), *count)),
            ),
            counters(
                "sightline_detections_total",
                "Objects that the model found.",
                self.tally
                    .detections
                    .iter()
                    .map(|(label, count)| (labels("label", label), *count)),
            ),
            gauges(
                "sightline_model_info",
                "The model in use.",
                [(labels("model", &self.model), 1.0)],
            ),
        ]
    }

    fn event_families(&self) -> Vec<text::Family> {
        let by = |key: &'static str, counts: &[(&'static str, u64)]| {
            let counts = counts.iter();
            let labelled = counts.map(|(value, count)| (labels(key, value), *count));
            labelled.collect::<Vec<_>>()
        };
        vec![
            counters(
                "sightline_event_messages_total",
                "Messages of events: start, update and end of an object's, and those of cameras.",
                by("type", &self.events.messages),
            ),
            gauges(
                "sightline_events_open",
                "Events that have started and not ended.",
                [(Labels::new(), self.events.open as f64)],
            ),
            counters(
                "sightline_events_lost_total",
                "Frames that events were not made of, and messages that an output did not get, since a queue was full.",
                by("queue", &self.events.lost),
            ),
        ]
    }

    fn machine_families(&self) -> Vec<text::Family> {
        vec![
            counters(
                "sightline_kernel_reassembly_failures_total",
                "Datagrams of any program of this machine of which pieces were missing (IPv4, ReasmFails).",
                self.reassembly_failures.map(|count| (Labels::new(), count)),
            ),
            gauges(
                "sightline_build_info",
                "The version of this relay.",
                [(labels("version", env!("CARGO_PKG_VERSION")), 1.0)],
            ),
        ]
    }
}

fn labels(key: &'static str, value: &str) -> Labels {
    vec![(key, value.to_owned())]
}

fn flag(is_so: bool) -> f64 {
    f64::from(u8::from(is_so))
}
