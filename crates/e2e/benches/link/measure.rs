//! From what the programs say to the figures of a row. Pure.

use testkit::trend::Trend;

use crate::cell::{Cell, Door};
use crate::chain::Raw;

/// What a native sender may take to open its door, and what it may leave on its way when it ends, in seconds. Frames in
/// there do not count, so a cell is of the stream and not of its length; beyond that they do, so a stream that never began
/// or broke off shows.
const OPENS: u64 = 2;
const CLOSES: u64 = 1;
/// Seconds at the start that the slope leaves out, in which queues fill up.
const SETTLES: u64 = 3;
/// Frames within so many seconds are alike.
const BIN: f64 = 1.0;
/// An age that grows by less than this, in ms a minute, or by less than so many of its own standard errors does not. Three,
/// since a table has dozens of cells.
const FLAT: f64 = 5.0;
const ERRORS: f64 = 3.0;

/// What came of a cell.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    /// The figures.
    Measured(Measured),
    /// The programs have no such door yet.
    NotBuilt,
    /// A program failed, and so said.
    Failed(String),
}

/// The figures of a row.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    /// Frames that count.
    pub(crate) offered: u64,
    /// Those of them that came.
    received: u64,
    shown: u64,
    /// Of those shown, ascending, in ms.
    ages: Vec<f64>,
    /// Of the age, in ms by minutes.
    pub(crate) trend: Option<Trend>,
    /// Bytes of IP that went into the link for each byte of the frames that came.
    pub(crate) overhead: f64,
    /// Share of the link's rate that is bytes of frames that came.
    pub(crate) link_used: Option<f64>,
}

/// The figures of a cell.
pub(crate) fn of(cell: &Cell, raw: &Raw) -> Measured {
    let (first, last) = counted(cell, raw);
    let offered = last + 1 - first;
    let minutes = |frames: u64| frames as f64 / cell.fps as f64 / 60.0;
    let from = first + SETTLES * cell.fps;
    let aged = || {
        raw.shown
            .iter()
            .filter_map(|(seq, age)| Some((*seq, (*age)?)))
    };
    let settled = aged().filter(|(seq, _)| *seq >= from);
    let mut ages: Vec<f64> = aged().map(|(_, age)| age).collect();
    ages.sort_by(f64::total_cmp);
    let bytes = raw.received as f64 * cell.frame_bytes() as f64;
    let seconds = 60.0 * minutes(offered);
    Measured {
        offered,
        received: raw.received,
        shown: raw.shown.len() as u64,
        ages,
        trend: Trend::of(settled.map(|(seq, age)| (minutes(seq), age)), BIN / 60.0),
        overhead: raw.link.offered.bytes as f64 / bytes,
        link_used: cell.rate().map(|rate| bytes * 8.0 / seconds / rate as f64),
    }
}

/// Numbers of the first and the last frame that count. A plain sender's all do: it is there from the first on.
fn counted(cell: &Cell, raw: &Raw) -> (u64, u64) {
    let all = (1, raw.offered);
    let numbers = || raw.shown.iter().map(|(seq, _)| *seq);
    let (Door::Quic, Some(first), Some(last)) = (cell.door, numbers().min(), numbers().max())
    else {
        return all;
    };
    (
        first.min(1 + OPENS * cell.fps),
        last.max(raw.offered.saturating_sub(CLOSES * cell.fps)),
    )
}

impl Measured {
    /// Share of the frames that came.
    pub(crate) fn delivered(&self) -> f64 {
        self.received as f64 / self.offered as f64
    }

    /// Share of the frames that were shown: in time and in order.
    pub(crate) fn shown(&self) -> f64 {
        self.shown as f64 / self.offered as f64
    }

    /// The age in ms below which this share of the shown frames is; NaN where none has one.
    pub(crate) fn age(&self, share: f64) -> f64 {
        let place = (self.ages.len() as f64 * share) as usize;
        let place = place.min(self.ages.len().saturating_sub(1));
        self.ages.get(place).copied().unwrap_or(f64::NAN)
    }

    /// Whether frames come ever later, for all that can be told.
    pub(crate) fn grows(&self) -> bool {
        self.trend
            .is_some_and(|trend| trend.slope > FLAT.max(ERRORS * trend.error))
    }
}
