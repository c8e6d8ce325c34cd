//! Every form of export that there is, and models that are not one: each a few hundred bytes of ONNX made here, or a real
//! network with another head ([`surgery`]).
//!
//! The output of those made here is a constant, so that what comes out of it is known: one sure box of class 1.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

mod onnx;
mod other_heads;
mod surgery;

use std::sync::OnceLock;

use bytes::Bytes;
use half::f16;
use opencv::core::{CV_8UC3, Mat, Scalar};
use ort::environment::Environment;
use protocol::detections::Detection;
use protocol::text::is_hidden;
use vision::detect::{self, Detector, runtime};

use self::onnx::{FLOAT, FLOAT16, INT64, Model};

/// Rows of the head for a 64x32 input (WxH): three anchors on grids of 8x4, 4x2 and 2x1.
const ROWS: i64 = 3 * (8 * 4 + 4 * 2 + 2);

/// ONNX Runtime, once for all tests; `None`, reported as a skip, if it is not installed.
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
    let settings = detect::Settings::default();
    Detector::load(runtime, &detect::Model::File(file.path().into()), settings).map(Some)
}

/// What a model finds on a picture of its input's size.
fn found(model: &Model) -> Option<Vec<Detection>> {
    let mut detector = load(model).unwrap()?;
    let picture = Mat::new_rows_cols_with_default(32, 64, CV_8UC3, Scalar::all(99.0)).unwrap();
    let jpeg = imaging::jpeg::encode(&picture, 80).unwrap();
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
            .bbox
            .edges()
            .into_iter()
            .zip(want)
            .all(|(a, b): (f32, f32)| (a - b).abs() < 0.01),
        "{:?}",
        detection.bbox
    );
}

fn is_refused(model: &Model, saying: &[&str]) {
    let loaded = load(model);
    if runtime().is_none() {
        return;
    }
    let err = format!("{:#}", loaded.unwrap_err());
    for text in saying {
        assert!(err.contains(text), "{text:?} is missing: {err}");
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
fn names_that_are_not_understood_become_numbers_and_never_cocos() {
    for names in ["coco.names", "{0: cat}", ""] {
        let model = Model::new()
            .input("images", FLOAT, &[1, 3, 32, 64])
            .output("output0", FLOAT, &[1, ROWS, 85], &head(85))
            .metadata("names", names);
        is_the_box(&model, "class 1");
    }
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
    // The first run, at 480x320, finds that this constant is not a head of that size: so free inputs are really run.
    let free = Model::new()
        .input("images", FLOAT, &[-1, 3, -1, -1])
        .output("output0", FLOAT, &[1, ROWS, 7], &head(7));
    is_refused(&free, &["480x320 input", "[1, 9450, 5 + classes]"]);
}

#[test]
fn a_segmentation_model_is_no_detector_with_32_more_classes() {
    let model = Model::new()
        .input("images", FLOAT, &[1, 3, 32, 64])
        .output("output0", FLOAT, &[1, ROWS, 39], &head(39))
        .output("output1", FLOAT, &[1, 32, 8, 16], &[0.0; 32 * 8 * 16]);
    is_refused(&model, &["segmentation", "output1", "[1, 32, 8, 16]"]);
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
}

/// Any number of pictures in a run; the box is the larger, and the surer, the brighter a picture is.
fn free_batch() -> Model {
    Model::new()
        .input("images", FLOAT, &[-1, 3, 32, 64])
        .times_brightness("images", "output0", &[1, ROWS, 7], &head(7))
        .metadata("names", "{0: 'cat', 1: 'dog'}")
}

fn grey(level: f64) -> Bytes {
    let picture = Mat::new_rows_cols_with_default(32, 64, CV_8UC3, Scalar::all(level)).unwrap();
    imaging::jpeg::encode(&picture, 95).unwrap().into()
}

#[test]
fn several_pictures_in_one_run_find_what_each_finds_alone() {
    let Some(detector) = load(&free_batch()).unwrap() else {
        return;
    };
    assert_eq!(detector.batch(), 1, "the processor gains nothing by more");
    let mut detector = detector.with_batch(3);
    assert_eq!(detector.batch(), 3);
    let mut jpegs: Vec<Bytes> = [250.0, 160.0, 200.0, 180.0, 240.0, 190.0, 230.0]
        .map(grey)
        .into();
    jpegs.insert(2, Bytes::from_static(b"no JPEG"));
    let together = detector.detect_all(&jpegs);
    assert_eq!(together.len(), jpegs.len());
    for (n, (jpeg, found)) in jpegs.iter().zip(together).enumerate() {
        match (detector.detect(jpeg), found) {
            (Ok(alone), Ok(found)) => {
                assert_eq!(alone.detections.len(), 1, "picture {n}");
                assert_eq!(alone.detections, found.detections, "picture {n}");
            }
            (Err(_), Err(_)) => assert_eq!(n, 2),
            other => panic!("picture {n}: {other:?}"),
        }
    }
    assert!(detector.detect_all(&[]).is_empty());
}

#[test]
fn an_export_of_one_picture_a_run_does_several_one_after_the_other() {
    let Some(detector) = load(&export()).unwrap() else {
        return;
    };
    let mut detector = detector.with_batch(4);
    assert_eq!(detector.batch(), 1);
    let found = detector.detect_all(&[grey(99.0), grey(20.0)]);
    assert!(
        found
            .iter()
            .all(|one| one.as_ref().unwrap().detections.len() == 1)
    );
}

#[test]
fn settings_change_between_pictures_and_a_bad_one_changes_nothing() {
    let Some(mut detector) = load(&export()).unwrap() else {
        return;
    };
    let boxes = |detector: &mut Detector| detector.detect(&grey(99.0)).unwrap().detections.len();
    let class = |name: &str| [name.to_owned()];
    detector.set(0.8, 0.45, &[]).unwrap();
    assert_eq!(boxes(&mut detector), 0, "its score is 0.72");
    detector.set(0.25, 0.45, &class("cat")).unwrap();
    assert_eq!(boxes(&mut detector), 0, "it is a dog");
    let err = detector
        .set(0.1, 0.1, &class("bird"))
        .unwrap_err()
        .to_string();
    assert!(err.contains("no class 'bird'; it has cat, dog"), "{err}");
    assert_eq!(boxes(&mut detector), 0, "the old settings stay");
    detector.set(0.25, 0.45, &class("dog")).unwrap();
    assert_eq!(boxes(&mut detector), 1);
}

#[test]
fn a_hostile_models_names_are_shown_escaped_and_cut() {
    let names = format!("{{0: 'cat', 1: '\x1b[2J\\n{}'}}", "x".repeat(5000));
    let hostile = export().metadata("names", &names);
    let Some(found) = found(&hostile) else { return };
    let label = &found[0].label;
    assert!(
        label.starts_with("\\u{1b}[2J") && label.len() <= 66,
        "{label}"
    );
}

#[test]
fn a_hostile_models_refusal_is_one_short_line() {
    if runtime().is_none() {
        return;
    }
    let name = format!("\x1b[2J\nERROR forged {}", "x".repeat(5000));
    for model in [
        Model::new().input("images", FLOAT, &[1, 3, 32, 64]).output(
            &name,
            FLOAT,
            &[1, 1000],
            &[0.0; 1000],
        ),
        export().metadata("task", &name),
        Model::new()
            .input(&name, FLOAT, &[1, 3])
            .output("output0", FLOAT, &[1], &[0.0]),
    ] {
        let why = format!("{:#}", load(&model).unwrap_err());
        assert!(!why.contains(is_hidden) && why.len() < 1200, "{why}");
    }
}

#[test]
fn no_size_that_a_model_claims_is_a_panic_or_takes_the_memory() {
    let sides = [0, -1, -5, 31, 4097, i64::from(i32::MAX), i64::MAX, i64::MIN];
    for side in sides {
        for shape in [
            [1, 3, side, 64],
            [1, 3, 32, side],
            [1, 3, side, side],
            [side, 3, 32, 64],
            [1, side, 32, 64],
        ] {
            let model = Model::new().input("images", FLOAT, &shape).output(
                "output0",
                FLOAT,
                &[1, ROWS, 7],
                &head(7),
            );
            // Some are understood: a free side is negative.
            let _ = load(&model);
        }
    }
    for shape in [[0, ROWS, 7], [1, 0, 7], [1, ROWS, 0]] {
        let model = Model::new().input("images", FLOAT, &[1, 3, 32, 64]).output(
            "output0",
            FLOAT,
            &shape,
            &[],
        );
        is_refused(&model, &["none of the detectors that the relay reads"]);
    }
}
