//! The JPEG codec. Its input has passed `protocol::jpeg::scan`, so sizes are bounded.

use std::borrow::Cow;

use anyhow::{Context as _, ensure};
use opencv::core::{Mat, Vector};
use opencv::prelude::*;
use opencv::{core, imgcodecs, imgproc};

use protocol::geometry::Size;

/// Keeps OpenCV on the thread that calls it: pictures here are small, and its pool would compete with the model's.
///
/// # Errors
/// OpenCV's own; none is known.
pub fn single_threaded() -> opencv::Result<()> {
    core::set_num_threads(1)
}

/// Decodes to 8-bit BGR, turned by its EXIF orientation.
///
/// # Errors
/// If the picture data is broken beyond what libjpeg repairs.
pub fn decode(jpeg: &[u8]) -> anyhow::Result<Mat> {
    decode_as(jpeg, imgcodecs::IMREAD_COLOR)
}

fn decode_as(jpeg: &[u8], how: i32) -> anyhow::Result<Mat> {
    let bytes = Mat::from_slice(jpeg)?;
    let picture = imgcodecs::imdecode(&bytes, how).context("decoding a JPEG")?;
    ensure!(!picture.empty(), "decoding a JPEG gave no picture");
    Ok(picture)
}

/// How much [`decode_reduced`] and [`decode_grey`] shrink a picture. It makes decoding cheaper, since the codec skips that
/// work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    /// Not at all.
    Full,
    /// To half its width and height.
    Half,
    /// To a quarter.
    Quarter,
    /// To an eighth.
    Eighth,
}

impl Reduction {
    /// All of them, the largest picture first.
    pub const ALL: [Self; 4] = [Self::Full, Self::Half, Self::Quarter, Self::Eighth];

    /// Returns the strongest reduction that leaves a picture of size `from` at least as large as `to`.
    pub fn between(from: Size, to: Size) -> Self {
        let covers = |reduction: &Self| {
            let left = |side: u16| side.div_ceil(reduction.divisor());
            left(from.width) >= to.width && left(from.height) >= to.height
        };
        let strongest = Self::ALL.into_iter().rev().find(covers);
        strongest.unwrap_or(Self::Full)
    }

    /// Returns the divisor of width and height; the quotient is rounded up.
    pub fn divisor(self) -> u16 {
        match self {
            Self::Full => 1,
            Self::Half => 2,
            Self::Quarter => 4,
            Self::Eighth => 8,
        }
    }
}

/// Decodes to 8-bit BGR of a reduced size, turned by its EXIF orientation. For a picture that is shown smaller than it is:
/// 4096x4096 takes 48 MB of memory in full and 0.75 MB reduced to an eighth.
///
/// # Errors
/// As [`decode`].
pub fn decode_reduced(jpeg: &[u8], reduction: Reduction) -> anyhow::Result<Mat> {
    let how = match reduction {
        Reduction::Full => imgcodecs::IMREAD_COLOR,
        Reduction::Half => imgcodecs::IMREAD_REDUCED_COLOR_2,
        Reduction::Quarter => imgcodecs::IMREAD_REDUCED_COLOR_4,
        Reduction::Eighth => imgcodecs::IMREAD_REDUCED_COLOR_8,
    };
    decode_as(jpeg, how)
}

/// Decodes to 8-bit grey of a reduced size, turned by its EXIF orientation. At half size a third of the cost of
/// [`decode`].
///
/// # Errors
/// As [`decode`].
pub fn decode_grey(jpeg: &[u8], reduction: Reduction) -> anyhow::Result<Mat> {
    let how = match reduction {
        Reduction::Full => imgcodecs::IMREAD_GRAYSCALE,
        Reduction::Half => imgcodecs::IMREAD_REDUCED_GRAYSCALE_2,
        Reduction::Quarter => imgcodecs::IMREAD_REDUCED_GRAYSCALE_4,
        Reduction::Eighth => imgcodecs::IMREAD_REDUCED_GRAYSCALE_8,
    };
    decode_as(jpeg, how)
}

/// Encodes 8-bit BGR as a baseline JPEG of `quality` 1 to 100.
///
/// # Errors
/// If the matrix is not such a picture.
pub fn encode(picture: &Mat, quality: u8) -> anyhow::Result<Vec<u8>> {
    let mut out = Vector::new();
    let options = Vector::from_slice(&[imgcodecs::IMWRITE_JPEG_QUALITY, i32::from(quality)]);
    imgcodecs::imencode(".jpg", picture, &mut out, &options).context("encoding a JPEG")?;
    Ok(out.into())
}

/// Returns the size of a picture.
///
/// # Errors
/// If it is larger than a JPEG can be.
pub fn size(picture: &Mat) -> anyhow::Result<Size> {
    Ok(Size {
        width: u16::try_from(picture.cols())?,
        height: u16::try_from(picture.rows())?,
    })
}

/// Returns the picture at `size`: the same one, not a copy, when it has that size. Shrinking averages areas, so that fine
/// patterns do not shimmer.
///
/// # Errors
/// If the matrix is empty.
pub fn resize(picture: &Mat, size: Size) -> anyhow::Result<Cow<'_, Mat>> {
    let wanted = core::Size::new(size.width.into(), size.height.into());
    if picture.size()? == wanted {
        return Ok(Cow::Borrowed(picture));
    }
    let shrinks = picture.cols() > wanted.width && picture.rows() > wanted.height;
    let how = if shrinks {
        imgproc::INTER_AREA
    } else {
        imgproc::INTER_LINEAR
    };
    let mut out = Mat::default();
    imgproc::resize(picture, &mut out, wanted, 0.0, 0.0, how).context("resizing a picture")?;
    Ok(Cow::Owned(out))
}

#[cfg(test)]
mod tests {
    use protocol::control::{Control, LeaseVerdict, Question};
    use protocol::label::{Label, StreamId};

    use super::*;

    fn noise() -> Mat {
        let mut picture =
            Mat::new_rows_cols_with_default(200, 300, core::CV_8UC3, core::Scalar::all(0.0))
                .unwrap();
        core::randu(&mut picture, &0.0, &255.0).unwrap();
        picture
    }

    #[test]
    fn a_label_changes_no_pixel() {
        let jpeg = encode(&noise(), 80).unwrap();
        let label = Label {
            stream: StreamId(1),
            seq: 2,
            captured_us: 3,
            camera: "yard".parse().unwrap(),
        };
        let labelled = label.write(&jpeg);
        assert_eq!(
            decode(&jpeg).unwrap().data_bytes().unwrap(),
            decode(&labelled).unwrap().data_bytes().unwrap()
        );
    }

    #[test]
    fn a_picture_that_has_the_size_is_not_copied() {
        let picture = noise();
        let resized = |size: &str| resize(&picture, size.parse().unwrap()).unwrap();
        assert!(std::ptr::eq(resized("300x200").data(), picture.data()));
        let larger = resized("640x480");
        assert_eq!((larger.cols(), larger.rows()), (640, 480));
    }

    #[test]
    fn grey_is_reduced_by_its_divisor_rounded_up() {
        let jpeg = encode(&noise(), 80).unwrap();
        for reduction in Reduction::ALL {
            let grey = decode_grey(&jpeg, reduction).unwrap();
            let side = |n: i32| n.cast_unsigned().div_ceil(reduction.divisor().into());
            let size = (grey.cols().cast_unsigned(), grey.rows().cast_unsigned());
            assert_eq!((size, grey.channels()), ((side(300), side(200)), 1));
        }
        assert!(decode_grey(b"junk", Reduction::Half).is_err());
    }

    #[test]
    fn colours_are_reduced_as_grey_is() {
        let jpeg = encode(&noise(), 80).unwrap();
        for reduction in Reduction::ALL {
            let side = |n: i32| n.cast_unsigned().div_ceil(reduction.divisor().into());
            let picture = decode_reduced(&jpeg, reduction).unwrap();
            let size = (
                picture.cols().cast_unsigned(),
                picture.rows().cast_unsigned(),
            );
            assert_eq!((size, picture.channels()), ((side(300), side(200)), 3));
        }
    }

    #[test]
    fn a_picture_is_reduced_as_far_as_it_still_covers_what_is_shown() {
        use Reduction::{Eighth, Full, Half, Quarter};
        for (from, to, wanted) in [
            ("300x200", "640x480", Full),
            ("640x480", "640x480", Full),
            ("1279x960", "640x480", Half),
            ("1278x960", "640x480", Full),
            ("4096x900", "640x480", Full),
            ("2560x1920", "640x480", Quarter),
            ("4096x4096", "640x480", Quarter),
            ("4096x4096", "512x512", Eighth),
            ("1x1", "1x1", Eighth),
        ] {
            let reduction = Reduction::between(from.parse().unwrap(), to.parse().unwrap());
            assert_eq!(reduction, wanted, "{from} {to}");
        }
    }

    #[test]
    fn control_messages_decode_to_one_pixel() {
        let accept = Control::Accept {
            nonce: 1,
            verdict: LeaseVerdict::Welcome,
            cookie: None,
        };
        for control in [
            Control::Hello(Question::new(1, None)),
            accept,
            Control::Upgrade,
        ] {
            let pixel = decode(&control.write()).unwrap();
            assert_eq!((pixel.cols(), pixel.rows(), pixel.channels()), (1, 1, 3));
        }
    }

    #[test]
    fn what_the_encoder_writes_passes_the_scan() {
        let jpeg = encode(&noise(), 80).unwrap();
        let header = protocol::jpeg::scan(&jpeg, protocol::jpeg::Limits::default()).unwrap();
        assert_eq!((header.width, header.height), (300, 200));
    }

    #[test]
    fn junk_is_an_error_and_not_an_empty_picture() {
        assert!(decode(b"junk").is_err());
        assert!(decode(b"").is_err());
    }
}
