//! Pre-processing: a JPEG decoded and scaled into the network's input, in planes of red, green and blue.

use imaging::jpeg;
use opencv::core::{Mat, Vec3b};
use opencv::imgproc;
use opencv::prelude::*;
use protocol::geometry::Size;

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
    /// Decodes a JPEG.
    ///
    /// # Errors
    /// Where its data is broken beyond repair.
    pub fn decode(jpeg: &[u8]) -> anyhow::Result<Self> {
        let picture = jpeg::decode(jpeg)?;
        let size = Size {
            width: u16::try_from(picture.cols())?,
            height: u16::try_from(picture.rows())?,
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

/// Returns the number of pixels of a plane.
pub fn pixels(net: Size) -> usize {
    usize::from(net.width) * usize::from(net.height)
}
