//! The tracking thread: it follows the objects of each camera from frame to frame.

use std::collections::HashMap;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use protocol::detections::Detection;
use protocol::label::CameraName;
use relay_core::{CameraFrame, CameraId, TrackedFrame, TrackerState};
use tokio::sync::{mpsc, watch};
use vision::track::{CameraTracker, Settings};

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

/// A camera with its tracker.
struct Followed {
    camera: CameraName,
    tracker: CameraTracker,
    state: TrackerState,
}

impl Followed {
    fn new(camera: CameraName, scores: Settings, generation: u64) -> Self {
        Self {
            camera,
            tracker: CameraTracker::new(scores),
            state: TrackerState {
                generation,
                answered: None,
            },
        }
    }
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
        let mut trackers: HashMap<CameraId, Followed> = HashMap::new();
        let mut generations = 0;
        for command in commands {
            if settings.has_changed().unwrap_or(false) {
                let settings = settings.borrow_and_update();
                for followed in trackers.values_mut() {
                    followed.tracker.set(settings.tracking(&followed.camera));
                }
            }
            match command {
                TrackCommand::Track(frame) => {
                    let followed = trackers.entry(frame.camera).or_insert_with(|| {
                        generations += 1;
                        let camera = frame.label.camera.clone();
                        let scores = settings.borrow().tracking(&camera);
                        Followed::new(camera, scores, generations)
                    });
                    let at = Duration::from_micros(frame.label.captured_us);
                    let detections = followed.tracker.on_frame(
                        frame.count,
                        frame.jpeg().clone(),
                        frame.size(),
                        at,
                    );
                    let tracked = Completion::Tracked(TrackedFrame {
                        frame,
                        detections,
                        tracker: followed.state,
                    });
                    if events.blocking_send(tracked.into()).is_err() {
                        return;
                    }
                }
                TrackCommand::Update(camera, count, detections) => {
                    if let Some(followed) = trackers.get_mut(&camera) {
                        followed.tracker.on_answer(count, &detections);
                        let answered = &mut followed.state.answered;
                        *answered = (*answered).max(Some(count));
                    }
                }
                TrackCommand::Reset(camera) => drop(trackers.remove(&camera)),
            }
        }
    };
    Worker::start("tracking", WAITING, work)
}
