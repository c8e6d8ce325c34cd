//! The command line; `scripts/bench --help` explains it.

use std::time::Duration;

use testkit::cells::number;

use crate::cell::{Cell, Side, Transport};

/// Factor by which a cell with a goal of its own takes longer.
const STRETCH: u32 = 6;
const LONG: Duration = Duration::from_secs(600);

/// The options of a run.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    all: bool,
    only: Vec<String>,
    transports: Vec<Transport>,
    pub(crate) side: Side,
    seconds: Duration,
    long: bool,
    pub(crate) jobs: usize,
    pub(crate) seed: u64,
}

impl Options {
    /// # Errors
    /// A sentence on the first wrong word.
    pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            all: false,
            only: Vec::new(),
            transports: vec![Transport::Quic, Transport::Udp],
            side: Side::Sender,
            seconds: Duration::from_secs(20),
            long: false,
            jobs: 6,
            seed: 1,
        };
        while let Some(flag) = args.next() {
            let mut value = || args.next().ok_or(format!("{flag} needs a value"));
            match flag.as_str() {
                "--all" => options.all = true,
                "--long" => options.long = true,
                "--only" => options.only = value()?.split(',').map(str::to_owned).collect(),
                "--transport" => {
                    options.transports = vec![match value()?.as_str() {
                        "quic" => Transport::Quic,
                        "udp" => Transport::Udp,
                        other => return Err(format!("--transport is quic or udp, not {other}")),
                    }]
                }
                "--side" => {
                    options.side = match value()?.as_str() {
                        "sender" => Side::Sender,
                        "viewer" => Side::Viewer,
                        other => return Err(format!("--side is sender or viewer, not {other}")),
                    }
                }
                "--seconds" => options.seconds = Duration::from_secs(number(&flag, &value()?)?),
                "--jobs" => options.jobs = number(&flag, &value()?)? as usize,
                "--seed" => options.seed = number(&flag, &value()?)?,
                _ => return Err(format!("{flag} is not known")),
            }
        }
        if options.cells().is_empty() {
            return Err("no cell of this run has all of --only in its name".to_owned());
        }
        Ok(options)
    }

    /// Returns the cells to measure, those on the same link beside each other.
    pub(crate) fn cells(&self) -> Vec<Cell> {
        let wanted = |cell: &Cell| {
            let name = cell.name();
            (self.all || cell.is_standard())
                && self.transports.contains(&cell.transport)
                && self.only.iter().all(|text| name.contains(text))
        };
        Cell::all().into_iter().filter(wanted).collect()
    }

    /// Returns the time over which frames are sent in this cell.
    pub(crate) fn length(&self, cell: &Cell) -> Duration {
        if self.long {
            LONG
        } else if cell.goals().is_empty() {
            self.seconds
        } else {
            STRETCH * self.seconds
        }
    }

    /// Returns a line with all that repeats the run.
    pub(crate) fn describe(&self) -> String {
        let side = match self.side {
            Side::Sender => "between sender and relay",
            Side::Viewer => "between relay and viewer",
        };
        let length = if self.long { LONG } else { self.seconds };
        format!(
            "link {side}; {} s a cell (with a goal of its own {}), {} at a time, seed {}",
            length.as_secs(),
            if self.long { length } else { STRETCH * length }.as_secs(),
            self.jobs,
            self.seed
        )
    }
}
