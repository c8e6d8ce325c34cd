//! The text of label files, which training programs read beside a picture. Pure.

use std::fmt::Write as _;

use clap::ValueEnum;
use protocol::detections::Detection;

/// Format of label files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LabelFormat {
    /// One line a box: number of the class, and centre and size of the box in shares of the picture's.
    Yolo,
}

impl LabelFormat {
    /// Returns the content of the file for these boxes; it is empty if there are none.
    pub(crate) fn text(self, boxes: &[Detection]) -> String {
        match self {
            Self::Yolo => yolo(boxes),
        }
    }
}

fn yolo(boxes: &[Detection]) -> String {
    let mut text = String::new();
    for detection in boxes {
        // A box that moves on may leave the picture, and training programs refuse what lies outside.
        let [x0, y0, x1, y1] = detection.bbox.edges().map(|edge| edge.clamp(0.0, 1.0));
        let (class, width, height) = (detection.class, x1 - x0, y1 - y0);
        let (x, y) = (x0 + width / 2.0, y0 + height / 2.0);
        writeln!(text, "{class} {x:.6} {y:.6} {width:.6} {height:.6}")
            .expect("a string takes any text");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detection(class: usize, edges: [f32; 4]) -> Detection {
        Detection {
            id: Some(7),
            class,
            label: "person".to_owned(),
            score: 0.8,
            fading: false,
            bbox: edges.into(),
        }
    }

    #[test]
    fn a_line_has_class_centre_and_size() {
        let boxes = [
            detection(0, [0.25, 0.25, 0.5, 0.75]),
            detection(16, [0.0, 0.0, 1.0, 1.0]),
        ];
        let want = "0 0.375000 0.500000 0.250000 0.500000\n\
                    16 0.500000 0.500000 1.000000 1.000000\n";
        assert_eq!(LabelFormat::Yolo.text(&boxes), want);
        assert_eq!(LabelFormat::Yolo.text(&[]), "");
    }

    #[test]
    fn of_a_box_that_leaves_the_picture_the_part_inside_counts() {
        let boxes = [detection(2, [-0.5, 0.5, 0.5, 1.25])];
        let want = "2 0.250000 0.750000 0.500000 0.500000\n";
        assert_eq!(LabelFormat::Yolo.text(&boxes), want);
    }
}
