//! The text on the picture: one line of figures, STALE, and the sentences for when there is no picture. What it says is
//! pure; only [`overprint`] touches pixels.

use std::ops::Range;
use std::time::Duration;

use imaging::draw;
use opencv::core::{Mat, Point, Rect, Scalar};
use opencv::prelude::*;
use protocol::geometry::Size;

/// Height of a small line, and the top left corner of the first.
const LINE: i32 = 22;
const CORNER: i32 = 4;
/// Ages from here on are shown in seconds.
const LONG_AGE: Duration = Duration::from_secs(10);

/// The figures of the HUD.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hud {
    /// Frames per second.
    pub(crate) fps: Option<f64>,
    /// Age at display, median and 99th percentile.
    pub(crate) ages: Option<(Duration, Duration)>,
    /// Share of frames lost, 0 to 1.
    pub(crate) loss: f64,
    /// Name of the transport.
    pub(crate) transport: &'static str,
    /// Size and JPEG quality of the frame, when its sender reports how it encodes.
    pub(crate) encoding: Option<(Size, u8)>,
    /// Size of a smaller rendition that is shown, and of the frame as it came.
    pub(crate) rendition: Option<[Size; 2]>,
    /// Whether a recording runs.
    pub(crate) recording: RecordingState,
}

/// Whether a recording runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum RecordingState {
    /// None was wanted, or it has ended.
    #[default]
    Off,
    Running,
    /// It ended before it was to.
    Failed,
}

impl Hud {
    /// Returns the figures in one line.
    pub(crate) fn line(&self) -> String {
        let unknown = || "?".to_owned();
        let fps = self.fps.map_or_else(unknown, |fps| format!("{fps:.1}"));
        let ages = self
            .ages
            .map_or_else(unknown, |(p50, p99)| match p99 < LONG_AGE {
                true => format!("{:.0}/{:.0} ms", ms(p50), ms(p99)),
                false => format!("{:.0}/{:.0} s", p50.as_secs_f64(), p99.as_secs_f64()),
            });
        let encoding = match (self.rendition, self.encoding) {
            (Some([shown, original]), _) => Some(format!("  {shown} of {original}")),
            (None, encoding) => encoding.map(|(size, quality)| format!("  {size} q{quality}")),
        };
        format!(
            "{fps} fps  age {ages}  loss {:.1} %  {}{}{}",
            self.loss * 100.0,
            self.transport,
            encoding.unwrap_or_default(),
            match self.recording {
                RecordingState::Off => "",
                RecordingState::Running => "  REC",
                RecordingState::Failed => "  NOT RECORDING",
            },
        )
    }
}

fn ms(age: Duration) -> f64 {
    age.as_secs_f64() * 1e3
}

/// Returns the mark on a picture that has stood still for so long.
pub(crate) fn stale(silence: Duration) -> String {
    format!("STALE {:.1} s", silence.as_secs_f64())
}

/// Text to draw over a picture.
#[derive(Debug, Default)]
pub(crate) struct OverprintText<'a> {
    /// Small lines at the top left.
    pub(crate) lines: Vec<String>,
    /// Large text in the middle.
    pub(crate) stale: Option<String>,
    /// Lines below it.
    pub(crate) notice: &'a [String],
}

/// Draws the text over the picture, calls `show` with it, and restores the picture; `show` keeps no reference to the pixels
/// (OpenCV's windows copy them). Only the rows that the text covers are copied here.
///
/// # Errors
/// Those of `show`, and OpenCV's own, never seen on an 8-bit BGR picture.
pub(crate) fn overprint(
    picture: &mut Mat,
    text: &OverprintText<'_>,
    show: impl FnOnce(&Mat) -> opencv::Result<()>,
) -> opencv::Result<()> {
    let rows = |rows: Range<i32>, cols| Rect::new(0, rows.start, cols, rows.len() as i32);
    let mut covered = Vec::new();
    for rows in text.rows(picture.rows()).map(|r| rows(r, picture.cols())) {
        covered.push((rows, picture.roi(rows)?.try_clone()?));
    }
    let shown = draw(picture, text).and_then(|()| show(picture));
    for (rows, before) in covered {
        before.copy_to(&mut picture.roi_mut(rows)?)?;
    }
    shown
}

impl OverprintText<'_> {
    /// Returns the rows that the text covers in a picture of this height.
    fn rows(&self, height: i32) -> impl Iterator<Item = Range<i32>> + use<> {
        let lines = (!self.lines.is_empty()).then(|| 0..rows_of(self.lines.len()));
        let banners = self.stale.is_some() || !self.notice.is_empty();
        let banners = banners.then(|| height * 2 / 5..height);
        let inside = move |rows: Range<i32>| rows.start.max(0)..rows.end.min(height);
        [lines, banners].into_iter().flatten().map(inside)
    }
}

/// Returns how many rows at the top so many small lines cover.
pub(crate) fn rows_of(lines: usize) -> i32 {
    match lines {
        0 => 0,
        lines => CORNER + LINE * lines as i32,
    }
}

fn draw(picture: &mut Mat, text: &OverprintText<'_>) -> opencv::Result<()> {
    for (n, line) in (0..).zip(&text.lines) {
        draw::text(picture, line, Point::new(CORNER, CORNER + LINE * n))?;
    }
    let mut y = picture.rows() * 2 / 5;
    if let Some(stale) = &text.stale {
        y = draw::banner(picture, stale, y, 1.5, Scalar::new(0.0, 0.0, 200.0, 0.0))?;
    }
    for line in text.notice {
        y = draw::banner(picture, line, y, 0.7, Scalar::all(30.0))?;
    }
    Ok(())
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
            rendition: None,
            recording: RecordingState::Off,
        };
        assert_eq!(hud.line(), "10.0 fps  age 35/60 ms  loss 1.2 %  udp");
        let (short, long) = (Duration::from_millis(9999), Duration::from_secs(86_400));
        let old = Hud {
            ages: Some((short, long)),
            ..hud
        };
        assert!(old.line().contains("age 10/86400 s "), "{}", old.line());
        let adapting = Hud {
            transport: "quic",
            encoding: Some(("300x200".parse().unwrap(), 60)),
            ..hud
        };
        assert!(adapting.line().ends_with("quic  300x200 q60"));
        let reduced = Hud {
            rendition: Some(["320x180", "1920x1080"].map(|size| size.parse().unwrap())),
            ..adapting
        };
        assert!(reduced.line().ends_with("quic  320x180 of 1920x1080"));
        let recording = Hud {
            recording: RecordingState::Running,
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

    /// A picture of this size that has no two rows alike.
    fn ramp(rows: i32, cols: i32) -> Mat {
        let mut picture =
            Mat::new_rows_cols_with_default(rows, cols, CV_8UC3, Scalar::all(0.0)).unwrap();
        let bytes = picture.data_bytes_mut().unwrap().iter_mut();
        bytes
            .enumerate()
            .for_each(|(n, byte)| *byte = (n * 7 % 251) as u8);
        picture
    }

    #[test]
    fn text_is_drawn_into_pictures_of_any_size_and_leaves_no_trace() {
        let notice = [
            "No relay found at relay.example:8081;".to_owned(),
            "gjpqy".repeat(40),
        ];
        let text = OverprintText {
            lines: vec!["10.0 fps".to_owned(), "\u{fc}gjpqy".repeat(100)],
            stale: Some("STALE 3.2 s".to_owned()),
            notice: &notice,
        };
        for (rows, cols) in [
            (1, 1),
            (20, 30),
            (120, 160),
            (200, 3000),
            (480, 640),
            (4096, 4096),
        ] {
            let (mut picture, before) = (ramp(rows, cols), ramp(rows, cols));
            let before = before.data_bytes().unwrap();
            overprint(&mut picture, &text, |drawn| {
                assert_ne!(drawn.data_bytes()?, before);
                Ok(())
            })
            .unwrap();
            assert!(picture.data_bytes().unwrap() == before, "{rows} x {cols}");
        }
    }

    #[test]
    fn a_picture_is_shown_from_its_own_pixels_with_or_without_text() {
        let mut picture = ramp(480, 640);
        let own = picture.data();
        for lines in [vec![], vec!["10.0 fps".to_owned()]] {
            let text = OverprintText {
                lines,
                ..OverprintText::default()
            };
            let mut shown = false;
            overprint(&mut picture, &text, |drawn| {
                shown = std::ptr::eq(drawn.data(), own);
                Ok(())
            })
            .unwrap();
            assert!(shown);
        }
    }
}
