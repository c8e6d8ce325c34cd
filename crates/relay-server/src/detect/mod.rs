//! JPEG in, boxes out: YOLOv5 with ONNX Runtime.

pub mod names;
pub mod onnx;
pub mod runtime;
pub mod yolo;

use std::fmt;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use opencv::core::{Mat, Vec3b};
use opencv::imgproc;
use opencv::prelude::*;
use ort::environment::Environment;
use platform::jpeg;
use protocol::detections::Detection;

use self::onnx::Network;
use self::yolo::{Letterbox, STRIDE, Size};
use crate::relay::Found;

/// YOLOv5's letterbox grey, 114 of 255.
const GREY: f32 = 114.0 / 255.0;

/// The demo scene's own model, embedded so that the whole chain runs anywhere.
const DEMO: &[u8] = include_bytes!("../../../../models/demo.onnx");

/// Which network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Model {
    /// The embedded one, which knows the demo scene and nothing else.
    Demo,
    /// A YOLOv5 export.
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

/// What the operator chose.
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
}

/// A loaded model with its settings.
#[derive(Debug)]
pub struct Detector {
    network: Network,
    names: Vec<String>,
    /// Which classes are reported, by number.
    wanted: Vec<bool>,
    settings: Settings,
    pixels: Vec<f32>,
}

impl Detector {
    /// Loads a model and runs it once: the first run allocates, and shows what the head gives.
    ///
    /// # Errors
    /// What is wrong, and the cure.
    pub fn load(
        runtime: &Environment,
        model: &Model,
        mut settings: Settings,
    ) -> anyhow::Result<Self> {
        let named = || match model {
            Model::Demo => "the demo model".to_owned(),
            Model::File(path) => format!("the model {}", path.display()),
        };
        let mut network = match model {
            Model::Demo => Network::embedded(runtime, DEMO, settings.threads),
            Model::File(path) => Network::load(runtime, path, settings.threads),
        }
        .with_context(named)?;
        settings.net_size = input_size(network.fixed, settings.net_size).with_context(named)?;
        let trial = settings.net_size.unwrap_or(Size {
            width: 320,
            height: 224,
        });
        let grey = vec![GREY; (3 * trial.width * trial.height) as usize];
        let columns = network.run(&grey, trial).with_context(named)?.columns;
        let found = std::mem::take(&mut network.names);
        let names = names::complete((!found.is_empty()).then_some(found), columns - 5);
        let wanted = wanted(&settings.classes, &names)?;
        Ok(Self {
            network,
            names,
            wanted,
            settings,
            pixels: Vec::new(),
        })
    }

    /// Uses other settings from now on.
    ///
    /// # Errors
    /// Where a class is not the model's; then nothing changes.
    pub fn set(&mut self, conf: f32, iou: f32, classes: &[String]) -> anyhow::Result<()> {
        self.wanted = wanted(classes, &self.names)?;
        (self.settings.conf, self.settings.iou) = (conf, iou);
        Ok(())
    }

    /// Finds objects on a JPEG.
    ///
    /// # Errors
    /// Where the picture cannot be decoded, or ONNX Runtime fails.
    pub fn detect(&mut self, jpeg: &[u8]) -> anyhow::Result<Found> {
        let start = Instant::now();
        let picture = jpeg::decode(jpeg)?;
        let image = Size {
            width: u32::try_from(picture.cols())?,
            height: u32::try_from(picture.rows())?,
        };
        let net = self
            .settings
            .net_size
            .unwrap_or_else(|| yolo::net_size(image));
        let letterbox = Letterbox::new(image, net);
        fill(&mut self.pixels, &picture, &letterbox, net)?;
        let output = self.network.run(&self.pixels, net)?;
        let wanted = |class: usize| self.wanted.get(class).copied().unwrap_or(false);
        let candidates =
            yolo::candidates(&output.values, output.columns, self.settings.conf, wanted);
        let kept = yolo::suppress(candidates, self.settings.iou);
        let detections = kept.into_iter().map(|candidate| Detection {
            id: None,
            class: candidate.class,
            label: self.names[candidate.class].clone(),
            score: candidate.score,
            bounds: letterbox.to_picture(candidate.bounds),
        });
        Ok(Found {
            width: u16::try_from(image.width)?,
            height: u16::try_from(image.height)?,
            detections: detections.collect(),
            took: start.elapsed(),
        })
    }
}

/// The size that the model fixed or the operator asked for.
fn input_size(fixed: Option<Size>, asked: Option<Size>) -> anyhow::Result<Option<Size>> {
    if let Some(size) = asked {
        ensure!(
            size.width.is_multiple_of(STRIDE) && size.height.is_multiple_of(STRIDE),
            "--net-size: both sides are multiples of {STRIDE}"
        );
    }
    match (fixed, asked) {
        (Some(fixed), Some(asked)) if fixed != asked => bail!(
            "--net-size: the model takes {}x{} only; export it with --dynamic for other sizes",
            fixed.width,
            fixed.height
        ),
        _ => Ok(fixed.or(asked)),
    }
}

/// Which classes are reported.
fn wanted(classes: &[String], names: &[String]) -> anyhow::Result<Vec<bool>> {
    let mut wanted = vec![classes.is_empty(); names.len()];
    for class in classes.iter().map(|class| class.trim()) {
        let by_number = class
            .parse()
            .ok()
            .filter(|&number: &usize| number < names.len());
        let number = names.iter().position(|name| name == class).or(by_number);
        let number = number.with_context(|| {
            format!(
                "--classes: the model has no class '{class}'; it has {}",
                names.join(", ")
            )
        })?;
        wanted[number] = true;
    }
    Ok(wanted)
}

/// Lays the picture into `pixels`: planes R, G, B of the network's size, 0 to 1, grey around the picture.
fn fill(
    pixels: &mut Vec<f32>,
    picture: &Mat,
    letterbox: &Letterbox,
    net: Size,
) -> anyhow::Result<()> {
    let inner = opencv::core::Size::new(
        letterbox.inner.width.try_into()?,
        letterbox.inner.height.try_into()?,
    );
    let mut scaled = Mat::default();
    let picture = if picture.size()? == inner {
        picture
    } else {
        imgproc::resize(picture, &mut scaled, inner, 0.0, 0.0, imgproc::INTER_LINEAR)?;
        &scaled
    };
    let (width, plane) = (net.width as usize, (net.width * net.height) as usize);
    pixels.clear();
    pixels.resize(3 * plane, GREY);
    let (red, rest) = pixels.split_at_mut(plane);
    let (green, blue) = rest.split_at_mut(plane);
    for y in 0..letterbox.inner.height {
        let row = picture.at_row::<Vec3b>(y.try_into()?)?;
        let start = (letterbox.top + y) as usize * width + letterbox.left as usize;
        let place = start..start + letterbox.inner.width as usize;
        let planes = red[place.clone()]
            .iter_mut()
            .zip(&mut green[place.clone()])
            .zip(&mut blue[place]);
        for (((r, g), b), pixel) in planes.zip(row) {
            *r = f32::from(pixel[2]) / 255.0;
            *g = f32::from(pixel[1]) / 255.0;
            *b = f32::from(pixel[0]) / 255.0;
        }
    }
    Ok(())
}
