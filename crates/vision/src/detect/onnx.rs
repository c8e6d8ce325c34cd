//! The ONNX Runtime session: loads a model, examines its inputs and outputs, runs it.

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Context as _, anyhow, bail, ensure};
use half::f16;
use ort::environment::Environment;
use ort::ep::{self, ExecutionProvider as _, ExecutionProviderDispatch};
use ort::session::Session;
use ort::session::SessionOutputs;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::value::{DynValue, TensorElementType, TensorRef, ValueType};
use protocol::geometry::Size;
use protocol::text::printable;

use super::family::{self, CURE};
use super::heads::Head;
use super::input;
use super::metadata::Metadata;
use super::provider::Provider;
use super::yolo::MAX_SIDE;

/// Length of the longest error of a model in characters: a sentence of ours and one of ONNX Runtime.
const MAX_ERROR: usize = 1000;

/// A model's bytes.
#[derive(Debug, Clone, Copy)]
pub enum Weights<'a> {
    /// In a file.
    File(&'a Path),
    /// In memory.
    Memory(&'a [u8]),
}

/// How a model is run.
#[derive(Debug, Clone, Copy)]
pub struct SessionOptions<'a> {
    /// The provider that runs it.
    pub provider: Provider,
    /// Threads of one run on a processor.
    pub threads: usize,
    /// File that a profile is written to, up to [`Network::end_profile`].
    pub profile: Option<&'a Path>,
}

/// A loaded model.
#[derive(Debug)]
pub struct Network {
    session: Session,
    /// Name of the input.
    input: String,
    /// The output that holds the boxes, once it is known.
    boxes: Option<BoxOutput>,
    /// Whether the input is of half precision.
    half: bool,
    /// The input's size where the export fixed it.
    pub fixed: Option<Size>,
    /// Whether it takes several pictures in one run.
    pub free_batch: bool,
    /// What its metadata tells.
    pub metadata: Metadata,
    /// Half-precision copy of the input, kept to spare an allocation a frame.
    scratch: Vec<f16>,
}

/// The reason why ONNX Runtime does not run a model.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotRun(String);

/// The output that holds the boxes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoxOutput {
    name: String,
    /// Its layout.
    pub head: Head,
}

/// Returns the providers that the loaded library offers besides the processor.
pub fn offered() -> Vec<Provider> {
    let has = |provider| match provider {
        Provider::Cpu => Ok(true),
        Provider::Cuda => ep::CUDA::is_available(),
        Provider::Tensorrt => ep::TensorRT::is_available(),
        Provider::Openvino => ep::OpenVINO::is_available(),
    };
    let extra = Provider::EXTRA.into_iter();
    extra.filter(|&one| has(one).unwrap_or(false)).collect()
}

impl Network {
    /// Loads a model.
    ///
    /// # Errors
    /// If it is not an ONNX model or does not take a picture: what was found and what is needed; if the provider does not
    /// start.
    pub fn load(
        environment: &Environment,
        weights: Weights,
        options: SessionOptions,
    ) -> anyhow::Result<Self> {
        let session = builder(environment, options).and_then(|mut builder| match weights {
            Weights::File(path) => builder.commit_from_file(path),
            Weights::Memory(bytes) => builder.commit_from_memory(bytes),
        });
        let session = session.map_err(|err| anyhow!("{err}"));
        session.and_then(Self::new).map_err(harmless)
    }

    /// Checks that a session takes a picture.
    fn new(session: Session) -> anyhow::Result<Self> {
        let [input] = session.inputs() else {
            bail!(
                "a detector has one input, this model has {}; {}",
                session.inputs().len(),
                CURE
            );
        };
        let (half, shape) = tensor(input.dtype()).context("its input")?;
        let &[batch, 3, height, width] = shape else {
            bail!(
                "a detector takes a picture as 1x3xHxW, this model takes {shape:?}; {}",
                CURE
            );
        };
        ensure!(
            batch == 1 || batch < 0,
            "the model takes batches of {batch}; export it with batch size 1, or with --dynamic"
        );
        let metadata = {
            let found = session.metadata().ok();
            Metadata::parse(|key| found.as_ref()?.custom(key))
        };
        Ok(Self {
            input: input.name().to_owned(),
            boxes: None,
            half,
            fixed: fixed(width, height)?,
            free_batch: batch < 0,
            metadata,
            scratch: Vec::new(),
            session,
        })
    }

    /// Runs the network once on one picture, as [`Network::run`] does, finds the output that holds the boxes, and returns
    /// it and its numbers.
    ///
    /// # Errors
    /// If the model is not a detector of a known family, or ONNX Runtime fails ([`NotRun`]).
    pub fn examine(&mut self, pixels: &[f32], net: Size) -> anyhow::Result<(BoxOutput, Vec<f32>)> {
        let metadata = self.metadata.clone();
        let free_rows = self.free_rows();
        let read = |outputs: &SessionOutputs<'_>| {
            let mut outputs = outputs
                .iter()
                .map(|(name, value)| output(name, &value, free_rows.contains(name)))
                .collect::<Vec<_>>();
            let (index, head) = family::decide(&metadata, &outputs, net)?;
            let output = outputs.swap_remove(index);
            let name = output.name;
            Ok((BoxOutput { name, head }, output.values))
        };
        let (boxes, values) = self.infer(pixels, 1, net, read)?;
        self.boxes = Some(boxes.clone());
        Ok((boxes, values))
    }

    /// Returns the names of the outputs whose number of rows the model leaves open.
    fn free_rows(&self) -> HashSet<String> {
        let outputs = self.session.outputs().iter();
        let free = outputs.filter(|output| {
            let shape = tensor_shape(output.dtype()).unwrap_or_default();
            shape.get(1).is_some_and(|rows| *rows < 0)
        });
        free.map(|output| output.name().to_owned()).collect()
    }

    /// Reads this output from now on: that of the same model which another provider runs.
    pub fn read_from(&mut self, boxes: BoxOutput) {
        self.boxes = Some(boxes);
    }

    /// Runs the network on `pixels`: of each picture three planes R, G, B of `net.height` rows, 0 to 1. Several pictures
    /// only where the model has a [`Network::free_batch`].
    ///
    /// `read` gets the output's numbers, as many for each picture, one after the other. It reads them where ONNX Runtime
    /// left them, since a copy of 8 MB a frame is worth a millisecond or two.
    ///
    /// # Errors
    /// If the output has another layout than the examined one, or ONNX Runtime fails.
    pub fn run<T>(
        &mut self,
        pixels: &[f32],
        net: Size,
        read: impl FnOnce(&[f32]) -> T,
    ) -> anyhow::Result<T> {
        let pictures = pixels.len() / (3 * input::pixels(net));
        let BoxOutput { name, head } = self.boxes.clone().context("the model was not examined")?;
        self.infer(pixels, pictures, net, |outputs| {
            let read = |shape: &[i64], values: &[f32]| match head.fits(shape, pictures) {
                true => Ok(read(values)),
                false => Err(format!(
                    "the output of this picture is {shape:?}, and not that of {head}"
                )),
            };
            let output = outputs.get(name.as_str());
            let found = output.and_then(|output| with_values(output, read));
            found.unwrap_or_else(|| Err(format!("the model gave no numbers in {name}")))
        })
    }

    /// Ends the profile that [`SessionOptions::profile`] began, and returns it.
    ///
    /// # Errors
    /// If there is none, or it cannot be read.
    pub fn end_profile(&mut self) -> anyhow::Result<String> {
        let file = self.session.end_profiling();
        let file = file.map_err(|err| anyhow!("{err}"))?;
        std::fs::read_to_string(&file).with_context(|| format!("reading {file}"))
    }

    /// Runs the network and hands its outputs to `read`, whose error needs no context.
    fn infer<T>(
        &mut self,
        pixels: &[f32],
        pictures: usize,
        net: Size,
        read: impl FnOnce(&SessionOutputs<'_>) -> Result<T, String>,
    ) -> anyhow::Result<T> {
        let shape = [pictures as i64, 3, net.height.into(), net.width.into()];
        let outputs = match self.half {
            true => {
                self.scratch.clear();
                let half = pixels.iter().map(|&value| f16::from_f32(value));
                self.scratch.extend(half);
                TensorRef::from_array_view((shape, &self.scratch[..]))
                    .and_then(|input| self.session.run(ort::inputs![self.input.as_str() => input]))
            }
            false => TensorRef::from_array_view((shape, pixels))
                .and_then(|input| self.session.run(ort::inputs![self.input.as_str() => input])),
        };
        let outputs = outputs
            .map_err(|err| NotRun(printable(&format!("running the model: {err}"), MAX_ERROR)))?;
        read(&outputs).map_err(|why| anyhow!(printable(&why, MAX_ERROR)))
    }
}

/// Calls `read` with an output's shape and numbers; returns `None` if they are not of floating point.
fn with_values<T>(output: &DynValue, read: impl FnOnce(&[i64], &[f32]) -> T) -> Option<T> {
    if let Ok((shape, values)) = output.try_extract_tensor::<f32>() {
        return Some(read(shape, values));
    }
    let (shape, values) = output.try_extract_tensor::<f16>().ok()?;
    let values: Vec<f32> = values.iter().map(|value| value.to_f32()).collect();
    Some(read(shape, &values))
}

/// Returns a copy of an output.
fn output(name: &str, value: &DynValue, free_rows: bool) -> family::Output {
    let copy = with_values(value, |shape, values| (shape.to_vec(), values.to_vec()));
    let (shape, values) = copy.unwrap_or_else(|| {
        let shape = tensor_shape(value.dtype());
        (shape.map(<[i64]>::to_vec).unwrap_or_default(), Vec::new())
    });
    family::Output {
        name: name.to_owned(),
        shape,
        values,
        free_rows,
    }
}

/// Returns an error with its causes in one short line: it names what stands in the model, which may be hostile.
fn harmless(err: anyhow::Error) -> anyhow::Error {
    anyhow!(printable(&format!("{err:#}"), MAX_ERROR))
}

fn builder(environment: &Environment, options: SessionOptions) -> ort::Result<SessionBuilder> {
    let builder = Session::builder(environment)?
        // `Level3` fails on ONNX Runtime 1.22 and older.
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(options.threads)?
        // Threads that spin while they wait for work would take the processor from forwarding.
        .with_intra_op_spinning(false)?
        .with_execution_providers(extra(options).as_slice())?;
    Ok(match options.profile {
        Some(file) => builder.with_profiling(file)?,
        None => builder,
    })
}

/// Returns the provider to use before the processor. A failure is an error here: ONNX Runtime would fall back silently.
fn extra(options: SessionOptions) -> Option<ExecutionProviderDispatch> {
    // Exhaustive, the default, takes seconds anew for every input size.
    let search = ep::cuda::ConvAlgorithmSearch::Heuristic;
    let provider = match options.provider {
        Provider::Cpu => return None,
        Provider::Cuda => ep::CUDA::default()
            .with_conv_algorithm_search(search)
            .build(),
        Provider::Tensorrt => ep::TensorRT::default().build(),
        Provider::Openvino => ep::OpenVINO::default()
            .with_num_threads(options.threads)
            .build(),
    };
    Some(provider.error_on_failure())
}

/// Returns the shape of a tensor of any kind.
fn tensor_shape(kind: &ValueType) -> Option<&[i64]> {
    match kind {
        ValueType::Tensor { shape, .. } => Some(shape),
        _ => None,
    }
}

/// Returns whether a tensor is of half precision, and its shape.
fn tensor(kind: &ValueType) -> anyhow::Result<(bool, &[i64])> {
    let ValueType::Tensor { ty, shape, .. } = kind else {
        bail!("is not a tensor but {kind:?}");
    };
    match ty {
        TensorElementType::Float32 => Ok((false, shape)),
        TensorElementType::Float16 => Ok((true, shape)),
        other => bail!("holds {other}; needed is float32 or float16"),
    }
}

/// Returns the size that an export fixed; a free side is negative.
fn fixed(width: i64, height: i64) -> anyhow::Result<Option<Size>> {
    if width < 0 && height < 0 {
        return Ok(None);
    }
    let side = |n: i64| u16::try_from(n).ok().filter(|n| (1..=MAX_SIDE).contains(n));
    match (side(width), side(height)) {
        (Some(width), Some(height)) => Ok(Some(Size { width, height })),
        _ => bail!("the model's input size {width}x{height} cannot be served"),
    }
}
