//! Pre-processing: a JPEG decoded and scaled into the network's input, in planes of red, green and blue.

use imaging::jpeg::{self, Reduction};
use opencv::core::{Mat, Vec3b};
use opencv::imgproc;
use opencv::prelude::*;
use protocol::geometry::Size;
use protocol::jpeg::{Limits, scan};

use super::yolo::Letterbox;

/// YOLOv5's letterbox grey, 114 of 255.
pub const GREY: f32 = 114.0 / 255.0;

/// A decoded frame, on its way into the network's input.
#[derive(Debug)]
pub struct InputImage {
    picture: Mat,
    /// Size after the rotation that EXIF demands.
    pub size: Size,
}

impl InputImage {
    /// Decodes a JPEG for a network whose input has the size that `net_size` returns for a picture's. A picture more than four
    /// times as large is decoded at half its size, or less, but never below twice the input's: it takes a quarter of the
    /// memory, and what is skipped would be averaged away.
    ///
    /// # Errors
    /// Where its data is broken beyond repair.
    pub fn decode(jpeg: &[u8], net_size: impl Fn(Size) -> Size) -> anyhow::Result<Self> {
        // The detector is also given pictures that no boundary has let through.
        let header = scan(jpeg, Limits::default()).ok();
        let reduction = header.map_or(Reduction::Full, |size| reduction(size, net_size(size)));
        let picture = jpeg::decode_reduced(jpeg, reduction)?;
        let size = match header {
            Some(header) if reduction != Reduction::Full => {
                displayed(header, reduction, jpeg::size(&picture)?)
            }
            _ => jpeg::size(&picture)?,
        };
        Ok(Self { picture, size })
    }

    /// Appends the image to `input`: planes R, G, B of the network's size, 0 to 1, grey around the picture.
    ///
    /// # Errors
    /// OpenCV's own; `input` then has its old length.
    pub fn append(
        &self,
        input: &mut Vec<f32>,
        letterbox: &Letterbox,
        net: Size,
    ) -> anyhow::Result<()> {
        let inner =
            opencv::core::Size::new(letterbox.inner.width.into(), letterbox.inner.height.into());
        let mut scaled = Mat::default();
        let picture = if self.picture.size()? == inner {
            &self.picture
        } else {
            let how = imgproc::INTER_LINEAR;
            imgproc::resize(&self.picture, &mut scaled, inner, 0.0, 0.0, how)?;
            &scaled
        };
        let rows = (0..inner.height).map(|y| picture.at_row::<Vec3b>(y));
        let rows = rows.collect::<opencv::Result<Vec<_>>>()?;
        let stride = usize::from(net.width);
        let (start, plane) = (input.len(), pixels(net));
        input.resize(start + 3 * plane, GREY);
        let (red, rest) = input[start..].split_at_mut(plane);
        let (green, blue) = rest.split_at_mut(plane);
        let first = usize::from(letterbox.top) * stride + usize::from(letterbox.left);
        for (y, row) in rows.into_iter().enumerate() {
            let start = first + y * stride;
            let range = start..start + row.len();
            let planes = red[range.clone()]
                .iter_mut()
                .zip(&mut green[range.clone()])
                .zip(&mut blue[range]);
            for (((r, g), b), pixel) in planes.zip(row) {
                *r = f32::from(pixel[2]) / 255.0;
                *g = f32::from(pixel[1]) / 255.0;
                *b = f32::from(pixel[0]) / 255.0;
            }
        }
        Ok(())
    }
}

/// Returns the strongest reduction that leaves the longer side at twice the input's or more.
fn reduction(picture: Size, net: Size) -> Reduction {
    let longer = |size: Size| size.width.max(size.height);
    let least = 2 * u32::from(longer(net));
    let leaves =
        |reduction: &Reduction| u32::from(longer(picture).div_ceil(reduction.divisor())) >= least;
    let strongest = Reduction::ALL.into_iter().rev().find(leaves);
    strongest.unwrap_or(Reduction::Full)
}

/// Returns the size at which a picture is displayed that was decoded reduced: that in its header, or turned by EXIF.
fn displayed(header: Size, reduction: Reduction, decoded: Size) -> Size {
    let reduced = Size {
        width: header.width.div_ceil(reduction.divisor()),
        height: header.height.div_ceil(reduction.divisor()),
    };
    match decoded == reduced {
        true => header,
        false => Size {
            width: header.height,
            height: header.width,
        },
    }
}

/// Returns the number of pixels of a plane.
pub fn pixels(net: Size) -> usize {
    usize::from(net.width) * usize::from(net.height)
}

#[cfg(test)]
mod tests {
    use opencv::core::{CV_8UC3, Scalar};
    use testkit::jpeg::with_orientation;

    use super::*;

    fn size(text: &str) -> Size {
        text.parse().unwrap()
    }

    #[test]
    fn a_picture_is_decoded_at_twice_the_inputs_size_or_more() {
        for (picture, net, expected) in [
            ("1280x720", "640x384", Reduction::Full),
            ("1920x1080", "640x384", Reduction::Full),
            ("2559x1440", "640x384", Reduction::Half),
            ("2558x1440", "640x384", Reduction::Full),
            ("1440x2560", "384x640", Reduction::Half),
            ("4096x2400", "640x384", Reduction::Half),
            ("4096x2400", "320x192", Reduction::Quarter),
            ("300x200", "32x32", Reduction::Quarter),
        ] {
            assert_eq!(reduction(size(picture), size(net)), expected, "{picture}");
        }
    }

    #[test]
    fn a_picture_that_is_decoded_reduced_has_its_own_size_turned_by_exif() {
        let picture = Mat::new_rows_cols_with_default(2401, 4095, CV_8UC3, Scalar::all(9.0));
        let upright = jpeg::encode(&picture.unwrap(), 50).unwrap();
        let turned = with_orientation(&upright, 6);
        for (jpeg, expected) in [(&upright, "4095x2401"), (&turned, "2401x4095")] {
            let image = InputImage::decode(jpeg, |_| size("640x384")).unwrap();
            assert_eq!(image.size, size(expected));
            assert!(image.picture.cols() < 2100, "half of it is decoded");
        }
    }
}
