//! Where a camera's frames come from, and why a frame is let in or not.

use std::net::SocketAddr;

use protocol::label::{CameraName, StreamId};
use protocol::peer::{Host, Standing};
use protocol::quic::Refusal;
use protocol::transport::Transport;

use crate::note::Note;

/// A sender's connection, for as long as it is open. A later one from the same address and port is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SenderId(pub u64);

/// A sender with a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publisher {
    /// Its connection.
    pub id: SenderId,
    /// The address at which the connection began, whatever routers do later.
    pub address: SocketAddr,
    /// What it has proved.
    pub standing: Standing,
    /// The camera that it sends as.
    pub camera: CameraName,
    /// Stream id in its labels, by its hello.
    pub stream: Option<StreamId>,
    /// The connection's transport.
    pub transport: Transport,
}

/// The source of a camera's frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) address: SocketAddr,
    /// Stream id in the frames' labels.
    pub(crate) stream: Option<StreamId>,
    pub(crate) transport: Transport,
    /// The connection; `None` by UDP, and for frames in a request each.
    pub(crate) connection: Option<SenderId>,
    pub(crate) standing: Standing,
}

impl Source {
    /// Returns the source of datagrams.
    pub(crate) fn datagrams(address: SocketAddr, stream: Option<StreamId>) -> Self {
        Self {
            address,
            stream,
            transport: Transport::Udp,
            connection: None,
            standing: Standing::Unvalidated,
        }
    }

    /// Returns the source of a connection's frames with this stream id.
    pub(crate) fn connection(publisher: &Publisher, stream: Option<StreamId>) -> Self {
        Self {
            address: publisher.address,
            stream,
            transport: publisher.transport,
            connection: Some(publisher.id),
            standing: publisher.standing,
        }
    }

    pub(crate) fn host(self) -> Host {
        self.address.into()
    }

    /// Returns whether both send the same stream from the same host.
    pub(crate) fn is_stream_of(self, other: Self) -> bool {
        self.stream.is_some() && (self.stream, self.host()) == (other.stream, other.host())
    }

    /// Returns whether both are the same connection, or datagrams of the same stream from the same address.
    pub(crate) fn is_same(self, other: Self) -> bool {
        match (self.connection, other.connection) {
            (None, None) => (self.address, self.stream) == (other.address, other.stream),
            (one, another) => one == another,
        }
    }
}

/// How a frame was let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// The camera goes on.
    Known,
    /// The camera is new.
    Appeared,
    /// The camera goes on from another source.
    Moved,
    /// The frame is good, but newer ones came first: for subscribers that can still use it.
    Reordered,
}

/// Why a good frame was not let in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Rejection {
    /// Another source owns the camera's name; the note comes once for each owner.
    NotOwner(Option<Note>),
    /// The frame is a duplicate, or older than the last one by a transport that has no use for it.
    LateOrDuplicate,
    /// The frame's number lies further ahead than a camera can have counted.
    AbsurdNumber,
    /// The frame's label names another camera than its sender's hello.
    Misnamed,
    /// There are as many cameras as the relay takes.
    TooMany,
}

impl Rejection {
    /// Returns the name under which the frame is counted.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::NotOwner(_) => "stranger",
            Self::LateOrDuplicate => "late",
            Self::AbsurdNumber => "absurd_number",
            Self::Misnamed => "misnamed",
            Self::TooMany => "too_many_cameras",
        }
    }

    /// Returns the refusal for its sender, if none of its frames will be let in.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::NotOwner(_) => Some(Refusal::Taken),
            Self::TooMany => Some(Refusal::Full),
            Self::LateOrDuplicate | Self::AbsurdNumber | Self::Misnamed => None,
        }
    }

    /// Returns what the operator should know of it.
    pub(crate) fn into_note(self) -> Option<Note> {
        match self {
            Self::NotOwner(note) => note,
            Self::LateOrDuplicate | Self::AbsurdNumber | Self::Misnamed | Self::TooMany => None,
        }
    }
}
