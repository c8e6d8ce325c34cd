//! Which camera key `n` chooses, by the relay's list of those that are live. Pure.

use protocol::label::CameraName;

/// The camera behind the current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NextCamera<'a> {
    /// The relay lists none.
    None,
    /// The current one is the only one.
    Only,
    /// Another one.
    Other(&'a CameraName),
}

impl<'a> NextCamera<'a> {
    /// Returns the camera behind the current one in the list of those that are live, and the first behind the last. A
    /// current one that is not live counts as the last.
    pub(crate) fn new(live: &'a [CameraName], current: Option<&str>) -> Self {
        let is_current = |camera: &&CameraName| Some(camera.as_str()) == current;
        let start = live.iter().position(|camera| is_current(&camera));
        let behind = live.iter().cycle().skip(start.map_or(0, |at| at + 1));
        let other = behind.take(live.len()).find(|camera| !is_current(camera));
        match other {
            Some(camera) => Self::Other(camera),
            None if live.is_empty() => Self::None,
            None => Self::Only,
        }
    }

    /// Returns what the window shows of it.
    pub(crate) fn note(self) -> String {
        match self {
            Self::None => "no other camera: the relay lists none".to_owned(),
            Self::Only => "no other camera is live".to_owned(),
            Self::Other(camera) => format!("camera {camera}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the names that `presses` of the key choose, from `current` on.
    fn chosen(live: &[&str], current: Option<&str>, presses: usize) -> String {
        let live: Vec<CameraName> = live.iter().map(|name| name.parse().unwrap()).collect();
        let mut current = current.map(str::to_owned);
        let press = |_| {
            let NextCamera::Other(next) = NextCamera::new(&live, current.as_deref()) else {
                return "-".to_owned();
            };
            current = Some(next.to_string());
            next.to_string()
        };
        (0..presses).map(press).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn each_press_chooses_the_next_of_the_list_and_the_first_follows_the_last() {
        let live = ["yard", "drive", "gate"];
        assert_eq!(chosen(&live, Some("yard"), 4), "drive gate yard drive");
        assert_eq!(chosen(&live, Some("gate"), 1), "yard");
    }

    #[test]
    fn behind_a_camera_that_is_not_live_comes_the_first() {
        for current in [Some("shed"), None] {
            assert_eq!(chosen(&["yard", "drive"], current, 2), "yard drive");
            assert_eq!(chosen(&["yard"], current, 1), "yard");
        }
    }

    #[test]
    fn with_one_camera_or_none_there_is_no_next_and_the_note_says_which() {
        let yard: CameraName = "yard".parse().unwrap();
        let only = [yard.clone(), yard];
        assert_eq!(NextCamera::new(&only[..1], Some("yard")), NextCamera::Only);
        assert_eq!(
            NextCamera::new(&only, Some("yard")),
            NextCamera::Only,
            "listed twice"
        );
        assert_eq!(NextCamera::new(&[], Some("yard")), NextCamera::None);
        assert_ne!(NextCamera::Only.note(), NextCamera::None.note());
    }
}
