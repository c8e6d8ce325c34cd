//! What the smaller network costs in accuracy: photographs as the wire brings them, through both input sizes.

use std::fs;
use std::path::{Path, PathBuf};

use opencv::core::Mat;
use platform::jpeg;
use relay_server::detect::Detector;
use relay_server::detect::yolo::Size;
use testkit::figures::{Goal, Unit};
use testkit::precision::{Mark, average_precision};

use crate::detector::{detector, environment};
use crate::{Run, media};

/// COCO's custom: every box down to this score counts ..
const CONF: f32 = 0.001;
/// .. of the 100 best on a picture ..
const MOST: usize = 100;
/// .. at overlaps from .50 to .95, here in hundredths.
const OVERLAPS: [u8; 10] = [50, 55, 60, 65, 70, 75, 80, 85, 90, 95];

pub(crate) fn measure(run: &mut Run) {
    let (Some(model), Some(slice)) = (media::model_free(), testkit::shared("data/coco-slice"))
    else {
        return run.leave_out("average precision", "../shared/data/coco-slice is not here");
    };
    let environment = match environment() {
        Ok(environment) => environment,
        Err(why) => return run.leave_out("average precision", why),
    };
    let pictures = pictures(&slice);
    let square = Size {
        width: 640,
        height: 640,
    };
    let mut sizes = [None, Some(square)].map(|size| detector(environment, &model, size, CONF));
    let truth: Vec<Mark> = pictures.iter().flat_map(|p| p.truth.clone()).collect();
    for quality in [80, 95] {
        let [small, large] = sizes.each_mut().map(|detector| {
            let found = found(detector, &pictures, quality);
            OVERLAPS.map(|iou| average_precision(&truth, &found, f64::from(iou) / 100.0))
        });
        let mean = |all: [f64; 10]| all.iter().sum::<f64>() / all.len() as f64;
        for (what, small, large) in [
            ("AP50-95", mean(small), mean(large)),
            ("AP50", small[0], large[0]),
        ] {
            let name = format!("{what} at 300x200 q{quality}, net 320x224");
            run.add(
                &name,
                Unit::Precision,
                small,
                ("640x640", large),
                Goal::None,
            );
        }
    }
}

/// A picture at the wire's size, and what is on it.
struct Labelled {
    picture: Mat,
    truth: Vec<Mark>,
}

fn pictures(slice: &Path) -> Vec<Labelled> {
    let files = fs::read_dir(slice.join("images")).unwrap();
    let one = |(number, file): (u64, PathBuf)| {
        let labels = slice
            .join("labels")
            .join(file.file_name().unwrap())
            .with_extension("txt");
        let picture = jpeg::decode(&fs::read(file).unwrap()).unwrap();
        // A picture without a file of labels shows nothing.
        let labels = fs::read_to_string(labels).unwrap_or_default();
        Labelled {
            picture: jpeg::resize(&picture, "300x200".parse().unwrap()).unwrap(),
            truth: labels.lines().map(|line| truth(number, line)).collect(),
        }
    };
    (0..)
        .zip(files.map(|file| file.unwrap().path()))
        .map(one)
        .collect()
}

/// A line of YOLO's labels: class, centre, width and height, all but the class in shares of the picture.
fn truth(picture: u64, line: &str) -> Mark {
    let numbers: Vec<f64> = line
        .split_whitespace()
        .map(|word| word.parse().unwrap())
        .collect();
    let [class, x, y, w, h] = numbers[..] else {
        panic!("not a YOLO label: {line}")
    };
    Mark {
        picture,
        class: class as usize,
        bounds: [x - w / 2.0, y - h / 2.0, x + w / 2.0, y + h / 2.0],
        score: 1.0,
    }
}

/// What the detector finds on all pictures; it gives the best boxes first.
fn found(detector: &mut Detector, pictures: &[Labelled], quality: u8) -> Vec<Mark> {
    let one = |(picture, labelled): (u64, &Labelled)| {
        let found = detector
            .detect(&jpeg::encode(&labelled.picture, quality).unwrap())
            .unwrap();
        let best = found.detections.into_iter().take(MOST);
        best.map(move |d| Mark {
            picture,
            class: d.class,
            bounds: d.bounds.map(f64::from),
            score: d.score.into(),
        })
    };
    (0..).zip(pictures).flat_map(one).collect()
}
