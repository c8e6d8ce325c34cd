//! The relay's memory under floods by QUIC.

use std::thread;
use std::time::Instant;

use e2e::attack::Attack;

use crate::honest::{Honest, MS, eventually};

/// Most that the relay's memory grows, in kB.
const BOUND: u64 = 64 << 10;

/// Attacks for 5 s once it has begun, and returns the largest growth of the relay's memory in kB.
fn growth(attack: Attack) -> u64 {
    let honest = Honest::start(&["--model", "none"]);
    let before = honest.relay.rss_kb();
    let attacker = honest.attack(attack);
    eventually("the attack begins", || attacker.tally().done() > 0);
    let (start, mut peak) = (Instant::now(), before);
    while start.elapsed() < 5000 * MS && peak < before + 4 * BOUND {
        peak = peak.max(honest.relay.rss_kb());
        thread::sleep(20 * MS);
    }
    peak - before
}

#[test]
fn lines_and_frames_without_an_end_on_all_streams_of_24_connections_cost_the_relay_less_than_64_mib()
 {
    let grown = growth(Attack::Endless);
    assert!(grown <= BOUND, "{grown} kB");
}

#[test]
fn frames_of_82_bytes_as_fast_as_streams_open_cost_the_relay_less_than_64_mib() {
    let grown = growth(Attack::TinyFrames);
    assert!(grown <= BOUND, "{grown} kB");
}
