//! Cameras whose detection a user has switched off: their frames go on and the model is given none of them. Pure.

use std::collections::BTreeSet;
use std::time::Instant;

use protocol::label::CameraName;
use protocol::quic::MAX_CAMERAS;

use crate::Relay;

/// The cameras whose detection is off.
#[derive(Debug, Default)]
pub(crate) struct DetectionSwitches(BTreeSet<CameraName>);

impl DetectionSwitches {
    /// Returns whether the model may be given a camera's frames.
    pub(crate) fn is_on(&self, camera: &CameraName) -> bool {
        !self.0.contains(camera)
    }
}

impl Relay {
    /// Switches the detection of a camera, known or not, until the relay ends. Returns whether that was possible: not in a
    /// table that is full of other cameras.
    pub fn set_detection(&mut self, camera: CameraName, on: bool, now: Instant) -> bool {
        let off = &mut self.detection.0;
        if on {
            off.remove(&camera);
            return true;
        }
        if off.len() >= MAX_CAMERAS && !off.contains(&camera) {
            return false;
        }
        // What is held for boxes that will not come.
        let id = self
            .cameras
            .ids()
            .find(|id| self.cameras.get(*id).name == camera);
        off.insert(camera);
        if let Some(id) = id {
            self.release(id, now);
        }
        true
    }

    /// Returns the cameras whose detection is off.
    pub fn undetected(&self) -> impl Iterator<Item = &CameraName> {
        self.detection.0.iter()
    }
}
