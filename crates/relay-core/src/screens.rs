//! Who watches at the native door and in browsers: to know whether anybody wants a camera's boxes.

use std::collections::HashMap;

/// A viewer at the native door or a browser, for as long as it is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ScreenId(pub u64);

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Screens(HashMap<ScreenId, Screen>);

#[derive(Debug)]
struct Screen {
    /// What it asked for; `None` is the first one that is live.
    camera: Option<String>,
    /// Whether it wants the boxes in the picture too.
    burned: bool,
}

impl Screens {
    pub(super) fn join(&mut self, screen: ScreenId, camera: Option<String>) {
        let burned = false;
        self.0.insert(screen, Screen { camera, burned });
    }

    pub(super) fn leave(&mut self, screen: ScreenId) {
        self.0.remove(&screen);
    }

    pub(super) fn want_burned(&mut self, screen: ScreenId, burned: bool) {
        if let Some(screen) = self.0.get_mut(&screen) {
            screen.burned = burned;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether anybody watches the camera of this name, which is `shown` to those who named none or not.
    pub(super) fn watch(&self, name: &str, shown: bool) -> bool {
        self.of(name, shown).next().is_some()
    }

    /// Whether any of those wants the boxes in the picture.
    pub(super) fn are_burned_wanted(&self, name: &str, shown: bool) -> bool {
        self.of(name, shown).any(|screen| screen.burned)
    }

    fn of(&self, name: &str, shown: bool) -> impl Iterator<Item = &Screen> {
        self.0.values().filter(move |screen| match &screen.camera {
            Some(asked) => asked == name,
            None => shown,
        })
    }
}
