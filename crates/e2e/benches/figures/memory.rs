//! How much memory the relay holds with its model, and how soon it is there.

use std::thread;
use std::time::{Duration, Instant};

use testkit::figures::{Goal, Unit};

use crate::peer::Tutorial;
use crate::programs::Relay;
use crate::viewer::{Camera, Viewer};
use crate::{Run, media, median};

/// The pace of the tutorial's sender.
const INTERVAL: Duration = Duration::from_millis(100);
const STARTS: usize = 3;

pub(crate) fn measure(run: &mut Run) {
    let ready = |model: Option<&std::path::Path>| {
        median((0..STARTS).map(|_| Relay::start(model, &[]).ready_in.as_secs_f64() * 1e3))
    };
    let none = ready(None);
    run.add_alone(
        "start to `listening`, --model none",
        Unit::Ms,
        none,
        Goal::None,
    );
    let Some(model) = media::model_640() else {
        return run.leave_out(
            "memory with the model",
            "../shared/data/models/yolov5n-640.onnx is not here",
        );
    };
    let loaded = ready(Some(&model));
    let relay = Relay::start(Some(&model), &[]);
    let one = resident(&relay, 1, run);
    let all = resident(&relay, 200, run);
    match Tutorial::start(&model) {
        Ok(peer) => {
            let viewer = Viewer::join(peer.address);
            stream(peer.address, &[viewer], run);
            run.add(
                "start to `listening`, YOLOv5n",
                Unit::Ms,
                loaded,
                ("tutorial", peer.ready_in.as_secs_f64() * 1e3),
                Goal::None,
            );
            run.add(
                "resident with YOLOv5n 640x640, 1 viewer",
                Unit::Mb,
                one,
                ("tutorial", peer.resident_mb()),
                Goal::None,
            );
        }
        Err(why) => {
            run.leave_out("tutorial/server.py's start and memory", &why);
            run.add_alone(
                "start to `listening`, YOLOv5n",
                Unit::Ms,
                loaded,
                Goal::None,
            );
            run.add_alone(
                "resident with YOLOv5n 640x640, 1 viewer",
                Unit::Mb,
                one,
                Goal::None,
            );
        }
    }
    run.add(
        "resident with YOLOv5n 640x640, 200 viewers",
        Unit::Mb,
        all,
        ("1 viewer", one),
        Goal::None,
    );
}

/// After some seconds of frames, some of them inferred.
fn resident(relay: &Relay, viewers: usize, run: &Run) -> f64 {
    let viewers: Vec<Viewer> = (0..viewers).map(|_| Viewer::join(relay.address)).collect();
    stream(relay.address, &viewers, run);
    relay.resident_mb()
}

fn stream(relay: std::net::SocketAddr, viewers: &[Viewer], run: &Run) {
    let mut camera = Camera::new(media::camera(), relay);
    let end = Instant::now() + run.seconds(5, 1);
    while Instant::now() < end {
        camera.send();
        thread::sleep(INTERVAL);
        for viewer in viewers {
            viewer.drain();
        }
    }
}
