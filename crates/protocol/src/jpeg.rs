//! The header scan that stands between the network and every decoder.
//!
//! `imdecode` takes a picture that was cut at a tenth, and a 44 kB file that claims 65500 x 65500 pixels. So the marker
//! structure is walked first, without decoding anything. The walk skips what libjpeg skips (fill bytes, stuffed zeros,
//! restart markers, junk between segments) and takes the frame header that libjpeg takes, so that the size checked here
//! is the size the decoder allocates.

use std::ops::Range;

use memchr::memchr;

use crate::geometry::Size;

/// Start of image, the first two bytes of every JPEG.
pub const SOI: [u8; 2] = [0xFF, 0xD8];
/// End of image, the last two bytes of every whole JPEG.
pub const EOI: [u8; 2] = [0xFF, 0xD9];

/// Bounds of a picture that may go to a decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest width in pixels.
    pub width: u16,
    /// Largest height in pixels.
    pub height: u16,
    /// Largest number of scans. A progressive picture has about 10; each further one of a few bytes costs the decoder a
    /// pass over all its blocks, so thousands of them would keep it busy for minutes.
    pub scans: u16,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            width: 4096,
            height: 4096,
            scans: 100,
        }
    }
}

/// Why bytes may not go to a decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Defect {
    /// The first three bytes are not `FF D8 FF`.
    #[error("it does not start like a JPEG (FF D8 FF)")]
    NotJpeg,
    /// The last bytes, zero padding aside, are not `FF D9`.
    #[error("its end is missing (no FF D9): it was cut on its way")]
    NoEnd,
    /// The marker structure breaks before the frame header.
    #[error("it has no frame header that can be read")]
    NoFrameHeader,
    /// A side is 0 or above the limit.
    #[error("its frame header declares a size of 0 or above the limit")]
    Dimensions,
    /// A header without picture data.
    #[error("it has headers and no picture data")]
    NoScan,
    /// More scans than [`Limits::scans`].
    #[error("it has more scans than any camera writes")]
    TooManyScans,
}

/// Checks that `bytes` are one whole JPEG of a sane size, and returns the size.
///
/// # Errors
/// The first [`Defect`] found, in the order in which the enum lists them.
pub fn scan(bytes: &[u8], limits: Limits) -> Result<Size, Defect> {
    if !(bytes.starts_with(&SOI) && bytes.get(2) == Some(&0xFF)) {
        return Err(Defect::NotJpeg);
    }
    let padding = bytes.iter().rev().take_while(|&&b| b == 0).count();
    if !bytes[..bytes.len() - padding].ends_with(&EOI) {
        return Err(Defect::NoEnd);
    }
    let mut walk = Walk::behind_soi(bytes);
    let header = frame_header(&mut walk)?;
    let sane = |side: u16, limit: u16| (1..=limit).contains(&side);
    if !(sane(header.width, limits.width) && sane(header.height, limits.height)) {
        return Err(Defect::Dimensions);
    }
    let scans = walk
        .filter(|piece| matches!(piece, Piece::Segment(SOS, _)))
        .take(usize::from(limits.scans) + 1)
        .count();
    match scans {
        0 => Err(Defect::NoScan),
        n if n > usize::from(limits.scans) => Err(Defect::TooManyScans),
        _ => Ok(header),
    }
}

/// Returns the end of the first JPEG of a byte stream: the offset behind its EOI, or `None` if that has not come yet.
///
/// `stream` starts at a SOI. Thumbnails inside segments do not end it, since segments are skipped by their length.
///
/// # Errors
/// [`Defect::NotJpeg`] if the stream does not start with SOI, [`Defect::NoFrameHeader`] if the marker structure is
/// broken.
pub fn stream_end(stream: &[u8]) -> Result<Option<usize>, Defect> {
    if !stream.starts_with(&SOI) {
        return Err(Defect::NotJpeg);
    }
    match Walk::behind_soi(stream).find(|piece| !matches!(piece, Piece::Segment(..))) {
        Some(Piece::End(end)) => Ok(Some(end)),
        Some(Piece::Broken) => Err(Defect::NoFrameHeader),
        _ => Ok(None),
    }
}

const SOS: u8 = 0xDA;

/// Walks past the first frame header, and returns the size in it.
fn frame_header(walk: &mut Walk<'_>) -> Result<Size, Defect> {
    let bytes = walk.bytes;
    for piece in walk {
        match piece {
            Piece::Segment(marker, body) if is_frame_header(marker) => {
                // precision, height, width, components: ITU-T T.81 B.2.2
                let [_, h1, h0, w1, w0, ..] = bytes[body] else {
                    return Err(Defect::NoFrameHeader);
                };
                return Ok(Size {
                    width: u16::from_be_bytes([w1, w0]),
                    height: u16::from_be_bytes([h1, h0]),
                });
            }
            Piece::Segment(SOS, _) => return Err(Defect::NoFrameHeader),
            Piece::Segment(..) => {}
            Piece::End(_) | Piece::Cut | Piece::Broken => return Err(Defect::NoFrameHeader),
        }
    }
    Err(Defect::NoFrameHeader)
}

/// Returns whether a marker is SOF0 to SOF15; C4 (DHT), C8 (JPG) and CC (DAC) lie between them and are not.
fn is_frame_header(marker: u8) -> bool {
    matches!(marker, 0xC0..=0xCF) && !matches!(marker, 0xC4 | 0xC8 | 0xCC)
}

/// One step through the marker structure.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    /// A marker, and the range of its body without the length.
    Segment(u8, Range<usize>),
    /// EOI, with the offset behind it.
    End(usize),
    /// The end of the bytes inside the structure.
    Cut,
    /// A length below 2, or a second SOI.
    Broken,
}

/// Walks segments; entropy-coded data is skipped in the same way as junk, since both lie between markers.
struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    done: bool,
}

impl<'a> Walk<'a> {
    fn behind_soi(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: SOI.len(),
            done: false,
        }
    }

    /// Returns the code of the next marker that has a meaning, and the offset behind it.
    fn next_marker(&self) -> Option<(u8, usize)> {
        let mut at = self.at;
        loop {
            at += memchr(0xFF, self.bytes.get(at..)?)?;
            at += self.bytes[at..].iter().take_while(|&&b| b == 0xFF).count();
            match *self.bytes.get(at)? {
                0x00 | 0x01 | 0xD0..=0xD7 => at += 1,
                code => return Some((code, at + 1)),
            }
        }
    }

    fn step(&mut self) -> Piece {
        let Some((code, at)) = self.next_marker() else {
            return Piece::Cut;
        };
        match code {
            0xD8 => return Piece::Broken,
            0xD9 => return Piece::End(at),
            _ => {}
        }
        let Some(&[hi, lo]) = self.bytes.get(at..at + 2) else {
            return Piece::Cut;
        };
        let length = usize::from(u16::from_be_bytes([hi, lo]));
        if length < 2 {
            return Piece::Broken;
        }
        if at + length > self.bytes.len() {
            return Piece::Cut;
        }
        self.at = at + length;
        Piece::Segment(code, at + 2..at + length)
    }
}

impl Iterator for Walk<'_> {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        if self.done {
            return None;
        }
        let piece = self.step();
        self.done = !matches!(piece, Piece::Segment(..));
        Some(piece)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use testkit::jpeg::Sketch;

    use super::*;

    fn scan_default(bytes: &[u8]) -> Result<Size, Defect> {
        scan(bytes, Limits::default())
    }

    #[test]
    fn a_whole_jpeg_tells_its_size() {
        let jpeg = Sketch::new(300, 200).bytes();
        assert_eq!(
            scan_default(&jpeg),
            Ok(Size {
                width: 300,
                height: 200
            })
        );
    }

    #[test]
    fn the_frame_header_is_found_behind_any_legal_segments() {
        let thumbnail = Sketch::new(16, 16).bytes();
        let jpeg = Sketch::new(300, 200)
            .segment(0xE1, &thumbnail)
            .segment(0xFE, &[0xFF; 60_000])
            .fill_bytes(3)
            .bytes();
        assert_eq!(scan_default(&jpeg).unwrap().width, 300);
    }

    #[test]
    fn zero_padding_behind_the_end_is_allowed_and_other_bytes_are_not() {
        let mut jpeg = Sketch::new(300, 200).bytes();
        jpeg.extend([0; 512]);
        assert!(scan_default(&jpeg).is_ok());
        jpeg.push(1);
        assert_eq!(scan_default(&jpeg), Err(Defect::NoEnd));
    }

    #[test]
    fn each_defect_has_its_name() {
        let whole = Sketch::new(300, 200).bytes();
        let no_sof = [0xFF, 0xD8, 0xFF, 0xD9];
        assert_eq!(scan_default(b""), Err(Defect::NotJpeg));
        assert_eq!(scan_default(b"Request"), Err(Defect::NotJpeg));
        assert_eq!(scan_default(&whole[..whole.len() / 2]), Err(Defect::NoEnd));
        assert_eq!(scan_default(&no_sof), Err(Defect::NoFrameHeader));
        for (w, h) in [(0, 200), (300, 0), (4097, 200), (300, 4097), (65500, 65500)] {
            let jpeg = Sketch::new(w, h).bytes();
            assert_eq!(scan_default(&jpeg), Err(Defect::Dimensions), "{w}x{h}");
        }
        let jpeg = Sketch::new(8, 8).scans(0).bytes();
        assert_eq!(scan_default(&jpeg), Err(Defect::NoScan));
        let jpeg = Sketch::new(8, 8).scans(101).bytes();
        assert_eq!(scan_default(&jpeg), Err(Defect::TooManyScans));
        assert!(scan_default(&Sketch::new(8, 8).scans(100).bytes()).is_ok());
    }

    #[test]
    fn the_largest_allowed_picture_passes() {
        assert!(scan_default(&Sketch::new(4096, 4096).bytes()).is_ok());
    }

    #[test]
    fn a_segment_that_runs_past_the_end_hides_no_frame_header() {
        let jpeg = [0xFF, 0xD8, 0xFF, 0xE0, 0x40, 0x00, 0xFF, 0xD9];
        assert_eq!(scan_default(&jpeg), Err(Defect::NoFrameHeader));
    }

    #[test]
    fn a_stream_is_cut_at_each_end_and_not_at_a_thumbnails() {
        let one = Sketch::new(300, 200)
            .segment(0xE1, &Sketch::new(16, 16).bytes())
            .bytes();
        let mut stream = one.clone();
        stream.extend_from_slice(&one);
        assert_eq!(stream_end(&stream), Ok(Some(one.len())));
        assert_eq!(stream_end(&stream[..one.len() - 1]), Ok(None));
        assert_eq!(stream_end(b"x"), Err(Defect::NotJpeg));
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_verdict(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let _ = scan_default(&bytes);
            let _ = stream_end(&bytes);
        }

        #[test]
        fn a_damaged_jpeg_never_passes_with_another_size_than_its_header_declares(
            at in 0usize..400, value in any::<u8>(), w in 1u16..=4096, h in 1u16..=4096,
        ) {
            let mut jpeg = Sketch::new(w, h).bytes();
            let at = at % jpeg.len();
            jpeg[at] = value;
            if let Ok(header) = scan_default(&jpeg) {
                prop_assert!((1..=4096).contains(&header.width) && (1..=4096).contains(&header.height));
            }
        }
    }
}
