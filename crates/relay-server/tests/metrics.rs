//! The relay's figures as an operator's Prometheus meets them: from the loop that counts, by name and unit, and on the
//! dashboard.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Parser as _;
use platform::service::ServiceManager;
use protocol::control::{Control, Question};
use protocol::detections::Detection;
use protocol::detections::Found;
use protocol::geometry::Size;
use protocol::label::{Label, StreamId};
use protocol::peer::{Proof, Standing};
use protocol::quic::SenderInfo;
use protocol::transport::Transport;
use quic::endpoint::PacketFilter;
use quic::receive::Held;
use relay_core::limits::EVENT_QUEUE;
use relay_core::{
    CameraFrame, CookieSecret, Inference, Overlay, Publisher, Relay, RelaySettings, SenderId,
    SubscriberId,
};
use relay_server::access::Access;
use relay_server::args::Args;
use relay_server::egress::EgressByTransport;
use relay_server::event::{Completion, Event, Ingress, PublishRequest, Query};
use relay_server::events::{self, EventCounts};
use relay_server::fanout::Fanout;
use relay_server::metrics::distribution::{BucketHistogram, FORWARDING, INFERENCE};
use relay_server::metrics::tally::{CameraMetrics, Tally};
use relay_server::metrics::{Metrics, TransportMetrics};
use relay_server::outputs::Outputs;
use relay_server::outputs::events::EventOutputs;
use relay_server::relay_loop::{LoopStats, RelayLoop};
use relay_server::reload;
use relay_server::threads::{Worker, annotation, tracking};
use relay_server::transport::port::SharedUdpSocket;
use relay_server::transport::udp::UdpTransport;
use serde_json::Value;
use testkit::jpeg::Sketch;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

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
    let known: Vec<&str> = "camera transport kind reason label version model type queue le"
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

/// A relay whose model finds one person on each frame, and the way to its loop. Call it inside a tokio runtime.
fn relay(stop: CancellationToken) -> (mpsc::Sender<Event>, EgressByTransport, SocketAddr) {
    let (events_tx, events) = mpsc::channel(EVENT_QUEUE);
    let (access, _) = Access::open(None, false, false).unwrap();
    let here = "127.0.0.1:0".parse().unwrap();
    let port = SharedUdpSocket::open(here, PacketFilter::new(&access.identity), events_tx.clone())
        .unwrap();
    let local = port.local();
    let settings = reload::watch(
        &Args::parse_from(["relay-server"]),
        Arc::default(),
        ServiceManager::default(),
    )
    .unwrap();
    let egress = EgressByTransport {
        udp: Arc::default(),
        quic: Arc::default(),
        http: None,
    };
    let mut relay_loop = RelayLoop {
        relay: Relay::new(rules(), CookieSecret::new([7; 32], [8; 32]), Instant::now()),
        senders: HashMap::new(),
        udp: UdpTransport::new(Arc::new(port), events_tx.clone()),
        fanout: Fanout::default(),
        egress: egress.clone(),
        model: Some(model(events_tx.clone())),
        model_died: false,
        tracking: tracking::start(settings.clone(), events_tx.clone()).unwrap(),
        annotation: annotation::start(events_tx.clone()).unwrap(),
        outputs: Outputs::default(),
        events: events::start(settings.clone(), Arc::default(), EventOutputs::default()).unwrap(),
        settings,
        leases: None,
        stats: LoopStats::new("test".to_owned()),
        service: ServiceManager::default(),
    };
    let (_, datagrams) = mpsc::channel(1);
    tokio::spawn(async move { relay_loop.run(events, datagrams, stop).await });
    (events_tx, egress, local)
}

fn rules() -> RelaySettings {
    RelaySettings {
        every: Some("2".parse().unwrap()),
        batch: 1,
        model_rest_factor: 0.0,
        overlay: Overlay::EveryNth,
        output_reads_detections: true,
        model: "test".to_owned(),
        demo: false,
        udp_viewers: 4,
        udp_egress: 20_000_000,
        private: false,
        stream: StreamId(1),
    }
}

fn model(events: mpsc::Sender<Event>) -> Worker<Vec<CameraFrame>> {
    let person = Detection {
        id: None,
        class: 0,
        label: "person".to_owned(),
        score: 0.9,
        fading: false,
        bbox: [0.1, 0.1, 0.5, 0.5].into(),
    };
    let found = Found {
        size: Size {
            width: 300,
            height: 200,
        },
        took: 12 * MS,
        detections: vec![person],
    };
    let infer = move |frame: CameraFrame| Inference {
        frame,
        found: Some(found.clone()),
    };
    let work = move |batches: std::sync::mpsc::Receiver<Vec<CameraFrame>>| {
        for frames in batches {
            let inferred = Completion::Inferred(frames.into_iter().map(&infer).collect());
            events.blocking_send(inferred.into()).unwrap();
        }
    };
    Worker::start("model", 1, work).unwrap()
}

fn frame(camera: &str, seq: u64) -> Bytes {
    let label = Label {
        stream: StreamId(7),
        seq,
        captured_us: platform::clock::unix_micros(),
        camera: camera.parse().unwrap(),
    };
    label.write(&Sketch::new(300, 200).bytes()).into()
}

async fn metrics(events: &mpsc::Sender<Event>) -> Metrics {
    let (reply, metrics) = oneshot::channel();
    events.send(Query::Metrics(reply).into()).await.unwrap();
    metrics.await.unwrap().complete()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_loop_counts_what_comes_and_goes() {
    let stop = CancellationToken::new();
    let (events, egress, local) = relay(stop.clone());
    let viewer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let from = viewer.local_addr().unwrap();
    let hello = Control::Hello(Question::new(1, None)).write();
    let send = |event: Event| async { events.send(event).await.unwrap() };
    send(Ingress::Datagram(from, hello.into()).into()).await;
    let (reply, _feed) = oneshot::channel();
    send(Query::Subscribe(SubscriberId(1), None, reply).into()).await;
    egress.quic.on_joined();
    let camera: SocketAddr = "127.0.0.1:9".parse().unwrap();
    let mut bytes = 0;
    for seq in 1..=4 {
        let jpeg = frame("yard", seq);
        bytes += jpeg.len() as u64;
        send(Ingress::Datagram(camera, jpeg).into()).await;
        tokio::time::sleep(100 * MS).await;
    }
    let junk = Bytes::from_static(b"junk");
    send(Ingress::Datagram(camera, junk).into()).await;
    let publisher = Arc::new(Publisher {
        id: SenderId(1),
        address: "127.0.0.1:10".parse().unwrap(),
        standing: Standing::Validated,
        camera: "drive".parse().unwrap(),
        stream: None,
        transport: Transport::Quic,
    });
    let (reply, accepted) = oneshot::channel();
    let (refused, _refusal) = oneshot::channel();
    let request = PublishRequest {
        publisher: publisher.clone(),
        proof: Proof::default(),
        reply,
        refused,
    };
    send(Ingress::PublishRequest(request).into()).await;
    assert!(accepted.await.unwrap().is_ok());
    let info = SenderInfo {
        offset_us: Some(5),
        ..SenderInfo::default()
    };
    send(Ingress::FrameReceived(publisher, frame("drive", 1), Held::default()).into()).await;
    send(Ingress::SenderInfo(SenderId(1), info).into()).await;
    let found = metrics(&events).await;
    let yard = &found.tally.cameras["yard"];
    assert_eq!((yard.frames, yard.bytes, yard.age.count()), (4, bytes, 4));
    assert!(yard.last_us > 1_763_820_000_000_000);
    assert_eq!(found.live, ["yard", "drive"]);
    assert_eq!(
        found.tally.cameras["drive"].offset_us,
        Some(5),
        "by its sender"
    );
    assert_eq!(found.dropped["not_jpeg"], 1);
    assert_eq!(found.tally.detections["person"], 2);
    assert_eq!(found.inference.count(), 2);
    assert!((found.inference.sum() - 0.024).abs() < 1e-3);
    let [udp, quic] = &found.transports[..] else {
        panic!("two transports: {:?}", found.transports);
    };
    assert_eq!((udp.name, udp.viewers), ("udp", 1));
    assert_eq!((quic.name, quic.viewers), ("quic", 1));
    assert_eq!(udp.forwarded, [("passthrough", 2), ("annotated", 2)]);
    assert!(udp.bytes > bytes / 2, "{udp:?}");
    assert_eq!(udp.forwarding.count(), 2);
    let text = found.render();
    for address in [from, camera, local] {
        assert!(!text.contains(&address.to_string()), "an address: {text}");
    }
    assert!(!text.contains("127.0.0.1"), "{text}");
    stop.cancel();
}
