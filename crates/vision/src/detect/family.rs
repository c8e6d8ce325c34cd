//! Decides by evidence which family a model is of: shapes and numbers of its outputs, and its metadata. Pure.
//!
//! Many detectors are called YOLO and are exported to ONNX with the same names of inputs and outputs. Read as another
//! family's, their output gives nonsense and no error. So a model is run once and refused at load if its output cannot be
//! that of a family that the relay reads, with what was found.

use protocol::geometry::Size;

use super::grid;
use super::heads::{END_TO_END_COLUMNS, Head, MIN_CHANNELS, MIN_COLUMNS};
use super::metadata::Metadata;
use super::names::MAX_CLASSES;
use super::resembles::{ONE_BOX_A_CELL, is_masks, key_points, resembles, surplus};

/// The end of every refusal: what is needed.
pub const CURE: &str = "needed is a detection model of YOLOv5, of YOLOv8, v9, 11 or 12, or an end-to-end one of YOLOv10 or \
                        26, as its own exporter makes it (export.py of ultralytics/yolov5 with --include onnx); \
                        scripts/get-model yolov5n fetches one";

/// Most boxes of an end-to-end head: 300 unless the exporter was asked for more.
const MAX_END_TO_END: usize = 30_000;

/// Most outputs that a refusal lists: all of a model with raw heads.
const MAX_LISTED: usize = 6;

/// An output of the model for a first picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// Its name.
    pub name: String,
    /// Its shape in that run.
    pub shape: Vec<i64>,
    /// Its numbers; empty if they are not floating-point ones.
    pub values: Vec<f32>,
    /// Whether the model leaves the number of its rows open, so that a picture may have none.
    pub free_rows: bool,
}

/// Returns the index of the output that holds the boxes for one picture of the size `net`, and its layout.
///
/// # Errors
/// If the model is not a detector of a known family: what was found, why that is not one, and what is needed.
pub fn decide(metadata: &Metadata, outputs: &[Output], net: Size) -> Result<(usize, Head), String> {
    if let Some(task) = metadata.task.as_ref().filter(|task| *task != "detect") {
        return Err(format!(
            "the model is not a detector: by its metadata its task is {task}; {CURE}"
        ));
    }
    if let Some(masks) = outputs.iter().find(|one| is_masks(&one.shape)) {
        return Err(format!(
            "the model is one of segmentation: its output {} is {:?}, which are masks; {CURE}",
            masks.name, masks.shape
        ));
    }
    let possible = possible(metadata, outputs, net);
    let judged = possible
        .iter()
        .map(|one| (one, one.judge(metadata, outputs)));
    let (good, bad): (Vec<_>, Vec<_>) = judged.partition(|(_, judged)| judged.is_ok());
    if let Some((best, _)) = good.first() {
        return Ok((best.output, best.head));
    }
    let why = match bad.into_iter().next() {
        Some((one, Err(why))) => {
            let output = &outputs[one.output];
            let name = &output.name;
            format!(
                "its output {name} {:?} has the shape of {}, but {why}",
                output.shape, one.head
            )
        }
        _ => no_shape(outputs, net),
    };
    Err(format!(
        "the model is none of the detectors that the relay reads: {why}; {CURE}"
    ))
}

/// A reading of an output that its shape allows.
#[derive(Debug, Clone, PartialEq)]
struct Reading {
    output: usize,
    head: Head,
    /// Numbers of boxes in a cell that are possible; none without a grid.
    anchors: Vec<u64>,
    usual_grids: bool,
}

/// Returns all readings that the shapes allow, the likeliest first.
fn possible(metadata: &Metadata, outputs: &[Output], net: Size) -> Vec<Reading> {
    let indexed = outputs.iter().enumerate();
    let mut readings: Vec<Reading> = indexed
        .flat_map(|(output, one)| readings(output, &one.shape, net))
        .collect();
    let likelihood = |one: &Reading| one.likelihood(metadata, outputs);
    // A usual shape whose numbers do not fit is another model's, and not an unusual shape.
    if readings.iter().any(|one| one.is_usual(outputs)) {
        let exact = |one: &Reading| one.head.classes() == metadata.names.count();
        readings.retain(|one| one.is_usual(outputs) || exact(one));
    }
    // The sort is stable: of equal readings the first output's stays first.
    readings.sort_by_key(|one| std::cmp::Reverse(likelihood(one)));
    readings
}

/// Returns how an output of this shape can be read.
fn readings(output: usize, shape: &[i64], net: Size) -> Vec<Reading> {
    let &[1, rows, columns] = shape else {
        return Vec::new();
    };
    let (Ok(rows), Ok(columns)) = (usize::try_from(rows), usize::try_from(columns)) else {
        return Vec::new();
    };
    let scores = |side: usize, least: usize| (least..least + MAX_CLASSES).contains(&side);
    let mut found = Vec::new();
    if columns == END_TO_END_COLUMNS && rows <= MAX_END_TO_END {
        found.push(Reading {
            output,
            head: Head::EndToEnd,
            anchors: Vec::new(),
            usual_grids: false,
        });
    }
    let mut add = |head, boxes: usize, usual| {
        let anchors = grid::anchors(boxes as u64, net);
        if !anchors.is_empty() {
            found.push(Reading {
                output,
                head,
                anchors,
                usual_grids: grid::is_usual(boxes as u64, usual, net),
            });
        }
    };
    if scores(columns, MIN_COLUMNS) {
        add(Head::Anchors { columns }, rows, 3);
    }
    if scores(rows, MIN_CHANNELS) {
        add(Head::AnchorFree { channels: rows }, columns, 1);
    }
    found
}

impl Reading {
    /// Whether the models that most people have look like this.
    fn is_usual(&self, outputs: &[Output]) -> bool {
        match self.head {
            Head::EndToEnd => has_whole_classes(&outputs[self.output].values),
            Head::Anchors { .. } => self.usual_grids,
            Head::AnchorFree { .. } => self.usual_grids,
        }
    }

    /// Returns what makes one reading likelier than another, the first first.
    fn likelihood(&self, metadata: &Metadata, outputs: &[Output]) -> [bool; 3] {
        let usual = self.is_usual(outputs);
        let differ = |named| self.head.classes().is_some_and(|classes| classes != named);
        let names_fit = !metadata.names.count().is_some_and(differ);
        // The numbers of an end-to-end head of one class could be YOLOv5's, but not the other way round.
        [self.head == Head::EndToEnd && usual, names_fit, usual]
    }

    /// Checks a reading by the metadata and the numbers.
    fn judge(&self, metadata: &Metadata, outputs: &[Output]) -> Result<(), String> {
        let output = &outputs[self.output];
        if output.values.is_empty() && output.shape.iter().all(|side| *side > 0) {
            return Err("its numbers are not of floating point".to_owned());
        }
        if output.values.is_empty() && !output.free_rows {
            return Err("it has no rows at all, and that for each picture".to_owned());
        }
        has_numbers(&output.values)?;
        if let (Some(named), Some(classes)) = (metadata.names.count(), self.head.classes()) {
            surplus(self.head, named, classes)?;
        }
        // YOLOX and YOLOv6 have YOLOv5's columns and one box a cell; they bring no metadata.
        if matches!(self.head, Head::Anchors { .. })
            && self.anchors.contains(&1)
            && metadata.names.count().is_none()
        {
            return Err(format!(
                "with one box a cell and without names it is like the head of {}",
                ONE_BOX_A_CELL
            ));
        }
        self.head.plausible(&output.values).map_err(|why| {
            let like = key_points(self.head).unwrap_or_default();
            format!("{why}{like}")
        })
    }
}

/// Checks that most of an output is numbers: broken weights and overflows of half precision give NaN or infinity, in which no
/// box is ever found.
fn has_numbers(values: &[f32]) -> Result<(), String> {
    let broken = values.iter().filter(|value| !value.is_finite()).count();
    match 2 * broken > values.len() {
        true => Err(format!(
            "{broken} of its {} values are no numbers (NaN or infinite): the export or its half precision is broken",
            values.len()
        )),
        false => Ok(()),
    }
}

/// Whether numbers, read as an end-to-end head's, have boxes with whole numbers of classes, as no other head has.
fn has_whole_classes(values: &[f32]) -> bool {
    let (rows, _) = values.as_chunks::<END_TO_END_COLUMNS>();
    rows.iter().any(|row| row[4] > 0.0) && Head::EndToEnd.plausible(values).is_ok()
}

/// Returns what was found where no output has a known shape.
fn no_shape(outputs: &[Output], net: Size) -> String {
    let found: Vec<String> = outputs
        .iter()
        .take(MAX_LISTED)
        .map(|one| format!("{} {:?}{}", one.name, one.shape, resembles(&one.shape, net)))
        .collect();
    let cells = grid::cells(&[8, 16, 32], net);
    format!(
        "for a {}x{} input its outputs are {}, and that of YOLOv5 is [1, {}, 5 + classes], of YOLOv8, v9, 11 and 12 [1, 4 + \
         classes, {cells}], of YOLOv10 and 26 [1, 300, 6]",
        net.width,
        net.height,
        found.join(", "),
        3 * cells,
    )
}

#[cfg(test)]
mod tests;
