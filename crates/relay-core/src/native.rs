//! What the native door asks and tells the relay: senders and screens.

use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use protocol::datagram::{self, Datagram};
use protocol::label::{CameraName, StreamId};
use protocol::quic::{Refusal, SenderInfo};

use super::Relay;
use super::action::Action;
use super::camera::{self, Door, Source};
use super::screens::ScreenId;

impl Relay {
    /// Somebody at the native door wants to send as `camera`, with this stream in its labels.
    ///
    /// # Errors
    /// Where somebody else does.
    pub fn sender(
        &self,
        from: SocketAddr,
        camera: &CameraName,
        stream: Option<StreamId>,
        now: Instant,
    ) -> Result<(), Refusal> {
        let source = Source {
            address: from,
            stream,
            door: Door::Native,
        };
        let place = self.cameras.find(Some(camera), from.ip());
        let open = place.is_none_or(|id| self.cameras.get(id).is_open_to(source, now));
        open.then_some(()).ok_or(Refusal::Taken)
    }

    /// What that sender sent as a frame of `camera`.
    pub fn sent(
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
        let label = frame.label.as_ref();
        if label.is_some_and(|label| label.camera != *camera) {
            return self.counts.drop(camera::Refusal::Misnamed.reason());
        }
        let source = Source {
            address: from,
            stream: label.map(|label| label.stream),
            door: Door::Native,
        };
        self.frame(source, Some(camera), &frame, wall_us, now);
    }

    /// What that sender says of itself.
    pub fn facts(&mut self, from: SocketAddr, facts: SenderInfo) {
        let mut cameras = self.cameras.iter();
        if let Some(camera) = cameras.find(|camera| camera.is_from(from, Door::Native)) {
            let name = camera.name.to_string();
            self.actions.push_back(Action::Facts(name, facts));
        }
    }

    /// That sender has gone.
    pub fn sender_left(&mut self, from: SocketAddr) {
        for id in self.cameras.ids() {
            let camera = self.cameras.get_mut(id);
            if camera.is_from(from, Door::Native) {
                camera.leave();
            }
        }
    }

    /// Somebody watches this camera at the native door or in a browser, or the first one that is live.
    pub fn screen_joined(&mut self, screen: ScreenId, camera: Option<String>) {
        self.screens.join(screen, camera);
        self.count_viewers();
    }

    /// Whether it wants the boxes in the picture too, and not as data alone.
    pub fn screen_wants_burned(&mut self, screen: ScreenId, burned: bool) {
        self.screens.want_burned(screen, burned);
    }

    /// It watches no more.
    pub fn screen_left(&mut self, screen: ScreenId) {
        self.screens.leave(screen);
    }
}
