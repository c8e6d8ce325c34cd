//! Each head's decoder against one in numpy (`heads.py`) that shares nothing with it: the same boxes from the same numbers.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use vision::detect::heads::{Filter, Head};
use vision::detect::yolo::{self, Candidate};

/// Largest difference of a side in pixels, and of a score: rounding.
const ROUNDING: f64 = 1e-3;
const CONF: f32 = 0.25;
const IOU: f32 = 0.45;

/// What a head gives, the best first.
fn found(head: Head, output: &[f32]) -> Vec<Candidate> {
    let filter = Filter {
        conf: CONF,
        wanted: &|_| true,
    };
    let candidates = head.candidates(output, filter);
    match head.overlaps() {
        true => yolo::suppress(candidates, IOU),
        false => yolo::best(candidates),
    }
}

fn floats(file: &Path) -> Vec<f32> {
    let bytes = fs::read(file).unwrap();
    let (numbers, _) = bytes.as_chunks::<4>();
    numbers
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes))
        .collect()
}

fn is(found: &Candidate, reference: &Value) -> bool {
    let [x0, y0, x1, y1] = found.bbox.edges();
    let numbers = [x0, y0, x1, y1, found.score, found.class as f32];
    let near = |(n, value): (usize, f32)| {
        (f64::from(value) - reference[n].as_f64().unwrap()).abs() <= ROUNDING
    };
    numbers.into_iter().enumerate().all(near)
}

#[test]
fn each_head_is_read_as_numpy_reads_its_published_layout() {
    let python = testkit::repository().join("target/tutorial-venv/bin/python");
    if !python.exists() {
        return testkit::skip("target/tutorial-venv (scripts/setup --test) is not here");
    }
    let directory = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/heads.py");
    let reference = Command::new(python)
        .arg(script)
        .arg(directory.path())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&reference.stderr);
    let reference: Value = serde_json::from_slice(&reference.stdout).expect(&stderr);
    for (name, head) in [
        ("yolov5", Head::Anchors { columns: 12 }),
        ("anchor_free", Head::AnchorFree { channels: 11 }),
        ("end_to_end", Head::EndToEnd),
    ] {
        let output = floats(&directory.path().join(format!("{name}.bin")));
        let shape = reference[name]["shape"].as_array().unwrap().iter();
        let shape: Vec<i64> = shape.map(|side| side.as_i64().unwrap()).collect();
        assert!(head.fits(&shape, 1), "{name}: {shape:?}");
        assert_eq!(head.plausible(&output), Ok(()), "{name}");
        let want = reference[name]["found"].as_array().unwrap();
        let found = found(head, &output);
        assert!(want.len() > 40, "{name}: {} boxes", want.len());
        assert_eq!(found.len(), want.len(), "{name}");
        for (found, want) in found.iter().zip(want) {
            assert!(is(found, want), "{name}: {found:?} instead of {want}");
        }
    }
}
