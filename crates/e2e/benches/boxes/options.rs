//! The command line; `scripts/bench --help` explains it.

use std::time::Duration;

use testkit::cells::number;

use crate::Cell;

const SPEEDS: [u32; 3] = [30, 80, 160];
const EVERY: [u32; 4] = [1, 2, 4, 8];

/// The options of a run.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// Duration of a cell's frames.
    pub(crate) length: Duration,
    scenes: u64,
    seed: u64,
    pub(crate) jobs: usize,
}

impl Options {
    /// # Errors
    /// A sentence on the first wrong word.
    pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            length: Duration::from_secs(20),
            scenes: 3,
            seed: 1,
            jobs: 6,
        };
        while let Some(flag) = args.next() {
            let mut value = || number(&flag, &args.next().ok_or(format!("{flag} needs a value"))?);
            match flag.as_str() {
                "--quick" => (options.scenes, options.length) = (1, Duration::from_secs(10)),
                "--seconds" => options.length = Duration::from_secs(value()?),
                "--scenes" => options.scenes = value()?,
                "--seed" => options.seed = value()?,
                "--jobs" => options.jobs = value()? as usize,
                _ => return Err(format!("{flag} is not known")),
            }
        }
        Ok(options)
    }

    /// Returns the cells to measure.
    pub(crate) fn cells(&self) -> Vec<Cell> {
        let rows = SPEEDS.map(|speed| EVERY.map(|every| (speed, every)));
        let scenes = self.seed..self.seed + self.scenes;
        let cell = |((speed, every), seed)| Cell { speed, every, seed };
        let cells = rows.into_iter().flatten();
        cells
            .flat_map(|row| scenes.clone().map(move |seed| (row, seed)))
            .map(cell)
            .collect()
    }

    /// Returns a line with all that repeats the run.
    pub(crate) fn describe(&self) -> String {
        format!(
            "{} s of each of {} scenes, from seed {} on; {} chains at a time",
            self.length.as_secs(),
            self.scenes,
            self.seed,
            self.jobs
        )
    }
}
