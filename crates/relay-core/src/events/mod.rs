//! Events: what the tracks of a camera mean. Pure: tracks and time in, messages out; it runs beside the frames and delays
//! none.
//!
//! ```text
//!  tracks of a frame --> objects --> certain? --> start ... update ... end
//!                          ^  |
//!                          +--+ a new track that is like an object which is not seen
//! ```
//!
//! - **Start.** An object's event starts once [`CameraSettings::min_time`] has passed since it was first seen, two
//!   inferences have shown it, with a mean score of [`CameraSettings::min_score`], no event of its label has started within the cooldown, and the camera is armed.
//! - **The same object.** A track that begins where an object of its label and size was seen, or would be by its velocity,
//!   shows that object: so a tree, a lost track or a restart of the camera makes no second event. What left the picture
//!   is not joined to what comes in there later.
//! - **What stands still.** When the event of a thing that stood still has ended, the thing makes no new event at that place
//!   until it moves: a parked car that the model sees every now and then is one event.
//! - **Update.** At once for a zone that it enters or another label; for a better picture at most every three seconds. A
//!   picture is better by score x area x sharpness, and a quarter for each of the picture's edges that cuts the object.
//! - **End.** An object that no supported track has shown for [`CameraSettings::end_after`] is gone; the event ends when it
//!   was last seen. Also when the camera is disarmed, the model changes, the camera's place goes to another one, or the
//!   relay stops, which the message names.
//! - **Zones** count the middle of the box's lower side, after [`Zone::min_time`].
//! - **Cameras** are online with their first frame and offline 30 s after their last.
//!
//! All tables are bounded: cameras as at the relay, [`MAX_OBJECTS`] objects of one camera and [`MAX_OBJECTS_IN_ALL`].

mod arming;
mod camera;
mod filter;
mod join;
mod object;
mod polygon;
mod settings;
mod still;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use protocol::CAMERA_TIMEOUT;
use protocol::detections::Detection;
use protocol::event::{CameraEvent, CameraState, CameraTag, EndReason, EventId, EventMessage};
use protocol::geometry::BBox;
use protocol::label::CameraName;
use protocol::quic::MAX_CAMERAS;

pub use self::arming::{BadSchedule, Schedule};
pub use self::camera::MAX_OBJECTS;
use self::camera::{CameraEvents, Frame};
pub use self::filter::DetectionFilter;
pub use self::polygon::{BadPolygon, MAX_CORNERS, Polygon};
pub use self::settings::{CameraSettings, EventSettings, Zone};
use crate::action::TrackerState;

/// Most objects of all cameras.
pub const MAX_OBJECTS_IN_ALL: usize = 1024;
/// Ids that a new one is compared with: as many events as may begin on one frame of all cameras.
const REMEMBERED_IDS: usize = MAX_OBJECTS_IN_ALL;
/// Time without a frame after which a camera is reported as offline.
const OFFLINE_AFTER: Duration = Duration::from_secs(30);

/// Returns the sharpness of a part of the frame that is observed, 0 to 1. It may cost a decoded picture.
pub type Sharpness<'a> = &'a mut dyn FnMut(BBox) -> f32;

/// A moment by all clocks that events need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// By the steady clock, which decides.
    pub at: Instant,
    /// In milliseconds since the Unix epoch, for messages.
    pub unix_ms: u64,
    /// Minute of the local day, 0 to 1439, for schedules.
    pub minute: u16,
}

impl Moment {
    /// Returns the later of two moments; its wall clock does not go back either.
    fn later(self, other: Self) -> Self {
        Self {
            at: self.at.max(other.at),
            unix_ms: self.unix_ms.max(other.unix_ms),
            minute: other.minute,
        }
    }
}

/// What the shell does.
#[derive(Debug, Clone, PartialEq)]
pub enum EventAction {
    /// Keep the frame that is observed as the picture of this event; the object is in this box.
    KeepPicture(EventId, BBox),
    /// Hand a message to all outputs.
    Publish(EventMessage),
}

/// The tracks of one frame.
#[derive(Debug, Clone, Copy)]
pub struct Observation<'a> {
    /// The camera.
    pub camera: &'a CameraName,
    /// The tracker that found the boxes.
    pub tracker: TrackerState,
    /// The boxes, with the ids of their tracks.
    pub boxes: &'a [Detection],
}

/// The events of all cameras.
#[derive(Debug, Default)]
pub struct Events {
    settings: EventSettings,
    cameras: BTreeMap<CameraName, CameraEvents>,
    /// The last ids, the newest last.
    ids: VecDeque<EventId>,
}

impl Events {
    /// Returns the state without cameras.
    pub fn new(settings: EventSettings) -> Self {
        Self {
            settings,
            ..Self::default()
        }
    }

    /// Uses other settings from now on; events that are open go on under them.
    pub fn set(&mut self, settings: EventSettings) {
        self.settings = settings;
    }

    /// Returns the number of events that are open.
    pub fn open(&self) -> usize {
        self.cameras.values().flat_map(CameraEvents::open).count()
    }

    /// Takes the tracks of a frame that arrived `now`. `random` makes the ids unique.
    pub fn observe(
        &mut self,
        observation: Observation<'_>,
        sharpness: Sharpness<'_>,
        random: &mut dyn FnMut() -> u16,
        now: Moment,
    ) -> Vec<EventAction> {
        let mut actions = self.make_room(observation.camera, now);
        let objects: usize = self.cameras.values().map(CameraEvents::objects).sum();
        let ids = &mut self.ids;
        let mut new_id = |unix_ms| unique_id(unix_ms, ids, random);
        let Some(camera) = self.cameras.get_mut(observation.camera) else {
            return actions;
        };
        let frame = Frame {
            boxes: observation.boxes,
            tracker: observation.tracker,
            sharpness,
        };
        let rules = self.settings.of(observation.camera);
        let room = MAX_OBJECTS_IN_ALL.saturating_sub(objects);
        actions.extend(camera.observe(frame, rules, room, &mut new_id, now));
        actions
    }

    /// Takes the names of the cameras that are live now.
    pub fn on_live(&mut self, live: &[CameraName], now: Moment) -> Vec<EventAction> {
        let mut actions = Vec::new();
        for name in live {
            actions.extend(self.make_room(name, now));
            if let Some(camera) = self.cameras.get_mut(name) {
                camera.left = None;
                if camera.online.replace(true) != Some(true) {
                    actions.push(camera_message(name, CameraState::Online, now));
                }
            }
        }
        for (name, camera) in &mut self.cameras {
            if !live.contains(name) {
                camera.left.get_or_insert(now.at);
            }
        }
        actions
    }

    /// Does what is due because time has passed; to be called a few times a second.
    pub fn tick(&mut self, now: Moment) -> Vec<EventAction> {
        let mut actions = Vec::new();
        for (name, camera) in &mut self.cameras {
            actions.extend(camera.tick(self.settings.of(name), now));
            // It was live for some time after its last frame.
            let silent = |left| now.at.saturating_duration_since(left) + CAMERA_TIMEOUT;
            let is_offline = camera
                .left
                .is_some_and(|left| silent(left) >= OFFLINE_AFTER);
            if is_offline && camera.online == Some(true) {
                camera.online = Some(false);
                actions.push(camera_message(name, CameraState::Offline, now));
            }
        }
        actions
    }

    /// Arms or disarms a camera until its schedule next changes.
    pub fn arm(&mut self, camera: &CameraName, armed: bool, now: Moment) -> Vec<EventAction> {
        let mut actions = self.make_room(camera, now);
        if let Some(state) = self.cameras.get_mut(camera) {
            let rules = self.settings.of(camera);
            state.arm(armed, rules, now);
            actions.extend(state.tick(rules, now));
        }
        actions
    }

    /// Returns whether a camera is armed.
    pub fn is_armed(&mut self, camera: &CameraName, now: Moment) -> bool {
        let rules = self.settings.of(camera);
        match self.cameras.get_mut(camera) {
            Some(state) => state.is_armed(rules, now),
            None => rules.armed.is_armed(now.minute),
        }
    }

    /// Ends all events: the relay stops, or another model takes over.
    pub fn end_all(&mut self, reason: EndReason) -> Vec<EventAction> {
        let cameras = self.cameras.values_mut();
        cameras.flat_map(|camera| camera.end_all(reason)).collect()
    }

    /// Adds a camera if it is new; in a full table it gets the place of the one that left first, whose events end.
    fn make_room(&mut self, name: &CameraName, now: Moment) -> Vec<EventAction> {
        if self.cameras.contains_key(name) {
            return Vec::new();
        }
        let mut actions = Vec::new();
        if self.cameras.len() >= MAX_CAMERAS {
            let left = self.cameras.iter();
            let left = left.filter_map(|(name, camera)| Some((camera.left?, name.clone())));
            let Some((_, longest)) = left.min() else {
                return Vec::new();
            };
            if let Some(mut gone) = self.cameras.remove(&longest) {
                actions = gone.end_all(EndReason::Camera);
                if gone.online == Some(true) {
                    actions.push(camera_message(&longest, CameraState::Offline, now));
                }
            }
        }
        let camera = CameraEvents::new(name.clone());
        self.cameras.insert(name.clone(), camera);
        actions
    }
}

/// Returns an id that none of the last events has; where random bits repeat, the next millisecond makes it one.
fn unique_id(
    unix_ms: u64,
    known: &mut VecDeque<EventId>,
    random: &mut dyn FnMut() -> u16,
) -> EventId {
    let mut id = EventId::new(unix_ms, random());
    while known.contains(&id) {
        id = EventId::new(id.start_ms().wrapping_add(1), random());
    }
    known.push_back(id);
    if known.len() > REMEMBERED_IDS {
        known.pop_front();
    }
    id
}

fn camera_message(camera: &CameraName, state: CameraState, now: Moment) -> EventAction {
    EventAction::Publish(EventMessage::Camera(CameraEvent {
        v: EventMessage::VERSION,
        kind: CameraTag::Camera,
        camera: camera.to_string(),
        state,
        t: object::seconds(now.unix_ms),
    }))
}
