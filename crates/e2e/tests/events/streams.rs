//! Two real streams, against what was written down by hand.

use opencv::core::Mat;
use opencv::prelude::*;
use opencv::videoio::{CAP_ANY, CAP_PROP_FPS, VideoCapture};
use protocol::geometry::Size;
use vision::detect::Model;

use crate::chain::{Chain, FPS, detector, shared};
use crate::truth::{Agreement, Truth, compare};

/// The largest picture of a camera by the UDP transport.
const LARGEST: Size = Size {
    width: 300,
    height: 200,
};

/// Whose names the objects of a stream have.
#[derive(Debug, Clone, Copy)]
enum Naming {
    /// The model's; it reports this class alone.
    Model(&'static str),
    /// The truth's: the model finds the objects and knows no name for them. It takes cars that it sees from straight above
    /// for telephones and bottles.
    Whatever(&'static str),
}

/// Runs a video as a camera of ten frames a second, with answers that are known so many frames later.
fn run(video: &str, truth: &str, naming: Naming, delay: u64) -> Option<(Agreement, Agreement)> {
    let video = shared(&format!("data/video/{video}"))?;
    let model = shared("data/models/yolov5n-dynamic.onnx")?;
    let truth = Truth::parse(truth);
    let classes = match naming {
        Naming::Model(label) => vec![label],
        Naming::Whatever(_) => Vec::new(),
    };
    let detector = detector(Model::File(model), &classes)?;
    let mut chain = Chain::new(detector, truth.settings(), delay);
    if let Naming::Whatever(label) = naming {
        chain = chain.with_label(label);
    }
    let mut capture = VideoCapture::from_file(video.to_str().unwrap(), CAP_ANY).unwrap();
    let fps = capture.get(CAP_PROP_FPS).unwrap();
    let (mut picture, mut read) = (Mat::default(), 0u64);
    for wanted in 0.. {
        let index = (wanted as f64 / FPS as f64 * fps).round() as u64;
        while read <= index {
            if !capture.read(&mut picture).unwrap() {
                let found = chain.passages();
                return Some(compare(&truth.passages, &found));
            }
            read += 1;
        }
        let size = imaging::jpeg::size(&picture).unwrap().fitted(LARGEST);
        chain.frame(&imaging::jpeg::resize(&picture, size).unwrap());
    }
    None
}

#[test]
fn events_and_entries_into_zones_of_real_streams_are_those_that_people_see() {
    for delay in [1, 3] {
        let (mut events, mut zones) = (Agreement::default(), Agreement::default());
        for (video, truth, naming) in [
            (
                "intel-car-detection.mp4",
                include_str!("truth/cars.txt"),
                Naming::Whatever("car"),
            ),
            (
                "intel-one-by-one-person-detection.mp4",
                include_str!("truth/persons.txt"),
                Naming::Model("person"),
            ),
        ] {
            let Some((of_events, of_zones)) = run(video, truth, naming, delay) else {
                return;
            };
            eprintln!("{video}, answers {delay} frames late: events {of_events}; zones {of_zones}");
            events += of_events;
            zones += of_zones;
        }
        assert!(
            events.precision() >= 0.95 && events.recall() >= 0.95,
            "{events}"
        );
        assert!(zones.precision() >= 0.9 && zones.recall() >= 0.9, "{zones}");
    }
}
