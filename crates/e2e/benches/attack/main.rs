//! The table of `scripts/bench --attack`: what hostile peers cost an honest camera and its viewer.
//!
//! ```text
//! pi-sender --quic--> relay-server --quic--> viewer --headless
//!                          ^
//!                          +-- the attacker: a thread of this program, on one processor
//! ```
//!
//! First a calm run, then each attack with a chain of its own and the same figures, then a second calm run.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark, like a test, fails by panicking"
)]

mod chain;
mod figures;
mod options;
mod table;

use std::process::ExitCode;
use std::thread;

use e2e::attack::Attack;
use testkit::cells::{self, Load};

use figures::Measured;
use options::Options;

/// A run: calm without an attack.
pub(crate) type Row = (Option<Attack>, Result<Measured, String>);

fn main() -> ExitCode {
    cells::main(Options::parse, run)
}

/// Measures, and returns the tables, and whether a measurement failed.
fn run(options: &Options) -> (String, bool) {
    let load = Load::start();
    let core = attackers_core();
    let mut rows: Vec<Row> = Vec::new();
    // A calm run at both ends: other programs of the machine may come and go meanwhile.
    let runs = options.attacks().map(Some);
    let runs = [None].into_iter().chain(runs).chain([None]);
    for attack in runs {
        let what = attack.map_or("no attack, for comparison", Attack::describe);
        eprintln!("bench: {}: {what} ..", table::name(attack));
        let measured = cells::attempt(|| chain::run(attack, core, options.seconds));
        let calm = calm_of(&rows);
        eprintln!("  {}", table::line(&measured, calm.as_ref()));
        rows.push((attack, measured));
    }
    let text = format!(
        "{}\n{}\n{}",
        table::of(&rows, calm_of(&rows).as_ref()),
        describe(core, options),
        load.describe()
    );
    let failed = rows.iter().any(|(_, measured)| measured.is_err());
    (text, failed)
}

/// Returns the calm runs as one.
fn calm_of(rows: &[Row]) -> Option<Measured> {
    let calm = rows.iter().filter(|(attack, _)| attack.is_none());
    Measured::pooled(calm.filter_map(|(_, measured)| measured.as_ref().ok()))
}

/// Returns the attacker's processor: the last one, where there are others for the relay.
fn attackers_core() -> Option<usize> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    (cores > 1).then(|| cores - 1)
}

fn describe(core: Option<usize>, options: &Options) -> String {
    let pinned = core.map_or_else(
        || "on the only processor".to_owned(),
        |core| format!("on processor {core} alone; the others are bound to none"),
    );
    format!(
        "{} s a run, a new chain for each; the attacker is one thread {pinned}",
        options.seconds.as_secs()
    )
}
