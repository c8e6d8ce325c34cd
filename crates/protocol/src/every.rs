//! Schedules the model: the Nth, the 2Nth, ... frame as in the tutorial, or as many as the model keeps up with.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

/// `--every`: how often a camera's frames go to the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Every {
    /// The last one of each N accepted frames.
    Nth(NonZeroU32),
    /// As many as the model keeps up with: each is offered, and the model takes the newest.
    Auto,
}

impl Every {
    /// Returns whether the camera's accepted frame number `count`, from 1, is due.
    pub fn due(self, count: u64) -> bool {
        match self {
            Self::Nth(n) => count.is_multiple_of(u64::from(n.get())),
            Self::Auto => true,
        }
    }
}

impl FromStr for Every {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        if s == "auto" {
            return Ok(Self::Auto);
        }
        // `parse` takes a sign too.
        let digits = s.bytes().all(|digit| digit.is_ascii_digit());
        let number = s.parse().ok().filter(|_| digits);
        number
            .map(Self::Nth)
            .ok_or_else(|| "a whole number from 1, or 'auto'".to_owned())
    }
}

impl fmt::Display for Every {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nth(n) => n.fmt(f),
            Self::Auto => f.write_str("auto"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_that_is_a_schedule_is_shown_as_the_same_schedule(text in "auto|[0-9+ .-]{0,12}") {
            if let Ok(every) = text.parse::<Every>() {
                prop_assert_eq!(every.to_string().parse(), Ok(every));
            }
        }
    }

    #[test]
    fn the_fourth_and_the_eighth_are_due_and_the_first_is_not() {
        let every: Every = "4".parse().unwrap();
        let due: Vec<u64> = (1..=12).filter(|&n| every.due(n)).collect();
        assert_eq!(due, [4, 8, 12]);
    }

    #[test]
    fn one_means_every_frame() {
        let every: Every = "1".parse().unwrap();
        assert!((1..100).all(|n| every.due(n)));
    }

    #[test]
    fn auto_offers_every_frame() {
        assert!((1..100).all(|n| Every::Auto.due(n)));
    }

    #[test]
    fn nothing_else_is_a_schedule() {
        for bad in ["0", "-1", "+4", "2.5", "", "often", "99999999999"] {
            assert!(bad.parse::<Every>().is_err(), "{bad}");
        }
    }
}
