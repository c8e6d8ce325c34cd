//! The boxes that reach a screen, half of what `scripts/bench --boxes` prints: the demo's scene through the real programs.
//!
//! ```text
//! pi-sender --source demo --> relay-server --model demo --every N --> viewer --headless
//!        --demo-truth                 --detections                         --shown
//! ```
//!
//! Each cell is a chain of its own, for a seed of the scene, a speed of its things and an N. Its three files are judged by
//! [`testkit::boxes::Recording`], which says what counts. Tracked boxes are those that the viewer drew, with all that comes
//! between: a message that is later than its frame, a frame that is overtaken. Those of every-nth and of hold are put
//! together from what the same run's model said, with answers that take no time: real ones would do no better.
//!
//! A cell mostly waits, so several run at the same time; the last line says how busy the machine was. Up to 80 px/s the
//! shares with `--jobs 2` and with 6 are within a point of each other. At 160 px/s a box of the frame before is wrong, so a
//! message that loses its race against the frame shows, and both rows and runs are several points apart. What the rules
//! themselves reach, in virtual time, is the relay's benchmark `tracking`.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark, like a test, fails by panicking"
)]

mod chain;
mod options;
mod table;

use std::io::Write as _;
use std::process::ExitCode;

use testkit::boxes::Scores;
use testkit::cells::{self, Load};

use options::Options;

/// One run of the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cell {
    /// Of the things, in pixels a second.
    pub(crate) speed: u32,
    /// Every so many frames one is inferred.
    pub(crate) every: u32,
    /// Of the scene.
    pub(crate) seed: u64,
}

/// What came of a cell, or why nothing did.
pub(crate) type Outcome = Result<Scores, String>;

fn main() -> ExitCode {
    // cargo adds `--bench`.
    let words = std::env::args().skip(1).filter(|word| word != "--bench");
    let options = match Options::parse(words) {
        Ok(options) => options,
        Err(why) => {
            eprintln!("{why}; scripts/bench --help tells what there is");
            return ExitCode::from(2);
        }
    };
    let cells = options.cells();
    chain::build();
    let load = Load::start();
    let length = |_: &Cell| options.length + chain::AROUND;
    let measure = |cell: &Cell| cells::attempt(|| chain::run(cell, options.length));
    let outcomes = cells::run(&cells, options.jobs, length, measure, table::line);
    let results: Vec<(Cell, Outcome)> = cells.into_iter().zip(outcomes).collect();
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{}\n{}{}\n{}",
        table::of(&results),
        table::goals(&results),
        options.describe(),
        load.say()
    )
    .unwrap();
    let failed = results.iter().any(|(_, outcome)| outcome.is_err());
    ExitCode::from(u8::from(failed))
}
