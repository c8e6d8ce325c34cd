//! The accuracy of boxes on every frame when only every Nth is inferred, and what it costs to move them.
//!
//! In one process and in virtual time: each frame is inferred once, and then every way of showing boxes is played over
//! the same detections, with each answer known when the next frame comes. [`demo`] (the generated scene, exact) and
//! [`streams`] (real ones, smoothed) define what counts as true, [`testkit::boxes`] how it is counted.
//!
//! e2e's benchmark `boxes` measures the real programs on the same scene.
//!
//! `cargo bench -p vision --bench tracking` prints the tables, in about a minute; `-- --quick` takes two of the eight
//! scenes, `-- --seed 21` others, from that number on.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark, like a test, fails by panicking"
)]

mod cost;
mod demo;
mod replay;
mod streams;
mod table;

use std::io::Write as _;

use bytes::Bytes;
use ort::environment::Environment;
use protocol::detections::Detection;
use testkit::boxes::{ObjectBox, Score, evaluate};
use testkit::figures::{self, Figure, Goal, Unit};
use vision::detect::{self, Detector, Model, runtime};
use vision::track;

use crate::replay::{Overlay, replay};
use crate::table::Table;

/// Lowest scores that begin and keep a track; the model is run with the second.
const TRACK: track::Settings = track::Settings {
    start: 0.40,
    keep: 0.25,
};
/// All streams here have the tutorial's pace.
const FPS: f64 = 10.0;
/// The distance of inferences, in frames, that the goals refer to.
const EVERY: u64 = 4;

/// A stream with the model's detections on each of its frames, and the truth.
pub(crate) struct Clip {
    pub(crate) frames: Vec<Bytes>,
    pub(crate) found: Vec<Vec<Detection>>,
    /// With an id for each object.
    pub(crate) truth: Vec<Vec<ObjectBox>>,
}

/// The scores of one kind of clips.
struct Scores {
    /// The model's own boxes on each frame.
    model: Score,
    /// At [`EVERY`], as the next.
    hold: Score,
    tracked: Score,
}

/// The goals.
#[derive(Default)]
struct Goals(figures::Table);

fn main() {
    imaging::jpeg::single_threaded().unwrap();
    let words: Vec<String> = std::env::args().collect();
    let scenes = if words.iter().any(|word| word == "--quick") {
        2
    } else {
        8
    };
    let seed = words.iter().skip_while(|word| *word != "--seed").nth(1);
    let seed = seed.map_or(1, |seed| seed.parse().unwrap());
    let runtime = match runtime::load(None) {
        Ok(runtime) => runtime,
        Err(why) => return print(&format!("left out: everything: {why:#}")),
    };
    let (mut table, mut goals) = (Table::default(), Goals::default());
    for speed in [30.0, 80.0, 160.0] {
        let clips = demo::clips(&runtime, seed..seed + scenes, speed);
        let scores = measure(&format!("demo, {speed} px/s"), &clips, &mut table);
        if speed == 80.0 {
            goals.add_boxes("demo at 80 px/s", &scores, 95.0, 2.0);
            let cost = cost::of_boxes(&clips, 5);
            let name = "carrying five boxes, decoding too";
            goals.add(name, Unit::Us, cost, None, Goal::Most(300.0));
        }
    }
    match streams::clips(&runtime) {
        Some(clips) => {
            let scores = measure("real streams", &clips, &mut table);
            goals.add_boxes("real streams", &scores, 94.0, 1.0);
            let (ours, raw) = (scores.tracked.relabelled, scores.model.relabelled);
            let (name, raw) = ("real streams: label changes", Some(("the model", raw)));
            goals.add(name, Unit::Count, ours, raw, Goal::Times(0.25));
        }
        None => goals
            .0
            .leave_out("real streams", "../shared/data is not here"),
    }
    print(&format!("{table}\nN = {EVERY}:\n{}", goals.0));
}

/// Replays every way of showing boxes, and adds a row for each distance of inferences.
fn measure(name: &str, clips: &[Clip], table: &mut Table) -> Scores {
    let score = |show, every| -> Score {
        let shown = |clip: &Clip| evaluate(&clip.truth, &replay(clip, show, every), FPS);
        clips.iter().map(shown).sum()
    };
    let model = score(Overlay::EveryNth, 1);
    let mut goals = None;
    for every in [1, 2, EVERY, 8] {
        let scores = [
            Overlay::EveryNth,
            Overlay::Hold,
            Overlay::Velocity,
            Overlay::Tracked,
        ]
        .map(|s| score(s, every));
        table.add(name, every, &model, &scores);
        if every == EVERY {
            let [_, hold, _, tracked] = scores;
            goals = Some((hold, tracked));
        }
    }
    let (hold, tracked) = goals.unwrap();
    Scores {
        model,
        hold,
        tracked,
    }
}

impl Goals {
    /// Adds the goals of tracks: the least share of the model's own F1, in per cent, and the most flickers a second.
    fn add_boxes(&mut self, name: &str, scores: &Scores, share: f64, flicker: f64) {
        let of_model = |score: &Score| 100.0 * score.f1() / scores.model.f1();
        let (tracked, hold) = (&scores.tracked, &scores.hold);
        self.add(
            &format!("{name}: tracked, of the model's own F1"),
            Unit::Percent,
            of_model(tracked),
            Some(("hold", of_model(hold))),
            Goal::Least(share),
        );
        self.add(
            &format!("{name}: flicker"),
            Unit::PerSecond,
            tracked.flicker(),
            Some(("hold", hold.flicker())),
            Goal::Most(flicker),
        );
    }

    fn add(
        &mut self,
        name: &str,
        unit: Unit,
        value: f64,
        against: Option<(&str, f64)>,
        goal: Goal,
    ) {
        self.0.add(&Figure {
            name: name.to_owned(),
            value,
            unit,
            against: against.map(|(name, value)| (name.to_owned(), value)),
            goal,
        });
    }
}

/// Returns boxes as they are judged.
pub(crate) fn outlines(boxes: &[Detection]) -> Vec<ObjectBox> {
    let outline = |found: &Detection| ObjectBox {
        id: found.id,
        class: found.class,
        bbox: found.bbox,
    };
    boxes.iter().map(outline).collect()
}

/// Returns the model's detections on each frame.
pub(crate) fn infer(runtime: &Environment, model: &Model, frames: &[Bytes]) -> Vec<Vec<Detection>> {
    let settings = detect::Settings {
        conf: TRACK.keep,
        ..detect::Settings::default()
    };
    let mut detector = Detector::load(runtime, model, settings).unwrap();
    let infer = |frame: &Bytes| detector.detect(frame).unwrap().detections;
    frames.iter().map(infer).collect()
}

fn print(text: &str) {
    writeln!(std::io::stdout().lock(), "{text}").unwrap();
}
