//! What frames the command line asks for: their largest size, which the picture is fitted into, and their quality.
//!
//! Pure.

use std::fmt;
use std::str::FromStr;

use protocol::geometry::Size;

/// Size of frames that cross a path by UDP well, as the tutorial's: at quality 80 most are below `SMALL_FRAME`.
const SMALL: Size = Size {
    width: 300,
    height: 200,
};
/// Size up to which `auto` lets frames grow where the network reports how it bears them.
const LARGE: Size = Size {
    width: 640,
    height: 480,
};
/// Count of sizes from [`LARGE`] down to [`SMALL`], the last one excluded. Each saves a quarter of the bytes (27 to 28 % at
/// quality 80, the median of 22 photographs).
const GROWTH_STEPS: u8 = 4;

/// The value of `--size`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SizeChoice {
    /// By the transport and the network: within 300x200 by UDP, up to 640x480 by the others.
    Auto,
    /// At most this size.
    Within(Size),
}

impl FromStr for SizeChoice {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "auto" => Ok(Self::Auto),
            _ => s
                .parse()
                .map(Self::Within)
                .map_err(|why| format!("{why}, or auto")),
        }
    }
}

impl fmt::Display for SizeChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Within(size) => size.fmt(f),
        }
    }
}

/// Frames as the command line asks for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameGoal {
    pub(crate) size: SizeChoice,
    /// Whether frames have exactly that size, whatever the picture's shape.
    pub(crate) stretch: bool,
    /// JPEG quality, 1 to 100.
    pub(crate) quality: u8,
    /// Whether the network changes nothing.
    pub(crate) fixed: bool,
}

impl FrameGoal {
    /// Returns the size to start with of frames of this picture.
    pub(crate) fn start(self, picture: Size) -> Size {
        match self.size {
            SizeChoice::Auto => self.sized(picture, SMALL),
            SizeChoice::Within(size) => self.sized(picture, size),
        }
    }

    /// Returns the larger sizes that a good network leads to, the largest first.
    pub(crate) fn larger(self, picture: Size) -> Vec<Size> {
        if self.size != SizeChoice::Auto || self.fixed {
            return Vec::new();
        }
        let mut sizes = vec![self.start(picture)];
        for step in (0..GROWTH_STEPS).rev() {
            let size = self.sized(picture, between(step));
            let last = sizes[sizes.len() - 1];
            if size == last {
                break;
            }
            // The picture's own size may be next to the one below: a step between them would not be seen.
            if sizes.len() > 1 && 10 * u32::from(size.width) < 11 * u32::from(last.width) {
                sizes.pop();
            }
            sizes.push(size);
        }
        sizes.reverse();
        sizes.pop();
        sizes
    }

    /// Returns the size to request from a camera. `small` if frames cannot grow, since they go by UDP alone.
    pub(crate) fn of_camera(self, small: bool) -> Size {
        match self.size {
            SizeChoice::Auto if small || self.fixed => SMALL,
            SizeChoice::Auto => LARGE,
            SizeChoice::Within(size) => size,
        }
    }

    /// Returns the size of the demo's pictures, which can be drawn at any: `auto` is that which it was designed for.
    pub(crate) fn of_demo(self) -> Size {
        self.of_camera(true)
    }

    /// Returns the size that a picture gets within `bound`; one that is smaller is not enlarged.
    fn sized(self, picture: Size, bound: Size) -> Size {
        let fits = picture.width <= bound.width && picture.height <= bound.height;
        match (self.stretch, fits) {
            (true, _) => bound,
            (false, true) => picture,
            (false, false) => picture.fitted(bound),
        }
    }
}

/// Returns the size so many steps below [`LARGE`], by a constant factor for each side.
fn between(step: u8) -> Size {
    let share = f64::from(step) / f64::from(GROWTH_STEPS);
    let side = |large: u16, small: u16| {
        let factor = (f64::from(small) / f64::from(large)).powf(share);
        (f64::from(large) * factor).round() as u16
    };
    Size {
        width: side(LARGE.width, SMALL.width),
        height: side(LARGE.height, SMALL.height),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn size(text: &str) -> Size {
        text.parse().unwrap()
    }

    fn goal(size: &str) -> FrameGoal {
        FrameGoal {
            size: size.parse().unwrap(),
            stretch: false,
            quality: 80,
            fixed: false,
        }
    }

    fn sizes(goal: FrameGoal, picture: &str) -> String {
        let picture = size(picture);
        let all = goal
            .larger(picture)
            .into_iter()
            .chain([goal.start(picture)]);
        all.map(|size| size.to_string())
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn the_picture_keeps_its_shape_within_the_size_and_is_not_enlarged() {
        for (bound, picture, expected) in [
            ("300x200", "1920x1080", "300x169"),
            ("300x200", "640x480", "267x200"),
            ("640x480", "1080x1920", "270x480"),
            ("640x480", "320x240", "320x240"),
            ("640x480", "640x480", "640x480"),
        ] {
            assert_eq!(sizes(goal(bound), picture), expected, "{picture}");
        }
    }

    #[test]
    fn stretched_frames_have_exactly_the_size() {
        let stretched = FrameGoal {
            stretch: true,
            ..goal("300x200")
        };
        for picture in ["1920x1080", "320x240", "100x100"] {
            assert_eq!(sizes(stretched, picture), "300x200");
        }
    }

    #[test]
    fn auto_starts_within_300x200_and_grows_to_640x480_in_the_pictures_shape() {
        assert_eq!(
            sizes(goal("auto"), "1280x720"),
            "640x360 530x298 438x246 363x204 300x169"
        );
        assert_eq!(
            sizes(goal("auto"), "640x480"),
            "640x480 515x386 413x310 332x249 267x200"
        );
    }

    #[test]
    fn auto_grows_to_the_pictures_own_size_without_a_step_that_is_not_seen() {
        for (picture, expected) in [
            ("300x200", "300x200"),
            ("160x120", "160x120"),
            ("320x240", "320x240 267x200"),
            ("340x255", "340x255 267x200"),
            ("400x300", "400x300 332x249 267x200"),
        ] {
            assert_eq!(sizes(goal("auto"), picture), expected, "{picture}");
        }
    }

    #[test]
    fn auto_stays_small_where_it_is_fixed_and_a_camera_is_asked_for_no_more() {
        let fixed = FrameGoal {
            fixed: true,
            ..goal("auto")
        };
        assert_eq!(sizes(fixed, "1280x720"), "300x169");
        assert_eq!(fixed.of_camera(false), SMALL);
        assert_eq!(goal("auto").of_camera(true), SMALL);
        assert_eq!(goal("auto").of_camera(false), LARGE);
        assert_eq!(goal("800x600").of_camera(true), size("800x600"));
        assert_eq!(goal("auto").of_demo(), SMALL);
    }

    #[test]
    fn the_choice_is_auto_or_a_size_and_nothing_else() {
        for text in ["auto", "640x480"] {
            assert_eq!(text.parse::<SizeChoice>().unwrap().to_string(), text);
        }
        let why = "big".parse::<SizeChoice>().unwrap_err();
        assert!(why.contains("300x200, or auto"), "{why}");
    }

    proptest! {
        #[test]
        fn the_sizes_of_any_picture_shrink_and_keep_its_shape(width in 1..=4096u16, height in 1..=4096u16) {
            let (goal, picture) = (goal("auto"), Size { width, height });
            let sizes: Vec<Size> = goal.larger(picture).into_iter().chain([goal.start(picture)]).collect();
            for pair in sizes.windows(2) {
                let (large, small) = (pair[0], pair[1]);
                prop_assert!(small.width <= large.width && small.height <= large.height && small != large);
            }
            for size in sizes {
                prop_assert!(size.width <= 640 && size.height <= 480);
                // Each side is off by half a pixel at most.
                let off = (f64::from(size.width) * f64::from(height) - f64::from(size.height) * f64::from(width)).abs();
                prop_assert!(off <= f64::from(width.max(height)), "{size} of {picture}");
            }
        }
    }
}
