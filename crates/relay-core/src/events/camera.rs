//! The objects and events of one camera.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use protocol::detections::Detection;
use protocol::event::{EndReason, EventId};
use protocol::label::CameraName;

use super::arming::Arming;
use super::object::Object;
use super::settings::CameraSettings;
use super::still::StillPlaces;
use super::{EventAction, Moment, Sharpness};
use crate::action::TrackerState;

/// Most objects of one camera, open and new ones: as many as the tracker follows.
pub const MAX_OBJECTS: usize = 64;
/// Time after which an object that is not certain yet is forgotten: what the model sees once now and once then is noise.
const FORGET_AFTER: Duration = Duration::from_millis(1500);
/// Least overlap of two boxes of one label that are one object.
const SHADOW_IOU: f32 = 0.3;
/// The same of boxes of two labels: the model may take one object for two things.
const OTHER_SHADOW_IOU: f32 = 0.6;
/// Most labels whose last start is remembered for the cooldown: more than COCO has.
const MAX_LABELS: usize = 128;

/// One camera.
#[derive(Debug)]
pub(super) struct CameraEvents {
    name: CameraName,
    objects: Vec<Object>,
    tracker: TrackerState,
    arming: Arming,
    places: StillPlaces,
    /// When an event of a label last started.
    starts: BTreeMap<String, Instant>,
    /// Whether frames come, as it was last reported; `None` before the first report.
    pub(super) online: Option<bool>,
    /// When the camera was no longer live; `None` while it is.
    pub(super) left: Option<Instant>,
}

/// What the shell shows of a frame, beside its boxes.
pub(super) struct Frame<'a> {
    pub(super) boxes: &'a [Detection],
    pub(super) tracker: TrackerState,
    pub(super) sharpness: Sharpness<'a>,
}

impl CameraEvents {
    /// Returns a camera without objects.
    pub(super) fn new(name: CameraName) -> Self {
        Self {
            name,
            objects: Vec::new(),
            tracker: TrackerState::default(),
            arming: Arming::default(),
            places: StillPlaces::default(),
            starts: BTreeMap::new(),
            online: None,
            left: None,
        }
    }

    /// Returns the number of objects.
    pub(super) fn objects(&self) -> usize {
        self.objects.len()
    }

    /// Returns the ids of the events that are open.
    pub(super) fn open(&self) -> impl Iterator<Item = EventId> {
        self.objects.iter().filter_map(Object::id)
    }

    /// Arms or disarms the camera until its schedule next changes.
    pub(super) fn arm(&mut self, armed: bool, rules: &CameraSettings, now: Moment) {
        self.arming.command(armed, &rules.armed, now.minute);
    }

    /// Returns whether the camera is armed now.
    pub(super) fn is_armed(&mut self, rules: &CameraSettings, now: Moment) -> bool {
        self.arming.is_armed(&rules.armed, now.minute)
    }

    /// Takes the tracks of a frame; at most `room` objects are added.
    pub(super) fn observe(
        &mut self,
        frame: Frame<'_>,
        rules: &CameraSettings,
        room: usize,
        new_id: &mut dyn FnMut(u64) -> EventId,
        now: Moment,
    ) -> Vec<EventAction> {
        let mut actions = self.tick(rules, now);
        let before = std::mem::replace(&mut self.tracker, frame.tracker);
        if before.generation != frame.tracker.generation {
            // The numbers of another tracker mean other tracks.
            self.objects
                .iter_mut()
                .for_each(|object| object.track = None);
        }
        if !self.is_armed(rules, now) {
            return actions;
        }
        let inferred = before != frame.tracker && frame.tracker.answered.is_some();
        for track in self.assign(frame.boxes, inferred, rules, room, now) {
            if let Some(index) = self.reported(track, rules, now) {
                actions.extend(self.report(index, frame.sharpness, new_id, now));
            }
        }
        actions
    }

    /// Gives each track that the model supports to its object. Returns these tracks.
    fn assign(
        &mut self,
        boxes: &[Detection],
        inferred: bool,
        rules: &CameraSettings,
        room: usize,
        now: Moment,
    ) -> Vec<u64> {
        let room = self.objects.len() + room.min(MAX_OBJECTS - self.objects.len());
        let supported = boxes.iter();
        let supported = supported.filter(|seen| !seen.fading && seen.id.is_some());
        let of_track = |objects: &[Object], seen: &Detection| {
            objects.iter().position(|object| object.track == seen.id)
        };
        let (mut indices, mut strangers) = (Vec::new(), Vec::new());
        for seen in supported.clone() {
            match of_track(&self.objects, seen) {
                Some(index) => {
                    self.objects[index].see(seen, inferred, rules, now);
                    indices.push(index);
                }
                None => strangers.push(seen),
            }
        }
        for (stranger, known) in self.join(&strangers, &indices, now) {
            let index = match known {
                Some(index) => index,
                None if self.objects.len() < room => {
                    self.objects.push(Object::new(stranger, now));
                    self.objects.len() - 1
                }
                None => continue,
            };
            self.objects[index].see(stranger, inferred, rules, now);
        }
        supported.filter_map(|seen| seen.id).collect()
    }

    /// Finds for each new track the object that it shows again, the most alike first, among those that are not `seen`.
    fn join<'a>(
        &self,
        strangers: &[&'a Detection],
        seen: &[usize],
        now: Moment,
    ) -> Vec<(&'a Detection, Option<usize>)> {
        let mut pairs = Vec::new();
        for (number, stranger) in strangers.iter().enumerate() {
            for (index, object) in self.objects.iter().enumerate() {
                let unlike = object.unlikeness(&stranger.label, stranger.bbox, now);
                if let Some(unlike) = unlike.filter(|_| !seen.contains(&index)) {
                    // An event goes before an object that may never become one.
                    pairs.push((!object.is_open(), unlike, number, index));
                }
            }
        }
        pairs.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let mut joined: Vec<_> = strangers.iter().map(|seen| (*seen, None)).collect();
        let mut taken = Vec::new();
        for (_, _, number, index) in pairs {
            if joined[number].1.is_none() && !taken.contains(&index) {
                joined[number].1 = Some(index);
                taken.push(index);
            }
        }
        joined
    }

    /// Returns the object of a track whose event is to be started or updated, if there is one.
    fn reported(&mut self, track: u64, rules: &CameraSettings, now: Moment) -> Option<usize> {
        let of_track = |object: &Object| object.track == Some(track);
        let index = self.objects.iter().position(of_track)?;
        if self.objects[index].is_open() {
            return Some(index);
        }
        if !self.objects[index].is_certain(rules) || self.is_shadow(index, now) {
            return None;
        }
        let Some(known) = self.resumed(index, now) else {
            return self.may_start(index, rules, now).then_some(index);
        };
        let object = self.objects.remove(index);
        let known = known - usize::from(known > index);
        self.objects[known].take_over(object);
        Some(known)
    }

    /// Returns whether an object is a second box of one that has an event and is seen too.
    fn is_shadow(&self, index: usize, now: Moment) -> bool {
        let object = &self.objects[index];
        let mut seen = self.objects.iter().filter(|other| other.last.at == now.at);
        seen.any(|other| {
            let limit = match other.label() == object.label() {
                true => SHADOW_IOU,
                false => OTHER_SHADOW_IOU,
            };
            other.is_open() && other.bbox().iou(object.bbox()) >= limit
        })
    }

    /// Returns the object with an event, not seen now, that an object shows again: both were there for a moment when one
    /// track took over from the other.
    fn resumed(&self, index: usize, now: Moment) -> Option<usize> {
        let object = &self.objects[index];
        let unlike = |known: &Object| known.unlikeness(object.label(), object.bbox(), now);
        let known = self.objects.iter().enumerate();
        let known = known.filter(|(_, known)| known.is_open() && known.last.at != now.at);
        let alike = known.filter_map(|(index, known)| Some((unlike(known)?, index)));
        let best = alike.min_by(|a, b| a.0.total_cmp(&b.0));
        best.map(|(_, index)| index)
    }

    /// Starts or updates the event of an object that is seen.
    fn report(
        &mut self,
        index: usize,
        sharpness: Sharpness<'_>,
        new_id: &mut dyn FnMut(u64) -> EventId,
        now: Moment,
    ) -> Vec<EventAction> {
        let (object, camera) = (&mut self.objects[index], self.name.as_str());
        let starts = !object.is_open();
        let better = object.is_better_picture(sharpness, now);
        let message = match starts {
            true => {
                let id = new_id(object.first().unix_ms);
                self.starts.insert(object.label().to_owned(), now.at);
                Some(object.start(id, camera, now))
            }
            false => object.update(camera, now),
        };
        // The picture goes before the message that names it.
        let picture = object.id().filter(|_| better || starts);
        let picture = picture.map(|id| EventAction::KeepPicture(id, object.bbox().clipped()));
        let message = message.map(EventAction::Publish);
        picture.into_iter().chain(message).collect()
    }

    fn may_start(&mut self, index: usize, rules: &CameraSettings, now: Moment) -> bool {
        let object = &self.objects[index];
        let since = |at: &Instant| now.at.saturating_duration_since(*at);
        self.starts.retain(|_, at| since(at) < rules.cooldown);
        let (label, bbox) = (object.label(), object.bbox());
        !self.places.recognises(label, bbox, now.at)
            && !self.starts.contains_key(label)
            && self.starts.len() < MAX_LABELS
    }

    /// Ends what is gone, and all events of a camera that is not armed.
    pub(super) fn tick(&mut self, rules: &CameraSettings, now: Moment) -> Vec<EventAction> {
        if !self.is_armed(rules, now) {
            return self.end_all(EndReason::Disarmed);
        }
        let gone = |object: &mut Object| {
            let unseen = now.at.saturating_duration_since(object.last.at);
            match object.is_open() {
                true => unseen >= rules.end_after,
                false => unseen >= FORGET_AFTER,
            }
        };
        let mut actions = Vec::new();
        for object in self.objects.extract_if(.., gone) {
            let (label, bbox, last) = (object.label(), object.bbox(), object.last.at);
            if object.is_open() {
                self.places.remember(label, bbox, object.velocity(), last);
            }
            let end = object.end(self.name.as_str(), None);
            actions.extend(end.map(EventAction::Publish));
        }
        actions
    }

    /// Ends all events, and forgets what was seen.
    pub(super) fn end_all(&mut self, reason: EndReason) -> Vec<EventAction> {
        if reason == EndReason::Model {
            self.places.clear();
        }
        let ends = self.objects.drain(..);
        let ends = ends.filter_map(|object| object.end(self.name.as_str(), Some(reason)));
        ends.map(EventAction::Publish).collect()
    }
}
