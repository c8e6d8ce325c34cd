//! Who watches: UDP viewers by lease, and subscribers by QUIC and HTTP.

use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use protocol::control::{Control, LeaseVerdict};
use protocol::label::CameraName;
use protocol::lease::{Grant, LeaseRequest};

use crate::Relay;
use crate::action::{Action, Forward};
use crate::demand::SubscriberId;
use crate::frame::CameraId;
use crate::note::Note;

impl Relay {
    /// Gives leases to viewers that had one before the relay was restarted.
    pub fn restore_leases(&mut self, viewers: impl IntoIterator<Item = SocketAddr>, now: Instant) {
        for viewer in viewers {
            self.request_lease(viewer, LeaseRequest::Request, now);
        }
    }

    /// Returns the viewers whose leases are [restored](Relay::restore_leases) after a restart.
    pub fn permanent_leases(&self) -> Vec<SocketAddr> {
        self.leases.permanent().collect()
    }

    /// Ends the lease of a UDP viewer whose host reports that its port is closed.
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
        now: Instant,
    ) -> LeaseVerdict {
        match self.leases.request(viewer, request, now) {
            Grant::Renewed | Grant::NotHeld => {}
            Grant::Released => self.actions.push_back(Action::CloseViewer(viewer)),
            Grant::Joined => self.actions.push_back(Action::OpenViewer(viewer)),
            Grant::Replaced(old) => {
                let actions = [Action::CloseViewer(old), Action::OpenViewer(viewer)];
                self.actions.extend(actions);
            }
            Grant::Full => {
                self.log(Note::LeasesFull(viewer));
                return LeaseVerdict::Full;
            }
        }
        self.count_viewers();
        LeaseVerdict::Welcome
    }

    /// Answers a viewer of ours.
    pub(crate) fn answer_viewer(
        &mut self,
        viewer: SocketAddr,
        request: LeaseRequest,
        nonce: u64,
        now: Instant,
    ) {
        let verdict = match self.rules.private {
            true => LeaseVerdict::Private,
            false => self.request_lease(viewer, request, now),
        };
        let answer = Control::Accept { nonce, verdict };
        self.actions.push_back(Action::Reply(viewer, answer));
    }

    /// Sends a frame to the UDP viewers, as far as the rate limit allows, if its camera is the one that they see.
    pub(crate) fn forward(
        &mut self,
        id: CameraId,
        jpeg: Bytes,
        passed_through: Option<Instant>,
        now: Instant,
    ) {
        if self.cameras.default_camera(now) != Some(id) {
            return;
        }
        let mut viewers: Vec<SocketAddr> = self.leases.viewers().collect();
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
