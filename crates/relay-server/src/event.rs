//! What the loop hears: from the port, the doors and its threads.

use std::net::SocketAddr;

use bytes::Bytes;
use protocol::label::{CameraName, StreamId};
use protocol::quic::{Refusal, SenderInfo};
use tokio::sync::oneshot;

use crate::feeds::Subscription;
use crate::metrics::Metrics;
use relay_core::{Answer, Burn, ScreenId, Seen, Tracked};

/// Events that may wait for the loop.
pub const EVENTS: usize = 256;

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// A datagram at the plain door.
    Datagram(SocketAddr, Bytes),
    /// A plain viewer's host says that nobody listens there.
    Gone(SocketAddr),
    /// Somebody at the native door wants to send.
    Sender(Knock),
    /// It sent what should be a frame of its camera.
    Sent(SocketAddr, CameraName, Bytes),
    /// It says something of itself.
    Facts(SocketAddr, SenderInfo),
    /// It has gone.
    SenderLeft(SocketAddr),
    /// Somebody wants to watch a camera, or the first that is live.
    Screen(ScreenId, Option<CameraName>, oneshot::Sender<Subscription>),
    /// It wants the boxes in the picture.
    Burning(ScreenId),
    /// It watches no more.
    ScreenLeft(ScreenId),
    /// Somebody asks how things stand.
    Look(oneshot::Sender<Look>),
    /// The model has answered.
    Answered(Vec<Answer>),
    /// A frame's own boxes have been found by those of earlier ones.
    Tracked(Tracked),
    /// Boxes have been drawn, or could not be.
    Burned(Burn, Option<Bytes>),
    /// Somebody asks for all figures of this moment.
    Figures(oneshot::Sender<Box<Metrics>>),
    /// The model's thread is gone.
    ModelDied,
}

/// How things stand.
#[derive(Debug, Clone, PartialEq)]
pub struct Look {
    /// All cameras, in order of appearance.
    pub cameras: Vec<Seen>,
    /// Whether there was to be a model and it is gone.
    pub model_died: bool,
}

/// A sender that wants to come in.
#[derive(Debug)]
pub struct Knock {
    /// Where its connection began: what it is known by.
    pub from: SocketAddr,
    /// The camera that it is.
    pub camera: CameraName,
    /// The stream in its labels.
    pub stream: Option<StreamId>,
    /// The cameras that are live, or why not.
    pub reply: oneshot::Sender<Result<Vec<String>, Refusal>>,
}
