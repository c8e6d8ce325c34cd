//! The cost of annotated frames at the relay, for viewers that draw no boxes.
//!
//! Three relays get the demo's frames in turn, and each infers every 4th: one annotates no frame, one the inferred ones, one
//! all. The last costs more than the first by the tracking, and by one decode and one encode of each frame, however many
//! viewers share it.

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use imaging::jpeg;
use protocol::geometry::Size;
use scene::Scene;
use testkit::figures::{Goal, Unit};

use crate::fanout::UdpFanout;
use crate::programs::Relay;
use crate::{Run, median, us};

const SIZE: Size = Size {
    width: 300,
    height: 200,
};
/// JPEG quality of the sender, and of the relay for annotated frames.
const QUALITY: u8 = 80;
const ANNOTATED: u8 = 90;
const FPS: f64 = 10.0;
/// 20 s of the scene, played again and again.
const FRAMES: u64 = 200;
/// Time between two frames of a side, at 10 fps: a third of it for each side.
const INTERVAL: Duration = Duration::from_millis(100);
/// Number of frames that only warm caches and let the viewers join.
const WARM: u64 = 10;

pub(crate) fn measure(run: &mut Run) {
    if let Err(why) = vision::detect::runtime::load(None) {
        return run.leave_out("boxes on the picture", &format!("{why:#}"));
    }
    let scene = Scene::new(1, SIZE, FPS, 60.0).unwrap();
    let frame = |n| jpeg::encode(&scene.draw(n).unwrap(), QUALITY).unwrap();
    let frames: Vec<Vec<u8>> = (0..FRAMES).map(frame).collect();
    let overlays = ["none", "every-nth", "hold"].map(|overlay| {
        // The file is demand for boxes, so that the model works the same for all three.
        let args = ["--overlay", overlay, "--detections", "/dev/null"];
        Relay::start(Some("demo".as_ref()), &args)
    });
    let side = |relay: &Relay| UdpFanout::new(frames.clone(), relay.address, &relay.cpu);
    let mut sides = overlays.each_ref().map(side);

    let [none, nth, hold] = costs(run, &mut sides, 1);
    let name = "CPU a frame, one UDP viewer: --overlay hold";
    run.add(name, Unit::Us, hold, ("every-nth", nth), Goal::None);
    run.add(name, Unit::Us, hold, ("none", none), Goal::None);
    let name =
        |viewers| format!("annotated UDP frame: one decode and one encode shared by {viewers}");
    let (one, floor) = (hold - none, ("decode + encode", codec(&frames)));
    run.add(&name("1 viewer"), Unit::Us, one, floor, Goal::None);
    let [none, _, hold] = costs(run, &mut sides, 4);
    let (four, alone) = (hold - none, ("1 viewer", one));
    run.add(&name("4 viewers"), Unit::Us, four, alone, Goal::Times(1.2));
}

/// Returns the microseconds a frame of each relay with so many viewers.
fn costs(run: &Run, sides: &mut [UdpFanout; 3], viewers: usize) -> [f64; 3] {
    let frames = WARM + run.seconds(20, 3).as_millis() as u64 / INTERVAL.as_millis() as u64;
    let mut next = Instant::now();
    for side in &mut *sides {
        side.grow(viewers);
    }
    for frame in 0..frames {
        for side in &mut *sides {
            next += INTERVAL / 3;
            side.frame(next, frame >= WARM);
        }
    }
    sides.each_mut().map(|side| viewers as f64 * side.cost())
}

/// Returns the microseconds of the codec, the least work of annotating a JPEG, with caches as cold as between two frames.
fn codec(frames: &[Vec<u8>]) -> f64 {
    median(frames.iter().take(50).map(|frame| {
        thread::sleep(INTERVAL / 5);
        let start = Instant::now();
        let picture = jpeg::decode(frame).unwrap();
        black_box(jpeg::encode(&picture, ANNOTATED).unwrap());
        us(start.elapsed())
    }))
}
