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

use std::cmp::Reverse;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

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

/// What came of each cell, in their order; a few run at a time, the longest first.
fn measure_all(options: &Options, cells: &[Cell]) -> Vec<(Cell, Outcome)> {
    let setting = Setting::new(options);
    let mut turns: Vec<usize> = (0..cells.len()).collect();
    turns.sort_by_key(|&n| Reverse(options.length(&cells[n])));
    let (all, jobs) = (cells.len(), options.jobs);
    let seconds = expected(options, cells, &setting).as_secs_f64();
    eprintln!("{all} cells, {jobs} at a time, about {seconds:.0} s");
    let (next, (tell, told)) = (AtomicUsize::new(0), mpsc::channel());
    let mut results = Vec::new();
    thread::scope(|scope| {
        for tell in vec![tell; jobs] {
            let (setting, turns, next) = (&setting, &turns, &next);
            scope.spawn(move || {
                while let Some(&n) = turns.get(next.fetch_add(1, Ordering::Relaxed)) {
                    tell.send((n, outcome(&cells[n], setting))).unwrap();
                }
            });
        }
        for (n, outcome) in told {
            let line = table::line(&cells[n], &outcome);
            results.push((n, outcome));
            eprintln!("{:>3}/{all} {line}", results.len());
        }
    });
    results.sort_by_key(|(n, _)| *n);
    results
        .into_iter()
        .map(|(n, outcome)| (cells[n], outcome))
        .collect()
}

fn outcome(cell: &Cell, setting: &Setting) -> Outcome {
    if !setting.has(cell.door) {
        return Outcome::NotBuilt;
    }
    let run = catch_unwind(AssertUnwindSafe(|| chain::run(cell, setting)));
    match run {
        Ok(raw) => Outcome::Measured(measure::of(cell, &raw)),
        Err(panic) => {
            let words = panic.downcast_ref::<String>();
            let first = words.and_then(|words| words.lines().next());
            Outcome::Failed(first.unwrap_or("see above").to_owned())
        }
    }
}

/// What the cells take, with the start and the end of their programs.
fn expected(options: &Options, cells: &[Cell], setting: &Setting) -> Duration {
    let run = cells.iter().filter(|cell| setting.has(cell.door));
    let each = run.map(|cell| options.length(cell) + chain::AROUND);
    each.sum::<Duration>() / options.jobs as u32
}

/// How busy the machine is meanwhile.
struct Load {
    start: Instant,
    busy: Duration,
}

impl Load {
    fn start() -> Self {
        Self {
            start: Instant::now(),
            busy: testkit::cpu::machine(),
        }
    }

    fn say(&self) -> String {
        let took = self.start.elapsed().as_secs_f64();
        let busy = (testkit::cpu::machine() - self.busy).as_secs_f64() / took;
        let cores = thread::available_parallelism().map_or(0, usize::from);
        format!("took {took:.0} s, in which {busy:.2} of {cores} cores were busy")
    }
}
