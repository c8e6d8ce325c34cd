//! What HTTP clients read of events: the last ones, their pictures, and each new message.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use imaging::{draw, jpeg};
use protocol::event::{EventId, EventMessage};
use protocol::label::CameraName;
use protocol::quic::MAX_CAMERAS;
use tokio::sync::{Semaphore, broadcast, watch};
use tokio::task::spawn_blocking;
use tracing::debug;

use super::history::{EventFilter, EventPage, History};
use super::pictures::{EventPicture, Pictures};

/// Messages that may wait for a client of `/events`; behind that the oldest go.
const MESSAGE_QUEUE: usize = 256;
/// Commands that may wait: one of each camera that the relay takes.
const MAX_COMMANDS: usize = MAX_CAMERAS;
/// Quality of a picture with its box: the line stays sharp.
const BOXED_QUALITY: u8 = 90;

/// A message as all outputs get it.
#[derive(Debug, Clone, PartialEq)]
pub struct SentEvent {
    /// The message.
    pub message: EventMessage,
    /// The same as a line of JSON, without the line's end.
    pub json: String,
}

/// The events of now and of before.
#[derive(Debug)]
pub struct EventHub {
    kept: Mutex<Kept>,
    messages: broadcast::Sender<Arc<SentEvent>>,
    /// Number of clients that receive messages.
    watchers: watch::Sender<usize>,
    frames_lost: AtomicU64,
    /// Cameras to arm or disarm, which the events thread has not read yet.
    commands: Mutex<Vec<(CameraName, bool)>>,
    /// One picture is drawn on at a time.
    drawing: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Kept {
    history: History,
    pictures: Pictures,
    counts: EventCounts,
}

/// Counters of events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventCounts {
    /// Messages by their type.
    pub messages: Vec<(&'static str, u64)>,
    /// Events that are open.
    pub open: usize,
    /// What a queue had no room for: frames on their way to the events thread, and messages by output.
    pub lost: Vec<(&'static str, u64)>,
}

/// A client that receives messages; while there is one, events are wanted.
#[derive(Debug)]
pub struct Watcher {
    hub: Arc<EventHub>,
    /// The messages since it came.
    pub messages: broadcast::Receiver<Arc<SentEvent>>,
}

impl Default for EventHub {
    fn default() -> Self {
        Self {
            kept: Mutex::default(),
            messages: broadcast::Sender::new(MESSAGE_QUEUE),
            watchers: watch::Sender::default(),
            frames_lost: AtomicU64::new(0),
            commands: Mutex::default(),
            drawing: Arc::new(Semaphore::new(1)),
        }
    }
}

impl EventHub {
    /// Returns the events that are wanted, the newest first.
    pub fn page(&self, filter: &EventFilter) -> EventPage {
        self.kept().history.page(filter)
    }

    /// Returns the camera of an event, if that is still known.
    pub fn camera(&self, id: EventId) -> Option<String> {
        self.kept().history.camera(id)
    }

    /// Returns the picture of an event, if it is still kept.
    pub fn picture(&self, id: EventId) -> Option<Arc<EventPicture>> {
        self.kept().pictures.get(id)
    }

    /// Returns a picture with the box of its event's object, made once; `None` if that failed.
    pub async fn boxed(&self, picture: Arc<EventPicture>) -> Option<Bytes> {
        let turn = self.drawing.clone().acquire_owned().await;
        if let Some(known) = picture.boxed.get() {
            return known.clone();
        }
        let draw = move || {
            let _turn = turn;
            let drawn = draw_on(&picture);
            let drawn = drawn.inspect_err(|err| debug!("a box could not be drawn: {err:#}"));
            picture.boxed.get_or_init(|| drawn.ok()).clone()
        };
        spawn_blocking(draw).await.ok().flatten()
    }

    /// Returns a new receiver of messages.
    pub fn watch(self: &Arc<Self>) -> Watcher {
        self.watchers.send_modify(|watchers| *watchers += 1);
        Watcher {
            hub: self.clone(),
            messages: self.messages.subscribe(),
        }
    }

    /// Returns the number of clients that receive messages, as it changes.
    pub fn watchers(&self) -> watch::Receiver<usize> {
        self.watchers.subscribe()
    }

    /// Returns the counters.
    pub fn counts(&self) -> EventCounts {
        let mut counts = self.kept().counts.clone();
        let lost = self.frames_lost.load(Ordering::Relaxed);
        counts.lost.push(("frames", lost));
        counts
    }

    /// Keeps and publishes a message.
    pub(super) fn publish(&self, event: &Arc<SentEvent>) {
        let mut kept = self.kept();
        if let EventMessage::Object(object) = &event.message {
            kept.history.put(object);
        }
        add(&mut kept.counts.messages, event.message.kind(), 1);
        drop(kept);
        // An error means that there is no client.
        let _ = self.messages.send(event.clone());
    }

    /// Keeps the picture of an event.
    pub(super) fn keep(&self, id: EventId, picture: EventPicture) {
        self.kept().pictures.keep(id, picture);
    }

    /// Notes how many events are open.
    pub(super) fn set_open(&self, open: usize) {
        self.kept().counts.open = open;
    }

    /// Counts messages that an output had no room for.
    pub(super) fn on_lost(&self, output: &'static str, count: u64) {
        add(&mut self.kept().counts.lost, output, count);
    }

    /// Arms or disarms a camera until its schedule next changes. Returns whether the command was taken: too many may wait.
    pub fn arm(&self, camera: CameraName, armed: bool) -> bool {
        let mut commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        commands.retain(|(known, _)| *known != camera);
        let has_room = commands.len() < MAX_COMMANDS;
        if has_room {
            commands.push((camera, armed));
        }
        has_room
    }

    /// Returns the commands since the last call.
    pub(super) fn take_commands(&self) -> Vec<(CameraName, bool)> {
        let mut commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut commands)
    }

    /// Counts a frame that the events thread had no room for.
    pub(super) fn on_frame_lost(&self) {
        self.frames_lost.fetch_add(1, Ordering::Relaxed);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.hub.watchers.send_modify(|watchers| *watchers -= 1);
    }
}

fn add(counts: &mut Vec<(&'static str, u64)>, name: &'static str, more: u64) {
    match counts.iter_mut().find(|(known, _)| *known == name) {
        Some((_, count)) => *count += more,
        None => counts.push((name, more)),
    }
}

fn draw_on(picture: &EventPicture) -> anyhow::Result<Bytes> {
    let mut decoded = jpeg::decode(&picture.jpeg)?;
    draw::boxes(&mut decoded, std::slice::from_ref(&picture.object))?;
    Ok(jpeg::encode(&decoded, BOXED_QUALITY)?.into())
}
