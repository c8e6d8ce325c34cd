//! The time that the detector adds to the network's own, and the cost of an inferred frame at the whole relay.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use ort::environment::Environment;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::TensorRef;
use protocol::geometry::Size;
use testkit::cpu::CpuClock;
use testkit::figures::{Goal, Unit};
use vision::detect::{self, Detector, Model, runtime};

use crate::media;
use crate::peer::TutorialServer;
use crate::programs::Relay;
use crate::udp::{UdpCamera, UdpViewer};
use crate::{Run, median};

const SQUARE: Size = Size {
    width: 640,
    height: 640,
};
/// The input size that `--net-size auto` chooses for 300x200.
const CHOSEN: Size = Size {
    width: 480,
    height: 320,
};

pub(crate) fn measure(run: &mut Run) {
    let (Some(fixed), Some(free)) = (media::model_640(), media::model_free()) else {
        return run.leave_out("the detector", "../shared/data/models is not here");
    };
    match environment() {
        Ok(environment) => {
            against_bare(run, environment, &free, SQUARE, Goal::Times(1.1));
            against_bare(run, environment, &free, CHOSEN, Goal::None);
        }
        Err(why) => run.leave_out("JPEG bytes to boxes", why),
    }
    against_tutorial(run, &fixed, &free);
}

/// Loads ONNX Runtime once and returns it.
pub(crate) fn environment() -> Result<&'static Environment, &'static str> {
    static LOADED: std::sync::OnceLock<Result<Environment, String>> = std::sync::OnceLock::new();
    let loaded = LOADED.get_or_init(|| runtime::load(None).map_err(|err| format!("{err:#}")));
    loaded.as_ref().map_err(String::as_str)
}

/// Returns a detector with this input size and the relay's other defaults.
pub(crate) fn detector(
    environment: &Environment,
    model: &Path,
    net_size: Option<Size>,
    conf: f32,
) -> Detector {
    let settings = detect::Settings {
        conf,
        net_size,
        threads: threads(),
        ..detect::Settings::default()
    };
    Detector::load(environment, &Model::File(model.to_owned()), settings).unwrap()
}

/// Returns the relay's default: all processors but one.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get().saturating_sub(1).max(1))
}

/// Compares the detector with the bare network, turn by turn, so that a busy moment slows both.
fn against_bare(run: &mut Run, environment: &Environment, model: &Path, size: Size, goal: Goal) {
    let mut detector = detector(environment, model, Some(size), 0.25);
    let mut bare = session(environment, model).unwrap();
    let input = bare.inputs()[0].name().to_owned();
    let frames = wire_frames();
    let shape = [1, 3, i64::from(size.height), i64::from(size.width)];
    let pixels = vec![0.5_f32; 3 * usize::from(size.width) * usize::from(size.height)];
    let (mut whole, mut network) = (Vec::new(), Vec::new());
    let end = Instant::now() + run.seconds(20, 3) / if goal == Goal::None { 3 } else { 1 };
    for frame in frames.iter().cycle() {
        let start = Instant::now();
        detector.detect(frame).unwrap();
        let middle = Instant::now();
        let tensor = TensorRef::from_array_view((shape, &pixels[..])).unwrap();
        bare.run(ort::inputs![input.as_str() => tensor]).unwrap();
        whole.push(millis(middle - start));
        network.push(millis(middle.elapsed()));
        if Instant::now() > end {
            break;
        }
    }
    let name = format!("300x200 JPEG to boxes, net {}x{}", size.width, size.height);
    run.add(
        &name,
        Unit::Ms,
        median(whole),
        ("session.run", median(network)),
        goal,
    );
}

/// Returns a session with the relay's settings.
fn session(environment: &Environment, model: &Path) -> ort::Result<Session> {
    Session::builder(environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(threads())?
        .with_intra_op_spinning(false)?
        .commit_from_file(model)
}

/// Returns photographs of the wire's size.
fn wire_frames() -> Vec<Vec<u8>> {
    let directory = testkit::shared("data/images/wire300x200").unwrap();
    let files = fs::read_dir(directory).unwrap();
    files
        .map(|file| fs::read(file.unwrap().path()).unwrap())
        .collect()
}

fn against_tutorial(run: &mut Run, fixed: &Path, free: &Path) {
    let peer = match TutorialServer::start(fixed) {
        Ok(peer) => peer,
        Err(why) => return run.leave_out("CPU an inferred frame against tutorial/server.py", &why),
    };
    let long = run.seconds(10, 3);
    let (spent, frames) = stream(peer.address, &peer.cpu, long);
    let theirs = millis(spent) / (frames / 4) as f64;
    for (name, model, goal) in [
        (
            "relay's CPU an inferred frame, default 480x320",
            free,
            Goal::Times(1.0 / 3.0),
        ),
        (
            "relay's CPU an inferred frame, 640x640 like theirs",
            fixed,
            Goal::None,
        ),
    ] {
        let relay = Relay::start(Some(model), &[]);
        let (spent, _) = stream(relay.address, &relay.cpu, long);
        let [inferred] = relay.stop(["inferred"]);
        run.add(
            name,
            Unit::Ms,
            millis(spent) / inferred,
            ("tutorial", theirs),
            goal,
        );
    }
}

/// Runs a camera at 20 fps and a viewer, and returns the relay's processor time and the number of frames that arrived.
fn stream(relay: std::net::SocketAddr, cpu: &CpuClock, long: Duration) -> (Duration, usize) {
    let viewer = UdpViewer::join(relay);
    let before = cpu.spent();
    let (_, seen) = UdpCamera::new(media::camera(), relay).stream(&viewer, 20, long);
    (cpu.spent() - before, seen.len())
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
