//! How long a frame takes through the relay while the model works, and whether any is lost.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use testkit::figures::{Goal, Unit};

use crate::bare::Forwarder;
use crate::media;
use crate::native::Audience;
use crate::peer::Tutorial;
use crate::programs::Relay;
use crate::viewer::{Camera, Seen, Viewer};
use crate::{Run, median, percentile};

/// The default of the relay and of the tutorial: each 4th frame goes to the model, and is not passed through.
const EVERY: u64 = 4;
/// Frames at the start of a turn that only warm caches.
const WARM: u64 = 10;
/// What a frame may take through a relay on an idle machine, in microseconds.
const AT_MOST: f64 = 1000.0;
/// What the delay is compared over at 100 fps: the frames of the first and of the last so many seconds.
const END: u64 = 2;

pub(crate) fn measure(run: &mut Run) {
    let Some(model) = media::model_640() else {
        return run.leave_out(
            "delay of forwarding",
            "../shared/data/models/yolov5n-640.onnx is not here",
        );
    };
    let floor = Forwarder::start();
    let none = Relay::start(None, &[]);
    let busy = Relay::start(Some(&model), &["--every", "4"]);
    // Whoever watches at the native door has the objects followed on every frame.
    let audience = Audience::start();
    for relay in [&none, &busy] {
        audience.join(relay.address, true, &Arc::default());
    }
    let peer = Tutorial::start(&model);
    let mut chains = vec![
        Chain::new(floor.address),
        Chain::new(none.address),
        Chain::new(busy.address),
    ];
    match &peer {
        Ok(peer) => chains.push(Chain::new(peer.address)),
        Err(why) => run.leave_out("tutorial/server.py beside it", why),
    }

    for _ in 0..if run.quick { 1 } else { 4 } {
        for chain in &mut chains {
            chain.turn(run.seconds(5, 3));
        }
    }
    let p50: Vec<f64> = chains
        .iter()
        .map(|chain| median(chain.delays.iter().copied()))
        .collect();
    let p99: Vec<f64> = chains
        .iter()
        .map(|chain| percentile(chain.delays.iter().copied(), 0.99))
        .collect();
    let (bare, ours) = ("recv + sendto", "30 fps, model and tracks busy: delay");
    run.add(
        &format!("{ours} p99"),
        Unit::Us,
        p99[2],
        ("--model none", p99[1]),
        Goal::Times(1.2),
    );
    run.add(
        &format!("{ours} p99, under 1 ms"),
        Unit::Us,
        p99[2],
        (bare, p99[0]),
        Goal::Most(AT_MOST),
    );
    run.add(
        &format!("{ours} p50"),
        Unit::Us,
        p50[2],
        (bare, p50[0]),
        Goal::None,
    );
    if let [_, _, _, peer] = p99[..] {
        run.add(
            &format!("{ours} p50"),
            Unit::Us,
            p50[2],
            ("tutorial", p50[3]),
            Goal::None,
        );
        run.add(
            &format!("{ours} p99"),
            Unit::Us,
            p99[2],
            ("tutorial", peer),
            Goal::None,
        );
    }
    let [own_p99] = busy.stop(["forward_us_p99"]);
    run.add_alone(
        "30 fps: the relay's own forward_us_p99",
        Unit::Us,
        own_p99,
        Goal::Most(AT_MOST),
    );

    let fast = Relay::start(Some(&model), &["--every", "4"]);
    let [lost, first, last] = Chain::new(fast.address).at_100_fps(run);
    let beside = chains.get_mut(3).map(|chain| chain.at_100_fps(run));
    let name = "100 fps: frames lost of 1000";
    match beside {
        Some([peer, ..]) => run.add(name, Unit::Count, lost, ("tutorial", peer), Goal::Most(0.0)),
        None => run.add_alone(name, Unit::Count, lost, Goal::Most(0.0)),
    }
    run.add(
        "100 fps: delay p50, last 2 s",
        Unit::Us,
        last,
        ("first 2 s", first),
        Goal::Times(1.5),
    );
    if let Some([_, _, peer]) = beside {
        run.add(
            "100 fps: delay p50, last 2 s",
            Unit::Us,
            last,
            ("tutorial", peer),
            Goal::None,
        );
    }
}

/// A camera, a relay and a viewer.
struct Chain {
    camera: Camera,
    viewer: Viewer,
    /// Delays so far of the frames that pass through at 30 fps.
    delays: Vec<f64>,
}

impl Chain {
    fn new(relay: SocketAddr) -> Self {
        let viewer = Viewer::join(relay);
        Self {
            camera: Camera::new(media::camera(), relay),
            viewer,
            delays: Vec::new(),
        }
    }

    /// Some seconds at 30 fps.
    fn turn(&mut self, long: Duration) {
        let (first, seen) = self.camera.stream(&self.viewer, 30, long);
        let warm = seen.iter().filter(|seen| seen.seq >= first + WARM);
        self.delays
            .extend(warm.filter(passed_through).map(|seen| seen.delay_us));
    }

    /// Ten seconds at 100 fps: frames lost of 1000, and the median delay at the start and at the end.
    fn at_100_fps(&mut self, run: &Run) -> [f64; 3] {
        let long = run.seconds(10, 4);
        let (first, seen) = self.camera.stream(&self.viewer, 100, long);
        let sent = 100 * long.as_secs();
        let between = |from: u64, to: u64| {
            let within = seen
                .iter()
                .filter(|seen| (first + from..first + to).contains(&seen.seq));
            median(within.filter(passed_through).map(|seen| seen.delay_us))
        };
        let lost = 1000.0 * (1.0 - seen.len() as f64 / sent as f64);
        [lost, between(0, 100 * END), between(sent - 100 * END, sent)]
    }
}

/// The relay counts frames from 1, and so does the camera.
fn passed_through(seen: &&Seen) -> bool {
    !seen.seq.is_multiple_of(EVERY)
}
