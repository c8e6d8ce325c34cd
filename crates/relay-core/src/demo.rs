//! Whether the demo model fits what a camera shows: it knows the demo scene and nothing else.

/// Of the last 16 inferred frames so many need a detection. The demo scene is never empty for long, and a real scene gives
/// the demo model a false detection now and then.
const LEAST: u32 = 4;

/// On which of the last 16 inferred frames the model found something, the latest in the lowest bit. It begins with ones,
/// so that no model is called unfit before 16 frames.
#[derive(Debug)]
pub(crate) struct DemoMatch(u16);

impl Default for DemoMatch {
    fn default() -> Self {
        Self(u16::MAX)
    }
}

impl DemoMatch {
    /// Notes whether the model found something on a frame.
    pub(crate) fn on_inferred(&mut self, found: bool) {
        self.0 = self.0 << 1 | u16::from(found);
    }

    /// Returns whether the model does not fit the scene.
    pub(crate) fn is_mismatch(&self) -> bool {
        self.0.count_ones() < LEAST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_finds_next_to_nothing_does_not_fit() {
        let mut demo = DemoMatch::default();
        let until = (1..=u16::BITS).find(|_| {
            demo.on_inferred(false);
            demo.is_mismatch()
        });
        assert_eq!(until, Some(u16::BITS - LEAST + 1));
        (0..LEAST).for_each(|_| demo.on_inferred(true));
        assert!(!demo.is_mismatch());
    }
}
