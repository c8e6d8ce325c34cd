//! The test of the rules against hostile peers in one sentence: an honest QUIC camera's frames reach an honest QUIC viewer,
//! on time, whatever hostile peers do.
//!
//! The attacker reads every byte that a viewer sees, sends datagrams from any address, the honest peers' own included, and
//! opens connections from several hosts, while time passes.

mod acts;

use protocol::lease::{LeaseRequest, Renewal};

use self::acts::{Act, Name, Payload, Shown, acts};
use super::*;

/// Hosts of the honest peers.
const CAMERA: u8 = 1;
const UDP_CAMERA: u8 = 2;
const VIEWER_OF_OURS: u8 = 3;
const TUTORIAL_VIEWER: u8 = 4;
/// The first of the attacker's own hosts.
const ATTACKER: u8 = 100;
/// Number of those hosts.
const HOSTS: u8 = 6;

/// The honest cameras' streams; the attacker reads both in the labels.
const STREAM: u64 = 7;
const UDP_STREAM: u64 = 8;
const FRAME_INTERVAL: Duration = Duration::from_millis(100);

/// The relay, the honest peers and the attacker.
struct World {
    scene: Scene,
    /// Number of the honest camera's last frame, and of the honest UDP camera's.
    seq: [u64; 2],
    next_frame: Instant,
    renewal: Renewal,
    cookie: Option<Cookie>,
    /// The honest camera's.
    proof: Proof,
    /// The attacker's.
    own_proof: Proof,
    subscribers: u64,
    away_until: Instant,
    /// Whether the attacker watches by an address of its own, or filled the table of leases before our viewer was back: either
    /// may cost a tutorial viewer its lease.
    lease_may_be_lost: bool,
    started: Instant,
}

impl World {
    fn new() -> Self {
        let mut scene = Scene::new(rules());
        let proof = scene
            .connect(address(CAMERA, 1), "yard", STREAM, None)
            .unwrap();
        scene
            .relay
            .subscribe(SubscriberId(0), Some("yard".parse().unwrap()));
        scene.request(address(TUTORIAL_VIEWER, 1));
        let now = scene.now;
        let mut world = Self {
            scene,
            seq: [0; 2],
            next_frame: now,
            renewal: Renewal::default(),
            cookie: None,
            proof,
            own_proof: Proof::default(),
            subscribers: 0,
            away_until: now,
            lease_may_be_lost: false,
            started: now,
        };
        world.pass(500, true);
        world
    }

    /// Lets time pass; the honest peers go on, the camera perhaps not.
    fn pass(&mut self, ms: u32, camera_sends: bool) {
        let end = self.scene.now + MS * ms;
        while self.next_frame <= end {
            let step = self.next_frame - self.scene.now;
            self.scene.pass(step);
            self.next_frame += FRAME_INTERVAL;
            self.renew();
            if camera_sends {
                self.honest_frame();
            }
            self.honest_datagram();
        }
        let rest = end - self.scene.now;
        self.scene.pass(rest);
        self.settle();
    }

    /// The honest camera sends a frame: it is published at once, and nothing else is under that name.
    fn honest_frame(&mut self) {
        self.seq[0] += 1;
        self.settle();
        let frame = labelled("yard", STREAM, self.seq[0]);
        self.scene
            .sent_as("yard", address(CAMERA, 1), frame.clone());
        let published: Vec<_> = self.scene.published.drain(..).collect();
        assert_eq!(published.len(), 1, "frame {} is published", self.seq[0]);
        assert_eq!(*published[0].frame.jpeg(), frame);
        assert!(!published[0].reordered);
    }

    /// The honest UDP camera sends a frame. Returns whether it was published.
    fn honest_datagram(&mut self) -> bool {
        self.seq[1] += 1;
        self.settle();
        let frame = labelled("porch", UDP_STREAM, self.seq[1]);
        self.scene.datagram(address(UDP_CAMERA, 1), frame.clone());
        let published = self.scene.published.pop();
        published.is_some_and(|published| *published.frame.jpeg() == frame)
    }

    /// What the attacker published is not the honest camera's.
    fn settle(&mut self) {
        for published in self.scene.published.drain(..) {
            let label = &published.frame.label;
            let honest = label.camera == "yard";
            assert!(
                !honest,
                "frame {} of another sender passes as the camera's",
                label.seq
            );
        }
        self.check_bounds();
    }

    fn check_bounds(&mut self) {
        let relay = &self.scene.relay;
        assert!(relay.cameras.iter().count() <= 64);
        assert!(relay.leases.viewers().len() <= 4);
        assert!(relay.counts().dropped.len() <= 32);
        assert!(relay.actions.is_empty());
        self.scene.other.clear();
        self.scene.sent.clear();
        self.scene.forwards.clear();
        self.scene.tracks.clear();
        self.scene.annotations.clear();
        self.scene.annotated.clear();
        self.scene.live.clear();
        self.scene.jobs.clear();
    }

    /// Our own viewer by UDP.
    fn renew(&mut self) {
        if self.scene.now < self.away_until {
            return;
        }
        let viewer = address(VIEWER_OF_OURS, 1);
        while let Some(request) = self.renewal.poll(self.scene.now) {
            let question = Question::new(9, self.cookie);
            match request {
                LeaseRequest::Request => self.scene.request(viewer),
                LeaseRequest::Hello => self
                    .scene
                    .datagram(viewer, Control::Hello(question).write()),
                LeaseRequest::Probe => self
                    .scene
                    .datagram(viewer, Control::Probe(question).write()),
            }
            let answer = self
                .scene
                .other
                .iter()
                .rev()
                .find_map(|action| match action {
                    Action::Reply(
                        to,
                        Control::Accept {
                            verdict, cookie, ..
                        },
                    ) if *to == viewer => Some((*verdict, *cookie)),
                    _ => None,
                });
            if let Some((verdict, cookie)) = answer {
                self.renewal.on_answer(verdict, self.scene.now);
                if cookie != self.cookie {
                    self.cookie = cookie;
                    self.renewal.on_new_cookie(self.scene.now);
                }
            }
        }
    }

    fn act_out(&mut self, act: &Act) {
        match act {
            Act::Datagram { from, port, what } => {
                let bytes = self.payload(what);
                let own_proof = matches!(what, Payload::Hello(Shown::OfOwnAddress(_)));
                self.lease_may_be_lost |= own_proof && *from == ATTACKER;
                let before = self.scene.other.len();
                self.scene.datagram(address(*from, *port), bytes.clone());
                let replies = self.scene.other[before..]
                    .iter()
                    .filter_map(|action| match action {
                        Action::Reply(_, control) => Some(control.write().len()),
                        _ => None,
                    });
                assert!(replies.sum::<usize>() <= bytes.len(), "amplified");
            }
            Act::ClosedPort { of } => {
                let now = self.scene.now;
                self.scene.relay.on_refused(address(*of, 1), now);
                self.scene.act();
            }
            Act::Connect {
                host,
                port,
                camera,
                proof,
            } => {
                let proof = self.proof(*proof);
                let from = address(*host, *port);
                if let Ok(proof) = self.scene.connect(from, &camera.text(), STREAM, proof) {
                    self.own_proof = proof;
                }
            }
            Act::Publish { seq, stream } => {
                let own =
                    |(from, _): &(SocketAddr, CameraName)| from.ip() != address(CAMERA, 1).ip();
                let senders = self.scene.senders.iter().filter(|(key, _)| own(key));
                let senders: Vec<_> = senders.map(|(_, publisher)| publisher.clone()).collect();
                for publisher in senders {
                    let frame = labelled(publisher.camera.as_str(), *stream, *seq);
                    self.scene
                        .relay
                        .on_frame(&publisher, frame, 0, self.scene.now);
                    self.scene.act();
                }
            }
            Act::Post {
                host,
                camera,
                stream,
                seq,
            } => {
                let camera = camera.text();
                let frame = labelled(&camera, *stream, *seq);
                self.scene.posted(&camera, *host, frame);
            }
            Act::Disconnect { host } => {
                for port in 1..200 {
                    self.scene.disconnect(address(*host, port));
                }
            }
            Act::Flood {
                host,
                names,
                by_quic,
            } => {
                for n in 0..*names {
                    let camera = format!("flood{n}");
                    let frame = labelled(&camera, 1, 1);
                    match by_quic {
                        true => drop(self.scene.connect(address(*host, n), &camera, 1, None)),
                        false => self.scene.datagram(address(*host, n), frame),
                    }
                }
            }
            Act::Subscribe { camera, annotated } => {
                self.subscribers = self.subscribers % 20 + 1;
                let id = SubscriberId(self.subscribers);
                self.scene.relay.subscribe(id, camera.text().parse().ok());
                if *annotated {
                    self.scene.relay.request_annotated(id);
                }
            }
            Act::Restart { datagrams, ms } => self.restart(datagrams, MS * *ms),
            Act::Away { ms } => self.away_until = self.scene.now + MS * *ms,
            Act::Pause { ms } => self.pass(*ms, false),
            Act::Pass { ms } => self.pass(*ms, true),
        }
        self.settle();
    }

    /// Starts the relay again. The camera and the honest viewers are back after `time` in which the attacker sends.
    fn restart(&mut self, datagrams: &[(u8, u16, Payload)], time: Duration) {
        self.scene.restart();
        // The relay keeps the leases of tutorial viewers in a file.
        let leases = vec![address(TUTORIAL_VIEWER, 1)];
        let now = self.scene.now;
        self.scene.relay.restore_leases(leases, now);
        let step = time / u32::try_from(datagrams.len() + 1).unwrap();
        // Without our viewer the attacker may fill the table, before or after this.
        self.lease_may_be_lost |= self.scene.now + time < self.away_until;
        let asks = |what: &Payload| matches!(what, Payload::Request | Payload::Hello(_));
        self.lease_may_be_lost |= datagrams.iter().any(|(.., what)| asks(what));
        // The first datagrams in the name of a camera that has no connection make it theirs, for three intervals; so does a
        // lease that is requested in its name, since its frames are dropped for 3 s then.
        let takes = |from: u8, what: &Payload| match what {
            Payload::Frame {
                camera: Name::HonestUdp,
                ..
            } => true,
            what => from == UDP_CAMERA && asks(what),
        };
        for (from, port, what) in datagrams
            .iter()
            .filter(|(from, _, what)| !takes(*from, what))
        {
            let bytes = self.payload(what);
            self.scene.datagram(address(*from, *port), bytes);
            self.scene.pass(step);
            self.scene.published.clear();
        }
        self.scene.pass(step);
        self.next_frame = self.scene.now;
        let cookies = self.proof.cookies().to_vec();
        let camera = address(CAMERA, 1);
        let back = self.scene.connect(camera, "yard", STREAM, cookies);
        self.proof = back.expect("the camera of before the restart is known");
        let yard = "yard".parse().unwrap();
        self.scene.relay.subscribe(SubscriberId(0), Some(yard));
        self.pass(0, true);
    }

    fn payload(&self, payload: &Payload) -> Bytes {
        match payload {
            Payload::Frame {
                camera,
                stream,
                seq,
            } => labelled(&camera.text(), *stream, *seq),
            Payload::Unlabelled => plain(1),
            Payload::Request => Bytes::from_static(b"Request"),
            Payload::Hello(proof) => Control::Hello(Question::new(1, self.proof(*proof)))
                .write()
                .into(),
            Payload::Probe(proof) => Control::Probe(Question::new(1, self.proof(*proof)))
                .write()
                .into(),
            Payload::Upgrade => Control::Upgrade.write().into(),
            Payload::Garbage => Bytes::from_static(&[7; 1472]),
        }
    }

    fn proof(&self, proof: Shown) -> Option<Cookie> {
        match proof {
            Shown::None => None,
            Shown::Guess(number) => Some(Cookie(number)),
            Shown::OfOwnAddress(port) => {
                Some(self.scene.relay.cameras.of_address(address(ATTACKER, port)))
            }
            Shown::OfOwnConnection(nth) => self.own_proof.cookies().get(nth).copied(),
        }
    }

    /// 3 s after the attacker fell silent all honest peers are served: each frame of both cameras is published, and each of
    /// the camera that UDP viewers see goes to both of them.
    fn check_recovery(&mut self) {
        for host in ATTACKER..ATTACKER + HOSTS {
            self.act_out(&Act::Disconnect { host });
        }
        self.away_until = self.scene.now;
        self.pass(3100, true);
        for _ in 0..5 {
            self.scene.pass(FRAME_INTERVAL);
            self.next_frame += FRAME_INTERVAL;
            self.renew();
            self.scene.forwards.clear();
            self.honest_frame();
            let mut forwards = std::mem::take(&mut self.scene.forwards);
            assert!(self.honest_datagram(), "the UDP camera is served again");
            forwards.append(&mut self.scene.forwards);
            let forwards = forwards.iter();
            let receivers: Vec<_> = forwards.flat_map(|f| f.viewers.clone()).collect();
            for viewer in [VIEWER_OF_OURS, TUTORIAL_VIEWER] {
                let excepted = viewer == TUTORIAL_VIEWER && self.lease_may_be_lost;
                assert!(
                    excepted || receivers.contains(&address(viewer, 1)),
                    "viewer {viewer} is served again"
                );
            }
        }
    }
}

proptest! {
    #[test]
    fn an_honest_cameras_frames_reach_an_honest_viewer_whatever_hostile_peers_do(acts in acts()) {
        let mut world = World::new();
        for act in &acts {
            // A minute of forged ICMP messages ends a tutorial viewer's lease.
            if world.scene.now - world.started < Duration::from_secs(50) {
                world.act_out(act);
            }
        }
        world.check_recovery();
    }
}
