//! The walk over the markers, which can stop where the bytes end and go on when more have come.

use std::ops::Range;

use memchr::memchr;

use super::SOI;

/// Bytes of a marker and its length.
const HEAD: u64 = 4;

/// One step through the marker structure.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A segment.
    Segment {
        marker: u8,
        /// Offset of the marker.
        at: usize,
        /// Range of the body without the length.
        body: Range<usize>,
    },
    /// EOI, with the offset behind it.
    End(usize),
    /// The end of the bytes inside the structure.
    Cut,
    /// A second SOI, with its offset: the picture before it was cut.
    SecondStart(usize),
    /// A length below 2, with its offset.
    BadLength(usize),
}

/// Position in a picture. Entropy-coded data is skipped in the same way as junk, since both lie between markers.
#[derive(Debug)]
pub(super) struct Walk {
    at: usize,
    visited: u64,
}

impl Walk {
    pub(super) fn behind_soi() -> Self {
        Self {
            at: SOI.len(),
            visited: 0,
        }
    }

    /// Returns the offset up to which the bytes are known.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Returns the count of bytes that all steps have looked at.
    pub(super) fn visited(&self) -> u64 {
        self.visited
    }

    /// Takes the next step. `bytes` are the picture's bytes so far, from SOI on: those of the last step, or more.
    pub(super) fn step(&mut self, bytes: &[u8]) -> Step {
        let Some((marker, behind)) = self.next_marker(bytes) else {
            return Step::Cut;
        };
        let at = behind - 2;
        match marker {
            0xD8 => return Step::SecondStart(at),
            0xD9 => return Step::End(behind),
            _ => self.visited += HEAD,
        }
        let Some(&[hi, lo]) = bytes.get(behind..behind + 2) else {
            return Step::Cut;
        };
        let length = usize::from(u16::from_be_bytes([hi, lo]));
        if length < 2 {
            return Step::BadLength(behind);
        }
        let end = behind + length;
        if end > bytes.len() {
            return Step::Cut;
        }
        self.advance(end);
        Step::Segment {
            marker,
            at,
            body: behind + 2..end,
        }
    }

    /// Advances to the next marker that has a meaning, and returns its code and the offset behind it.
    ///
    /// The codes 02 to BF are reserved and have no length: a decoder that finds one where it expects a restart marker
    /// skips these two bytes alone, so a length read there would hide what follows from this walk.
    fn next_marker(&mut self, bytes: &[u8]) -> Option<(u8, usize)> {
        loop {
            let rest = bytes.get(self.at..)?;
            let Some(found) = memchr(0xFF, rest) else {
                self.advance(bytes.len());
                return None;
            };
            let fill = rest[found..].iter().take_while(|&&b| b == 0xFF).count();
            // The last FF may be the first byte of a marker.
            self.advance(self.at + found + fill - 1);
            match *bytes.get(self.at + 1)? {
                0x00..=0xBF | 0xD0..=0xD7 => self.advance(self.at + 2),
                code => return Some((code, self.at + 2)),
            }
        }
    }

    fn advance(&mut self, to: usize) {
        self.visited += (to - self.at) as u64;
        self.at = to;
    }
}
