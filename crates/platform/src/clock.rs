//! The wall clock, as the labels of frames count it.

use std::time::{SystemTime, UNIX_EPOCH};

/// Returns the time in microseconds since the Unix epoch; 0 on a host whose clock stands before 1970.
pub fn unix_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_micros()).unwrap_or(u64::MAX)
}
