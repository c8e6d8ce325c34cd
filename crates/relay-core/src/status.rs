//! The relay's status on request: cameras, viewers and counters.

use std::time::{Duration, Instant};

use protocol::geometry::Size;
use protocol::label::CameraName;

use crate::Relay;
use crate::action::Action;
use crate::counts::RelayCounts;
use crate::frame::CameraId;

/// The status of a camera.
#[derive(Debug, Clone, PartialEq)]
pub struct CameraStatus {
    /// Its name.
    pub name: CameraName,
    /// Whether frames come.
    pub live: bool,
    /// Frames a second, smoothed; `None` if none come, or only one has.
    pub fps: Option<f64>,
    /// Size of its frames as displayed.
    pub size: Size,
    /// Time since its last frame.
    pub silence: Duration,
}

impl Relay {
    /// Returns the status of all cameras, in order of appearance.
    pub fn cameras(&self, now: Instant) -> Vec<CameraStatus> {
        let cameras = self.cameras.seen().into_iter().map(|camera| CameraStatus {
            name: camera.name.clone(),
            live: camera.is_live(now),
            fps: camera.rhythm.fps().filter(|_| camera.is_live(now)),
            size: camera.display_size(camera.size),
            silence: camera.silence(now),
        });
        cameras.collect()
    }

    /// Returns the names of the cameras that are live.
    pub fn live_cameras(&self, now: Instant) -> Vec<CameraName> {
        let seen = self.cameras.seen().into_iter();
        let live = seen.filter(|camera| camera.is_live(now));
        live.map(|camera| camera.name.clone()).collect()
    }

    /// Returns the counters since the start.
    pub fn counts(&self) -> &RelayCounts {
        &self.counts
    }

    /// Returns the numbers of UDP viewers and of subscribers now.
    pub fn viewers(&self) -> [usize; 2] {
        [self.leases.viewers().len(), self.subscribers.len()]
    }

    /// Publishes which cameras are live if that has changed.
    pub(crate) fn publish_live(&mut self, now: Instant) {
        let ids = self.cameras.ids();
        let live: Vec<CameraId> = ids
            .filter(|id| self.cameras.get(*id).is_live(now))
            .collect();
        if live != self.live {
            self.live = live;
            let names = self.live_cameras(now);
            self.actions.push_back(Action::PublishLive(names));
        }
    }
}
