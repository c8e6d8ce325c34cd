//! Events in any order for the relay's decisions, and what holds whatever they are. The fuzz target checks it, and
//! `relay-core/tests/corpus.rs` does for each committed file.

mod actions;
mod input;

use std::collections::{HashSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use protocol::control::{Control, Question};
use protocol::label::{Label, StreamId};
use protocol::peer::{Cookie, Proof, Standing};
use protocol::quic::{MAX_CAMERAS, Refusal, SenderInfo};
use protocol::transport::Transport;
use relay_core::{
    Action, AnnotationJob, CameraFrame, CookieSecret, Forward, Inference, Publication, Publisher,
    Relay, SenderId, SubscriberId, TrackedFrame, TrackerState,
};

use self::input::{Input, found, grey, keep, label, person, picture, settings};

const MS: Duration = Duration::from_millis(1);
/// Host of the honest camera, which no other peer has.
const HONEST: u8 = 1;
const HONEST_CAMERA: &str = "yard";
const HONEST_STREAM: StreamId = StreamId(7);
/// Most hosts of the other peers. Each may hold one camera's slot before the honest camera may lose its own to a host that
/// holds none: with fewer than there are slots that never happens.
const HOSTS: u8 = 16;
/// Most events of one input, so that long inputs end.
const MAX_EVENTS: usize = 512;
/// Most actions that one event may cause: each lease ends, each camera's held frame leaves, and some for the event itself.
const MAX_ACTIONS: usize = 16 * MAX_CAMERAS;
/// Answers that are kept to be given again, when they are out of date.
const KEPT: usize = 4;

/// Gives events to a relay. The first three bytes are its settings; then each event is a byte for its kind, and what that
/// kind takes.
pub fn relay_core(bytes: &[u8], start: Instant) {
    let mut input = Input(bytes);
    let mut world = World::new(&mut input, start);
    for _ in 0..MAX_EVENTS {
        if input.0.is_empty() {
            break;
        }
        world.event(&mut input);
    }
    world.check_recovery();
}

/// The relay, what it was given, and what it gave out.
struct World {
    relay: Relay,
    now: Instant,
    capacity: usize,
    batch: usize,
    private: bool,
    honest: Publisher,
    honest_seq: u64,
    senders: Vec<Publisher>,
    next_sender: u64,
    subscribers: HashSet<u64>,
    /// UDP viewers whose sockets are open.
    open: HashSet<SocketAddr>,
    /// What each thread works on.
    inferring: Vec<CameraFrame>,
    tracking: Option<CameraFrame>,
    drawing: Option<AnnotationJob>,
    /// Frames and jobs of before.
    old_frames: VecDeque<CameraFrame>,
    old_jobs: VecDeque<AnnotationJob>,
    /// Cookies that the relay sent to other peers.
    cookies: VecDeque<Cookie>,
    model_alive: bool,
    /// What the last event published, replies in bytes, and the frames among them that are the honest camera's.
    published: Vec<Publication>,
    replied: usize,
}

impl World {
    fn new(input: &mut Input<'_>, start: Instant) -> Self {
        let rules = settings(input);
        let honest = Publisher {
            id: SenderId(0),
            address: SocketAddr::from(([192, 0, 2, HONEST], 1)),
            standing: Standing::Validated,
            camera: HONEST_CAMERA.parse().expect("it is a name"),
            stream: Some(HONEST_STREAM),
            transport: Transport::Quic,
        };
        let mut world = Self {
            now: start,
            capacity: rules.udp_viewers,
            batch: rules.batch,
            private: rules.private,
            model_alive: rules.every.is_some(),
            relay: Relay::new(rules, CookieSecret::new([7; 32], [8; 32]), start),
            honest,
            honest_seq: 0,
            senders: Vec::new(),
            next_sender: 0,
            subscribers: HashSet::new(),
            open: HashSet::new(),
            inferring: Vec::new(),
            tracking: None,
            drawing: None,
            old_frames: VecDeque::new(),
            old_jobs: VecDeque::new(),
            cookies: VecDeque::new(),
            published: Vec::new(),
            replied: 0,
        };
        let accepted = world
            .relay
            .on_publish_request(&world.honest, &Proof::default(), start);
        assert!(accepted.is_ok(), "the first camera is let in");
        world.honest_frame();
        world
    }

    fn event(&mut self, input: &mut Input<'_>) {
        match input.byte() % 20 {
            0 | 1 => self.raw_datagram(input),
            2 | 3 => self.control(input),
            4..=6 => self.labelled_datagram(input),
            7 => self.connect(input),
            8 | 9 => self.publish(input),
            10 => self.sender_event(input),
            11 => self.viewer_event(input),
            12 => self.subscriber_event(input),
            13 => self.infer(input),
            14 => self.track(input),
            15 => self.draw(input),
            16 if input.byte() == 0 => {
                self.model_alive = false;
                self.inferring.clear();
                self.relay.on_model_died(self.now);
            }
            17 => self.old_answer(input),
            _ => self.pass(MS * u32::from(input.byte()).pow(2)),
        }
        self.settle();
    }

    fn datagram(&mut self, from: SocketAddr, bytes: &[u8]) {
        let bytes = bytes.to_vec();
        let length = bytes.len();
        self.relay.on_datagram(from, bytes.into(), 5, self.now);
        self.settle();
        assert!(self.replied <= length, "{} for {length}", self.replied);
    }

    fn raw_datagram(&mut self, input: &mut Input<'_>) {
        let from = input.address();
        self.datagram(from, input.bytes());
    }

    fn control(&mut self, input: &mut Input<'_>) {
        let from = input.address();
        let kind = input.byte();
        let cookie = input.cookie(&self.cookies);
        let question = Question::new(u64::from(kind), cookie);
        match kind % 5 {
            0 => self.datagram(from, b"Request"),
            1 | 2 => self.datagram(from, &Control::Hello(question).write()),
            3 => self.datagram(from, &Control::Probe(question).write()),
            _ => self.datagram(from, &Control::Refused(Refusal::Taken).write()),
        }
    }

    fn labelled_datagram(&mut self, input: &mut Input<'_>) {
        let (from, picture) = (input.address(), picture(input));
        match input.byte() % 4 {
            0 => self.datagram(from, &picture),
            _ => {
                let label = label(input.camera(), input);
                self.datagram(from, &label.write(&picture));
            }
        }
    }

    fn connect(&mut self, input: &mut Input<'_>) {
        let proof = (0..2).filter_map(|_| input.cookie(&self.cookies)).collect();
        self.next_sender += 1;
        let publisher = Publisher {
            id: SenderId(self.next_sender),
            address: input.address(),
            standing: Standing::Validated,
            camera: input.camera(),
            stream: Some(StreamId(u64::from(input.byte()))),
            transport: Transport::Quic,
        };
        let now = self.now;
        if let Ok(proof) = self.relay.on_publish_request(&publisher, &proof, now) {
            let cookies = proof.cookies().iter();
            cookies.for_each(|cookie| keep(&mut self.cookies, *cookie));
            self.senders.push(publisher);
        }
    }

    fn sender(&self, input: &mut Input<'_>) -> Option<usize> {
        let sender = usize::from(input.byte());
        (!self.senders.is_empty()).then(|| sender % self.senders.len())
    }

    fn publish(&mut self, input: &mut Input<'_>) {
        let Some(sender) = self.sender(input) else {
            return;
        };
        let publisher = self.senders[sender].clone();
        let bytes = match input.byte() % 4 {
            0 => input.bytes().to_vec(),
            1 => picture(input),
            2 => label(input.camera(), input).write(&picture(input)),
            _ => label(publisher.camera.clone(), input).write(&picture(input)),
        };
        self.relay.on_frame(&publisher, bytes.into(), 5, self.now);
    }

    fn sender_event(&mut self, input: &mut Input<'_>) {
        let Some(sender) = self.sender(input) else {
            return;
        };
        let id = self.senders[sender].id;
        match input.byte() % 2 {
            0 => self.relay.on_sender_info(id, SenderInfo::default()),
            _ => {
                self.senders.remove(sender);
                self.relay.on_sender_left(id, true);
            }
        }
    }

    fn viewer_event(&mut self, input: &mut Input<'_>) {
        let viewer = input.address();
        match input.byte() % 3 {
            0 => self.relay.on_refused(viewer, self.now),
            1 => self.relay.on_unreachable(viewer),
            _ => self.relay.restore_leases([viewer], self.now),
        }
    }

    fn subscriber_event(&mut self, input: &mut Input<'_>) {
        let number = u64::from(input.byte() % 8);
        let id = SubscriberId(number);
        match input.byte() % 4 {
            0 => {
                self.subscribers.remove(&number);
                self.relay.unsubscribe(id);
            }
            1 => self.relay.request_annotated(id),
            kind => {
                let camera = (kind == 2).then(|| input.camera());
                self.subscribers.insert(number);
                self.relay.subscribe(id, camera);
            }
        }
    }

    fn infer(&mut self, input: &mut Input<'_>) {
        let frames = std::mem::take(&mut self.inferring);
        if frames.is_empty() {
            return;
        }
        self.pass_quietly(input);
        let answer = |frame: CameraFrame| Inference {
            found: found(input, &frame),
            frame,
        };
        let answers: Vec<_> = frames.into_iter().map(answer).collect();
        for answer in &answers {
            keep(&mut self.old_frames, answer.frame.clone());
        }
        self.relay.on_inferred(answers, self.now);
    }

    fn track(&mut self, input: &mut Input<'_>) {
        let Some(frame) = self.tracking.take() else {
            return;
        };
        keep(&mut self.old_frames, frame.clone());
        match input.byte() % 8 {
            0 => self.relay.on_tracker_free(self.now),
            kind => {
                let detections = if kind == 1 { Vec::new() } else { person() };
                let tracked = TrackedFrame {
                    frame,
                    detections,
                    tracker: TrackerState::default(),
                };
                self.relay.on_tracked(tracked, self.now);
            }
        }
    }

    fn draw(&mut self, input: &mut Input<'_>) {
        let Some(job) = self.drawing.take() else {
            return;
        };
        keep(&mut self.old_jobs, job.clone());
        match input.byte() % 8 {
            0 => self.relay.on_annotation_free(self.now),
            1 => self.relay.on_annotated(&job, None, self.now),
            _ => {
                let jpeg = job.frame.jpeg().clone();
                self.relay.on_annotated(&job, Some(jpeg), self.now);
            }
        }
    }

    /// Gives an answer for a frame that was answered before, as a thread never does: only its content is wrong.
    fn old_answer(&mut self, input: &mut Input<'_>) {
        let which = usize::from(input.byte()) % KEPT;
        let idle = self.inferring.is_empty() && self.tracking.is_none() && self.drawing.is_none();
        if !idle {
            return;
        }
        if let Some(job) = self.old_jobs.get(which) {
            self.relay.on_annotated(&job.clone(), None, self.now);
        }
        self.settle();
        let Some(frame) = self.old_frames.get(which).cloned() else {
            return;
        };
        if self.inferring.is_empty() && self.model_alive {
            let found = found(input, &frame);
            let frame = frame.clone();
            self.relay
                .on_inferred(vec![Inference { frame, found }], self.now);
            self.settle();
        }
        if self.tracking.is_none() {
            let detections = person();
            let tracked = TrackedFrame {
                frame,
                detections,
                tracker: TrackerState::default(),
            };
            self.relay.on_tracked(tracked, self.now);
        }
    }

    /// Lets time pass in which the shell is busy and ticks late.
    fn pass_quietly(&mut self, input: &mut Input<'_>) {
        self.now += MS * u32::from(input.byte());
    }

    /// Lets time pass; the honest camera sends at its end, and at 10 frames a second at most on the way.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        let frames = time.as_millis().min(1000) / 100;
        for step in 1..=frames {
            self.tick(end - (time / 1000 * (1000 - 100 * step as u32)).min(time));
            self.honest_frame();
        }
        self.tick(end);
        self.honest_frame();
        self.check_cameras();
    }

    fn tick(&mut self, end: Instant) {
        while let Some(at) = self.relay.deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.relay.tick(self.now);
            self.settle();
            let next = self.relay.deadline();
            assert!(
                next.is_none_or(|next| next > self.now),
                "it ticks without end"
            );
        }
        self.now = self.now.max(end);
    }

    /// The honest camera sends a frame: it is published at once and in order, and nothing else is.
    fn honest_frame(&mut self) {
        self.settle();
        self.published.clear();
        self.honest_seq += 1;
        let label = Label {
            stream: HONEST_STREAM,
            seq: self.honest_seq,
            captured_us: self.honest_seq,
            camera: self.honest.camera.clone(),
        };
        let jpeg = label.write(&grey(48, 32));
        self.relay
            .on_frame(&self.honest, jpeg.clone().into(), 5, self.now);
        self.drain();
        let [published] = &self.published[..] else {
            panic!("{} frames for the honest one", self.published.len());
        };
        assert_eq!(published.frame.jpeg()[..], jpeg[..]);
        assert!(!published.reordered);
        self.published.clear();
    }

    /// Does what the relay decided, and checks what other peers published.
    fn settle(&mut self) {
        self.replied = 0;
        self.drain();
        for published in self.published.drain(..) {
            let name = published.frame.label.camera.as_str();
            assert_ne!(name, HONEST_CAMERA, "another sender's frame");
        }
        let [viewers, subscribers] = self.relay.viewers();
        assert!(viewers <= self.capacity && self.open.len() == viewers);
        assert_eq!(subscribers, self.subscribers.len());
        assert!(self.relay.counts().dropped.len() <= 32);
    }

    fn check_cameras(&self) {
        let cameras = self.relay.cameras(self.now);
        assert!(cameras.len() <= MAX_CAMERAS);
        let names: HashSet<_> = cameras.iter().map(|camera| &camera.name).collect();
        assert_eq!(names.len(), cameras.len(), "one camera a name");
    }

    fn drain(&mut self) {
        let mut actions = 0;
        while let Some(action) = self.relay.next_action() {
            actions += 1;
            assert!(actions <= MAX_ACTIONS, "they never end");
            self.act(action);
        }
    }

    /// When the others have fallen silent, a sender by UDP that comes is let in, and the threads have nothing left to do.
    fn check_recovery(&mut self) {
        for sender in std::mem::take(&mut self.senders) {
            self.relay.on_sender_left(sender.id, false);
        }
        // A minute between two frames is the slowest rhythm that reserves a name, for three of them.
        for _ in 0..19 {
            self.tick(self.now + Duration::from_secs(10));
            self.honest_frame();
        }
        self.check_cameras();
        if !self.private {
            let from = SocketAddr::from(([198, 51, 100, 1], 1));
            let label = Label {
                stream: StreamId(9),
                seq: 1,
                captured_us: 1,
                camera: "own1".parse().expect("it is a name"),
            };
            let before = self.relay.counts().received;
            self.relay
                .on_datagram(from, label.write(&grey(8, 8)).into(), 5, self.now);
            self.settle();
            assert_eq!(self.relay.counts().received, before + 1, "it is let in");
        }
        let mut input = Input(&[]);
        for _ in 0..8 * MAX_CAMERAS {
            self.infer(&mut input);
            self.track(&mut Input(&[2]));
            self.draw(&mut Input(&[2]));
            self.settle();
        }
        assert!(self.inferring.is_empty() && self.tracking.is_none() && self.drawing.is_none());
    }
}
