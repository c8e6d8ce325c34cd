//! Where a camera's frames come from, and why a frame is let in or not.

use std::net::SocketAddr;

use protocol::label::StreamId;
use protocol::transport::Transport;

use crate::note::Note;

/// The source of a camera's frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Source {
    /// By QUIC the address at which the connection began, which stands for it whatever routers do later.
    pub(crate) address: SocketAddr,
    /// Stream id in the frames' labels.
    pub(crate) stream: Option<StreamId>,
    pub(crate) transport: Transport,
}

impl Source {
    /// Returns whether both send the same stream from the same host.
    pub(crate) fn is_stream_of(self, other: Self) -> bool {
        self.stream.is_some()
            && (self.stream, self.address.ip()) == (other.stream, other.address.ip())
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
    /// There are as many live cameras as the relay takes.
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

    /// Returns what the operator should know of it.
    pub(crate) fn into_note(self) -> Option<Note> {
        match self {
            Self::NotOwner(note) => note,
            Self::LateOrDuplicate | Self::AbsurdNumber | Self::Misnamed | Self::TooMany => None,
        }
    }
}
