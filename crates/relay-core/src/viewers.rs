//! Who watches: UDP viewers by lease, and subscribers by QUIC and HTTP.

use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use protocol::control::{Control, LeaseVerdict, Question};
use protocol::label::CameraName;
use protocol::lease::{Grant, LeaseRequest};

use crate::Relay;
use crate::action::{Action, Forward};
use crate::demand::SubscriberId;
use crate::frame::CameraFrame;
use crate::note::Note;

impl Relay {
    /// Gives leases to viewers that had one before the relay was restarted; not if it is private now.
    pub fn restore_leases(&mut self, viewers: impl IntoIterator<Item = SocketAddr>, now: Instant) {
        let open = !self.rules.private;
        for viewer in viewers.into_iter().filter(|_| open) {
            self.request_lease(viewer, LeaseRequest::Request, false, now);
        }
    }

    /// Returns the viewers whose leases are [restored](Relay::restore_leases) after a restart.
    pub fn permanent_leases(&self) -> Vec<SocketAddr> {
        self.leases.permanent().collect()
    }

    /// Notes that the host of a UDP viewer reports that its port is closed.
    pub fn on_refused(&mut self, viewer: SocketAddr, now: Instant) {
        if self.leases.on_refused(viewer, now) {
            self.actions.push_back(Action::CloseViewer(viewer));
        }
    }

    /// Ends the lease of a UDP viewer to which no socket can be opened.
    pub fn on_unreachable(&mut self, viewer: SocketAddr) {
        if self.leases.release(viewer) {
            self.actions.push_back(Action::CloseViewer(viewer));
        }
    }

    /// Adds a subscriber of a camera, or of the first that is live.
    pub fn subscribe(&mut self, subscriber: SubscriberId, camera: Option<CameraName>) {
        self.subscribers.add(subscriber, camera);
        self.count_viewers();
    }

    /// Notes that a subscriber wants boxes drawn into the JPEG, and not as data alone.
    pub fn request_annotated(&mut self, subscriber: SubscriberId) {
        self.subscribers.request_annotated(subscriber);
    }

    /// Removes a subscriber.
    pub fn unsubscribe(&mut self, subscriber: SubscriberId) {
        self.subscribers.remove(subscriber);
    }

    pub(crate) fn request_lease(
        &mut self,
        viewer: SocketAddr,
        request: LeaseRequest,
        proved: bool,
        now: Instant,
    ) -> LeaseVerdict {
        let unproved = request != LeaseRequest::Probe && !proved;
        if unproved && self.cameras.has_source(viewer, now) {
            // Frames to it could come back as its own: two relays would feed each other without end.
            self.counts.drop("lease_of_camera");
            return LeaseVerdict::Full;
        }
        match self.leases.request(viewer, request, proved, now) {
            Grant::Held => {}
            Grant::NotHeld if self.leases.has_room_for(viewer, now) => {}
            Grant::NotHeld => return self.no_lease(),
            Grant::Released => self.actions.push_back(Action::CloseViewer(viewer)),
            Grant::Joined => self.actions.push_back(Action::OpenViewer(viewer)),
            Grant::Replaced(old) => {
                let actions = [Action::CloseViewer(old), Action::OpenViewer(viewer)];
                self.actions.extend(actions);
            }
            Grant::Full => {
                let verdict = self.no_lease();
                // A viewer of ours gets a cookie with the answer, and may get a lease with that at once.
                if proved || request == LeaseRequest::Request || verdict == LeaseVerdict::Closed {
                    self.log(Note::ViewerRefused(viewer, verdict));
                }
                return verdict;
            }
        }
        self.count_viewers();
        LeaseVerdict::Welcome
    }

    /// Returns why a viewer gets no lease.
    fn no_lease(&self) -> LeaseVerdict {
        match self.rules.udp_viewers {
            0 => LeaseVerdict::Closed,
            _ => LeaseVerdict::Full,
        }
    }

    /// Answers a viewer of ours, or the probe of a sender.
    pub(crate) fn answer_viewer(
        &mut self,
        viewer: SocketAddr,
        request: LeaseRequest,
        question: Question,
        now: Instant,
    ) {
        let cookie = self.cameras.of_address(viewer);
        let proved = question.cookie == Some(cookie);
        let verdict = match self.rules.private {
            true => {
                self.log(Note::ViewerRefused(viewer, LeaseVerdict::Private));
                LeaseVerdict::Private
            }
            false => self.request_lease(viewer, request, proved, now),
        };
        // What a peer of version 0.1 cannot read, or takes for the refusal of a lease that its probe does not request.
        let verdict = match (question.cookie, verdict, request) {
            (None, LeaseVerdict::Full | LeaseVerdict::Closed, LeaseRequest::Probe) => {
                LeaseVerdict::Welcome
            }
            (None, LeaseVerdict::Closed, _) => LeaseVerdict::Full,
            (_, verdict, _) => verdict,
        };
        let answer = Control::Accept {
            nonce: question.nonce,
            verdict,
            // A peer of version 0.1 cannot read an answer with a cookie.
            cookie: question.cookie.map(|_| cookie),
        };
        self.actions.push_back(Action::Reply(viewer, answer));
    }

    /// Sends a frame without boxes to the UDP viewers: as it came, or a rendition of it as soon as that is made.
    pub(crate) fn forward_as_it_came(
        &mut self,
        frame: CameraFrame,
        passed_through: Option<Instant>,
        now: Instant,
    ) {
        if !frame.is_reduced_for_udp() {
            let jpeg = frame.jpeg().clone();
            return self.forward(&frame, jpeg, passed_through, now);
        }
        if self.demand(frame.camera, now).udp.is_some() {
            self.reduce(frame, now);
        }
    }

    /// Sends a frame, as this JPEG, to the UDP viewers, as far as the rate limit allows, if its camera is the one that they
    /// see.
    pub(crate) fn forward(
        &mut self,
        frame: &CameraFrame,
        jpeg: Bytes,
        passed_through: Option<Instant>,
        now: Instant,
    ) {
        let id = frame.camera;
        self.cameras.get_mut(id).forwarded = frame.count;
        if self.cameras.default_camera(now) != Some(id) {
            return;
        }
        let mut viewers = self.leases.receivers(now);
        let wanted = viewers.len();
        viewers.rotate_left(self.udp_egress.first(wanted));
        viewers.retain(|_| self.udp_egress.take(jpeg.len(), now));
        if viewers.len() < wanted {
            self.counts.over_egress += (wanted - viewers.len()) as u64;
            if !std::mem::replace(&mut self.udp_egress_noted, true) {
                self.log(Note::UdpEgressReached);
            }
        }
        if !viewers.is_empty() {
            let forward = Forward {
                jpeg,
                viewers,
                unheld_received_at: passed_through,
            };
            self.actions.push_back(Action::Forward(forward));
        }
    }

    fn count_viewers(&mut self) {
        let [udp, subscribers] = self.viewers();
        self.counts.viewers_peak = self.counts.viewers_peak.max(udp + subscribers);
    }
}
