//! Picture files: everything that OpenCV's codecs read, such as PNG, BMP, WebP and PPM.

use anyhow::ensure;
use opencv::core::Mat;
use opencv::imgcodecs;
use opencv::prelude::*;

/// Decodes the content of a picture file to 8-bit BGR, turned as its EXIF orientation says. For JPEGs from the network, see
/// [`crate::jpeg::decode`].
///
/// # Errors
/// If no codec knows the format, or the picture is broken.
pub fn decode(file: &[u8]) -> anyhow::Result<Mat> {
    let bytes = Mat::from_slice(file)?;
    let picture = imgcodecs::imdecode(&bytes, imgcodecs::IMREAD_COLOR)?;
    ensure!(!picture.empty(), "no codec of OpenCV reads it");
    Ok(picture)
}

#[cfg(test)]
mod tests {
    use opencv::core::{CV_8UC3, Scalar, Vector};

    use super::*;

    #[test]
    fn formats_without_loss_come_out_to_the_pixel() {
        let picture =
            Mat::new_rows_cols_with_default(20, 30, CV_8UC3, Scalar::new(10.0, 20.0, 30.0, 0.0))
                .unwrap();
        for format in [".png", ".bmp", ".ppm"] {
            let mut file = Vector::new();
            imgcodecs::imencode(format, &picture, &mut file, &Vector::new()).unwrap();
            let decoded = decode(file.as_slice()).unwrap();
            assert_eq!((decoded.cols(), decoded.rows()), (30, 20), "{format}");
            assert_eq!(
                decoded.data_bytes().unwrap(),
                picture.data_bytes().unwrap(),
                "{format}"
            );
        }
    }

    #[test]
    fn junk_is_an_error_and_not_an_empty_picture() {
        assert!(decode(b"junk").is_err());
        assert!(decode(b"").is_err());
    }
}
