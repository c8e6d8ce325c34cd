//! The figures of a row, from the counts of a cell. Pure.

use testkit::trend::Trend;

use crate::cell::{Cell, Transport};
use crate::chain::RawResult;

/// Time in seconds that a QUIC sender may take to connect, and the time before its end whose frames it may leave unsent.
/// Frames of these times do not count, so that a cell measures the stream and not its length; all others do, so that a
/// stream that never began or broke off shows.
const OPENS: u64 = 2;
const CLOSES: u64 = 1;
/// Seconds at the start, in which queues fill up, that the slope leaves out.
const SETTLES: u64 = 3;
/// Length of a bin of the trend, in seconds: frames that follow closely on each other are alike.
const BIN: f64 = 1.0;
/// Least growth of an age that counts as growth: in ms a minute, and in standard errors. Three of these, since a table has
/// dozens of cells.
const FLAT: f64 = 5.0;
const ERRORS: f64 = 3.0;

/// The result of a cell.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    /// The figures.
    Measured(Measured),
    /// The first line of a failure.
    Failed(String),
}

/// The figures of a row.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    /// Number of frames that count.
    pub(crate) offered: u64,
    /// Number of these frames that arrived.
    received: u64,
    shown: u64,
    /// Ages of the shown frames in ms, ascending.
    ages: Vec<f64>,
    /// Trend of the age, in ms by minutes.
    pub(crate) trend: Option<Trend>,
    /// Bytes of IP that went into the link for each byte of the frames that arrived.
    pub(crate) overhead: f64,
    /// Share of the link's rate that the bytes of arrived frames use.
    pub(crate) link_used: Option<f64>,
}

/// Returns the figures of a cell.
pub(crate) fn of(cell: &Cell, raw: &RawResult) -> Measured {
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

/// Returns the numbers of the first and the last frame that count. All frames of a UDP sender do: it sends from the first
/// on.
fn counted(cell: &Cell, raw: &RawResult) -> (u64, u64) {
    let all = (1, raw.offered);
    let numbers = || raw.shown.iter().map(|(seq, _)| *seq);
    let (Transport::Quic, Some(first), Some(last)) =
        (cell.transport, numbers().min(), numbers().max())
    else {
        return all;
    };
    (
        first.min(1 + OPENS * cell.fps),
        last.max(raw.offered.saturating_sub(CLOSES * cell.fps)),
    )
}

impl Measured {
    /// Returns the share of the frames that arrived.
    pub(crate) fn delivered(&self) -> f64 {
        self.received as f64 / self.offered as f64
    }

    /// Returns the share of the frames that were shown: in time and in order.
    pub(crate) fn shown(&self) -> f64 {
        self.shown as f64 / self.offered as f64
    }

    /// Returns the age in ms below which this share of the shown frames is; NaN if no frame has one.
    pub(crate) fn age(&self, share: f64) -> f64 {
        let place = (self.ages.len() as f64 * share) as usize;
        let place = place.min(self.ages.len().saturating_sub(1));
        self.ages.get(place).copied().unwrap_or(f64::NAN)
    }

    /// Returns whether the age grows, as far as the errors allow a conclusion.
    pub(crate) fn grows(&self) -> bool {
        self.trend
            .is_some_and(|trend| trend.slope > FLAT.max(ERRORS * trend.error))
    }
}
