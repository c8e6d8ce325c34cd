//! The test of the rules against hostile peers in one sentence: an honest QUIC camera's frames reach an honest QUIC viewer,
//! on time, whatever hostile peers do.
//!
//! The attacker reads every byte that a viewer sees, sends datagrams from any address, the honest peers' own included, and
//! opens connections from several hosts, while time passes.

use protocol::lease::{LeaseRequest, Renewal};

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

/// One act of the attacker, or time that passes.
#[derive(Debug, Clone)]
enum Act {
    /// A datagram from any address.
    Datagram {
        from: u8,
        port: u16,
        what: Payload,
    },
    /// A message of a host that a port is closed.
    ClosedPort {
        of: u8,
    },
    /// A connection from one of the attacker's hosts, and a frame by it.
    Connect {
        host: u8,
        port: u16,
        camera: Name,
        proof: Proof,
    },
    /// A frame by each of the attacker's connections.
    Publish {
        seq: u64,
        stream: u64,
    },
    /// The end of all its connections from one host.
    Disconnect {
        host: u8,
    },
    /// Many names at once.
    Flood {
        host: u8,
        names: u16,
        by_quic: bool,
    },
    /// A subscriber more, and perhaps one that wants boxes drawn in.
    Subscribe {
        camera: Name,
        annotated: bool,
    },
    /// Our viewer by UDP is away.
    Away {
        ms: u32,
    },
    /// The honest camera makes a pause while time passes.
    Pause {
        ms: u32,
    },
    Pass {
        ms: u32,
    },
}

#[derive(Debug, Clone)]
enum Payload {
    Frame { camera: Name, stream: u64, seq: u64 },
    Unlabelled,
    Request,
    Hello(Proof),
    Probe(Proof),
    Upgrade,
    Garbage,
}

#[derive(Debug, Clone, Copy)]
enum Name {
    Honest,
    HonestUdp,
    Own(u8),
}

#[derive(Debug, Clone, Copy)]
enum Proof {
    None,
    Guess(u64),
    /// What the relay sent to an address of the attacker's own.
    OfOwnAddress(u16),
    /// What the relay answered to the attacker's last connection.
    OfOwnConnection,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let anyone = prop_oneof![1..=TUTORIAL_VIEWER, ATTACKER..ATTACKER + HOSTS];
    let own = ATTACKER..ATTACKER + HOSTS;
    let name = prop_oneof![
        3 => Just(Name::Honest),
        2 => Just(Name::HonestUdp),
        2 => (0u8..100).prop_map(Name::Own),
    ];
    let stream = prop_oneof![Just(STREAM), Just(UDP_STREAM), 0u64..10];
    let seq = prop_oneof![Just(u64::MAX), 0u64..2000, any::<u64>()];
    let proof = prop_oneof![
        Just(Proof::None),
        any::<u64>().prop_map(Proof::Guess),
        (1u16..4).prop_map(Proof::OfOwnAddress),
        Just(Proof::OfOwnConnection),
    ];
    let payload = prop_oneof![
        4 => (name.clone(), stream.clone(), seq.clone())
            .prop_map(|(camera, stream, seq)| Payload::Frame { camera, stream, seq }),
        2 => Just(Payload::Unlabelled),
        3 => Just(Payload::Request),
        2 => proof.clone().prop_map(Payload::Hello),
        2 => proof.clone().prop_map(Payload::Probe),
        1 => Just(Payload::Upgrade),
        1 => Just(Payload::Garbage),
    ];
    let act = prop_oneof![
        8 => (anyone.clone(), 1u16..4, payload)
            .prop_map(|(from, port, what)| Act::Datagram { from, port, what }),
        2 => anyone.prop_map(|of| Act::ClosedPort { of }),
        3 => (own.clone(), 1u16..4, name.clone(), proof).prop_map(|(host, port, camera, proof)| {
            Act::Connect { host, port, camera, proof }
        }),
        2 => (seq, stream).prop_map(|(seq, stream)| Act::Publish { seq, stream }),
        1 => own.clone().prop_map(|host| Act::Disconnect { host }),
        1 => (own, 1u16..100, any::<bool>())
            .prop_map(|(host, names, by_quic)| Act::Flood { host, names, by_quic }),
        1 => (name, any::<bool>()).prop_map(|(camera, annotated)| Act::Subscribe { camera, annotated }),
        1 => (0u32..15_000).prop_map(|ms| Act::Away { ms }),
        1 => (0u32..6000).prop_map(|ms| Act::Pause { ms }),
        3 => (0u32..1200).prop_map(|ms| Act::Pass { ms }),
    ];
    prop::collection::vec(act, 1..50)
}

/// The relay, the honest peers and the attacker.
struct World {
    scene: Scene,
    /// Number of the honest camera's last frame, and of the honest UDP camera's.
    seq: [u64; 2],
    next_frame: Instant,
    renewal: Renewal,
    cookie: Option<Cookie>,
    own_cookie: Option<Cookie>,
    subscribers: u64,
    away_until: Instant,
    /// Whether the attacker watches by an address of its own, which may cost a tutorial viewer its lease.
    attacker_proved: bool,
    started: Instant,
}

impl World {
    fn new() -> Self {
        let mut scene = Scene::new(rules());
        scene
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
            own_cookie: None,
            subscribers: 0,
            away_until: now,
            attacker_proved: false,
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
                let own_proof = matches!(what, Payload::Hello(Proof::OfOwnAddress(_)));
                self.attacker_proved |= own_proof && *from == ATTACKER;
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
                if let Ok(cookie) = self.scene.connect(from, &camera.text(), STREAM, proof) {
                    self.own_cookie = Some(cookie);
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
            Act::Away { ms } => self.away_until = self.scene.now + MS * *ms,
            Act::Pause { ms } => self.pass(*ms, false),
            Act::Pass { ms } => self.pass(*ms, true),
        }
        self.settle();
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

    fn proof(&self, proof: Proof) -> Option<Cookie> {
        match proof {
            Proof::None => None,
            Proof::Guess(number) => Some(Cookie(number)),
            Proof::OfOwnAddress(port) => {
                Some(self.scene.relay.cameras.of_address(address(ATTACKER, port)))
            }
            Proof::OfOwnConnection => self.own_cookie,
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
            let forwards = self.scene.forwards.iter();
            let receivers: Vec<_> = forwards.flat_map(|f| f.viewers.clone()).collect();
            for viewer in [VIEWER_OF_OURS, TUTORIAL_VIEWER] {
                let excepted = viewer == TUTORIAL_VIEWER && self.attacker_proved;
                assert!(
                    excepted || receivers.contains(&address(viewer, 1)),
                    "viewer {viewer} is served again"
                );
            }
            assert!(self.honest_datagram(), "the UDP camera is served again");
        }
    }
}

impl Name {
    fn text(self) -> String {
        match self {
            Self::Honest => "yard".to_owned(),
            Self::HonestUdp => "porch".to_owned(),
            Self::Own(n) => format!("own{n}"),
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
