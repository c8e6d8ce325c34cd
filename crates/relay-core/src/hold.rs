//! The frame of a camera that waits for its boxes before it goes to UDP viewers.
//!
//! ```text
//!             hold                 own boxes found         drawn
//!  (nothing) ------> waiting ------------------> drawing -------> released with boxes
//!                       |                           |
//!                       +---------------------------+------------> released as it came: the next frame is here, or time is up
//! ```
//!
//! Boxes that come too late for their frame are kept and drawn into the next frame that is held. Pure.

use std::time::Instant;

use bytes::Bytes;
use protocol::detections::Detection;

use crate::action::BoxesOf;
use crate::frame::CameraFrame;

/// The state of one camera.
#[derive(Debug, Default)]
pub(crate) struct HoldSlot {
    held: Option<HeldFrame>,
    /// Boxes that came too late for their frame.
    late_boxes: Option<Vec<Detection>>,
}

#[derive(Debug)]
struct HeldFrame {
    frame: CameraFrame,
    until: Instant,
    /// Whether the frame waits for its own boxes, and not only until older ones are drawn into it.
    awaits_own: bool,
    /// The frame's own boxes while they are being drawn.
    drawing: Option<Vec<Detection>>,
    /// Whether older boxes are being drawn into it.
    drawing_older: bool,
    /// The JPEG with boxes drawn in.
    annotated: Option<Bytes>,
}

/// What becomes of a frame that could be held.
#[derive(Debug, PartialEq)]
pub(crate) enum HoldDecision {
    /// It is not held: send it on.
    Forward,
    /// It is held until its own boxes are there.
    Waits,
    /// It is held, and these older boxes are to be drawn into it meanwhile.
    Draw(Vec<Detection>),
}

/// A frame that is held no longer.
#[derive(Debug, PartialEq)]
pub(crate) enum Released {
    /// With boxes, in this JPEG.
    Annotated(CameraFrame, Bytes),
    /// Without.
    AsItCame(CameraFrame),
}

/// What the arrival of a frame's own boxes means.
#[derive(Debug, PartialEq)]
pub(crate) enum BoxesArrival {
    /// They came too late, or there is nothing to draw.
    Nothing,
    /// The frame can go as it is: it has no boxes.
    Release,
    /// Draw them into this frame.
    Draw(CameraFrame),
}

impl HoldSlot {
    /// Holds a frame until `until` at most, if it `awaits_own` boxes or if there are late ones to draw into it. With both,
    /// the older boxes are drawn meanwhile, so that there are some to show if its own come too late as well.
    pub(crate) fn hold(
        &mut self,
        frame: CameraFrame,
        awaits_own: bool,
        until: Instant,
    ) -> HoldDecision {
        let late = self.late_boxes.take();
        if !awaits_own && late.is_none() {
            return HoldDecision::Forward;
        }
        self.held = Some(HeldFrame {
            frame,
            until,
            awaits_own,
            drawing: None,
            drawing_older: late.is_some(),
            annotated: None,
        });
        late.map_or(HoldDecision::Waits, HoldDecision::Draw)
    }

    /// Returns when the held frame has to go.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.held.as_ref().map(|held| held.until)
    }

    /// Returns whether the frame with this count is held.
    pub(crate) fn holds(&self, count: u64) -> bool {
        self.held
            .as_ref()
            .is_some_and(|held| held.frame.count == count)
    }

    /// Takes the model's boxes for the frame with this count; `None` if there is nothing to draw.
    pub(crate) fn on_detections(
        &mut self,
        count: u64,
        boxes: Option<Vec<Detection>>,
    ) -> BoxesArrival {
        match (
            self.held.as_mut().filter(|held| held.frame.count == count),
            boxes,
        ) {
            (None, boxes) => {
                self.late_boxes = boxes;
                BoxesArrival::Nothing
            }
            (Some(held), None) => {
                held.annotated = None;
                BoxesArrival::Release
            }
            (Some(held), Some(boxes)) => {
                held.drawing = Some(boxes);
                BoxesArrival::Draw(held.frame.clone())
            }
        }
    }

    /// Takes the annotated JPEG of the frame with this count, `None` if drawing failed. Returns whether the frame goes now.
    pub(crate) fn on_annotated(&mut self, count: u64, boxes: BoxesOf, jpeg: Option<Bytes>) -> bool {
        let Some(held) = self.held.as_mut().filter(|held| held.frame.count == count) else {
            return false;
        };
        match boxes {
            BoxesOf::Own => held.drawing = None,
            BoxesOf::Older => held.drawing_older = false,
        }
        if boxes == BoxesOf::Older && held.annotated.is_some() {
            return false;
        }
        held.annotated = jpeg;
        boxes == BoxesOf::Own || !held.awaits_own
    }

    /// Releases the held frame: with boxes if they are drawn, else as it came. Of a frame that is reduced for UDP viewers,
    /// what is being drawn goes to them all the same as soon as it is: it would take as long without boxes.
    pub(crate) fn release(&mut self) -> Option<Released> {
        let HeldFrame {
            frame,
            drawing,
            drawing_older,
            annotated,
            ..
        } = self.held.take()?;
        if let Some(jpeg) = annotated {
            self.late_boxes = drawing.or(self.late_boxes.take());
            return Some(Released::Annotated(frame, jpeg));
        }
        if frame.is_reduced_for_udp() && (drawing.is_some() || drawing_older) {
            return None;
        }
        self.late_boxes = drawing.or(self.late_boxes.take());
        Some(Released::AsItCame(frame))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::tests::{camera_frame, person};

    fn jpeg(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    fn released(hold: &mut HoldSlot) -> Option<Bytes> {
        Some(match hold.release()? {
            Released::Annotated(_, jpeg) => jpeg,
            Released::AsItCame(frame) => frame.frame.jpeg,
        })
    }

    fn held(awaits_own: bool) -> (HoldSlot, Instant) {
        let mut hold = HoldSlot::default();
        let until = testkit::time::start() + Duration::from_millis(75);
        assert_eq!(
            hold.hold(camera_frame(4), awaits_own, until),
            HoldDecision::Waits
        );
        (hold, until)
    }

    #[test]
    fn a_frame_goes_with_its_own_boxes_as_soon_as_they_are_drawn() {
        let (mut hold, until) = held(true);
        assert_eq!(hold.deadline(), Some(until));
        assert_eq!(
            hold.on_detections(4, Some(person())),
            BoxesArrival::Draw(camera_frame(4))
        );
        assert!(hold.on_annotated(4, BoxesOf::Own, Some(jpeg("boxes"))));
        assert_eq!(released(&mut hold), Some(jpeg("boxes")));
        assert_eq!((hold.deadline(), released(&mut hold)), (None, None));
    }

    #[test]
    fn a_frame_without_boxes_goes_as_it_came() {
        let (mut hold, _) = held(true);
        assert_eq!(hold.on_detections(4, None), BoxesArrival::Release);
        assert_eq!(released(&mut hold), Some(camera_frame(4).frame.jpeg));
    }

    #[test]
    fn boxes_that_come_too_late_are_drawn_into_the_next_frame() {
        let (mut hold, until) = held(true);
        hold.on_detections(4, Some(person()));
        assert_eq!(
            released(&mut hold),
            Some(camera_frame(4).frame.jpeg),
            "not drawn yet"
        );
        assert_eq!(
            hold.hold(camera_frame(8), false, until),
            HoldDecision::Draw(person())
        );
        assert!(
            hold.on_annotated(8, BoxesOf::Older, Some(jpeg("older"))),
            "nothing else is awaited"
        );
        assert_eq!(released(&mut hold), Some(jpeg("older")));
        assert_eq!(
            hold.on_detections(8, Some(person())),
            BoxesArrival::Nothing,
            "it has gone"
        );
        assert_eq!(
            hold.hold(camera_frame(12), false, until),
            HoldDecision::Draw(person())
        );
    }

    #[test]
    fn older_boxes_never_replace_a_frames_own() {
        let mut hold = HoldSlot {
            late_boxes: Some(person()),
            ..HoldSlot::default()
        };
        let until = testkit::time::start();
        assert_eq!(
            hold.hold(camera_frame(4), true, until),
            HoldDecision::Draw(person())
        );
        assert!(hold.on_annotated(4, BoxesOf::Own, Some(jpeg("own"))));
        assert!(!hold.on_annotated(4, BoxesOf::Older, Some(jpeg("older"))));
        assert_eq!(released(&mut hold), Some(jpeg("own")));
    }

    #[test]
    fn a_frame_that_nothing_holds_for_is_sent_on() {
        let mut hold = HoldSlot::default();
        let until = testkit::time::start();
        assert_eq!(
            hold.hold(camera_frame(4), false, until),
            HoldDecision::Forward
        );
        assert!(!hold.holds(4) && !hold.on_annotated(4, BoxesOf::Own, Some(jpeg("boxes"))));
    }
}
