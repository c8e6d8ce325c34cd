//! Makes renditions: smaller versions of a frame, with its label. Decoding at a reduced size makes them cheap.

use bytes::Bytes;
use imaging::jpeg::{self, Reduction};
use opencv::core::Mat;
use protocol::SMALL_FRAME;
use protocol::geometry::Size;
use protocol::jpeg::Limits;
use protocol::label::Label;

/// Quality of a rendition unless another is requested: `pi-sender`'s default.
pub const QUALITY: u8 = 80;
/// Size that renditions for UDP viewers fit into.
pub const UDP_SIZE: Size = Size {
    width: 300,
    height: 200,
};
/// Qualities at which a rendition for UDP viewers is tried until it has at most [`SMALL_FRAME`] bytes.
const UDP_QUALITIES: [u8; 3] = [QUALITY, 55, 30];

/// Form of a rendition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rendition {
    /// Width in pixels at most; the picture keeps its shape and is never enlarged.
    pub width: Option<u16>,
    /// JPEG quality, 1 to 100.
    pub quality: Option<u8>,
}

impl Rendition {
    /// Whether a frame as it came is this already, whatever it is.
    pub fn is_original(self) -> bool {
        self == Self::default()
    }
}

/// Returns a frame as `rendition`; the frame itself if it is that already.
///
/// # Errors
/// If the frame cannot be decoded.
pub fn render(frame: &Bytes, rendition: Rendition) -> anyhow::Result<Bytes> {
    let size = protocol::jpeg::scan(frame, Limits::default())?;
    let width = rendition.width.unwrap_or(u16::MAX);
    // The picture may be displayed turned, so the shorter side must cover the width.
    let side = size.width.min(size.height);
    let picture = decode_covering(frame, square(side), square(width.min(side)))?;
    let displayed = turned_as(size, jpeg::size(&picture)?);
    let wanted = displayed.fitted(Size {
        width: width.min(displayed.width),
        height: u16::MAX,
    });
    if wanted == displayed && rendition.quality.is_none() {
        return Ok(frame.clone());
    }
    let scaled = jpeg::resize(&picture, wanted)?;
    let encoded = jpeg::encode(&scaled, rendition.quality.unwrap_or(QUALITY))?;
    let label = Label::read(frame).ok().flatten();
    Ok(labelled(label.as_ref(), encoded).into())
}

/// Decodes a frame of this size in its header so that it fits into `bound`, and is not enlarged.
///
/// # Errors
/// If it cannot be decoded.
pub fn decode_within(frame: &[u8], size: Size, bound: Size) -> anyhow::Result<Mat> {
    // It may be displayed turned.
    let side = bound.width.max(bound.height);
    let picture = decode_covering(frame, size, square(side))?;
    let displayed = turned_as(size, jpeg::size(&picture)?);
    let fitted = displayed.fitted(bound);
    let wanted = match fitted.width < displayed.width {
        true => fitted,
        false => displayed,
    };
    Ok(jpeg::resize(&picture, wanted)?.into_owned())
}

/// Encodes a picture for UDP viewers: with few bytes where that is possible.
///
/// # Errors
/// If the matrix is not a picture.
pub fn encode_small(picture: &Mat, label: Option<&Label>) -> anyhow::Result<Vec<u8>> {
    let mut made = Vec::new();
    for quality in UDP_QUALITIES {
        made = labelled(label, jpeg::encode(picture, quality)?);
        if made.len() <= SMALL_FRAME {
            break;
        }
    }
    Ok(made)
}

/// Returns a JPEG with the label, if there is one.
pub fn labelled(label: Option<&Label>, jpeg: Vec<u8>) -> Vec<u8> {
    match label {
        Some(label) => label.write(&jpeg),
        None => jpeg,
    }
}

fn square(side: u16) -> Size {
    Size {
        width: side,
        height: side,
    }
}

fn decode_covering(frame: &[u8], size: Size, wanted: Size) -> anyhow::Result<Mat> {
    jpeg::decode_reduced(frame, Reduction::between(size, wanted))
}

/// Returns the size of a frame as displayed, from that in its header and that of the decoded picture: Exif's orientation
/// may have turned it.
fn turned_as(header: Size, decoded: Size) -> Size {
    let is_upright = |size: Size| size.height > size.width;
    match is_upright(header) == is_upright(decoded) {
        true => header,
        false => Size {
            width: header.height,
            height: header.width,
        },
    }
}

#[cfg(test)]
mod tests {
    use opencv::core::{CV_8UC3, Scalar, randu};
    use protocol::datagram::MAX_DATAGRAM;
    use protocol::label::StreamId;

    use super::*;

    fn frame(width: i32, height: i32) -> Bytes {
        let grey = Scalar::all(0.0);
        let mut picture = Mat::new_rows_cols_with_default(height, width, CV_8UC3, grey).unwrap();
        randu(&mut picture, &0.0, &255.0).unwrap();
        let label = Label {
            stream: StreamId(1),
            seq: 7,
            captured_us: 3,
            camera: "yard".parse().unwrap(),
        };
        label.write(&jpeg::encode(&picture, 90).unwrap()).into()
    }

    fn of(width: Option<u16>, quality: Option<u8>) -> Rendition {
        Rendition { width, quality }
    }

    fn size(jpeg: &[u8]) -> (u16, u16) {
        let size = protocol::jpeg::scan(jpeg, Limits::default()).unwrap();
        (size.width, size.height)
    }

    #[test]
    fn a_picture_keeps_its_shape_and_its_label_and_is_never_enlarged() {
        for (from, width, to) in [
            ((640, 480), 320, (320, 240)),
            ((640, 480), 16, (16, 12)),
            ((641, 361), 160, (160, 90)),
            ((300, 200), 4096, (300, 200)),
            ((200, 300), 100, (100, 150)),
            ((300, 200), 299, (299, 199)),
            ((400, 16), 16, (16, 1)),
        ] {
            let frame = frame(from.0, from.1);
            let made = render(&frame, of(Some(width), None)).unwrap();
            assert_eq!(size(&made), to, "{from:?} {width}");
            assert_eq!(Label::read(&made).unwrap().unwrap().seq, 7);
            assert_eq!(
                made == frame,
                (from.0.cast_unsigned(), from.1.cast_unsigned()) == (to.0.into(), to.1.into())
            );
        }
    }

    #[test]
    fn a_picture_of_another_quality_has_other_bytes_and_the_same_size() {
        let frame = frame(300, 200);
        let [low, high] = [10, 95].map(|quality| render(&frame, of(None, Some(quality))).unwrap());
        assert!(low.len() < frame.len() && frame.len() < high.len());
        assert_eq!((size(&low), size(&high)), ((300, 200), (300, 200)));
    }

    #[test]
    fn for_udp_viewers_a_picture_fits_into_300x200_and_into_a_small_datagram_where_it_can() {
        for (from, to) in [
            ((1920, 1080), (300, 169)),
            ((640, 480), (267, 200)),
            ((1080, 1920), (113, 200)),
            ((100, 80), (100, 80)),
        ] {
            let frame = frame(from.0, from.1);
            let header = protocol::jpeg::scan(&frame, Limits::default()).unwrap();
            let picture = decode_within(&frame, header, UDP_SIZE).unwrap();
            let label = Label::read(&frame).unwrap();
            let made = encode_small(&picture, label.as_ref()).unwrap();
            assert_eq!(size(&made), to, "{from:?}");
            assert_eq!(Label::read(&made).unwrap(), label);
            // Noise is the worst of all pictures.
            assert!(
                made.len() <= 20_000 && made.len() <= MAX_DATAGRAM,
                "{}",
                made.len()
            );
        }
        let turned = testkit::jpeg::with_orientation(&frame(1920, 1080), 6);
        let header = protocol::jpeg::scan(&turned, Limits::default()).unwrap();
        let picture = decode_within(&turned, header, UDP_SIZE).unwrap();
        assert_eq!(jpeg::size(&picture).unwrap().to_string(), "113x200");
    }
}
