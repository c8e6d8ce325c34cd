//! What comes in: datagrams, frames by QUIC, and what senders report of themselves.

use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use protocol::control::{Control, LeaseVerdict};
use protocol::datagram::{self, Datagram};
use protocol::frame::Frame;
use protocol::label::Label;
use protocol::lease::LeaseRequest;
use protocol::peer::Proof;
use protocol::quic::{Refusal, SenderInfo};

use crate::action::{Action, Publication};
use crate::fair::Payer;
use crate::frame::{CameraFrame, CameraId};
use crate::limits::{PRIVATE_UPGRADE_INTERVAL, REQUESTED_INFERENCE_INTERVAL};
use crate::note::Note;
use crate::posts::FrameVerdict;
use crate::source::{Admission, Publisher, Rejection, SenderId, Source};
use crate::{Demand, Relay};

impl Relay {
    /// Takes a datagram that is not QUIC's, at `wall_us` microseconds since the Unix epoch.
    pub fn on_datagram(&mut self, from: SocketAddr, bytes: Bytes, wall_us: u64, now: Instant) {
        match datagram::classify(bytes.clone()) {
            Ok(Datagram::Frame(frame)) if self.rules.private => {
                self.refuse_udp_frame(from, &frame, now);
            }
            Ok(Datagram::Frame(frame)) => self.on_udp_frame(from, frame, wall_us, now),
            Ok(Datagram::Request) if self.rules.private => {
                self.counts.drop("private");
                self.log(Note::ViewerRefused(from, LeaseVerdict::Private));
            }
            Ok(Datagram::Request) => {
                self.request_lease(from, LeaseRequest::Request, false, now);
            }
            Ok(Datagram::Control(Control::Hello(question))) => {
                self.answer_viewer(from, LeaseRequest::Hello, question, now);
            }
            Ok(Datagram::Control(Control::Probe(question))) => {
                self.answer_viewer(from, LeaseRequest::Probe, question, now);
            }
            // The relay's own messages, echoed.
            Ok(Datagram::Control(_)) => self.counts.drop("control"),
            Err(reason) => {
                self.counts.drop(reason.name());
                self.on_foreign(from, &bytes, now);
            }
        }
    }

    /// Decides whether a sender may send as its camera, and reserves the camera for it. `proof` are the cookies of its
    /// hello. Returns those that prove later that it is this sender.
    ///
    /// # Errors
    /// If another source owns the camera's name, or the relay takes no further camera.
    pub fn on_publish_request(
        &mut self,
        publisher: &Publisher,
        proof: &Proof,
        now: Instant,
    ) -> Result<Proof, Refusal> {
        let source = Source::connection(publisher, publisher.stream);
        let claim = self.cameras.claim(source, &publisher.camera, proof, now)?;
        if let Some((sender, refusal)) = claim.displaced {
            self.actions
                .push_back(Action::RefuseSender(sender, refusal));
        }
        Ok(claim.proof)
    }

    /// Returns whether a sender could send as its camera now, with its connection or by UDP from the same host, and no cookie.
    ///
    /// # Errors
    /// As [`Relay::on_publish_request`].
    pub fn would_admit(
        &self,
        publisher: &Publisher,
        by_udp: bool,
        now: Instant,
    ) -> Result<(), Refusal> {
        let source = match by_udp {
            true => Source::datagrams(publisher.address, publisher.stream),
            false => Source::connection(publisher, publisher.stream),
        };
        self.cameras.would_admit(source, &publisher.camera, now)
    }

    /// Takes what a sender with a connection sent as a frame of its camera.
    pub fn on_frame(
        &mut self,
        publisher: &Publisher,
        bytes: Bytes,
        wall_us: u64,
        now: Instant,
    ) -> FrameVerdict {
        let frame = match self.frame_of(&publisher.camera, bytes) {
            Ok(frame) => frame,
            Err(verdict) => return verdict,
        };
        let (label, camera) = (frame.label.as_ref(), &publisher.camera);
        let source = Source::connection(publisher, label.map(|label| label.stream));
        let seq = label.map(|label| label.seq);
        match self.cameras.admit_published(source, camera, seq, now) {
            Ok(admitted) => {
                self.accept(admitted, source, frame, wall_us, now);
                FrameVerdict::Accepted
            }
            Err(rejection) => {
                if let Some(refusal) = rejection.refusal() {
                    let action = Action::RefuseSender(publisher.id, refusal);
                    self.actions.push_back(action);
                }
                self.verdict_on(rejection)
            }
        }
    }

    /// Takes what a sender with a connection reports of itself.
    pub fn on_sender_info(&mut self, sender: SenderId, info: SenderInfo) {
        let mut cameras = self.cameras.iter();
        if let Some(camera) = cameras.find(|camera| camera.is_of(sender)) {
            let action = Action::PublishSenderInfo(camera.name.clone(), info);
            self.actions.push_back(action);
        }
    }

    /// Notes that a sender's connection has ended: the sender `closed` it, or it was lost.
    pub fn on_sender_left(&mut self, sender: SenderId, closed: bool) {
        for id in self.cameras.ids() {
            let camera = self.cameras.get_mut(id);
            if camera.is_of(sender) {
                camera.owner.on_disconnected(closed);
            }
        }
    }

    /// Takes a frame that came by UDP.
    fn on_udp_frame(&mut self, from: SocketAddr, frame: Frame, wall_us: u64, now: Instant) {
        if self.leases.on_frame_from(from, now) {
            return self.counts.drop("from_viewer");
        }
        let label = frame.label.as_ref();
        let source = Source::datagrams(from, label.map(|label| label.stream));
        let (name, seq) = (
            label.map(|label| &label.camera),
            label.map(|label| label.seq),
        );
        match self.cameras.admit_datagram(source, name, seq, now) {
            Ok(admitted) => self.accept(admitted, source, frame, wall_us, now),
            Err(rejection) => {
                if let Some(refusal) = rejection.refusal().filter(|_| label.is_some()) {
                    self.refuse_by_udp(from, refusal, frame.jpeg.len(), now);
                }
                self.reject(rejection);
            }
        }
    }

    /// Refuses a sender of ours by UDP, once in a while.
    fn refuse_by_udp(&mut self, to: SocketAddr, refusal: Refusal, bytes: usize, now: Instant) {
        if bytes >= Control::Upgrade.write().len() && self.refusals.is_due(to, now) {
            self.push_refusal(to, refusal, bytes);
        }
    }

    /// Offers QUIC to a sender of ours whose frame of so many bytes is dropped: there it can show more than its address, and a
    /// restarted sender follows its old connection as soon as that is gone. Sends the reason too, and never more bytes than
    /// it sent.
    fn push_refusal(&mut self, to: SocketAddr, refusal: Refusal, bytes: usize) {
        let mut left = bytes;
        for answer in [Control::Upgrade, Control::Refused(refusal)] {
            if let Some(rest) = left.checked_sub(answer.write().len()) {
                left = rest;
                self.actions.push_back(Action::Reply(to, answer));
            }
        }
    }

    pub(crate) fn reject(&mut self, rejection: Rejection) {
        self.counts.drop(rejection.reason());
        self.actions.extend(rejection.into_note().map(Action::Log));
    }

    /// Counts a UDP frame at a private relay, and refuses a sender of ours.
    fn refuse_udp_frame(&mut self, from: SocketAddr, frame: &Frame, now: Instant) {
        self.counts.drop("private");
        let passed = |at: Instant| now.saturating_duration_since(at) >= PRIVATE_UPGRADE_INTERVAL;
        let bytes = frame.jpeg.len();
        let pays = bytes >= Control::Upgrade.write().len();
        if frame.label.is_some() && pays && self.upgrade_sent_at.is_none_or(passed) {
            self.upgrade_sent_at = Some(now);
            self.push_refusal(from, Refusal::Private, bytes);
        }
    }

    /// Takes a frame that was let in.
    pub(crate) fn accept(
        &mut self,
        (id, admission): (CameraId, Admission),
        source: Source,
        frame: Frame,
        wall_us: u64,
        now: Instant,
    ) {
        self.note_admission(id, admission, source, frame.jpeg.len(), now);
        let camera = self.cameras.get_mut(id);
        camera.size = frame.size;
        let label = frame.label.clone().unwrap_or_else(|| Label {
            stream: self.rules.stream,
            seq: camera.accepted,
            captured_us: wall_us,
            camera: camera.name.clone(),
        });
        let frame = CameraFrame {
            camera: id,
            count: camera.accepted,
            frame,
            label,
            received_at: now,
            transport: source.transport,
            payer: Payer::of(source),
        };
        let reordered = admission == Admission::Reordered;
        let publication = self.publication(frame.clone(), reordered, now);
        self.actions.push_back(Action::Publish(publication));
        if matches!(admission, Admission::Appeared | Admission::Moved) {
            let payer = Payer::of(source);
            self.schedule.renew(id, payer);
            self.annotation.renew(id, payer);
            let reset = self.tracking.reset(id, payer);
            self.actions.extend(reset);
        }
        if !reordered {
            self.publish_live(now);
            self.dispatch_frame(frame, now);
        }
    }

    /// Counts a frame of so many bytes that was let in, and offers QUIC to a sender by UDP; never with more bytes than that.
    fn note_admission(
        &mut self,
        id: CameraId,
        admission: Admission,
        source: Source,
        bytes: usize,
        now: Instant,
    ) {
        self.counts.received += 1;
        let camera = self.cameras.get_mut(id);
        let upgrade = bytes >= Control::Upgrade.write().len() && camera.upgrade_is_due(now);
        let name = camera.name.clone();
        match admission {
            Admission::Reordered => {}
            Admission::Known if self.was_live(id) => {}
            Admission::Appeared => self.log(Note::CameraAppeared(name, source.address)),
            Admission::Known | Admission::Moved => {
                self.log(Note::CameraMoved(name, source.address))
            }
        }
        if upgrade {
            let upgrade = Action::Reply(source.address, Control::Upgrade);
            self.actions.push_back(upgrade);
        }
    }

    /// Returns a frame as subscribers get it.
    pub(crate) fn publication(
        &self,
        frame: CameraFrame,
        reordered: bool,
        now: Instant,
    ) -> Publication {
        Publication {
            is_default: self.cameras.default_camera(now) == Some(frame.camera),
            frame,
            reordered,
        }
    }

    /// Hands a camera's newest frame to UDP viewers, to the tracker, and to the model if it is due.
    fn dispatch_frame(&mut self, frame: CameraFrame, now: Instant) {
        let id = frame.camera;
        self.release(id, now);
        let demand = self.demand(id, now);
        self.counts.wanted += u64::from(demand.infers());
        let due = self.is_due(&frame, demand, now);
        self.hold_or_forward(frame.clone(), demand, due, now);
        // Behind the frame itself: a thread that is woken may well run in place of this one.
        if demand.tracks() {
            self.tracking.enqueue(frame.clone());
            self.feed_tracker(now);
        } else if demand.annotated {
            // Nothing will find boxes for it; a frame without boxes is better than none.
            self.publish_annotated(frame.clone(), now);
        }
        if due {
            self.counts.not_inferred += u64::from(self.schedule.enqueue(frame));
        }
        self.feed_model(now);
    }

    /// Returns whether a frame goes to the model: because its turn has come, or for a new subscriber that wants boxes in the
    /// picture, if there was no such frame lately. It may want one picture, which would else wait for as long as N frames take.
    fn is_due(&mut self, frame: &CameraFrame, demand: Demand, now: Instant) -> bool {
        let is_default = self.cameras.default_camera(now) == Some(frame.camera);
        let camera = self.cameras.get_mut(frame.camera);
        let is_new = demand.annotated
            && self
                .subscribers
                .take_new_annotated(&camera.name, is_default);
        let is_recent = camera
            .last_due
            .is_some_and(|at| now.saturating_duration_since(at) < REQUESTED_INFERENCE_INTERVAL);
        // What UDP viewers see is the Nth frame, and it is held for its boxes.
        let requested = is_new && !is_recent && demand.udp.is_none();
        let due = demand.infers() && (self.schedule.is_due(frame) || requested);
        if due {
            camera.last_due = Some(now);
        }
        due
    }

    fn hold_or_forward(&mut self, frame: CameraFrame, demand: Demand, due: bool, now: Instant) {
        if !(demand.holds_all() || demand.holds_inferred() && due) {
            return self.forward_as_it_came(frame, Some(now), now);
        }
        let hold_time = self.cameras.get(frame.camera).hold_time();
        let awaits_own =
            demand.holds_all() || self.schedule.answers_within(frame.camera, hold_time, now);
        self.hold(frame, awaits_own, now + hold_time, now);
    }
}
