//! Events around [`relay_core::events`]: a thread of their own decides, keeps and publishes, so that none delays a frame.
//!
//! ```text
//!  the loop --> EventFeed, bounded --> events thread: decides --> EventHub: last 1000 events, last 100 pictures, SSE
//!                                                         +-----> outputs/: one bounded queue each
//! ```
//!
//! What finds no room in a queue is lost and counted.

mod history;
mod hub;
mod pictures;
mod thread;

use std::sync::Arc;
use std::time::Instant;

use protocol::label::CameraName;
use relay_core::TrackedFrame;
use tokio::sync::watch;

#[cfg(test)]
pub(crate) use self::history::tests::event as event_of;
pub use self::history::{EventFilter, EventPage};
pub use self::hub::{EventCounts, EventHub, SentEvent, Watcher};
pub use self::pictures::EventPicture;
pub use self::thread::start;
use crate::threads::Worker;

/// Sends the loop's frames to the events thread.
#[derive(Debug)]
pub struct EventFeed {
    queue: Worker<TrackedFrame>,
    /// The newest list counts, so that none is lost in a full queue.
    live: watch::Sender<Vec<CameraName>>,
    hub: Arc<EventHub>,
}

impl EventFeed {
    /// Sends a frame's tracks to the thread; a frame that finds no room is lost and counted.
    pub fn observe(&self, tracked: TrackedFrame) {
        if !self.queue.send(tracked) {
            self.hub.on_frame_lost();
        }
    }

    /// Sends the names of the cameras that are live now.
    pub fn set_live(&self, cameras: Vec<CameraName>) {
        self.live.send_replace(cameras);
    }

    /// Returns what the thread keeps and counts.
    pub fn hub(&self) -> &Arc<EventHub> {
        &self.hub
    }

    /// Lets the thread end the open events and the outputs write what they hold, until `deadline`.
    pub fn close(self, deadline: Instant) {
        self.queue.close(deadline);
    }
}
