//! Names the models that are not read, by what their outputs look like: a refusal that names the model is understood. Pure.

use protocol::geometry::Size;

use super::grid;
use super::heads::Head;

/// Families with YOLOv5's columns and one box a cell.
pub const ONE_BOX_A_CELL: &str = "YOLOX or YOLOv6, or of YOLOv8 with rows and columns exchanged";

/// Numbers behind the scores of a class that are no scores, and what they are. YOLOv5's own extra: the angles of its
/// oriented boxes, in degrees.
const EXTRA: [(usize, &str); 4] = [
    (32, "the coefficients of masks (segmentation)"),
    (51, "the 17 key points of a person (pose)"),
    (180, "angles (oriented boxes)"),
    (10, "the five landmarks of a face (yolov5-face)"),
];

/// Checks that a head has as many columns of scores as the model has names, or a number that no other task has.
///
/// # Errors
/// If another task or layout has that number: which.
pub fn surplus(head: Head, named: usize, classes: usize) -> Result<(), String> {
    if matches!(head, Head::Anchors { .. }) && named == classes + 1 {
        return Err(format!(
            "its {named} names and no objectness would fill its columns, like those of a head of YOLOv8 with rows and \
             columns exchanged"
        ));
    }
    let Some(surplus) = classes.checked_sub(named) else {
        return Ok(());
    };
    let angle = (1, "the angle of oriented boxes (OBB)");
    let one = matches!(head, Head::AnchorFree { .. }).then_some(angle);
    let known = EXTRA
        .into_iter()
        .chain(one)
        .find(|(count, _)| *count == surplus);
    match known {
        Some((_, what)) => Err(format!(
            "it has {surplus} more numbers a box than the {named} classes of its names need: {what}, or names are missing in \
             its metadata"
        )),
        None => Ok(()),
    }
}

/// Returns which models with key points have so many numbers a box, if their scores are none.
pub fn key_points(head: Head) -> Option<&'static str> {
    match head {
        Head::Anchors { columns: 16 } => Some("; five landmarks in them would be yolov5-face"),
        Head::Anchors { columns: 57 } | Head::AnchorFree { channels: 56 } => {
            Some("; 17 key points in them would be a pose model")
        }
        Head::AnchorFree { channels: 20 } => {
            Some("; five key points in them would be a face model")
        }
        Head::Anchors { columns: 117 } | Head::AnchorFree { channels: 116 } => {
            Some("; 32 coefficients of masks in them would be a segmentation model")
        }
        _ => None,
    }
}

/// Returns whether an output of this shape makes the model one of segmentation: prototypes of masks, 32 in all of
/// Ultralytics' models. The extra heads of old exports are of five dimensions, or of three times the columns.
pub fn is_masks(shape: &[i64]) -> bool {
    matches!(shape, [_, 32, _, _])
}

/// Returns the family whose output looks like this.
pub fn resembles(shape: &[i64], net: Size) -> &'static str {
    let on_grid =
        |side: i64| u64::try_from(side).is_ok_and(|side| !grid::anchors(side, net).is_empty());
    match *shape {
        [_, _, h, w, _] if on_grid(h.saturating_mul(w)) => {
            " (like a raw head of YOLOv5, whose boxes are still to be computed; export it without --train)"
        }
        [_, _, h, w] if on_grid(h.saturating_mul(w)) => {
            " (like a raw head, whose boxes are still to be computed)"
        }
        [_, rows, columns] if on_grid(rows) || on_grid(columns) => {
            " (like a head with too few numbers a box for a class)"
        }
        [_, _, 7] | [_, 7] => {
            " (like boxes with an angle, or after a suppression (NMS) with the picture's number; export it without)"
        }
        [_, rows, columns] if columns > 7 && (1..=1000).contains(&rows) => {
            " (like an end-to-end head with masks or key points, or like RT-DETR)"
        }
        [_, _] => " (like the scores of a classifier)",
        _ => "",
    }
}
