//! The right to send as a camera.
//!
//! The name in a label is public and proves nothing, so a camera's name is owned by the source that came first, until that
//! falls silent, and by a sender with a connection for as long as that is open. A source never takes the name from one that
//! has proved more. What proves that a source is the owner of before is a cookie that only the owner was sent.

use std::time::{Duration, Instant};

use protocol::peer::{Cookie, Host, Standing};

use crate::limits::ESTABLISHED_AFTER;
use crate::rhythm::FrameRhythm;
use crate::source::Source;
use protocol::CAMERA_TIMEOUT;

/// The same host goes on from a new port or stream after this silence of the old one, or three frame intervals.
const RESTART: Duration = Duration::from_millis(300);

/// The owner of a camera's name.
#[derive(Debug)]
pub(crate) struct Ownership {
    source: Source,
    /// Since when this source is the owner.
    since: Instant,
    link: Link,
    /// What the last owner with a connection was sent as its proof.
    cookie: Option<Cookie>,
    /// Host of the last owner that had proved its address.
    validated_host: Option<Host>,
}

/// How the owner sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    /// By datagrams, or by requests of one frame each.
    Frames,
    /// By a connection that is open.
    Open,
    /// By a connection that the owner has closed.
    Closed,
    /// By a connection that was lost.
    Lost,
}

/// What a source shows for that a camera is its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Evidence {
    /// Nothing.
    None,
    /// A cookie that any earlier owner with a connection has: worth nothing against one that has proved its address.
    OwnerBefore,
    /// The cookie of the owner, or of the last owner with a connection.
    Owner,
}

impl Ownership {
    pub(crate) fn new(source: Source, cookie: Option<Cookie>, now: Instant) -> Self {
        Self {
            source,
            since: now,
            link: match source.connection {
                Some(_) => Link::Open,
                None => Link::Frames,
            },
            cookie,
            validated_host: (source.standing > Standing::Unvalidated).then(|| source.host()),
        }
    }

    pub(crate) fn source(&self) -> Source {
        self.source
    }

    pub(crate) fn cookie(&self) -> Option<Cookie> {
        self.cookie
    }

    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.link == Link::Open
    }

    /// Returns whether the owner is connected and known for so long that no newcomer takes its slot.
    pub(crate) fn is_established(&self, now: Instant) -> bool {
        self.is_connected() && now.saturating_duration_since(self.since) >= ESTABLISHED_AFTER
    }

    /// Notes that the owner's connection has ended: the owner `closed` it, or it was lost.
    pub(crate) fn on_disconnected(&mut self, closed: bool) {
        self.link = if closed { Link::Closed } else { Link::Lost };
    }

    /// Notes the stream of the owner's frames.
    pub(crate) fn set_stream_of(&mut self, source: Source) {
        self.source.stream = source.stream;
    }

    /// Gives the name to another source. Cookie and host of the last owner with a connection stay with a name that an
    /// unvalidated source takes over, so that it can come back at once.
    pub(crate) fn pass_to(&mut self, source: Source, cookie: Option<Cookie>, now: Instant) {
        let validated_host = self.validated_host;
        *self = Self::new(source, cookie.or(self.cookie), now);
        self.validated_host = self.validated_host.or(validated_host);
    }

    /// Returns whether a source may send as this camera now, with this evidence that the camera is its own.
    pub(crate) fn is_open_to(
        &self,
        source: Source,
        evidence: Evidence,
        rhythm: &FrameRhythm,
        now: Instant,
    ) -> bool {
        let reserved = self.reserved_against(source, evidence, rhythm);
        match rhythm.silence(now) {
            Some(silence) => reserved.is_some_and(|reserved| silence >= reserved),
            // Only a connection reserves a name under which no frame ever came.
            None => !self.is_connected() || reserved.is_some_and(|reserved| reserved.is_zero()),
        }
    }

    /// Returns how long the owner must have been silent before a source may go on as this camera; `None` if no silence is
    /// long enough.
    fn reserved_against(
        &self,
        source: Source,
        evidence: Evidence,
        rhythm: &FrameRhythm,
    ) -> Option<Duration> {
        let same_host = self.source.host() == source.host();
        let weaker = source.standing < self.source.standing;
        let stronger = source.standing > self.source.standing;
        // Among single frames silence is the only sign that a sender has left. A slow rhythm may be forged, so it reserves nothing
        // against a source that has proved more; and a sender with a connection has a cookie with which it comes back.
        let timeout = match self.link {
            Link::Frames if !stronger => rhythm.timeout(),
            _ => CAMERA_TIMEOUT,
        };
        let unvalidated = self.source.standing == Standing::Unvalidated;
        match () {
            () if evidence == Evidence::Owner || self.source.is_same(source) => {
                Some(Duration::ZERO)
            }
            () if self.is_connected() => None,
            () if stronger && self.validated_host == Some(source.host()) => Some(Duration::ZERO),
            () if unvalidated && evidence == Evidence::OwnerBefore => Some(Duration::ZERO),
            () if same_host && self.link == Link::Closed => Some(Duration::ZERO),
            () if weaker || !same_host => Some(timeout),
            () if self.link != Link::Frames => Some(Duration::ZERO),
            () => Some(RESTART.max(3 * rhythm.interval()).min(timeout)),
        }
    }
}
