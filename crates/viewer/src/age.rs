//! The age of a picture when it is displayed: true if the clocks between camera and screen have been compared, a guess if
//! they have not. Pure.

use std::time::Duration;

use protocol::label::Label;
use protocol::quic::CameraInfo;
use quic::clock::{Offset, age_us};

/// A capture time up to this far in the future is the error of two clocks that are set; beyond it they disagree.
const AHEAD_US: u64 = 50_000;
/// An age beyond this is more likely a wrong clock than an old picture.
const OLDEST_US: u64 = 60_000_000;
/// The same for clocks that have been compared. A frame may be a stopped camera's last one; a time of 1970 or of the year
/// 500 000 is not a capture time.
const OLDEST_COMPARED_US: u64 = 7 * 24 * 3600 * 1_000_000;
/// A comparison with a larger error tells nothing: its round trip took two seconds, or its sender claims that.
const MAX_ERROR_US: u64 = 1_000_000;
/// What compared clocks have drifted apart at most before they are compared again (50 ppm over 16 s).
const DRIFT_US: u64 = 800;

/// What is known of the camera's clock and ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clocks {
    /// Not compared, and assumed to be right.
    Assumed,
    /// Not compared yet.
    Pending,
    /// Compared with the relay's clock.
    Compared {
        /// The relay's clock less the camera's.
        camera: Offset,
        /// The relay's clock less the viewer's.
        ours: Offset,
    },
}

impl Clocks {
    /// Returns what is known for a frame with this label that came by QUIC, from the relay's `info` about its camera and
    /// the viewer's own offset.
    pub(crate) fn new(label: &Label, info: Option<&CameraInfo>, ours: Option<Offset>) -> Self {
        let Some(info) = info.filter(|info| info.name == label.camera.as_str()) else {
            return Self::Pending;
        };
        // A sender on the UDP transport does not compare clocks.
        let Some(us) = info.sender.offset_us else {
            return Self::Assumed;
        };
        let error_us = info.sender.error_us.unwrap_or(0);
        let camera = Offset { us, error_us };
        ours.map_or(Self::Pending, |ours| Self::Compared { camera, ours })
    }
}

/// Returns the age of a frame captured at `captured_us` by its label that is displayed at `now_us`: by the steady clock if
/// the clocks are compared, by the wall clock if they are assumed to be right; `None` when it cannot be known.
pub(crate) fn age(captured_us: u64, clocks: Clocks, now_us: u64) -> Option<Duration> {
    match clocks {
        Clocks::Pending => None,
        Clocks::Assumed => assumed(captured_us, now_us),
        Clocks::Compared { camera, ours } => {
            let error = camera.error_us.saturating_add(ours.error_us);
            if camera.error_us.max(ours.error_us) > MAX_ERROR_US {
                return None;
            }
            let age = age_us(captured_us, camera.us, now_us, ours.us);
            match u64::try_from(age) {
                Ok(age) => (age <= OLDEST_COMPARED_US).then(|| Duration::from_micros(age)),
                Err(_) => {
                    let within = age.unsigned_abs() <= error.saturating_add(DRIFT_US);
                    within.then_some(Duration::ZERO)
                }
            }
        }
    }
}

/// Returns the age by two clocks that are not compared; `None` when they cannot both be right.
fn assumed(captured_us: u64, now_us: u64) -> Option<Duration> {
    if captured_us > now_us.saturating_add(AHEAD_US) {
        return None;
    }
    let age = now_us.saturating_sub(captured_us);
    (age <= OLDEST_US).then(|| Duration::from_micros(age))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use protocol::label::StreamId;
    use protocol::quic::SenderInfo;

    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const SECOND: u64 = 1_000_000;
    const HOUR: i64 = 3_600_000_000;
    const NOW: u64 = 1_763_820_000 * SECOND;

    fn offset(us: i64) -> Offset {
        Offset { us, error_us: 5000 }
    }

    fn compared(camera: i64, ours: i64) -> Clocks {
        Clocks::Compared {
            camera: offset(camera),
            ours: offset(ours),
        }
    }

    #[test]
    fn the_age_is_right_whoever_is_an_hour_off() {
        for (camera, ours) in [(0, 0), (HOUR, 0), (0, HOUR), (-HOUR, HOUR)] {
            let captured = NOW.checked_add_signed(-camera).unwrap();
            let now = (NOW + 60_000).checked_add_signed(-ours).unwrap();
            assert_eq!(age(captured, compared(camera, ours), now), Some(60 * MS));
        }
    }

    #[test]
    fn below_zero_within_the_clocks_error_is_zero_and_beyond_it_unknown() {
        let clocks = compared(0, 0);
        assert_eq!(age(NOW + 10_000, clocks, NOW), Some(Duration::ZERO));
        assert_eq!(age(NOW + 10_801, clocks, NOW), None);
    }

    #[test]
    fn compared_clocks_are_believed_for_a_week() {
        let age = |age_us| age(NOW - age_us, compared(0, 0), NOW);
        let day = 86_400 * SECOND;
        for believed in [day, 7 * day] {
            assert_eq!(age(believed), Some(Duration::from_micros(believed)));
        }
        assert_eq!((age(7 * day + 1), age(NOW)), (None, None));
    }

    #[test]
    fn a_comparison_that_may_be_wrong_by_seconds_tells_no_age() {
        let with = |error_us| {
            let of = |us| Offset { us, error_us };
            let (camera, ours) = (of(0), of(0));
            age(NOW + 1000, Clocks::Compared { camera, ours }, NOW)
        };
        assert_eq!(with(1_000_000), Some(Duration::ZERO));
        assert_eq!((with(1_000_001), with(u64::MAX)), (None, None));
    }

    #[test]
    fn an_age_that_clocks_nobody_compared_cannot_both_mean_is_unknown() {
        let age = |captured, now| age(captured, Clocks::Assumed, now);
        assert_eq!(age(NOW - 35_000, NOW), Some(35 * MS));
        assert_eq!(age(NOW + 50_000, NOW), Some(Duration::ZERO));
        assert_eq!(age(NOW + 50_001, NOW), None);
        assert_eq!(age(NOW - 60 * SECOND, NOW), Some(Duration::from_secs(60)));
        assert_eq!(age(NOW - 60 * SECOND - 1, NOW), None);
        assert_eq!(
            (age(0, NOW), age(u64::MAX, NOW), age(u64::MAX, u64::MAX)),
            (None, None, Some(Duration::ZERO))
        );
    }

    #[test]
    fn absurd_offsets_overflow_nothing_and_tell_no_age() {
        let extremes = [i64::MIN, i64::MIN + 1, i64::MAX - 1, i64::MAX];
        for (camera, ours) in extremes.iter().flat_map(|c| extremes.map(|o| (*c, o))) {
            for error_us in [0, u64::MAX] {
                let of = |us| Offset { us, error_us };
                let (camera, ours) = (of(camera), of(ours));
                let clocks = Clocks::Compared { camera, ours };
                for age in [age(u64::MAX, clocks, 0), age(0, clocks, u64::MAX)] {
                    // Extremes of both signs may cancel each other out.
                    assert!(age.is_none_or(|age| error_us == 0 && age < MS));
                }
            }
        }
    }

    proptest! {
        #[test]
        fn an_age_is_unknown_or_one_that_a_picture_can_have(
            captured in any::<u64>(), now in any::<u64>(), camera in any::<(i64, u64)>(), ours in any::<(i64, u64)>(),
            near in any::<bool>(),
        ) {
            let of = |(us, error_us)| Offset { us: if near { us % 1000 } else { us }, error_us };
            let (camera, ours) = (of(camera), of(ours));
            for clocks in [Clocks::Pending, Clocks::Assumed, Clocks::Compared { camera, ours }] {
                for captured in [captured, now, now.wrapping_sub(captured % 1000)] {
                    let age = age(captured, clocks, now).unwrap_or_default();
                    prop_assert!(age <= Duration::from_micros(OLDEST_COMPARED_US));
                }
            }
        }
    }

    #[test]
    fn until_both_offsets_are_known_the_age_is_not_guessed_and_without_one_it_is() {
        let label = Label {
            stream: StreamId(1),
            seq: 1,
            captured_us: NOW,
            camera: "yard".parse().unwrap(),
        };
        let info = |name: &str, offset_us| CameraInfo {
            name: name.to_owned(),
            sender: SenderInfo {
                offset_us,
                error_us: Some(5000),
                ..SenderInfo::default()
            },
        };
        let of = |info: Option<CameraInfo>, ours| Clocks::new(&label, info.as_ref(), ours);
        let ours = Some(offset(1));
        assert_eq!(of(None, ours), Clocks::Pending);
        assert_eq!(of(Some(info("drive", Some(2))), ours), Clocks::Pending);
        assert_eq!(of(Some(info("yard", Some(2))), None), Clocks::Pending);
        assert_eq!(of(Some(info("yard", None)), ours), Clocks::Assumed);
        assert_eq!(of(Some(info("yard", Some(2))), ours), compared(2, 1));
        assert_eq!(age(NOW, Clocks::Pending, NOW), None);
    }
}
