//! One object in a camera's picture, from the first track that shows it: where it is, its zones, and its event once that
//! has started.

use std::time::{Duration, Instant};

use protocol::detections::Detection;
use protocol::event::{EndReason, EventId, EventMessage, ObjectEvent, Phase};
use protocol::geometry::BBox;

use super::join::{Sight, cut_edges, unlikeness};
use super::settings::CameraSettings;
use super::{Moment, Sharpness};

/// Inferences that have to show an object before its event starts: one alone is often a mistake of the model.
const MIN_INFERENCES: u32 = 2;
/// Score beyond the least that all inferences together have to show: the fewer there are, the clearer each has to be.
const DOUBT: f32 = 0.1;
/// Inferences in a row of another label after which the event takes that label.
const RELABEL_INFERENCES: u32 = 2;
/// Share of a new velocity: a box jumps by a pixel, and its object does not.
const VELOCITY_GAIN: f32 = 0.3;
/// How much better a picture is than the one that is kept, so that it takes its place.
const BETTER: f32 = 1.1;
/// How much better a picture is than the one of the last message, so that an update reports it.
const WORTH_A_MESSAGE: f32 = 1.25;
/// Least time between a message and an update that reports a better picture and nothing else.
const PICTURE_INTERVAL: Duration = Duration::from_secs(3);
/// Least time between two pictures of one object that are decoded for their sharpness.
const LOOK_INTERVAL: Duration = Duration::from_millis(400);

/// One object.
#[derive(Debug)]
pub(super) struct Object {
    /// Track that shows it; `None` while none does.
    pub(super) track: Option<u64>,
    label: String,
    /// Another label of its track, and the inferences in a row that had it.
    doubt: Option<(String, u32)>,
    score: f32,
    top_score: f32,
    bbox: BBox,
    velocity: [f32; 2],
    first: Moment,
    /// Where the last inference that showed it did so, and when: since then its track may have gone astray.
    anchor: (BBox, Instant),
    /// When a track with support last showed it.
    pub(super) last: Moment,
    inferences: u32,
    /// Sum of their scores.
    scores: f32,
    stays: Vec<Stay>,
    /// Names of the zones that it has entered, in order.
    entered: Vec<String>,
    /// Quality of the picture that is kept.
    picture: f32,
    looked: Option<Instant>,
    event: Option<Open>,
}

/// An event that has started.
#[derive(Debug, Clone, Copy)]
struct Open {
    id: EventId,
    /// When the last message left.
    told: Instant,
    /// Quality of the picture of that message.
    told_picture: f32,
    /// Whether something changed that is worth a message at once.
    changed: bool,
}

/// An object's stay in a zone.
#[derive(Debug)]
struct Stay {
    zone: String,
    since: Instant,
    entered: bool,
}

impl Object {
    /// Returns the object that a new track shows.
    pub(super) fn new(seen: &Detection, now: Moment) -> Self {
        Self {
            track: None,
            label: seen.label.clone(),
            doubt: None,
            score: seen.score,
            top_score: seen.score,
            bbox: seen.bbox,
            velocity: [0.0; 2],
            first: now,
            anchor: (seen.bbox, now.at),
            last: now,
            inferences: 0,
            scores: 0.0,
            stays: Vec::new(),
            entered: Vec::new(),
            picture: 0.0,
            looked: None,
            event: None,
        }
    }

    /// Takes what a track shows of it now; `inferred` is set if an inference has confirmed the track since the last frame.
    pub(super) fn see(
        &mut self,
        seen: &Detection,
        inferred: bool,
        rules: &CameraSettings,
        now: Moment,
    ) {
        let since = now.at.saturating_duration_since(self.last.at).as_secs_f32();
        if since > 0.0 && self.track == seen.id {
            let ([x0, y0], [x1, y1]) = (self.bbox.centre(), seen.bbox.centre());
            let velocity = [(x1 - x0) / since, (y1 - y0) / since];
            for (known, new) in self.velocity.iter_mut().zip(velocity) {
                *known += VELOCITY_GAIN * (new - *known);
            }
        }
        self.track = seen.id;
        self.bbox = seen.bbox;
        self.score = seen.score.clamp(0.0, 1.0);
        self.top_score = self.top_score.max(self.score);
        self.last = self.last.later(now);
        if inferred {
            self.anchor = (self.bbox, now.at);
        }
        // An event that is open stays so: beyond any number of inferences that decides, the mean would lose precision.
        if inferred && self.event.is_none() {
            self.inferences = self.inferences.saturating_add(1);
            self.scores += self.score;
        }
        self.relabel(&seen.label, inferred);
        self.stand(rules, now);
    }

    /// Takes the label of its track, once the event has started only after several inferences.
    fn relabel(&mut self, label: &str, inferred: bool) {
        if self.label == label {
            self.doubt = None;
            return;
        }
        let before = self.doubt.take().filter(|(doubt, _)| doubt == label);
        let times = before.map_or(0, |(_, times)| times) + u32::from(inferred);
        let Some(event) = &mut self.event else {
            return label.clone_into(&mut self.label);
        };
        match times >= RELABEL_INFERENCES {
            true => {
                label.clone_into(&mut self.label);
                event.changed = true;
            }
            false => self.doubt = Some((label.to_owned(), times)),
        }
    }

    /// Notes the zones that it stands in, and those that are gone with a reload.
    fn stand(&mut self, rules: &CameraSettings, now: Moment) {
        let is_zone = |name: &str| rules.zones().any(|zone| zone.name == name);
        self.entered.retain(|name| is_zone(name));
        self.stays.retain(|stay| is_zone(&stay.zone));
        for zone in rules.zones() {
            let known = self.stays.iter().position(|stay| stay.zone == zone.name);
            if !zone.counts(&self.label) || !zone.polygon.holds(self.bbox) {
                known.map(|index| self.stays.remove(index));
                continue;
            }
            let index = known.unwrap_or_else(|| {
                self.stays.push(Stay {
                    zone: zone.name.clone(),
                    since: now.at,
                    entered: false,
                });
                self.stays.len() - 1
            });
            let stay = &mut self.stays[index];
            let stayed = now.at.saturating_duration_since(stay.since);
            if stay.entered || stayed < zone.min_time {
                continue;
            }
            stay.entered = true;
            if !self.entered.contains(&zone.name) {
                self.entered.push(zone.name.clone());
                if let Some(event) = &mut self.event {
                    event.changed = true;
                }
            }
        }
    }

    /// Returns whether its event has started.
    pub(super) fn is_open(&self) -> bool {
        self.event.is_some()
    }

    /// Returns the id of its event.
    pub(super) fn id(&self) -> Option<EventId> {
        self.event.map(|event| event.id)
    }

    pub(super) fn label(&self) -> &str {
        &self.label
    }

    pub(super) fn bbox(&self) -> BBox {
        self.bbox
    }

    pub(super) fn velocity(&self) -> [f32; 2] {
        self.velocity
    }

    /// Returns how unlike a box is to it, from 0 to 1; `None` if it is another object.
    pub(super) fn unlikeness(&self, label: &str, bbox: BBox, now: Moment) -> Option<f32> {
        let unlike = |known, since| {
            let sight = Sight {
                label: &self.label,
                bbox: known,
                velocity: self.velocity,
            };
            let gap = now.at.saturating_duration_since(since);
            unlikeness(sight, label, bbox, gap.as_secs_f32())
        };
        let last = unlike(self.bbox, self.last.at);
        let confirmed = unlike(self.anchor.0, self.anchor.1);
        last.into_iter().chain(confirmed).min_by(f32::total_cmp)
    }

    /// Returns when it was first seen.
    pub(super) fn first(&self) -> Moment {
        self.first
    }

    /// Returns whether it was seen often, long and clearly enough for an event.
    pub(super) fn is_certain(&self, rules: &CameraSettings) -> bool {
        let seen = self.last.at.saturating_duration_since(self.first.at);
        // The mean is at least min-score, and more by DOUBT / inferences.
        self.inferences >= MIN_INFERENCES
            && seen >= rules.min_time
            && self.scores >= rules.min_score * self.inferences as f32 + DOUBT
    }

    /// Returns whether the picture of now is better than the one that is kept, which it then replaces.
    pub(super) fn is_better_picture(&mut self, sharpness: Sharpness<'_>, now: Moment) -> bool {
        let recently = |at: Instant| now.at.saturating_duration_since(at) < LOOK_INTERVAL;
        let cut = cut_edges(self.bbox);
        let most = self.score * self.bbox.area().max(0.0) / f32::from(1u16 << (2 * cut));
        // Sharpness is at most 1, and costs a decoded picture.
        if most <= BETTER * self.picture || self.looked.is_some_and(recently) {
            return false;
        }
        self.looked = Some(now.at);
        let quality = most * sharpness(self.bbox).clamp(0.0, 1.0);
        let better = quality > BETTER * self.picture || self.picture <= 0.0;
        if better {
            self.picture = quality.max(f32::MIN_POSITIVE);
        }
        better
    }

    /// Goes on as the object that another track shows.
    pub(super) fn take_over(&mut self, other: Self) {
        self.track = other.track;
        (self.bbox, self.velocity) = (other.bbox, other.velocity);
        (self.score, self.last, self.anchor) = (other.score, other.last, other.anchor);
        self.top_score = self.top_score.max(other.top_score);
        self.stays = other.stays;
        for zone in other.entered {
            if !self.entered.contains(&zone) {
                self.entered.push(zone);
                if let Some(event) = &mut self.event {
                    event.changed = true;
                }
            }
        }
    }

    /// Starts its event.
    pub(super) fn start(&mut self, id: EventId, camera: &str, now: Moment) -> EventMessage {
        self.event = Some(Open {
            id,
            told: now.at,
            told_picture: self.picture,
            changed: false,
        });
        self.message(id, Phase::Start, camera)
    }

    /// Returns the update that is due, if one is.
    pub(super) fn update(&mut self, camera: &str, now: Moment) -> Option<EventMessage> {
        let picture = self.picture;
        let event = self.event.as_mut()?;
        let waited = now.at.saturating_duration_since(event.told) >= PICTURE_INTERVAL;
        let shows_more = picture >= WORTH_A_MESSAGE * event.told_picture;
        if !(event.changed || waited && shows_more) {
            return None;
        }
        (event.told, event.told_picture, event.changed) = (now.at, picture, false);
        let id = event.id;
        Some(self.message(id, Phase::Update, camera))
    }

    /// Returns the end of its event, if one has started.
    pub(super) fn end(mut self, camera: &str, reason: Option<EndReason>) -> Option<EventMessage> {
        let id = self.event.take()?.id;
        // What is gone is in no zone.
        self.stays.clear();
        let EventMessage::Object(ended) = self.message(id, Phase::End, camera) else {
            return None;
        };
        Some(EventMessage::Object(ObjectEvent {
            end: Some(seconds(self.last.unix_ms.max(self.first.unix_ms))),
            reason,
            ..ended
        }))
    }

    fn message(&self, id: EventId, phase: Phase, camera: &str) -> EventMessage {
        let inside = self.stays.iter().filter(|stay| stay.entered);
        EventMessage::Object(ObjectEvent {
            v: EventMessage::VERSION,
            phase,
            id,
            camera: camera.to_owned(),
            label: self.label.clone(),
            score: self.score,
            top_score: self.top_score,
            bbox: self.bbox.clipped(),
            zones: inside.map(|stay| stay.zone.clone()).collect(),
            entered_zones: self.entered.clone(),
            start: seconds(self.first.unix_ms),
            end: None,
            snapshot: id.snapshot_path(),
            clip: None,
            reason: None,
        })
    }
}

/// Returns a time in seconds since the Unix epoch.
pub(super) fn seconds(unix_ms: u64) -> f64 {
    unix_ms as f64 / 1e3
}
