//! Who watches at the native door and in browsers: to know whether anybody wants a camera's boxes.

use std::collections::HashMap;

/// A viewer at the native door or a browser, for as long as it is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ScreenId(pub u64);

/// All of them, with the camera that each asked for; `None` is the first one that is live.
#[derive(Debug, Default)]
pub(super) struct Screens(HashMap<ScreenId, Option<String>>);

impl Screens {
    pub(super) fn join(&mut self, screen: ScreenId, camera: Option<String>) {
        self.0.insert(screen, camera);
    }

    pub(super) fn leave(&mut self, screen: ScreenId) {
        self.0.remove(&screen);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether anybody watches the camera of this name, which is `shown` to those who named none or not.
    pub(super) fn watch(&self, name: &str, shown: bool) -> bool {
        self.0.values().any(|asked| match asked {
            Some(asked) => asked == name,
            None => shown,
        })
    }
}
