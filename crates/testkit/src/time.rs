//! A start for virtual time.

use std::time::Instant;

/// Where a test's clock starts; all that follows is this plus a duration.
///
/// The pure crates ban `Instant::now`, in their tests too, so that no rule is ever tested against the real clock.
/// An `Instant` can be had in no other way, so this is the one place that asks for it.
pub fn start() -> Instant {
    Instant::now()
}
