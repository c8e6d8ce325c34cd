//! What is promised of the native door, and of every stream: MET or MISSED.

use testkit::figures::{Figure, Goal, Table, Unit};

use crate::cell::{Cell, Door, Promise};
use crate::measure::{Measured, Outcome};

/// The goals, each beside the plain door on the same link; those that were not measured are named.
pub(crate) fn table(results: &[(Cell, Outcome)]) -> String {
    let mut table = Table::default();
    for cell in Cell::all() {
        for promise in cell.promises() {
            add(&mut table, &cell, promise, results);
        }
    }
    let growing = add_slope(&mut table, results);
    let growing = growing
        .iter()
        .map(|name| format!("the age grows: {name}\n"));
    table.to_string() + &growing.collect::<String>()
}

fn add(table: &mut Table, cell: &Cell, promise: Promise, results: &[(Cell, Outcome)]) {
    let (what, unit, value, goal) = promise;
    let name = format!("{}: {what}", cell.name());
    let plain = Cell {
        door: Door::Udp,
        ..*cell
    };
    match find(results, cell) {
        Some(Outcome::Measured(measured)) => {
            let plain = find(results, &plain).and_then(Outcome::measured);
            table.add(&Figure {
                name,
                value: value(measured),
                unit,
                against: plain.map(|plain| ("plain door".to_owned(), value(plain))),
                goal,
            });
        }
        Some(Outcome::NotBuilt) => table.leave_out(&name, "the native door is not built"),
        Some(Outcome::Failed(why)) => table.leave_out(&name, why),
        None => table.leave_out(&name, "not among the cells of this run"),
    }
}

/// One row for all cells; gives the names of those that break it.
fn add_slope(table: &mut Table, results: &[(Cell, Outcome)]) -> Vec<String> {
    let measured: Vec<_> = results
        .iter()
        .filter_map(|(cell, outcome)| Some((cell, outcome.measured()?)))
        .collect();
    let growing = measured.iter().filter(|(_, measured)| measured.grows());
    let growing: Vec<String> = growing.map(|(cell, _)| cell.name()).collect();
    table.add(&Figure {
        name: format!("cells of {} in which the age grows", measured.len()),
        value: growing.len() as f64,
        unit: Unit::Count,
        against: None,
        goal: Goal::Most(0.0),
    });
    growing
}

fn find<'a>(results: &'a [(Cell, Outcome)], cell: &Cell) -> Option<&'a Outcome> {
    let found = results.iter().find(|(other, _)| other == cell)?;
    Some(&found.1)
}

impl Outcome {
    fn measured(&self) -> Option<&Measured> {
        match self {
            Self::Measured(measured) => Some(measured),
            Self::NotBuilt | Self::Failed(_) => None,
        }
    }
}
