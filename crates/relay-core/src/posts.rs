//! Single frames by HTTP: each is a request, so what owns the camera's name is no connection but the client's host, as among
//! datagrams the address does. The host has proved its address, so no datagram takes the name while frames come.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use bytes::Bytes;
use protocol::datagram::{self, Datagram, DropReason};
use protocol::frame::Frame;
use protocol::label::{CameraName, StreamId};
use protocol::peer::Standing;
use protocol::quic::Refusal;
use protocol::transport::Transport;

use crate::Relay;
use crate::action::Action;
use crate::source::{Rejection, Source};

/// A client that sends single frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Poster {
    /// Address of the client's host.
    pub address: IpAddr,
    /// What it has proved.
    pub standing: Standing,
    /// The camera that it sends as.
    pub camera: CameraName,
}

/// What became of a frame that a publisher sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameVerdict {
    /// The relay takes it.
    Accepted,
    /// The bytes are not a frame.
    NotAFrame(DropReason),
    /// The frame is dropped for another reason, under which it is counted.
    Dropped(&'static str),
    /// The sender may not send as this camera.
    Refused(Refusal),
}

impl Source {
    /// Returns the source of frames that a client posts; its port is left out, as each request may have another.
    fn posted(poster: &Poster, stream: Option<StreamId>) -> Self {
        Self {
            address: SocketAddr::new(poster.address, 0),
            stream,
            transport: Transport::Http,
            connection: None,
            standing: poster.standing,
        }
    }
}

impl Relay {
    /// Takes what a client posted as a frame of its camera.
    pub fn on_posted_frame(
        &mut self,
        poster: &Poster,
        bytes: Bytes,
        wall_us: u64,
        now: Instant,
    ) -> FrameVerdict {
        let frame = match self.frame_of(&poster.camera, bytes) {
            Ok(frame) => frame,
            Err(verdict) => return verdict,
        };
        let label = frame.label.as_ref();
        let source = Source::posted(poster, label.map(|label| label.stream));
        let seq = label.map(|label| label.seq);
        match self.cameras.admit_posted(source, &poster.camera, seq, now) {
            Ok((admitted, displaced)) => {
                let refuse = |sender| Action::RefuseSender(sender, Refusal::Full);
                self.actions.extend(displaced.map(refuse));
                self.accept(admitted, source, frame, wall_us, now);
                FrameVerdict::Accepted
            }
            Err(rejection) => self.verdict_on(rejection),
        }
    }

    /// Returns a publisher's bytes as a frame of its camera; counts them where they are none.
    pub(crate) fn frame_of(
        &mut self,
        camera: &CameraName,
        bytes: Bytes,
    ) -> Result<Frame, FrameVerdict> {
        let (counted, verdict) = match datagram::classify(bytes) {
            Ok(Datagram::Frame(frame)) => {
                let named = frame.label.as_ref().map(|label| &label.camera);
                if named.is_none_or(|named| named == camera) {
                    return Ok(frame);
                }
                let reason = Rejection::Misnamed.reason();
                (reason, FrameVerdict::Dropped(reason))
            }
            Ok(_) => ("control", FrameVerdict::Dropped("control")),
            Err(reason) => (reason.name(), FrameVerdict::NotAFrame(reason)),
        };
        self.counts.drop(counted);
        Err(verdict)
    }

    /// Counts a frame that was not let in, and returns what its publisher learns of that.
    pub(crate) fn verdict_on(&mut self, rejection: Rejection) -> FrameVerdict {
        let verdict = match rejection.refusal() {
            Some(refusal) => FrameVerdict::Refused(refusal),
            None => FrameVerdict::Dropped(rejection.reason()),
        };
        self.reject(rejection);
        verdict
    }
}
