//! A start for virtual time.

use std::time::Instant;

/// Returns the start of a test's clock; all later times are this plus a duration.
///
/// The pure crates ban `Instant::now`, in their tests too, so that no rule is ever tested against the real clock.
/// There is no other way to make an `Instant`, so this is the one place that does.
pub fn start() -> Instant {
    Instant::now()
}
