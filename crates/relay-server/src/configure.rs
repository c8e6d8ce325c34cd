//! From the command line to the model, its settings and the relay's rules.

use std::num::NonZeroUsize;
use std::path::Path;

use anyhow::Context as _;
use protocol::label::StreamId;
use relay_core::RelaySettings;
use vision::detect::{Detector, Model, Settings, runtime};

use crate::args::{Args, ModelChoice};

/// The model that is used if none is named.
const DEFAULT_MODEL: &str = "models/yolov5n.onnx";

/// Returns the model: the one that was named, else the default file if it is present, else the embedded one.
pub(crate) fn model(args: &Args) -> anyhow::Result<Option<Model>> {
    match &args.model {
        Some(ModelChoice::None) => Ok(None),
        Some(ModelChoice::Demo) => Ok(Some(Model::Demo)),
        Some(ModelChoice::File(file)) => {
            let found = runtime::model(file).with_context(|| format!("--model {}", file.display()));
            Ok(Some(Model::File(found?)))
        }
        None => Ok(Some(
            runtime::default_model(Path::new(DEFAULT_MODEL)).map_or(Model::Demo, Model::File),
        )),
    }
}

/// Returns what loads the model, on whichever thread calls it.
pub(crate) fn loader(
    args: &Args,
    model: Model,
) -> impl FnOnce() -> anyhow::Result<Detector> + Send + 'static {
    let settings = settings(args);
    let library = args.onnxruntime.clone();
    move || Detector::load(&runtime::load(library.as_deref())?, &model, settings)
}

/// Returns the detector's settings.
pub(crate) fn settings(args: &Args) -> Settings {
    let (conf, classes) = args.live_settings().for_model();
    Settings {
        conf,
        iou: args.iou,
        classes,
        net_size: args.net_size.0,
        threads: threads(args),
        provider: args.provider.explicit(),
    }
}

/// Returns the relay's rules for a model that takes `batch` frames at a time.
pub(crate) fn rules(args: &Args, model: Option<&Model>, batch: usize) -> RelaySettings {
    RelaySettings {
        every: model.map(|_| args.every),
        batch,
        model_rest_factor: rest(args),
        overlay: args.overlay,
        output_reads_detections: args.detections.is_some(),
        model: name(model),
        demo: model == Some(&Model::Demo),
        udp_viewers: args.udp_viewers.into(),
        udp_egress: (args.udp_egress * 1e6) as u64,
        private: args.private,
        // Without random numbers two runs of this relay look like one to a viewer, and nothing worse.
        stream: StreamId(getrandom::u64().unwrap_or_default()),
    }
}

/// Returns the model's name in messages and metrics.
pub(crate) fn name(model: Option<&Model>) -> String {
    model.map_or_else(|| "none".to_owned(), ToString::to_string)
}

/// Returns the threads of one inference: all processors but the one that forwards.
fn threads(args: &Args) -> usize {
    let spare = processors().saturating_sub(1).max(1);
    args.threads.map_or(spare, usize::from)
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// Returns how long the model rests after an answer, as a multiple of the time it worked on it: so much that all its threads
/// take no more than their share of the machine.
fn rest(args: &Args) -> f64 {
    let load = threads(args) as f64 / processors() as f64;
    (load.min(1.0) / args.model_cpu - 1.0).max(0.0)
}
