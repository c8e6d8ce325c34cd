//! Every decision of the relay. Pure: bytes, answers and time in, actions out; no socket, clock, thread or codec.
//!
//! ```text
//!  UDP datagram ----> classify --+                      +--> Forward       UDP viewers      (udp_egress, hold)
//!                                +--> camera: owner, ---+--> Publish       subscribers      (demand)
//!  QUIC frame ------> classify --+    order, count      +--> Infer         model thread     (schedule, fair)
//!                                                       +--> Track         tracker thread   (tracking, fair)
//!  model's answer, tracker's boxes ---------------------+--> Annotate      drawing thread   (fair)
//! ```
//!
//! The shell calls the `on_..` methods and does what [`Relay::next_action`] returns. Time is an argument throughout, so the
//! tests run in virtual time.
//!
//! A frame is held for UDP viewers only while it could still be the newest, and for three quarters of the frame interval at
//! most, so that it is seen before its successor replaces it. When the camera's next frame is here, or that time has
//! passed, it leaves without its boxes, and they are drawn into the next frame due. While the model is busy, or has lately
//! been slower than that, no frame waits for it at all. So the model costs boxes, never frames, and order never goes
//! backwards.

mod action;
mod bucket;
mod camera;
mod cameras;
mod completions;
pub mod connections;
mod cookie;
mod counts;
mod demand;
mod demo;
mod detection;
pub mod events;
mod fair;
mod foreign_input;
mod frame;
pub mod handshakes;
mod hold;
mod ingress;
pub mod input;
pub mod known_hosts;
pub mod limits;
mod note;
mod ownership;
mod posts;
mod refusals;
pub mod rendition_ladder;
mod rhythm;
mod rules;
mod schedule;
mod source;
mod status;
mod tracking;
mod udp_egress;
mod viewers;

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use protocol::every::Every;
use protocol::label::CameraName;
use protocol::lease::Leases;

pub use self::action::{
    Action, AnnotationJob, BoxesOf, Forward, Inference, Publication, TrackedFrame, TrackerState,
};
pub use self::bucket::TokenBucket;
use self::cameras::Cameras;
pub use self::cookie::CookieSecret;
pub use self::counts::RelayCounts;
use self::demand::Demand;
pub use self::demand::SubscriberId;
use self::demand::Subscribers;
use self::detection::DetectionSwitches;
pub use self::fair::{FairQueue, Payer};
use self::foreign_input::ForeignInput;
pub use self::frame::{CameraFrame, CameraId};
pub use self::note::Note;
pub use self::posts::{FrameVerdict, Poster};
use self::refusals::RefusalPacer;
pub use self::rules::{Overlay, RelaySettings};
use self::schedule::ModelSchedule;
pub use self::source::{Publisher, SenderId};
pub use self::status::CameraStatus;
use self::status::LiveCamera;
use self::tracking::TrackingQueue;
use self::udp_egress::UdpEgress;

/// The relay's state.
#[derive(Debug)]
pub struct Relay {
    rules: RelaySettings,
    cameras: Cameras,
    leases: Leases,
    udp_egress: UdpEgress,
    subscribers: Subscribers,
    schedule: ModelSchedule,
    tracking: TrackingQueue,
    annotation: FairQueue<AnnotationJob>,
    /// The cameras that were live when that was last published.
    live: Vec<LiveCamera>,
    /// When a sender was last told that only the QUIC transport is open.
    upgrade_sent_at: Option<Instant>,
    refusals: RefusalPacer,
    udp_egress_noted: bool,
    /// Whether an output wants events, for which all cameras are tracked.
    events_wanted: bool,
    detection: DetectionSwitches,
    foreign: ForeignInput,
    actions: VecDeque<Action>,
    counts: RelayCounts,
}

impl Relay {
    /// Returns a relay with no camera and no viewer.
    pub fn new(rules: RelaySettings, secret: CookieSecret, now: Instant) -> Self {
        Self {
            cameras: Cameras::new(secret),
            leases: Leases::new(rules.udp_viewers),
            udp_egress: UdpEgress::new(rules.udp_egress, now),
            subscribers: Subscribers::default(),
            schedule: ModelSchedule::new(rules.every, rules.batch, rules.model_rest_factor, now),
            tracking: TrackingQueue::new(),
            annotation: FairQueue::new(limits::ANNOTATION_FRAMES, 1),
            live: Vec::new(),
            upgrade_sent_at: None,
            refusals: RefusalPacer::default(),
            udp_egress_noted: false,
            events_wanted: false,
            detection: DetectionSwitches::default(),
            foreign: ForeignInput::default(),
            actions: VecDeque::new(),
            counts: RelayCounts::default(),
            rules,
        }
    }

    /// Does what is due because time has passed; to be called at [`Relay::deadline`].
    pub fn tick(&mut self, now: Instant) {
        self.publish_live(now);
        self.expire_foreign(now);
        for viewer in self.leases.expire(now) {
            self.actions.push_back(Action::CloseViewer(viewer));
        }
        for id in self.cameras.ids() {
            let deadline = self.cameras.get(id).hold.deadline();
            if deadline.is_some_and(|until| until <= now) {
                self.release(id, now);
            }
        }
        self.feed_model(now);
    }

    /// Returns when [`Relay::tick`] has something to do next.
    pub fn deadline(&self) -> Option<Instant> {
        let held = self
            .cameras
            .iter()
            .filter_map(|camera| camera.hold.deadline());
        let live = self
            .live
            .iter()
            .filter_map(|camera| self.cameras.get(camera.id).live_until());
        held.chain(live)
            .chain(self.leases.deadline())
            .chain(self.foreign.deadline())
            .chain(self.schedule.deadline())
            .min()
    }

    /// Returns the next thing to do.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Computes what is wanted of a camera.
    fn demand(&self, id: CameraId, now: Instant) -> Demand {
        let is_default = self.cameras.default_camera(now) == Some(id);
        let udp_viewers = is_default && self.leases.viewers().len() > 0;
        let name = &self.cameras.get(id).name;
        let subscribed = self.subscribers.of(name, is_default);
        let demand = Demand::of(&self.rules, udp_viewers, subscribed, self.events_wanted);
        Demand {
            model: demand.model && self.detection.is_on(name),
            ..demand
        }
    }

    /// Notes whether an output wants events: then all cameras are inferred and tracked without a viewer too.
    pub fn want_events(&mut self, wanted: bool) {
        self.events_wanted = wanted;
    }

    /// Uses these schedules of the model for cameras that have one of their own, in place of all earlier ones.
    pub fn set_every_of(&mut self, cameras: BTreeMap<CameraName, Every>) {
        self.schedule.set_every_of(cameras);
    }

    fn log(&mut self, note: Note) {
        self.actions.push_back(Action::Log(note));
    }
}

#[cfg(test)]
mod tests;
