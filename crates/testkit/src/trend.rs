//! Whether a series grows: the straight line through it, and the standard error of its slope.

use std::collections::BTreeMap;

const FEWEST: usize = 8;

/// The slope of a least-squares line, and its standard error, both in units of y by units of x.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trend {
    /// The slope.
    pub slope: f64,
    /// Its standard error.
    pub error: f64,
}

impl Trend {
    /// Returns the line through points, of which all within one `bin` of x count as one, their median; `None` for fewer than
    /// 8 bins, whose error would itself be little more than a guess.
    ///
    /// What follows closely on each other is alike (frames in one queue), and taken one by one would make the error far
    /// too small; a bin is to be longer than that memory. The median, since a machine's hiccup is no trend.
    pub fn of(points: impl IntoIterator<Item = (f64, f64)>, bin: f64) -> Option<Self> {
        let points = medians(points, bin);
        let n = points.len() as f64;
        if points.len() < FEWEST {
            return None;
        }
        let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
        let (x0, y0) = (mean(|p| p.0), mean(|p| p.1));
        let xx: f64 = points.iter().map(|(x, _)| (x - x0).powi(2)).sum();
        let xy: f64 = points.iter().map(|(x, y)| (x - x0) * (y - y0)).sum();
        let slope = xy / xx;
        let rest: f64 = points
            .iter()
            .map(|(x, y)| (y - y0 - slope * (x - x0)).powi(2))
            .sum();
        Some(Self {
            slope,
            error: (rest / (n - 2.0) / xx).sqrt(),
        })
    }
}

/// Returns the median of each bin that is not empty, at the mean of its x.
fn medians(points: impl IntoIterator<Item = (f64, f64)>, bin: f64) -> Vec<(f64, f64)> {
    let mut bins = BTreeMap::<i64, (Vec<f64>, Vec<f64>)>::new();
    for (x, y) in points {
        let (xs, ys) = bins.entry((x / bin).floor() as i64).or_default();
        xs.push(x);
        ys.push(y);
    }
    let medians = bins.into_values().map(|(xs, mut ys)| {
        ys.sort_by(f64::total_cmp);
        (xs.iter().sum::<f64>() / xs.len() as f64, ys[ys.len() / 2])
    });
    medians.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_without_error() {
        let trend = Trend::of(
            (0..10).map(|x| (f64::from(x), 3.0 - 2.0 * f64::from(x))),
            1.0,
        );
        let trend = trend.unwrap();
        assert!((trend.slope + 2.0).abs() < 1e-9 && trend.error < 1e-9);
    }

    #[test]
    fn the_error_is_that_of_the_textbook() {
        // 0, 1, 0, 1, .. at 0..=7: Sxx = 42 and Sxy = 2, so the squares of the residuals sum up to 2 - 4 / 42, of which the
        // sixth part is the variance.
        let points = (0..8).map(|x| (f64::from(x), f64::from(x % 2)));
        let trend = Trend::of(points, 1.0).unwrap();
        assert!((trend.slope - 2.0 / 42.0).abs() < 1e-9);
        let variance = (2.0 - 4.0 / 42.0) / 6.0;
        assert!((trend.error - (variance / 42.0_f64).sqrt()).abs() < 1e-9);
    }

    #[test]
    fn a_saw_that_goes_nowhere_has_a_slope_within_its_error() {
        let saw = (0..600).map(|n| (f64::from(n) / 10.0, f64::from(n % 37)));
        let trend = Trend::of(saw, 5.0).unwrap();
        assert!(trend.slope.abs() < 2.0 * trend.error, "{trend:?}");
    }

    #[test]
    fn a_hiccup_is_no_trend() {
        let flat = (0..200).map(|n| (f64::from(n) / 10.0, if n > 195 { 900.0 } else { 30.0 }));
        assert_eq!(Trend::of(flat, 1.0).unwrap().slope, 0.0);
    }

    #[test]
    fn few_bins_are_no_line_however_many_points_they_hold() {
        let points = || (0..700).map(|n| (f64::from(n) / 100.0, 1.0));
        assert_eq!(Trend::of(points(), 1.0), None);
        assert!(Trend::of(points(), 0.5).is_some());
    }
}
