//! What the relay decides: the shell does it. And what comes back from the shell's threads.

use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use protocol::control::Control;
use protocol::datagram::Foreign;
use protocol::detections::{Detection, Detections, Found};
use protocol::label::CameraName;
use protocol::quic::{Refusal, SenderInfo};

use crate::frame::{CameraFrame, CameraId};
use crate::note::Note;
use crate::source::SenderId;

/// One thing for the shell to do; actions are done in their order.
#[derive(Debug, PartialEq)]
pub enum Action {
    /// Send a frame to UDP viewers.
    Forward(Forward),
    /// Send a control message from the relay's UDP port.
    Reply(SocketAddr, Control),
    /// Open a socket for a UDP viewer, which got a lease.
    OpenViewer(SocketAddr),
    /// Close the socket of a UDP viewer, whose lease has ended.
    CloseViewer(SocketAddr),
    /// Refuse a sender that was let in: it has lost its camera. Its connection ends.
    RefuseSender(SenderId, Refusal),
    /// Hand frames, one of each camera, to the model, which is free.
    Infer(Vec<CameraFrame>),
    /// Hand a frame to the tracker of its camera, which finds its boxes from those of earlier frames. The next one comes
    /// when this one was [tracked](crate::Relay::on_tracked).
    Track(CameraFrame),
    /// Hand a frame with the boxes of its tracks to the events.
    ObserveTracks(TrackedFrame),
    /// Give the tracker of a camera the model's detections on the frame with this count.
    UpdateTracker(CameraId, u64, Vec<Detection>),
    /// Reset the tracker of a camera: its next pictures are of another place or time.
    ResetTracker(CameraId),
    /// Draw boxes into a frame, or make it smaller. The next one comes when this one was [annotated](crate::Relay::on_annotated).
    Annotate(AnnotationJob),
    /// Publish a frame to the subscribers of its camera.
    Publish(Publication),
    /// Publish a frame to those subscribers that want boxes in the JPEG: with boxes, if there are any.
    PublishAnnotated(Publication),
    /// Publish a detections message to subscribers, and to outputs if the model made it.
    PublishDetections(Detections),
    /// Publish what a camera's sender reports of itself.
    PublishSenderInfo(CameraName, SenderInfo),
    /// Publish the names of the cameras that are live now.
    PublishLive(Vec<CameraName>),
    /// Publish what other software sends in place of JPEGs now; `None` when it ends.
    PublishForeign(Option<Foreign>),
    /// Log something that the operator should know.
    Log(Note),
}

/// A frame for UDP viewers.
#[derive(Debug, PartialEq)]
pub struct Forward {
    /// The JPEG.
    pub jpeg: Bytes,
    /// The viewers.
    pub viewers: Vec<SocketAddr>,
    /// Time of arrival of a frame that passes through unchanged and was not held; its forwarding delay is measured.
    pub unheld_received_at: Option<Instant>,
}

/// A frame for the subscribers of its camera.
#[derive(Debug, PartialEq)]
pub struct Publication {
    /// The frame.
    pub frame: CameraFrame,
    /// Whether its camera is the one of subscribers that named none: the first that is live.
    pub is_default: bool,
    /// Whether newer frames were published before this one.
    pub reordered: bool,
}

/// A frame to draw boxes into, or to make smaller, or both; it comes back to [`crate::Relay::on_annotated`].
#[derive(Debug, Clone, PartialEq)]
pub struct AnnotationJob {
    /// The frame.
    pub frame: CameraFrame,
    /// The boxes.
    pub detections: Vec<Detection>,
    /// Whether the result is for UDP viewers and within 300x200, since the frame is too large for them.
    pub reduced: bool,
    /// Whether to write into the picture that the demo model knows nothing of such a scene.
    pub demo_mismatch: bool,
    /// Set if the frame is held for UDP viewers: whose boxes these are.
    pub held: Option<BoxesOf>,
    /// Whether subscribers want the result.
    pub publish: bool,
}

/// Whose boxes are drawn into a held frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BoxesOf {
    /// The frame's own.
    Own,
    /// Those of an older frame, which came too late for it.
    Older,
}

/// The model's answer for one frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Inference {
    /// The frame.
    pub frame: CameraFrame,
    /// The detections; `None` if the picture could not be decoded.
    pub found: Option<Found>,
}

/// The tracker's boxes for one frame.
#[derive(Debug, Clone, PartialEq)]
pub struct TrackedFrame {
    /// The frame.
    pub frame: CameraFrame,
    /// The boxes, with the ids of their tracks.
    pub detections: Vec<Detection>,
    /// The tracker that found them.
    pub tracker: TrackerState,
}

/// What a tracker is and knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TrackerState {
    /// Number of the tracker; ids of two trackers' tracks mean nothing to each other.
    pub generation: u64,
    /// Count of the newest frame whose inference the tracker knows; `None` before the first.
    pub answered: Option<u64>,
}
