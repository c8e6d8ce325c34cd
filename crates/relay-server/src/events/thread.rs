//! The events thread: it decides with [`relay_core::events`], and hands messages and pictures on.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use imaging::sharpness;
use platform::clock::{local_minute, unix_micros};
use protocol::detections::Detection;
use protocol::event::{EndReason, EventId, EventMessage};
use protocol::geometry::BBox;
use relay_core::TrackedFrame;
use relay_core::events::{EventAction, EventSettings, Events, Moment, Observation};

use super::hub::{EventHub, SentEvent};
use super::pictures::EventPicture;
use super::{EventFeed, EventInput};
use crate::outputs::events::EventOutputs;
use crate::threads::Worker;

/// Frames and commands that may wait: one of each camera that the relay takes.
const WAITING: usize = 64;
/// Time between two looks at what is due because time has passed.
const TICK: Duration = Duration::from_millis(250);
/// How long the outputs have to write what they hold at the end.
const OUTPUTS_TIMEOUT: Duration = Duration::from_millis(900);
/// Sharpness of a picture that cannot be decoded: it is neither.
const UNKNOWN_SHARPNESS: f32 = 0.5;

/// The thread's state.
struct EventsThread {
    events: Events,
    hub: Arc<EventHub>,
    outputs: EventOutputs,
    ticked: Instant,
    /// Minute of the local day, as of the last tick.
    minute: u16,
}

/// Starts the events thread.
///
/// # Errors
/// If the system has no thread left.
pub fn start(
    settings: EventSettings,
    hub: Arc<EventHub>,
    outputs: EventOutputs,
) -> anyhow::Result<EventFeed> {
    let mut thread = EventsThread {
        events: Events::new(settings),
        hub: hub.clone(),
        outputs,
        ticked: Instant::now(),
        minute: local_minute(),
    };
    let work = move |inputs: Receiver<EventInput>| {
        loop {
            match inputs.recv_timeout(TICK) {
                Ok(input) => thread.on_input(input),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            thread.tick();
        }
        thread.close();
    };
    let queue = Worker::start("events", WAITING, work)?;
    Ok(EventFeed { queue, hub })
}

impl EventsThread {
    fn on_input(&mut self, input: EventInput) {
        let now = self.moment(Instant::now());
        match input {
            EventInput::Tracked(tracked) => self.observe(&tracked),
            EventInput::Live(cameras) => {
                let actions = self.events.on_live(&cameras, now);
                self.act(actions, None);
            }
            EventInput::Settings(settings) => self.events.set(settings),
            EventInput::Arm(camera, armed) => {
                let actions = self.events.arm(&camera, armed, now);
                self.act(actions, None);
            }
        }
    }

    fn observe(&mut self, tracked: &TrackedFrame) {
        let frame = &tracked.frame;
        let now = self.moment(frame.received_at);
        let observation = Observation {
            camera: &frame.label.camera,
            tracker: tracked.tracker,
            boxes: &tracked.detections,
        };
        let mut sharp = |part: BBox| {
            sharpness::of(frame.jpeg(), frame.size(), part).unwrap_or(UNKNOWN_SHARPNESS)
        };
        // Without random numbers ids are unique while the relay runs.
        let mut random = || getrandom::u32().unwrap_or_default() as u16;
        let actions = self
            .events
            .observe(observation, &mut sharp, &mut random, now);
        self.act(actions, Some(tracked));
    }

    fn tick(&mut self) {
        if self.ticked.elapsed() < TICK {
            return;
        }
        self.ticked = Instant::now();
        self.minute = local_minute();
        let actions = self.events.tick(self.moment(self.ticked));
        self.act(actions, None);
    }

    fn act(&mut self, actions: Vec<EventAction>, tracked: Option<&TrackedFrame>) {
        if actions.is_empty() {
            return;
        }
        for action in actions {
            match (action, tracked) {
                (EventAction::Publish(message), _) => {
                    let json = message.to_json();
                    let event = Arc::new(SentEvent { message, json });
                    self.hub.publish(&event);
                    let picture = || picture_of(&self.hub, &event.message);
                    for output in self.outputs.publish(&event, picture) {
                        self.hub.on_lost(output, 1);
                    }
                }
                (EventAction::KeepPicture(id, bbox), Some(tracked)) => {
                    self.keep(id, bbox, tracked);
                }
                (EventAction::KeepPicture(..), None) => {}
            }
        }
        self.hub.set_open(self.events.open());
    }

    fn keep(&self, id: EventId, bbox: BBox, tracked: &TrackedFrame) {
        let mut boxes = tracked.detections.iter();
        let object = boxes.find(|one| one.bbox.clipped() == bbox).cloned();
        let object = object.unwrap_or_else(|| Detection {
            id: None,
            class: 0,
            label: String::new(),
            score: 1.0,
            fading: false,
            bbox,
        });
        let picture = EventPicture::new(tracked.frame.jpeg().clone(), object);
        self.hub.keep(id, picture);
    }

    fn close(mut self) {
        let actions = self.events.end_all(EndReason::Stop);
        self.act(actions, None);
        self.outputs.close(Instant::now() + OUTPUTS_TIMEOUT);
    }

    /// Returns a moment of now or of shortly before by all clocks.
    fn moment(&self, at: Instant) -> Moment {
        let ago = u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX);
        Moment {
            at,
            unix_ms: (unix_micros() / 1000).saturating_sub(ago),
            minute: self.minute,
        }
    }
}

/// Returns the best picture of an event so far.
fn picture_of(hub: &EventHub, message: &EventMessage) -> Option<Bytes> {
    let EventMessage::Object(event) = message else {
        return None;
    };
    Some(hub.picture(event.id)?.jpeg.clone())
}
