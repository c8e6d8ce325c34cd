//! What a stream of frames takes of a network. Pure.

use std::fmt;

/// Seconds of a day.
const DAY: f64 = 86_400.0;

/// The data rate of a stream, shown as `0.7 Mbit/s, 7.9 GB a day`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bandwidth {
    bytes_per_second: f64,
}

impl Bandwidth {
    /// Returns that of frames like one of so many bytes.
    pub(crate) fn of_frames(bytes: usize, fps: f64) -> Self {
        Self {
            bytes_per_second: bytes as f64 * fps,
        }
    }
}

impl fmt::Display for Bandwidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let megabits = self.bytes_per_second * 8.0 / 1e6;
        let gigabytes = self.bytes_per_second * DAY / 1e9;
        write!(f, "{megabits:.1} Mbit/s, {gigabytes:.1} GB a day")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_shown_per_second_and_per_day() {
        let shown = |bytes, fps| Bandwidth::of_frames(bytes, fps).to_string();
        assert_eq!(shown(9200, 10.0), "0.7 Mbit/s, 7.9 GB a day");
        assert_eq!(shown(50_000, 30.0), "12.0 Mbit/s, 129.6 GB a day");
        assert_eq!(shown(10_000, 0.2), "0.0 Mbit/s, 0.2 GB a day");
    }
}
