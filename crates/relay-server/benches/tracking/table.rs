//! The two tables: what each way of showing boxes reaches, and whether the goals are met.

use std::fmt;

use crate::score::Score;

/// F1 of every way, and more of the tracked one.
#[derive(Debug, Default)]
pub(crate) struct Table(Vec<[String; 9]>);

impl Table {
    /// `scores` are those of every-nth, hold, velocity and tracked.
    pub(crate) fn add(&mut self, name: &str, every: u64, model: &Score, scores: &[Score; 4]) {
        let [nth, hold, velocity, tracked] = scores.each_ref().map(|score| score.f1());
        let share = 100.0 * tracked / model.f1();
        let last = &scores[3];
        self.0.push([
            name.to_owned(),
            every.to_string(),
            format!("{nth:.3}"),
            format!("{hold:.3}"),
            format!("{velocity:.3}"),
            format!("{tracked:.3}"),
            format!("{share:.1} %"),
            format!("{:.2}", last.flicker()),
            format!("{:.0}", last.switched),
        ]);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = [
            "F1 on all frames",
            "N",
            "every-nth",
            "hold",
            "velocity",
            "tracked",
            "of the model's",
            "flickers/s",
            "new ids",
        ];
        write_rows(f, head, &self.0)
    }
}

/// What is promised, and what came out.
#[derive(Debug, Default)]
pub(crate) struct Goals {
    rows: Vec<[String; 4]>,
    left_out: Vec<String>,
}

impl Goals {
    /// A share in per cent that is to be at least so much.
    pub(crate) fn least(&mut self, name: &str, value: f64, least: f64) {
        let name = format!("{name}, of the model's own at N = 1");
        let (value_, goal) = (format!("{value:.1} %"), format!(">= {least} %"));
        self.rows.push([name, value_, goal, met(value >= least)]);
    }

    /// A number that is to be at most so much.
    pub(crate) fn most(&mut self, name: &str, unit: &str, value: f64, most: f64) {
        let show = |value: f64| {
            let digits = if most < 10.0 { 2 } else { 0 };
            format!("{value:.digits$} {unit}").trim_end().to_owned()
        };
        let goal = format!("<= {}", show(most));
        self.rows
            .push([name.to_owned(), show(value), goal, met(value <= most)]);
    }

    /// Says that something is missing, and why.
    pub(crate) fn leave_out(&mut self, what: &str) {
        self.left_out.push(format!("left out: {what}"));
    }
}

fn met(is_met: bool) -> String {
    (if is_met { "MET" } else { "MISSED" }).to_owned()
}

impl fmt::Display for Goals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_rows(f, ["N = 4", "value", "goal", ""], &self.rows)?;
        self.left_out
            .iter()
            .try_for_each(|what| writeln!(f, "{what}"))
    }
}

fn write_rows<const N: usize>(
    f: &mut fmt::Formatter<'_>,
    head: [&str; N],
    rows: &[[String; N]],
) -> fmt::Result {
    let head = head.map(str::to_owned);
    let width = |column: usize| {
        let cells = rows.iter().chain([&head]).map(|row| row[column].len());
        cells.max().unwrap_or(0)
    };
    let rule: [String; N] = std::array::from_fn(|column| "-".repeat(width(column)));
    for row in [&head, &rule].into_iter().chain(rows) {
        for (column, cell) in row.iter().enumerate() {
            write!(f, "| {cell:0$} ", width(column))?;
        }
        writeln!(f, "|")?;
    }
    Ok(())
}
