//! A real YOLOv5 network with the head of another family: what it finds is known, since the boxes are those of the original.

use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use protocol::detections::Detection;
use protocol::geometry::Size;
use scene::Scene;
use vision::detect::{self, Detector};

use super::onnx::Attribute::{Number, Numbers};
use super::onnx::{FLOAT, INT64, Model};
use super::runtime;

/// Largest difference of a side of a box, in shares of the picture, and of a score: rounding.
const ROUNDING: f32 = 2e-4;
/// A class's boxes are moved by so many pixels for a suppression within each class: more than the longest side.
const CLASS_OFFSET: f32 = 4096.0;

/// A network whose head is replaced. Names of its new values begin with `new/`.
#[derive(Debug)]
struct Surgery(Model);

impl Surgery {
    fn new(original: &[u8]) -> Self {
        let mut surgery = Self(Model::without_outputs(original));
        surgery.slice("output0", 0..4, "new/xywh");
        surgery.slice("output0", 4..5, "new/objectness");
        surgery.slice("output0", 5..i64::MAX, "new/classes");
        surgery
            .0
            .node("Mul", &["new/objectness", "new/classes"], "new/scores", &[]);
        surgery
    }

    fn numbers(&mut self, name: &str, values: &[i64]) {
        let raw: Vec<u8> = values.iter().flat_map(|n| n.to_le_bytes()).collect();
        self.0
            .initializer(name, INT64, &[values.len() as i64], &raw);
    }

    fn constant(&mut self, name: &str, shape: &[i64], values: &[f32]) {
        let raw: Vec<u8> = values.iter().flat_map(|n| n.to_le_bytes()).collect();
        self.0.initializer(name, FLOAT, shape, &raw);
    }

    /// Takes a range of the last of three axes.
    fn slice(&mut self, from: &str, range: std::ops::Range<i64>, to: &str) {
        self.slice_of_axis(from, 2, range, to);
    }

    fn slice_of_axis(&mut self, from: &str, axis: i64, range: std::ops::Range<i64>, to: &str) {
        let [start, end, axes] = ["start", "end", "axes"].map(|part| format!("{to}/{part}"));
        self.numbers(&start, &[range.start]);
        self.numbers(&end, &[range.end]);
        self.numbers(&axes, &[axis]);
        self.0.node("Slice", &[from, &start, &end, &axes], to, &[]);
    }

    fn concat(&mut self, parts: &[&str], axis: i64, to: &str) {
        self.0.node("Concat", parts, to, &[("axis", Number(axis))]);
    }

    fn transpose(&mut self, from: &str, to: &str) {
        let order = [("perm", Numbers(&[0, 2, 1]))];
        self.0.node("Transpose", &[from], to, &order);
    }

    /// YOLOv8's: no objectness, rows and columns exchanged.
    fn anchor_free(mut self, kind: u64) -> Vec<u8> {
        self.concat(&["new/xywh", "new/scores"], 2, "new/rows");
        self.transpose("new/rows", "predictions");
        self.0.give("predictions", kind, &[-1, -1, -1]).bytes()
    }

    /// YOLOv10's: 300 rows of corners, score and class. A trained network gives each object one box; here a suppression
    /// in the graph does, by the same rule as the relay's.
    fn end_to_end(mut self) -> Vec<u8> {
        self.corners();
        let last = [("axes", Numbers(&[2])), ("keepdims", Number(1))];
        self.0.node("ReduceMax", &["new/scores"], "new/best", &last);
        let last = [("axis", Number(2)), ("keepdims", Number(1))];
        self.0.node("ArgMax", &["new/scores"], "new/class", &last);
        let float = [("to", Number(FLOAT.cast_signed()))];
        self.0
            .node("Cast", &["new/class"], "new/class_number", &float);
        self.suppress();
        self.concat(
            &["new/corners", "new/best", "new/class_number"],
            2,
            "new/rows",
        );
        let axis = [("axis", Number(1))];
        self.0
            .node("Gather", &["new/rows", "new/kept"], "new/found", &axis);
        self.constant("new/nothing", &[1, 300, 6], &[0.0; 300 * 6]);
        self.concat(&["new/found", "new/nothing"], 1, "new/filled");
        self.slice_of_axis("new/filled", 1, 0..300, "predictions");
        self.0.give("predictions", FLOAT, &[1, 300, 6]).bytes()
    }

    fn corners(&mut self) {
        self.slice("new/xywh", 0..2, "new/centre");
        self.slice("new/xywh", 2..4, "new/size");
        self.constant("new/one_half", &[1], &[0.5]);
        self.0
            .node("Mul", &["new/size", "new/one_half"], "new/half_size", &[]);
        self.0
            .node("Sub", &["new/centre", "new/half_size"], "new/low", &[]);
        self.0
            .node("Add", &["new/centre", "new/half_size"], "new/high", &[]);
        self.concat(&["new/low", "new/high"], 2, "new/corners");
    }

    /// Writes the indices of the rows that stay to `new/kept`.
    fn suppress(&mut self) {
        self.constant("new/step", &[1], &[CLASS_OFFSET]);
        self.0
            .node("Mul", &["new/class_number", "new/step"], "new/offset", &[]);
        self.0
            .node("Add", &["new/corners", "new/offset"], "new/apart", &[]);
        self.transpose("new/best", "new/best_of_each");
        self.numbers("new/most", &[300]);
        self.constant("new/iou", &[1], &[0.45]);
        self.constant("new/least", &[1], &[0.05]);
        let inputs = [
            "new/apart",
            "new/best_of_each",
            "new/most",
            "new/iou",
            "new/least",
        ];
        self.0
            .node("NonMaxSuppression", &inputs, "new/selected", &[]);
        self.slice_of_axis("new/selected", 1, 2..3, "new/column");
        self.numbers("new/flat", &[-1]);
        self.0
            .node("Reshape", &["new/column", "new/flat"], "new/kept", &[]);
    }

    /// YOLOv5's with twice the anchors, each of them twice.
    fn twice_the_anchors(mut self) -> Vec<u8> {
        self.concat(&["output0", "output0"], 1, "predictions");
        self.0.give("predictions", FLOAT, &[-1, -1, -1]).bytes()
    }

    /// YOLOv5's with its first two grids alone.
    fn without_the_coarsest_grid(mut self, rows: i64) -> Vec<u8> {
        self.slice_of_axis("output0", 1, 0..rows, "predictions");
        self.0.give("predictions", FLOAT, &[-1, rows, -1]).bytes()
    }
}

fn detector(model: &[u8], settings: &detect::Settings) -> Option<Detector> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), model).unwrap();
    let model = detect::Model::File(file.path().into());
    Some(Detector::load(runtime()?, &model, settings.clone()).unwrap())
}

/// Checks that a model finds on each picture what the original finds, with these settings and stricter ones.
fn finds_the_same(original: &[u8], changed: &[u8], pictures: &[Bytes], net_size: Option<Size>) {
    let few = [0.25, 0.6].map(|conf| detect::Settings {
        conf,
        net_size,
        threads: 2,
        ..detect::Settings::default()
    });
    for settings in few {
        let loaded = (detector(original, &settings), detector(changed, &settings));
        let (Some(mut original), Some(mut changed)) = loaded else {
            return;
        };
        let mut boxes = 0;
        for (n, picture) in pictures.iter().enumerate() {
            let want = original.detect(picture).unwrap().detections;
            let found = changed.detect(picture).unwrap().detections;
            assert_same(&found, &want, n);
            boxes += want.len();
        }
        assert!(
            boxes >= pictures.len(),
            "{boxes} boxes on {} pictures",
            pictures.len()
        );
    }
}

fn assert_same(found: &[Detection], want: &[Detection], picture: usize) {
    let near = |a: f32, b: f32| (a - b).abs() <= ROUNDING;
    let is = |found: &Detection, want: &Detection| {
        let sides = found.bbox.edges().into_iter().zip(want.bbox.edges());
        (found.class, &found.label) == (want.class, &want.label)
            && near(found.score, want.score)
            && sides.into_iter().all(|(a, b)| near(a, b))
    };
    let same = found.len() == want.len() && want.iter().all(|w| found.iter().any(|f| is(f, w)));
    assert!(same, "picture {picture}: {found:?}\ninstead of {want:?}");
}

fn demo() -> Vec<u8> {
    fs::read(testkit::repository().join("models/demo.onnx")).unwrap()
}

fn scenes() -> Vec<Bytes> {
    let size = "300x200".parse().unwrap();
    let scenes = (1..=8).map(|seed| Scene::new(seed, size, 10.0, 60.0).unwrap());
    let pictures = scenes.map(|scene| scene.draw(7).unwrap());
    let jpegs = pictures.map(|picture| imaging::jpeg::encode(&picture, 80).unwrap().into());
    jpegs.collect()
}

/// The real YOLOv5n in this form and a few photographs; `None`, reported as a skip, if they are not here.
fn real(name: &str) -> Option<(Vec<u8>, Vec<Bytes>)> {
    let paths = [format!("data/models/{name}"), "data/images".to_owned()];
    let [Some(model), Some(images)] = paths.map(|path| testkit::shared(&path)) else {
        testkit::skip("../shared/data is not here");
        return None;
    };
    let files = fs::read_dir(images)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = files.filter(|path| path.is_file()).collect();
    files.sort();
    let pictures = files
        .iter()
        .take(6)
        .map(|file| fs::read(file).unwrap().into());
    Some((fs::read(model).unwrap(), pictures.collect()))
}

#[test]
fn the_demo_network_with_the_head_of_yolov8_finds_the_same() {
    let changed = Surgery::new(&demo()).anchor_free(FLOAT);
    finds_the_same(&demo(), &changed, &scenes(), None);
}

#[test]
fn the_demo_network_with_the_head_of_yolov10_finds_the_same() {
    let changed = Surgery::new(&demo()).end_to_end();
    finds_the_same(&demo(), &changed, &scenes(), None);
}

#[test]
fn the_demo_network_with_six_anchors_finds_the_same() {
    let changed = Surgery::new(&demo()).twice_the_anchors();
    finds_the_same(&demo(), &changed, &scenes(), None);
}

#[test]
fn the_demo_network_without_its_coarsest_grid_still_finds_things() {
    // 320x224: 40x28 cells at a stride of 8 and 20x14 at 16.
    let changed = Surgery::new(&demo()).without_the_coarsest_grid(3 * (40 * 28 + 20 * 14));
    let Some(mut detector) = detector(&changed, &detect::Settings::default()) else {
        return;
    };
    let found = |picture: &Bytes| detector.detect(picture).unwrap().detections.len();
    let boxes: usize = scenes().iter().map(found).sum();
    assert!(boxes > 8, "{boxes}");
}

#[test]
fn yolov5n_with_the_head_of_yolov8_finds_the_same() {
    let Some((original, pictures)) = real("yolov5n-640.onnx") else {
        return;
    };
    let changed = Surgery::new(&original).anchor_free(FLOAT);
    finds_the_same(&original, &changed, &pictures, None);
}

#[test]
fn yolov5n_of_free_size_with_the_head_of_yolov8_finds_the_same() {
    let Some((original, pictures)) = real("yolov5n-dynamic.onnx") else {
        return;
    };
    let changed = Surgery::new(&original).anchor_free(FLOAT);
    finds_the_same(&original, &changed, &pictures, None);
    finds_the_same(
        &original,
        &changed,
        &pictures,
        Some("320x320".parse().unwrap()),
    );
}

#[test]
fn yolov5n_of_half_precision_with_the_head_of_yolov8_finds_the_same() {
    let Some((original, pictures)) = real("yolov5n-640-fp16.onnx") else {
        return;
    };
    let changed = Surgery::new(&original).anchor_free(super::onnx::FLOAT16);
    let (Some(mut original), Some(mut changed)) = (
        detector(&original, &detect::Settings::default()),
        detector(&changed, &detect::Settings::default()),
    ) else {
        return;
    };
    // A score of half precision is a product rounded once more, so boxes near the threshold come and go.
    for picture in &pictures {
        let sure = |found: Vec<Detection>| found.into_iter().filter(|d| d.score > 0.4).count();
        let [a, b] =
            [&mut original, &mut changed].map(|one| sure(one.detect(picture).unwrap().detections));
        assert!(a.abs_diff(b) <= 1, "{a} and {b}");
    }
}

#[test]
fn yolov5n_with_the_head_of_yolov10_finds_the_same() {
    for name in ["yolov5n-640.onnx", "yolov5n-dynamic.onnx"] {
        let Some((original, pictures)) = real(name) else {
            return;
        };
        let changed = Surgery::new(&original).end_to_end();
        finds_the_same(&original, &changed, &pictures, None);
    }
}
