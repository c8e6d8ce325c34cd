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
use relay_core::events::EventSettings;

pub use self::history::{EventFilter, EventPage};
pub use self::hub::{EventCounts, EventHub, SentEvent, Watcher};
pub use self::pictures::EventPicture;
pub use self::thread::start;
use crate::threads::Worker;

/// What the events thread receives.
#[derive(Debug)]
pub enum EventInput {
    /// The tracks of a frame.
    Tracked(TrackedFrame),
    /// The cameras that are live now.
    Live(Vec<CameraName>),
    /// Other settings.
    Settings(EventSettings),
    /// Arm or disarm a camera until its schedule next changes.
    Arm(CameraName, bool),
}

/// Sends the loop's frames to the events thread.
#[derive(Debug)]
pub struct EventFeed {
    queue: Worker<EventInput>,
    hub: Arc<EventHub>,
}

impl EventFeed {
    /// Sends something to the thread; what finds no room is lost and counted.
    pub fn send(&self, input: EventInput) {
        if !self.queue.send(input) {
            self.hub.on_input_lost();
        }
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
