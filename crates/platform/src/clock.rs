//! This host's two clocks. A user, or NTP after the start, sets the wall clock while a program runs; the steady clock
//! runs on through that, so differences and comparisons of it stay true.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Longest time between two readings that count as one: a program that waits for a processor in between has read two
/// different times.
const MAX_READING_US: u64 = 10_000;

/// Returns the wall clock's time in microseconds since the Unix epoch; 0 on a host whose clock stands before 1970.
pub fn unix_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_micros()).unwrap_or(u64::MAX)
}

/// Returns the steady clock's time in microseconds: it began at the wall clock's time when the program first read it, and
/// never steps.
pub fn steady_micros() -> u64 {
    static BEGIN: OnceLock<(Instant, u64)> = OnceLock::new();
    let (begin, wall) = BEGIN.get_or_init(|| (Instant::now(), unix_micros()));
    let since = u64::try_from(begin.elapsed().as_micros());
    wall.saturating_add(since.unwrap_or(u64::MAX))
}

/// Returns the times of the steady clock and of the wall clock at the same moment; `None` if this thread was interrupted
/// between the readings.
pub fn both_micros() -> Option<(u64, u64)> {
    let (steady, wall) = (steady_micros(), unix_micros());
    (steady_micros() - steady <= MAX_READING_US).then_some((steady, wall))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steady_clock_begins_at_the_wall_clocks_time_and_does_not_go_back() {
        let (first, wall) = (steady_micros(), unix_micros());
        assert!(first.abs_diff(wall) < 10_000_000, "{first} {wall}");
        assert!(steady_micros() >= first);
        let both = (0..1000).find_map(|_| both_micros());
        assert!(both.is_some_and(|(steady, _)| steady >= first));
    }
}
