//! Recognises a model by the shapes of its outputs. Pure.
//!
//! Many detectors are called YOLO and are exported to ONNX with the same names of inputs and outputs. Read as another
//! family's, their output gives nonsense and no error. So a model is refused at load, with what it seems to be.

use protocol::geometry::Size;

use super::names::MAX_CLASSES;
use super::yolo::rows;

/// The end of every refusal: what is needed.
pub const CURE: &str = "needed is a detection model of YOLOv5 as export.py of ultralytics/yolov5 makes it (--include onnx); \
                        scripts/get-model yolov5n fetches one";

/// Largest number of columns: 5 and the most classes.
const MAX_COLUMNS: i64 = 5 + MAX_CLASSES as i64;

/// Returns how many numbers a row of the output has: 5 and one for each class.
///
/// # Errors
/// If an output of this `shape` for so many `pictures` of `net` is not that of YOLOv5's head: what it resembles.
pub fn columns(shape: &[i64], pictures: usize, net: Size) -> Result<usize, String> {
    let wanted = rows(net).map(i64::from);
    match *shape {
        [n, rows, columns]
            if usize::try_from(n) == Ok(pictures)
                && (6..=MAX_COLUMNS).contains(&columns)
                && wanted.contains(&rows) =>
        {
            Ok(columns as usize)
        }
        _ => Err(format!(
            "the model is not a YOLOv5 detector: for a {}x{} input its output is {shape:?}{}, and that of YOLOv5 is \
             [{pictures}, {}, 5 + classes]; {CURE}",
            net.width,
            net.height,
            resembles(shape, wanted),
            wanted[0],
        )),
    }
}

/// Returns the family whose output looks like this; `wanted` are the numbers of rows that YOLOv5 would have.
fn resembles(shape: &[i64], wanted: [i64; 2]) -> &'static str {
    // YOLOv5 has three anchors a cell, its successors have none.
    let cells = wanted.map(|rows| rows / 3);
    match *shape {
        [_, columns, rows] if columns >= 5 && cells.contains(&rows) => {
            ", like the head of YOLOv8, YOLO11 or another without anchors"
        }
        [_, rows, columns] if columns >= 6 && cells.contains(&rows) => {
            ", like the head of YOLOX, YOLOv6 or another without anchors"
        }
        [_, _, 6 | 7] | [_, 6 | 7] => {
            ", like boxes after a suppression (NMS) that is part of the model; export it without"
        }
        [_, _] => ", like the scores of a classifier",
        _ => "",
    }
}

/// Returns whether another output of this shape makes the model one of segmentation: prototypes of masks, 32 in all of
/// Ultralytics' models. The extra heads of old exports are of five dimensions, or of three times the columns.
pub fn is_masks(shape: &[i64]) -> bool {
    matches!(shape, [_, 32, _, _])
}

#[cfg(test)]
mod tests {
    use super::*;

    const NET: Size = Size {
        width: 640,
        height: 640,
    };

    fn refused(shape: &[i64], net: Size) -> String {
        columns(shape, 1, net).unwrap_err()
    }

    #[test]
    fn a_head_of_yolov5_has_three_anchors_a_cell() {
        assert_eq!(columns(&[1, 25_200, 85], 1, NET), Ok(85));
        assert_eq!(columns(&[4, 25_200, 6], 4, NET), Ok(6));
        let large = Size {
            width: 1280,
            height: 1280,
        };
        assert_eq!(columns(&[1, 102_000, 85], 1, large), Ok(85), "P6");
        for shape in [
            &[1, 25_200, 5][..],
            &[2, 25_200, 85],
            &[1, 25_201, 85],
            &[25_200, 85],
            &[-1, 25_200, 85],
            &[1, 25_200, 5 + MAX_CLASSES as i64 + 1],
            &[1, 25_200, i64::MAX],
            &[1, i64::MIN, 85],
            &[i64::MIN; 3],
            &[],
        ] {
            let message = refused(shape, NET);
            assert!(
                message.contains("[1, 25200, 5 + classes]") && message.contains("export.py"),
                "{message}"
            );
        }
    }

    #[test]
    fn other_models_are_told_what_they_are() {
        let wide = Size {
            width: 480,
            height: 320,
        };
        for (shape, net, is) in [
            (&[1, 84, 8400][..], NET, "YOLOv8"),
            (&[1, 84, 3150], wide, "YOLO11"),
            (&[1, 5, 8400], NET, "YOLOv8"),
            (&[1, 116, 8400], NET, "YOLOv8"),
            (&[1, 8400, 85], NET, "YOLOX"),
            (&[1, 300, 6], NET, "suppression (NMS)"),
            (&[17, 7], NET, "suppression (NMS)"),
            (&[1, 1000], NET, "classifier"),
        ] {
            let message = refused(shape, net);
            assert!(
                message.contains(is) && message.contains(&format!("{shape:?}")),
                "{message}"
            );
        }
        assert!(refused(&[1, 3, 80, 80, 85], NET).contains("85], and that"));
    }

    #[test]
    fn masks_are_32_planes_and_old_heads_are_not() {
        assert!(is_masks(&[1, 32, 160, 160]) && is_masks(&[-1, 32, -1, -1]));
        assert!(!is_masks(&[1, 3, 80, 80, 85]) && !is_masks(&[1, 255, 80, 80]));
    }
}
