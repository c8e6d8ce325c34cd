//! The tracking thread: it follows the objects of each camera from frame to frame.

use std::collections::HashMap;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use protocol::detections::Detection;
use relay_core::{CameraFrame, CameraId, TrackedFrame, TrackerState};
use tokio::sync::{mpsc, watch};
use vision::track::CameraTracker;

use super::Worker;
use crate::event::{Completion, Event};
use crate::live_settings::LiveSettings;

/// Commands that may wait. The relay gives one frame at a time, and few answers beside it; a command that finds no room is
/// left out.
const WAITING: usize = 16;

/// What the thread does, in the order of its queue.
#[derive(Debug)]
pub enum TrackCommand {
    /// Find the boxes of a frame.
    Track(CameraFrame),
    /// Take the model's detections on the frame with this count.
    Update(CameraId, u64, Vec<Detection>),
    /// Reset a camera's tracker: its next pictures are of another place or time.
    Reset(CameraId),
}

/// Starts the tracking thread.
///
/// # Errors
/// If the system has no thread left.
pub fn start(
    mut settings: watch::Receiver<LiveSettings>,
    events: mpsc::Sender<Event>,
) -> anyhow::Result<Worker<TrackCommand>> {
    let work = move |commands: Receiver<TrackCommand>| {
        // As many as there are cameras, which the relay bounds.
        let mut trackers: HashMap<CameraId, (CameraTracker, TrackerState)> = HashMap::new();
        let mut generations = 0;
        for command in commands {
            if settings.has_changed().unwrap_or(false) {
                let scores = settings.borrow_and_update().tracking();
                trackers
                    .values_mut()
                    .for_each(|(tracker, _)| tracker.set(scores));
            }
            match command {
                TrackCommand::Track(frame) => {
                    let (tracker, state) = trackers.entry(frame.camera).or_insert_with(|| {
                        generations += 1;
                        let state = TrackerState {
                            generation: generations,
                            answered: None,
                        };
                        (CameraTracker::new(settings.borrow().tracking()), state)
                    });
                    let at = Duration::from_micros(frame.label.captured_us);
                    let detections =
                        tracker.on_frame(frame.count, frame.jpeg().clone(), frame.size(), at);
                    let tracked = Completion::Tracked(TrackedFrame {
                        frame,
                        detections,
                        tracker: *state,
                    });
                    if events.blocking_send(tracked.into()).is_err() {
                        return;
                    }
                }
                TrackCommand::Update(camera, count, detections) => {
                    if let Some((tracker, state)) = trackers.get_mut(&camera) {
                        tracker.on_answer(count, &detections);
                        state.answered = state.answered.max(Some(count));
                    }
                }
                TrackCommand::Reset(camera) => drop(trackers.remove(&camera)),
            }
        }
    };
    Worker::start("tracking", WAITING, work)
}
