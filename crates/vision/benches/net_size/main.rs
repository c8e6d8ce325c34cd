//! The table of `scripts/bench --net-size`: what a network's input size finds and costs, by the frames' size and quality.
//!
//! Photographs of COCO's slice, shrunk to the frame and compressed as a sender does it, go through the relay's own
//! detector with YOLOv5n. The time is the processor's, on one thread, so that a busy machine changes it little.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark, like a test, fails by panicking"
)]

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use imaging::jpeg;
use nix::time::ClockId;
use ort::environment::Environment;
use protocol::geometry::Size;
use testkit::coco::{self, CONF, MOST, Photograph, mean_precision};
use testkit::figures::aligned;
use testkit::precision::{PictureBox, average_precision};
use vision::detect::yolo::{STRIDE, net_size};
use vision::detect::{self, Detector, Model, runtime};

/// Frame sizes, and the input sizes that are tried on them.
const TRIED: [(&str, &[&str]); 5] = [
    ("160x120", &["160x128", "256x192", "320x256", "640x480"]),
    ("300x200", &["320x224", "480x320", "640x448", "640x640"]),
    ("400x300", &["416x320", "640x480"]),
    ("480x360", &["480x384", "640x480", "640x640"]),
    (
        "640x480",
        &["320x256", "480x384", "640x480", "640x640", "960x736"],
    ),
];
const QUALITIES: [u8; 3] = [50, 80, 95];
/// COCO's number of this class.
const PERSON: usize = 0;

fn main() {
    jpeg::single_threaded().unwrap();
    let mut out = std::io::stdout().lock();
    let (Some(model), Some(photographs)) = (
        testkit::shared("data/models/yolov5n-dynamic.onnx"),
        coco::photographs(),
    ) else {
        return writeln!(out, "left out: ../shared/data is not here").unwrap();
    };
    let environment = runtime::load(None).unwrap();
    let truth: Vec<PictureBox> = photographs.iter().flat_map(|p| p.truth.clone()).collect();
    let mut rows = Vec::new();
    for (frame, networks) in TRIED {
        let frame: Size = frame.parse().unwrap();
        for quality in QUALITIES {
            eprintln!("net_size: {frame} at quality {quality} ..");
            let frames: Vec<Vec<u8>> = photographs
                .iter()
                .map(|photograph| frame_of(photograph, frame, quality))
                .collect();
            for network in networks.iter().map(|network| network.parse().unwrap()) {
                let mut detector = detector(&environment, &model, network);
                let outcome = measure(&mut detector, &frames, &truth);
                let chosen = net_size(frame, STRIDE) == network;
                rows.push(outcome.row(
                    format!("{frame} q{quality}"),
                    format!("{network}{}", if chosen { " *" } else { "" }),
                ));
            }
        }
    }
    let head = ["frame", "network", "AP50-95", "AP50", "person", "ms"].map(str::to_owned);
    let table = aligned(&head, &rows);
    writeln!(out, "{table}* what --net-size auto takes").unwrap();
}

/// The figures of one input size.
struct Outcome {
    mean: f64,
    half: f64,
    person: f64,
    millis: f64,
}

impl Outcome {
    fn row(&self, frame: String, network: String) -> [String; 6] {
        let precision = |value: f64| format!("{value:.3}");
        [
            frame,
            network,
            precision(self.mean),
            precision(self.half),
            precision(self.person),
            format!("{:.1}", self.millis),
        ]
    }
}

/// Runs all pictures through one detector.
fn measure(detector: &mut Detector, jpegs: &[Vec<u8>], truth: &[PictureBox]) -> Outcome {
    let (mut found, mut spent) = (Vec::new(), Vec::new());
    for (picture, jpeg) in (0..).zip(jpegs) {
        let before = processor();
        let boxes = detector.detect(jpeg).unwrap().detections;
        spent.push(processor() - before);
        // The best come first.
        found.extend(boxes.into_iter().take(MOST).map(|d| PictureBox {
            picture,
            class: d.class,
            bbox: d.bbox,
            score: d.score.into(),
        }));
    }
    let people = |marks: &[PictureBox]| -> Vec<PictureBox> {
        let people = marks.iter().filter(|mark| mark.class == PERSON);
        people.cloned().collect()
    };
    spent.sort();
    Outcome {
        mean: mean_precision(truth, &found),
        half: average_precision(truth, &found, 0.5),
        person: mean_precision(&people(truth), &people(&found)),
        millis: spent[spent.len() / 2].as_secs_f64() * 1e3,
    }
}

/// Returns a photograph as a sender makes a frame of it.
fn frame_of(photograph: &Photograph, frame: Size, quality: u8) -> Vec<u8> {
    let picture = jpeg::decode(&photograph.jpeg).unwrap();
    jpeg::encode(&jpeg::resize(&picture, frame).unwrap(), quality).unwrap()
}

fn detector(environment: &Environment, model: &Path, net_size: Size) -> Detector {
    let settings = detect::Settings {
        conf: CONF,
        net_size: Some(net_size),
        ..detect::Settings::default()
    };
    Detector::load(environment, &Model::File(model.to_owned()), settings).unwrap()
}

/// Returns the processor time of this program so far.
fn processor() -> Duration {
    ClockId::CLOCK_PROCESS_CPUTIME_ID.now().unwrap().into()
}
