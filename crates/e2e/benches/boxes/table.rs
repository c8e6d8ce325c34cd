//! The scores of each way of showing boxes, and the goals: MET or MISSED.

use testkit::boxes::Score;
use testkit::figures::{Figure, Goal, Table, Unit, aligned};

use crate::{Cell, Outcome};

/// N and speed, in pixels a second, of the cells with goals.
const GOALS: (u32, u32) = (4, 80);

/// Returns a row for each speed and N, over all scenes.
pub(crate) fn of(results: &[(Cell, Outcome)]) -> String {
    let head = [
        "F1 on shown frames",
        "N",
        "every-nth",
        "hold",
        "tracked",
        "of the model's",
        "flickers/s: hold",
        "tracked",
        "new ids",
        "shown",
    ];
    let mut rows: Vec<_> = results.iter().map(|(cell, _)| row(cell, results)).collect();
    rows.dedup();
    aligned(&head.map(str::to_owned), &rows)
}

/// Returns the two goals, each beside the score of boxes that are held still.
pub(crate) fn goals(results: &[(Cell, Outcome)]) -> String {
    let mut table = Table::default();
    let (every, speed) = GOALS;
    let name = |what: &str| format!("demo at {speed} px/s, N = {every}: {what}");
    let scores = (all(results, speed, every), all(results, speed, 1));
    let (Ok(scores), Ok(model)) = scores else {
        table.leave_out(&name("tracked boxes"), "a chain failed");
        return table.to_string();
    };
    let share = |score: &Score| 100.0 * score.f1() / model.every_nth.f1();
    let (tracked, hold) = (&scores.drawn, &scores.hold);
    table.add(&Figure {
        name: name("tracked, of the model's own F1"),
        value: share(tracked),
        unit: Unit::Percent,
        against: Some(("hold".to_owned(), share(hold))),
        goal: Goal::Least(95.0),
    });
    table.add(&Figure {
        name: name("flicker"),
        value: tracked.flicker(),
        unit: Unit::PerSecond,
        against: Some(("hold".to_owned(), hold.flicker())),
        goal: Goal::Most(2.0),
    });
    table.to_string()
}

/// Returns one cell as a line.
pub(crate) fn line(cell: &Cell, outcome: &Outcome) -> String {
    let Cell { speed, every, seed } = cell;
    let figures = match outcome {
        Ok(scores) => format!(
            "hold {:.3}, tracked {:.3}, {} of {} frames shown",
            scores.hold.f1(),
            scores.drawn.f1(),
            scores.shown,
            scores.frames
        ),
        Err(why) => format!("FAILED: {why}"),
    };
    format!("{speed} px/s, N = {every}, scene {seed}: {figures}")
}

/// Returns the row that a cell belongs to.
fn row(cell: &Cell, results: &[(Cell, Outcome)]) -> [String; 10] {
    let name = format!("demo, {} px/s", cell.speed);
    let every = cell.every.to_string();
    let Ok(scores) = all(results, cell.speed, cell.every) else {
        return [
            name.as_str(),
            every.as_str(),
            "FAILED",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
        ]
        .map(str::to_owned);
    };
    let f1 = |score: &Score| format!("{:.3}", score.f1());
    let model = all(results, cell.speed, 1).map(|model| model.every_nth.f1());
    let share = model.map(|model| format!("{:.1} %", 100.0 * scores.drawn.f1() / model));
    [
        name,
        every,
        f1(&scores.every_nth),
        f1(&scores.hold),
        f1(&scores.drawn),
        share.unwrap_or("-".to_owned()),
        format!("{:.2}", scores.hold.flicker()),
        format!("{:.2}", scores.drawn.flicker()),
        format!("{:.0}", scores.drawn.switched),
        format!(
            "{:.1} %",
            100.0 * scores.shown as f64 / scores.frames as f64
        ),
    ]
}

/// Returns the sum of all scenes of a row.
fn all(results: &[(Cell, Outcome)], speed: u32, every: u32) -> Outcome {
    let of = |cell: &Cell| (cell.speed, cell.every) == (speed, every);
    let scores = results.iter().filter(|(cell, _)| of(cell));
    scores.map(|(_, outcome)| outcome.clone()).sum()
}
