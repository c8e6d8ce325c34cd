//! What comes in: datagrams, frames by QUIC, and what senders report of themselves.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use protocol::control::Control;
use protocol::datagram::{self, Datagram, DropReason};
use protocol::frame::Frame;
use protocol::label::{CameraName, Label, StreamId};
use protocol::lease::LeaseRequest;
use protocol::quic::{Refusal, SenderInfo};
use protocol::transport::Transport;

use crate::action::{Action, Publication};
use crate::frame::{CameraFrame, CameraId};
use crate::note::Note;
use crate::source::{Admission, Rejection, Source};
use crate::{Demand, Relay};

/// Time between two `upgrade` messages of a private relay, to whichever senders.
const PRIVATE_UPGRADE_INTERVAL: Duration = Duration::from_millis(200);

impl Relay {
    /// Takes a datagram that is not QUIC's, at `wall_us` microseconds since the Unix epoch.
    pub fn on_datagram(&mut self, from: SocketAddr, bytes: Bytes, wall_us: u64, now: Instant) {
        match datagram::classify(bytes) {
            Ok(Datagram::Frame(frame)) if self.rules.private => {
                self.refuse_udp_frame(from, &frame, now);
            }
            Ok(Datagram::Frame(frame)) => {
                let name = frame.label.as_ref().map(|label| label.camera.clone());
                self.accept(Transport::Udp, from, name.as_ref(), frame, wall_us, now);
            }
            Ok(Datagram::Request) if self.rules.private => self.counts.drop("private"),
            Ok(Datagram::Request) => {
                self.request_lease(from, LeaseRequest::Request, now);
            }
            Ok(Datagram::Control(Control::Hello { nonce })) => {
                self.answer_viewer(from, LeaseRequest::Hello, nonce, now);
            }
            Ok(Datagram::Control(Control::Probe { nonce })) => {
                self.answer_viewer(from, LeaseRequest::Probe, nonce, now);
            }
            // The relay's own messages, echoed.
            Ok(Datagram::Control(_)) => self.counts.drop("control"),
            Err(reason) => {
                self.counts.drop(reason.name());
                if reason == DropReason::Piece && !std::mem::replace(&mut self.pieces_noted, true) {
                    self.log(Note::Pieces(from));
                }
            }
        }
    }

    /// Decides whether a QUIC sender may send as `camera`, with this stream in its labels.
    ///
    /// # Errors
    /// If another source owns the camera's name.
    pub fn on_publish_request(
        &self,
        from: SocketAddr,
        camera: &CameraName,
        stream: Option<StreamId>,
        now: Instant,
    ) -> Result<(), Refusal> {
        let source = Source {
            address: from,
            stream,
            transport: Transport::Quic,
        };
        let known = self.cameras.find(Some(camera), from.ip());
        let open = known.is_none_or(|id| self.cameras.get(id).is_open_to(source, now));
        open.then_some(()).ok_or(Refusal::Taken)
    }

    /// Takes what a QUIC sender sent as a frame of `camera`.
    pub fn on_frame(
        &mut self,
        from: SocketAddr,
        camera: &CameraName,
        bytes: Bytes,
        wall_us: u64,
        now: Instant,
    ) {
        let frame = match datagram::classify(bytes) {
            Ok(Datagram::Frame(frame)) => frame,
            Ok(_) => return self.counts.drop("control"),
            Err(reason) => return self.counts.drop(reason.name()),
        };
        let labelled = frame.label.as_ref();
        if labelled.is_some_and(|label| label.camera != *camera) {
            return self.counts.drop(Rejection::Misnamed.reason());
        }
        self.accept(Transport::Quic, from, Some(camera), frame, wall_us, now);
    }

    /// Takes what a QUIC sender reports of itself.
    pub fn on_sender_info(&mut self, from: SocketAddr, info: SenderInfo) {
        let mut cameras = self.cameras.iter();
        if let Some(camera) = cameras.find(|camera| camera.is_from(from, Transport::Quic)) {
            let action = Action::PublishSenderInfo(camera.name.clone(), info);
            self.actions.push_back(action);
        }
    }

    /// Notes that a QUIC sender has closed its connection.
    pub fn on_sender_left(&mut self, from: SocketAddr) {
        for id in self.cameras.ids() {
            let camera = self.cameras.get_mut(id);
            if camera.is_from(from, Transport::Quic) {
                camera.on_owner_left();
            }
        }
    }

    /// Counts a UDP frame at a private relay. A sender of ours learns by QUIC that it needs a ticket.
    fn refuse_udp_frame(&mut self, from: SocketAddr, frame: &Frame, now: Instant) {
        self.counts.drop("private");
        let passed = |at: Instant| now.saturating_duration_since(at) >= PRIVATE_UPGRADE_INTERVAL;
        if frame.label.is_some() && self.upgrade_sent_at.is_none_or(passed) {
            self.upgrade_sent_at = Some(now);
            let upgrade = Action::Reply(from, Control::Upgrade);
            self.actions.push_back(upgrade);
        }
    }

    fn accept(
        &mut self,
        transport: Transport,
        address: SocketAddr,
        name: Option<&CameraName>,
        frame: Frame,
        wall_us: u64,
        now: Instant,
    ) {
        let source = Source {
            address,
            stream: frame.label.as_ref().map(|label| label.stream),
            transport,
        };
        let seq = frame.label.as_ref().map(|label| label.seq);
        let Some((id, admission)) = self.admit(source, name, seq, now) else {
            return;
        };
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
        };
        let reordered = admission == Admission::Reordered;
        let publication = self.publication(frame.clone(), reordered, now);
        self.actions.push_back(Action::Publish(publication));
        if matches!(admission, Admission::Appeared | Admission::Moved) {
            self.schedule.forget(id);
            self.actions.push_back(Action::ResetTracker(id));
        }
        if !reordered {
            self.publish_live(now);
            self.dispatch_frame(frame, now);
        }
    }

    /// Finds a frame's camera and counts the frame, or the reason why it is dropped.
    fn admit(
        &mut self,
        source: Source,
        name: Option<&CameraName>,
        seq: Option<u64>,
        now: Instant,
    ) -> Option<(CameraId, Admission)> {
        let (id, admission) = match self.cameras.admit(source, name, seq, now) {
            Ok(admitted) => admitted,
            Err(rejection) => {
                self.counts.drop(rejection.reason());
                self.actions.extend(rejection.into_note().map(Action::Log));
                return None;
            }
        };
        self.counts.received += 1;
        let camera = self.cameras.get_mut(id);
        let upgrade = camera.upgrade_is_due(now);
        let name = camera.name.clone();
        match admission {
            Admission::Known | Admission::Reordered => {}
            Admission::Appeared => self.log(Note::CameraAppeared(name, source.address)),
            Admission::Moved => self.log(Note::CameraMoved(name, source.address)),
        }
        if upgrade {
            let upgrade = Action::Reply(source.address, Control::Upgrade);
            self.actions.push_back(upgrade);
        }
        Some((id, admission))
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
        let due = demand.infers() && self.schedule.is_due(frame.count);
        self.hold_or_forward(frame.clone(), demand, due, now);
        // Behind the frame itself: a thread that is woken may well run in place of this one.
        if demand.tracks() {
            self.actions.push_back(Action::Track(frame.clone()));
        } else if demand.annotated {
            // Nothing will find boxes for it; a frame without boxes is better than none.
            self.publish_annotated(frame.clone(), now);
        }
        if due {
            self.counts.not_inferred += u64::from(self.schedule.enqueue(frame));
        }
        self.feed_model(now);
    }

    fn hold_or_forward(&mut self, frame: CameraFrame, demand: Demand, due: bool, now: Instant) {
        if !(demand.holds_all() || demand.holds_inferred() && due) {
            return self.forward(frame.camera, frame.jpeg().clone(), Some(now), now);
        }
        let hold_time = self.cameras.get(frame.camera).hold_time();
        let awaits_own = demand.holds_all() || self.schedule.answers_within(hold_time, now);
        self.hold(frame, awaits_own, now + hold_time, now);
    }
}
