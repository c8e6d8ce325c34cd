//! The real YOLOv5n against detections that upstream's own code made: every export variant, through the real JPEG path.
//!
//! Tolerances are those between sound implementations: of the detections with confidence 0.35 and more at least 97 %
//! are matched at IoU 0.9 with a confidence within 0.08; those below 0.35 may come and go.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use bytes::Bytes;
use ort::environment::Environment;
use protocol::detections::Detection;
use protocol::geometry::{BBox, Size};
use serde_json::Value;
use vision::detect::{self, Detector, Model, runtime};

const MIN_CONFIDENCE: f64 = 0.35;
const MIN_MATCHED: f64 = 0.97;
const MIN_IOU: f64 = 0.9;
const MAX_CONFIDENCE_ERROR: f64 = 0.08;

fn runtime() -> &'static Environment {
    static RUNTIME: OnceLock<Environment> = OnceLock::new();
    RUNTIME.get_or_init(|| runtime::load(None).unwrap())
}

fn settings(net_size: Option<Size>) -> detect::Settings {
    detect::Settings {
        net_size,
        threads: 2,
        ..detect::Settings::default()
    }
}

fn detector(model: &Path, net_size: Option<Size>) -> Detector {
    Detector::load(runtime(), &Model::File(model.into()), settings(net_size)).unwrap()
}

/// Compares a model's detections on every reference image; `net_size` chooses the input for an image's record.
fn compare(model: &str, golden: &str, net_size: impl Fn(&Value) -> Option<Size>) {
    let (Some(model), Some(golden)) = (testkit::shared(model), testkit::shared(golden)) else {
        return testkit::skip("../shared/data is not here");
    };
    let golden: Value = serde_json::from_slice(&fs::read(golden).unwrap()).unwrap();
    let mut loaded: Option<(Option<Size>, Detector)> = None;
    let mut total = Agreement::default();
    for (file, record) in golden["images"].as_object().unwrap() {
        let Some(image) = testkit::shared(&format!("data/{file}")) else {
            continue;
        };
        let size = net_size(record);
        if loaded.as_ref().is_none_or(|(known, _)| *known != size) {
            loaded = Some((size, detector(&model, size)));
        }
        let (_, detector) = loaded.as_mut().unwrap();
        let found = detector.detect(&fs::read(image).unwrap()).unwrap();
        let [width, height] = ["width", "height"].map(|side| record[side].as_f64().unwrap());
        assert_eq!(
            (f64::from(found.size.width), f64::from(found.size.height)),
            (width, height),
            "{file}"
        );
        let detections = record["detections"].as_array().unwrap().iter();
        let reference: Vec<Reference> = detections
            .map(|d| Reference::new(d, width, height))
            .collect();
        total.add(&reference, &found.detections);
    }
    total.check();
}

/// Detections of confidence [`MIN_CONFIDENCE`] and more, of all images.
#[derive(Debug, Default)]
struct Agreement {
    /// In the reference.
    sure: usize,
    /// Those of them that were found.
    matched: usize,
    /// Found, and not in the reference.
    extra: usize,
}

impl Agreement {
    fn add(&mut self, reference: &[Reference], found: &[Detection]) {
        let sure = || reference.iter().filter(|d| d.score >= MIN_CONFIDENCE);
        self.sure += sure().count();
        self.matched += sure().filter(|r| found.iter().any(|d| r.is(d))).count();
        let known = |d: &Detection| reference.iter().any(|r| r.is(d));
        let extra = found
            .iter()
            .filter(|d| f64::from(d.score) >= MIN_CONFIDENCE && !known(d));
        self.extra += extra.count();
    }

    fn check(&self) {
        let Self {
            sure,
            matched,
            extra,
        } = self;
        eprintln!("{matched} of {sure} matched, {extra} extra");
        assert!(*sure > 100, "the reference has {sure} sure detections");
        assert!(
            *matched as f64 >= MIN_MATCHED * *sure as f64,
            "{matched} of {sure} matched"
        );
        assert!(
            *extra as f64 <= (1.0 - MIN_MATCHED) * *sure as f64,
            "{extra} boxes that upstream has not"
        );
    }
}

struct Reference {
    class: usize,
    name: String,
    score: f64,
    bbox: BBox,
}

impl Reference {
    fn new(value: &Value, width: f64, height: f64) -> Self {
        let at = |i: usize, side: f64| (value["xyxy"][i].as_f64().unwrap() / side) as f32;
        Self {
            class: usize::try_from(value["class_id"].as_u64().unwrap()).unwrap(),
            name: value["class"].as_str().unwrap().to_owned(),
            score: value["confidence"].as_f64().unwrap(),
            bbox: BBox::new(at(0, width), at(1, height), at(2, width), at(3, height)),
        }
    }

    fn is(&self, found: &Detection) -> bool {
        found.class == self.class
            && found.label == self.name
            && (f64::from(found.score) - self.score).abs() <= MAX_CONFIDENCE_ERROR
            && f64::from(self.bbox.iou(found.bbox)) >= MIN_IOU
    }
}

#[test]
fn the_export_of_fixed_size_finds_what_upstream_finds() {
    compare(
        "data/models/yolov5n-640.onnx",
        "data/golden/yolov5n-640.json",
        |_| None,
    );
}

#[test]
fn the_export_of_free_size_finds_what_upstream_finds_at_640() {
    let square = Size {
        width: 640,
        height: 640,
    };
    compare(
        "data/models/yolov5n-dynamic.onnx",
        "data/golden/yolov5n-dynamic.json",
        |_| Some(square),
    );
}

#[test]
fn the_export_of_half_precision_finds_what_upstream_finds() {
    compare(
        "data/models/yolov5n-640-fp16.onnx",
        "data/golden/yolov5n-640-fp16.json",
        |_| None,
    );
}

#[test]
fn the_smallest_rectangle_finds_what_upstream_finds_with_it() {
    compare(
        "data/models/yolov5n-dynamic.onnx",
        "data/golden/yolov5n-dynamic-rect.json",
        |record| {
            let side = |i: usize| u16::try_from(record["input_hw"][i].as_u64().unwrap()).unwrap();
            Some(Size {
                width: side(1),
                height: side(0),
            })
        },
    );
}

#[test]
fn classes_are_chosen_by_name_or_number() {
    let (Some(model), Some(image)) = (
        testkit::shared("data/models/yolov5n-640.onnx"),
        testkit::shared("data/images/bus.jpg"),
    ) else {
        return testkit::skip("../shared/data is not here");
    };
    let bus = fs::read(image).unwrap();
    for class in ["bus", "5"] {
        let settings = detect::Settings {
            classes: vec![class.to_owned()],
            ..settings(None)
        };
        let found = Detector::load(runtime(), &Model::File(model.clone()), settings)
            .unwrap()
            .detect(&bus)
            .unwrap();
        let labels: Vec<&str> = found.detections.iter().map(|d| d.label.as_str()).collect();
        assert_eq!(labels, ["bus"], "--classes {class}");
    }
    let unknown = detect::Settings {
        classes: vec!["bsu".to_owned()],
        ..settings(None)
    };
    let err = format!(
        "{:#}",
        Detector::load(runtime(), &Model::File(model), unknown).unwrap_err()
    );
    assert!(
        err.contains("no class 'bsu'") && err.contains("bus"),
        "{err}"
    );
}

#[test]
fn a_net_size_that_the_model_cannot_take_is_refused_with_the_cure() {
    let Some(model) = testkit::shared("data/models/yolov5n-640.onnx") else {
        return testkit::skip("../shared/data is not here");
    };
    let refused = |width, height| {
        let settings = settings(Some(Size { width, height }));
        format!(
            "{:#}",
            Detector::load(runtime(), &Model::File(model.clone()), settings).unwrap_err()
        )
    };
    assert!(refused(320, 224).contains("takes 640x640 only"));
    assert!(refused(300, 200).contains("multiples of 32"));
    assert!(refused(65_504, 65_504).contains("up to 4096"));
}

#[test]
fn several_pictures_in_one_run_find_what_each_finds_alone() {
    let (Some(model), Some(images), Some(wire)) = (
        testkit::shared("data/models/yolov5n-dynamic.onnx"),
        testkit::shared("data/images"),
        testkit::shared("data/images/wire300x200"),
    ) else {
        return testkit::skip("../shared/data is not here");
    };
    let files = |directory: &Path| -> Vec<Bytes> {
        let files = fs::read_dir(directory).unwrap();
        let files = files.map(|file| file.unwrap().path());
        let some = files.filter(|file| file.is_file()).take(6);
        some.map(|file| fs::read(file).unwrap().into()).collect()
    };
    // Sizes alternate, so that runs are filled from both ends.
    let pairs = files(&images).into_iter().zip(files(&wire));
    let jpegs: Vec<Bytes> = pairs.flat_map(|(large, small)| [large, small]).collect();
    let mut detector = detector(&model, None).with_batch(4);
    let together = detector.detect_all(&jpegs);
    let mut boxes = 0;
    for (jpeg, together) in jpegs.iter().zip(together) {
        let (alone, together) = (detector.detect(jpeg).unwrap(), together.unwrap());
        assert_eq!(alone.detections, together.detections);
        assert_eq!(alone.size, together.size);
        boxes += alone.detections.len();
    }
    assert!(boxes > 20, "{boxes} boxes in {} pictures", jpegs.len());
}
