//! The header scan that stands between the network and every decoder.
//!
//! `imdecode` takes a picture that was cut at a tenth, a 44 kB file that claims 65500 x 65500 pixels, and 1.8 kB that keep
//! it busy for a second. So the marker structure is walked first, once and without decoding anything, and what a decoder
//! would have to do is counted. The walk skips what libjpeg skips (fill bytes, stuffed zeros, restart markers, junk between
//! segments) and takes the frame header that libjpeg takes, so that the size checked here is the size the decoder allocates.

mod splitter;
mod survey;
mod walk;

use crate::geometry::Size;

pub use self::splitter::Splitter;
pub use self::survey::Survey;
use self::walk::{Step, Walk};

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
    /// Largest number of components.
    pub components: usize,
    /// Whether arithmetic coding is allowed, which costs several times as much as Huffman's.
    pub arithmetic: bool,
    /// Most blocks of 8x8, each counted once for every scan that codes it.
    pub block_scans: u64,
    /// Cost of decoding, in block-scans, that a picture need not pay for with bytes of data; see [`Survey::cost`].
    pub unpaid_cost: u64,
}

impl Limits {
    /// Largest number of segments in any picture. Cameras write about 20, and a picture of 4 MiB has room for a million:
    /// libjpeg appends each APP1 to the end of a linked list, so 16 000 of them (64 kB) take 190 ms.
    pub const SEGMENTS: u64 = 512;

    /// Bounds of a picture from the network: 4096x4096 with 4:2:0 sampling has 0.4 million blocks, and libjpeg's
    /// progressive script codes each of its blocks 4.7 times on average.
    ///
    /// A block-scan takes 20 ns at most, but a block's first one another 80 to 150, for its memory and its pixels. So a
    /// picture also has to pay for its cost with data, where it costs more than 20 ms.
    pub const NETWORK: Self = Self {
        width: 4096,
        height: 4096,
        components: 3,
        arithmetic: false,
        block_scans: 2_000_000,
        unpaid_cost: 1_000_000,
    };

    /// Bounds of a picture from a file or a camera of one's own, which is scaled down before it leaves: the largest
    /// cameras of a Raspberry Pi have 64 million pixels (9248x6944). At most 280 MB, and half a second of a fast core.
    pub const OWN: Self = Self {
        width: 9600,
        height: 9600,
        components: 4,
        arithmetic: true,
        block_scans: 20_000_000,
        unpaid_cost: u64::MAX,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::NETWORK
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
    /// The marker structure breaks behind the frame header, or contradicts it.
    #[error(
        "its segments contradict each other: it was damaged on its way, or its encoder is broken"
    )]
    Structure,
    /// A header without picture data.
    #[error("it has headers and no picture data")]
    NoScan,
    /// A side is 0 or above the limit.
    #[error("its frame header declares a size of 0 or above the limit")]
    Dimensions,
    /// More components than [`Limits::components`].
    #[error("it is not grey or colour but has further components, as CMYK has; encode it in YCbCr")]
    Components,
    /// Arithmetic coding, where [`Limits::arithmetic`] does not allow it.
    #[error(
        "it is coded arithmetically, which few decoders read; encode it with Huffman coding, as is usual"
    )]
    Arithmetic,
    /// Lossless or hierarchical coding.
    #[error(
        "it is coded without loss or hierarchically, which no common decoder reads; encode it as baseline JPEG"
    )]
    Coding,
    /// More segments than [`Limits::SEGMENTS`].
    #[error("it has more segments than any camera writes; strip its metadata")]
    Segments,
    /// More work for the decoder than [`Limits::block_scans`] and [`Limits::unpaid_cost`] allow.
    #[error(
        "its size and scans would keep a decoder busy for too long; encode it as baseline JPEG, or smaller"
    )]
    DecodingCost,
}

/// Checks that `bytes` are one whole JPEG that a decoder may be given, and returns the size.
///
/// # Errors
/// The first [`Defect`] found, in the order in which the enum lists them.
pub fn scan(bytes: &[u8], limits: Limits) -> Result<Size, Defect> {
    Survey::of(bytes)?.check(limits)
}

/// Returns the end of the first JPEG of a byte stream: the offset behind its EOI, or `None` if that has not come yet.
///
/// `stream` starts at a SOI. Thumbnails inside segments do not end it, since segments are skipped by their length. For a
/// stream that comes in pieces, see [`Splitter`].
///
/// # Errors
/// [`Defect::NotJpeg`] if the stream does not start with SOI, [`Defect::NoFrameHeader`] if the marker structure is
/// broken.
pub fn stream_end(stream: &[u8]) -> Result<Option<usize>, Defect> {
    if !stream.starts_with(&SOI) {
        return Err(Defect::NotJpeg);
    }
    let mut walk = Walk::behind_soi();
    loop {
        match walk.step(stream) {
            Step::Segment { .. } => {}
            Step::End(end) => return Ok(Some(end)),
            Step::SecondStart(_) | Step::BadLength(_) => return Err(Defect::NoFrameHeader),
            Step::Cut => return Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use testkit::jpeg::{Sketch, bombs};

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
        assert!(scan_default(&Sketch::new(8, 8).scans(100).bytes()).is_ok());
    }

    #[test]
    fn the_largest_allowed_picture_passes_if_it_is_whole() {
        for whole in [bombs::flat(4096, 4096), bombs::flat(4096, 8)] {
            assert!(scan_default(&whole).is_ok());
        }
        let headers = Sketch::new(4096, 4096).bytes();
        assert_eq!(scan_default(&headers), Err(Defect::DecodingCost));
    }

    #[test]
    fn a_picture_of_one_colour_passes_also_as_progressive() {
        for (width, height) in [(1, 1), (300, 200), (640, 480), (1920, 1080), (2592, 1944)] {
            for jpeg in [
                bombs::flat(width, height),
                bombs::flat_progressive(width, height),
            ] {
                let header = scan_default(&jpeg).unwrap();
                assert_eq!((header.width, header.height), (width, height));
            }
        }
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
