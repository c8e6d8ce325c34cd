//! What the loop receives, by kind: what comes in from the network, what the threads have completed, and what transports
//! and outputs ask for.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use protocol::datagram::Foreign;
use protocol::health::Health;
use protocol::label::CameraName;
use protocol::peer::Proof;
use protocol::quic::{Refusal, SenderInfo, Trial};
use quic::receive::Held;
use relay_core::{
    AnnotationJob, CameraStatus, FrameVerdict, Inference, Poster, Publisher, SenderId,
    SubscriberId, TrackedFrame,
};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::fanout::Feed;
use crate::metrics::LoopMetrics;

/// One event.
#[derive(Debug)]
pub enum Event {
    /// From the network.
    Ingress(Ingress),
    /// From a thread.
    Completion(Completion),
    /// From a transport or an output, with its place among the queries that may wait.
    Query(Query, Option<OwnedSemaphorePermit>),
}

/// What comes in from the network.
#[derive(Debug)]
pub enum Ingress {
    /// A datagram that is not QUIC's.
    Datagram(SocketAddr, Bytes),
    /// The host of a UDP viewer reports that its port is closed.
    Refused(SocketAddr),
    /// A sender with a connection wants to send.
    PublishRequest(PublishRequest),
    /// A QUIC sender sent what should be a frame of its camera. It counts as that sender's input until the loop has taken it.
    FrameReceived(Arc<Publisher>, Bytes, Held),
    /// A sender with a connection reports something of itself.
    SenderInfo(SenderId, SenderInfo),
    /// The connection of a sender has ended: the sender closed it (true), or it was lost.
    SenderLeft(SenderId, bool),
}

/// What a thread has completed.
#[derive(Debug)]
pub enum Completion {
    /// The model's answers to one batch.
    Inferred(Vec<Inference>),
    /// The tracker's boxes of one frame.
    Tracked(TrackedFrame),
    /// A frame with boxes drawn in; `None` if that failed.
    Annotated(AnnotationJob, Option<Bytes>),
    /// The model's thread has died.
    ModelDied,
}

/// What a transport or an output asks for, through [`crate::handle::RelayHandle`].
#[derive(Debug)]
pub enum Query {
    /// To be sent the frames and messages of a camera, or of the first that is live.
    Subscribe(SubscriberId, Option<CameraName>, oneshot::Sender<Feed>),
    /// To be sent annotated frames too.
    RequestAnnotated(SubscriberId),
    /// To be sent nothing more.
    Unsubscribe(SubscriberId),
    /// Whether a sender could send, with its connection or by UDP.
    Trial(Publisher, Trial, oneshot::Sender<Result<(), Refusal>>),
    /// To take what an HTTP publisher sent as a frame.
    TakeFrame(HttpFrame),
    /// The status of the cameras and the model.
    Status(oneshot::Sender<RelayStatus>),
    /// The loop's part of the metrics of this moment.
    Metrics(oneshot::Sender<Box<LoopMetrics>>),
}

/// What an HTTP publisher sent as a frame.
#[derive(Debug)]
pub struct HttpFrame {
    /// Its sender.
    pub publisher: HttpPublisher,
    /// The bytes, not scanned yet.
    pub jpeg: Bytes,
    /// Receives what became of it.
    pub reply: oneshot::Sender<FrameVerdict>,
}

/// An HTTP publisher.
#[derive(Debug, Clone)]
pub enum HttpPublisher {
    /// A WebSocket, which owns its camera's name while it is open.
    Socket(Arc<Publisher>),
    /// A client that sends each frame as a request.
    Poster(Poster),
}

/// The relay's status.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RelayStatus {
    /// All cameras, in order of appearance.
    pub cameras: Vec<CameraStatus>,
    /// State of each one's machine, in the same order.
    pub health: Vec<Health>,
    /// Whether there is a model.
    pub has_model: bool,
    /// Whether there was a model and its thread has died.
    pub model_died: bool,
    /// What other software sends in place of JPEGs.
    pub foreign: Option<Foreign>,
}

/// A sender with a connection that wants to send.
#[derive(Debug)]
pub struct PublishRequest {
    /// The sender.
    pub publisher: Arc<Publisher>,
    /// The cookies of its hello.
    pub proof: Proof,
    /// Receives whether the sender may send, or why it is refused.
    pub reply: oneshot::Sender<Result<Accepted, Refusal>>,
    /// Receives why the sender has lost its camera later.
    pub refused: oneshot::Sender<Refusal>,
}

/// The answer to a sender that may send.
#[derive(Debug)]
pub struct Accepted {
    /// Proves later that it is this sender.
    pub proof: Proof,
    /// The cameras that are live.
    pub cameras: Vec<CameraName>,
}

impl From<Ingress> for Event {
    fn from(ingress: Ingress) -> Self {
        Self::Ingress(ingress)
    }
}

impl From<Completion> for Event {
    fn from(completion: Completion) -> Self {
        Self::Completion(completion)
    }
}

impl From<Query> for Event {
    fn from(query: Query) -> Self {
        Self::Query(query, None)
    }
}
