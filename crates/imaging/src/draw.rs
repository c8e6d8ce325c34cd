//! Boxes and text on a picture, legible at 300x200.

use opencv::core::{Mat, Point, Rect, Scalar};
use opencv::imgproc::{self, FONT_HERSHEY_SIMPLEX, LINE_8, LINE_AA};
use opencv::prelude::*;
use protocol::detections::{Detection, Detections};
use protocol::geometry::BBox;

/// Colours (BGR) far apart from each other, for neighbouring class numbers.
const COLOURS: [(u8, u8, u8); 8] = [
    (80, 220, 80),
    (60, 160, 255),
    (255, 160, 60),
    (200, 90, 255),
    (80, 230, 240),
    (255, 220, 80),
    (120, 120, 255),
    (200, 200, 200),
];

/// Draws the first [`Detections::MAX_DRAWN`] boxes with their captions. Detections come best first; the best is drawn last,
/// on top.
///
/// # Errors
/// OpenCV's own; none is known for an 8-bit BGR picture.
pub fn boxes(picture: &mut Mat, detections: &[Detection]) -> opencv::Result<()> {
    let drawn = &detections[..detections.len().min(Detections::MAX_DRAWN)];
    for detection in drawn.iter().rev() {
        let (b, g, r) = COLOURS[detection.class % COLOURS.len()];
        let colour = Scalar::new(b.into(), g.into(), r.into(), 0.0);
        let bounds = pixel_rect(detection.bbox, picture.cols(), picture.rows());
        let thickness = if picture.cols() >= 600 { 2 } else { 1 };
        imgproc::rectangle(picture, bounds, colour, thickness, LINE_8, 0)?;
        label(picture, &caption(detection), bounds.tl(), colour)?;
    }
    Ok(())
}

/// Returns what stands on a box: its class and the model's score. The score of a fading box is not the model's.
fn caption(detection: &Detection) -> String {
    match detection.fading {
        true => detection.label.clone(),
        false => format!("{} {:.0}%", detection.label, detection.score * 100.0),
    }
}

/// Draws white text on a dark bar whose top left corner is `at`: 20 pixels high on a picture 640 wide, smaller on smaller
/// ones.
///
/// # Errors
/// As [`boxes`].
pub fn text(picture: &mut Mat, text: &str, at: Point) -> opencv::Result<()> {
    let scale = (f64::from(picture.cols()) / 1280.0).clamp(0.34, 0.5);
    text_on_bar(
        picture,
        text,
        at,
        Scalar::all(30.0),
        Scalar::all(255.0),
        scale,
    )
}

/// Draws a notice in the middle of a picture, one bar a clause, so that a long sentence stays readable.
///
/// # Errors
/// As [`boxes`].
pub fn notice(picture: &mut Mat, text: &str) -> opencv::Result<()> {
    let clauses = text.split_inclusive([':', ',', ';']).map(str::trim);
    let dark_red = Scalar::new(30.0, 30.0, 140.0, 0.0);
    let mut y = picture.rows() / 3;
    for clause in clauses {
        y = banner(picture, clause, y, 0.6, dark_red)?;
    }
    Ok(())
}

/// Draws white text on a bar that begins at row `y`, smaller than `scale` when it would be wider than the picture.
/// Returns the row below the bar.
///
/// # Errors
/// As [`boxes`].
pub fn banner(
    picture: &mut Mat,
    text: &str,
    y: i32,
    scale: f64,
    back: Scalar,
) -> opencv::Result<i32> {
    let text = ascii(text);
    let size = |scale| imgproc::get_text_size(&text, FONT_HERSHEY_SIMPLEX, scale, 1, &mut 0);
    let room = f64::from(picture.cols()) * 0.94;
    let scale = scale.min(scale * room / f64::from(size(scale)?.width.max(1)));
    let letters = size(scale)?;
    let margin = letters.height / 2;
    let x = (picture.cols() - letters.width) / 2;
    let bar = Rect::new(
        x - margin,
        y,
        letters.width + 2 * margin,
        letters.height + 2 * margin,
    );
    imgproc::rectangle(picture, bar, back, imgproc::FILLED, LINE_8, 0)?;
    let base = Point::new(x, y + margin + letters.height);
    let thickness = if scale > 1.0 { 2 } else { 1 };
    let ink = Scalar::all(255.0);
    imgproc::put_text(
        picture,
        &text,
        base,
        FONT_HERSHEY_SIMPLEX,
        scale,
        ink,
        thickness,
        LINE_AA,
        false,
    )?;
    Ok(bar.y + bar.height + margin)
}

/// Draws a label above the box's corner, or inside if there is no room above.
fn label(picture: &mut Mat, text: &str, corner: Point, colour: Scalar) -> opencv::Result<()> {
    let scale = (f64::from(picture.cols()) / 800.0).clamp(0.36, 1.0);
    let height = bar_size(text, scale)?.height;
    let y = if corner.y >= height {
        corner.y - height
    } else {
        corner.y
    };
    text_on_bar(
        picture,
        text,
        Point::new(corner.x, y),
        colour,
        Scalar::all(0.0),
        scale,
    )
}

/// Draws text on a filled bar that is moved to stay inside the picture.
fn text_on_bar(
    picture: &mut Mat,
    text: &str,
    at: Point,
    back: Scalar,
    ink: Scalar,
    scale: f64,
) -> opencv::Result<()> {
    let size = bar_size(text, scale)?;
    let x = at.x.min(picture.cols() - size.width).max(0);
    let bar = Rect::new(x, at.y, size.width, size.height);
    imgproc::rectangle(picture, bar, back, imgproc::FILLED, LINE_8, 0)?;
    let base = Point::new(x + 2, at.y + size.height - size.height / 4);
    imgproc::put_text(
        picture,
        &ascii(text),
        base,
        FONT_HERSHEY_SIMPLEX,
        scale,
        ink,
        1,
        LINE_AA,
        false,
    )
}

fn bar_size(text: &str, scale: f64) -> opencv::Result<opencv::core::Size> {
    let mut below = 0;
    let size = imgproc::get_text_size(&ascii(text), FONT_HERSHEY_SIMPLEX, scale, 1, &mut below)?;
    Ok(opencv::core::Size::new(
        size.width + 4,
        size.height + below + 2,
    ))
}

/// Replaces all but ASCII, which is all that the Hershey fonts have.
fn ascii(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_ascii_graphic() || c == ' ' {
                c
            } else {
                '?'
            }
        })
        .collect()
}

/// Returns a box in whole pixels, inside the picture.
fn pixel_rect(bbox: BBox, width: i32, height: i32) -> Rect {
    let on = |x: f32, side: i32| ((x * side as f32).round() as i32).clamp(0, side - 1);
    let (left, top) = (on(bbox.x0, width), on(bbox.y0, height));
    let (right, bottom) = (on(bbox.x1, width), on(bbox.y1, height));
    Rect::new(left, top, (right - left).max(1), (bottom - top).max(1))
}

#[cfg(test)]
mod tests {
    use opencv::core::CV_8UC3;

    use super::*;

    fn detection(bounds: [f32; 4]) -> Detection {
        Detection {
            id: None,
            class: 0,
            label: "person".to_owned(),
            score: 0.87,
            fading: false,
            bbox: bounds.into(),
        }
    }

    #[test]
    fn boxes_at_and_beyond_every_edge_are_drawn_inside() {
        for bounds in [
            [0.0; 4],
            [1.0; 4],
            [0.0, 0.0, 1.0, 1.0],
            [0.99, 0.0, 1.0, 0.01],
            [0.4, 0.9, 0.2, 0.1],
        ] {
            let mut picture =
                Mat::new_rows_cols_with_default(2, 3, CV_8UC3, Scalar::all(0.0)).unwrap();
            boxes(&mut picture, &[detection(bounds)]).unwrap();
            assert!(
                picture.data_bytes().unwrap().iter().any(|&b| b != 0),
                "{bounds:?}"
            );
        }
    }

    #[test]
    fn a_fading_box_has_no_score_since_it_is_not_the_models() {
        let sure = detection([0.0; 4]);
        assert_eq!(caption(&sure), "person 87%");
        let fading = Detection {
            fading: true,
            ..sure
        };
        assert_eq!(caption(&fading), "person");
    }

    #[test]
    fn the_100_best_boxes_are_drawn_and_no_more() {
        let dark = || Mat::new_rows_cols_with_default(200, 300, CV_8UC3, Scalar::all(0.0)).unwrap();
        let at = |left: f32| detection([left, 0.5, left + 0.1, 0.9]);
        let (mut first, mut all) = (dark(), dark());
        boxes(&mut first, &vec![at(0.1); 100]).unwrap();
        let further = [vec![at(0.1); 100], vec![at(0.8); 900]].concat();
        boxes(&mut all, &further).unwrap();
        assert!(first.data_bytes().unwrap() == all.data_bytes().unwrap());
        let start = std::time::Instant::now();
        boxes(&mut all, &further).unwrap();
        eprintln!("1000 boxes on 300x200: {:?}", start.elapsed());
    }

    #[test]
    fn a_box_is_drawn_where_it_stands() {
        let mut picture =
            Mat::new_rows_cols_with_default(200, 300, CV_8UC3, Scalar::all(0.0)).unwrap();
        boxes(&mut picture, &[detection([0.5, 0.5, 0.9, 0.9])]).unwrap();
        let pixel = picture.at_2d::<opencv::core::Vec3b>(140, 150).unwrap();
        assert_eq!(pixel.0, [80, 220, 80]);
        let outside = picture.at_2d::<opencv::core::Vec3b>(20, 20).unwrap();
        assert_eq!(outside.0, [0, 0, 0]);
    }
}
