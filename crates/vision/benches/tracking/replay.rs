//! The ways of showing boxes, each played over a clip.

use std::time::Duration;

use testkit::boxes::ObjectBox;
use vision::track::Tracker;
use vision::track::frame_history::FrameHistory;

use crate::{Clip, FPS, TRACK, outlines};

/// What is shown on a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
    /// The tutorial's: an inferred frame's own boxes, which it waits for, and nothing on the others.
    EveryNth,
    /// The boxes of the last answer.
    Hold,
    /// Tracks that only their velocity moves.
    Velocity,
    /// Tracks that the picture carries.
    Tracked,
}

/// The boxes on each frame where every `every`th is inferred, and its answer is known when the next frame comes.
pub(crate) fn replay(clip: &Clip, show: Show, every: u64) -> Vec<Vec<ObjectBox>> {
    let mut tracker = Tracker::new(TRACK);
    let mut pictures = FrameHistory::default();
    let mut answer = Vec::new();
    let mut boxes = Vec::new();
    for ((count, jpeg), found) in (1..).zip(&clip.frames).zip(&clip.found) {
        pictures.push(count, jpeg.clone());
        let at = Duration::from_secs_f64(count as f64 / FPS);
        let due = count.is_multiple_of(every);
        boxes.push(outlines(&match show {
            Show::EveryNth if due => found.clone(),
            Show::EveryNth => Vec::new(),
            Show::Hold => answer.clone(),
            Show::Velocity => tracker.on_frame(count, |_| None, at),
            Show::Tracked => tracker.on_frame(count, |search| pictures.displacement(search), at),
        }));
        if due {
            tracker.on_answer(count, found);
            answer.clone_from(found);
        }
    }
    boxes
}
