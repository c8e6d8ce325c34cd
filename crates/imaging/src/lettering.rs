//! A line of text on a picture: ASCII by OpenCV's own strokes, all else by outlines of a font.

use std::cell::RefCell;
use std::rc::Rc;

use opencv::core::{Mat, Point, Scalar, Vec3b};
use opencv::imgproc::{self, FONT_HERSHEY_SIMPLEX, LINE_AA};
use opencv::prelude::*;

use crate::fonts::{Bitmap, Fonts};

/// Height of OpenCV's capital letters at a scale of 1, in pixels.
const CAPITAL: f64 = 22.0;
/// Height of a capital letter in shares of the letter's square.
const CAPITAL_SHARE: f64 = 0.73;
/// Smallest letter's square in pixels at which Chinese is legible.
const SMALLEST: f64 = 12.0;
/// Largest letter's square in pixels.
const LARGEST: f64 = 200.0;
/// Parts of a line above and below the base line, in shares of the letter's square.
const ASCENT: f32 = 0.95;
const DESCENT: f32 = 0.25;

thread_local! {
    /// Each thread that draws has its own: pictures are drawn on one or two threads, and none waits for another.
    static FONTS: RefCell<Fonts> = RefCell::new(Fonts::new());
}

/// A line of text that was measured.
#[derive(Debug)]
pub(crate) struct Lettering {
    kind: Kind,
    pub(crate) width: i32,
    /// Rows above the base line.
    pub(crate) above: i32,
    /// Rows below it.
    pub(crate) below: i32,
}

#[derive(Debug)]
enum Kind {
    Strokes { text: String, scale: f64 },
    Outlines(Vec<(i32, Rc<Bitmap>)>),
}

/// Whether a text can be drawn as it is.
pub(crate) fn can_draw(text: &str) -> bool {
    is_ascii(text) || FONTS.with_borrow_mut(|fonts| fonts.have(text))
}

impl Lettering {
    /// Measures a text at OpenCV's scale. What cannot be drawn becomes question marks.
    ///
    /// # Errors
    /// OpenCV's own; none is known.
    pub(crate) fn new(text: &str, scale: f64) -> opencv::Result<Self> {
        match is_ascii(text) {
            true => Self::strokes(text, scale),
            false => Ok(Self::outlines(text, scale)),
        }
    }

    fn strokes(text: &str, scale: f64) -> opencv::Result<Self> {
        let mut below = 0;
        let size = imgproc::get_text_size(text, FONT_HERSHEY_SIMPLEX, scale, 1, &mut below)?;
        let text = text.to_owned();
        Ok(Self {
            kind: Kind::Strokes { text, scale },
            width: size.width,
            above: size.height,
            below,
        })
    }

    fn outlines(text: &str, scale: f64) -> Self {
        let em = (CAPITAL * scale / CAPITAL_SHARE)
            .clamp(SMALLEST, LARGEST)
            .round() as u16;
        let mut pen = 0.0;
        let letter = |c| {
            let bitmap = FONTS.with_borrow_mut(|fonts| fonts.bitmap(c, em));
            let at = pen;
            pen += bitmap.advance;
            (at as i32, bitmap)
        };
        let letters = text.chars().map(letter).collect();
        let rows = |share: f32| (share * f32::from(em)).ceil() as i32;
        Self {
            kind: Kind::Outlines(letters),
            width: pen.ceil() as i32,
            above: rows(ASCENT),
            below: rows(DESCENT),
        }
    }

    /// Draws the line; `base` is where its base line begins.
    ///
    /// # Errors
    /// OpenCV's own; none is known for an 8-bit BGR picture.
    pub(crate) fn draw(
        &self,
        picture: &mut Mat,
        base: Point,
        ink: Scalar,
        thickness: i32,
    ) -> opencv::Result<()> {
        match &self.kind {
            Kind::Strokes { text, scale } => {
                let font = FONT_HERSHEY_SIMPLEX;
                imgproc::put_text(
                    picture, text, base, font, *scale, ink, thickness, LINE_AA, false,
                )
            }
            Kind::Outlines(letters) => {
                let ink = [0, 1, 2].map(|channel| ink[channel] as f32);
                letters.iter().try_for_each(|(x, letter)| {
                    blend(picture, letter, Point::new(base.x + x, base.y), ink)
                })
            }
        }
    }
}

/// Covers a picture with a letter's ink, as far as it lies on it.
fn blend(picture: &mut Mat, letter: &Bitmap, pen: Point, ink: [f32; 3]) -> opencv::Result<()> {
    let columns = usize::try_from(picture.cols()).unwrap_or(0);
    let left = pen.x + letter.left;
    let skipped = usize::try_from(-left).unwrap_or(0);
    let first = usize::try_from(left).unwrap_or(0).min(columns);
    for (y, coverage) in
        (pen.y + letter.top..).zip(letter.coverage.chunks_exact(letter.width.max(1)))
    {
        if !(0..picture.rows()).contains(&y) {
            continue;
        }
        let row = &mut picture.at_row_mut::<Vec3b>(y)?[first..];
        for (pixel, share) in row.iter_mut().zip(coverage.iter().skip(skipped)) {
            for (channel, ink) in pixel.0.iter_mut().zip(ink) {
                let back = f32::from(*channel);
                *channel = (back + (ink - back) * share).round() as u8;
            }
        }
    }
    Ok(())
}

fn is_ascii(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_graphic() || c == ' ')
}
