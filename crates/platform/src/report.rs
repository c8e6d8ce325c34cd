//! Percentiles in constant memory, and the output of `--report`.

use std::io::{self, Write as _};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// Percentiles of durations from 1 us to an hour, to three digits, in constant memory.
#[derive(Debug, Clone)]
pub struct Percentiles(Histogram<u64>);

impl Default for Percentiles {
    fn default() -> Self {
        Self(
            Histogram::new_with_bounds(1, 3_600_000_000, 3)
                .expect("1 us to 1 h at 3 digits are valid bounds"),
        )
    }
}

impl Percentiles {
    /// Records a duration.
    pub fn record(&mut self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.0.saturating_record(us);
    }

    /// Returns a percentile; `None` before the first duration.
    pub fn at(&self, percentile: f64) -> Option<Duration> {
        (!self.0.is_empty()).then(|| Duration::from_micros(self.0.value_at_percentile(percentile)))
    }

    /// Returns a percentile in milliseconds for `--report`: null before the first duration.
    pub fn ms(&self, percentile: f64) -> Value {
        self.at(percentile)
            .map_or(Value::Null, |d| json!(d.as_micros() as f64 / 1e3))
    }

    /// Returns a percentile in microseconds for `--report`: null before the first duration.
    pub fn us(&self, percentile: f64) -> Value {
        self.at(percentile)
            .map_or(Value::Null, |d| json!(d.as_micros()))
    }

    /// Returns each recorded duration, to three digits, with its count.
    pub fn recorded(&self) -> impl Iterator<Item = (Duration, u64)> {
        self.0.iter_recorded().map(|bucket| {
            let duration = Duration::from_micros(bucket.value_iterated_to());
            (duration, bucket.count_at_value())
        })
    }

    /// Adds the durations of another.
    pub fn merge(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all have the same bounds");
    }

    /// Removes all durations.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// Prints the object as one line on standard output. A closed standard output is not a failure.
pub fn print(report: &Value) {
    let _ = writeln!(io::stdout(), "{report}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_right_to_three_digits_and_null_when_unknown() {
        let mut figures = Percentiles::default();
        assert_eq!(figures.ms(50.0), Value::Null);
        for ms in 1..=1000 {
            figures.record(Duration::from_millis(ms));
        }
        let close = |value: Value, want: f64| (value.as_f64().unwrap() / want - 1.0).abs() < 0.002;
        assert!(close(figures.ms(50.0), 500.0) && close(figures.us(99.0), 990_000.0));
        figures.record(Duration::from_secs(100_000));
        assert!(figures.at(100.0).unwrap() <= Duration::from_secs(3700));
    }
}
