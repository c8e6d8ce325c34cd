//! What other software sends to the relay's port in place of JPEGs: reported once for each source, and to viewers that wait.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use protocol::CAMERA_TIMEOUT;
use protocol::datagram::Foreign;

use crate::Relay;
use crate::action::Action;
use crate::limits::FOREIGN_SOURCES;
use crate::note::Note;

/// The sources that send something else, and what came last.
#[derive(Debug, Default)]
pub(crate) struct ForeignInput {
    /// The oldest first.
    sources: VecDeque<ForeignSource>,
    last: Option<(Foreign, Instant)>,
}

#[derive(Debug)]
struct ForeignSource {
    address: SocketAddr,
    /// What it sends; whatever else a piece of that looks like, once it is reported.
    foreign: Foreign,
    is_reported: bool,
}

/// What is known of a datagram's source.
#[derive(Debug, PartialEq, Eq)]
enum Known {
    /// Nothing that is certain.
    Nothing,
    /// What it sends, for the first time.
    Now(Foreign),
    /// What it sends, since a datagram before.
    Before(Foreign),
}

impl ForeignInput {
    /// Notes what a source's datagram looks like.
    fn note_source(&mut self, address: SocketAddr, foreign: Foreign) -> Known {
        let mut sources = self.sources.iter_mut();
        let again = match sources.find(|source| source.address == address) {
            Some(known) if known.is_reported => return Known::Before(known.foreign),
            Some(known) => std::mem::replace(&mut known.foreign, foreign) == foreign,
            None => false,
        };
        let is_reported = again || foreign.is_certain();
        self.sources.retain(|source| source.address != address);
        if self.sources.len() >= FOREIGN_SOURCES {
            self.sources.pop_front();
        }
        self.sources.push_back(ForeignSource {
            address,
            foreign,
            is_reported,
        });
        match is_reported {
            true => Known::Now(foreign),
            false => Known::Nothing,
        }
    }

    /// Notes what came. Returns whether that is new to viewers. What came first stays until it comes no more, so that sources of
    /// several kinds do not make a message of each datagram.
    fn note(&mut self, foreign: Foreign, now: Instant) -> bool {
        let known = self.last.map(|(known, _)| known);
        if known.is_none_or(|known| known == foreign) {
            self.last = Some((foreign, now));
        }
        known.is_none()
    }

    /// Returns until when what came last counts; `None` if nothing did.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.last.map(|(_, at)| at + CAMERA_TIMEOUT)
    }
}

impl Relay {
    /// Takes a datagram that is neither a frame nor a message.
    pub(crate) fn on_foreign(&mut self, from: SocketAddr, datagram: &[u8], now: Instant) {
        let Some(foreign) = Foreign::of(datagram) else {
            return;
        };
        let known = self.foreign.note_source(from, foreign);
        let (Known::Now(foreign) | Known::Before(foreign)) = known else {
            return;
        };
        if known == Known::Now(foreign) {
            self.log(Note::Foreign(foreign, from));
        }
        if self.foreign.note(foreign, now) {
            let action = Action::PublishForeign(Some(foreign));
            self.actions.push_back(action);
        }
    }

    /// Forgets what came last when nothing of that kind comes any more.
    pub(crate) fn expire_foreign(&mut self, now: Instant) {
        if self.foreign.deadline().is_some_and(|until| until <= now) {
            self.foreign.last = None;
            self.actions.push_back(Action::PublishForeign(None));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    #[test]
    fn a_source_is_reported_once_and_by_what_is_certain() {
        let mut input = ForeignInput::default();
        let mut note = |port, foreign| input.note_source(address(port), foreign);
        assert_eq!(note(1, Foreign::Rtp), Known::Nothing);
        let pieces = Foreign::JpegPiece;
        assert_eq!(note(1, pieces), Known::Now(pieces));
        assert_eq!(note(1, Foreign::Rtp), Known::Before(pieces));
        assert_eq!(note(2, Foreign::Rtp), Known::Nothing);
        assert_eq!(note(2, Foreign::Rtp), Known::Now(Foreign::Rtp));
        assert_eq!(note(3, pieces), Known::Now(pieces));
    }

    #[test]
    fn no_more_sources_are_known_than_the_bound() {
        let mut input = ForeignInput::default();
        for port in 1..1000 {
            input.note_source(address(port), Foreign::OtherPicture);
        }
        assert_eq!(input.sources.len(), FOREIGN_SOURCES);
    }
}
