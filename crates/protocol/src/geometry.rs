//! Sizes in pixels and boxes in shares of a picture. Pure.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A picture's width and height in pixels, written `WxH`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Size {
    /// Width, 1 to 4096 if it was parsed.
    pub width: u16,
    /// Height, 1 to 4096 if it was parsed.
    pub height: u16,
}

impl From<Size> for [u16; 2] {
    fn from(Size { width, height }: Size) -> Self {
        [width, height]
    }
}

impl From<[u16; 2]> for Size {
    fn from([width, height]: [u16; 2]) -> Self {
        Self { width, height }
    }
}

impl Size {
    /// Returns the largest size of this shape that fits into another, to the nearest pixel and at least one.
    pub fn fitted(self, within: Self) -> Self {
        let [w, h] = [self.width, self.height].map(|side| u64::from(side.max(1)));
        let [max_w, max_h] = [within.width, within.height].map(u64::from);
        let scaled = |side: u64, to: u64, of: u64| {
            let nearest = (2 * side * to + of) / (2 * of);
            u16::try_from(nearest).unwrap_or(u16::MAX).max(1)
        };
        // The side that is the first to reach its end decides.
        match w * max_h >= h * max_w {
            true => Self {
                width: within.width,
                height: scaled(h, max_w, w).min(within.height),
            },
            false => Self {
                width: scaled(w, max_h, h).min(within.width),
                height: within.height,
            },
        }
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let side = |s: &str| {
            // `parse` takes a sign too.
            let digits = s.bytes().all(|digit| digit.is_ascii_digit());
            let side = s.parse::<u16>().ok();
            side.filter(|n| digits && (1..=4096).contains(n))
        };
        s.split_once('x')
            .and_then(|(w, h)| {
                Some(Self {
                    width: side(w)?,
                    height: side(h)?,
                })
            })
            .ok_or_else(|| {
                "a size is WIDTHxHEIGHT in pixels, 1 to 4096 each, as in 300x200".to_owned()
            })
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// A rectangle in the displayed picture: shares of its width and height, origin top left, written `[x0, y0, x1, y1]`.
///
/// Parts of it may lie outside 0 to 1 when an object leaves the picture. The detector
/// also uses it in pixels of the network's input.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(from = "[f32; 4]", into = "[f32; 4]")]
pub struct BBox {
    /// Left edge.
    pub x0: f32,
    /// Top edge.
    pub y0: f32,
    /// Right edge.
    pub x1: f32,
    /// Bottom edge.
    pub y1: f32,
}

impl BBox {
    /// The whole picture.
    pub const PICTURE: Self = Self::new(0.0, 0.0, 1.0, 1.0);

    /// Returns the box with these edges.
    pub const fn new(x0: f32, y0: f32, x1: f32, y1: f32) -> Self {
        Self { x0, y0, x1, y1 }
    }

    /// Returns the edges as `[x0, y0, x1, y1]`.
    pub fn edges(self) -> [f32; 4] {
        [self.x0, self.y0, self.x1, self.y1]
    }

    /// Returns the width; negative if the edges are swapped.
    pub fn width(self) -> f32 {
        self.x1 - self.x0
    }

    /// Returns the height; negative if the edges are swapped.
    pub fn height(self) -> f32 {
        self.y1 - self.y0
    }

    /// Returns the centre as `[x, y]`.
    pub fn centre(self) -> [f32; 2] {
        [
            f32::midpoint(self.x0, self.x1),
            f32::midpoint(self.y0, self.y1),
        ]
    }

    /// Returns the area; 0 if the edges are swapped.
    pub fn area(self) -> f32 {
        self.width().max(0.0) * self.height().max(0.0)
    }

    /// Returns the box moved by `[dx, dy]`.
    #[must_use]
    pub fn moved(self, [dx, dy]: [f32; 2]) -> Self {
        Self::new(self.x0 + dx, self.y0 + dy, self.x1 + dx, self.y1 + dy)
    }

    /// Returns the box scaled around its centre by one factor for each axis.
    #[must_use]
    pub fn scaled(self, [horizontal, vertical]: [f32; 2]) -> Self {
        let [x, y] = self.centre();
        let (w, h) = (
            horizontal * self.width() / 2.0,
            vertical * self.height() / 2.0,
        );
        Self::new(x - w, y - h, x + w, y + h)
    }

    /// Returns the part that lies in the picture; an edge outside moves onto the picture's.
    #[must_use]
    pub fn clipped(self) -> Self {
        self.edges().map(|edge| edge.clamp(0.0, 1.0)).into()
    }

    /// Returns the area that two boxes share.
    pub fn intersection(self, other: Self) -> f32 {
        let width = self.x1.min(other.x1) - self.x0.max(other.x0);
        let height = self.y1.min(other.y1) - self.y0.max(other.y0);
        width.max(0.0) * height.max(0.0)
    }

    /// Returns the intersection over union (Jaccard index), 0 to 1; 0 for two boxes without area.
    pub fn iou(self, other: Self) -> f32 {
        let intersection = self.intersection(other);
        let union = self.area() + other.area() - intersection;
        if union > 0.0 {
            intersection / union
        } else {
            0.0
        }
    }
}

impl From<[f32; 4]> for BBox {
    fn from([x0, y0, x1, y1]: [f32; 4]) -> Self {
        Self::new(x0, y0, x1, y1)
    }
}

impl From<BBox> for [f32; 4] {
    fn from(bbox: BBox) -> Self {
        bbox.edges()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_picture_that_is_fitted_keeps_its_shape() {
        let size = |text: &str| text.parse::<Size>().unwrap();
        for (from, within, expected) in [
            ("300x200", "640x480", "640x427"),
            ("1920x1080", "640x480", "640x360"),
            ("1080x1920", "640x480", "270x480"),
            ("640x480", "640x480", "640x480"),
            ("4096x1", "640x480", "640x1"),
            ("1x4096", "640x480", "1x480"),
        ] {
            assert_eq!(size(from).fitted(size(within)), size(expected), "{from}");
        }
    }

    proptest! {
        #[test]
        fn any_text_that_is_a_size_is_shown_as_the_same_size(text in "[0-9x+ .-]{0,12}") {
            if let Ok(size) = text.parse::<Size>() {
                prop_assert_eq!(size.to_string().parse(), Ok(size));
            }
        }
    }

    #[test]
    fn sizes_are_width_x_height() {
        let size: Size = "300x200".parse().unwrap();
        assert_eq!(
            (size.width, size.height, size.to_string().as_str()),
            (300, 200, "300x200")
        );
        for bad in ["300", "0x200", "300x", "5000x1", "-1x2", "3x4x5", "+3x4"] {
            assert!(bad.parse::<Size>().is_err(), "{bad}");
        }
    }

    #[test]
    fn half_of_a_box_beside_itself_is_a_third() {
        let bbox = BBox::new(0.2, 0.2, 0.4, 0.6);
        assert!((bbox.iou(bbox.moved([0.1, 0.0])) - 1.0 / 3.0).abs() < 1e-6);
        assert!(bbox.iou(bbox.moved([0.2, 0.0])) < 1e-6);
        assert!((bbox.iou(bbox) - 1.0).abs() < 1e-6);
        assert!(BBox::default().iou(BBox::default()) < 1e-6, "no area");
    }

    #[test]
    fn scaling_keeps_the_centre_and_clipping_the_part_inside() {
        let bbox = BBox::new(0.1, 0.2, 0.3, 0.6);
        let scaled = bbox.scaled([2.0, 0.5]);
        for (edge, expected) in scaled.edges().into_iter().zip([0.0, 0.3, 0.4, 0.5]) {
            assert!((edge - expected).abs() < 1e-6, "{scaled:?}");
        }
        let clipped = bbox.moved([-0.2, 0.7]).clipped();
        for (edge, expected) in clipped.edges().into_iter().zip([0.0, 0.9, 0.1, 1.0]) {
            assert!((edge - expected).abs() < 1e-6, "{clipped:?}");
        }
    }

    #[test]
    fn a_box_is_written_as_four_numbers() {
        let bbox = BBox::new(0.25, 0.5, 0.75, 1.0);
        assert_eq!(serde_json::to_string(&bbox).unwrap(), "[0.25,0.5,0.75,1.0]");
        assert_eq!(
            serde_json::from_str::<BBox>("[0.25,0.5,0.75,1.0]").unwrap(),
            bbox
        );
    }
}
