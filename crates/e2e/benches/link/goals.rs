//! The goals of QUIC, and of every stream: MET or MISSED.

use testkit::figures::{Figure, Goal, Table, Unit};

use crate::cell::{Cell, CellGoal, GoalFigure, Transport};
use crate::measure::{Measured, Outcome};

/// Returns the goals, each beside UDP on the same link, and the names of those that were not measured.
pub(crate) fn table(results: &[(Cell, Outcome)]) -> String {
    let mut table = Table::default();
    for cell in Cell::all() {
        for goal in cell.goals() {
            add(&mut table, &cell, goal, results);
        }
    }
    let growing = add_slope(&mut table, results);
    let growing = growing
        .iter()
        .map(|name| format!("the age grows: {name}\n"));
    table.to_string() + &growing.collect::<String>()
}

fn add(table: &mut Table, cell: &Cell, goal: CellGoal, results: &[(Cell, Outcome)]) {
    let (figure, goal) = goal;
    let (what, unit) = figure.describe();
    let value = |measured| figure.of(measured);
    let name = format!("{}: {what}", cell.name());
    let udp = Cell {
        transport: Transport::Udp,
        ..*cell
    };
    match find(results, cell) {
        Some(Outcome::Measured(measured)) => {
            let udp = find(results, &udp).and_then(Outcome::measured);
            table.add(&Figure {
                name,
                value: value(measured),
                unit,
                against: udp.map(|udp| ("UDP".to_owned(), value(udp))),
                goal,
            });
        }
        Some(Outcome::Failed(why)) => table.leave_out(&name, why),
        None => table.leave_out(&name, "not among the cells of this run"),
    }
}

impl GoalFigure {
    /// Returns the name in the table, and the unit.
    fn describe(self) -> (&'static str, Unit) {
        match self {
            Self::Delivered => ("delivered", Unit::Percent),
            Self::LinkUsed => ("link used by delivered frames", Unit::Percent),
            Self::AgeP95 => ("age p95", Unit::Ms),
        }
    }

    /// Returns the value that was measured.
    fn of(self, measured: &Measured) -> f64 {
        match self {
            Self::Delivered => 100.0 * measured.delivered(),
            Self::LinkUsed => 100.0 * measured.link_used.unwrap_or(f64::NAN),
            Self::AgeP95 => measured.age(0.95),
        }
    }
}

/// Adds one row for all cells, and returns the names of those that miss its goal.
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
            Self::Failed(_) => None,
        }
    }
}
