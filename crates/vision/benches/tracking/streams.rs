//! Real streams, without boxes drawn by hand: the truth is the model's detections on all frames, smoothed with hindsight.
//!
//! - Detections of successive frames, and over gaps of up to three, that overlap by at least 0.3 are one object's. Greedy,
//!   the most similar first, whatever the class.
//! - It is true if it was detected five times or more, and at least once with the score that begins a track.
//! - Gaps are filled on a straight line; each side of the box is the mean over half a second around the frame.
//! - It has one class throughout: the one with the most votes, weighed by score.
//!
//! So the model's own boxes are not a perfect answer here either, and the goal is a share of what they reach.

use std::collections::BTreeMap;
use std::fs;

use bytes::Bytes;
use ort::environment::Environment;
use protocol::detections::Detection;
use testkit::boxes::ObjectBox;
use vision::detect::Model;

use crate::{Clip, TRACK, infer};

/// The sender's streams of the test media.
const FILES: [&str; 2] = [
    "data/video/seq-cars-300x200-q80.mjpeg",
    "data/video/seq-person-300x200-q95.mjpeg",
];
/// Least overlap of two detections of one object.
const MIN_IOU: f32 = 0.3;
/// A detection that overlaps another by more is the same object under another class name.
const DUPLICATE_IOU: f32 = 0.7;
/// Most frames from one detection of an object to the next.
const MAX_GAP: usize = 4;
/// Least detections of an object.
const MIN_DETECTIONS: usize = 5;
/// Frames on each side that a box is smoothed over.
const SMOOTHING_RADIUS: usize = 2;

/// Returns the streams; `None` without the test media.
pub(crate) fn clips(runtime: &Environment) -> Option<Vec<Clip>> {
    let model = Model::File(testkit::shared("data/models/yolov5n-dynamic.onnx")?);
    let clip = |file: &str| {
        let frames = split(&fs::read(testkit::shared(file)?).unwrap());
        let found = infer(runtime, &model, &frames);
        Some(Clip {
            truth: smooth(&found),
            found,
            frames,
        })
    };
    FILES.into_iter().map(clip).collect()
}

/// Splits JPEGs that stand back to back.
fn split(mut stream: &[u8]) -> Vec<Bytes> {
    let mut frames = Vec::new();
    while let Ok(Some(end)) = protocol::jpeg::stream_end(stream) {
        frames.push(Bytes::copy_from_slice(&stream[..end]));
        stream = &stream[end..];
    }
    frames
}

/// The detections of one object, by frame.
struct Path(Vec<(usize, Detection)>);

fn smooth(found: &[Vec<Detection>]) -> Vec<Vec<ObjectBox>> {
    let mut truth = vec![Vec::new(); found.len()];
    let real = paths(found).into_iter().filter(Path::is_real);
    for (id, path) in (0..).zip(real) {
        let class = path.class();
        for (frame, bbox) in path.boxes() {
            let id = Some(id);
            let bbox = bbox.into();
            truth[frame].push(ObjectBox { id, class, bbox });
        }
    }
    truth
}

fn paths(found: &[Vec<Detection>]) -> Vec<Path> {
    let mut paths: Vec<Path> = Vec::new();
    for (frame, boxes) in found.iter().enumerate() {
        let mut pairs = Vec::new();
        for (p, path) in paths.iter().enumerate() {
            let (last, of) = path.last();
            let similarity = |found: &Detection| of.bbox.iou(found.bbox);
            let near = boxes.iter().enumerate().filter(|_| frame - last <= MAX_GAP);
            pairs.extend(near.map(|(b, found)| (similarity(found), p, b)));
        }
        pairs.retain(|(similarity, ..)| *similarity >= MIN_IOU);
        pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut free: Vec<Option<&Detection>> = boxes.iter().map(Some).collect();
        for (_, path, b) in pairs {
            if paths[path].last().0 < frame
                && let Some(found) = free[b].take()
            {
                paths[path].0.push((frame, found.clone()));
            }
        }
        for new in free.into_iter().flatten() {
            let here = paths.iter().map(Path::last).filter(|(at, _)| *at == frame);
            let mut duplicates = here.filter(|(_, of)| of.bbox.iou(new.bbox) > DUPLICATE_IOU);
            if duplicates.next().is_none() {
                paths.push(Path(vec![(frame, new.clone())]));
            }
        }
    }
    paths
}

impl Path {
    fn last(&self) -> (usize, &Detection) {
        let (frame, found) = self.0.last().unwrap();
        (*frame, found)
    }

    fn is_real(&self) -> bool {
        self.0.len() >= MIN_DETECTIONS && self.0.iter().any(|(_, found)| found.score >= TRACK.start)
    }

    fn class(&self) -> usize {
        let mut votes = BTreeMap::new();
        for (_, found) in &self.0 {
            *votes.entry(found.class).or_insert(0.0) += found.score;
        }
        let most = votes.into_iter().max_by(|a, b| a.1.total_cmp(&b.1));
        most.unwrap().0
    }

    /// Returns a box for each frame from the first to the last.
    fn boxes(&self) -> impl Iterator<Item = (usize, [f32; 4])> {
        let first = self.0[0].0;
        let dense: Vec<[f32; 4]> = (first..=self.last().0)
            .map(|frame| self.at(frame))
            .collect();
        (0..dense.len()).map(move |n| {
            let radius = SMOOTHING_RADIUS.min(n).min(dense.len() - 1 - n);
            let window = &dense[n - radius..=n + radius];
            let mean = |side: usize| {
                window.iter().map(|bounds| bounds[side]).sum::<f32>() / window.len() as f32
            };
            (first + n, [0, 1, 2, 3].map(mean))
        })
    }

    /// Returns the box where it was detected, or between its neighbours.
    fn at(&self, frame: usize) -> [f32; 4] {
        let next = self.0.iter().position(|(at, _)| *at >= frame).unwrap();
        let (end, after) = &self.0[next];
        if *end == frame {
            return after.bbox.edges();
        }
        let (start, before) = &self.0[next - 1];
        let share = (frame - start) as f32 / (end - start) as f32;
        let (before, after) = (before.bbox.edges(), after.bbox.edges());
        let between = |side: usize| before[side] + share * (after[side] - before[side]);
        [0, 1, 2, 3].map(between)
    }
}
