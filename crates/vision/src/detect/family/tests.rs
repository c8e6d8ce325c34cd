use std::slice::from_ref;

use super::*;
use crate::detect::metadata::ClassNames;

const NET: Size = Size {
    width: 640,
    height: 640,
};
/// A dynamic model's first input.
const WIDE: Size = Size {
    width: 480,
    height: 320,
};

/// An output of zeros, whose first row and column are a box with these numbers behind it.
fn output(shape: &[i64], rest: &[f32]) -> Output {
    let length = shape
        .iter()
        .map(|side| usize::try_from(*side).unwrap_or(0))
        .product();
    let mut values = vec![0.0; length];
    let first: Vec<f32> = [32.0, 16.0, 48.0, 24.0]
        .iter()
        .chain(rest)
        .copied()
        .collect();
    let stride = match *shape {
        [_, rows, columns] if columns > rows => columns as usize,
        _ => 1,
    };
    for (n, number) in first.into_iter().enumerate() {
        if let Some(value) = values.get_mut(n * stride) {
            *value = number;
        }
    }
    Output {
        name: "anything".to_owned(),
        shape: shape.to_vec(),
        values,
        // Only a model that may give any number of rows gives none.
        free_rows: shape.get(1) == Some(&0),
    }
}

#[test]
fn a_model_whose_output_is_no_numbers_or_has_no_rows_is_refused_with_what_was_found() {
    for (shape, rest) in [
        (&[1, 25_200, 85][..], &SURE[..]),
        (&[1, 84, 8400], &SURE),
        (&[1, 300, 6], &[0.9, 2.0]),
    ] {
        for broken in [f32::NAN, f32::INFINITY] {
            let mut output = output(shape, rest);
            assert!(
                decide(&named(80), from_ref(&output), NET).is_ok(),
                "{shape:?}"
            );
            output.values.fill(broken);
            output.values[0] = 1.0;
            let (all, why) = (output.values.len(), decide(&named(80), &[output], NET));
            let found = format!("{} of its {all} values are no numbers", all - 1);
            let why = why.unwrap_err();
            assert!(why.contains(&found) && why.contains("get-model"), "{why}");
        }
    }
    let mut empty = output(&[1, 0, 6], &[]);
    let may_be_empty = decide(&named(80), from_ref(&empty), NET);
    assert!(may_be_empty.is_ok(), "{may_be_empty:?}");
    empty.free_rows = false;
    let why = decide(&named(80), &[empty], NET).unwrap_err();
    assert!(
        why.contains("[1, 0, 6]") && why.contains("no rows at all"),
        "{why}"
    );
}

fn named(count: usize) -> Metadata {
    Metadata {
        names: ClassNames::Known(vec!["x".to_owned(); count]),
        ..nameless()
    }
}

fn nameless() -> Metadata {
    Metadata {
        task: None,
        stride: None,
        names: ClassNames::Absent,
    }
}

const SURE: [f32; 3] = [0.9, 0.8, 0.1];

fn head(metadata: &Metadata, shape: &[i64], rest: &[f32], net: Size) -> Result<Head, String> {
    decide(metadata, &[output(shape, rest)], net).map(|(_, head)| head)
}

#[test]
fn each_family_is_recognised_by_its_shape() {
    let anchors = |columns| Head::Anchors { columns };
    let free = |channels| Head::AnchorFree { channels };
    let cells = |strides: &[u16], net| grid::cells(strides, net) as i64;
    for (what, rows, columns, net, want) in [
        ("YOLOv5", 25_200, 85, NET, anchors(85)),
        ("YOLOv5, one class", 25_200, 6, NET, anchors(6)),
        ("YOLOv5, dynamic", 9450, 85, WIDE, anchors(85)),
        ("P2", 3 * cells(&[4, 8, 16, 32], NET), 85, NET, anchors(85)),
        ("P3 and P4", 3 * cells(&[8, 16], NET), 85, NET, anchors(85)),
        (
            "P6",
            3 * cells(&[8, 16, 32, 64], WIDE),
            85,
            WIDE,
            anchors(85),
        ),
        (
            "P7",
            3 * cells(&[8, 16, 32, 64, 128], NET),
            85,
            NET,
            anchors(85),
        ),
        ("tiny", 3 * cells(&[16, 32], NET), 85, NET, anchors(85)),
        ("two anchors", 16_800, 85, NET, anchors(85)),
        ("five anchors", 42_000, 85, NET, anchors(85)),
        ("two anchors, one class", 16_800, 6, NET, anchors(6)),
        ("YOLOv8", 84, 8400, NET, free(84)),
        ("YOLOv8, one class", 5, 8400, NET, free(5)),
        ("YOLO11, dynamic", 84, 3150, WIDE, free(84)),
        ("YOLOv8-p2", 84, cells(&[4, 8, 16, 32], NET), NET, free(84)),
        ("YOLOv8-p6", 84, cells(&[8, 16, 32, 64], NET), NET, free(84)),
        ("made from YOLOv5", 84, 25_200, NET, free(84)),
        ("YOLOv10", 300, 6, NET, Head::EndToEnd),
        ("YOLO26, 100 boxes", 100, 6, WIDE, Head::EndToEnd),
        (
            "its own suppression found nothing",
            0,
            6,
            NET,
            Head::EndToEnd,
        ),
    ] {
        let rest: &[f32] = if want == Head::EndToEnd {
            &[0.9, 1.0]
        } else {
            &SURE
        };
        let found = head(&nameless(), &[1, rows, columns], rest, net);
        assert_eq!(found, Ok(want), "{what}");
    }
}

#[test]
fn the_number_of_names_and_the_numbers_decide_where_two_shapes_fit() {
    let small = Size {
        width: 64,
        height: 32,
    };
    // 42 cells, so 84 are two anchors on as many.
    let free = head(&named(80), &[1, 84, 42], &SURE, small);
    assert_eq!(free, Ok(Head::AnchorFree { channels: 84 }));
    let two_anchors = head(&named(37), &[1, 84, 42], &SURE, small);
    assert_eq!(two_anchors, Ok(Head::Anchors { columns: 42 }));
    // 300 boxes are three anchors on the cells of 320x320 at stride 32.
    let square = Size {
        width: 320,
        height: 320,
    };
    for metadata in [named(80), nameless()] {
        let nothing = head(&metadata, &[1, 300, 6], &[0.0, 0.0], square);
        assert_eq!(nothing, Ok(Head::EndToEnd), "it found nothing");
    }
    let corners = head(&nameless(), &[1, 300, 6], &[0.9, 0.0], square);
    assert_eq!(corners, Ok(Head::EndToEnd));
    let centres = head(&nameless(), &[1, 300, 6], &[0.9, 0.7], square);
    assert_eq!(centres, Ok(Head::Anchors { columns: 6 }));
}

#[test]
fn of_several_outputs_the_one_with_boxes_is_taken() {
    let outputs = [
        output(&[1, 3, 80, 80, 85], &[]),
        output(&[1, 25_200, 85], &SURE),
        output(&[1, 255, 80, 80], &[]),
    ];
    let found = decide(&nameless(), &outputs, NET);
    assert_eq!(found, Ok((1, Head::Anchors { columns: 85 })));
}

#[test]
fn one_box_a_cell_is_yolov5s_with_names_alone() {
    let yolox = head(&nameless(), &[1, 8400, 85], &SURE, NET).unwrap_err();
    assert!(yolox.contains("YOLOX or YOLOv6"), "{yolox}");
    let found = head(&named(80), &[1, 8400, 85], &SURE, NET);
    assert_eq!(found, Ok(Head::Anchors { columns: 85 }));
}

/// Checks that a model is refused, with its shape, what it is taken for, and what is needed.
fn refused(metadata: &Metadata, shape: &[i64], rest: &[f32], what: &str) {
    let why = head(metadata, shape, rest, NET).unwrap_err();
    for text in [
        what,
        &format!("{shape:?}"),
        "export.py",
        "scripts/get-model",
    ] {
        assert!(why.contains(text), "{text:?} is missing: {why}");
    }
}

#[test]
fn models_of_other_tasks_are_refused_by_their_numbers() {
    let none = nameless();
    refused(&none, &[1, 25_200, 16], &[0.9, 41.0, 33.0], "yolov5-face");
    refused(&none, &[1, 25_200, 57], &[0.9, 0.9, 320.0], "pose");
    refused(&none, &[1, 56, 8400], &[0.9, 320.0, 99.0], "pose");
    refused(&none, &[1, 20, 8400], &[0.9, 320.0, 99.0], "face");
    refused(&none, &[1, 116, 8400], &[0.9, 0.1, -1.5], "segmentation");
    refused(&none, &[1, 25_200, 117], &[0.9, 0.1, -1.5], "segmentation");
    refused(&none, &[1, 20, 8400], &[0.9, 0.1, -0.7], "from -0.7 to 0.9");
}

#[test]
fn models_of_other_tasks_are_refused_by_the_number_of_their_names() {
    refused(&named(15), &[1, 20, 8400], &SURE, "OBB");
    refused(&named(80), &[1, 116, 8400], &SURE, "segmentation");
    refused(&named(1), &[1, 56, 8400], &SURE, "pose");
    refused(&named(15), &[1, 25_200, 200], &SURE, "oriented boxes");
    refused(&named(1), &[1, 25_200, 16], &SURE, "yolov5-face");
    refused(&named(80), &[1, 8400, 84], &SURE, "columns exchanged");
    for task in ["segment", "pose", "obb", "classify", "semantic"] {
        let metadata = Metadata {
            task: Some(task.to_owned()),
            ..named(80)
        };
        let why = head(&metadata, &[1, 84, 8400], &SURE, NET).unwrap_err();
        assert!(why.contains(&format!("its task is {task}")), "{why}");
    }
    let masks = [
        output(&[1, 25_200, 117], &SURE),
        output(&[1, 32, 160, 160], &[]),
    ];
    let why = decide(&nameless(), &masks, NET).unwrap_err();
    assert!(
        why.contains("segmentation") && why.contains("[1, 32, 160, 160]"),
        "{why}"
    );
}

#[test]
fn a_few_names_too_few_or_too_many_do_not_refuse_a_detector() {
    for count in [1, 78, 82, 200] {
        let found = head(&named(count), &[1, 25_200, 85], &SURE, NET);
        assert_eq!(found, Ok(Head::Anchors { columns: 85 }), "{count} names");
    }
}

#[test]
fn other_outputs_are_refused_with_what_they_look_like() {
    for (shape, what) in [
        (&[1, 1000][..], "classifier"),
        (&[17, 7], "suppression (NMS)"),
        (&[1, 300, 7], "angle"),
        (&[1, 300, 38], "end-to-end head with masks"),
        (&[1, 300, 84], "RT-DETR"),
        (&[1, 3, 80, 80, 85], "raw head of YOLOv5"),
        (&[1, 255, 80, 80], "raw head"),
        (&[1, 25_200, 5], "too few numbers"),
        (&[1, 25_201, 85], "[1, 25200, 5 + classes]"),
        (&[2, 25_200, 85], "[1, 4 + classes, 8400]"),
        (&[25_200, 85], "[1, 300, 6]"),
        (&[-1, 25_200, 85], ""),
        (&[1, 25_200, 5 + MAX_CLASSES as i64 + 1], ""),
        (&[1, 25_200, i64::MAX], ""),
        (&[1, i64::MIN, 85], ""),
        (&[i64::MAX; 5], ""),
        (&[i64::MIN; 3], ""),
        (&[], ""),
    ] {
        let outputs = [Output {
            name: "x".to_owned(),
            shape: shape.to_vec(),
            values: Vec::new(),
            free_rows: false,
        }];
        let why = decide(&nameless(), &outputs, NET).unwrap_err();
        for text in [what, &format!("{shape:?}"), "export.py"] {
            assert!(why.contains(text), "{text:?} is missing: {why}");
        }
    }
    let why = decide(&nameless(), &[], NET).unwrap_err();
    assert!(why.contains("export.py"), "{why}");
}

#[test]
fn masks_are_32_planes_and_old_heads_are_not() {
    assert!(is_masks(&[1, 32, 160, 160]) && is_masks(&[-1, 32, -1, -1]));
    assert!(!is_masks(&[1, 3, 80, 80, 85]) && !is_masks(&[1, 255, 80, 80]));
}
