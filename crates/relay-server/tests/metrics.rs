//! The relay's figures as an operator's Prometheus reads them: by name and unit, and on the dashboard.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use relay_server::events::EventCounts;
use relay_server::metrics::distribution::{BucketHistogram, FORWARDING, INFERENCE};
use relay_server::metrics::tally::{CameraMetrics, Tally};
use relay_server::metrics::{Metrics, TransportMetrics};
use relay_server::outputs::retry::OutputStats;
use serde_json::Value;

const MS: Duration = Duration::from_millis(1);

/// Figures of every kind, so that no family is left out.
fn everything() -> Metrics {
    let mut inference = BucketHistogram::new(INFERENCE);
    inference.add(12 * MS);
    let mut yard = CameraMetrics {
        frames: 7,
        bytes: 70_000,
        last_us: 1_763_820_000_500_000,
        ..CameraMetrics::default()
    };
    yard.age.add(80 * MS);
    let cameras = [
        ("yard", yard),
        ("the \"old\" yard", CameraMetrics::default()),
    ];
    let transport = |name| {
        let mut forwarding = BucketHistogram::new(FORWARDING);
        forwarding.add(MS);
        TransportMetrics {
            name,
            viewers: 2,
            forwarded: vec![("passthrough", 5), ("annotated", 1)],
            bytes: 60_000,
            unsent: vec![("skipped", 3)],
            forwarding,
        }
    };
    Metrics {
        tally: Tally {
            cameras: cameras
                .map(|(name, camera)| (name.to_owned(), camera))
                .into(),
            detections: [("person".to_owned(), 4)].into(),
        },
        live: vec!["yard".to_owned()],
        dropped: [("not_jpeg", 2), ("overrun", 0)].into(),
        transports: vec![transport("udp"), transport("quic")],
        inference,
        not_inferred: vec![("busy", 9)],
        model: "yolov5n".to_owned(),
        events: EventCounts {
            messages: vec![("start", 3), ("camera", 1)],
            open: 1,
            lost: vec![("frames", 0), ("jsonl", 2)],
        },
        outputs: vec![("mqtt", OutputStats::default().snapshot())],
        reassembly_failures: Some(11),
    }
}

/// Each family's kind, by its name.
fn kinds(text: &str) -> BTreeMap<&str, &str> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    lines.map(|line| line.split_once(' ').unwrap()).collect()
}

/// The names of labels in a sample's line.
fn label_names(sample: &str) -> Vec<&str> {
    let labels = sample
        .split_once('{')
        .and_then(|(_, rest)| rest.rsplit_once('}'));
    let labels = labels.map_or("", |(labels, _)| labels);
    let parts = labels.split("\",").filter(|part| !part.is_empty());
    parts.map(|part| part.split_once('=').unwrap().0).collect()
}

#[test]
fn names_say_what_they_are_and_units_are_base_units() {
    let text = everything().render();
    let known: Vec<&str> = "camera transport kind reason label version model type queue output le"
        .split(' ')
        .collect();
    for (name, kind) in kinds(&text) {
        let ours = name.starts_with("sightline_") || name.starts_with("process_");
        assert!(ours, "{name}");
        assert!(
            name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
            "{name}"
        );
        assert_eq!(
            kind == "counter",
            name.ends_with("_total"),
            "{name} is a {kind}"
        );
        assert!(
            text.contains(&format!("# HELP {name} ")),
            "{name} has no help"
        );
        assert!(kind != "histogram" || name.ends_with("_seconds"), "{name}");
        for unit in ["ms", "millis", "us", "micros", "kb", "mb", "percent"] {
            assert!(!name.split('_').any(|word| word == unit), "{name}");
        }
    }
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    for sample in samples {
        assert!(
            label_names(sample).iter().all(|name| known.contains(name)),
            "{sample}"
        );
    }
}

#[test]
fn figures_stand_where_they_belong() {
    let text = everything().render();
    for line in [
        "sightline_frames_received_total{camera=\"yard\"} 7",
        "sightline_received_bytes_total{camera=\"yard\"} 70000",
        "sightline_camera_up{camera=\"yard\"} 1",
        "sightline_camera_up{camera=\"the \\\"old\\\" yard\"} 0",
        "sightline_camera_last_frame_timestamp_seconds{camera=\"yard\"} 1763820000.5",
        "sightline_frame_age_seconds_bucket{camera=\"yard\",le=\"0.05\"} 0",
        "sightline_frame_age_seconds_bucket{camera=\"yard\",le=\"0.1\"} 1",
        "sightline_frame_age_seconds_count{camera=\"yard\"} 1",
        "sightline_frames_dropped_total{reason=\"not_jpeg\"} 2",
        "sightline_frames_forwarded_total{transport=\"udp\",kind=\"annotated\"} 1",
        "sightline_frames_unsent_total{transport=\"quic\",reason=\"skipped\"} 3",
        "sightline_sent_bytes_total{transport=\"quic\"} 60000",
        "sightline_viewers{transport=\"udp\"} 2",
        "sightline_forwarding_seconds_bucket{transport=\"udp\",le=\"0.001\"} 1",
        "sightline_inference_seconds_bucket{le=\"+Inf\"} 1",
        "sightline_inferences_skipped_total{reason=\"busy\"} 9",
        "sightline_detections_total{label=\"person\"} 4",
        "sightline_kernel_reassembly_failures_total 11",
        "sightline_model_info{model=\"yolov5n\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert!(text.contains("sightline_build_info{version=\""), "{text}");
    for figure in [
        "resident_memory_bytes",
        "cpu_seconds_total",
        "start_time_seconds",
        "open_fds",
    ] {
        assert!(
            text.contains(&format!("\nprocess_{figure} ")),
            "{figure}\n{text}"
        );
    }
}

#[test]
fn a_relay_that_has_seen_nothing_has_figures_too() {
    let text = Metrics::default().render();
    assert!(text.contains("sightline_build_info") && text.contains("process_open_fds"));
    assert!(!text.contains("camera="));
}

/// What `promtool` says to this input; `None`, said as a skip, where it is not installed.
fn promtool(words: &[&str], input: &str) -> Option<(bool, String)> {
    let started = Command::new("promtool")
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut running) = started else {
        testkit::skip("promtool is not installed (scripts/setup --test)");
        return None;
    };
    running
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let done = running.wait_with_output().unwrap();
    let said = [done.stdout, done.stderr].concat();
    Some((
        done.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    ))
}

#[test]
fn promtool_finds_no_fault_with_them() {
    let text = everything().render();
    if let Some((good, said)) = promtool(&["check", "metrics"], &text) {
        assert!(good, "{said}");
        let wrong = text.replace("sightline_viewers", "sightline_viewers_total");
        assert!(
            !promtool(&["check", "metrics"], &wrong).unwrap().0,
            "it looks at all"
        );
    }
}

#[test]
fn promtool_finds_no_fault_with_the_example_for_prometheus() {
    let file = testkit::repository().join("config/prometheus.yml");
    if let Some((good, said)) = promtool(&["check", "config", file.to_str().unwrap()], "") {
        assert!(good, "{said}");
    }
}

/// The dashboard, and every query on it.
fn dashboard() -> Vec<String> {
    let file = testkit::repository().join("config/grafana.json");
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap());
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let asked = variables
        .iter()
        .filter_map(|variable| variable["query"].as_str());
    let queries = targets.map(|target| target["expr"].as_str().unwrap());
    queries.chain(asked).map(str::to_owned).collect()
}

/// The names of metrics in a query.
fn named(query: &str) -> impl Iterator<Item = &str> {
    let words = query.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("sightline_") || word.starts_with("process_"))
}

#[test]
fn each_metric_on_the_dashboard_exists_and_each_of_ours_is_on_it() {
    let text = everything().render();
    let samples: BTreeSet<&str> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split(['{', ' ']).next().unwrap())
        .collect();
    let queries = dashboard();
    let shown: BTreeSet<&str> = queries.iter().flat_map(|query| named(query)).collect();
    assert!(shown.len() > 10, "{shown:?}");
    for name in &shown {
        assert!(samples.contains(name), "the dashboard asks for {name}");
    }
    for name in kinds(&text)
        .into_keys()
        .filter(|name| name.starts_with("sightline_"))
    {
        let is_shown = shown.iter().any(|shown| shown.starts_with(name));
        assert!(is_shown, "{name} is on no panel");
    }
}

#[test]
fn promtool_understands_each_query_of_the_dashboard() {
    let filled = |query: &str| {
        let query = query.replace("$__rate_interval", "1m");
        query.replace("$camera", ".*").replace("$job", "sightline")
    };
    let queries = dashboard();
    let queries = queries
        .iter()
        .filter(|query| !query.starts_with("label_values"));
    let rules: String = queries
        .filter(|query| query.contains("sightline_") || query.contains("process_"))
        .enumerate()
        .map(|(n, query)| format!("  - record: x:{n}\n    expr: '{}'\n", filled(query)))
        .collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(
        file.path(),
        format!("groups:\n- name: x\n  rules:\n{rules}"),
    )
    .unwrap();
    if let Some((good, said)) = promtool(&["check", "rules", file.path().to_str().unwrap()], "") {
        assert!(good, "{said}");
    }
}
