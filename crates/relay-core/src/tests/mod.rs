//! The relay's rules, each by name, in virtual time.

mod attack;
mod cameras;
mod circulation;
mod fairness;
mod hold;
mod leases;
mod model;
mod ownership;
mod posts;
mod quic;
mod reduced;
mod tracks;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use protocol::control::{Control, LeaseVerdict, Question};
use protocol::datagram::Foreign;
use protocol::detections::{Detection, Found};
use protocol::frame::Frame;
use protocol::geometry::Size;
use protocol::label::{CameraName, Label, StreamId};
use protocol::peer::{Cookie, Proof, Standing};
use protocol::quic::Refusal;
use protocol::transport::Transport;
use testkit::jpeg::Sketch;

use protocol::every::Every;

use super::*;

const MS: Duration = Duration::from_millis(1);

fn address(host: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, host], port))
}

const VIEWER: u8 = 200;

fn viewer(n: u16) -> SocketAddr {
    address(VIEWER, n)
}

fn rules() -> RelaySettings {
    RelaySettings {
        every: Some("4".parse().unwrap()),
        batch: 1,
        model_rest_factor: 0.0,
        overlay: Overlay::EveryNth,
        output_reads_detections: false,
        model: "test".to_owned(),
        demo: false,
        udp_viewers: 4,
        udp_egress: 20_000_000,
        private: false,
        stream: StreamId(0xBEE),
    }
}

/// A frame whose bytes tell its number, hardly larger than the largest control message: a real one's tables alone are.
fn plain(n: u64) -> Bytes {
    Sketch::new(300, 200)
        .segment(0xFE, &n.to_be_bytes())
        .segment(0xFE, &[0; 64])
        .bytes()
        .into()
}

fn labelled(camera: &str, stream: u64, seq: u64) -> Bytes {
    let label = Label {
        stream: StreamId(stream),
        seq,
        captured_us: seq.wrapping_mul(1_000_000),
        camera: camera.parse().unwrap(),
    };
    label.write(&plain(seq)).into()
}

/// The frame number `count` of a camera; the same each time.
pub(crate) fn camera_frame(count: u64) -> CameraFrame {
    static START: OnceLock<Instant> = OnceLock::new();
    let jpeg = labelled("yard", 1, count);
    let label = Label::read(&jpeg).unwrap();
    let frame = Frame {
        jpeg,
        size: Size {
            width: 300,
            height: 200,
        },
        label: label.clone(),
    };
    CameraFrame {
        camera: CameraId(0),
        count,
        frame,
        label: label.unwrap(),
        received_at: *START.get_or_init(testkit::time::start),
        transport: Transport::Udp,
        payer: Payer::default(),
    }
}

pub(crate) fn person() -> Vec<Detection> {
    vec![Detection {
        id: None,
        class: 0,
        label: "person".to_owned(),
        score: 0.9,
        fading: false,
        bbox: [0.1, 0.1, 0.5, 0.5].into(),
    }]
}

/// A relay in virtual time. Whatever is drawn gets a name that tells on what and whose boxes.
struct Scene {
    relay: Relay,
    /// The open connections of senders, by address and camera.
    senders: BTreeMap<(SocketAddr, CameraName), Publisher>,
    next_sender: u64,
    now: Instant,
    sent: Vec<Bytes>,
    /// The same, with their viewers.
    forwards: Vec<Forward>,
    jobs: Vec<CameraFrame>,
    annotations: Vec<AnnotationJob>,
    published: Vec<Publication>,
    /// For screens that want boxes in the picture.
    annotated: Vec<Publication>,
    live: Vec<Vec<CameraName>>,
    /// What the tracker is sent.
    tracks: Vec<Action>,
    /// Whether the threads that track and draw take the next job only when they have answered the last; else at once.
    threads_are_busy: bool,
    other: Vec<Action>,
}

impl Scene {
    fn new(rules: RelaySettings) -> Self {
        let now = testkit::time::start();
        Self {
            relay: Relay::new(rules, CookieSecret::new([7; 32], [8; 32]), now),
            senders: BTreeMap::new(),
            next_sender: 0,
            now,
            sent: Vec::new(),
            forwards: Vec::new(),
            jobs: Vec::new(),
            annotations: Vec::new(),
            published: Vec::new(),
            annotated: Vec::new(),
            live: Vec::new(),
            tracks: Vec::new(),
            threads_are_busy: false,
            other: Vec::new(),
        }
    }

    fn watched(rules: RelaySettings) -> Self {
        let mut scene = Self::new(rules);
        scene.request(viewer(1));
        scene.other.clear();
        scene
    }

    fn datagram(&mut self, from: SocketAddr, bytes: impl Into<Bytes>) {
        self.relay
            .on_datagram(from, bytes.into(), 5_000_000, self.now);
        self.act();
    }

    fn request(&mut self, viewer: SocketAddr) {
        self.datagram(viewer, &b"Request"[..]);
    }

    /// A hello of a viewer that has no cookie yet.
    fn hello(&mut self, viewer: SocketAddr) {
        let hello = Control::Hello(Question::new(7, None));
        self.datagram(viewer, hello.write());
    }

    /// A hello with the cookie that the relay sent to that address.
    fn proved_hello(&mut self, viewer: SocketAddr) {
        let hello = Control::Hello(self.proved(viewer));
        self.datagram(viewer, hello.write());
    }

    fn proved(&self, address: SocketAddr) -> Question {
        Question::new(7, Some(self.relay.cameras.of_address(address)))
    }

    /// The relay starts again: all connections and what it knew of its peers are gone.
    fn restart(&mut self) {
        let rules = self.relay.rules.clone();
        self.relay = Relay::new(rules, CookieSecret::new([9; 32], [8; 32]), self.now);
        self.senders.clear();
    }

    /// Connects a sender; the connection takes the place of one from the same address.
    fn connect(
        &mut self,
        from: SocketAddr,
        camera: &str,
        stream: u64,
        proof: impl IntoIterator<Item = Cookie>,
    ) -> Result<Proof, Refusal> {
        let camera: CameraName = camera.parse().unwrap();
        self.next_sender += 1;
        let publisher = Publisher {
            id: SenderId(self.next_sender),
            address: from,
            standing: Standing::Validated,
            camera: camera.clone(),
            stream: Some(StreamId(stream)),
            transport: Transport::Quic,
        };
        let proof = proof.into_iter().collect();
        let proof = self
            .relay
            .on_publish_request(&publisher, &proof, self.now)?;
        self.senders.insert((from, camera), publisher);
        self.act();
        Ok(proof)
    }

    /// The connections from this address are lost.
    fn disconnect(&mut self, from: SocketAddr) {
        self.end_connections(from, false);
    }

    /// Ends the connections from this address: their senders close them, or they are lost.
    fn end_connections(&mut self, from: SocketAddr, closed: bool) {
        for sender in self
            .senders
            .extract_if(.., |(address, _), _| *address == from)
        {
            self.relay.on_sender_left(sender.1.id, closed);
        }
        self.act();
    }

    /// A frame by QUIC of a sender, which connects first if it has not yet.
    fn sent_as(&mut self, camera: &str, from: SocketAddr, bytes: impl Into<Bytes>) {
        let key = (from, camera.parse::<CameraName>().unwrap());
        if !self.senders.contains_key(&key) {
            self.connect(from, camera, 7, None).unwrap();
        }
        let publisher = self.senders[&key].clone();
        self.relay
            .on_frame(&publisher, bytes.into(), 5_000_000, self.now);
        self.act();
    }

    /// A frame that a host posts by HTTP.
    fn posted(&mut self, camera: &str, host: u8, bytes: impl Into<Bytes>) -> FrameVerdict {
        let poster = Poster {
            address: address(host, 1).ip(),
            standing: Standing::Validated,
            camera: camera.parse().unwrap(),
        };
        let verdict = self
            .relay
            .on_posted_frame(&poster, bytes.into(), 5_000_000, self.now);
        self.act();
        verdict
    }

    /// The frames `range` of an unlabelled camera, 100 ms apart.
    fn frames(&mut self, range: std::ops::RangeInclusive<u64>) {
        for n in range {
            self.datagram(address(1, 1000), plain(n));
            self.pass(100 * MS);
        }
    }

    fn verdicts(&self) -> Vec<LeaseVerdict> {
        let verdict = |action: &Action| match action {
            Action::Reply(_, Control::Accept { verdict, .. }) => Some(*verdict),
            _ => None,
        };
        self.other.iter().filter_map(verdict).collect()
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.relay.deadline().filter(|&at| at <= end) {
            self.now = self.now.max(at);
            self.relay.tick(self.now);
            self.act();
        }
        self.now = end;
    }

    fn answer(&mut self, job: &CameraFrame, detections: Vec<Detection>) {
        let found = Found {
            size: Size {
                width: 300,
                height: 200,
            },
            took: 40 * MS,
            detections,
        };
        let answer = Inference {
            frame: job.clone(),
            found: Some(found),
        };
        self.relay.on_inferred(vec![answer], self.now);
        self.act();
    }

    /// The model answers its latest job with one person.
    fn answer_last(&mut self) {
        let job = self.jobs.last().unwrap().clone();
        self.answer(&job, person());
    }

    fn annotate(&mut self, annotate: &AnnotationJob) {
        self.relay.on_annotated(
            annotate,
            Some(with_boxes(annotate.frame.count, annotate.is_own())),
            self.now,
        );
        self.act();
    }

    fn annotate_last(&mut self) {
        let annotate = self.annotations.last().unwrap().clone();
        self.annotate(&annotate);
    }

    fn act(&mut self) {
        while let Some(action) = self.relay.next_action() {
            match action {
                Action::Forward(forward) => {
                    self.sent.push(forward.jpeg.clone());
                    self.forwards.push(forward);
                }
                Action::Infer(jobs) => self.jobs.extend(jobs),
                Action::Annotate(annotate) => {
                    self.annotations.push(annotate);
                    if !self.threads_are_busy {
                        self.relay.annotation.finish(self.now);
                    }
                }
                Action::Publish(frame) => self.published.push(frame),
                Action::PublishAnnotated(frame) => self.annotated.push(frame),
                Action::PublishLive(live) => self.live.push(live),
                Action::Track(_) | Action::UpdateTracker(..) | Action::ResetTracker(_) => {
                    if matches!(action, Action::Track(_)) && !self.threads_are_busy {
                        self.relay.tracking.on_tracked(self.now);
                    }
                    self.tracks.push(action);
                }
                other => self.other.push(other),
            }
        }
    }
}

impl AnnotationJob {
    fn is_own(&self) -> bool {
        self.held != Some(BoxesOf::Older)
    }
}

fn with_boxes(count: u64, own: bool) -> Bytes {
    format!(
        "frame {count} with {} boxes",
        if own { "its own" } else { "older" }
    )
    .into()
}
