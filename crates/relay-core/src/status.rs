//! The relay's status on request: cameras, viewers and counters.

use std::time::{Duration, Instant};

use protocol::geometry::Size;
use protocol::label::CameraName;

use crate::Relay;
use crate::action::Action;
use crate::camera::Camera;
use crate::cameras::Cameras;
use crate::counts::RelayCounts;
use crate::frame::CameraId;
use crate::note::Note;

/// A camera whose frames come.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LiveCamera {
    pub(crate) id: CameraId,
    /// Tells the camera from another one that was given its number.
    appeared: u64,
    name: CameraName,
}

impl LiveCamera {
    fn new(id: CameraId, camera: &Camera) -> Self {
        Self {
            id,
            appeared: camera.appeared,
            name: camera.name.clone(),
        }
    }

    /// Returns the time since its last frame; `None` if another camera was given its number.
    fn silence(&self, cameras: &Cameras, now: Instant) -> Option<Duration> {
        let camera = cameras.get(self.id);
        (camera.appeared == self.appeared).then(|| camera.silence(now))
    }
}

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

    /// Publishes which cameras are live if that has changed, and reports those that are not any more.
    pub(crate) fn publish_live(&mut self, now: Instant) {
        let ids = || {
            let live = |id: &CameraId| self.cameras.get(*id).is_live(now);
            self.cameras.ids().filter(live)
        };
        let known = self.live.iter().map(|camera| (camera.id, camera.appeared));
        if known.eq(ids().map(|id| (id, self.cameras.get(id).appeared))) {
            return;
        }
        let live = ids().map(|id| LiveCamera::new(id, self.cameras.get(id)));
        let live: Vec<LiveCamera> = live.collect();
        let before = std::mem::replace(&mut self.live, live);
        for gone in before.iter().filter(|camera| !self.live.contains(camera)) {
            let note = Note::CameraGone(gone.name.clone(), gone.silence(&self.cameras, now));
            self.actions.push_back(Action::Log(note));
        }
        let names = self.live_cameras(now);
        self.actions.push_back(Action::PublishLive(names));
    }

    /// Returns whether a camera was live when that was last published.
    pub(crate) fn was_live(&self, id: CameraId) -> bool {
        self.live.iter().any(|camera| camera.id == id)
    }
}
