//! A JPEG as the network takes it: decoded, scaled into the input, in planes of red, green and blue.

use imaging::jpeg;
use opencv::core::{Mat, Vec3b};
use opencv::imgproc;
use opencv::prelude::*;

use super::yolo::{Letterbox, Size};

/// YOLOv5's letterbox grey, 114 of 255.
pub const GREY: f32 = 114.0 / 255.0;

/// A decoded picture.
#[derive(Debug)]
pub struct Picture {
    pixels: Mat,
    /// Its size, turned as its EXIF orientation says.
    pub size: Size,
}

impl Picture {
    /// Decodes a JPEG.
    ///
    /// # Errors
    /// Where its data is broken beyond repair.
    pub fn decode(jpeg: &[u8]) -> anyhow::Result<Self> {
        let pixels = jpeg::decode(jpeg)?;
        let size = Size {
            width: u32::try_from(pixels.cols())?,
            height: u32::try_from(pixels.rows())?,
        };
        Ok(Self { pixels, size })
    }

    /// Appends it to `input`: planes R, G, B of the network's size, 0 to 1, grey around the picture.
    ///
    /// # Errors
    /// OpenCV's own; `input` then has its old length.
    pub fn append(
        &self,
        input: &mut Vec<f32>,
        letterbox: &Letterbox,
        net: Size,
    ) -> anyhow::Result<()> {
        let inner = opencv::core::Size::new(
            letterbox.inner.width.try_into()?,
            letterbox.inner.height.try_into()?,
        );
        let mut scaled = Mat::default();
        let picture = if self.pixels.size()? == inner {
            &self.pixels
        } else {
            let how = imgproc::INTER_LINEAR;
            imgproc::resize(&self.pixels, &mut scaled, inner, 0.0, 0.0, how)?;
            &scaled
        };
        let rows = (0..inner.height).map(|y| picture.at_row::<Vec3b>(y));
        let rows = rows.collect::<opencv::Result<Vec<_>>>()?;
        let (start, plane) = (input.len(), (net.width * net.height) as usize);
        input.resize(start + 3 * plane, GREY);
        let (red, rest) = input[start..].split_at_mut(plane);
        let (green, blue) = rest.split_at_mut(plane);
        let first = letterbox.top as usize * net.width as usize + letterbox.left as usize;
        for (y, row) in rows.into_iter().enumerate() {
            let start = first + y * net.width as usize;
            let place = start..start + row.len();
            let planes = red[place.clone()]
                .iter_mut()
                .zip(&mut green[place.clone()])
                .zip(&mut blue[place]);
            for (((r, g), b), pixel) in planes.zip(row) {
                *r = f32::from(pixel[2]) / 255.0;
                *g = f32::from(pixel[1]) / 255.0;
                *b = f32::from(pixel[0]) / 255.0;
            }
        }
        Ok(())
    }
}
