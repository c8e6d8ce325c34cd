//! The ways of showing boxes, each replayed over a clip.

use std::time::Duration;

use protocol::jpeg::{Limits, scan};
use testkit::boxes::ObjectBox;
use vision::track::Tracker;
use vision::track::frame_history::FrameHistory;

use crate::{Clip, FPS, TRACK, outlines};

/// What is shown on a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overlay {
    /// The tutorial's way: an inferred frame, which waits for them, has its own boxes, the others none.
    EveryNth,
    /// The boxes of the last answer.
    Hold,
    /// Tracks that only their velocity moves.
    Velocity,
    /// Tracks that the picture moves.
    Tracked,
}

/// Returns the boxes on each frame if every `every`th is inferred, and its answer is known when the next frame comes.
pub(crate) fn replay(clip: &Clip, overlay: Overlay, every: u64) -> Vec<Vec<ObjectBox>> {
    let mut tracker = Tracker::new(TRACK);
    let mut history = FrameHistory::default();
    let mut answer = Vec::new();
    let mut boxes = Vec::new();
    for ((count, jpeg), found) in (1..).zip(&clip.frames).zip(&clip.found) {
        let size = scan(jpeg, Limits::default()).unwrap();
        history.push(count, jpeg.clone(), size);
        let at = Duration::from_secs_f64(count as f64 / FPS);
        let inferred = count.is_multiple_of(every);
        boxes.push(outlines(&match overlay {
            Overlay::EveryNth if inferred => found.clone(),
            Overlay::EveryNth => Vec::new(),
            Overlay::Hold => answer.clone(),
            Overlay::Velocity => tracker.on_frame(count, |_| None, at),
            Overlay::Tracked => tracker.on_frame(count, |query| history.displacement(query), at),
        }));
        if inferred {
            tracker.on_answer(count, found);
            answer.clone_from(found);
        }
    }
    boxes
}
