//! Labelled photographs, the slice of COCO in `shared/data`, and COCO's measure of a detector on them.
//!
//! Fifty photographs tell two networks apart only if these differ by some hundredths; they do show whether two programs
//! do the same.

use std::fs;
use std::path::Path;

use protocol::geometry::BBox;

use crate::precision::{PictureBox, average_precision};

/// COCO's custom: every box down to this score counts ..
pub const CONF: f32 = 0.001;
/// .. of the 100 best on a picture ..
pub const MOST: usize = 100;
/// .. at overlaps from .50 to .95, here in hundredths.
const OVERLAPS: [u8; 10] = [50, 55, 60, 65, 70, 75, 80, 85, 90, 95];

/// A photograph and its true boxes.
#[derive(Debug, Clone)]
pub struct Photograph {
    /// Name of the file.
    pub name: String,
    /// Bytes of the file.
    pub jpeg: Vec<u8>,
    /// True boxes; their picture number is the photograph's place in the slice.
    pub truth: Vec<PictureBox>,
}

/// Returns the slice in the order of the file names; `None` if `shared/data` does not have it.
///
/// # Panics
/// If a file of it is broken.
pub fn photographs() -> Option<Vec<Photograph>> {
    let slice = crate::shared("data/coco-slice")?;
    let files = fs::read_dir(slice.join("images")).expect("the slice has pictures");
    let mut files: Vec<_> = files
        .map(|file| file.expect("a directory can be read").path())
        .collect();
    files.sort();
    let one = |(picture, file): (u64, &Path)| Photograph {
        name: file
            .file_name()
            .expect("it came from a directory")
            .to_string_lossy()
            .into_owned(),
        jpeg: fs::read(file).expect("a picture can be read"),
        truth: labels(&slice, file)
            .lines()
            .map(|line| truth(picture, line))
            .collect(),
    };
    Some(
        (0..)
            .zip(files.iter().map(|file| file.as_path()))
            .map(one)
            .collect(),
    )
}

/// Returns AP50-95: the mean over the ten overlaps of the average precision, 0 to 1.
pub fn mean_precision(truth: &[PictureBox], found: &[PictureBox]) -> f64 {
    let at = |iou: u8| average_precision(truth, found, f64::from(iou) / 100.0);
    OVERLAPS.map(at).iter().sum::<f64>() / OVERLAPS.len() as f64
}

/// Returns the labels of a picture; a picture without a file of labels shows no object.
fn labels(slice: &Path, picture: &Path) -> String {
    let name = picture.file_name().expect("it came from a directory");
    let file = slice.join("labels").join(name).with_extension("txt");
    fs::read_to_string(file).unwrap_or_default()
}

/// Parses a line of YOLO's labels: class, centre, width and height, all but the class in shares of the picture.
fn truth(picture: u64, line: &str) -> PictureBox {
    let numbers: Vec<f32> = line
        .split_whitespace()
        .map(|word| word.parse().expect("a label holds numbers"))
        .collect();
    let [class, x, y, w, h] = numbers[..] else {
        panic!("not a YOLO label: {line}")
    };
    PictureBox {
        picture,
        class: class as usize,
        bbox: BBox::new(x - w / 2.0, y - h / 2.0, x + w / 2.0, y + h / 2.0),
        score: 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_gives_centre_and_sides_in_shares_of_the_picture() {
        let label = truth(7, "16 0.5 0.25 0.2 0.1");
        assert_eq!((label.picture, label.class), (7, 16));
        let want = [0.4, 0.2, 0.6, 0.3];
        assert!(
            label
                .bbox
                .edges()
                .iter()
                .zip(want)
                .all(|(a, b)| (a - b).abs() < 1e-6)
        );
    }

    #[test]
    fn a_box_that_is_a_fifth_too_long_counts_up_to_its_overlap() {
        let truth = [truth(0, "0 0.5 0.5 0.8 0.5")];
        let mut found = truth.clone();
        found[0].bbox.x1 += 0.2;
        // Its overlap is 0.8: found at .50 to .80, seven of ten.
        found[0].bbox.x1 -= 1e-6;
        assert!((mean_precision(&truth, &found) - 0.7).abs() < 1e-9);
    }
}
