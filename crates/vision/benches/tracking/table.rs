//! The table of what each way of showing boxes reaches.

use std::fmt;

use testkit::boxes::Score;
use testkit::figures::aligned;

/// F1 of every way, and more of the tracked one.
#[derive(Debug, Default)]
pub(crate) struct Table(Vec<[String; 9]>);

impl Table {
    /// Adds a row; `scores` are those of every-nth, hold, velocity and tracked.
    pub(crate) fn add(&mut self, name: &str, every: u64, model: &Score, scores: &[Score; 4]) {
        let [nth, hold, velocity, tracked] = scores.each_ref().map(Score::f1);
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
        f.write_str(&aligned(&head.map(str::to_owned), &self.0))
    }
}
