//! Two relays, and an attacker that forges each one's address at the other: no datagram goes round between them.

use super::*;

/// Hosts of the two relays, and the first of the attacker's.
const RELAYS: [u8; 2] = [1, 2];
const ATTACKER: u8 = 100;
/// Ways that a datagram makes at most: into one relay, and from there into the other.
const MAX_HOPS: usize = 1;

#[derive(Debug, Clone)]
enum Act {
    /// A datagram to one of the relays, in the name of the other or of the attacker.
    Datagram {
        to: usize,
        forged: bool,
        what: Payload,
    },
    /// Frames to one of the relays for so long, 100 ms apart.
    Stream {
        to: usize,
        forged: bool,
        frames: u64,
    },
    Pass {
        ms: u32,
    },
}

#[derive(Debug, Clone, Copy)]
enum Payload {
    Unlabelled,
    Labelled(u64),
    Request,
    Hello,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let payload = prop_oneof![
        2 => Just(Payload::Unlabelled),
        1 => (1u64..100).prop_map(Payload::Labelled),
        3 => Just(Payload::Request),
        1 => Just(Payload::Hello),
    ];
    let act = prop_oneof![
        6 => (0usize..2, any::<bool>(), payload)
            .prop_map(|(to, forged, what)| Act::Datagram { to, forged, what }),
        1 => (0usize..2, any::<bool>(), 1u64..60)
            .prop_map(|(to, forged, frames)| Act::Stream { to, forged, frames }),
        2 => (0u32..5000).prop_map(|ms| Act::Pass { ms }),
    ];
    prop::collection::vec(act, 1..30)
}

struct Relays {
    scenes: [Scene; 2],
    /// Number of the last frame; each is another datagram.
    frames: u64,
}

impl Relays {
    fn act_out(&mut self, act: &Act) {
        match *act {
            Act::Datagram { to, forged, what } => self.datagram(to, forged, what),
            Act::Stream { to, forged, frames } => {
                for _ in 0..frames {
                    self.datagram(to, forged, Payload::Unlabelled);
                    self.pass(100);
                }
            }
            Act::Pass { ms } => self.pass(ms),
        }
    }

    fn datagram(&mut self, to: usize, forged: bool, what: Payload) {
        self.frames += 1;
        let bytes = match what {
            Payload::Unlabelled => plain(self.frames),
            Payload::Labelled(seq) => labelled("yard", 7, seq),
            Payload::Request => Bytes::from_static(b"Request"),
            Payload::Hello => Control::Hello(Question::new(1, None)).write().into(),
        };
        let from = if forged { RELAYS[1 - to] } else { ATTACKER };
        self.scenes[to].datagram(address(from, 1), bytes);
        self.carry();
    }

    fn pass(&mut self, ms: u32) {
        for scene in &mut self.scenes {
            scene.pass(MS * ms);
        }
        self.carry();
    }

    /// Carries what each relay sends to the other.
    fn carry(&mut self) {
        for hop in 0.. {
            let sent = [0, 1].map(|at| self.sent_to_the_other(at));
            if sent.iter().all(Vec::is_empty) {
                break;
            }
            assert!(hop < MAX_HOPS, "a datagram goes round");
            for (at, jpegs) in sent.into_iter().enumerate() {
                for jpeg in jpegs {
                    self.scenes[1 - at].datagram(address(RELAYS[at], 1), jpeg);
                }
            }
        }
    }

    fn sent_to_the_other(&mut self, at: usize) -> Vec<Bytes> {
        let other = address(RELAYS[1 - at], 1);
        let scene = &mut self.scenes[at];
        let forwards = std::mem::take(&mut scene.forwards);
        let to_other = forwards
            .into_iter()
            .filter(|forward| forward.viewers.contains(&other));
        to_other.map(|forward| forward.jpeg).collect()
    }
}

proptest! {
    #[test]
    fn no_datagram_goes_round_between_two_relays(acts in acts()) {
        let mut relays = Relays {
            scenes: [Scene::new(rules()), Scene::new(rules())],
            frames: 0,
        };
        for act in &acts {
            relays.act_out(act);
        }
    }
}
