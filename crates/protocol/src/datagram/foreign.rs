//! What other software sends to the relay's port in place of JPEGs, told by its first bytes, and what helps.

use serde::{Deserialize, Serialize};

use super::{FFMPEG_PIECE, MAX_DATAGRAM};
use crate::jpeg::{EOI, SOI};

/// Bytes of a packet of MPEG-TS, and the byte that each begins with (ISO/IEC 13818-1, section 2.4.3.2).
const TS_PACKET: usize = 188;
const TS_SYNC: u8 = 0x47;
/// Bytes of RTP's fixed header (RFC 3550, section 5.1).
const RTP_HEADER: usize = 12;
/// Most bytes before a JPEG that are taken for a header of the sender's own.
const OWN_HEADER: usize = 32;

/// Least length of a datagram that is a sender's and no noise: scanners of the Internet send less.
const UNKNOWN: usize = 500;

/// What a datagram holds that is none of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Foreign {
    /// A piece of the length into which ffmpeg cuts a stream.
    FfmpegPiece,
    /// The beginning of a JPEG without its end.
    JpegPiece,
    /// A JPEG behind bytes of the sender's own, such as a length or a number.
    JpegBehindHeader,
    /// A JPEG in Base64.
    Base64,
    /// An object of Python's pickle.
    Pickle,
    /// H.264 or H.265 as a byte stream.
    H264,
    /// An MPEG transport stream.
    MpegTs,
    /// Packets of RTP.
    Rtp,
    /// A picture of another format: PNG, WebP, GIF or BMP.
    OtherPicture,
    /// Anything else that is too large for the noise of the Internet.
    Unknown,
}

impl Foreign {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::FfmpegPiece,
        Self::JpegPiece,
        Self::JpegBehindHeader,
        Self::Base64,
        Self::Pickle,
        Self::H264,
        Self::MpegTs,
        Self::Rtp,
        Self::OtherPicture,
        Self::Unknown,
    ];

    /// Returns what a datagram that is none of ours holds; `None` if it is not known.
    pub fn of(datagram: &[u8]) -> Option<Self> {
        Some(match datagram {
            [a, b, 0xFF, ..] if [*a, *b] == SOI && datagram.len() != FFMPEG_PIECE => {
                match datagram.ends_with(&EOI) {
                    true => return None,
                    false => Self::JpegPiece,
                }
            }
            // The beginning of a JPEG in Base64.
            [b'/', b'9', b'j', b'/', ..] => Self::Base64,
            _ if datagram.starts_with(b"data:image/") => Self::Base64,
            // PROTO with the protocol's number, STOP (PEP 3154).
            [0x80, 2..=5, .., b'.'] => Self::Pickle,
            [0, 0, 1, unit, ..] | [0, 0, 0, 1, unit, ..] if is_video_unit(*unit) => Self::H264,
            _ if is_ts(datagram) => Self::MpegTs,
            _ if is_rtp(datagram) => Self::Rtp,
            _ if datagram.len() == FFMPEG_PIECE => Self::FfmpegPiece,
            [0x89, b'P', b'N', b'G', ..] | [b'G', b'I', b'F', b'8', ..] => Self::OtherPicture,
            [
                b'R',
                b'I',
                b'F',
                b'F',
                _,
                _,
                _,
                _,
                b'W',
                b'E',
                b'B',
                b'P',
                ..,
            ] => Self::OtherPicture,
            [b'B', b'M', _, _, _, _, 0, 0, 0, 0, ..] => Self::OtherPicture,
            _ if has_jpeg_behind_header(datagram) => Self::JpegBehindHeader,
            _ if datagram.len() >= UNKNOWN => Self::Unknown,
            _ => return None,
        })
    }

    /// Returns whether a single datagram shows it: one of a thousand that are cut out of a JPEG looks like RTP.
    pub fn is_certain(self) -> bool {
        !matches!(self, Self::Rtp | Self::Unknown)
    }

    /// Returns what the datagrams are, in words.
    pub fn what(self) -> &'static str {
        match self {
            Self::FfmpegPiece => "1472-byte pieces of a stream, as ffmpeg cuts it",
            Self::JpegPiece => "pieces of JPEGs",
            Self::JpegBehindHeader => "JPEGs behind a header of the sender's own",
            Self::Base64 => "JPEGs in Base64",
            Self::Pickle => "objects of Python's pickle",
            Self::H264 => "H.264 or H.265 video",
            Self::MpegTs => "an MPEG transport stream",
            Self::Rtp => "RTP packets",
            Self::OtherPicture => "pictures that are not JPEGs",
            Self::Unknown => "datagrams that begin like nothing known",
        }
    }

    /// Returns what the sender has to send instead.
    pub fn cure(self) -> String {
        match self {
            Self::FfmpegPiece => {
                format!(
                    "add ?pkt_size={MAX_DATAGRAM} to ffmpeg's udp:// address, and -c:v mjpeg -f mjpeg"
                )
            }
            Self::JpegPiece => format!(
                "send each JPEG as one datagram of up to {MAX_DATAGRAM} bytes, or use pi-sender"
            ),
            Self::JpegBehindHeader => {
                "send the bytes of the JPEG alone, without a header before them".to_owned()
            }
            Self::Base64 | Self::Pickle => {
                "send the bytes of the JPEG as they are, such as those of cv2.imencode".to_owned()
            }
            Self::H264 | Self::MpegTs => format!(
                "send JPEGs: ffmpeg -i INPUT -c:v mjpeg -f mjpeg 'udp://HOST:8081?pkt_size={MAX_DATAGRAM}', or pi-sender --source INPUT"
            ),
            Self::Rtp => {
                "use pi-sender, which reads rtsp:// addresses and GStreamer pipelines (--source)"
                    .to_owned()
            }
            Self::OtherPicture => {
                "encode the pictures as JPEGs (PNG, WebP, GIF and BMP are not shown)".to_owned()
            }
            Self::Unknown => {
                "send the bytes of one JPEG in each datagram, without text, encoding or header"
                    .to_owned()
            }
        }
    }
}

/// Returns whether a stream of H.264 or H.265 can begin with a unit of this first byte: a delimiter, parameters, a message
/// or a picture of its own (ITU-T H.264, table 7-1; H.265, table 7-1).
fn is_video_unit(first: u8) -> bool {
    let h264 = first & 0x80 == 0 && matches!(first & 0x1F, 5..=9);
    h264 || matches!(first, 0x26 | 0x28 | 0x40 | 0x42 | 0x44 | 0x46 | 0x4E)
}

/// Returns whether packets of MPEG-TS follow each other, whole ones or cut anywhere.
fn is_ts(datagram: &[u8]) -> bool {
    let syncs = |from: usize| datagram[from..].iter().step_by(TS_PACKET);
    let whole = datagram.len() >= TS_PACKET && datagram.len().is_multiple_of(TS_PACKET);
    let offsets = match whole {
        true => 0..1,
        // Of so many packets no other data has the byte in each.
        false if datagram.len() >= 5 * TS_PACKET => 0..TS_PACKET,
        false => 0..0,
    };
    offsets
        .into_iter()
        .any(|from| syncs(from).all(|byte| *byte == TS_SYNC))
}

/// Version 2 without padding, extension and further sources, and a payload type of JPEG, MPEG-TS or one that is agreed upon
/// (RFC 3550, section 5.1; RFC 3551, section 6).
fn is_rtp(datagram: &[u8]) -> bool {
    let [0x80, second, ..] = datagram else {
        return false;
    };
    datagram.len() > RTP_HEADER && matches!(second & 0x7F, 26 | 33 | 96..=127)
}

fn has_jpeg_behind_header(datagram: &[u8]) -> bool {
    let begin = &datagram[..datagram.len().min(OWN_HEADER + 3)];
    begin
        .windows(3)
        .any(|bytes| bytes == [SOI[0], SOI[1], 0xFF])
}

#[cfg(test)]
mod tests {
    use testkit::jpeg::Sketch;

    use super::*;
    use crate::datagram::{classify, is_junk};

    /// Returns datagrams of each kind as other software makes them.
    fn datagrams() -> Vec<(Foreign, Vec<u8>)> {
        let jpeg = Sketch::new(300, 200).segment(0xFE, &[7; 3000]).bytes();
        let behind = |header: &[u8]| [header, &jpeg].concat();
        let ts = [&[TS_SYNC][..], &[1; TS_PACKET - 1]].concat().repeat(9);
        let pickled = [
            b"\x80\x04\x95\x10\0\0\0\0\0\0\0C\x10".as_slice(),
            &jpeg,
            b"\x94.",
        ]
        .concat();
        let rtp = |kind| [&[0x80, kind, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3], &jpeg[..1000]].concat();
        vec![
            (Foreign::FfmpegPiece, jpeg[..1472].to_vec()),
            (Foreign::JpegPiece, jpeg[..1024].to_vec()),
            (Foreign::JpegPiece, jpeg[..1400].to_vec()),
            (Foreign::JpegBehindHeader, behind(&[0, 0, 0, 9])),
            (Foreign::JpegBehindHeader, behind(&[9; 16])),
            (Foreign::Base64, b"/9j/4AAQSkZJRgABAQ".to_vec()),
            (Foreign::Base64, b"data:image/jpeg;base64,/9j/4AAQ".to_vec()),
            (Foreign::Pickle, pickled),
            (Foreign::H264, b"\0\0\0\x01\x67\x42\0\x1e".to_vec()),
            (Foreign::H264, b"\0\0\x01\x65\x88".to_vec()),
            (Foreign::MpegTs, ts[100..1572].to_vec()),
            (Foreign::MpegTs, ts),
            (Foreign::Rtp, rtp(26)),
            (Foreign::Rtp, rtp(96 | 0x80)),
            (Foreign::OtherPicture, b"\x89PNG\r\n\x1a\n\0\0".to_vec()),
            (Foreign::OtherPicture, b"RIFF\x10\0\0\0WEBPVP8 ".to_vec()),
            (Foreign::OtherPicture, b"GIF89a".to_vec()),
            (Foreign::Unknown, [0; 40_000].to_vec()),
            (Foreign::Unknown, b"{\"frame\": \"".repeat(50)),
            (Foreign::OtherPicture, b"BM\x36\0\0\0\0\0\0\0\x36".to_vec()),
        ]
    }

    #[test]
    fn what_other_software_sends_is_recognised_and_is_neither_frame_nor_junk() {
        for (kind, datagram) in datagrams() {
            assert_eq!(Foreign::of(&datagram), Some(kind));
            assert!(classify(datagram.clone()).is_err(), "{kind:?}");
            assert_eq!(is_junk(&datagram), kind == Foreign::Unknown, "{kind:?}");
            assert!(!kind.what().is_empty() && !kind.cure().is_empty());
        }
        let kinds = datagrams().into_iter().map(|(kind, _)| kind);
        let kinds: std::collections::BTreeSet<_> = kinds.collect();
        assert!(kinds.into_iter().eq(Foreign::ALL));
    }

    #[test]
    fn noise_and_a_jpeg_that_is_whole_but_refused_are_nothing_that_other_software_sends() {
        let arithmetic = Sketch::new(8, 8).bytes();
        for other in [
            b"hello there".as_slice(),
            b"",
            b"\x80",
            &[0; 64],
            &arithmetic,
        ] {
            assert_eq!(Foreign::of(other), None, "{other:?}");
        }
    }
}
