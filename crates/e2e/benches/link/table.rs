//! The rows: a line each while they are measured, a table at the end.

use testkit::figures::aligned;

use crate::cell::Cell;
use crate::measure::{Measured, Outcome};

const HEAD: [&str; 10] = [
    "link",
    "frames",
    "transport",
    "delivered",
    "shown",
    "age p50",
    "p95",
    "age, ms/min",
    "overhead",
    "link used",
];

/// Returns all rows; the transports of the same link are neighbours.
pub(crate) fn of(results: &[(Cell, Outcome)]) -> String {
    let rows: Vec<[String; 10]> = results.iter().map(|(cell, o)| row(cell, o)).collect();
    aligned(&HEAD.map(str::to_owned), &rows)
}

/// Returns one row as a line.
pub(crate) fn line(cell: &Cell, outcome: &Outcome) -> String {
    let figures = match outcome {
        Outcome::Failed(why) => format!("FAILED: {why}"),
        Outcome::Measured(measured) => {
            let known = HEAD[3..].iter().zip(figures(measured));
            let known = known.filter(|(_, value)| !value.is_empty());
            let known: Vec<String> = known
                .map(|(what, value)| format!("{what} {value}"))
                .collect();
            known.join(", ")
        }
    };
    format!("{}: {figures}", cell.name())
}

fn row(cell: &Cell, outcome: &Outcome) -> [String; 10] {
    let [a, b, c, d, e, f, g] = match outcome {
        Outcome::Measured(measured) => figures(measured),
        Outcome::Failed(_) => ["FAILED", "", "", "", "", "", ""].map(str::to_owned),
    };
    let transport = cell.transport.name().to_owned();
    [
        cell.link_name(),
        cell.frames_name(),
        transport,
        a,
        b,
        c,
        d,
        e,
        f,
        g,
    ]
}

fn figures(measured: &Measured) -> [String; 7] {
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let known = |value: f64, text: String| {
        if value.is_finite() {
            text
        } else {
            "-".to_owned()
        }
    };
    let age = |share| {
        known(
            measured.age(share),
            format!("{:.0} ms", measured.age(share)),
        )
    };
    let trend = measured.trend.map(|trend| {
        let mark = if measured.grows() { " !" } else { "" };
        format!("{:+.1} +- {:.1}{mark}", trend.slope, trend.error)
    });
    [
        percent(measured.delivered()),
        percent(measured.shown()),
        age(0.5),
        age(0.95),
        trend.unwrap_or("-".to_owned()),
        known(measured.overhead, format!("{:.2} x", measured.overhead)),
        measured.link_used.map(percent).unwrap_or_default(),
    ]
}
