//! Grey pictures and areas of them, in pixels. Pure.

/// A picture of one byte a pixel, row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Grey {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) pixels: Vec<u8>,
}

/// A rectangle of pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Area {
    pub(super) x: i32,
    pub(super) y: i32,
    pub(super) w: i32,
    pub(super) h: i32,
}

/// An area of a picture that lies wholly in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Crop<'a> {
    picture: &'a Grey,
    area: Area,
}

impl Grey {
    /// Returns it at half the width and height: the mean of each four pixels.
    pub(super) fn halved(&self) -> Self {
        let (width, height) = (self.width / 2, self.height / 2);
        let mut pixels = Vec::with_capacity(width * height);
        for two in self.pixels.chunks_exact((2 * self.width).max(1)) {
            let (top, bottom) = two.split_at(self.width);
            let (top, bottom) = (top.as_chunks::<2>().0, bottom.as_chunks::<2>().0);
            let four = top.iter().zip(bottom);
            pixels.extend(four.map(|([a, b], [c, d])| {
                ([a, b, c, d].map(|p| u16::from(*p)).iter().sum::<u16>() / 4) as u8
            }));
        }
        Self {
            width,
            height,
            pixels,
        }
    }

    /// Returns the area of the whole picture.
    pub(super) fn area(&self) -> Area {
        Area {
            x: 0,
            y: 0,
            w: self.width as i32,
            h: self.height as i32,
        }
    }

    /// Returns the part of an area that lies in the picture.
    pub(super) fn crop(&self, area: Area) -> Crop<'_> {
        Crop {
            picture: self,
            area: area.intersection(self.area()),
        }
    }
}

impl Area {
    /// Returns the area that two areas share.
    pub(super) fn intersection(self, other: Self) -> Self {
        let (x, y) = (self.x.max(other.x), self.y.max(other.y));
        let right = (self.x + self.w).min(other.x + other.w);
        let bottom = (self.y + self.h).min(other.y + other.h);
        Self {
            x,
            y,
            w: (right - x).max(0),
            h: (bottom - y).max(0),
        }
    }

    pub(super) fn moved(self, [dx, dy]: [i32; 2]) -> Self {
        Self {
            x: self.x + dx,
            y: self.y + dy,
            ..self
        }
    }

    /// Returns the area with so many pixels more on each side.
    pub(super) fn grown(self, by: i32) -> Self {
        Self {
            x: self.x - by,
            y: self.y - by,
            w: self.w + 2 * by,
            h: self.h + 2 * by,
        }
    }
}

impl<'a> Crop<'a> {
    pub(super) fn area(&self) -> Area {
        self.area
    }

    pub(super) fn width(&self) -> usize {
        self.area.w as usize
    }

    pub(super) fn height(&self) -> usize {
        self.area.h as usize
    }

    /// Returns its rows from the top.
    pub(super) fn rows(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let (x, y, width) = (self.area.x as usize, self.area.y as usize, self.width());
        let stride = self.picture.width;
        let rows = &self.picture.pixels[(y * stride).min(self.picture.pixels.len())..];
        rows.chunks_exact(stride.max(1))
            .take(self.height())
            .map(move |row| &row[x..x + width])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(width: usize, height: usize) -> Grey {
        let pixels = (0..width * height).map(|n| n as u8).collect();
        Grey {
            width,
            height,
            pixels,
        }
    }

    #[test]
    fn half_a_picture_is_the_mean_of_fours_and_drops_odd_rims() {
        let half = ramp(5, 3).halved();
        assert_eq!((half.width, half.height), (2, 1));
        assert_eq!(half.pixels, [3, 5], "of 0, 1, 5, 6 and of 2, 3, 7, 8");
        assert!(ramp(1, 1).halved().pixels.is_empty());
    }

    #[test]
    fn a_cut_is_what_lies_in_the_picture() {
        let picture = ramp(5, 3);
        let area = |x, y, w, h| Area { x, y, w, h };
        let rows = |area| {
            picture
                .crop(area)
                .rows()
                .flatten()
                .copied()
                .collect::<Vec<_>>()
        };
        assert_eq!(rows(area(3, 1, 2, 1)), [8, 9]);
        assert_eq!(rows(area(-3, -3, 5, 4)), [0, 1]);
        for nowhere in [area(9, 9, 2, 2), area(0, 3, 2, 2), area(-5, 0, 2, 2)] {
            assert!(rows(nowhere).is_empty());
        }
    }
}
