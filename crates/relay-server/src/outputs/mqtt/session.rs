//! What is published when: state from events and status, pictures, discovery; and what a received command means. Pure.
//!
//! All topics but `events` are retained, so that a subscriber has the state at once. Their values are set here again and
//! again; the [`Outbox`] sends those that changed, and all of them over a new connection.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use protocol::event::{CameraState, EventId, EventMessage, ObjectEvent, Phase};

use super::discovery;
use super::outbox::{Message, Outbox};
use super::seen::{Place, Seen};
use super::topics::Topics;

/// Time between two pictures of a camera while no event begins.
pub const PICTURE_INTERVAL: Duration = Duration::from_secs(10);
/// Shortest time between two pictures of a camera, however many events begin.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);
/// Silence after which a camera is offline, as in event messages.
const OFFLINE_AFTER: Duration = Duration::from_secs(30);
/// Largest picture in bytes: one that is larger costs the broker and its subscribers more than it is worth.
pub const MAX_PICTURE: usize = 1 << 20;
/// Most events that are open at a time; the relay has no more.
const MAX_OPEN: usize = relay_core::events::MAX_OBJECTS_IN_ALL;

/// What is published of one relay.
#[derive(Debug)]
pub struct Session {
    topics: Topics,
    /// What waits for the broker.
    pub outbox: Outbox,
    seen: Seen,
    /// Whether `seen` is to be stored.
    seen_changed: bool,
    cameras: BTreeMap<String, Camera>,
    open: BTreeMap<EventId, Open>,
}

/// What is known of a camera.
#[derive(Debug, Default)]
struct Camera {
    online: bool,
    /// Whether its detection is switched off.
    undetected: bool,
    pictured_at: Option<Instant>,
    /// Whether an event has begun since the last picture.
    picture_due: bool,
}

/// An event that has not ended.
#[derive(Debug)]
struct Open {
    camera: String,
    label: String,
    zones: Vec<String>,
}

/// What the relay reports of itself every few seconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// Its cameras.
    pub cameras: Vec<CameraFacts>,
    /// State of the relay in a word or a sentence.
    pub health: &'static str,
}

/// What the relay reports of a camera.
#[derive(Debug, Clone, PartialEq)]
pub struct CameraFacts {
    /// Its name.
    pub name: String,
    /// Frames a second; `None` if none come.
    pub fps: Option<f64>,
    /// Time since the last frame.
    pub silence: Duration,
    /// Whether its detection is on.
    pub detects: bool,
}

/// A received command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Switch {
    /// The camera.
    pub camera: String,
    /// Whether its detection is to be on.
    pub on: bool,
}

impl Session {
    /// Returns the session of a relay that has just started; `seen` is what was stored of it.
    pub fn new(topics: Topics, seen: Seen) -> Self {
        let mut session = Self {
            outbox: Outbox::default(),
            seen: Seen::default(),
            seen_changed: false,
            cameras: BTreeMap::new(),
            open: BTreeMap::new(),
            topics,
        };
        let (topic, message) = discovery::relay(&session.topics);
        session.outbox.set(topic, message);
        session.set(session.topics.available(), "online");
        session.set(session.topics.relay("version"), env!("CARGO_PKG_VERSION"));
        // Cameras of before the restart, offline until they come, with nothing in their pictures.
        let cameras: Vec<_> = seen.cameras().map(str::to_owned).collect();
        session.seen = seen;
        for name in cameras {
            session.add_state(&name);
        }
        session
    }

    /// Returns the last message before a clean disconnection; the last will has the same.
    pub fn goodbye(&self) -> Message {
        Message {
            topic: self.topics.available(),
            payload: Bytes::from_static(b"offline"),
            retain: true,
        }
    }

    /// Returns the pattern of the topics to subscribe to.
    pub fn subscription(&self) -> String {
        self.topics.detect_set_of_all()
    }

    /// Takes an event: its message, the message's JSON, and the event's picture where there is one. Returns how many events
    /// were lost for it.
    pub fn on_event(&mut self, message: &EventMessage, json: Bytes, picture: Option<Bytes>) -> u64 {
        let lost = self.outbox.add_event(Message {
            topic: self.topics.events(),
            payload: json,
            retain: false,
        });
        match message {
            EventMessage::Camera(event) => {
                if self.knows(&event.camera) {
                    self.set_online(&event.camera, event.state == CameraState::Online);
                }
            }
            EventMessage::Object(event) => self.on_object(event, picture),
        }
        lost
    }

    /// Takes what the relay reports of itself.
    pub fn on_facts(&mut self, facts: &Facts) {
        self.set(self.topics.relay("health"), facts.health);
        for camera in &facts.cameras {
            let name = camera.name.as_str();
            if !self.knows(name) {
                continue;
            }
            self.set_online(name, camera.silence < OFFLINE_AFTER);
            let fps = format!("{:.1}", camera.fps.unwrap_or_default());
            self.set(self.topics.camera(name, "fps"), fps);
            let age = camera.silence.as_secs().to_string();
            self.set(self.topics.camera(name, "age"), age);
            self.set_detection(name, camera.detects);
        }
        // A camera that the relay has forgotten.
        let named = |name: &str| facts.cameras.iter().any(|camera| camera.name == name);
        let gone: Vec<_> = self
            .cameras
            .keys()
            .filter(|name| !named(name))
            .cloned()
            .collect();
        for name in gone {
            self.set_online(&name, false);
        }
    }

    /// Returns the command in a message of the broker. A retained one is a command of before: the relay's own state at its
    /// start goes before it.
    pub fn on_message(&self, topic: &str, payload: &[u8], retained: bool) -> Option<Switch> {
        let known = self.cameras.keys();
        let camera = known
            .into_iter()
            .find(|camera| self.topics.detect_set(camera) == topic)?;
        let on = match payload {
            _ if retained => return None,
            b"ON" => true,
            b"OFF" => false,
            _ => return None,
        };
        Some(Switch {
            camera: camera.clone(),
            on,
        })
    }

    /// Publishes whether a camera's detection is on.
    pub fn set_detection(&mut self, camera: &str, on: bool) {
        if let Some(state) = self.cameras.get_mut(camera) {
            state.undetected = !on;
            let topic = self.topics.camera(camera, "detect/state");
            self.set(topic, if on { "ON" } else { "OFF" });
        }
    }

    /// Returns the cameras of which a picture is due.
    pub fn due_pictures(&self, now: Instant) -> Vec<String> {
        let due = |camera: &Camera| {
            let passed = |time| {
                let since = |at| now.saturating_duration_since(at) >= time;
                camera.pictured_at.is_none_or(since)
            };
            camera.online
                && (passed(PICTURE_INTERVAL) || camera.picture_due && passed(SHORTEST_INTERVAL))
        };
        let due = self.cameras.iter().filter(|(_, camera)| due(camera));
        due.map(|(name, _)| name.clone()).collect()
    }

    /// Takes a picture that was due; `None` if the camera has none. Returns whether there was room for it.
    pub fn on_picture(&mut self, camera: &str, jpeg: Option<Bytes>, now: Instant) -> bool {
        let Some(state) = self.cameras.get_mut(camera) else {
            return true;
        };
        state.pictured_at = Some(now);
        state.picture_due = false;
        let topic = self.topics.camera(camera, "picture");
        jpeg.is_none_or(|jpeg| jpeg.len() <= MAX_PICTURE && self.outbox.set_picture(topic, jpeg))
    }

    /// Returns what is to be stored of the cameras and labels that were seen, if it has changed.
    pub fn take_changed(&mut self) -> Option<String> {
        std::mem::take(&mut self.seen_changed).then(|| self.seen.to_json())
    }

    fn on_object(&mut self, event: &ObjectEvent, picture: Option<Bytes>) {
        if !self.knows(&event.camera) {
            return;
        }
        let place = |zone| Place::new(zone, &event.label);
        let zones = event.zones.iter().map(|zone| place(Some(zone)));
        let mut changed: BTreeSet<_> = zones.chain([place(None)]).collect();
        self.add_places(&event.camera, &changed);
        let before = match event.phase {
            Phase::End => self.open.remove(&event.id),
            Phase::Start | Phase::Update if self.has_room(event.id) => {
                self.open.insert(event.id, Open::of(event))
            }
            Phase::Start | Phase::Update => None,
        };
        changed.extend(before.iter().flat_map(Open::places));
        self.publish_counts(&event.camera, &changed);
        if let Some(jpeg) = picture.filter(|jpeg| jpeg.len() <= MAX_PICTURE) {
            let topic = self.topics.snapshot(&event.camera, &event.label);
            self.outbox.set_picture(topic, jpeg);
        }
        if let Some(camera) = self.cameras.get_mut(&event.camera) {
            camera.picture_due |= event.phase == Phase::Start;
        }
    }

    fn has_room(&self, id: EventId) -> bool {
        self.open.len() < MAX_OPEN || self.open.contains_key(&id)
    }

    /// Publishes how many objects are at these places of a camera, if they have entities.
    fn publish_counts(&mut self, camera: &str, places: &BTreeSet<Place>) {
        let known: Vec<_> = self
            .seen
            .places(camera)
            .filter(|place| places.contains(place))
            .cloned()
            .collect();
        for place in known {
            let at = |open: &&Open| open.camera == camera && open.places().any(|at| at == place);
            let count = self.open.values().filter(at).count();
            let topic = self
                .topics
                .count(camera, place.zone.as_deref(), &place.label);
            self.set(topic, count.to_string());
        }
    }

    /// Returns whether a camera has topics, and gives it some if it is new. In a full table one that is offline goes.
    fn knows(&mut self, camera: &str) -> bool {
        if self.seen.knows(camera) {
            return true;
        }
        if self.seen.is_full() {
            let offline = self.cameras.iter().find(|(_, state)| !state.online);
            let Some(gone) = offline.map(|(name, _)| name.clone()) else {
                return false;
            };
            self.remove_camera(&gone);
        }
        let new = self.seen.add_camera(camera);
        if new {
            self.seen_changed = true;
            self.add_state(camera);
        }
        new
    }

    /// Publishes the discovery of a known camera and its state: offline, detection on, nothing in its picture.
    fn add_state(&mut self, camera: &str) {
        self.cameras.insert(camera.to_owned(), Camera::default());
        self.discover(camera);
        self.set(self.topics.camera(camera, "online"), "offline");
        self.set_detection(camera, true);
        let places = self.seen.places(camera).cloned().collect();
        self.publish_counts(camera, &places);
    }

    fn add_places(&mut self, camera: &str, places: &BTreeSet<Place>) {
        let mut new = false;
        for place in places {
            new |= self.seen.add(camera, place);
        }
        if new {
            self.seen_changed = true;
            self.discover(camera);
        }
    }

    fn discover(&mut self, camera: &str) {
        let (topic, message) = discovery::camera(&self.topics, camera, self.seen.places(camera));
        self.outbox.set(topic, message);
    }

    /// Removes all of a camera from the broker.
    fn remove_camera(&mut self, camera: &str) {
        let topics = &self.topics;
        let (discovery, _) = discovery::camera(topics, camera, [].iter());
        let own = ["online", "fps", "age", "picture", "detect/state"]
            .map(|what| topics.camera(camera, what));
        let mut gone: Vec<_> = own.into_iter().chain([discovery]).collect();
        for place in self.seen.places(camera) {
            gone.push(topics.count(camera, place.zone.as_deref(), &place.label));
            if place.zone.is_none() {
                gone.push(topics.snapshot(camera, &place.label));
            }
        }
        for topic in gone {
            self.outbox.clear(topic);
        }
        self.seen.remove_camera(camera);
        self.cameras.remove(camera);
        self.open.retain(|_, open| open.camera != camera);
        self.seen_changed = true;
    }

    fn set_online(&mut self, camera: &str, online: bool) {
        if let Some(state) = self.cameras.get_mut(camera) {
            state.online = online;
        }
        let topic = self.topics.camera(camera, "online");
        self.set(topic, if online { "online" } else { "offline" });
    }

    fn set(&mut self, topic: String, value: impl Into<Bytes>) {
        self.outbox.set(topic, value);
    }
}

impl Open {
    fn of(event: &ObjectEvent) -> Self {
        Self {
            camera: event.camera.clone(),
            label: event.label.clone(),
            zones: event.zones.clone(),
        }
    }

    fn places(&self) -> impl Iterator<Item = Place> {
        let zones = self
            .zones
            .iter()
            .map(|zone| Place::new(Some(zone), &self.label));
        zones.chain([Place::new(None, &self.label)])
    }
}

#[cfg(test)]
mod tests;
