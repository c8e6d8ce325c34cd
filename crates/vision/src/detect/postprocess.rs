//! From the network's numbers to detections. Pure.

use std::time::Instant;

use protocol::detections::{Detection, Found};
use protocol::geometry::Size;

use super::classes::{Classes, Wanted};
use super::heads::{Filter, Head};
use super::yolo::{self, Letterbox};

/// Turns the network's output into detections.
#[derive(Debug)]
pub(super) struct Postprocessor {
    head: Head,
    classes: Classes,
    settings: Thresholds,
}

/// What is reported.
#[derive(Debug, Clone)]
pub(super) struct Thresholds {
    pub(super) wanted: Wanted,
    /// Lowest score of a box.
    pub(super) conf: f32,
    /// Highest overlap of two boxes of a class.
    pub(super) iou: f32,
}

/// A frame that was laid into the network's input.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) start: Instant,
    pub(super) size: Size,
    pub(super) letterbox: Letterbox,
}

impl Postprocessor {
    pub(super) fn new(head: Head, classes: Classes, settings: Thresholds) -> Self {
        Self {
            head,
            classes,
            settings,
        }
    }

    pub(super) fn classes(&self) -> &Classes {
        &self.classes
    }

    /// Uses other thresholds from now on.
    ///
    /// # Errors
    /// If the model has no class of such a name; the old ones then stay.
    pub(super) fn set(&mut self, conf: f32, iou: f32, classes: &[String]) -> anyhow::Result<()> {
        let wanted = self.classes.wanted(classes)?;
        self.settings = Thresholds { wanted, conf, iou };
        Ok(())
    }

    /// Returns what the output for some pictures shows on each.
    pub(super) fn found_on_each(&self, pictures: &[Prepared], output: &[f32]) -> Vec<Found> {
        let each = output.len() / pictures.len().max(1);
        let pictures = pictures.iter().enumerate();
        pictures
            .map(|(n, picture)| self.found(picture, &output[n * each..(n + 1) * each]))
            .collect()
    }

    fn found(&self, picture: &Prepared, output: &[f32]) -> Found {
        let Thresholds { wanted, conf, iou } = &self.settings;
        let filter = Filter {
            conf: *conf,
            wanted: &|class| wanted.has(class),
        };
        let candidates = self.head.candidates(output, filter);
        let kept = match self.head.overlaps() {
            true => yolo::suppress(candidates, *iou),
            false => yolo::best(candidates),
        };
        let in_picture = |candidate: yolo::Candidate| {
            let bbox = picture.letterbox.to_picture(candidate.bbox);
            // A network may find something in the grey around the picture, and a broken one boxes that are inside out.
            (bbox.x0 < bbox.x1 && bbox.y0 < bbox.y1).then_some((candidate, bbox))
        };
        let kept = kept.into_iter().filter_map(in_picture);
        let detections = kept.map(|(candidate, bbox)| Detection {
            id: None,
            class: candidate.class,
            label: self.classes.label(candidate.class),
            score: candidate.score,
            fading: false,
            bbox,
        });
        Found {
            size: picture.size,
            detections: detections.collect(),
            took: picture.start.elapsed(),
        }
    }
}
