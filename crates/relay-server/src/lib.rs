//! Sightline's relay: frames in, frames and boxes out, now.
//!
//! ```text
//!            +------ serve: one loop, moves bytes ------+        model thread: JPEG -> boxes
//!  UDP 8081  |  door --> relay (PURE: decides) --> door | <---->
//!            +------------------------------------------+        overlay thread: JPEG + boxes -> JPEG
//! ```

pub mod args;
pub mod detect;
pub mod door;
pub mod event;
pub mod places;
pub mod relay;
pub mod serve;
pub mod sink;
pub mod worker;

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use platform::{jpeg, report, signals, udp};
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::args::{Args, ModelChoice, Overlay};
use crate::detect::{Detector, Model, Settings, runtime};
use crate::door::Door;
use crate::event::EVENTS;
use crate::relay::{Relay, Rules};
use crate::serve::{Figures, Server};

/// The model that is used where none is named.
const MODEL: &str = "models/yolov5n.onnx";
/// A receive buffer below this holds less than half a second of a camera's largest frames.
const SMALL_BUFFER: usize = 1 << 20;
/// How long a stop waits for the inference that runs and for detections to reach their file.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Runs the relay until it is told to stop.
///
/// # Errors
/// Whatever keeps it from starting: its message names the cause and the cure.
pub fn run(args: &Args) -> anyhow::Result<()> {
    if args.model != Some(ModelChoice::None) {
        runtime::silence_telemetry();
    }
    // One thread: forwarding a frame is a few system calls, and the model has threads of its own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    runtime.block_on(serve(args))
}

async fn serve(args: &Args) -> anyhow::Result<()> {
    let stop = signals::stop_on_signals()?;
    jpeg::single_threaded()?;
    let (tell, events) = mpsc::channel(EVENTS);
    let door = Door::open(args.listen, tell.clone())?;
    let sink = args.detections.as_deref().map(sink::open).transpose()?;
    let chosen = model(args)?;
    let model = match chosen.clone() {
        None => None,
        Some(model) => {
            let loading = worker::model(loader(args, model), tell.clone());
            tokio::select! {
                model = loading => Some(model?),
                () = stop.cancelled() => return Ok(()),
            }
        }
    };
    let mut relay = Relay::new(rules(args, chosen.as_ref()), Instant::now());
    let places = places::file(args.state.as_deref(), args.listen.port());
    if let Some(file) = &places {
        relay.restore(places::load(file, SystemTime::now()), Instant::now());
    }
    let mut server = Server {
        relay,
        overlay: worker::overlay(tell)?,
        door,
        model,
        sink,
        places: places.map(places::keeper).transpose()?,
        figures: Figures::default(),
    };
    info!(addr = %server.door.local(), model = %name(chosen.as_ref()), every = %args.every, "listening");
    advise(args, &server.door);
    server.run(events, stop).await;
    let report = server.close(PATIENCE);
    if args.common.report {
        report::print(&report);
    }
    Ok(())
}

/// The model: the one that was named, else the default file where it is present, else the embedded one.
fn model(args: &Args) -> anyhow::Result<Option<Model>> {
    match &args.model {
        Some(ModelChoice::None) => Ok(None),
        Some(ModelChoice::Demo) => Ok(Some(Model::Demo)),
        Some(ModelChoice::File(file)) => {
            let found = runtime::model(file).with_context(|| format!("--model {}", file.display()));
            Ok(Some(Model::File(found?)))
        }
        None => Ok(Some(
            runtime::model(Path::new(MODEL)).map_or(Model::Demo, Model::File),
        )),
    }
}

fn loader(args: &Args, model: Model) -> impl FnOnce() -> anyhow::Result<Detector> + Send + 'static {
    let settings = Settings {
        conf: args.conf,
        iou: args.iou,
        classes: args.classes.clone(),
        net_size: args.net_size.0,
        threads: args.threads.map_or_else(spare_processors, usize::from),
    };
    let library = args.onnxruntime.clone();
    move || Detector::load(&runtime::load(library.as_deref())?, &model, settings)
}

/// All processors but the one that forwards.
fn spare_processors() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get().saturating_sub(1).max(1))
}

fn rules(args: &Args, model: Option<&Model>) -> Rules {
    Rules {
        every: model.map(|_| args.every),
        burn: args.overlay == Overlay::EveryNth,
        detections_read: args.detections.is_some(),
        model: name(model),
        demo: model == Some(&Model::Demo),
        plain_viewers: args.plain_viewers.into(),
        plain_egress: (args.plain_egress * 1e6) as u64,
    }
}

fn name(model: Option<&Model>) -> String {
    model.map_or_else(|| "none".to_owned(), ToString::to_string)
}

/// What an operator should know at the start.
fn advise(args: &Args, door: &Door) {
    if args.plain_viewers > 0 && !args.listen.ip().is_loopback() {
        warn!(
            "open to all: whoever reaches UDP port {} can watch; a firewall closes it, or --plain-viewers 0",
            door.local().port()
        );
    }
    if args.model == Some(ModelChoice::None) && args.detections.is_some() {
        warn!("--model none finds nothing, so nothing will be written for --detections");
    }
    if door.receive_buffer < SMALL_BUFFER {
        warn!(
            granted = door.receive_buffer,
            "the kernel grants a small receive buffer, so bursts of large frames may be lost; sysctl -w net.core.rmem_max={} cures it",
            udp::RECEIVE_BUFFER
        );
    }
}
