//! The one table that a benchmark prints: each figure against a floor or a peer that was measured in the same run.
//!
//! A ratio can be compared across machines, a time cannot; so a goal is a ratio if there is a floor or a peer.

use std::fmt;

/// The unit of a figure, which decides how it is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Microseconds.
    Us,
    /// Milliseconds.
    Ms,
    /// Megabytes.
    Mb,
    /// A plain number.
    Count,
    /// Frames a second.
    Fps,
    /// Events a second.
    PerSecond,
    /// Average precision, 0 to 1.
    Precision,
    /// Hundredths.
    Percent,
}

/// The goal of a figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    /// The value is at most so many times the floor's or peer's.
    Times(f64),
    /// The value is at most this, whatever the floor.
    Most(f64),
    /// The value is at least this, whatever the floor.
    Least(f64),
    /// Value and floor differ by at most this share.
    Within(f64),
    /// No goal: the figure is only shown.
    None,
}

/// One row of a table.
#[derive(Debug, Clone)]
pub struct Figure {
    /// Name of the measurement.
    pub name: String,
    /// Result.
    pub value: f64,
    /// Unit of the value and of the floor.
    pub unit: Unit,
    /// Name and result of the floor or peer.
    pub against: Option<(String, f64)>,
    /// The goal of a figure.
    pub goal: Goal,
}

/// All rows, and the names of the missing ones.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<[String; 6]>,
    left_out: Vec<String>,
}

impl Unit {
    fn write(self, value: f64) -> String {
        match self {
            Self::Us if value < 100.0 => format!("{value:.1} us"),
            Self::Us => format!("{value:.0} us"),
            Self::Ms => format!("{value:.2} ms"),
            Self::Mb => format!("{value:.0} MB"),
            Self::Count => format!("{value:.0}"),
            Self::Fps => format!("{value:.2} fps"),
            Self::PerSecond => format!("{value:.2} /s"),
            Self::Precision => format!("{value:.3}"),
            Self::Percent => format!("{value:.2} %"),
        }
    }
}

impl Figure {
    /// Returns the value divided by the floor; `None` without a floor or with one of 0.
    pub fn ratio(&self) -> Option<f64> {
        let (_, floor) = self.against.as_ref()?;
        (*floor != 0.0).then(|| self.value / floor)
    }

    /// Returns whether the goal is met; `None` without a goal. A value that could not be measured meets none.
    pub fn met(&self) -> Option<bool> {
        let ratio = self.ratio().unwrap_or(f64::NAN);
        match self.goal {
            Goal::Times(most) => Some(ratio <= most),
            Goal::Most(most) => Some(self.value <= most),
            Goal::Least(least) => Some(self.value >= least),
            Goal::Within(share) => Some((ratio - 1.0).abs() <= share),
            Goal::None => None,
        }
    }

    fn row(&self) -> [String; 6] {
        let against = self
            .against
            .as_ref()
            .map_or_else(String::new, |(name, value)| {
                format!("{name} ({})", self.unit.write(*value))
            });
        let goal = match self.goal {
            Goal::Times(most) => format!("<= {most:.2} x"),
            Goal::Most(most) => format!("<= {}", self.unit.write(most)),
            Goal::Least(least) => format!(">= {}", self.unit.write(least)),
            Goal::Within(share) => format!("within {:.0} %", 100.0 * share),
            Goal::None => "-".to_owned(),
        };
        let met = match self.met() {
            Some(true) => "MET",
            Some(false) => "MISSED",
            None => "-",
        };
        let ratio = self.ratio().map_or_else(String::new, |ratio| match ratio {
            small if small < 0.1 => format!("{small:.4} x"),
            ratio => format!("{ratio:.2} x"),
        });
        [
            self.name.clone(),
            self.unit.write(self.value),
            against,
            ratio,
            goal,
            met.to_owned(),
        ]
    }
}

impl Table {
    /// Adds a row.
    pub fn add(&mut self, figure: &Figure) {
        self.rows.push(figure.row());
    }

    /// Records that rows are left out, and why.
    pub fn leave_out(&mut self, what: &str, why: &str) {
        self.left_out.push(format!("left out: {what}: {why}"));
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["figure", "value", "floor or peer", "ratio", "goal", ""].map(str::to_owned);
        f.write_str(&aligned(&head, &self.rows))?;
        self.left_out
            .iter()
            .try_for_each(|what| writeln!(f, "{what}"))
    }
}

/// Returns a table with aligned columns, in Markdown.
pub fn aligned<const N: usize>(head: &[String; N], rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().chain([head]).map(|row| row[column].len());
        cells.max().unwrap_or(0)
    };
    let line = |row: &[String; N]| {
        let cells = row.iter().enumerate();
        let cells = cells.map(|(column, cell)| format!("| {cell:0$} ", width(column)));
        cells.collect::<String>() + "|\n"
    };
    let rule = (0..N).map(|column| format!("|{}", "-".repeat(width(column) + 2)));
    let rule = rule.collect::<String>() + "|\n";
    line(head) + &rule + &rows.iter().map(line).collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(value: f64, floor: f64, goal: Goal) -> Figure {
        Figure {
            name: "cost".to_owned(),
            value,
            unit: Unit::Us,
            against: Some(("bare".to_owned(), floor)),
            goal,
        }
    }

    #[test]
    fn a_promise_is_kept_up_to_its_limit() {
        assert_eq!(figure(12.0, 10.0, Goal::Times(1.2)).met(), Some(true));
        assert_eq!(figure(12.1, 10.0, Goal::Times(1.2)).met(), Some(false));
        assert_eq!(figure(60.0, 1.0, Goal::Most(60.0)).met(), Some(true));
        assert_eq!(figure(60.0, 1.0, Goal::Least(60.0)).met(), Some(true));
        assert_eq!(figure(59.9, 1.0, Goal::Least(60.0)).met(), Some(false));
        assert_eq!(figure(9.8, 10.0, Goal::Within(0.01)).met(), Some(false));
        assert_eq!(figure(9.0, 10.0, Goal::None).met(), None);
    }

    #[test]
    fn a_floor_of_nothing_or_a_value_that_is_none_keeps_no_promise() {
        assert_eq!(figure(1.0, 0.0, Goal::Times(9.0)).met(), Some(false));
        assert_eq!(figure(f64::NAN, 1.0, Goal::Most(9.0)).met(), Some(false));
    }

    #[test]
    fn the_table_is_aligned_and_names_what_is_missing() {
        let mut table = Table::default();
        table.add(&figure(12.0, 10.0, Goal::Times(1.5)));
        table.leave_out("the model's rows", "no ../shared");
        assert_eq!(
            table.to_string(),
            "| figure | value   | floor or peer  | ratio  | goal      |     |\n\
             |--------|---------|----------------|--------|-----------|-----|\n\
             | cost   | 12.0 us | bare (10.0 us) | 1.20 x | <= 1.50 x | MET |\n\
             left out: the model's rows: no ../shared\n"
        );
    }
}
