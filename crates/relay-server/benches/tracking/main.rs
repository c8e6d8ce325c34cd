//! How true boxes are on every frame when only every Nth is inferred, and what it costs to carry them.
//!
//! In one process and in virtual time: each frame is inferred once, and then every way of showing boxes is played over
//! the same detections, with each answer known when the next frame comes. What counts as true is said in [`demo`] (the
//! generated scene, exact) and [`streams`] (real ones, smoothed); how it is counted, in [`score`].
//!
//! `cargo bench -p relay-server --bench tracking` prints the tables, in about a minute; `-- --quick` looks at two of the
//! eight scenes, `-- --seed 21` at others, from that number on.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark, like a test, fails by panicking"
)]

mod cost;
mod demo;
mod replay;
mod score;
mod streams;
mod table;

use std::io::Write as _;

use bytes::Bytes;
use ort::environment::Environment;
use protocol::detections::Detection;
use relay_server::detect::{Detector, Model, Settings, runtime};
use relay_server::track;

use crate::replay::{Show, replay};
use crate::score::{Score, judge};
use crate::table::{Goals, Table};

/// Lowest scores that begin and keep a track; the model is run with the second.
const TRACK: track::Settings = track::Settings {
    start: 0.40,
    keep: 0.25,
};
/// All streams here have the tutorial's pace.
const FPS: f64 = 10.0;
/// The distance of inferences that the goals speak of.
const EVERY: u64 = 4;

/// A stream with what the model says of each of its frames, and what is true.
pub(crate) struct Clip {
    pub(crate) frames: Vec<Bytes>,
    pub(crate) found: Vec<Vec<Detection>>,
    /// With an id for each thing.
    pub(crate) truth: Vec<Vec<Detection>>,
}

/// What is measured for one kind of clips.
struct Figures {
    /// The model's own boxes on each frame.
    model: Score,
    /// Of [`EVERY`].
    tracked: Score,
}

fn main() {
    platform::jpeg::single_threaded().unwrap();
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
        Err(why) => return say(&format!("left out: everything: {why:#}")),
    };
    let (mut table, mut goals) = (Table::default(), Goals::default());
    for speed in [30.0, 80.0, 160.0] {
        let clips = demo::clips(&runtime, seed..seed + scenes, speed);
        let figures = measure(&format!("demo, {speed} px/s"), &clips, &mut table);
        if speed == 80.0 {
            goals.least("demo at 80 px/s: tracked", figures.share(), 95.0);
            goals.most("demo at 80 px/s: flicker", "/s", figures.flicker(), 2.0);
            let cost = cost::of_boxes(&clips, 5);
            goals.most("carrying five boxes, decoding too", "us", cost, 300.0);
        }
    }
    match streams::clips(&runtime) {
        Some(clips) => {
            let figures = measure("real streams", &clips, &mut table);
            goals.least("real streams: tracked", figures.share(), 94.0);
            goals.most("real streams: flicker", "/s", figures.flicker(), 1.0);
            let (ours, raw) = (figures.tracked.relabelled, figures.model.relabelled);
            goals.most("real streams: label changes", "", ours, raw / 4.0);
        }
        None => goals.leave_out("real streams: ../shared/data is not here"),
    }
    say(&format!("{table}\n{goals}"));
}

/// Plays every way of showing boxes, and adds a row for each distance of inferences.
fn measure(name: &str, clips: &[Clip], table: &mut Table) -> Figures {
    let score = |show, every| -> Score {
        let shown = |clip| judge(clip, &replay(clip, show, every));
        clips.iter().map(shown).sum()
    };
    let model = score(Show::EveryNth, 1);
    let mut tracked = None;
    for every in [1, 2, EVERY, 8] {
        let scores =
            [Show::EveryNth, Show::Hold, Show::Velocity, Show::Tracked].map(|s| score(s, every));
        table.add(name, every, &model, &scores);
        if every == EVERY {
            let [.., last] = scores;
            tracked = Some(last);
        }
    }
    Figures {
        model,
        tracked: tracked.unwrap(),
    }
}

impl Figures {
    /// What is left of the model's own F1, in per cent.
    fn share(&self) -> f64 {
        100.0 * self.tracked.f1() / self.model.f1()
    }

    fn flicker(&self) -> f64 {
        self.tracked.flicker()
    }
}

/// What the model sees on each frame.
pub(crate) fn look(runtime: &Environment, model: &Model, frames: &[Bytes]) -> Vec<Vec<Detection>> {
    let settings = Settings {
        conf: TRACK.keep,
        ..Settings::default()
    };
    let mut detector = Detector::load(runtime, model, settings).unwrap();
    let look = |frame: &Bytes| detector.detect(frame).unwrap().detections;
    frames.iter().map(look).collect()
}

fn say(words: &str) {
    writeln!(std::io::stdout().lock(), "{words}").unwrap();
}
