//! The wall clock, as the labels of frames count it, and as file names show it.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Zoned;

/// Returns the time in microseconds since the Unix epoch; 0 on a host whose clock stands before 1970.
pub fn unix_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_micros()).unwrap_or(u64::MAX)
}

/// Returns the local time as a part of a file's name, such as `2026-11-28_15-30-12.345`: names sort, and two in a second differ.
pub fn local_time_as_name() -> String {
    Zoned::now().strftime("%Y-%m-%d_%H-%M-%S%.3f").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_in_a_name_has_no_character_that_a_file_system_refuses() {
        let name = local_time_as_name();
        assert_eq!(name.len(), "2026-11-28_15-30-12.345".len(), "{name}");
        let fits = |c: char| c.is_ascii_digit() || "-_.".contains(c);
        assert!(name.chars().all(fits), "{name}");
    }
}
