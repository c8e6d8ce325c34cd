//! How boxes age: one rule for the tracker, the viewer and the page.
//!
//! A box is *supported* by a detection of the model. While no newer detection supports it:
//!
//! ```text
//!   opacity
//!      1 |-------------+                        life = two intervals between inferences,
//!        |              \                              at least 1 s, at most 10 s
//!      0 |...............\------>  time
//!        0          life/2   life
//! ```
//!
//! A screen that misses the message of a frame moves the boxes of the newest message on: with the velocity of each
//! box's centre between the last two messages. The size does not change, since the difference of two sizes is mostly
//! noise.
//!
//! `crates/protocol/tests/ageing.json` holds the cases that the Rust code and the page's script are both tested with.

use std::time::Duration;

use crate::geometry::BBox;

/// Shortest life of a box without support.
pub const SHORTEST_LIFE: Duration = Duration::from_secs(1);
/// Longest life of a box without support.
pub const LONGEST_LIFE: Duration = Duration::from_secs(10);

/// Returns how long a box outlives its last support, from the interval between two inferences, if one is known.
pub fn life(interval: Option<Duration>) -> Duration {
    interval.map_or(SHORTEST_LIFE, |interval| {
        interval
            .saturating_mul(2)
            .clamp(SHORTEST_LIFE, LONGEST_LIFE)
    })
}

/// Returns the opacity, 0 to 1, of a box that was last supported `age` ago.
pub fn opacity(age: Duration, life: Duration) -> f32 {
    let share = age.as_secs_f64() / life.as_secs_f64().max(f64::MIN_POSITIVE);
    (2.0 * (1.0 - share)).clamp(0.0, 1.0) as f32
}

/// Returns a box of the newest message `since` seconds later, clipped to the picture; `None` once no part of it is
/// inside.
///
/// `earlier` is the same track's box in an older message and the seconds between the two messages; without it the box
/// stays where it was.
pub fn moved(last: BBox, earlier: Option<(BBox, f64)>, since: f64) -> Option<BBox> {
    let Some((earlier, between)) = earlier.filter(|(_, between)| *between > 0.0) else {
        return Some(last);
    };
    let (now, then) = (last.centre(), earlier.centre());
    let step = [0, 1].map(|axis| (f64::from(now[axis]) - f64::from(then[axis])) * since / between);
    let moved = last.moved(step.map(|step| step as f32)).clipped();
    (moved.area() > 0.0 || step == [0.0; 2]).then_some(moved)
}
