//! The cells of the table: a transport, a link, and frames.

use std::time::Duration;

use testkit::figures::Goal;
use testkit::link::{Bottleneck, Conditions, Impairments, Loss};

/// The transport of the frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    /// QUIC.
    Quic,
    /// UDP.
    Udp,
}

/// The fault of the link, apart from its delay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No fault.
    None,
    /// Independent losses, so many percent of the packets.
    Random(u8),
    /// Losses of 5 % of the packets, five in a row on average.
    Bursts,
    /// A bottleneck of so many Mbit/s in the direction of the frames, with a queue of 200 ms.
    Slow(u8),
}

/// One row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) fault: Fault,
    /// Round trip in ms, half of it each way.
    pub(crate) rtt: u64,
    pub(crate) kb: usize,
    pub(crate) fps: u64,
    pub(crate) transport: Transport,
}

/// The place of the link in the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// Between sender and relay.
    Sender,
    /// Between relay and viewer.
    Viewer,
}

/// A goal of a cell: the figure, and its limit.
pub(crate) type CellGoal = (GoalFigure, Goal);

/// The figure that a goal is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GoalFigure {
    /// Percentage of the frames that reached the viewer.
    Delivered,
    /// Percentage of the link's rate that delivered frames used.
    LinkUsed,
    /// Age in ms below which 95 of 100 shown frames were.
    AgeP95,
}

const QUEUE: Duration = Duration::from_millis(200);
const MEGA: u64 = 1_000_000;

impl Transport {
    /// Returns the value of `--transport`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Quic => "quic",
            Self::Udp => "udp",
        }
    }
}

impl Fault {
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
    /// Returns all cells, in the order of the table.
    pub(crate) fn all() -> Vec<Self> {
        use Fault::{Bursts, None, Random, Slow};
        let lossy = [None, Random(1), Random(5), Bursts]
            .into_iter()
            .flat_map(|fault| [20, 50, 100, 200].map(|rtt| (fault, rtt)));
        let links = lossy.chain([(Slow(3), 50), (Slow(1), 50)]);
        let frames = [8, 15, 40].into_iter().flat_map(|kb| [(kb, 10), (kb, 30)]);
        links
            .flat_map(|link| frames.clone().map(move |frames| (link, frames)))
            .flat_map(|((fault, rtt), (kb, fps))| {
                [Transport::Quic, Transport::Udp].map(|transport| Self {
                    fault,
                    rtt,
                    kb,
                    fps,
                    transport,
                })
            })
            .collect()
    }

    /// Returns whether a run without `--all` has this cell: every cell with a goal, and each other setting at least once.
    pub(crate) fn is_standard(&self) -> bool {
        let frames = (self.kb, self.fps);
        match (self.fault, self.rtt) {
            (Fault::None, 50) => matches!(frames, (8 | 15 | 40, 10) | (40, 30)),
            (Fault::None, 200) | (Fault::Random(5) | Fault::Bursts, 100) => frames == (40, 10),
            (Fault::Random(1), 50) => matches!(frames, (40, 10) | (15, 30)),
            (Fault::Random(5), 20 | 200) => frames == (40, 10),
            (Fault::Random(5), 50) => frames != (8, 30),
            (Fault::Bursts, 50) => matches!(frames, (15 | 40, 10)),
            (Fault::Slow(3), _) => matches!(frames, (8 | 15, 30) | (40, 10)),
            (Fault::Slow(1), _) => matches!(frames, (8 | 15 | 40, 10)),
            _ => false,
        }
    }

    /// Returns the name that `--only` is matched with.
    pub(crate) fn name(&self) -> String {
        format!(
            "{}, {}, {}",
            self.link_name(),
            self.frames_name(),
            self.transport.name()
        )
    }

    pub(crate) fn link_name(&self) -> String {
        format!("RTT {} ms, {}", self.rtt, self.fault.name())
    }

    pub(crate) fn frames_name(&self) -> String {
        format!("{} kB x {} fps", self.kb, self.fps)
    }

    /// Returns the bytes of a frame, label included.
    pub(crate) fn frame_bytes(&self) -> usize {
        1000 * self.kb
    }

    /// Returns the bits of IP a second that the link carries in the direction of the frames.
    pub(crate) fn rate(&self) -> Option<u64> {
        match self.fault {
            Fault::Slow(mbit) => Some(u64::from(mbit) * MEGA),
            _ => None,
        }
    }

    /// Returns the conditions of the link. Packets are lost in both directions, acknowledgements too.
    pub(crate) fn conditions(&self, side: Side) -> Conditions {
        let loss_and_delay = Impairments {
            loss: match self.fault {
                Fault::None | Fault::Slow(_) => Loss::None,
                Fault::Random(percent) => Loss::Random(f64::from(percent) / 100.0),
                Fault::Bursts => Loss::Bursts {
                    share: 0.05,
                    length: 5.0,
                },
            },
            delay: Duration::from_millis(self.rtt) / 2,
            ..Impairments::default()
        };
        let frames = Impairments {
            bottleneck: self.rate().map(|rate| Bottleneck { rate, queue: QUEUE }),
            ..loss_and_delay
        };
        match side {
            Side::Sender => Conditions {
                up: frames,
                down: loss_and_delay,
            },
            Side::Viewer => Conditions {
                up: loss_and_delay,
                down: frames,
            },
        }
    }

    /// Returns the goals of this cell; only cells of QUIC have some.
    pub(crate) fn goals(&self) -> Vec<CellGoal> {
        let delivered = |least| (GoalFigure::Delivered, Goal::Least(least));
        if (self.transport, self.kb, self.fps) != (Transport::Quic, 40, 10) {
            return Vec::new();
        }
        match (self.fault, self.rtt) {
            (Fault::Random(5), 50) => vec![delivered(99.5)],
            (Fault::Bursts, 50) => vec![delivered(99.0)],
            (Fault::Random(5) | Fault::Bursts, 100) => vec![delivered(97.0)],
            (Fault::Slow(3), _) => vec![
                (GoalFigure::LinkUsed, Goal::Least(93.0)),
                (GoalFigure::AgeP95, Goal::Most(400.0)),
            ],
            _ => Vec::new(),
        }
    }
}
