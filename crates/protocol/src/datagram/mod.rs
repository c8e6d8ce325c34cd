//! Classifies the datagrams of the `udp` transport: `Request`, a control message, a frame, or none of these and why.
//!
//! Total: any bytes give a result, and a decoder gets only what was classified as `Frame`.

mod foreign;

use bytes::Bytes;

pub use self::foreign::Foreign;
use crate::control::{BadControl, Control};
use crate::frame::Frame;
use crate::jpeg::{self, Defect, Limits, SOI};
use crate::label::{self, Label};

/// Datagram that a tutorial viewer sends once, so that the relay learns its address behind the router.
pub const REQUEST: &[u8] = b"Request";

/// Largest UDP payload over IPv4, and so the largest frame: 65 535 - 20 (IP) - 8 (UDP).
pub const MAX_DATAGRAM: usize = 65_507;

/// Size of the pieces into which `ffmpeg -f mjpeg udp://..` cuts its stream without `pkt_size=65507`.
const FFMPEG_PIECE: usize = 1472;

/// A datagram with a meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Datagram {
    /// The 7 bytes of a tutorial viewer.
    Request,
    /// A control message between programs of ours.
    Control(Control),
    /// A frame.
    Frame(Frame),
}

/// Why a datagram was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DropReason {
    /// Not a picture that may go to a decoder.
    #[error("{0}")]
    Jpeg(#[from] Defect),
    /// A piece of a stream that was cut at 1472 bytes.
    #[error("it is a 1472-byte piece of a picture")]
    Piece,
    /// A control message that cannot be read.
    #[error("{0}")]
    Control(#[from] BadControl),
}

impl DropReason {
    /// Returns the name under which it is counted.
    pub fn name(self) -> &'static str {
        match self {
            Self::Jpeg(Defect::NotJpeg) => "not_jpeg",
            Self::Jpeg(Defect::NoEnd) => "no_end",
            Self::Jpeg(Defect::NoFrameHeader) => "no_frame_header",
            Self::Jpeg(Defect::Structure) => "structure",
            Self::Jpeg(Defect::NoScan) => "no_scan",
            Self::Jpeg(Defect::Dimensions) => "dimensions",
            Self::Jpeg(Defect::Components) => "components",
            Self::Jpeg(Defect::Arithmetic) => "arithmetic",
            Self::Jpeg(Defect::Coding) => "coding",
            Self::Jpeg(Defect::Segments) => "segments",
            Self::Jpeg(Defect::DecodingCost) => "decoding_cost",
            Self::Piece => "piece",
            Self::Control(BadControl) => "control",
        }
    }
}

/// Returns whether [`classify`] and [`Foreign`] would recognise nothing, by a few bytes and the length alone: it does not start
/// like a JPEG, is not `Request`, and nothing that other software is known to send.
pub fn is_junk(bytes: &[u8]) -> bool {
    let starts_like_jpeg = bytes.starts_with(&SOI) && bytes.get(2) == Some(&0xFF);
    !(starts_like_jpeg
        || bytes == REQUEST
        || Foreign::of(bytes).is_some_and(|foreign| foreign != Foreign::Unknown))
}

/// Classifies one datagram, with the default [`Limits`].
///
/// # Errors
/// The [`DropReason`] if it is none of ours.
pub fn classify(bytes: impl Into<Bytes>) -> Result<Datagram, DropReason> {
    let bytes = bytes.into();
    if bytes == REQUEST {
        return Ok(Datagram::Request);
    }
    let size = jpeg::scan(&bytes, Limits::default()).map_err(|defect| match defect {
        Defect::NotJpeg | Defect::NoEnd if bytes.len() == FFMPEG_PIECE => DropReason::Piece,
        defect => DropReason::Jpeg(defect),
    })?;
    match label::segment(&bytes) {
        Ok(Some((kind, body))) if kind != label::FRAME => {
            Ok(Datagram::Control(Control::parse(kind, body)?))
        }
        _ => Ok(Datagram::Frame(Frame {
            size,
            label: Label::read(&bytes).ok().flatten(),
            jpeg: bytes,
        })),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use testkit::jpeg::Sketch;

    use super::*;

    fn classify(bytes: &[u8]) -> Result<Datagram, DropReason> {
        super::classify(bytes.to_vec())
    }

    #[test]
    fn only_the_seven_bytes_are_a_request() {
        assert_eq!(classify(b"Request"), Ok(Datagram::Request));
        for near in [&b"request"[..], b"Request\n", b"Reques", b""] {
            assert_eq!(classify(near), Err(DropReason::Jpeg(Defect::NotJpeg)));
        }
    }

    #[test]
    fn a_jpeg_is_a_frame_with_or_without_a_label() {
        let Ok(Datagram::Frame(frame)) = classify(&Sketch::new(300, 200).bytes()) else {
            panic!("not a frame");
        };
        assert_eq!(
            (frame.size.width, frame.size.height, frame.label),
            (300, 200, None)
        );
    }

    #[test]
    fn a_label_of_a_later_version_leaves_an_unlabelled_frame() {
        let jpeg = Sketch::new(8, 8)
            .segment(0xEB, b"sightline\0\x02Fwhatever")
            .bytes();
        assert!(matches!(
            classify(&jpeg),
            Ok(Datagram::Frame(Frame { label: None, .. }))
        ));
    }

    #[test]
    fn ffmpegs_pieces_are_recognised() {
        let mut first = Sketch::new(300, 200).bytes();
        first.resize(FFMPEG_PIECE, 7);
        assert_eq!(classify(&first), Err(DropReason::Piece));
        assert_eq!(classify(&[7; FFMPEG_PIECE]), Err(DropReason::Piece));
        assert_eq!(
            classify(&[7; FFMPEG_PIECE + 1]).unwrap_err().name(),
            "not_jpeg"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_get_a_verdict(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
            let verdict = classify(&bytes);
            if is_junk(&bytes) {
                prop_assert_eq!(verdict.map_err(DropReason::name), Err("not_jpeg"));
            }
        }
    }
}
