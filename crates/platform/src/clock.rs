//! This host's two clocks. A user, or NTP after the start, sets the wall clock while a program runs; the steady clock
//! runs on through that, so differences and comparisons of it stay true. File names show the
//! local time.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use jiff::Zoned;

/// Longest time between two readings that count as one: a program that waits for a processor in between has read two
/// different times.
const MAX_READING_US: u64 = 10_000;

/// Returns the wall clock's time in microseconds since the Unix epoch; 0 on a host whose clock stands before 1970.
pub fn unix_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_micros()).unwrap_or(u64::MAX)
}

/// Returns the local time as a part of a file's name, such as `2026-11-28_15-30-12.345`: names sort, and two in a second differ.
pub fn local_time_as_name() -> String {
    Zoned::now().strftime("%Y-%m-%d_%H-%M-%S%.3f").to_string()
}

/// Returns the minute of the local day, from 0 to 1439.
pub fn local_minute() -> u16 {
    let time = Zoned::now().time();
    let [hour, minute] = [time.hour(), time.minute()].map(|x| u16::try_from(x).unwrap_or(0));
    60 * hour + minute
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
    fn a_time_in_a_name_has_no_character_that_a_file_system_refuses() {
        assert!(local_minute() < 24 * 60);
        let name = local_time_as_name();
        assert_eq!(name.len(), "2026-11-28_15-30-12.345".len(), "{name}");
        let fits = |c: char| c.is_ascii_digit() || "-_.".contains(c);
        assert!(name.chars().all(fits), "{name}");
    }

    #[test]
    fn the_steady_clock_begins_at_the_wall_clocks_time_and_does_not_go_back() {
        let (first, wall) = (steady_micros(), unix_micros());
        assert!(first.abs_diff(wall) < 10_000_000, "{first} {wall}");
        assert!(steady_micros() >= first);
        let both = (0..1000).find_map(|_| both_micros());
        assert!(both.is_some_and(|(steady, _)| steady >= first));
    }
}
