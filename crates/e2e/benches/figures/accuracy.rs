//! The precision of the chosen network against the largest: photographs as the wire brings them, through both input sizes.

use imaging::jpeg;
use opencv::core::Mat;
use protocol::geometry::Size;
use testkit::coco::{self, CONF, MOST, mean_precision};
use testkit::figures::{Goal, Unit};
use testkit::precision::{PictureBox, average_precision};
use vision::detect::Detector;

use crate::detector::{detector, environment};
use crate::{Run, media};

pub(crate) fn measure(run: &mut Run) {
    let (Some(model), Some(photographs)) = (media::model_free(), coco::photographs()) else {
        return run.leave_out("average precision", "../shared/data/coco-slice is not here");
    };
    let environment = match environment() {
        Ok(environment) => environment,
        Err(why) => return run.leave_out("average precision", why),
    };
    let truth: Vec<PictureBox> = photographs.iter().flat_map(|p| p.truth.clone()).collect();
    let wire = |jpeg: &[u8]| {
        let picture = jpeg::decode(jpeg).unwrap();
        let small = jpeg::resize(&picture, "300x200".parse().unwrap()).unwrap();
        small.into_owned()
    };
    let pictures: Vec<Mat> = photographs.iter().map(|p| wire(&p.jpeg)).collect();
    let square = Size {
        width: 640,
        height: 640,
    };
    let mut sizes = [None, Some(square)].map(|size| detector(environment, &model, size, CONF));
    for quality in [80, 95] {
        let [small, large] = sizes.each_mut().map(|detector| {
            let found = found(detector, &pictures, quality);
            [
                mean_precision(&truth, &found),
                average_precision(&truth, &found, 0.5),
            ]
        });
        for (n, what) in ["AP50-95", "AP50"].into_iter().enumerate() {
            let name = format!("{what} at 300x200 q{quality}, net 480x320");
            run.add(
                &name,
                Unit::Precision,
                small[n],
                ("640x640", large[n]),
                Goal::None,
            );
        }
    }
}

/// Returns the detections on all pictures; the detector returns the best boxes first.
fn found(detector: &mut Detector, pictures: &[Mat], quality: u8) -> Vec<PictureBox> {
    let one = |(number, picture): (u64, &Mat)| {
        let found = detector
            .detect(&jpeg::encode(picture, quality).unwrap())
            .unwrap();
        let best = found.detections.into_iter().take(MOST);
        best.map(move |d| PictureBox {
            picture: number,
            class: d.class,
            bbox: d.bbox,
            score: d.score.into(),
        })
    };
    (0..).zip(pictures).flat_map(one).collect()
}
