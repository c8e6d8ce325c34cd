//! The detector: JPEG in, boxes out, by a network of the YOLO family with ONNX Runtime.
//!
//! [`family`] decides by the model's first output which of the [`heads`] it has.
//!
//! # Which input size
//! A model with free input size runs at the size that [`yolo::net_size`] chooses from the frame's alone. The figures behind
//! that rule, by `scripts/bench --net-size`: YOLOv5n on 48 photographs of COCO shrunk to the frame's size, at JPEG quality
//! 50, 80 and 95; processor time of one thread from JPEG to boxes on an AMD EPYC. Of so few photographs differences below
//! .02 mean nothing, those of persons (a third of all objects) less.
//!
//! | frame | network | AP50-95 | the same of persons | ms |
//! |---|---|---|---|---|
//! | 160x120 | 160x128 | .175 .187 .194 | .171 .172 .171 | 4 |
//! | | 256x192, chosen | .179 .206 .246 | .211 .236 .258 | 10 |
//! | | 320x256 | .174 .197 .225 | .220 .250 .265 | 16 |
//! | | 640x480 | .086 .150 .228 | .157 .216 .272 | 54 |
//! | 300x200 | 320x224 | .243 .242 .250 | .235 .256 .273 | 12 |
//! | | 480x320, chosen | .221 .290 .276 | .303 .327 .357 | 26 |
//! | | 640x448 | .197 .242 .281 | .292 .323 .374 | 48 |
//! | | 640x640 | .195 .255 .281 | .291 .314 .372 | 68 |
//! | 400x300 | 416x320 | .284 .278 .278 | .304 .339 .357 | 26 |
//! | | 640x480, chosen | .269 .310 .309 | .336 .386 .395 | 58 |
//! | 640x480 | 320x256 | .268 .274 .274 | .299 .299 .302 | 17 |
//! | | 480x384 | .293 .274 .294 | .363 .376 .377 | 35 |
//! | | 640x480, chosen | .294 .337 .327 | .366 .382 .397 | 56 |
//! | | 640x640 | .314 .333 .321 | .373 .399 .389 | 71 |
//! | | 960x736 | .221 .256 .295 | .361 .382 .410 | 119 |
//!
//! So a small frame is enlarged by three fifths: what is gained in persons is worth twice the time, and more costs more
//! and finds less. `--net-size 320x224` is the choice for a machine that has no such time.
//!
//! # What runs it
//! [`selection`] selects a [`provider`], [`trial`] tries it, [`verify`] checks the trial. Measured here: the processor, and OpenVINO on a processor (Python package
//! onnxruntime-openvino 1.24.1: 28.5 ms of processor time for a 480x320 picture, ONNX Runtime itself 27.2). CUDA and
//! TensorRT were only tested to be refused if the library or what it needs is missing: no device was at hand.
//!
//! # Several pictures in one run
//! On the processor they gain nothing: YOLOv5n at 480x320 takes 27.2 ms of one thread a picture alone, 27.2 with two in a
//! run and 28.0 with four (OpenVINO 28.5, 29.6 and 29.7), and the first waits for the last. So [`Detector::batch`] is 1
//! there; elsewhere it is measured at load.

pub mod classes;
pub mod family;
pub mod grid;
pub mod heads;
pub mod input;
pub mod metadata;
mod mistaken;
pub mod names;
pub mod onnx;
mod postprocess;
pub mod provider;
pub mod resembles;
pub mod runtime;
pub mod selection;
pub mod trial;
pub mod verify;
pub mod yolo;

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, anyhow, bail, ensure};
use bytes::Bytes;
use ort::environment::Environment;
use protocol::detections::Found;
use protocol::geometry::Size;
use tracing::{info, warn};

use self::classes::Classes;
use self::input::InputImage;
use self::metadata::ClassNames;
use self::onnx::Weights;
use self::postprocess::{Postprocessor, Prepared, Thresholds};
use self::provider::{Provider, ProviderError};
use self::trial::LoadedModel;
use self::yolo::Letterbox;

/// Size of a sender's frames by default: for its network input the model is warm.
const DEFAULT_FRAME: Size = Size {
    width: 300,
    height: 200,
};

/// The demo scene's own model, embedded so that the whole chain runs anywhere.
const DEMO: &[u8] = include_bytes!("../../../../models/demo.onnx");

/// The model to load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Model {
    /// The embedded one, which detects the objects of the demo scene alone.
    Demo,
    /// An ONNX export of the YOLO family.
    File(PathBuf),
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Demo => f.write_str("demo"),
            Self::File(path) => {
                f.write_str(&path.file_stem().unwrap_or_default().to_string_lossy())
            }
        }
    }
}

/// Settings of the detector, chosen by the operator.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Lowest score of a box.
    pub conf: f32,
    /// Highest overlap of two boxes of a class.
    pub iou: f32,
    /// Names or numbers of the classes to report; empty for all.
    pub classes: Vec<String>,
    /// The network's input size; `None` to choose it for each frame.
    pub net_size: Option<Size>,
    /// Threads of one inference.
    pub threads: usize,
    /// What runs the model; `None` for the best that works.
    pub provider: Option<Provider>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            conf: 0.25,
            iou: 0.45,
            classes: Vec::new(),
            net_size: None,
            threads: 1,
            provider: None,
        }
    }
}

/// A loaded model with its settings.
#[derive(Debug)]
pub struct Detector {
    model: LoadedModel,
    postprocessor: Postprocessor,
    net_size: Option<Size>,
    /// The network's input, kept to spare an allocation a frame.
    input: Vec<f32>,
}

/// Frames that wait for one run.
#[derive(Debug, Default)]
struct Batch {
    input: Vec<f32>,
    prepared: Vec<Prepared>,
    /// Indices of their results.
    indices: Vec<usize>,
}

impl Detector {
    /// Loads a model and runs it once: the first run allocates, and shows what the head gives.
    ///
    /// # Errors
    /// If the model or the provider does not work: what is wrong, and the cure.
    pub fn load(runtime: &Environment, model: &Model, settings: Settings) -> anyhow::Result<Self> {
        let named = || match model {
            Model::Demo => "the demo model".to_owned(),
            Model::File(path) => format!("the model {}", path.display()),
        };
        let weights = match model {
            Model::Demo => Weights::Memory(DEMO),
            Model::File(path) => Weights::File(path),
        };
        let mut net_size = settings.net_size;
        let (provider, threads) = (settings.provider, settings.threads);
        let loaded = trial::load(runtime, weights, provider, threads, |network, stride| {
            net_size = input_size(network.fixed, net_size, stride)?;
            Ok(net_size.unwrap_or_else(|| yolo::net_size(DEFAULT_FRAME, stride)))
        })
        // What is wrong with a provider is not wrong with the model.
        .map_err(|err| match err.is::<ProviderError>() {
            true => err,
            false => unusable(err, model).context(named()),
        })?;
        let classes = classes(&loaded);
        let thresholds = Thresholds {
            wanted: classes.wanted(&settings.classes)?,
            conf: settings.conf,
            iou: settings.iou,
        };
        let postprocessor = Postprocessor::new(loaded.head, classes, thresholds);
        if !loaded.head.overlaps() {
            info!("the model leaves no overlapping boxes, so --iou changes nothing");
        }
        Ok(Self {
            model: loaded,
            postprocessor,
            net_size,
            input: Vec::new(),
        })
    }

    /// Returns the model's classes.
    pub fn classes(&self) -> &Classes {
        self.postprocessor.classes()
    }

    /// Returns the provider that runs the model.
    pub fn provider(&self) -> Provider {
        self.model.provider
    }

    /// Returns how many pictures [`Detector::detect_all`] takes into one run, at most: 1 if the export fixed that, or if
    /// more do not pay.
    pub fn batch(&self) -> usize {
        self.model.batch
    }

    /// Takes so many pictures into one run if the model can, whether it pays or not; for measurements.
    #[must_use]
    pub fn with_batch(mut self, most: usize) -> Self {
        if self.model.network.free_batch {
            self.model.batch = most.max(1);
        }
        self
    }

    /// Uses other settings from the next picture on.
    ///
    /// # Errors
    /// If the model has no class of such a name; the old settings then stay.
    pub fn set(&mut self, conf: f32, iou: f32, classes: &[String]) -> anyhow::Result<()> {
        self.postprocessor.set(conf, iou, classes)
    }

    /// Finds objects on a JPEG.
    ///
    /// # Errors
    /// If the picture cannot be decoded, or the model does not run.
    pub fn detect(&mut self, jpeg: &[u8]) -> anyhow::Result<Found> {
        let mut input = std::mem::take(&mut self.input);
        input.clear();
        let found = self.prepare(jpeg, &mut input).and_then(|(net, prepared)| {
            let mut found = self.run(&input, net, &[prepared])?;
            found.pop().context("a picture has a result")
        });
        self.input = input;
        found
    }

    /// Finds objects on several JPEGs, those of the same input size in one run if [`Detector::batch`] is above 1. The
    /// results, in the order of the JPEGs, are those of one after the other.
    pub fn detect_all(&mut self, jpegs: &[Bytes]) -> Vec<anyhow::Result<Found>> {
        if self.batch() == 1 {
            return jpegs.iter().map(|jpeg| self.detect(jpeg)).collect();
        }
        let mut results: Vec<_> = jpegs.iter().map(|_| None).collect();
        let mut batches: HashMap<Size, Batch> = HashMap::new();
        let mut input = Vec::new();
        for (index, jpeg) in jpegs.iter().enumerate() {
            input.clear();
            let (net, prepared) = match self.prepare(jpeg, &mut input) {
                Ok(prepared) => prepared,
                Err(err) => {
                    results[index] = Some(Err(err));
                    continue;
                }
            };
            let batch = batches.entry(net).or_default();
            batch.input.extend_from_slice(&input);
            batch.prepared.push(prepared);
            batch.indices.push(index);
            if batch.prepared.len() == self.model.batch {
                let batch = std::mem::take(batch);
                self.run_batch(&batch, net, &mut results);
            }
        }
        for (net, batch) in batches {
            self.run_batch(&batch, net, &mut results);
        }
        let missing = || Err(anyhow!("a picture has no result"));
        let results = results.into_iter();
        results.map(|one| one.unwrap_or_else(missing)).collect()
    }

    fn run_batch(
        &mut self,
        batch: &Batch,
        net: Size,
        results: &mut [Option<anyhow::Result<Found>>],
    ) {
        if batch.prepared.is_empty() {
            return;
        }
        match self.run(&batch.input, net, &batch.prepared) {
            Ok(found) => {
                for (&index, found) in batch.indices.iter().zip(found) {
                    results[index] = Some(Ok(found));
                }
            }
            Err(err) => {
                for &index in &batch.indices {
                    results[index] = Some(Err(anyhow!("{err:#}")));
                }
            }
        }
    }

    /// Decodes a JPEG, appends it to the network's input, and returns that input's size.
    fn prepare(&self, jpeg: &[u8], input: &mut Vec<f32>) -> anyhow::Result<(Size, Prepared)> {
        let start = Instant::now();
        let net_size = |size| {
            let usual = || yolo::net_size(size, self.model.stride);
            self.net_size.unwrap_or_else(usual)
        };
        let image = InputImage::decode(jpeg, net_size)?;
        let size = image.size;
        let net = net_size(size);
        let letterbox = Letterbox::new(size, net);
        image.append(input, &letterbox, net)?;
        let prepared = Prepared {
            start,
            size,
            letterbox,
        };
        Ok((net, prepared))
    }

    /// Runs the network once and returns what was found on each picture.
    fn run(
        &mut self,
        input: &[f32],
        net: Size,
        prepared: &[Prepared],
    ) -> anyhow::Result<Vec<Found>> {
        let postprocessor = &self.postprocessor;
        let network = &mut self.model.network;
        network.run(input, net, |output| {
            postprocessor.found_on_each(prepared, output)
        })
    }
}

/// Adds to the error of a model what its file seems to be, if that is not ONNX.
fn unusable(err: anyhow::Error, model: &Model) -> anyhow::Error {
    let Model::File(path) = model else {
        return err;
    };
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(mistaken::START).read_to_end(&mut start));
    match read.ok().and_then(|_| mistaken::format(path, &start)) {
        Some(cure) => anyhow!("{cure}"),
        None => err,
    }
}

/// Returns the classes of a model, and logs what is odd about their names.
fn classes(model: &LoadedModel) -> Classes {
    let names = &model.network.metadata.names;
    if let ClassNames::Unclear(text) = names {
        warn!(names = %text, "the model's names of classes are not understood, so its boxes are called class 0, class 1, ..; needed is a list as in ['cat', 'dog'] or {{0: 'cat', 1: 'dog'}}");
    }
    let (named, found) = (names.count(), model.head.classes());
    if let (Some(names), Some(classes)) = (named, found)
        && names != classes
    {
        warn!(
            names,
            classes, "the model has another number of names than of classes"
        );
    }
    let count = found.or(named).unwrap_or_default();
    Classes::new(names.clone().complete(count), found.is_none())
}

/// Returns the size that the model fixed or the operator chose.
fn input_size(
    fixed: Option<Size>,
    wanted_size: Option<Size>,
    stride: u16,
) -> anyhow::Result<Option<Size>> {
    if let Some(size) = wanted_size {
        let fits = |side: u16| side.is_multiple_of(stride) && side <= yolo::MAX_SIDE;
        ensure!(
            fits(size.width) && fits(size.height),
            "--net-size: both sides are multiples of {stride}, up to {}",
            yolo::MAX_SIDE
        );
    }
    match (fixed, wanted_size) {
        (Some(fixed), Some(wanted_size)) if fixed != wanted_size => bail!(
            "--net-size: the model takes {fixed} only; export it with --dynamic for other sizes"
        ),
        _ => Ok(fixed.or(wanted_size)),
    }
}
