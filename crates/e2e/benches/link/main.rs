//! The table of `scripts/bench --link`: frames through a bad network, by the native door and by the plain one.
//!
//! ```text
//! pi-sender --> [ seeded link: loss, delay, rate ] --> relay-server --> viewer --headless        --side sender
//! pi-sender --> relay-server --> [ the same ] --> viewer --headless                              --side viewer
//! ```
//!
//! Each cell is a chain of the real programs with a link of its own. A cell mostly waits, so several run at the same time;
//! the last line says how busy the machine was, and `--jobs 1` shows that it makes no difference.

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

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use testkit::cells::{self, Load};

use cell::Cell;
use chain::Setting;
use measure::Outcome;
use options::Options;

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
    let load = Load::start();
    let results = measure_all(&options, &cells);
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{}\n{}{}\n{}",
        table::of(&results),
        goals::table(&results),
        options.describe(),
        load.say()
    )
    .unwrap();
    let failed = results.iter().any(|(_, o)| matches!(o, Outcome::Failed(_)));
    ExitCode::from(u8::from(failed))
}

/// What came of each cell, in their order.
fn measure_all(options: &Options, cells: &[Cell]) -> Vec<(Cell, Outcome)> {
    let setting = Setting::new(options);
    let length = |cell: &Cell| match setting.has(cell.door) {
        true => options.length(cell) + chain::AROUND,
        false => Duration::ZERO,
    };
    let measure = |cell: &Cell| outcome(cell, &setting);
    let outcomes = cells::run(cells, options.jobs, length, measure, table::line);
    cells.iter().copied().zip(outcomes).collect()
}

fn outcome(cell: &Cell, setting: &Setting) -> Outcome {
    if !setting.has(cell.door) {
        return Outcome::NotBuilt;
    }
    match cells::attempt(|| chain::run(cell, setting)) {
        Ok(raw) => Outcome::Measured(measure::of(cell, &raw)),
        Err(why) => Outcome::Failed(why),
    }
}
