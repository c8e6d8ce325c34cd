//! The memory of the relay with its model, and the time of its start.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use testkit::figures::{Goal, Unit};

use crate::peer::TutorialServer;
use crate::programs::Relay;
use crate::udp::{UdpCamera, UdpViewer};
use crate::{Run, media, median};

/// The pace of the tutorial's sender.
const INTERVAL: Duration = Duration::from_millis(100);
const STARTS: usize = 3;

pub(crate) fn measure(run: &mut Run) {
    let ready = |model: Option<&Path>| {
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
    against_tutorial(run, &model, loaded, one);
    run.add(
        "resident with YOLOv5n 640x640, 200 viewers",
        Unit::Mb,
        all,
        ("1 viewer", one),
        Goal::None,
    );
}

/// Adds the start in ms and the resident memory in MB, each beside the tutorial's if that is here.
fn against_tutorial(run: &mut Run, model: &Path, start_ms: f64, resident_mb: f64) {
    let peer = TutorialServer::start(model).map(|peer| {
        stream(peer.address, &[UdpViewer::join(peer.address)], run);
        [peer.ready_in.as_secs_f64() * 1e3, peer.resident_mb()]
    });
    let rows = [
        ("start to `listening`, YOLOv5n", Unit::Ms, start_ms),
        (
            "resident with YOLOv5n 640x640, 1 viewer",
            Unit::Mb,
            resident_mb,
        ),
    ];
    if let Err(why) = &peer {
        run.leave_out("tutorial/server.py's start and memory", why);
    }
    for (n, (name, unit, value)) in rows.into_iter().enumerate() {
        match &peer {
            Ok(peer) => run.add(name, unit, value, ("tutorial", peer[n]), Goal::None),
            Err(_) => run.add_alone(name, unit, value, Goal::None),
        }
    }
}

/// Returns the resident memory in MB after some seconds of frames, some of them inferred.
fn resident(relay: &Relay, viewers: usize, run: &Run) -> f64 {
    let viewers: Vec<UdpViewer> = (0..viewers)
        .map(|_| UdpViewer::join(relay.address))
        .collect();
    stream(relay.address, &viewers, run);
    relay.resident_mb()
}

fn stream(relay: std::net::SocketAddr, viewers: &[UdpViewer], run: &Run) {
    let mut camera = UdpCamera::new(media::camera(), relay);
    let end = Instant::now() + run.seconds(5, 1);
    while Instant::now() < end {
        camera.send();
        thread::sleep(INTERVAL);
        for viewer in viewers {
            viewer.drain();
        }
    }
}
