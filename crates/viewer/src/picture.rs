//! The picture on the screen: a frame, decoded, with the boxes that belong on it.

use std::borrow::Cow;

use imaging::{draw, jpeg};
use opencv::core::{self, Mat};
use opencv::prelude::*;
use protocol::detections::Detection;
use protocol::geometry::Size;

use crate::overlay::Boxes;
use crate::receive::Frame;

/// A frame's picture.
pub(crate) struct Picture {
    pub(crate) frame: Frame,
    clean: Mat,
    boxes: Boxes,
    /// With its boxes, where there are any.
    drawn: Option<Mat>,
}

impl Picture {
    /// Decodes a frame.
    ///
    /// # Errors
    /// Where its picture data is broken.
    pub(crate) fn of(frame: Frame, size: Size) -> anyhow::Result<Self> {
        let decoded = jpeg::decode(&frame.jpeg)?;
        let resized = match jpeg::resize(&decoded, size)? {
            Cow::Owned(resized) => Some(resized),
            Cow::Borrowed(_) => None,
        };
        let clean = resized.unwrap_or(decoded);
        Ok(Self {
            frame,
            clean,
            boxes: Boxes::default(),
            drawn: None,
        })
    }

    /// Has these boxes on it from now on, and no others. Tells whether it looks different now.
    ///
    /// # Errors
    /// OpenCV's own.
    pub(crate) fn put_on(&mut self, boxes: Boxes) -> opencv::Result<bool> {
        if self.boxes == boxes {
            return Ok(false);
        }
        self.drawn = None;
        if !boxes.list.is_empty() {
            self.drawn = Some(self.with(&boxes)?);
        }
        self.boxes = boxes;
        Ok(true)
    }

    /// The boxes over the picture, which shines through where they fade.
    fn with(&self, boxes: &Boxes) -> opencv::Result<Mat> {
        let mut drawn = self.clean.try_clone()?;
        draw::boxes(&mut drawn, &boxes.list)?;
        if boxes.opacity >= 1.0 {
            return Ok(drawn);
        }
        let opacity = f64::from(boxes.opacity);
        let mut faded = Mat::default();
        core::add_weighted_def(&drawn, opacity, &self.clean, 1.0 - opacity, 0.0, &mut faded)?;
        Ok(faded)
    }

    /// What is on it.
    pub(crate) fn boxes(&self) -> &[Detection] {
        &self.boxes.list
    }

    /// How it looks.
    pub(crate) fn mat(&self) -> &Mat {
        self.drawn.as_ref().unwrap_or(&self.clean)
    }
}

#[cfg(test)]
mod tests {
    use opencv::core::{CV_8UC3, Scalar, Vec3b};

    use super::*;
    use crate::receive::Door;

    fn dark() -> Picture {
        let mat = Mat::new_rows_cols_with_default(200, 300, CV_8UC3, Scalar::all(0.0)).unwrap();
        let frame = Frame {
            jpeg: jpeg::encode(&mat, 90).unwrap().into(),
            seq: 1,
            label: None,
            size: (300, 200),
            door: Door::Native,
        };
        Picture::of(frame, "300x200".parse().unwrap()).unwrap()
    }

    fn boxes(opacity: f32) -> Boxes {
        let one = Detection {
            id: Some(7),
            class: 0,
            label: "person".to_owned(),
            score: 0.8,
            bbox: [0.5, 0.5, 0.9, 0.9].into(),
        };
        Boxes {
            list: vec![one],
            opacity,
        }
    }

    #[test]
    fn boxes_fade_into_the_picture() {
        let mut picture = dark();
        for (opacity, green) in [(1.0, 220), (0.5, 110), (0.1, 22)] {
            assert!(picture.put_on(boxes(opacity)).unwrap());
            let pixel = picture.mat().at_2d::<Vec3b>(140, 150).unwrap();
            assert_eq!(pixel.0[1], green);
        }
        assert!(!picture.put_on(boxes(0.1)).unwrap(), "the same as before");
        assert!(picture.put_on(Boxes::default()).unwrap());
        assert_eq!(picture.mat().at_2d::<Vec3b>(140, 150).unwrap().0[1], 0);
    }
}
