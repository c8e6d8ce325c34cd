//! How durations are spread over fixed bounds, as Prometheus wants it. Pure.

use std::time::Duration;

use platform::report::Percentiles;

/// Bounds for the age of a frame, in seconds: one network away, or a bad one.
pub const AGE: &[f64] = &[
    0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 1.0, 2.0, 5.0,
];
/// Bounds for what is done within the relay, in seconds.
pub const FORWARDING: &[f64] = &[
    0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5,
];
/// Bounds for an inference, in seconds: from a graphics card to a small processor.
pub const INFERENCE: &[f64] = &[
    0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0, 2.0,
];

/// A count for each bound, and one above them all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BucketHistogram {
    bounds: &'static [f64],
    counts: Vec<u64>,
    above: u64,
    sum: f64,
}

impl BucketHistogram {
    /// An empty one; `bounds` are seconds, in rising order.
    pub fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            counts: vec![0; bounds.len()],
            above: 0,
            sum: 0.0,
        }
    }

    /// What percentiles are made of, to their three digits.
    pub fn of(bounds: &'static [f64], percentiles: &Percentiles) -> Self {
        let mut all = Self::new(bounds);
        for (duration, count) in percentiles.recorded() {
            all.add_many(duration, count);
        }
        all
    }

    /// Counts a duration.
    pub fn add(&mut self, duration: Duration) {
        self.add_many(duration, 1);
    }

    fn add_many(&mut self, duration: Duration, count: u64) {
        let seconds = duration.as_secs_f64();
        let place = self.bounds.partition_point(|bound| *bound < seconds);
        *self.counts.get_mut(place).unwrap_or(&mut self.above) += count;
        self.sum += seconds * count as f64;
    }

    /// Each bound with the count of all durations up to it.
    pub fn cumulated(&self) -> impl Iterator<Item = (f64, u64)> {
        let counts = self.bounds.iter().zip(&self.counts);
        counts.scan(0, |sum, (bound, count)| {
            *sum += count;
            Some((*bound, *sum))
        })
    }

    /// All durations together, in seconds.
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum::<u64>() + self.above
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_duration_counts_for_its_bound_and_all_above() {
        let mut all = BucketHistogram::new(&[0.01, 0.1]);
        for ms in [10, 11, 100, 5000] {
            all.add(ms * MS);
        }
        assert_eq!(all.cumulated().collect::<Vec<_>>(), [(0.01, 1), (0.1, 3)]);
        assert_eq!(all.count(), 4);
        assert!((all.sum() - 5.121).abs() < 1e-9);
    }

    #[test]
    fn percentiles_are_spread_with_their_counts() {
        let mut percentiles = Percentiles::default();
        for ms in [5, 5, 50, 500] {
            percentiles.record(ms * MS);
        }
        let all = BucketHistogram::of(&[0.01, 0.1], &percentiles);
        assert_eq!(all.cumulated().collect::<Vec<_>>(), [(0.01, 2), (0.1, 3)]);
        assert_eq!(all.count(), 4);
        assert!((all.sum() - 0.56).abs() < 0.001, "{all:?}");
    }

    #[test]
    fn bounds_rise() {
        for bounds in [AGE, FORWARDING, INFERENCE] {
            assert!(bounds.is_sorted_by(|a, b| a < b));
        }
    }
}
