//! The delay of a frame through the relay while the model works, and the number of lost frames.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use testkit::figures::{Goal, Unit};

use crate::forwarder::DatagramForwarder;
use crate::media;
use crate::peer::TutorialServer;
use crate::programs::Relay;
use crate::quic::QuicViewers;
use crate::udp::{ReceivedFrame, UdpCamera, UdpViewer};
use crate::{Run, median, percentile};

/// The default of the relay and of the tutorial: each 4th frame goes to the model, and is not passed through.
const EVERY: u64 = 4;
/// Number of frames at the start of a turn that only warm caches.
const WARM: u64 = 10;
/// Longest way of a frame through a relay on an idle machine, in microseconds.
const AT_MOST: f64 = 1000.0;
/// Seconds at the start and at the end over which the delay is compared at 100 fps.
const END: u64 = 2;

pub(crate) fn measure(run: &mut Run) {
    let Some(model) = media::model_640() else {
        return run.leave_out(
            "delay of forwarding",
            "../shared/data/models/yolov5n-640.onnx is not here",
        );
    };
    let floor = DatagramForwarder::start();
    let none = Relay::start(None, &[]);
    let busy = Relay::start(Some(&model), &["--every", "4"]);
    // For a QUIC viewer the relay tracks the objects on every frame.
    let viewers = QuicViewers::start();
    for relay in [&none, &busy] {
        viewers.join(relay.address, true, &Arc::default());
    }
    let peer = TutorialServer::start(&model);
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
    add_delays(run, &chains);
    let [own_p99] = busy.stop(["forward_us_p99"]);
    run.add_alone(
        "30 fps: the relay's own forward_us_p99",
        Unit::Us,
        own_p99,
        Goal::Most(AT_MOST),
    );
    let fast = Relay::start(Some(&model), &["--every", "4"]);
    let ours = Chain::new(fast.address).at_100_fps(run);
    let peer = chains.get_mut(3).map(|chain| chain.at_100_fps(run));
    add_fast(run, ours, peer);
}

/// Adds the delays at 30 fps of the bare forwarder, the relay without and with a model, and the tutorial if it is here.
fn add_delays(run: &mut Run, chains: &[Chain]) {
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
}

/// Adds the results of [`Chain::at_100_fps`], for the relay and for the tutorial if it is here.
fn add_fast(run: &mut Run, [lost, first, last]: [f64; 3], peer: Option<[f64; 3]>) {
    let name = "100 fps: frames lost of 1000";
    match peer {
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
    if let Some([_, _, peer]) = peer {
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
    camera: UdpCamera,
    viewer: UdpViewer,
    /// Delays of the passed-through frames at 30 fps.
    delays: Vec<f64>,
}

impl Chain {
    fn new(relay: SocketAddr) -> Self {
        let viewer = UdpViewer::join(relay);
        Self {
            camera: UdpCamera::new(media::camera(), relay),
            viewer,
            delays: Vec::new(),
        }
    }

    /// Runs for some seconds at 30 fps.
    fn turn(&mut self, long: Duration) {
        let (first, seen) = self.camera.stream(&self.viewer, 30, long);
        let warm = seen.iter().filter(|seen| seen.seq >= first + WARM);
        self.delays
            .extend(warm.filter(passed_through).map(|seen| seen.delay_us));
    }

    /// Runs for ten seconds at 100 fps, and returns the frames lost of 1000 and the median delay at the start and at the
    /// end.
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
fn passed_through(seen: &&ReceivedFrame) -> bool {
    !seen.seq.is_multiple_of(EVERY)
}
