//! The ONNX Runtime session: loads any YOLOv5 export, checks its inputs and outputs, runs it.

use std::path::Path;

use anyhow::{Context as _, anyhow, bail, ensure};
use half::f16;
use ort::environment::Environment;
use ort::ep::{self, ExecutionProvider as _, ExecutionProviderDispatch};
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::value::{Outlet, TensorElementType, TensorRef, ValueType};
use protocol::geometry::Size;
use protocol::text::printable;

use super::head;
use super::input;
use super::names;
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
    /// Name of the output that holds the boxes.
    output: String,
    half: bool,
    /// The input's size where the export fixed it.
    pub fixed: Option<Size>,
    /// Whether it takes several pictures in one run.
    pub free_batch: bool,
    /// Names of the classes.
    pub names: Vec<String>,
    /// Half-precision copy of the input, kept to spare an allocation a frame.
    scratch: Vec<f16>,
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
    /// If it is not an ONNX model or not a YOLOv5 export: what was found and what is needed; if the provider does not
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

    /// Checks that a session is that of a YOLOv5 export.
    fn new(session: Session) -> anyhow::Result<Self> {
        let [input] = session.inputs() else {
            bail!(
                "a YOLOv5 detector has one input, this model has {}; {}",
                session.inputs().len(),
                head::CURE
            );
        };
        let (half, shape) = tensor(input.dtype()).context("its input")?;
        let &[batch, 3, height, width] = shape else {
            bail!(
                "a YOLOv5 detector takes a picture as 1x3xHxW, this model takes {shape:?}; {}",
                head::CURE
            );
        };
        ensure!(
            batch == 1 || batch < 0,
            "the model takes batches of {batch}; export it with batch size 1, or with --dynamic"
        );
        let output = output(&session)?;
        let (output_half, _) = tensor(output.dtype()).context("its output")?;
        ensure!(half == output_half, "input and output differ in precision");
        let names = session
            .metadata()
            .ok()
            .and_then(|metadata| metadata.custom("names"));
        Ok(Self {
            input: input.name().to_owned(),
            output: output.name().to_owned(),
            half,
            fixed: fixed(width, height)?,
            free_batch: batch < 0,
            names: names
                .and_then(|text| names::parse(&text))
                .unwrap_or_default(),
            scratch: Vec::new(),
            session,
        })
    }

    /// Runs the network on `pixels`: of each picture three planes R, G, B of `net.height` rows, 0 to 1. Several pictures
    /// only where the model has a [`Network::free_batch`].
    ///
    /// `read` gets the rows, as many for each picture, one after the other, and how many numbers a row has: 5 and one for
    /// each class. It reads them where ONNX Runtime left them, since a copy of 8 MB a frame is worth a millisecond or two.
    ///
    /// # Errors
    /// If the output is not that of a YOLOv5 head for this input, or ONNX Runtime fails.
    pub fn run<T>(
        &mut self,
        pixels: &[f32],
        net: Size,
        read: impl FnOnce(&[f32], usize) -> T,
    ) -> anyhow::Result<T> {
        let pictures = pixels.len() / (3 * input::pixels(net));
        let rows = |shape: &[i64], values: &[f32]| {
            let columns = head::columns(shape, pictures, net)?;
            Ok(read(values, columns))
        };
        let read: Result<T, String> = self
            .infer(pixels, pictures, net, rows)
            .map_err(|err| anyhow!("{err}"))
            .context("running the model")
            .map_err(harmless)?;
        read.map_err(anyhow::Error::msg)
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

    fn infer<T>(
        &mut self,
        pixels: &[f32],
        pictures: usize,
        net: Size,
        read: impl FnOnce(&[i64], &[f32]) -> T,
    ) -> ort::Result<T> {
        let shape = [
            pictures as i64,
            3,
            i64::from(net.height),
            i64::from(net.width),
        ];
        if self.half {
            self.scratch.clear();
            self.scratch
                .extend(pixels.iter().map(|&value| f16::from_f32(value)));
            let input = TensorRef::from_array_view((shape, &self.scratch[..]))?;
            let outputs = self
                .session
                .run(ort::inputs![self.input.as_str() => input])?;
            let (shape, values) = outputs[self.output.as_str()].try_extract_tensor::<f16>()?;
            let values: Vec<f32> = values.iter().map(|value| value.to_f32()).collect();
            Ok(read(shape, &values))
        } else {
            let input = TensorRef::from_array_view((shape, pixels))?;
            let outputs = self
                .session
                .run(ort::inputs![self.input.as_str() => input])?;
            let (shape, values) = outputs[self.output.as_str()].try_extract_tensor::<f32>()?;
            Ok(read(shape, values))
        }
    }
}

/// Returns an error with its causes in one short line: it names what stands in the model, which may be hostile.
fn harmless(err: anyhow::Error) -> anyhow::Error {
    anyhow!(printable(&format!("{err:#}"), MAX_ERROR))
}

/// Returns the output that holds the boxes.
fn output(session: &Session) -> anyhow::Result<&Outlet> {
    let (heads, others): (Vec<&Outlet>, Vec<&Outlet>) = session
        .outputs()
        .iter()
        .partition(|output| ["output0", "output"].contains(&output.name()));
    let Some(&output) = heads.first() else {
        let found: Vec<&str> = others.iter().map(|output| output.name()).collect();
        bail!(
            "a YOLOv5 detector has an output named output0 or output, this model has {}; {}",
            found.join(", "),
            head::CURE
        );
    };
    let shape = |output: &Outlet| tensor(output.dtype()).map(|(_, shape)| shape.to_vec());
    for other in others {
        if let Ok(shape) = shape(other)
            && head::is_masks(&shape)
        {
            bail!(
                "the model is one of segmentation: its output {} is {shape:?}, which are masks; {}",
                other.name(),
                head::CURE
            );
        }
    }
    Ok(output)
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
