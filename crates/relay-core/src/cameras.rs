//! All cameras, in order of appearance; as many as the relay takes.

use std::cmp::Reverse;
use std::net::IpAddr;
use std::time::Instant;

use protocol::label::CameraName;
use protocol::quic::MAX_CAMERAS;

use crate::camera::Camera;
use crate::frame::CameraId;
use crate::source::{Admission, Rejection, Source};

/// The table of cameras.
#[derive(Debug, Default)]
pub(crate) struct Cameras(Vec<Camera>);

impl Cameras {
    /// Finds or makes the camera of a frame, and counts the frame.
    pub(crate) fn admit(
        &mut self,
        source: Source,
        name: Option<&CameraName>,
        seq: Option<u64>,
        now: Instant,
    ) -> Result<(CameraId, Admission), Rejection> {
        if let Some(id) = self.find(name, source.address.ip()) {
            let admission = self.get_mut(id).admit(source, seq, now)?;
            return Ok((id, admission));
        }
        let labelled = name.is_some();
        let name = name.cloned().unwrap_or_else(|| self.free_name());
        let mut camera = Camera::new(name, labelled, source, now);
        camera.admit(source, seq, now)?;
        let index = self.free_index(now)?;
        if index == self.0.len() {
            self.0.push(camera);
        } else {
            self.0[index] = camera;
        }
        Ok((CameraId(index), Admission::Appeared))
    }

    /// Returns the camera of a frame with that name, or without one from that host.
    pub(crate) fn find(&self, name: Option<&CameraName>, host: IpAddr) -> Option<CameraId> {
        let found = self
            .0
            .iter()
            .position(|camera| camera.is_camera_of(name, host));
        found.map(CameraId)
    }

    /// Returns the camera of viewers that named none: the first that is live.
    pub(crate) fn default_camera(&self, now: Instant) -> Option<CameraId> {
        let live = self.0.iter().position(|camera| camera.is_live(now));
        live.map(CameraId)
    }

    pub(crate) fn get(&self, id: CameraId) -> &Camera {
        &self.0[id.0]
    }

    pub(crate) fn get_mut(&mut self, id: CameraId) -> &mut Camera {
        &mut self.0[id.0]
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = CameraId> + use<> {
        (0..self.0.len()).map(CameraId)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Camera> {
        self.0.iter()
    }

    /// Returns where a new camera goes: behind the others, or in place of the one that has been silent for longest. A flood
    /// of forged sources reaches this and no further.
    fn free_index(&self, now: Instant) -> Result<usize, Rejection> {
        if self.0.len() < MAX_CAMERAS {
            return Ok(self.0.len());
        }
        let cameras = self.0.iter().enumerate();
        let silent = cameras.filter(|(_, camera)| !camera.is_live(now));
        let longest = silent.min_by_key(|(_, camera)| Reverse(camera.silence(now)));
        longest.map(|(index, _)| index).ok_or(Rejection::TooMany)
    }

    /// Returns the first of `cam1`, `cam2`, ... that no camera has.
    fn free_name(&self) -> CameraName {
        let taken = |name: &CameraName| self.0.iter().any(|camera| camera.name == *name);
        (1..)
            .filter_map(|n| format!("cam{n}").parse().ok())
            .find(|name| !taken(name))
            .expect("fewer than 64 names are taken")
    }
}
