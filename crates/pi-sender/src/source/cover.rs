//! Hides the first of several video tracks of a file, where that is a cover picture: OpenCV reads the first one only.
//!
//! The file stays as it is. FFmpeg is given a name that puts one together of the file's bytes and a few others, which make
//! the track one that readers skip.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::os::fd::AsRawFd as _;
use std::path::Path;

/// Largest header that is looked at: a film of two hours has 4 MB of tables.
const MAX_HEADER: u64 = 64 << 20;
/// A track type that no reader shows (Matroska's "control").
const CONTROL_TRACK: u8 = 0x20;

/// A file whose first video track is hidden.
#[derive(Debug)]
pub(super) struct Uncovered {
    file: File,
    replacement: File,
    patch: Patch,
    length: u64,
}

/// Bytes of a file that are to be others.
#[derive(Debug, PartialEq, Eq)]
struct Patch {
    at: u64,
    bytes: Vec<u8>,
}

impl Uncovered {
    /// Hides the first video track; `None` if there is no other, or the format is neither Matroska nor MP4.
    pub(super) fn of(path: &Path) -> io::Result<Option<Self>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        let Some((offset, header)) = header(&mut file, length)? else {
            return Ok(None);
        };
        let patch = match header.get(4..8) {
            Some(b"moov") => in_mp4(&header),
            _ => in_matroska(&header),
        };
        let Some(Patch { at, bytes }) = patch else {
            return Ok(None);
        };
        let mut replacement = tempfile::tempfile()?;
        replacement.write_all(&bytes)?;
        let patch = Patch {
            at: offset + at,
            bytes,
        };
        Ok(Some(Self {
            file,
            replacement,
            patch,
            length,
        }))
    }

    /// Returns FFmpeg's name of it, which is good for as long as this lives.
    pub(super) fn name(&self) -> OsString {
        let (file, replacement) = (self.file.as_raw_fd(), self.replacement.as_raw_fd());
        let behind = self.patch.at + self.patch.bytes.len() as u64;
        format!(
            "concat:subfile,,start,0,end,{},,:/proc/self/fd/{file}|/proc/self/fd/{replacement}|subfile,,start,{behind},end,{},,:/proc/self/fd/{file}",
            self.patch.at, self.length
        )
        .into()
    }
}

/// Returns the part of a file that lists its tracks, and where it stands: an MP4's `moov`, or a Matroska's beginning.
fn header(file: &mut File, length: u64) -> io::Result<Option<(u64, Vec<u8>)>> {
    let mut start = [0; 16];
    let mut at = 0;
    while at + 16 <= length {
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut start)?;
        if at == 0 && start.starts_with(&[0x1A, 0x45, 0xDF, 0xA3]) {
            return bytes(file, 0, length.min(MAX_HEADER)).map(Some);
        }
        let size = match be(&start[..4]) {
            1 => be(&start[8..]),
            size => size,
        };
        if &start[4..8] == b"moov" {
            return match size <= MAX_HEADER {
                true => bytes(file, at, size).map(Some),
                false => Ok(None),
            };
        }
        if size < 8 {
            break;
        }
        at = at.saturating_add(size);
    }
    Ok(None)
}

fn bytes(file: &mut File, at: u64, length: u64) -> io::Result<(u64, Vec<u8>)> {
    file.seek(SeekFrom::Start(at))?;
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes)?;
    Ok((at, bytes))
}

fn be(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// Makes the first video track of a `moov` a box of free space.
fn in_mp4(moov: &[u8]) -> Option<Patch> {
    let tracks = boxes(moov, 8..moov.len(), b"trak")
        .into_iter()
        .filter(|track| {
            let media = boxes(moov, track.clone(), b"mdia");
            let handlers = media
                .into_iter()
                .flat_map(|media| boxes(moov, media, b"hdlr"));
            handlers
                .into_iter()
                .any(|handler| moov[handler].get(8..12) == Some(b"vide"))
        });
    let tracks: Vec<Range<usize>> = tracks.collect();
    let [first, _, ..] = tracks.as_slice() else {
        return None;
    };
    // The type stands right in front of the content.
    Some(Patch {
        at: first.start as u64 - 4,
        bytes: b"free".to_vec(),
    })
}

/// Returns the contents of the boxes of a type.
fn boxes(bytes: &[u8], within: Range<usize>, wanted: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = within.start;
    while let Some(head) = bytes.get(at..at + 8).filter(|_| at + 8 <= within.end) {
        let size = usize::try_from(be(&head[..4])).unwrap_or(usize::MAX);
        let end = at.saturating_add(size);
        if size < 8 || end > within.end {
            break;
        }
        if &head[4..] == wanted {
            found.push(at + 8..end);
        }
        at = end;
    }
    found
}

/// Makes the first video track of a Matroska file one of a type that is not shown.
fn in_matroska(file: &[u8]) -> Option<Patch> {
    let whole = 0..file.len();
    let segment = elements(file, whole, 0x1853_8067).into_iter().next()?;
    let tracks = elements(file, segment, 0x1654_AE6B).into_iter().next()?;
    let entries = elements(file, tracks, 0xAE).into_iter();
    let types = entries.flat_map(|entry| elements(file, entry, 0x83));
    let videos: Vec<Range<usize>> = types.filter(|value| file[value.clone()] == [1]).collect();
    let [first, _, ..] = videos.as_slice() else {
        return None;
    };
    Some(Patch {
        at: first.start as u64,
        bytes: vec![CONTROL_TRACK],
    })
}

/// Returns the contents of the elements with an id, as far as the bytes reach.
fn elements(bytes: &[u8], within: Range<usize>, wanted: u64) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = within.start;
    while at < within.end {
        let Some((id, size_at)) = number(bytes, at, true) else {
            break;
        };
        let Some((size, content)) = number(bytes, size_at, false) else {
            break;
        };
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let end = content.saturating_add(size).min(within.end);
        if id == wanted && content <= end {
            found.push(content..end);
        }
        at = end.max(content);
    }
    found
}

/// Reads a number of Matroska's, with its length's bits or without, and returns the offset behind it. A size that is
/// unknown, all bits set, is huge.
fn number(bytes: &[u8], at: usize, with_marker: bool) -> Option<(u64, usize)> {
    let first = *bytes.get(at)?;
    let length = first.leading_zeros() as usize + 1;
    let all = bytes.get(at..at + length).filter(|_| length <= 8)?;
    let value = be(all);
    let mask = (1_u64 << (7 * length)) - 1;
    let value = match with_marker {
        true => value,
        false if value & mask == mask => u64::MAX,
        false => value & mask,
    };
    Some((value, at + length))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn element(id: &[u8], content: &[u8]) -> Vec<u8> {
        let size = (content.len() as u64 | 1 << 56).to_be_bytes();
        [id, &size, content].concat()
    }

    fn matroska(types: &[u8]) -> Vec<u8> {
        let entries = types
            .iter()
            .flat_map(|kind| element(&[0xAE], &[0xD7, 0x81, 1, 0x83, 0x81, *kind]));
        let tracks = element(&[0x16, 0x54, 0xAE, 0x6B], &entries.collect::<Vec<u8>>());
        // A segment of unknown size, as recordings have.
        let head = element(&[0x1A, 0x45, 0xDF, 0xA3], b"");
        [&head[..], &[0x18, 0x53, 0x80, 0x67, 0xFF], &tracks].concat()
    }

    fn boxed(name: &[u8], content: &[u8]) -> Vec<u8> {
        let size = (content.len() as u32 + 8).to_be_bytes();
        [&size, name, content].concat()
    }

    fn moov(handlers: &[&[u8]]) -> Vec<u8> {
        let track = |handler: &&[u8]| {
            let handler = boxed(b"hdlr", &[&[0; 8], *handler, &[0; 13]].concat());
            boxed(b"trak", &boxed(b"mdia", &handler))
        };
        let tracks: Vec<u8> = handlers.iter().flat_map(track).collect();
        boxed(b"moov", &[boxed(b"mvhd", &[0; 4]), tracks].concat())
    }

    fn patched(mut bytes: Vec<u8>, patch: Option<Patch>) -> Option<Vec<u8>> {
        let Patch { at, bytes: with } = patch?;
        let at = at as usize;
        bytes[at..at + with.len()].copy_from_slice(&with);
        Some(bytes)
    }

    #[test]
    fn the_first_of_two_video_tracks_is_hidden() {
        let file = matroska(&[2, 1, 1]);
        assert_eq!(
            patched(file.clone(), in_matroska(&file)),
            Some(matroska(&[2, CONTROL_TRACK, 1]))
        );
        let file = moov(&[b"soun", b"vide", b"vide"]);
        let hidden = patched(file.clone(), in_mp4(&file)).unwrap();
        assert_eq!(boxes(&hidden, 8..hidden.len(), b"trak").len(), 2);
        assert_eq!(boxes(&hidden, 8..hidden.len(), b"free").len(), 1);
    }

    #[test]
    fn an_only_video_track_stays() {
        assert_eq!(in_matroska(&matroska(&[1, 2])), None);
        assert_eq!(in_mp4(&moov(&[b"vide", b"soun"])), None);
    }

    proptest! {
        #[test]
        fn any_header_gives_an_answer(mut bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0usize..120, value in any::<u8>()) {
            let _ = (in_matroska(&bytes), in_mp4(&bytes));
            for file in [matroska(&[1, 1]), moov(&[b"vide", b"vide"])] {
                bytes = file;
                let at = at % bytes.len();
                bytes[at] = value;
                let _ = (in_matroska(&bytes), in_mp4(&bytes));
            }
        }
    }
}
