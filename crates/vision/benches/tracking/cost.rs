//! What a frame costs the tracker: decoding to grey, and moving every box.

use std::time::{Duration, Instant};

use protocol::jpeg::{Limits, scan};
use vision::track::CameraTracker;

use crate::{Clip, EVERY, FPS, TRACK};

/// Returns the median over all frames with so many boxes, in microseconds.
pub(crate) fn of_boxes(clips: &[Clip], boxes: usize) -> f64 {
    let mut times: Vec<f64> = clips.iter().flat_map(|clip| times(clip, boxes)).collect();
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

fn times(clip: &Clip, boxes: usize) -> Vec<f64> {
    let mut tracker = CameraTracker::new(TRACK);
    let mut times = Vec::new();
    for ((count, jpeg), found) in (1..).zip(&clip.frames).zip(&clip.found) {
        let at = Duration::from_secs_f64(count as f64 / FPS);
        let size = scan(jpeg, Limits::default()).unwrap();
        let start = Instant::now();
        let shown = tracker.on_frame(count, jpeg.clone(), size, at);
        let took = start.elapsed();
        if shown.len() == boxes {
            times.push(took.as_secs_f64() * 1e6);
        }
        if count.is_multiple_of(EVERY) {
            tracker.on_answer(count, found);
        }
    }
    times
}
