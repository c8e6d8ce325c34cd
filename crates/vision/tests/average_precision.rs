//! The whole way from JPEG bytes to boxes, compared with a numpy program that shares nothing with it (`reference.py`): the
//! same photographs, the same model, the same average precision.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use imaging::jpeg;
use ort::environment::Environment;
use protocol::geometry::Size;
use serde_json::Value;
use testkit::coco::{self, CONF, MOST, Photograph, mean_precision};
use testkit::precision::{PictureBox, average_precision};
use vision::detect::{self, Detector, Model, runtime};

/// Largest difference of two sound implementations, by their decoders and rounding.
const MAX_DIFFERENCE: f64 = 0.005;

fn runtime() -> &'static Environment {
    static RUNTIME: OnceLock<Environment> = OnceLock::new();
    RUNTIME.get_or_init(|| runtime::load(None).unwrap())
}

/// AP50-95 and AP50 of the relay and of the reference, on these JPEGs at this input size.
fn compare(jpegs: impl Fn(&Photograph) -> Vec<u8>, width: u16, height: u16) -> Option<[f64; 4]> {
    let python = testkit::repository().join("target/tutorial-venv/bin/python");
    let (Some(model), Some(slice), Some(photographs), true) = (
        testkit::shared("data/models/yolov5n-dynamic.onnx"),
        testkit::shared("data/coco-slice/labels"),
        coco::photographs(),
        python.exists(),
    ) else {
        testkit::skip("../shared/data or target/tutorial-venv (scripts/setup --test) is not here");
        return None;
    };
    let frames = tempfile::tempdir().unwrap();
    let truth: Vec<PictureBox> = photographs.iter().flat_map(|p| p.truth.clone()).collect();
    let size = Size { width, height };
    let mut detector = detector(&model, size);
    let mut found = Vec::new();
    for (picture, photograph) in (0..).zip(&photographs) {
        let jpeg = jpegs(photograph);
        fs::write(frames.path().join(&photograph.name), &jpeg).unwrap();
        found.extend(marks(&mut detector, picture, &jpeg));
    }
    let reference = Command::new(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference.py"))
        .args([&model, frames.path(), &slice])
        .args([width, height].map(|side| side.to_string()))
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&reference.stderr);
    let reference: Value = serde_json::from_slice(&reference.stdout).expect(&stderr);
    Some([
        mean_precision(&truth, &found),
        reference["mean"].as_f64().unwrap(),
        average_precision(&truth, &found, 0.5),
        reference["half"].as_f64().unwrap(),
    ])
}

fn detector(model: &Path, size: Size) -> Detector {
    let settings = detect::Settings {
        conf: CONF,
        net_size: Some(size),
        threads: 2,
        ..detect::Settings::default()
    };
    Detector::load(runtime(), &Model::File(model.into()), settings).unwrap()
}

fn marks(detector: &mut Detector, picture: u64, jpeg: &[u8]) -> Vec<PictureBox> {
    let found = detector.detect(jpeg).unwrap().detections;
    let best = found.into_iter().take(MOST);
    best.map(|d| PictureBox {
        picture,
        class: d.class,
        bbox: d.bbox,
        score: d.score.into(),
    })
    .collect()
}

fn is_the_references(precisions: Option<[f64; 4]>, least: f64) {
    let Some([mean, reference, half, reference_half]) = precisions else {
        return;
    };
    eprintln!(
        "AP50-95 {mean:.4} against {reference:.4}, AP50 {half:.4} against {reference_half:.4}"
    );
    assert!(reference > least, "the reference finds {reference}");
    assert!(
        (mean - reference).abs() <= MAX_DIFFERENCE,
        "{mean} and {reference}"
    );
    assert!(
        (half - reference_half).abs() <= MAX_DIFFERENCE,
        "AP50: {half} and {reference_half}"
    );
}

#[test]
fn photographs_as_they_are_give_the_references_average_precision() {
    is_the_references(compare(|photograph| photograph.jpeg.clone(), 640, 640), 0.3);
}

#[test]
fn frames_of_the_wire_give_the_references_average_precision() {
    let frame = |photograph: &Photograph| {
        let picture = jpeg::decode(&photograph.jpeg).unwrap();
        let small = jpeg::resize(&picture, "300x200".parse().unwrap()).unwrap();
        jpeg::encode(&small, 80).unwrap()
    };
    is_the_references(compare(frame, 480, 320), 0.25);
}
