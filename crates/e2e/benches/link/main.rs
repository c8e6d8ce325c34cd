//! The table of `scripts/bench --link`: frames through a bad network, by QUIC and by UDP.
//!
//! ```text
//! pi-sender --> [ seeded link: loss, delay, rate ] --> relay-server --> viewer --headless        --side sender
//! pi-sender --> relay-server --> [ the same ] --> viewer --headless                              --side viewer
//! ```
//!
//! Each cell is a chain of the real programs with a link of its own. A cell mostly waits, so several run at the same time;
//! the last line shows how busy the machine was, and `--jobs 1` shows that it makes no difference.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark, like a test, fails by panicking"
)]

mod cell;
mod chain;
mod goals;
mod measure;
mod media;
mod options;
mod table;

use std::process::ExitCode;

use testkit::cells::{self, Load};

use cell::Cell;
use chain::Setup;
use measure::Outcome;
use options::Options;

fn main() -> ExitCode {
    cells::main(Options::parse, run)
}

/// Measures, and returns the tables, and whether a measurement failed.
fn run(options: &Options) -> (String, bool) {
    let cells = options.cells();
    let load = Load::start();
    let results = measure_all(options, &cells);
    let text = format!(
        "{}\n{}{}\n{}",
        table::of(&results),
        goals::table(&results),
        options.describe(),
        load.describe()
    );
    let failed = results.iter().any(|(_, o)| matches!(o, Outcome::Failed(_)));
    (text, failed)
}

/// Returns the result of each cell, in their order.
fn measure_all(options: &Options, cells: &[Cell]) -> Vec<(Cell, Outcome)> {
    let setup = Setup::new(options);
    let length = |cell: &Cell| options.length(cell) + chain::AROUND;
    let measure = |cell: &Cell| outcome(cell, &setup);
    let outcomes = cells::run(cells, options.jobs, length, measure, table::line);
    cells.iter().copied().zip(outcomes).collect()
}

fn outcome(cell: &Cell, setup: &Setup) -> Outcome {
    match cells::attempt(|| chain::run(cell, setup)) {
        Ok(raw) => Outcome::Measured(measure::of(cell, &raw)),
        Err(why) => Outcome::Failed(why),
    }
}
