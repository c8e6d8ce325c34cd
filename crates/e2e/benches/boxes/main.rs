//! The boxes that reach a screen, half of what `scripts/bench --boxes` prints: the demo's scene through the real programs.
//!
//! ```text
//! pi-sender --source demo --> relay-server --model demo --every N --> viewer --headless
//!        --demo-truth                 --detections                         --shown
//! ```
//!
//! Each cell is a chain of its own, for a seed of the scene, a speed of its things and an N. Its three files are scored by
//! [`testkit::boxes::Recording`], which defines what counts. Tracked boxes are those that the viewer drew, with all that
//! happens between: a message that is later than its frame, a frame that is overtaken. Those of every-nth and of hold are
//! made from the same run's inferred detections, as if inference took no time: real ones would do no better.
//!
//! A cell mostly waits, so several run at the same time; the last line shows how busy the machine was. Up to 80 px/s the
//! shares with `--jobs 2` and with 6 are within a point of each other. At 160 px/s a box of the frame before is wrong, so a
//! message that loses its race against the frame shows, and both rows and runs are several points apart. The benchmark
//! `tracking` of the crate vision measures the rules themselves, in virtual time.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark, like a test, fails by panicking"
)]

mod chain;
mod options;
mod table;

use std::process::ExitCode;

use testkit::boxes::Scores;
use testkit::cells::{self, Load};

use options::Options;

/// One run of the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cell {
    /// Speed of the objects, in pixels a second.
    pub(crate) speed: u32,
    /// Interval between inferred frames, in frames.
    pub(crate) every: u32,
    /// Seed of the scene.
    pub(crate) seed: u64,
}

/// The scores of a cell, or the first line of its failure.
pub(crate) type Outcome = Result<Scores, String>;

fn main() -> ExitCode {
    cells::main(Options::parse, run)
}

/// Measures, and returns the tables, and whether a measurement failed.
fn run(options: &Options) -> (String, bool) {
    let cells = options.cells();
    chain::build();
    let load = Load::start();
    let length = |_: &Cell| options.length + chain::AROUND;
    let measure = |cell: &Cell| cells::attempt(|| chain::run(cell, options.length));
    let outcomes = cells::run(&cells, options.jobs, length, measure, table::line);
    let results: Vec<(Cell, Outcome)> = cells.into_iter().zip(outcomes).collect();
    let text = format!(
        "{}\n{}{}\n{}",
        table::of(&results),
        table::goals(&results),
        options.describe(),
        load.describe()
    );
    let failed = results.iter().any(|(_, outcome)| outcome.is_err());
    (text, failed)
}
