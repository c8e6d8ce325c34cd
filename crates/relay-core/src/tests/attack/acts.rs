//! What the attacker can do, drawn at random.

use super::*;

/// One act of the attacker, or time that passes.
#[derive(Debug, Clone)]
pub(super) enum Act {
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
        proof: Shown,
    },
    /// A frame by each of the attacker's connections.
    Publish {
        seq: u64,
        stream: u64,
    },
    /// A single frame by HTTP from one of its hosts.
    Post {
        host: u8,
        camera: Name,
        stream: u64,
        seq: u64,
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
    /// The relay starts again; while the camera is not back yet, datagrams and time come, its own name among them.
    Restart {
        datagrams: Vec<(u8, u16, Payload)>,
        ms: u32,
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

/// What a datagram holds.
#[derive(Debug, Clone)]
pub(super) enum Payload {
    Frame { camera: Name, stream: u64, seq: u64 },
    Unlabelled,
    Request,
    Hello(Shown),
    Probe(Shown),
    Upgrade,
    Garbage,
}

/// The name of a camera.
#[derive(Debug, Clone, Copy)]
pub(super) enum Name {
    Honest,
    HonestUdp,
    Own(u8),
}

impl Name {
    pub(super) fn text(self) -> String {
        match self {
            Self::Honest => "yard".to_owned(),
            Self::HonestUdp => "porch".to_owned(),
            Self::Own(n) => format!("own{n}"),
        }
    }
}

/// What the attacker shows as its proof.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shown {
    None,
    Guess(u64),
    /// What the relay sent to an address of the attacker's own.
    OfOwnAddress(u16),
    /// A cookie of what the relay answered to the attacker's last connection.
    OfOwnConnection(usize),
}

/// Returns up to 50 acts in a row.
pub(super) fn acts() -> impl Strategy<Value = Vec<Act>> {
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
        Just(Shown::None),
        any::<u64>().prop_map(Shown::Guess),
        (1u16..4).prop_map(Shown::OfOwnAddress),
        (0usize..2).prop_map(Shown::OfOwnConnection),
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
    let datagrams = prop::collection::vec((anyone.clone(), 1u16..4, payload.clone()), 0..6);
    let act = prop_oneof![
        8 => (anyone.clone(), 1u16..4, payload)
            .prop_map(|(from, port, what)| Act::Datagram { from, port, what }),
        2 => anyone.prop_map(|of| Act::ClosedPort { of }),
        3 => (own.clone(), 1u16..4, name.clone(), proof).prop_map(|(host, port, camera, proof)| {
            Act::Connect { host, port, camera, proof }
        }),
        3 => (own.clone(), name.clone(), stream.clone(), seq.clone())
            .prop_map(|(host, camera, stream, seq)| Act::Post { host, camera, stream, seq }),
        2 => (seq, stream).prop_map(|(seq, stream)| Act::Publish { seq, stream }),
        1 => own.clone().prop_map(|host| Act::Disconnect { host }),
        1 => (own, 1u16..100, any::<bool>())
            .prop_map(|(host, names, by_quic)| Act::Flood { host, names, by_quic }),
        1 => (name, any::<bool>()).prop_map(|(camera, annotated)| Act::Subscribe { camera, annotated }),
        1 => (datagrams, 0u32..9000).prop_map(|(datagrams, ms)| Act::Restart { datagrams, ms }),
        1 => (0u32..15_000).prop_map(|ms| Act::Away { ms }),
        1 => (0u32..6000).prop_map(|ms| Act::Pause { ms }),
        3 => (0u32..1200).prop_map(|ms| Act::Pass { ms }),
    ];
    prop::collection::vec(act, 1..50)
}
