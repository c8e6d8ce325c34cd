//! The rows: a line each while they are measured, a table at the end.

use e2e::attack::Attack;
use testkit::figures::aligned;

use crate::Row;
use crate::figures::Measured;

const COLUMNS: usize = 10;
const HEAD: [&str; COLUMNS] = [
    "attack",
    "a second",
    "delivered",
    "age p50",
    "p99",
    "in the relay",
    "memory",
    "log an hour",
    "inferred",
    "goals",
];
const GOALS: &str = "goals: all frames delivered, age p99 at most twice the calm one, memory at most 64 MiB above idle, \
                     at most 1 MB of log an hour, at least 80 % of the calm inferences";

/// Returns the name of a run.
pub(crate) fn name(attack: Option<Attack>) -> &'static str {
    attack.map_or("calm", Attack::name)
}

/// Returns all rows and the goals.
pub(crate) fn of(rows: &[Row], calm: Option<&Measured>) -> String {
    let row = |(attack, measured): &Row| {
        let [a, b, c, d, e, f, g, h, i] = figures(measured, calm);
        [name(*attack).to_owned(), a, b, c, d, e, f, g, h, i]
    };
    let rows: Vec<[String; COLUMNS]> = rows.iter().map(row).collect();
    aligned(&HEAD.map(str::to_owned), &rows) + GOALS
}

/// Returns one row as a line.
pub(crate) fn line(measured: &Result<Measured, String>, calm: Option<&Measured>) -> String {
    let figures = HEAD[1..].iter().zip(figures(measured, calm));
    let known = figures.filter(|(_, value)| !value.is_empty());
    let known: Vec<String> = known
        .map(|(what, value)| format!("{what} {value}"))
        .collect();
    known.join(", ") + &measured.as_ref().map_or_else(|_| String::new(), not_shown)
}

/// Returns which frames are missing, and how many of them never left the sender.
fn not_shown(measured: &Measured) -> String {
    match measured.missing[..] {
        [] => String::new(),
        [first, ..] => format!(
            "; not shown: {} from number {first} on; skipped by the sender: {:.0}",
            measured.missing.len(),
            measured.skipped
        ),
    }
}

fn figures(measured: &Result<Measured, String>, calm: Option<&Measured>) -> [String; COLUMNS - 1] {
    let measured = match measured {
        Ok(measured) => measured,
        Err(why) => {
            let mut failed = [const { String::new() }; COLUMNS - 1];
            failed[COLUMNS - 2] = format!("FAILED: {why}");
            return failed;
        }
    };
    let of_calm = |value: f64, calm: Option<f64>| match calm {
        Some(calm) if calm > 0.0 => format!(" ({:.2} x)", value / calm),
        _ => String::new(),
    };
    let (p99, inferred) = (measured.age(0.99), measured.inferences());
    let missed = measured.missed(calm);
    [
        rate(measured),
        format!(
            "{:.1} % of {:.0}",
            100.0 * measured.delivered(),
            measured.offered
        ),
        format!("{:.1} ms", measured.age(0.5)),
        format!("{p99:.1} ms{}", of_calm(p99, calm.map(|c| c.age(0.99)))),
        format!("{:.1} ms", measured.in_relay_ms),
        format!("+{:.0} MiB", measured.grown_kb as f64 / 1024.0),
        format!("{:.2} MB", measured.log_an_hour(calm) / 1e6),
        format!(
            "{inferred:.2} /s{}",
            of_calm(inferred, calm.map(Measured::inferences))
        ),
        match missed.is_empty() {
            true => "MET".to_owned(),
            false => format!("MISSED: {}", missed.join(", ")),
        },
    ]
}

/// Returns what the attacker achieved.
fn rate(measured: &Measured) -> String {
    let Some((attack, achieved)) = measured.achieved else {
        return String::new();
    };
    let seconds = achieved.took.as_secs_f64();
    let refused = match achieved.refused {
        0 => String::new(),
        refused => format!(", {:.0} refused", refused as f64 / seconds),
    };
    let done = achieved.done as f64 / seconds;
    format!("{done:.0} {}{refused}", attack.unit())
}
