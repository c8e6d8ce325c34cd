//! The demo model finds the demo scene's objects, through the real programs, on scenes it was not trained on; and finds
//! none where there are none.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use common::{LONG, alone, directory, finish, relay, sender, stop};
use serde_json::Value;
use testkit::port;
use testkit::precision::{PictureBox, average_precision};

/// Scenes, and frames of each; training uses numbers from 100 000 on.
const SEEDS: std::ops::Range<u64> = 1..11;
const FRAMES: u64 = 40;

/// The figure in models/README.md.
#[test]
fn the_demo_model_finds_the_objects_of_unseen_scenes() {
    let (_alone, port, work) = (alone(), port::free(), directory());
    let found = work.path().join("found");
    // With all candidates: average precision weighs them by their score.
    let always = ["--every", "1", "--conf", "0.001", "--model", "demo"];
    let file = ["--detections", found.to_str().unwrap()];
    let relay = relay(port, work.path(), &[&always[..], &file].concat());
    let mut truth = Vec::new();
    for seed in SEEDS {
        let file = work.path().join(format!("truth-{seed}"));
        let (camera, number, frames) =
            (format!("seed{seed}"), seed.to_string(), FRAMES.to_string());
        let demo = ["--source", "demo", "--fps", "20", "--demo-speed", "120"];
        let scene = ["--camera", &camera, "--demo-seed", &number];
        let ends = ["--demo-truth", file.to_str().unwrap(), "--frames", &frames];
        finish(sender(port, &[&demo[..], &scene, &ends].concat()));
        truth.extend(read_boxes(&file, "boxes", |_| Some(seed)));
    }
    relay.wait_for_line("camera=seed10", LONG);
    stop(relay);
    let found = read_boxes(&found, "detections", |line| {
        line["camera"].as_str()?.strip_prefix("seed")?.parse().ok()
    });
    let inferred: BTreeSet<u64> = found.iter().map(|one| one.picture).collect();
    truth.retain(|one| inferred.contains(&one.picture));
    let precision = average_precision(&truth, &found, 0.5);
    eprintln!(
        "AP50 {precision:.3} on {} frames, {} objects",
        inferred.len(),
        truth.len()
    );
    assert!(
        inferred.len() as u64 > 10 * FRAMES / 2,
        "{} frames were inferred",
        inferred.len()
    );
    assert!(truth.len() > 500, "{} objects", truth.len());
    assert!(precision >= 0.95, "AP50 is {precision:.3}");
}

/// Returns the boxes of a file of JSON lines; `seed` returns the scene of a line.
fn read_boxes(file: &Path, key: &str, seed: impl Fn(&Value) -> Option<u64>) -> Vec<PictureBox> {
    let text = fs::read_to_string(file).unwrap();
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines
        .flat_map(|line| {
            let picture = 1000 * seed(&line).unwrap() + line["seq"].as_u64().unwrap();
            let boxes = line[key].as_array().unwrap().clone();
            boxes.into_iter().map(move |found| PictureBox {
                picture,
                class: usize::try_from(found["class"].as_u64().unwrap()).unwrap(),
                bbox: serde_json::from_value(found["box"].clone()).unwrap(),
                score: found["score"].as_f64().unwrap(),
            })
        })
        .collect()
}
