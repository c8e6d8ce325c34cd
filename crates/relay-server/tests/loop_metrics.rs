//! What the relay's loop counts.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
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
use relay_server::events::{self};
use relay_server::fanout::Fanout;
use relay_server::metrics::Metrics;
use relay_server::outputs::Outputs;
use relay_server::outputs::events::EventOutputs;
use relay_server::relay_loop::{LoopStats, RelayLoop};
use relay_server::reload;
use relay_server::threads::{Worker, annotation, tracking};
use relay_server::transport::port::SharedUdpSocket;
use relay_server::transport::udp::UdpTransport;
use testkit::jpeg::Sketch;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

const MS: Duration = Duration::from_millis(1);

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
