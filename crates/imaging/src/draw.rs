//! Boxes and text on a picture, legible at 300x200.

use opencv::core::{Mat, Point, Rect, Scalar};
use opencv::imgproc::{self, LINE_8};
use opencv::prelude::*;
use protocol::detections::{Detection, Detections};
use protocol::geometry::BBox;

use crate::lettering::{self, Lettering};

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
    boxes_with_labels_below(picture, detections, 0)
}

/// Draws boxes as [`boxes`] does, with no caption in the first `covered` rows of the picture, which other text covers.
///
/// # Errors
/// As [`boxes`].
pub fn boxes_with_labels_below(
    picture: &mut Mat,
    detections: &[Detection],
    covered: i32,
) -> opencv::Result<()> {
    let drawn = &detections[..detections.len().min(Detections::MAX_DRAWN)];
    for detection in drawn.iter().rev() {
        let (b, g, r) = COLOURS[detection.class % COLOURS.len()];
        let colour = Scalar::new(b.into(), g.into(), r.into(), 0.0);
        let bounds = pixel_rect(detection.bbox, picture.cols(), picture.rows());
        let thickness = if picture.cols() >= 600 { 2 } else { 1 };
        imgproc::rectangle(picture, bounds, colour, thickness, LINE_8, 0)?;
        label(picture, &caption(detection), bounds.tl(), covered, colour)?;
    }
    Ok(())
}

/// Returns what stands on a box: its class and the model's score. The score of a fading box is not the model's. A name that
/// no font can draw becomes the class's number.
fn caption(detection: &Detection) -> String {
    let name = match lettering::can_draw(&detection.label) {
        true => detection.label.clone(),
        false => format!("class {}", detection.class),
    };
    match detection.fading {
        true => name,
        false => format!("{name} {:.0}%", detection.score * 100.0),
    }
}

/// Draws white text on a dark bar whose top left corner is `at`: 20 pixels high on a picture 640 wide, smaller on smaller
/// ones.
///
/// # Errors
/// As [`boxes`].
pub fn text(picture: &mut Mat, text: &str, at: Point) -> opencv::Result<()> {
    let scale = (f64::from(picture.cols()) / 1280.0).clamp(0.34, 0.5);
    let letters = Lettering::new(text, scale)?;
    on_bar(picture, &letters, at, Scalar::all(30.0), Scalar::all(255.0))
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
    let room = f64::from(picture.cols()) * 0.94;
    let wide = Lettering::new(text, scale)?;
    let scale = scale.min(scale * room / f64::from(wide.width.max(1)));
    let letters = Lettering::new(text, scale)?;
    let (width, height) = (letters.width, letters.above);
    let margin = height / 2;
    let x = (picture.cols() - width) / 2;
    let bar = Rect::new(x - margin, y, width + 2 * margin, height + 2 * margin);
    imgproc::rectangle(picture, bar, back, imgproc::FILLED, LINE_8, 0)?;
    let thickness = if scale > 1.0 { 2 } else { 1 };
    letters.draw(
        picture,
        Point::new(x, y + margin + height),
        Scalar::all(255.0),
        thickness,
    )?;
    Ok(bar.y + bar.height + margin)
}

/// Draws a label above the box's corner, or below it if there is no room above the corner and below the `covered` rows.
fn label(
    picture: &mut Mat,
    text: &str,
    corner: Point,
    covered: i32,
    colour: Scalar,
) -> opencv::Result<()> {
    let scale = (f64::from(picture.cols()) / 800.0).clamp(0.36, 1.0);
    let letters = Lettering::new(text, scale)?;
    let height = bar_height(&letters);
    let y = match corner.y - height {
        above if above >= covered => above,
        _ => corner.y.max(covered),
    };
    on_bar(
        picture,
        &letters,
        Point::new(corner.x, y),
        colour,
        Scalar::all(0.0),
    )
}

/// Draws text on a filled bar that is moved to stay inside the picture.
fn on_bar(
    picture: &mut Mat,
    letters: &Lettering,
    at: Point,
    back: Scalar,
    ink: Scalar,
) -> opencv::Result<()> {
    let (width, height) = (letters.width + 4, bar_height(letters));
    let x = at.x.min(picture.cols() - width).max(0);
    let bar = Rect::new(x, at.y, width, height);
    imgproc::rectangle(picture, bar, back, imgproc::FILLED, LINE_8, 0)?;
    letters.draw(
        picture,
        Point::new(x + 2, at.y + height - height / 4),
        ink,
        1,
    )
}

fn bar_height(letters: &Lettering) -> i32 {
    letters.above + letters.below + 2
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

    /// A grey picture with a box of this name, as the relay and the viewer draw it.
    fn drawn(label: &str) -> Mat {
        let mut picture =
            Mat::new_rows_cols_with_default(200, 300, CV_8UC3, Scalar::all(90.0)).unwrap();
        let found = Detection {
            label: label.to_owned(),
            ..detection([0.2, 0.3, 0.9, 0.9])
        };
        boxes(&mut picture, &[found]).unwrap();
        picture
    }

    fn same(a: &Mat, b: &Mat) -> bool {
        a.data_bytes().unwrap() == b.data_bytes().unwrap()
    }

    #[test]
    fn latin_and_cyrillic_names_are_drawn_as_such_on_any_machine() {
        for name in ["Küche", "человек", "Łódź", "σκύλος", "Fußgänger"] {
            let found = Detection {
                label: name.to_owned(),
                ..detection([0.0; 4])
            };
            assert_eq!(caption(&found), format!("{name} 87%"));
            assert!(!same(
                &drawn(name),
                &drawn(&"?".repeat(name.chars().count()))
            ));
        }
        assert!(!same(&drawn("человек"), &drawn("собака")));
    }

    #[test]
    fn a_name_that_no_font_can_draw_becomes_the_classs_number() {
        // Letters of a private use, which no font shares, and scripts whose letters join.
        for name in ["\u{f8fe}\u{f8fd}", "x\u{10fffd}", "سيارة", "कार"] {
            assert!(same(&drawn(name), &drawn("class 0")), "{name}");
        }
    }

    #[test]
    fn chinese_names_are_drawn_by_a_font_of_the_system() {
        if !lettering::can_draw("人自行车") {
            return testkit::skip("no font of this machine has Chinese (fonts-noto-cjk)");
        }
        assert!(!same(&drawn("人"), &drawn("class 0")));
        assert!(!same(&drawn("人"), &drawn("车")));
        let start = std::time::Instant::now();
        (0..100).for_each(|_| drop(drawn("人自行车")));
        eprintln!("a box with a Chinese name: {:?}", start.elapsed() / 100);
    }

    #[test]
    fn letters_beyond_the_pictures_edge_are_cut_off() {
        let mut small = Mat::new_rows_cols_with_default(6, 9, CV_8UC3, Scalar::all(0.0)).unwrap();
        for at in [(-40, -3), (5, 3), (100, 100), (0, -100)] {
            text(&mut small, "Ж".repeat(30).as_str(), Point::new(at.0, at.1)).unwrap();
        }
        notice(&mut small, "нет кадра: Ж").unwrap();
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

    /// Returns the rows that the label of a box with this top edge stands in.
    fn label_rows(top: f32, covered: i32) -> Vec<i32> {
        let mut picture =
            Mat::new_rows_cols_with_default(427, 640, CV_8UC3, Scalar::all(0.0)).unwrap();
        let found = [detection([0.3, top, 0.6, 0.9])];
        boxes_with_labels_below(&mut picture, &found, covered).unwrap();
        let greens = |y: &i32| {
            let row = picture.at_row::<opencv::core::Vec3b>(*y).unwrap();
            row.iter().filter(|pixel| pixel.0 == [80, 220, 80]).count()
        };
        // A box's side has 4 pixels, its edge 190.
        (0..427)
            .filter(|y| (30..150).contains(&greens(y)))
            .collect()
    }

    #[test]
    fn labels_stay_out_of_rows_that_other_text_covers() {
        let covered = 26;
        for top in [0.0, 0.02, 0.05, 0.08, 0.1] {
            let rows = label_rows(top, covered);
            assert!(rows.len() > 10 && rows[0] >= covered, "at {top}: {rows:?}");
        }
        assert!(
            label_rows(0.1, 0)[0] < covered,
            "above the box where nothing covers it"
        );
        let below = label_rows(0.5, covered);
        assert_eq!(below, label_rows(0.5, 0));
        assert!(below.last() < Some(&213), "above its box: {below:?}");
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
