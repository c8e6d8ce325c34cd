//! Acts at a steady rate.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

/// Time between two batches of acts.
const TICK: Duration = Duration::from_millis(1);
/// Longest time that is caught up with after a pause.
const CATCH_UP: Duration = Duration::from_millis(20);

/// Calls `act` with 0, 1, ... so many times a second, until it is dropped.
pub(crate) async fn steadily(a_second: u32, mut act: impl FnMut(u64)) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (mut last, mut due, mut number) = (Instant::now(), 0.0, 0);
    loop {
        ticks.tick().await;
        let now = Instant::now();
        due += (now - last).min(CATCH_UP).as_secs_f64() * f64::from(a_second);
        last = now;
        while due >= 1.0 {
            act(number);
            number += 1;
            due -= 1.0;
        }
    }
}
