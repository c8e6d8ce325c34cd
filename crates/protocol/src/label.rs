//! The label: stream, camera, number and capture time of a frame, written into the JPEG itself.
//!
//! One APP11 segment right behind SOI, so a labelled frame is an ordinary JPEG to other programs and there is no second
//! header anywhere. All of it but the version is ASCII or UTF-8 text: no byte of a label is `FF`, so the many splitters
//! that cut MJPEG at the bytes `FF D8` and `FF D9` without reading lengths never cut inside one.
//!
//! ```text
//! FF D8 | FF EB | length | "sightline" 00 | 01 | kind | body
//!                                           |    'F' stream(16 hex) seq(16 hex) captured_us(16 hex) camera(UTF-8)
//!                                           |    'H' 'P' 'A' 'U' 'R': control messages, see `control`
//!                                           version
//! ```

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::jpeg::SOI;

/// APP11, the segment that carries a label.
const APP11: [u8; 2] = [0xFF, 0xEB];
const IDENTIFIER: &[u8] = b"sightline\0";
const VERSION: u8 = 1;
/// Identifier, version, kind.
const HEAD: usize = IDENTIFIER.len() + 2;
/// The kind of a frame's label.
pub(crate) const FRAME: u8 = b'F';
/// Digits of one number.
const HEX: usize = 16;

/// Random number of one run of a sender, which tells a restart from a reordered frame.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct StreamId(pub u64);

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamId({:016x})", self.0)
    }
}

/// A camera's name: 1 to 64 bytes of letters, digits, space, `-`, `_` and `.`, not starting or ending with a space.
///
/// It is written into logs, URLs and pictures, so characters that could break out of those are not allowed. A
/// clone shares the text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CameraName(Arc<str>);

/// Why a text is not a [`CameraName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a camera's name is 1 to 64 bytes of letters, digits, spaces, '-', '_' and '.'; '{0}' is not"
)]
pub struct BadName(String);

impl CameraName {
    /// Length of the longest name in bytes.
    pub const MAX: usize = 64;

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CameraName {
    type Err = BadName;

    fn from_str(s: &str) -> Result<Self, BadName> {
        let allowed = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_' | '.');
        // In a URL's path, one dot or two lead to another directory.
        let path = matches!(s, "." | "..");
        let length = (1..=Self::MAX).contains(&s.len());
        let good = length && !path && s.trim() == s && s.chars().all(allowed);
        good.then(|| Self(s.into()))
            .ok_or_else(|| BadName(s.escape_debug().take(Self::MAX).collect()))
    }
}

impl PartialEq<&str> for CameraName {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl fmt::Display for CameraName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A sender's metadata of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Run of the sender.
    pub stream: StreamId,
    /// Number of the frame, counted at capture: a gap is a skipped or lost frame.
    pub seq: u64,
    /// Capture time in microseconds since the Unix epoch, by the sender's clock.
    pub captured_us: u64,
    /// The camera's name.
    pub camera: CameraName,
}

/// Why a segment that starts like ours is not a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadLabel {
    /// A later version of the label.
    #[error("the label has version {0}; this program knows {VERSION}")]
    Version(u8),
    /// Fields that are too short, not hexadecimal, or not a valid name.
    #[error("the label's fields cannot be read")]
    Fields,
}

impl Label {
    /// Reads the label of a JPEG; returns `None` if it has none of ours.
    ///
    /// # Errors
    /// [`BadLabel`] if the segment is ours and cannot be read; the picture may still be good.
    pub fn read(jpeg: &[u8]) -> Result<Option<Self>, BadLabel> {
        match segment(jpeg)? {
            Some((FRAME, body)) => Self::parse(body).map(Some).ok_or(BadLabel::Fields),
            _ => Ok(None),
        }
    }

    /// Returns the JPEG with this label right behind SOI, in place of one that is already there.
    ///
    /// Bytes that do not start with SOI are returned as they are.
    pub fn write(&self, jpeg: &[u8]) -> Vec<u8> {
        let Some(picture) = jpeg.strip_prefix(&SOI) else {
            return jpeg.to_vec();
        };
        let old = raw_segment(jpeg).map_or(0, |body| APP11.len() + 2 + body.len());
        let body = format!(
            "{:016x}{:016x}{:016x}{}",
            self.stream.0, self.seq, self.captured_us, self.camera
        );
        let mut out = Vec::with_capacity(jpeg.len() + HEAD + body.len() + 6);
        out.extend_from_slice(&SOI);
        push_segment(&mut out, FRAME, body.as_bytes());
        out.extend_from_slice(&picture[old..]);
        out
    }

    fn parse(body: &[u8]) -> Option<Self> {
        let mut numbers = body.get(..3 * HEX)?.chunks_exact(HEX).map(hex);
        Some(Self {
            stream: StreamId(numbers.next()??),
            seq: numbers.next()??,
            captured_us: numbers.next()??,
            camera: std::str::from_utf8(&body[3 * HEX..]).ok()?.parse().ok()?,
        })
    }
}

/// Parses a number of exactly 16 lower-case hexadecimal digits, the form in which it is written.
pub(crate) fn hex(digits: &[u8]) -> Option<u64> {
    let plain = digits.len() == HEX
        && digits
            .iter()
            .all(|d| matches!(d, b'0'..=b'9' | b'a'..=b'f'));
    plain.then(|| {
        std::str::from_utf8(digits)
            .ok()
            .and_then(|s| u64::from_str_radix(s, 16).ok())
    })?
}

/// Returns kind and body of our segment if the JPEG starts with one.
pub(crate) fn segment(jpeg: &[u8]) -> Result<Option<(u8, &[u8])>, BadLabel> {
    let Some(raw) = raw_segment(jpeg) else {
        return Ok(None);
    };
    match raw[IDENTIFIER.len()..] {
        [VERSION, kind, ..] => Ok(Some((kind, &raw[HEAD..]))),
        [version, ..] if version != VERSION => Err(BadLabel::Version(version)),
        _ => Err(BadLabel::Fields),
    }
}

/// Appends a segment of ours.
///
/// # Panics
/// Never for bodies below 65 000 bytes, and every body here is below 1 000.
pub(crate) fn push_segment(out: &mut Vec<u8>, kind: u8, body: &[u8]) {
    let length = u16::try_from(2 + HEAD + body.len()).expect("bodies here are below 1 000 bytes");
    out.extend_from_slice(&APP11);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(IDENTIFIER);
    out.extend_from_slice(&[VERSION, kind]);
    out.extend_from_slice(body);
}

/// Returns the content of our segment, identifier included, if the JPEG starts with one.
fn raw_segment(jpeg: &[u8]) -> Option<&[u8]> {
    let rest = jpeg.strip_prefix(&SOI)?.strip_prefix(&APP11)?;
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let body = rest.get(..usize::from(u16::from_be_bytes(*length)).checked_sub(2)?)?;
    body.starts_with(IDENTIFIER).then_some(body)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use testkit::jpeg::Sketch;

    use super::*;

    fn label(seq: u64) -> Label {
        Label {
            stream: StreamId(0x1234_5678_9abc_def0),
            seq,
            captured_us: 1_763_820_000_123_456,
            camera: "yard".parse().unwrap(),
        }
    }

    #[test]
    fn a_jpeg_without_a_label_has_none() {
        assert_eq!(Label::read(&Sketch::new(8, 8).bytes()), Ok(None));
        let other = Sketch::new(8, 8)
            .segment(0xEB, b"JP\0\x01 somebody else's APP11")
            .bytes();
        assert_eq!(Label::read(&other), Ok(None));
    }

    #[test]
    fn the_label_stands_right_behind_soi_and_the_picture_is_untouched() {
        let plain = Sketch::new(300, 200).bytes();
        let labelled = label(7).write(&plain);
        assert_eq!(labelled[..4], [0xFF, 0xD8, 0xFF, 0xEB]);
        assert!(labelled.ends_with(&plain[2..]));
        assert_eq!(Label::read(&labelled), Ok(Some(label(7))));
    }

    #[test]
    fn a_second_label_replaces_the_first() {
        let plain = Sketch::new(300, 200).bytes();
        let twice = label(8).write(&label(7).write(&plain));
        assert_eq!(twice, label(8).write(&plain));
    }

    #[test]
    fn a_later_version_and_torn_fields_are_told_apart() {
        let mut jpeg = label(7).write(&Sketch::new(8, 8).bytes());
        let version = 2 + 2 + 2 + IDENTIFIER.len();
        jpeg[version] = 9;
        assert_eq!(Label::read(&jpeg), Err(BadLabel::Version(9)));
        jpeg[version] = VERSION;
        jpeg[version + 2] = b'x';
        assert_eq!(Label::read(&jpeg), Err(BadLabel::Fields));
    }

    #[test]
    fn names_that_could_break_out_of_a_log_or_a_url_are_refused() {
        for bad in [
            "",
            " yard",
            ".",
            "..",
            "a/b",
            "a\nb",
            "a\u{202e}b",
            "<b>",
            &"x".repeat(65),
        ] {
            assert!(bad.parse::<CameraName>().is_err(), "{bad:?}");
        }
        for good in ["yard", "raspberrypi.local", "Küche 2", "東門"] {
            assert!(good.parse::<CameraName>().is_ok(), "{good:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            stream in any::<u64>(), seq in any::<u64>(), captured_us in any::<u64>(), name in "[a-z0-9_äß][a-z0-9._äß-]{0,29}",
        ) {
            let label = Label { stream: StreamId(stream), seq, captured_us, camera: name.parse().unwrap() };
            let jpeg = label.write(&Sketch::new(8, 8).bytes());
            prop_assert_eq!(Label::read(&jpeg).unwrap(), Some(label));
            let end = 2 + 4 + HEAD + 48 + name.len();
            prop_assert!(!jpeg[6..end].contains(&0xFF), "a label holds no FF");
        }

        #[test]
        fn any_bytes_give_a_label_none_or_a_reason(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut jpeg = vec![0xFF, 0xD8, 0xFF, 0xEB, 0, 60];
            jpeg.extend_from_slice(IDENTIFIER);
            jpeg.extend_from_slice(&bytes);
            let _ = Label::read(&jpeg);
            let _ = Label::read(&bytes);
        }
    }
}
