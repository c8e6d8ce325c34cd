//! Who may send as a camera.
//!
//! The name in a label is public and proves nothing, so a camera's name is owned by the source that came first, until that
//! falls silent, and by a sender with a connection for as long as that is open. A source never takes the name from one that
//! has proved more. What proves that a source is the owner of before is a cookie that only the owner was sent.

use std::time::{Duration, Instant};

use protocol::peer::{Cookie, Standing};

use crate::limits::ESTABLISHED_AFTER;
use crate::rhythm::FrameRhythm;
use crate::source::Source;

/// The same host goes on from a new port or stream after this silence of the old one, or three frame intervals.
const RESTART: Duration = Duration::from_millis(300);

/// The owner of a camera's name.
#[derive(Debug)]
pub(crate) struct Ownership {
    source: Source,
    /// Since when this source is the owner.
    since: Instant,
    /// Whether the owner has a connection that is open.
    connected: bool,
    /// What the last owner with a connection was sent as its proof.
    cookie: Option<Cookie>,
}

impl Ownership {
    pub(crate) fn new(source: Source, cookie: Option<Cookie>, now: Instant) -> Self {
        Self {
            source,
            since: now,
            connected: source.connection.is_some(),
            cookie,
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
        self.connected
    }

    /// Returns whether the owner is connected and known for so long that no newcomer takes its slot.
    pub(crate) fn is_established(&self, now: Instant) -> bool {
        self.connected && now.saturating_duration_since(self.since) >= ESTABLISHED_AFTER
    }

    /// Notes that the owner's connection has ended.
    pub(crate) fn on_disconnected(&mut self) {
        self.connected = false;
    }

    /// Notes the stream of the owner's frames.
    pub(crate) fn set_stream_of(&mut self, source: Source) {
        self.source.stream = source.stream;
    }

    /// Gives the name to another source. The cookie stays with a name that an unvalidated source takes over, so that the
    /// sender that was sent it can come back at once.
    pub(crate) fn pass_to(&mut self, source: Source, cookie: Option<Cookie>, now: Instant) {
        *self = Self::new(source, cookie.or(self.cookie), now);
    }

    /// Returns whether a source may send as this camera now; `proved` states whether it has returned the owner's cookie.
    pub(crate) fn is_open_to(
        &self,
        source: Source,
        proved: bool,
        rhythm: &FrameRhythm,
        now: Instant,
    ) -> bool {
        let reserved = self.reserved_against(source, proved, rhythm);
        match rhythm.silence(now) {
            Some(silence) => reserved.is_some_and(|reserved| silence >= reserved),
            // Only a connection reserves a name under which no frame ever came.
            None => !self.connected || reserved.is_some_and(|reserved| reserved.is_zero()),
        }
    }

    /// Returns how long the owner must have been silent before a source may go on as this camera; `None` if no silence is
    /// long enough.
    fn reserved_against(
        &self,
        source: Source,
        proved: bool,
        rhythm: &FrameRhythm,
    ) -> Option<Duration> {
        let same_host = self.source.host() == source.host();
        let weaker = source.standing < self.source.standing;
        match () {
            () if proved || self.source.is_same(source) => Some(Duration::ZERO),
            () if self.connected => None,
            () if weaker || !same_host => Some(rhythm.timeout()),
            () if self.source.standing > Standing::Unvalidated => Some(Duration::ZERO),
            () => Some(RESTART.max(3 * rhythm.interval()).min(rhythm.timeout())),
        }
    }
}
