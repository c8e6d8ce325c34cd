//! The picture on the screen: a frame, decoded, with the boxes that belong on it.
//!
//! A picture is copied at most once: when boxes are drawn, since they may change while the frame is shown.

use std::borrow::Cow;

use imaging::draw;
use imaging::jpeg::{self, Reduction};
use opencv::core::Mat;
use opencv::prelude::*;
use protocol::detections::Detection;
use protocol::geometry::Size;

use crate::box_timeline::OverlayBoxes;
use crate::receive::ReceivedFrame;

/// A frame and its picture.
pub(crate) struct DecodedFrame {
    pub(crate) received: ReceivedFrame,
    clean: Mat,
    boxes: OverlayBoxes,
    /// Rows at the top in which no box has its label, since the window's text covers them.
    covered: i32,
    /// The picture with its boxes, when there are any.
    annotated: Option<Mat>,
}

impl DecodedFrame {
    /// Decodes a frame to a picture of its own shape, as large as fits into this size.
    ///
    /// # Errors
    /// When its picture data is broken.
    pub(crate) fn new(received: ReceivedFrame, within: Size) -> anyhow::Result<Self> {
        // A sender decides how large its pictures are; what is not shown of them is not decoded.
        let header = received.frame.size;
        let reduction = Reduction::between(header, header.fitted(within));
        let decoded = jpeg::decode_reduced(&received.frame.jpeg, reduction)?;
        // The size in the header is that before the rotation by EXIF.
        let shape = jpeg::size(&decoded)?;
        let resized = match jpeg::resize(&decoded, shape.fitted(within))? {
            Cow::Owned(resized) => Some(resized),
            Cow::Borrowed(_) => None,
        };
        Ok(Self {
            received,
            clean: resized.unwrap_or(decoded),
            boxes: OverlayBoxes::default(),
            covered: 0,
            annotated: None,
        })
    }

    /// Draws these boxes, in place of those before, with no label in the first `covered` rows. Returns whether the picture
    /// looks different now.
    ///
    /// # Errors
    /// OpenCV's own.
    pub(crate) fn set_boxes(&mut self, boxes: OverlayBoxes, covered: i32) -> opencv::Result<bool> {
        let moved = self.covered != covered && !boxes.list.is_empty();
        if self.boxes == boxes && !moved {
            return Ok(false);
        }
        let buffer = self.annotated.take();
        if !boxes.list.is_empty() {
            let mut annotated = buffer.unwrap_or_default();
            self.clean.copy_to(&mut annotated)?;
            draw::boxes_with_labels_below(&mut annotated, &boxes.list, covered)?;
            fade(&mut annotated, &self.clean, boxes.opacity)?;
            self.annotated = Some(annotated);
        }
        (self.boxes, self.covered) = (boxes, covered);
        Ok(true)
    }

    /// Returns the boxes that are drawn.
    pub(crate) fn boxes(&self) -> &[Detection] {
        &self.boxes.list
    }

    /// Returns the picture with its boxes.
    pub(crate) fn picture(&self) -> &Mat {
        self.annotated.as_ref().unwrap_or(&self.clean)
    }

    /// Returns the picture with its boxes, to draw on it for a moment; the caller restores it.
    pub(crate) fn picture_mut(&mut self) -> &mut Mat {
        self.annotated.as_mut().unwrap_or(&mut self.clean)
    }
}

/// Lets the clean picture shine through what is drawn on it. In place: `add_weighted` would need a third picture.
fn fade(annotated: &mut Mat, clean: &Mat, opacity: f32) -> opencv::Result<()> {
    // In 1/256; an opacity is 0 to 1.
    let drawn = (opacity * 256.0).round() as u32;
    if drawn >= 256 {
        return Ok(());
    }
    for (to, from) in annotated
        .data_bytes_mut()?
        .iter_mut()
        .zip(clean.data_bytes()?)
    {
        *to = ((u32::from(*to) * drawn + u32::from(*from) * (256 - drawn) + 128) / 256) as u8;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use opencv::core::{CV_8UC3, Scalar, Vec3b};
    use protocol::detections::{Detections, Kind};
    use protocol::frame::Frame;
    use protocol::label::{Label, StreamId};
    use protocol::transport::Transport;
    use testkit::jpeg::with_orientation;

    use super::*;
    use crate::box_timeline::BoxTimeline;

    fn dark() -> DecodedFrame {
        dark_at("300x200")
    }

    fn dark_at(shown: &str) -> DecodedFrame {
        let mat = Mat::new_rows_cols_with_default(200, 300, CV_8UC3, Scalar::all(0.0)).unwrap();
        let size: Size = "300x200".parse().unwrap();
        let received = ReceivedFrame {
            frame: Frame {
                jpeg: jpeg::encode(&mat, 90).unwrap().into(),
                size,
                label: None,
            },
            seq: 1,
            transport: Transport::Quic,
        };
        DecodedFrame::new(received, shown.parse().unwrap()).unwrap()
    }

    fn boxes(opacity: f32) -> OverlayBoxes {
        let one = Detection {
            id: Some(7),
            class: 0,
            label: "person".to_owned(),
            score: 0.8,
            fading: false,
            bbox: [0.5, 0.5, 0.9, 0.9].into(),
        };
        OverlayBoxes {
            list: vec![one],
            opacity,
        }
    }

    #[test]
    fn boxes_fade_into_the_picture() {
        let mut frame = dark();
        for (opacity, green) in [(1.0, 220), (0.5, 110), (0.1, 22)] {
            assert!(frame.set_boxes(boxes(opacity), 0).unwrap());
            let pixel = frame.picture().at_2d::<Vec3b>(140, 150).unwrap();
            assert_eq!(pixel.0[1], green);
        }
        assert!(
            !frame.set_boxes(boxes(0.1), 0).unwrap(),
            "the same as before"
        );
        assert!(frame.set_boxes(OverlayBoxes::default(), 0).unwrap());
        assert_eq!(frame.picture().at_2d::<Vec3b>(140, 150).unwrap().0[1], 0);
    }

    /// Returns the boxes of the frame behind two messages of so many tracks each, drawn, and how long that takes.
    fn crowded(count: u32) -> (usize, Duration) {
        let (mut timeline, now) = (BoxTimeline::default(), testkit::time::start());
        let label = |seq: u64| Label {
            stream: StreamId(1),
            seq,
            captured_us: seq * 100_000,
            camera: "yard".parse().unwrap(),
        };
        for seq in 1..=2 {
            let detections = (0..count).map(|n| Detection {
                id: Some(n.into()),
                class: n as usize,
                label: "person".to_owned(),
                score: 0.5,
                fading: false,
                bbox: [n as f32 / 2e3, 0.3, n as f32 / 2e3 + 0.2, 0.7].into(),
            });
            let message = Detections {
                v: Detections::VERSION,
                camera: "yard".to_owned(),
                seq,
                t: seq as f64 / 10.0,
                w: 300,
                h: 200,
                kind: Kind::Tracked,
                infer_ms: None,
                model: None,
                detections: detections.collect(),
            };
            timeline.add(message, now);
        }
        let mut frame = dark_at("640x480");
        let start = Instant::now();
        let boxes = timeline.boxes(&label(3), None);
        let drawn = boxes.list.len();
        frame.set_boxes(boxes, 0).unwrap();
        (drawn, start.elapsed())
    }

    #[test]
    fn of_a_large_picture_only_what_is_shown_is_decoded() {
        let grey = Scalar::all(90.0);
        let large = Mat::new_rows_cols_with_default(4096, 4096, CV_8UC3, grey).unwrap();
        let jpeg = jpeg::encode(&large, 80).unwrap();
        let (size, shown): (Size, Size) =
            ("4096x4096".parse().unwrap(), "640x480".parse().unwrap());
        let frame = |jpeg: &[u8]| Frame {
            jpeg: jpeg.to_vec().into(),
            size,
            label: None,
        };
        let least = |run: &dyn Fn()| {
            let took = |_| {
                let start = Instant::now();
                run();
                start.elapsed()
            };
            (0..3).map(took).min().unwrap()
        };
        let whole = least(&|| {
            let picture = jpeg::decode(&jpeg).unwrap();
            jpeg::resize(&picture, shown).unwrap();
        });
        let reduced = least(&|| {
            let received = ReceivedFrame {
                frame: frame(&jpeg),
                seq: 1,
                transport: Transport::Quic,
            };
            let decoded = DecodedFrame::new(received, shown).unwrap();
            assert_eq!(decoded.picture().cols(), 480);
            assert_eq!(
                decoded.picture().at_2d::<Vec3b>(240, 240).unwrap().0,
                [90; 3]
            );
        });
        eprintln!("{} bytes: {whole:?} whole, {reduced:?} reduced", jpeg.len());
        assert!(2 * reduced < whole, "{reduced:?} and {whole:?}");
    }

    #[test]
    fn a_picture_that_exif_turns_keeps_the_shape_that_it_is_seen_in() {
        let mat = Mat::new_rows_cols_with_default(1080, 1920, CV_8UC3, Scalar::all(0.0)).unwrap();
        let upright = jpeg::encode(&mat, 50).unwrap();
        for (jpeg, expected) in [
            (upright.clone(), (640, 360)),
            (with_orientation(&upright, 6), (270, 480)),
        ] {
            let received = ReceivedFrame {
                frame: Frame {
                    jpeg: jpeg.into(),
                    size: "1920x1080".parse().unwrap(),
                    label: None,
                },
                seq: 1,
                transport: Transport::Quic,
            };
            let decoded = DecodedFrame::new(received, "640x480".parse().unwrap()).unwrap();
            let picture = decoded.picture();
            assert_eq!((picture.cols(), picture.rows()), expected);
        }
    }

    #[test]
    fn a_frame_with_1000_boxes_costs_as_much_as_one_with_100() {
        for (count, drawn) in [(1, 1), (100, 100), (1000, 100)] {
            let runs: Vec<_> = (0..9).map(|_| crowded(count)).collect();
            let least = runs.iter().map(|(_, took)| took).min();
            eprintln!("{count} boxes on 640x480: {least:?}");
            assert!(runs.iter().all(|(boxes, _)| *boxes == drawn), "{count}");
        }
    }

    #[test]
    fn labels_move_when_the_windows_text_comes_and_goes() {
        let mut frame = dark();
        assert!(
            !frame.set_boxes(OverlayBoxes::default(), 26).unwrap(),
            "no box, no label"
        );
        let mut at_top = boxes(1.0);
        at_top.list[0].bbox = [0.5, 0.0, 0.9, 0.9].into();
        let mut drawn = |covered| {
            let is_new = frame.set_boxes(at_top.clone(), covered).unwrap();
            let pixel = frame.picture().at_2d::<Vec3b>(4, 151).unwrap();
            (is_new, pixel.0[1])
        };
        assert_eq!(drawn(26), (true, 0));
        assert_eq!(drawn(26), (false, 0), "the same as before");
        assert_eq!(drawn(0), (true, 220));
        assert_eq!(drawn(26), (true, 0));
    }

    #[test]
    fn a_picture_is_copied_for_boxes_alone_and_then_once() {
        let mut frame = dark();
        let clean = frame.picture().data();
        assert!(std::ptr::eq(frame.picture_mut().data(), clean));
        frame.set_boxes(boxes(1.0), 0).unwrap();
        let annotated = frame.picture().data();
        assert!(!std::ptr::eq(annotated, clean));
        for opacity in [0.5, 0.1] {
            frame.set_boxes(boxes(opacity), 0).unwrap();
            assert!(std::ptr::eq(frame.picture().data(), annotated), "{opacity}");
        }
        frame.set_boxes(OverlayBoxes::default(), 0).unwrap();
        assert!(std::ptr::eq(frame.picture().data(), clean));
    }
}
