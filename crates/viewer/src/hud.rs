//! What stands on the picture: one line of figures, STALE, and the sentences for when there is no picture. The text is
//! pure; only `draw` touches pixels.

use std::time::Duration;

use imaging::draw;
use opencv::core::{Mat, Point, Rect, Scalar};
use opencv::imgproc::{self, FONT_HERSHEY_SIMPLEX, LINE_8, LINE_AA};
use opencv::prelude::*;

/// What the HUD tells.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hud {
    /// Frames per second.
    pub(crate) fps: Option<f64>,
    /// Age at display, median and 99th percentile.
    pub(crate) ages: Option<(Duration, Duration)>,
    /// Share of frames lost, 0 to 1.
    pub(crate) loss: f64,
    /// How frames travel.
    pub(crate) transport: &'static str,
    /// Width, height and JPEG quality, where the sender tells how it encodes.
    pub(crate) encoding: Option<(u16, u16, u8)>,
    /// Whether a recording runs.
    pub(crate) recording: bool,
}

impl Hud {
    /// The figures in one line.
    pub(crate) fn line(&self) -> String {
        let unknown = || "?".to_owned();
        let fps = self.fps.map_or_else(unknown, |fps| format!("{fps:.1}"));
        let ms = |age: Duration| age.as_secs_f64() * 1e3;
        let ages = self.ages.map_or_else(unknown, |(p50, p99)| {
            format!("{:.0}/{:.0} ms", ms(p50), ms(p99))
        });
        let encoding = self.encoding.map(|(w, h, q)| format!("  {w}x{h} q{q}"));
        format!(
            "{fps} fps  age {ages}  loss {:.1} %  {}{}{}",
            self.loss * 100.0,
            self.transport,
            encoding.unwrap_or_default(),
            if self.recording { "  REC" } else { "" },
        )
    }
}

/// The mark on a picture that has stood still for so long.
pub(crate) fn stale(silence: Duration) -> String {
    format!("STALE {:.1} s", silence.as_secs_f64())
}

/// Draws small `lines` at the top left, `stale` large in the middle, and the `notice` below it.
///
/// # Errors
/// OpenCV's own; never seen on an 8-bit BGR picture.
pub(crate) fn draw(
    picture: &mut Mat,
    lines: &[String],
    stale: Option<&str>,
    notice: &[String],
) -> opencv::Result<()> {
    for (n, line) in (0..).zip(lines) {
        draw::text(picture, line, Point::new(4, 4 + 22 * n))?;
    }
    let mut y = picture.rows() * 2 / 5;
    if let Some(stale) = stale {
        y = banner(picture, stale, y, 1.5, Scalar::new(0.0, 0.0, 200.0, 0.0))?;
    }
    for line in notice {
        y = banner(picture, line, y, 0.7, Scalar::all(30.0))?;
    }
    Ok(())
}

/// White text on a bar in the middle of the row `y`, smaller than `scale` where it would be wider than the picture.
/// Returns the next row.
fn banner(picture: &mut Mat, text: &str, y: i32, scale: f64, back: Scalar) -> opencv::Result<i32> {
    // The Hershey fonts know ASCII alone.
    let text: String = text
        .chars()
        .map(|c| {
            if c.is_ascii_graphic() || c == ' ' {
                c
            } else {
                '?'
            }
        })
        .collect();
    let size = |scale| imgproc::get_text_size(&text, FONT_HERSHEY_SIMPLEX, scale, 1, &mut 0);
    let room = f64::from(picture.cols()) * 0.94;
    let scale = scale.min(scale * room / f64::from(size(scale)?.width.max(1)));
    let letters = size(scale)?;
    let margin = letters.height / 2;
    let x = (picture.cols() - letters.width) / 2;
    let bar = Rect::new(
        x - margin,
        y,
        letters.width + 2 * margin,
        letters.height + 2 * margin,
    );
    imgproc::rectangle(picture, bar, back, imgproc::FILLED, LINE_8, 0)?;
    let base = Point::new(x, y + margin + letters.height);
    let thickness = if scale > 1.0 { 2 } else { 1 };
    let ink = Scalar::all(255.0);
    imgproc::put_text(
        picture,
        &text,
        base,
        FONT_HERSHEY_SIMPLEX,
        scale,
        ink,
        thickness,
        LINE_AA,
        false,
    )?;
    Ok(bar.y + bar.height + margin)
}

#[cfg(test)]
mod tests {
    use opencv::core::CV_8UC3;

    use super::*;

    #[test]
    fn the_line_tells_rate_age_loss_and_transport() {
        let hud = Hud {
            fps: Some(10.04),
            ages: Some((Duration::from_micros(35_200), Duration::from_micros(60_400))),
            loss: 0.0123,
            transport: "udp",
            encoding: None,
            recording: false,
        };
        assert_eq!(hud.line(), "10.0 fps  age 35/60 ms  loss 1.2 %  udp");
        let adapting = Hud {
            transport: "quic",
            encoding: Some((300, 200, 60)),
            ..hud
        };
        assert!(adapting.line().ends_with("quic  300x200 q60"));
        let recording = Hud {
            recording: true,
            ..hud
        };
        assert!(recording.line().ends_with("udp  REC"));
    }

    #[test]
    fn what_is_unknown_is_a_question_mark() {
        let hud = Hud {
            transport: "udp",
            ..Hud::default()
        };
        assert_eq!(hud.line(), "? fps  age ?  loss 0.0 %  udp");
    }

    #[test]
    fn a_stale_picture_tells_since_when() {
        assert_eq!(stale(Duration::from_millis(3240)), "STALE 3.2 s");
    }

    #[test]
    fn text_is_drawn_into_pictures_of_any_size() {
        for (rows, cols) in [(1, 1), (120, 160), (480, 640), (4096, 4096)] {
            let mut picture =
                Mat::new_rows_cols_with_default(rows, cols, CV_8UC3, Scalar::all(0.0)).unwrap();
            let lines = ["10.0 fps".to_owned(), "ü".repeat(100)];
            draw(&mut picture, &lines, Some("STALE 3.2 s"), &lines).unwrap();
        }
    }
}
