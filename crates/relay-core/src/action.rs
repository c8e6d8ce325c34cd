//! What goes into the relay's decisions besides datagrams, and what comes out of them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Instant;

use bytes::Bytes;
use protocol::control::Control;
use protocol::detections::{Detection, Detections, Found};
use protocol::label::{Label, StreamId};
use protocol::quic::SenderInfo;
use protocol::schedule::Every;

use super::camera::{Arrival, CameraId};

/// Where plain viewers see boxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlay {
    /// Burned into each inferred frame, as the tutorial does.
    EveryNth,
    /// Burned into every frame.
    Hold,
    /// Nowhere.
    None,
}

impl Overlay {
    /// All choices, in the order in which they are offered.
    pub const ALL: [Self; 3] = [Self::EveryNth, Self::Hold, Self::None];

    /// Returns the name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::EveryNth => "every-nth",
            Self::Hold => "hold",
            Self::None => "none",
        }
    }
}

impl FromStr for Overlay {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|overlay| overlay.name() == s);
        found.ok_or_else(|| "every-nth, hold or none".to_owned())
    }
}

/// What the operator chose.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Which frames go to the model; `None` without a model.
    pub every: Option<Every>,
    /// Most frames, of as many cameras, that the model is given at a time.
    pub batch: usize,
    /// How many times its own length the model rests after an answer, with [`Every::Auto`]: what keeps it within its share
    /// of the machine.
    pub rest: f64,
    /// Where plain viewers see boxes.
    pub overlay: Overlay,
    /// Whether somebody reads the detections, so that they are made even with no viewer.
    pub detections_read: bool,
    /// Name of the model in detections messages.
    pub model: String,
    /// Whether it is the demo model, which is blind to anything but the demo scene.
    pub demo: bool,
    /// Places at the plain door.
    pub plain_viewers: usize,
    /// What all plain viewers together may be sent, in bits per second.
    pub plain_egress: u64,
    /// Whether the plain door is shut.
    pub private: bool,
    /// The stream in the labels of frames that came without one.
    pub stream: StreamId,
}

/// What the shell is to do, in this order.
#[derive(Debug, PartialEq)]
pub enum Action {
    /// Send a frame to viewers.
    Forward(Forward),
    /// Send a control message.
    Reply(SocketAddr, Control),
    /// Open a socket for a viewer.
    Join(SocketAddr),
    /// Close a viewer's socket.
    Leave(SocketAddr),
    /// Hand frames, one of each camera, to the model, which is free.
    Infer(Vec<Job>),
    /// Draw boxes on a frame.
    Burn(Burn),
    /// Hand a frame to the screens.
    Publish(Publish),
    /// Hand one to those screens that want boxes in the picture: with boxes, where it has any.
    PublishBurned(Publish),
    /// Find the boxes of this very frame by those of earlier ones.
    Follow(Job),
    /// What the model found, to whoever follows that camera's objects.
    Correct(CameraId, u64, Vec<Detection>),
    /// Follow that camera's objects no longer: its pictures are of another place or time.
    Forget(CameraId),
    /// Hand a detections message to the screens, and write down what the model found.
    Tell(Detections),
    /// What a camera's sender says of itself.
    Facts(String, SenderInfo),
    /// These cameras are live now.
    Cameras(Vec<String>),
    /// Tell the operator.
    Note(Note),
}

/// A frame on its way out.
#[derive(Debug, PartialEq)]
pub struct Forward {
    /// The JPEG.
    pub jpeg: Bytes,
    /// To whom.
    pub viewers: Vec<SocketAddr>,
    /// When it came, where it goes on as it came and was not held: its forwarding delay is measured.
    pub passed_through: Option<Instant>,
}

/// A frame for whoever watches at the native door or in a browser.
#[derive(Debug, PartialEq)]
pub struct Publish {
    /// Whose.
    pub camera: String,
    /// Whether it is the camera of those who named none.
    pub shown: bool,
    /// Whether newer ones have been published before.
    pub late: bool,
    /// The JPEG.
    pub jpeg: Bytes,
    /// The label to write into it, where it came without one.
    pub label: Option<Label>,
    /// When it came.
    pub arrived: Instant,
}

/// A frame for the model, or to be followed.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Whose.
    pub camera: CameraId,
    /// Which of the camera's accepted frames, from 1.
    pub count: u64,
    /// The JPEG.
    pub jpeg: Bytes,
    /// Its number, size and time, for the message.
    pub arrival: Arrival,
}

/// The model's answer to a [`Job`].
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The job's.
    pub camera: CameraId,
    /// The job's.
    pub count: u64,
    /// The job's.
    pub arrival: Arrival,
    /// What was found; `None` where the picture could not be decoded.
    pub found: Option<Found>,
}

/// The boxes of a frame that was [followed](Action::Follow).
#[derive(Debug, Clone, PartialEq)]
pub struct Tracked {
    /// The frame.
    pub job: Job,
    /// The boxes, with the ids of their tracks.
    pub detections: Vec<Detection>,
}

/// A frame to draw boxes on; comes back as [`super::Relay::burned`].
#[derive(Debug, Clone, PartialEq)]
pub struct Burn {
    /// The frame.
    pub job: Job,
    /// The boxes.
    pub detections: Vec<Detection>,
    /// Whether to write on it that the demo model is blind to such pictures.
    pub blind: bool,
    /// For the frame that is held for the plain viewers.
    pub held: Option<Boxes>,
    /// For those screens that want boxes in the picture.
    pub screens: bool,
}

/// Whose boxes are drawn on a held frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boxes {
    /// Its own.
    Own,
    /// Those of an older one, that came too late for it.
    Older,
}

/// What an operator cares about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// A camera's first frame.
    CameraAppeared(String, SocketAddr),
    /// A camera goes on from another port or as another stream.
    CameraMoved(String, SocketAddr),
    /// Somebody else sends under the name of a live camera.
    Stranger(String, SocketAddr),
    /// The first 1472-byte piece.
    Pieces(SocketAddr),
    /// The door's rate was used up for the first time.
    OverEgress,
    /// The demo model finds nothing on this camera's pictures.
    Blind(String),
    /// A viewer came when all places were taken.
    Full(SocketAddr),
}

/// Figures since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames accepted.
    pub received: u64,
    /// Those of them whose boxes somebody saw or read, had there been any.
    pub wanted: u64,
    /// Frames that the model has answered.
    pub inferred: u64,
    /// Frames due for the model that a newer one replaced before it was free.
    pub not_inferred: u64,
    /// Frames due for the model that could not be decoded.
    pub undecodable: u64,
    /// Datagrams that went no further, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Frames not sent to a viewer because the door's rate was used up.
    pub over_egress: u64,
    /// Most viewers at one time.
    pub viewers_peak: usize,
}

impl Counts {
    pub(super) fn drop(&mut self, reason: &'static str) {
        *self.dropped.entry(reason).or_default() += 1;
    }
}
