//! The table of `scripts/bench`: Sightline's promises as figures, each against a floor or a peer measured in the same run.
//!
//! Real programs and plain sockets on this machine, one measurement after the other. What a busy machine does to one
//! side it does to the other, since the two sides take turns; the last line says how busy it was with other things.
//!
//! `--quick` takes about a minute; `--only fanout,sender` takes some of the parts.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark, like a test, fails by panicking"
)]

mod accuracy;
mod bare;
mod detector;
mod fanout;
mod forwarding;
mod machine;
mod media;
mod memory;
mod native;
mod overlay;
mod peer;
mod programs;
mod sender;
mod viewer;
mod web;

use std::io::Write as _;
use std::time::Duration;

use testkit::figures::{Figure, Goal, Table, Unit};

/// A run: how long each part takes, and the rows so far.
pub(crate) struct Run {
    /// About a minute for all.
    pub(crate) quick: bool,
    table: Table,
}

impl Run {
    /// This long, or in a quick run that long.
    pub(crate) fn seconds(&self, full: u64, quick: u64) -> Duration {
        Duration::from_secs(if self.quick { quick } else { full })
    }

    /// Adds a row that stands against a floor or a peer.
    pub(crate) fn add(
        &mut self,
        name: &str,
        unit: Unit,
        value: f64,
        against: (&str, f64),
        goal: Goal,
    ) {
        let against = Some((against.0.to_owned(), against.1));
        self.table.add(&Figure {
            name: name.to_owned(),
            value,
            unit,
            against,
            goal,
        });
    }

    /// Adds a row that stands alone.
    pub(crate) fn add_alone(&mut self, name: &str, unit: Unit, value: f64, goal: Goal) {
        self.table.add(&Figure {
            name: name.to_owned(),
            value,
            unit,
            against: None,
            goal,
        });
    }

    /// Says that rows are left out, and why.
    pub(crate) fn leave_out(&mut self, what: &str, why: &str) {
        self.table.leave_out(what, why);
    }
}

type Part = (&'static str, fn(&mut Run));

const PARTS: [Part; 9] = [
    ("forwarding", forwarding::measure),
    ("fanout", fanout::measure),
    ("native", native::measure),
    ("overlay", overlay::measure),
    ("web", web::measure),
    ("detector", detector::measure),
    ("accuracy", accuracy::measure),
    ("sender", sender::measure),
    ("memory", memory::measure),
];

fn main() {
    // cargo adds `--bench`.
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let after = |flag: &str| words.iter().skip_while(|word| *word != flag).nth(1);
    let only = after("--only").map(|names| names.split(',').collect::<Vec<_>>());
    let mut run = Run {
        quick: words.iter().any(|word| word == "--quick"),
        table: Table::default(),
    };
    imaging::jpeg::single_threaded().unwrap();
    let load = machine::Load::start();
    for (name, measure) in PARTS {
        if only.as_ref().is_none_or(|only| only.contains(&name)) {
            eprintln!("bench: {name} ..");
            measure(&mut run);
        }
    }
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{}\n{}\n{}",
        run.table,
        machine::describe(),
        load.say()
    )
    .unwrap();
}

/// The middle one.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    percentile(values, 0.5)
}

/// The value below which this share lies; NaN where there is none.
pub(crate) fn percentile(values: impl IntoIterator<Item = f64>, share: f64) -> f64 {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    let place = (sorted.len() as f64 * share) as usize;
    sorted
        .get(place.min(sorted.len().saturating_sub(1)))
        .copied()
        .unwrap_or(f64::NAN)
}

/// A duration in microseconds.
pub(crate) fn us(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
