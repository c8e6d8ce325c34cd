//! The cells of the table: a door, a link, and frames.

use std::time::Duration;

use testkit::figures::{Goal, Unit};
use testkit::link::{Bottleneck, Conditions, Loss, Path};

use crate::measure::Measured;
use crate::options::Side;

/// How frames travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// The native one.
    Quic,
    /// The plain one.
    Udp,
}

/// What is wrong with the link, its length aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Nothing.
    None,
    /// So many of a hundred packets are lost, each by itself.
    Random(u8),
    /// Five of a hundred are lost, five in a row on average.
    Bursts,
    /// So many Mbit/s in the direction of the frames, with a queue of 200 ms.
    Slow(u8),
}

/// One row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) trouble: Trouble,
    /// Round trip in ms, half of it each way.
    pub(crate) rtt: u64,
    pub(crate) kb: usize,
    pub(crate) fps: u64,
    pub(crate) door: Door,
}

/// A goal of issue 4: what it is of, the figure, and the limit.
pub(crate) type Promise = (&'static str, Unit, fn(&Measured) -> f64, Goal);

const QUEUE: Duration = Duration::from_millis(200);
const MEGA: u64 = 1_000_000;

impl Door {
    /// As `--transport` has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Quic => "quic",
            Self::Udp => "udp",
        }
    }
}

impl Trouble {
    fn name(self) -> String {
        match self {
            Self::None => "no loss".to_owned(),
            Self::Random(percent) => format!("{percent} % random"),
            Self::Bursts => "5 % in bursts".to_owned(),
            Self::Slow(mbit) => format!("{mbit} Mbit/s"),
        }
    }
}

impl Cell {
    /// All of them, in the order of the table.
    pub(crate) fn all() -> Vec<Self> {
        use Trouble::{Bursts, None, Random, Slow};
        let lossy = [None, Random(1), Random(5), Bursts]
            .into_iter()
            .flat_map(|trouble| [20, 50, 100, 200].map(|rtt| (trouble, rtt)));
        let links = lossy.chain([(Slow(3), 50), (Slow(1), 50)]);
        let frames = [8, 15, 40].into_iter().flat_map(|kb| [(kb, 10), (kb, 30)]);
        links
            .flat_map(|link| frames.clone().map(move |frames| (link, frames)))
            .flat_map(|((trouble, rtt), (kb, fps))| {
                [Door::Quic, Door::Udp].map(|door| Self {
                    trouble,
                    rtt,
                    kb,
                    fps,
                    door,
                })
            })
            .collect()
    }

    /// Whether a run without `--all` has it: every goal, and each setting at least once beside the one that goals are for.
    pub(crate) fn is_standard(&self) -> bool {
        let frames = (self.kb, self.fps);
        match (self.trouble, self.rtt) {
            (Trouble::None, 50) => matches!(frames, (8 | 15 | 40, 10) | (40, 30)),
            (Trouble::None, 200) | (Trouble::Random(5) | Trouble::Bursts, 100) => {
                frames == (40, 10)
            }
            (Trouble::Random(1), 50) => matches!(frames, (40, 10) | (15, 30)),
            (Trouble::Random(5), 20 | 200) => frames == (40, 10),
            (Trouble::Random(5), 50) => frames != (8, 30),
            (Trouble::Bursts, 50) => matches!(frames, (15 | 40, 10)),
            (Trouble::Slow(3), _) => matches!(frames, (8 | 15, 30) | (40, 10)),
            (Trouble::Slow(1), _) => matches!(frames, (8 | 15 | 40, 10)),
            _ => false,
        }
    }

    /// What `--only` looks into.
    pub(crate) fn name(&self) -> String {
        format!(
            "{}, {}, {}",
            self.link_name(),
            self.frames_name(),
            self.door.name()
        )
    }

    pub(crate) fn link_name(&self) -> String {
        format!("RTT {} ms, {}", self.rtt, self.trouble.name())
    }

    pub(crate) fn frames_name(&self) -> String {
        format!("{} kB x {} fps", self.kb, self.fps)
    }

    /// Bytes of a frame, label included.
    pub(crate) fn frame_bytes(&self) -> usize {
        1000 * self.kb
    }

    /// Bits of IP a second that the link carries in the direction of the frames.
    pub(crate) fn rate(&self) -> Option<u64> {
        match self.trouble {
            Trouble::Slow(mbit) => Some(u64::from(mbit) * MEGA),
            _ => None,
        }
    }

    /// The link of this cell. What is lost is lost both ways: acknowledgements meet the same air.
    pub(crate) fn conditions(&self, side: Side) -> Conditions {
        let path = Path {
            loss: match self.trouble {
                Trouble::None | Trouble::Slow(_) => Loss::None,
                Trouble::Random(percent) => Loss::Random(f64::from(percent) / 100.0),
                Trouble::Bursts => Loss::Bursts {
                    share: 0.05,
                    length: 5.0,
                },
            },
            delay: Duration::from_millis(self.rtt) / 2,
            ..Path::default()
        };
        let frames = Path {
            bottleneck: self.rate().map(|rate| Bottleneck { rate, queue: QUEUE }),
            ..path
        };
        match side {
            Side::Sender => Conditions {
                up: frames,
                down: path,
            },
            Side::Viewer => Conditions {
                up: path,
                down: frames,
            },
        }
    }

    /// Its own goals, of the native door.
    pub(crate) fn promises(&self) -> Vec<Promise> {
        let delivered = |least| {
            let share: fn(&Measured) -> f64 = |measured| 100.0 * measured.delivered();
            ("delivered", Unit::Percent, share, Goal::Least(least))
        };
        if (self.door, self.kb, self.fps) != (Door::Quic, 40, 10) {
            return Vec::new();
        }
        match (self.trouble, self.rtt) {
            (Trouble::Random(5), 50) => vec![delivered(99.5)],
            (Trouble::Bursts, 50) => vec![delivered(99.0)],
            (Trouble::Random(5) | Trouble::Bursts, 100) => vec![delivered(97.0)],
            (Trouble::Slow(3), _) => vec![
                (
                    "link used by delivered frames",
                    Unit::Percent,
                    |measured| 100.0 * measured.link_used.unwrap_or(f64::NAN),
                    Goal::Least(93.0),
                ),
                (
                    "age p95",
                    Unit::Ms,
                    |measured| measured.age(0.95),
                    Goal::Most(400.0),
                ),
            ],
            _ => Vec::new(),
        }
    }
}
