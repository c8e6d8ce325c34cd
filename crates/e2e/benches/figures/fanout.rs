//! What a frame costs the relay for each viewer, against a loop of `sendto`.
//!
//! Both sides get the same frames in turn, and everything is read while they sleep, so the scheduler's books are exact.
//! The viewers' sockets are emptied by polling: a viewer's own wake-up is its own host's cost, not the relay's.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use testkit::cpu::Account;
use testkit::figures::{Goal, Unit};

use crate::bare::Forwarder;
use crate::media;
use crate::programs::Relay;
use crate::viewer::{Camera, Viewer};
use crate::{Run, us};

const FRAME: usize = 20_000;
/// Between two frames of a side, at 10 fps: half of it for the other side.
const INTERVAL: Duration = Duration::from_millis(100);
/// Frames that only warm caches and let the viewers join.
const WARM: u64 = 3;

pub(crate) fn measure(run: &mut Run) {
    let (relay, floor) = (Relay::start(None, &[]), Forwarder::start());
    let frame = || vec![media::frame_of(FRAME - LABEL)];
    let mut ours = Side::new(frame(), relay.address, &relay.account);
    let mut bare = Side::new(frame(), floor.address, &floor.account);
    for (viewers, goal) in [
        (1, Goal::Most(60.0)),
        (10, Goal::None),
        (50, Goal::Times(1.2)),
        (200, Goal::Times(1.2)),
    ] {
        ours.grow(viewers);
        bare.grow(viewers);
        let frames = WARM + run.seconds(12, 2).as_millis() as u64 / INTERVAL.as_millis() as u64;
        let mut next = Instant::now();
        for frame in 0..frames {
            for side in [&mut ours, &mut bare] {
                next += INTERVAL / 2;
                side.frame(next, frame >= WARM);
            }
        }
        let name = format!("CPU a 20 kB frame and viewer, viewers: {viewers}");
        let (value, floor) = (ours.cost(), bare.cost());
        run.add(&name, Unit::Us, value, ("recv + sendto", floor), goal);
    }
}

/// One of the two that forward, with its camera and viewers.
pub(crate) struct Side {
    camera: Camera,
    viewers: Vec<Viewer>,
    relay: SocketAddr,
    account: Account,
    /// What it stood at after the last frame.
    book: Duration,
    /// Time and copies since the last `cost`.
    spent: Duration,
    copies: usize,
}

impl Side {
    pub(crate) fn new(frames: Vec<Vec<u8>>, relay: SocketAddr, account: &Account) -> Self {
        Self {
            camera: Camera::new(frames, relay),
            viewers: Vec::new(),
            relay,
            account: account.clone(),
            book: Duration::ZERO,
            spent: Duration::ZERO,
            copies: 0,
        }
    }

    pub(crate) fn grow(&mut self, viewers: usize) {
        self.viewers
            .resize_with(viewers, || Viewer::join(self.relay));
    }

    /// Sends a frame, sleeps until `then`, and sees what was spent since the last one: also on what a viewer's reading
    /// wakes up.
    pub(crate) fn frame(&mut self, then: Instant, counts: bool) {
        self.camera.send();
        thread::sleep(then.saturating_duration_since(Instant::now()));
        let copies: usize = self.viewers.iter().map(Viewer::drain).sum();
        let spent = self.account.spent();
        if counts {
            self.spent += spent - self.book;
            self.copies += copies;
        }
        self.book = spent;
    }

    /// Microseconds a copy.
    pub(crate) fn cost(&mut self) -> f64 {
        us(std::mem::take(&mut self.spent)) / std::mem::take(&mut self.copies) as f64
    }
}

/// What the label adds to a frame.
const LABEL: usize = 73;
