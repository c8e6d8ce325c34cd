//! The table of `scripts/bench`: Sightline's promises as figures, each against a floor or a peer measured in the same run.
//!
//! Real programs and UDP or TCP sockets on this machine, one measurement after the other. A busy machine slows both sides
//! alike, since the two take turns; the last line shows how busy it was with other programs.
//!
//! `--quick` takes about a minute; `--only fanout,sender` takes some of the parts.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark, like a test, fails by panicking"
)]

mod accuracy;
mod detector;
mod fanout;
mod forwarder;
mod forwarding;
mod http;
mod machine;
mod media;
mod memory;
mod overlay;
mod peer;
mod programs;
mod quic;
mod sender;
mod udp;

use std::io::Write as _;
use std::time::Duration;

use testkit::cells;
use testkit::figures::{Figure, Goal, Table, Unit};

/// A run of the benchmark and its rows so far.
pub(crate) struct Run {
    /// Whether the whole run takes only about a minute.
    pub(crate) quick: bool,
    table: Table,
}

impl Run {
    /// Returns the duration of a part in a full or in a quick run.
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

    /// Records that rows are left out, and why.
    pub(crate) fn leave_out(&mut self, what: &str, why: &str) {
        self.table.leave_out(what, why);
    }
}

type Part = (&'static str, fn(&mut Run));

const PARTS: [Part; 9] = [
    ("forwarding", forwarding::measure),
    ("fanout", fanout::measure),
    ("quic", quic::measure),
    ("overlay", overlay::measure),
    ("http", http::measure),
    ("detector", detector::measure),
    ("accuracy", accuracy::measure),
    ("sender", sender::measure),
    ("memory", memory::measure),
];

fn main() {
    let args = cells::arguments();
    let after = |flag: &str| args.iter().skip_while(|arg| *arg != flag).nth(1);
    let only = after("--only").map(|names| names.split(',').collect::<Vec<_>>());
    let mut run = Run {
        quick: args.iter().any(|arg| arg == "--quick"),
        table: Table::default(),
    };
    imaging::jpeg::single_threaded().unwrap();
    let load = machine::BackgroundLoad::start();
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
        load.describe()
    )
    .unwrap();
}

/// Returns the median.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    percentile(values, 0.5)
}

/// Returns the value below which this share lies; NaN without values.
pub(crate) fn percentile(values: impl IntoIterator<Item = f64>, share: f64) -> f64 {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    let place = (sorted.len() as f64 * share) as usize;
    sorted
        .get(place.min(sorted.len().saturating_sub(1)))
        .copied()
        .unwrap_or(f64::NAN)
}

/// Returns a duration in microseconds.
pub(crate) fn us(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
