//! The picture on the screen: a frame, decoded, with the boxes that belong on it.

use opencv::core::Mat;
use opencv::prelude::*;
use platform::config::Size;
use platform::{draw, jpeg};
use protocol::detections::Detection;

use crate::receive::Frame;

/// A frame's picture.
pub(crate) struct Picture {
    pub(crate) frame: Frame,
    clean: Mat,
    boxes: Vec<Detection>,
    /// With its boxes, where there are any.
    drawn: Option<Mat>,
}

impl Picture {
    /// Decodes a frame.
    ///
    /// # Errors
    /// Where its picture data is broken.
    pub(crate) fn of(frame: Frame, size: Size) -> anyhow::Result<Self> {
        let clean = jpeg::resize(&jpeg::decode(&frame.jpeg)?, size)?;
        Ok(Self {
            frame,
            clean,
            boxes: Vec::new(),
            drawn: None,
        })
    }

    /// Has these boxes on it from now on, and no others. Tells whether it looks different now.
    ///
    /// # Errors
    /// OpenCV's own.
    pub(crate) fn put_on(&mut self, boxes: Vec<Detection>) -> opencv::Result<bool> {
        if self.boxes == boxes {
            return Ok(false);
        }
        self.drawn = None;
        if !boxes.is_empty() {
            let mut drawn = self.clean.try_clone()?;
            draw::boxes(&mut drawn, &boxes)?;
            self.drawn = Some(drawn);
        }
        self.boxes = boxes;
        Ok(true)
    }

    /// What is on it.
    pub(crate) fn boxes(&self) -> &[Detection] {
        &self.boxes
    }

    /// How it looks.
    pub(crate) fn mat(&self) -> &Mat {
        self.drawn.as_ref().unwrap_or(&self.clean)
    }
}
