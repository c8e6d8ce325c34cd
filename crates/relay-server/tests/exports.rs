//! Every form of YOLOv5 export that there is, and models that are none: each a few hundred bytes of ONNX made here.
//!
//! The network's output is a constant, so that what comes out of it is known: one sure box of class 1.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

mod onnx;

use std::sync::OnceLock;

use half::f16;
use opencv::core::{CV_8UC3, Mat, Scalar};
use ort::environment::Environment;
use protocol::detections::Detection;
use relay_server::detect::{Detector, Model as Weights, Settings, runtime};

use self::onnx::{FLOAT, FLOAT16, INT64, Model};

/// Rows of the head for a 64x32 input (WxH): three anchors on grids of 8x4, 4x2 and 2x1.
const ROWS: i64 = 3 * (8 * 4 + 4 * 2 + 2);

/// ONNX Runtime, once for all tests; `None`, said as a skip, where it is not installed.
fn runtime() -> Option<&'static Environment> {
    static RUNTIME: OnceLock<Option<Environment>> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| runtime::load(None).ok()).as_ref();
    if runtime.is_none() {
        testkit::skip("ONNX Runtime is not here (scripts/setup)");
    }
    runtime
}

/// A head with `columns` numbers a row, all 0 but one row: a box of 16x8 around (32, 16), class 1.
fn head(columns: usize) -> Vec<f32> {
    let mut rows = vec![0.0; ROWS as usize * columns];
    rows[columns..columns + 7].copy_from_slice(&[32.0, 16.0, 16.0, 8.0, 0.9, 0.1, 0.8]);
    rows
}

/// YOLOv5's export of today for two classes.
fn export() -> Model {
    Model::new()
        .input("images", FLOAT, &[1, 3, 32, 64])
        .output("output0", FLOAT, &[1, ROWS, 7], &head(7))
        .metadata("names", "{0: 'cat', 1: 'dog'}")
        .metadata("stride", "32")
}

fn load(model: &Model) -> anyhow::Result<Option<Detector>> {
    let Some(runtime) = runtime() else {
        return Ok(None);
    };
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), model.bytes()).unwrap();
    let settings = Settings {
        conf: 0.25,
        iou: 0.45,
        classes: Vec::new(),
        net_size: None,
        threads: 1,
    };
    Detector::load(runtime, &Weights::File(file.path().into()), settings).map(Some)
}

/// What a model finds on a picture of its input's size.
fn found(model: &Model) -> Option<Vec<Detection>> {
    let mut detector = load(model).unwrap()?;
    let picture = Mat::new_rows_cols_with_default(32, 64, CV_8UC3, Scalar::all(99.0)).unwrap();
    let jpeg = platform::jpeg::encode(&picture, 80).unwrap();
    Some(detector.detect(&jpeg).unwrap().detections)
}

/// The one box, under this name.
fn is_the_box(model: &Model, label: &str) {
    let Some(found) = found(model) else { return };
    let [detection] = &found[..] else {
        panic!("{found:?}");
    };
    assert_eq!(
        (detection.class, detection.label.as_str(), detection.id),
        (1, label, None)
    );
    assert!((detection.score - 0.72).abs() < 0.01, "{}", detection.score);
    let want = [0.375, 0.375, 0.625, 0.625];
    assert!(
        detection
            .bounds
            .iter()
            .zip(want)
            .all(|(a, b)| (a - b).abs() < 0.01),
        "{:?}",
        detection.bounds
    );
}

fn is_refused(model: &Model, saying: &[&str]) {
    let loaded = load(model);
    if runtime().is_none() {
        return;
    }
    let err = format!("{:#}", loaded.unwrap_err());
    for text in saying {
        assert!(err.contains(text), "does not say {text:?}: {err}");
    }
}

#[test]
fn the_export_of_today_is_understood() {
    is_the_box(&export(), "dog");
}

#[test]
fn an_old_export_with_other_names_extra_heads_and_no_metadata_is_understood() {
    let head_of_stride = |width, height| [1, 3, height, width, 7];
    let model = Model::new()
        .input("images", FLOAT, &[1, 3, 32, 64])
        .output("output", FLOAT, &[1, ROWS, 7], &head(7))
        .output(
            "345",
            FLOAT,
            &head_of_stride(8, 4),
            &vec![0.0; 3 * 8 * 4 * 7],
        )
        .output(
            "403",
            FLOAT,
            &head_of_stride(4, 2),
            &vec![0.0; 3 * 4 * 2 * 7],
        )
        .output("461", FLOAT, &head_of_stride(2, 1), &[0.0; 3 * 2 * 7]);
    is_the_box(&model, "class 1");
}

#[test]
fn names_may_be_a_list() {
    let model = Model::new()
        .input("images", FLOAT, &[1, 3, 32, 64])
        .output("output0", FLOAT, &[1, ROWS, 7], &head(7))
        .metadata("names", "['cat', 'dog']");
    is_the_box(&model, "dog");
}

#[test]
fn eighty_classes_without_names_are_cocos() {
    let model = Model::new().input("images", FLOAT, &[1, 3, 32, 64]).output(
        "output0",
        FLOAT,
        &[1, ROWS, 85],
        &head(85),
    );
    is_the_box(&model, "bicycle");
}

#[test]
fn half_precision_is_understood() {
    let half: Vec<f16> = head(7).into_iter().map(f16::from_f32).collect();
    let model = Model::new()
        .input("images", FLOAT16, &[1, 3, 32, 64])
        .output_f16("output0", &[1, ROWS, 7], &half)
        .metadata("names", "{0: 'cat', 1: 'dog'}");
    is_the_box(&model, "dog");
}

#[test]
fn a_free_input_size_is_understood() {
    // The first run, at 320x224, finds that this constant is no head of that size: so free inputs are really run.
    let free = Model::new()
        .input("images", FLOAT, &[-1, 3, -1, -1])
        .output("output0", FLOAT, &[1, ROWS, 7], &head(7));
    is_refused(
        &free,
        &["320x224 input", "needed is [1, 4410, 5 + classes]"],
    );
}

#[test]
fn a_head_of_yolov8_is_refused_with_what_was_found_and_what_is_needed() {
    let model = Model::new().input("images", FLOAT, &[1, 3, 32, 64]).output(
        "output0",
        FLOAT,
        &[1, 84, 42],
        &vec![0.0; 84 * 42],
    );
    is_refused(&model, &["[1, 84, 42]", "[1, 126, 5 + classes]", "YOLOv8"]);
}

#[test]
fn what_is_no_detector_is_refused_with_what_was_found() {
    let output = |model: Model| model.output("output0", FLOAT, &[1, ROWS, 7], &head(7));
    let two_inputs = output(Model::new().input("a", FLOAT, &[1, 3, 32, 64]).input(
        "b",
        FLOAT,
        &[1],
    ));
    is_refused(&two_inputs, &["one input", "has 2"]);
    let words = output(Model::new().input("words", INT64, &[1, 77]));
    is_refused(&words, &["its input", "float32 or float16"]);
    let grey = output(Model::new().input("images", FLOAT, &[1, 1, 32, 64]));
    is_refused(&grey, &["1x3xHxW", "[1, 1, 32, 64]"]);
    let batch = output(Model::new().input("images", FLOAT, &[8, 3, 32, 64]));
    is_refused(&batch, &["batches of 8"]);
    let classifier = Model::new().input("images", FLOAT, &[1, 3, 32, 64]).output(
        "logits",
        FLOAT,
        &[1, 10],
        &[0.0; 10],
    );
    is_refused(&classifier, &["output0 or output", "logits"]);
}
