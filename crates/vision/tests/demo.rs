//! The embedded demo model finds nothing on pictures without objects of its scene.

use std::fs;

use opencv::core::{CV_8UC3, Mat, Scalar};
use vision::detect::{self, Detector, Model, runtime};

/// Most false boxes on some thirty photographs.
const MAX_FALSE_BOXES: usize = 5;

fn detector() -> anyhow::Result<Detector> {
    let settings = detect::Settings::default();
    Detector::load(&runtime::load(None)?, &Model::Demo, settings)
}

#[test]
fn the_demo_model_sees_nothing_on_plain_pictures_and_next_to_nothing_on_photographs() {
    let Ok(mut detector) = detector() else {
        return testkit::skip("ONNX Runtime is not here (scripts/setup)");
    };
    for grey in 0..=25 {
        let grey = Scalar::all(10.2 * f64::from(grey));
        let plain = Mat::new_rows_cols_with_default(200, 300, CV_8UC3, grey).unwrap();
        let jpeg = imaging::jpeg::encode(&plain, 80).unwrap();
        assert_eq!(detector.detect(&jpeg).unwrap().detections, []);
    }
    let Some(folder) = testkit::shared("data/images") else {
        return testkit::skip("../shared/data is not here");
    };
    let files = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let photographs: Vec<_> = files.filter(|path| path.is_file()).collect();
    let mut found = Vec::new();
    for photograph in &photographs {
        found.extend(
            detector
                .detect(&fs::read(photograph).unwrap())
                .unwrap()
                .detections,
        );
    }
    eprintln!(
        "{} false boxes on {} photographs",
        found.len(),
        photographs.len()
    );
    assert!(
        photographs.len() >= 25 && found.len() <= MAX_FALSE_BOXES,
        "{found:?}"
    );
}
