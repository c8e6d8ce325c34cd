//! The ONNX Runtime session: loads any YOLOv5 export, tells what it is, runs it.

use std::path::Path;

use anyhow::{Context as _, anyhow, bail, ensure};
use half::f16;
use ort::environment::Environment;
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::value::{TensorElementType, TensorRef, ValueType};

use super::names;
use super::yolo::{Size, rows};

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
    /// Names of the classes.
    pub names: Vec<String>,
    /// Half-precision copy of the input, kept to spare an allocation a frame.
    scratch: Vec<f16>,
}

/// What a run gives: rows of `columns` numbers.
#[derive(Debug)]
pub struct Output {
    /// The rows, one after the other.
    pub values: Vec<f32>,
    /// Numbers in a row: 5 and one for each class.
    pub columns: usize,
}

impl Network {
    /// Loads a model from its file.
    ///
    /// # Errors
    /// Where the file is no ONNX model, or no YOLOv5 export: with what was found and what is needed.
    pub fn load(environment: &Environment, path: &Path, threads: usize) -> anyhow::Result<Self> {
        let session =
            builder(environment, threads).and_then(|mut builder| builder.commit_from_file(path));
        Self::new(session.map_err(|err| anyhow!("{err}"))?)
    }

    /// Loads a model from memory.
    ///
    /// # Errors
    /// As [`Network::load`].
    pub fn embedded(
        environment: &Environment,
        model: &[u8],
        threads: usize,
    ) -> anyhow::Result<Self> {
        let session =
            builder(environment, threads).and_then(|mut builder| builder.commit_from_memory(model));
        Self::new(session.map_err(|err| anyhow!("{err}"))?)
    }

    /// Looks whether a session is that of a YOLOv5 export.
    fn new(session: Session) -> anyhow::Result<Self> {
        let [input] = session.inputs() else {
            bail!(
                "a YOLOv5 export has one input, this model has {}",
                session.inputs().len()
            );
        };
        let (half, shape) = tensor(input.dtype()).context("its input")?;
        let &[batch, 3, height, width] = shape else {
            bail!("a YOLOv5 export takes a picture as 1x3xHxW, this model takes {shape:?}");
        };
        ensure!(
            batch == 1 || batch < 0,
            "the model takes batches of {batch}; export it with batch size 1"
        );
        let output = session
            .outputs()
            .iter()
            .find(|output| ["output0", "output"].contains(&output.name()));
        let Some(output) = output else {
            let found: Vec<&str> = session
                .outputs()
                .iter()
                .map(ort::value::Outlet::name)
                .collect();
            bail!(
                "a YOLOv5 export has an output named output0 or output, this model has {}",
                found.join(", ")
            );
        };
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
            names: names
                .and_then(|text| names::parse(&text))
                .unwrap_or_default(),
            scratch: Vec::new(),
            session,
        })
    }

    /// Runs the network on `pixels`, three planes R, G, B of `net.height` rows, 0 to 1.
    ///
    /// # Errors
    /// Where the output is not that of a YOLOv5 head for this input, or ONNX Runtime fails.
    pub fn run(&mut self, pixels: &[f32], net: Size) -> anyhow::Result<Output> {
        let (values, shape) = self
            .infer(pixels, net)
            .map_err(|err| anyhow!("{err}"))
            .context("running the model")?;
        let wanted = rows(net);
        match shape[..] {
            [1, rows, columns]
                if columns >= 6 && wanted.iter().any(|&want| i64::from(want) == rows) =>
            {
                Ok(Output {
                    values,
                    columns: usize::try_from(columns)?,
                })
            }
            _ => bail!(
                "the model is no YOLOv5 export: for a {}x{} input its output is {shape:?}, needed is [1, {}, 5 + classes] \
                 (YOLOv8 and later have another head; export with ultralytics/yolov5's export.py)",
                net.width,
                net.height,
                wanted[0]
            ),
        }
    }

    fn infer(&mut self, pixels: &[f32], net: Size) -> ort::Result<(Vec<f32>, Vec<i64>)> {
        let shape = [1, 3, i64::from(net.height), i64::from(net.width)];
        if self.half {
            self.scratch.clear();
            self.scratch
                .extend(pixels.iter().map(|&value| f16::from_f32(value)));
            let input = TensorRef::from_array_view((shape, &self.scratch[..]))?;
            let outputs = self
                .session
                .run(ort::inputs![self.input.as_str() => input])?;
            let (shape, values) = outputs[self.output.as_str()].try_extract_tensor::<f16>()?;
            Ok((
                values.iter().map(|value| value.to_f32()).collect(),
                shape.to_vec(),
            ))
        } else {
            let input = TensorRef::from_array_view((shape, pixels))?;
            let outputs = self
                .session
                .run(ort::inputs![self.input.as_str() => input])?;
            let (shape, values) = outputs[self.output.as_str()].try_extract_tensor::<f32>()?;
            Ok((values.to_vec(), shape.to_vec()))
        }
    }
}

fn builder(environment: &Environment, threads: usize) -> ort::Result<SessionBuilder> {
    Ok(Session::builder(environment)?
        // `Level3` fails on ONNX Runtime 1.22 and older.
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(threads)?
        // Threads that spin while they wait for work would take the processor from forwarding.
        .with_intra_op_spinning(false)?)
}

/// Whether a tensor is of half precision, and its shape.
fn tensor(kind: &ValueType) -> anyhow::Result<(bool, &[i64])> {
    let ValueType::Tensor { ty, shape, .. } = kind else {
        bail!("is no tensor but {kind:?}");
    };
    match ty {
        TensorElementType::Float32 => Ok((false, shape)),
        TensorElementType::Float16 => Ok((true, shape)),
        other => bail!("holds {other}; needed is float32 or float16"),
    }
}

/// The size that an export fixed; a free side is negative.
fn fixed(width: i64, height: i64) -> anyhow::Result<Option<Size>> {
    if width < 0 && height < 0 {
        return Ok(None);
    }
    let side = |n: i64| u32::try_from(n).ok().filter(|n| (1..=4096).contains(n));
    match (side(width), side(height)) {
        (Some(width), Some(height)) => Ok(Some(Size { width, height })),
        _ => bail!("the model's input size {width}x{height} cannot be served"),
    }
}
