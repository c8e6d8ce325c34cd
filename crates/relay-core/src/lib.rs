//! Every decision of the relay. Pure: bytes, answers and time in, actions out; no socket, clock, thread or codec.
//!
//! ```text
//!  datagram --> scan --> camera's place --> count --> Nth? --no--------------------------> Forward
//!                                                      |yes
//!                                                    held --> Infer --> boxes --> Burn --> Forward
//!                                                      |next frame, or one interval
//!                                                      +---------------------------------> Forward as it came
//!  stream of the native door --> the same scan, place and count;  and every frame --------> Publish to the screens
//! ```
//!
//! A frame is held only while it could still be the newest, and for three quarters of the frame interval at most, so that
//! it is seen before its successor replaces it. When the camera's next one is here, or that time has passed, it leaves
//! without its boxes, and they are drawn on the next frame due. Where the model is busy, or has lately been slower than
//! that, no frame waits for it at all. So the model costs boxes, never frames, and order never goes backwards.

mod action;
mod camera;
pub mod connection_limits;
mod egress;
mod follow;
mod hold;
mod look;
mod model;
mod native;
mod screens;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use protocol::control::{Control, Verdict};
use protocol::datagram::{self, Datagram, DropReason};
use protocol::frame::Frame;
use protocol::label::{CameraName, Label};
use protocol::lease::{Grant, LeaseRequest, Leases};

pub use self::action::{
    Action, Answer, Boxes, Burn, Counts, Forward, Job, Note, Overlay, Publish, Rules, Tracked,
};
use self::camera::{Admission, Cameras, Door, Source};
pub use self::camera::{Arrival, CameraId};
use self::egress::Egress;
pub use self::look::Seen;
use self::model::{Model, Purpose};
pub use self::screens::ScreenId;
use self::screens::Screens;

/// Between two words to senders that knock at a plain door that is shut.
const PRIVATE_UPGRADE: Duration = Duration::from_millis(200);

/// The relay's state.
#[derive(Debug)]
pub struct Relay {
    rules: Rules,
    cameras: Cameras,
    leases: Leases,
    egress: Egress,
    screens: Screens,
    /// The cameras that were live when it was last looked.
    live: Vec<CameraId>,
    /// When a sender was last told that only the native door is open.
    upgraded: Option<Instant>,
    model: Model,
    over_egress_noted: bool,
    pieces_noted: bool,
    actions: VecDeque<Action>,
    counts: Counts,
}

impl Relay {
    /// A relay with no camera and no viewer.
    pub fn new(rules: Rules, now: Instant) -> Self {
        Self {
            cameras: Cameras::default(),
            leases: Leases::new(rules.plain_viewers),
            egress: Egress::new(rules.plain_egress, now),
            screens: Screens::default(),
            live: Vec::new(),
            upgraded: None,
            model: Model::new(now),
            over_egress_noted: false,
            pieces_noted: false,
            actions: VecDeque::new(),
            counts: Counts::default(),
            rules,
        }
    }

    /// Gives places to viewers that had one before the relay was started again.
    pub fn restore(&mut self, viewers: impl IntoIterator<Item = SocketAddr>, now: Instant) {
        for viewer in viewers {
            self.ask(viewer, LeaseRequest::Request, now);
        }
    }

    /// The viewers to [restore](Relay::restore) after a restart.
    pub fn lasting_viewers(&self) -> Vec<SocketAddr> {
        self.leases.permanent().collect()
    }

    /// A datagram came, at `wall_us` microseconds since the Unix epoch.
    pub fn datagram(&mut self, from: SocketAddr, bytes: Bytes, wall_us: u64, now: Instant) {
        match datagram::classify(bytes) {
            Ok(Datagram::Frame(frame)) if self.rules.private => self.shut(from, &frame, now),
            Ok(Datagram::Frame(frame)) => {
                let source = Source {
                    address: from,
                    stream: frame.label.as_ref().map(|label| label.stream),
                    door: Door::Plain,
                };
                let name = frame.label.as_ref().map(|label| label.camera.clone());
                self.frame(source, name.as_ref(), &frame, wall_us, now);
            }
            Ok(Datagram::Request) if self.rules.private => self.counts.drop("private"),
            Ok(Datagram::Request) => {
                self.ask(from, LeaseRequest::Request, now);
            }
            Ok(Datagram::Control(Control::Hello { nonce })) => {
                self.answer(from, LeaseRequest::Hello, nonce, now);
            }
            Ok(Datagram::Control(Control::Probe { nonce })) => {
                self.answer(from, LeaseRequest::Probe, nonce, now);
            }
            // The relay's own words, come back.
            Ok(Datagram::Control(_)) => self.counts.drop("control"),
            Err(reason) => {
                self.counts.drop(reason.name());
                if reason == DropReason::Piece && !std::mem::replace(&mut self.pieces_noted, true) {
                    self.note(Note::Pieces(from));
                }
            }
        }
    }

    /// A viewer's host says that nobody listens there.
    pub fn unreachable(&mut self, viewer: SocketAddr) {
        if self.leases.release(viewer) {
            self.actions.push_back(Action::Leave(viewer));
        }
    }

    /// Time has passed; to be called at [`Relay::deadline`].
    pub fn tick(&mut self, now: Instant) {
        self.look_who_is_live(now);
        for viewer in self.leases.expire(now) {
            self.actions.push_back(Action::Leave(viewer));
        }
        for id in self.cameras.ids() {
            if self
                .cameras
                .get(id)
                .held
                .as_ref()
                .is_some_and(|held| held.until <= now)
            {
                self.release(id, now);
            }
        }
        self.feed_model(now);
    }

    /// When [`Relay::tick`] has something to do next.
    pub fn deadline(&self) -> Option<Instant> {
        let held = self
            .cameras
            .iter()
            .filter_map(|camera| Some(camera.held.as_ref()?.until));
        let live = self.live.iter().map(|id| self.cameras.get(*id).ends());
        held.chain(live)
            .chain(self.leases.deadline())
            .chain(self.model_wakes())
            .min()
    }

    /// The next thing to do.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Figures so far.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Viewers at the plain door, and screens, now.
    pub fn viewers(&self) -> (usize, usize) {
        (self.leases.viewers().len(), self.screens.len())
    }

    /// Name of each camera that is live, and what its frames measure.
    pub fn live_cameras(&self, now: Instant) -> Vec<&str> {
        let live = self.cameras.iter().filter(|camera| camera.is_live(now));
        live.map(|camera| camera.name.as_str()).collect()
    }

    fn ask(&mut self, viewer: SocketAddr, ask: LeaseRequest, now: Instant) -> Verdict {
        match self.leases.request(viewer, ask, now) {
            Grant::Renewed | Grant::NotHeld => {}
            Grant::Released => self.actions.push_back(Action::Leave(viewer)),
            Grant::Joined => self.actions.push_back(Action::Join(viewer)),
            Grant::Replaced(gone) => {
                self.actions
                    .extend([Action::Leave(gone), Action::Join(viewer)]);
            }
            Grant::Full => {
                self.note(Note::Full(viewer));
                return Verdict::Full;
            }
        }
        self.count_viewers();
        Verdict::Welcome
    }

    fn count_viewers(&mut self) {
        let (plain, screens) = self.viewers();
        self.counts.viewers_peak = self.counts.viewers_peak.max(plain + screens);
    }

    /// Answers one of our viewers.
    fn answer(&mut self, viewer: SocketAddr, ask: LeaseRequest, nonce: u64, now: Instant) {
        let verdict = match self.rules.private {
            true => Verdict::Private,
            false => self.ask(viewer, ask, now),
        };
        let answer = Control::Accept { nonce, verdict };
        self.actions.push_back(Action::Reply(viewer, answer));
    }

    /// A frame at a plain door that is shut. A sender of ours learns at the native one that it needs a ticket.
    fn shut(&mut self, from: SocketAddr, frame: &Frame, now: Instant) {
        self.counts.drop("private");
        let quiet = |at: Instant| now.saturating_duration_since(at) >= PRIVATE_UPGRADE;
        if frame.label.is_some() && self.upgraded.is_none_or(quiet) {
            self.upgraded = Some(now);
            self.actions
                .push_back(Action::Reply(from, Control::Upgrade));
        }
    }

    fn frame(
        &mut self,
        source: Source,
        name: Option<&CameraName>,
        frame: &Frame,
        wall_us: u64,
        now: Instant,
    ) {
        let jpeg = frame.jpeg.clone();
        let seq = frame.label.as_ref().map(|label| label.seq);
        let Some((id, admission)) = self.admit(source, name, seq, now) else {
            return;
        };
        let camera = self.cameras.get_mut(id);
        camera.size = frame.size;
        let count = camera.accepted;
        let arrival = Arrival::of(frame, count, wall_us);
        let late = admission == Admission::Late;
        let publish = self.publication(id, jpeg.clone(), &arrival, late, now);
        self.actions.push_back(Action::Publish(publish));
        if matches!(admission, Admission::Appeared | Admission::Moved) {
            self.actions.push_back(Action::Forget(id));
        }
        if !late {
            self.look_who_is_live(now);
            let job = Job {
                camera: id,
                count,
                jpeg,
                arrival,
            };
            self.pass_on(job, now);
        }
    }

    /// Finds a frame's camera and counts the frame, or the reason why it is nobody's.
    fn admit(
        &mut self,
        source: Source,
        name: Option<&CameraName>,
        seq: Option<u64>,
        now: Instant,
    ) -> Option<(CameraId, Admission)> {
        let from = source.address;
        let admitted = self.cameras.admit(source, name, seq, now);
        let (id, admission) = match admitted {
            Ok(admitted) => admitted,
            Err(refusal) => {
                self.counts.drop(refusal.reason());
                self.actions.extend(refusal.into_note().map(Action::Note));
                return None;
            }
        };
        self.counts.received += 1;
        let camera = self.cameras.get_mut(id);
        let upgrade = camera.upgrade(now);
        let name = || camera.name.to_string();
        let note = match admission {
            Admission::Known | Admission::Late => None,
            Admission::Appeared => Some(Note::CameraAppeared(name(), from)),
            Admission::Moved => Some(Note::CameraMoved(name(), from)),
        };
        self.actions.extend(note.map(Action::Note));
        if upgrade {
            self.actions
                .push_back(Action::Reply(from, Control::Upgrade));
        }
        Some((id, admission))
    }

    /// A frame for the screens, with the label for one that came without.
    fn publication(
        &self,
        id: CameraId,
        jpeg: Bytes,
        arrival: &Arrival,
        late: bool,
        now: Instant,
    ) -> Publish {
        let camera = &self.cameras.get(id).name;
        let label = arrival.bare.then(|| Label {
            stream: self.rules.stream,
            seq: arrival.seq,
            captured_us: arrival.captured_us,
            camera: camera.clone(),
        });
        Publish {
            camera: camera.to_string(),
            shown: self.cameras.shown(now) == Some(id),
            late,
            jpeg,
            label,
            arrived: now,
        }
    }

    /// Tells when a camera begins or ceases to be live.
    fn look_who_is_live(&mut self, now: Instant) {
        let cameras = &self.cameras;
        let live = || cameras.ids().filter(|id| cameras.get(*id).is_live(now));
        if live().eq(self.live.iter().copied()) {
            return;
        }
        self.live = live().collect();
        let names = self.live_cameras(now).into_iter().map(str::to_owned);
        let names = Action::Cameras(names.collect());
        self.actions.push_back(names);
    }

    /// Lets a frame go on to the plain viewers, to the model where it is due, and to whoever follows its objects.
    fn pass_on(&mut self, job: Job, now: Instant) {
        let id = job.camera;
        self.release(id, now);
        let mut purpose = self.purpose(id, now);
        self.counts.wanted += u64::from(purpose != Purpose::None);
        if !self.is_due(job.count) {
            purpose = Purpose::None;
        }
        let waits = self.is_worth_waiting(id, now);
        let waiting = (purpose != Purpose::None).then(|| job.clone());
        let seen = job.clone();
        match purpose {
            Purpose::Burn => self.hold(job, waits, now),
            _ if self.is_drawn_on_all(id, now) => self.hold(job, true, now),
            Purpose::Data | Purpose::None => self.forward(id, job.jpeg, Some(now), now),
        }
        // Behind the frame itself: a thread that is woken may well run in our place.
        if self.is_followed(id, now) {
            self.actions.push_back(Action::Follow(seen));
        } else if self.are_burned_wanted(id, now) {
            // Nobody will find boxes for it; a frame is shown without rather than not at all.
            self.publish_burned(&seen, seen.jpeg.clone(), now);
        }
        if let Some(job) = waiting {
            self.enqueue(job);
        }
        self.feed_model(now);
    }

    fn forward(
        &mut self,
        id: CameraId,
        jpeg: Bytes,
        passed_through: Option<Instant>,
        now: Instant,
    ) {
        if self.cameras.shown(now) != Some(id) {
            return;
        }
        let mut viewers: Vec<SocketAddr> = self.leases.viewers().collect();
        let wanted = viewers.len();
        viewers.rotate_left(self.egress.first(wanted));
        viewers.retain(|_| self.egress.take(jpeg.len(), now));
        if viewers.len() < wanted {
            self.counts.over_egress += (wanted - viewers.len()) as u64;
            if !std::mem::replace(&mut self.over_egress_noted, true) {
                self.note(Note::OverEgress);
            }
        }
        if !viewers.is_empty() {
            let forward = Forward {
                jpeg,
                viewers,
                passed_through,
            };
            self.actions.push_back(Action::Forward(forward));
        }
    }

    fn note(&mut self, note: Note) {
        self.actions.push_back(Action::Note(note));
    }
}

#[cfg(test)]
mod tests;
