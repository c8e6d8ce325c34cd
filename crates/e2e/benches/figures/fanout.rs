//! What a frame costs the relay for each viewer, against a loop of `sendto`.
//!
//! Both sides get the same frames in turn, and are measured while they sleep, so that the scheduler's statistics are exact.
//! The viewers' sockets are emptied by polling: a viewer's own wake-up is its own host's cost, not the relay's.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use testkit::cpu::CpuClock;
use testkit::figures::{Goal, Unit};

use crate::forwarder::DatagramForwarder;
use crate::media;
use crate::programs::Relay;
use crate::udp::{UdpCamera, UdpViewer};
use crate::{Run, us};

const FRAME: usize = 20_000;
/// Time between two frames of a side, at 10 fps: half of it for the other side.
const INTERVAL: Duration = Duration::from_millis(100);
/// Number of frames that only warm caches and let the viewers join.
const WARM: u64 = 3;

pub(crate) fn measure(run: &mut Run) {
    let (relay, floor) = (Relay::start(None, &[]), DatagramForwarder::start());
    let frame = || vec![media::frame_of(FRAME - LABEL)];
    let mut ours = UdpFanout::new(frame(), relay.address, &relay.cpu);
    let mut bare = UdpFanout::new(frame(), floor.address, &floor.cpu);
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

/// A forwarder under measurement, with its camera and viewers.
pub(crate) struct UdpFanout {
    camera: UdpCamera,
    viewers: Vec<UdpViewer>,
    relay: SocketAddr,
    cpu: CpuClock,
    /// Reading of the clock after the last frame.
    last: Duration,
    /// Time and copies since the last `cost`.
    spent: Duration,
    copies: usize,
}

impl UdpFanout {
    pub(crate) fn new(frames: Vec<Vec<u8>>, relay: SocketAddr, cpu: &CpuClock) -> Self {
        Self {
            camera: UdpCamera::new(frames, relay),
            viewers: Vec::new(),
            relay,
            cpu: cpu.clone(),
            last: Duration::ZERO,
            spent: Duration::ZERO,
            copies: 0,
        }
    }

    pub(crate) fn grow(&mut self, viewers: usize) {
        self.viewers
            .resize_with(viewers, || UdpViewer::join(self.relay));
    }

    /// Sends a frame, sleeps until `then`, and adds the time spent since the last frame, which includes the work that a
    /// viewer's reading causes.
    pub(crate) fn frame(&mut self, then: Instant, counts: bool) {
        self.camera.send();
        thread::sleep(then.saturating_duration_since(Instant::now()));
        let copies: usize = self.viewers.iter().map(UdpViewer::drain).sum();
        let spent = self.cpu.spent();
        if counts {
            self.spent += spent - self.last;
            self.copies += copies;
        }
        self.last = spent;
    }

    /// Returns the microseconds a copy since the last call.
    pub(crate) fn cost(&mut self) -> f64 {
        us(std::mem::take(&mut self.spent)) / std::mem::take(&mut self.copies) as f64
    }
}

/// Bytes that the label adds to a frame.
const LABEL: usize = 73;
