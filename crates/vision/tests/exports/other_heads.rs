//! Heads of other families with constant outputs: those that are read, and those that are refused.

use scene::Scene;

use super::onnx::{FLOAT, INT64, Model};
use super::{ROWS, export, found, head, is_refused, is_the_box, load};

fn with_output(name: &str, shape: &[i64], values: &[f32]) -> Model {
    Model::new()
        .input("images", FLOAT, &[1, 3, 32, 64])
        .output(name, FLOAT, shape, values)
        .metadata("names", "{0: 'cat', 1: 'dog'}")
}

/// Returns rows as columns.
fn exchanged(rows: &[f32], columns: usize) -> Vec<f32> {
    let column = |n: usize| rows.iter().skip(n).step_by(columns).copied();
    (0..columns).flat_map(column).collect()
}

/// The box of [`super::is_the_box`] among `boxes` without anchors.
fn anchor_free(boxes: usize) -> Vec<f32> {
    let mut rows = vec![0.0; boxes * 6];
    rows[6..12].copy_from_slice(&[32.0, 16.0, 16.0, 8.0, 0.09, 0.72]);
    exchanged(&rows, 6)
}

#[test]
fn the_output_may_have_any_name() {
    for name in ["detections", "model/22/cat", "1234"] {
        is_the_box(&with_output(name, &[1, ROWS, 7], &head(7)), "dog");
    }
}

#[test]
fn yolov5_may_have_any_number_of_grids_and_anchors() {
    // Of 64x32 (WxH): 16x8 cells at a stride of 4, 8x4, 4x2, 2x1, and 1 at 64 and 128.
    for (what, rows) in [
        ("P2", 3 * (128 + 32 + 8 + 2)),
        ("P3 and P4", 3 * (32 + 8)),
        ("P6", 3 * (32 + 8 + 2 + 1)),
        ("P7", 3 * (32 + 8 + 2 + 1 + 1)),
        ("two anchors", 2 * (32 + 8 + 2)),
        ("five anchors", 5 * (32 + 8 + 2)),
    ] {
        let mut values = vec![0.0; rows * 7];
        values[7..14].copy_from_slice(&[32.0, 16.0, 16.0, 8.0, 0.9, 0.1, 0.8]);
        eprintln!("{what}");
        is_the_box(
            &with_output("output0", &[1, rows as i64, 7], &values),
            "dog",
        );
    }
}

#[test]
fn a_head_without_anchors_is_read() {
    for boxes in [42, 40, 43, 170, 126] {
        let model = with_output("output0", &[1, 6, boxes], &anchor_free(boxes as usize));
        is_the_box(&model, "dog");
    }
}

#[test]
fn an_end_to_end_head_is_read() {
    let mut rows = vec![0.0; 300 * 6];
    rows[..6].copy_from_slice(&[24.0, 12.0, 40.0, 20.0, 0.72, 1.0]);
    is_the_box(&with_output("output0", &[1, 300, 6], &rows), "dog");
    let nameless = Model::new().input("images", FLOAT, &[1, 3, 32, 64]).output(
        "output0",
        FLOAT,
        &[1, 300, 6],
        &rows,
    );
    is_the_box(&nameless, "class 1");
}

#[test]
fn boxes_of_an_end_to_end_head_are_not_suppressed() {
    let mut rows = vec![0.0; 300 * 6];
    rows[..6].copy_from_slice(&[24.0, 12.0, 40.0, 20.0, 0.72, 1.0]);
    rows[6..12].copy_from_slice(&[24.0, 12.0, 40.0, 20.5, 0.6, 1.0]);
    let Some(found) = found(&with_output("output0", &[1, 300, 6], &rows)) else {
        return;
    };
    assert_eq!(found.len(), 2, "{found:?}");
}

#[test]
fn a_class_beyond_an_end_to_end_heads_names_is_numbered() {
    let mut rows = vec![0.0; 300 * 6];
    rows[..6].copy_from_slice(&[24.0, 12.0, 40.0, 20.0, 0.72, 7.0]);
    let Some(found) = found(&with_output("output0", &[1, 300, 6], &rows)) else {
        return;
    };
    assert_eq!(found[0].label, "class 7");
}

#[test]
fn outputs_that_are_no_numbers_or_never_have_a_row_are_refused_with_what_was_found() {
    let rows = vec![f32::NAN; ROWS as usize * 7];
    is_refused(
        &with_output("output0", &[1, ROWS, 7], &rows),
        &[
            "output0 [1, 126, 7]",
            "882 of its 882 values are no numbers (NaN",
        ],
    );
    is_refused(
        &with_output("output0", &[1, 0, 6], &[]),
        &["output0 [1, 0, 6]", "no rows at all"],
    );
}

#[test]
fn other_detectors_are_refused_with_what_was_found_and_what_is_needed() {
    let nameless = |shape: &[i64]| {
        let values = vec![0.0; shape.iter().product::<i64>() as usize];
        Model::new()
            .input("images", FLOAT, &[1, 3, 32, 64])
            .output("output0", FLOAT, shape, &values)
    };
    for (shape, is) in [
        (&[1, 42, 85][..], "YOLOX"),
        (&[1, 300, 7], "angle"),
        (&[1, 300, 38], "masks"),
        (&[17, 7], "suppression (NMS)"),
        (&[1, 1000], "classifier"),
    ] {
        let needed = "export.py of ultralytics/yolov5";
        is_refused(&nameless(shape), &[&format!("{shape:?}"), is, needed]);
    }
    is_refused(
        &nameless(&[1, 1000]),
        &["[1, 126, 5 + classes]", "[1, 4 + classes, 42]", "output0"],
    );
}

#[test]
fn yolov5_face_is_refused_and_does_not_label_everything_class_1() {
    let mut values = head(16);
    for (n, landmark) in values[16 + 5..16 + 15].iter_mut().enumerate() {
        *landmark = 20.0 + n as f32;
    }
    let face = Model::new().input("input", FLOAT, &[1, 3, 32, 64]).output(
        "output",
        FLOAT,
        &[1, ROWS, 16],
        &values,
    );
    is_refused(
        &face,
        &["11 columns of class scores", "to 29.0", "yolov5-face"],
    );
}

#[test]
fn a_model_of_another_task_is_refused_by_its_metadata() {
    for task in ["segment", "pose", "obb", "classify"] {
        is_refused(&export().metadata("task", task), &["its task is", task]);
    }
    is_the_box(&export().metadata("task", "detect"), "dog");
}

#[test]
fn an_output_that_is_not_of_floating_point_is_refused() {
    let rows = vec![0; 7 * ROWS as usize * 8];
    let model = Model::new()
        .input("images", FLOAT, &[1, 3, 32, 64])
        .raw_output("boxes", INT64, &[1, ROWS, 7], &rows);
    is_refused(&model, &["boxes", "not of floating point"]);
}

/// A P6 model of free size: it does not run unless both sides are multiples of 64. Its constant output is that of 512x320.
fn p6() -> Model {
    let rows = 3 * (64 * 40 + 32 * 20 + 16 * 10 + 8 * 5);
    let mut values = vec![0.0; rows * 7];
    values[7..14].copy_from_slice(&[256.0, 160.0, 128.0, 80.0, 0.9, 0.1, 0.8]);
    let mut model = Model::new()
        .input("images", FLOAT, &[-1, 3, -1, -1])
        .output("output0", FLOAT, &[1, rows as i64, 7], &values);
    // 480x320, a multiple of 32, has 37.5 such blocks.
    let block: Vec<u8> = [-1i64, 3 * 64 * 64]
        .iter()
        .flat_map(|n| n.to_le_bytes())
        .collect();
    model.initializer("block", INT64, &[2], &block);
    model.node("Reshape", &["images", "block"], "blocks", &[]);
    model.give("blocks", FLOAT, &[-1, -1])
}

#[test]
fn a_p6_model_of_free_size_runs_whether_it_tells_its_stride_or_not() {
    let size = "300x200".parse().unwrap();
    let scene = Scene::new(1, size, 10.0, 60.0).unwrap().draw(0).unwrap();
    let jpeg = imaging::jpeg::encode(&scene, 80).unwrap();
    for model in [p6(), p6().metadata("stride", "64")] {
        let Some(mut detector) = load(&model).unwrap() else {
            return;
        };
        let found = detector.detect(&jpeg).unwrap().detections;
        assert_eq!((found.len(), found[0].class), (1, 1));
        let [x, y] = found[0].bbox.centre();
        assert!((x - 0.5).abs() < 0.01 && (y - 0.5).abs() < 0.01, "{x} {y}");
    }
    let wrong = p6().metadata("stride", "32");
    is_refused(&wrong, &["running the model"]);
}
