//! Whose a thread's time is. Pure.
//!
//! ```text
//! all +-- a validated host ----------------- its cameras
//!     +-- another one ---------------------- its cameras
//!     +-- unvalidated +-- a host ----------- its cameras
//!                     +-- another one ------ its cameras
//! ```
//!
//! What stands below the same share has equal parts of it. So a host has its part however many cameras it names, and what
//! arrives from unvalidated addresses, which can be forged, has in all as much as one validated host.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::peer::{Host, Standing};
use protocol::quic::MAX_CAMERAS;

use crate::frame::CameraId;
use crate::source::Source;

/// Most tags: one of each camera and one of its host, and as many again of hosts that are gone and owe time.
pub(super) const MAX_TAGS: usize = 4 * MAX_CAMERAS;

/// The host whose part a camera's jobs take; by default one that is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Payer {
    host: Option<Host>,
    validated: bool,
}

impl Payer {
    /// Returns the host of a camera's source.
    pub(crate) fn of(source: Source) -> Self {
        Self {
            host: Some(source.host()),
            validated: source.standing > Standing::Unvalidated,
        }
    }
}

/// What has a part of the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Share {
    All,
    Unvalidated,
    Host(Payer),
    Camera(CameraId),
}

/// The state of a share.
#[derive(Debug, Clone, Copy, Default)]
struct Tag {
    /// Virtual time of the share above, from which the next job may run.
    start: Duration,
    /// Virtual time of the shares below: the start of the one whose job was begun last.
    virtual_time: Duration,
}

/// The tags of all shares.
#[derive(Debug, Default)]
pub(super) struct Shares(BTreeMap<Share, Tag>);

impl Shares {
    /// Notes that a camera, for which no job waited, has one now. What was idle goes on from the present: it has saved
    /// nothing. What is new pays `advance`, and so does a camera that is not `known`.
    pub(super) fn wake(&mut self, payer: Payer, camera: CameraId, known: bool, advance: Duration) {
        for (above, share) in steps(payer, camera) {
            let now = self.tag(above).virtual_time;
            let pays = !self.0.contains_key(&share) || !known && share == Share::Camera(camera);
            let advance = if pays { advance } else { Duration::ZERO };
            let tag = self.0.entry(share).or_default();
            tag.start = tag.start.max(now + advance);
        }
    }

    /// Charges a job that is begun what it is taken to cost.
    pub(super) fn begin(&mut self, payer: Payer, camera: CameraId, expected: Duration) {
        for (above, share) in steps(payer, camera) {
            let start = self.tag(share).start;
            self.0.entry(above).or_default().virtual_time = start;
            self.0.entry(share).or_default().start += expected;
        }
    }

    /// Charges a job that is done its cost, in place of what it was `expected` to be.
    pub(super) fn settle(
        &mut self,
        payer: Payer,
        camera: CameraId,
        expected: Duration,
        cost: Duration,
    ) {
        for (_, share) in steps(payer, camera) {
            if let Some(tag) = self.0.get_mut(&share) {
                tag.start = (tag.start + cost).saturating_sub(expected);
            }
        }
    }

    /// Returns the tags of a camera and of what it is a part of, the outermost first: the least is next.
    pub(super) fn turn(&self, payer: Payer, camera: CameraId) -> [Duration; 3] {
        let mut turn = [Duration::ZERO; 3];
        for (start, (_, share)) in turn.iter_mut().zip(steps(payer, camera)) {
            *start = self.tag(share).start;
        }
        turn
    }

    /// Notes that a camera is another host's now. What the old host owes stays, unless too many hosts without a camera owe
    /// something.
    pub(super) fn pass(&mut self, camera: CameraId, payers: impl Iterator<Item = Payer>) {
        self.0.remove(&Share::Camera(camera));
        if self.0.len() > MAX_TAGS {
            let kept: Vec<Payer> = payers.collect();
            self.0.retain(|share, _| match share {
                Share::Host(host) => kept.contains(host),
                _ => true,
            });
        }
    }

    fn tag(&self, share: Share) -> Tag {
        self.0.get(&share).copied().unwrap_or_default()
    }
}

/// Returns the shares of a camera's job, the outermost first, each behind the one that it is a part of.
fn steps(payer: Payer, camera: CameraId) -> impl Iterator<Item = (Share, Share)> {
    let around = match payer.validated {
        true => Share::All,
        false => Share::Unvalidated,
    };
    let outer = (!payer.validated).then_some((Share::All, Share::Unvalidated));
    let host = Share::Host(payer);
    outer
        .into_iter()
        .chain([(around, host), (host, Share::Camera(camera))])
}

#[cfg(test)]
impl Payer {
    /// Returns the host with this number.
    pub(super) fn numbered(host: u32, validated: bool) -> Self {
        let address = std::net::IpAddr::from(host.to_be_bytes());
        Self {
            host: Some(address.into()),
            validated,
        }
    }
}

#[cfg(test)]
impl Shares {
    /// Returns the tag of a camera.
    pub(super) fn start_of(&self, camera: CameraId) -> Duration {
        self.tag(Share::Camera(camera)).start
    }

    /// Returns the largest distance of a tag from the virtual time around it.
    pub(super) fn largest_debt(&self, cameras: &[(Payer, CameraId)]) -> Duration {
        let steps = cameras
            .iter()
            .flat_map(|&(payer, camera)| steps(payer, camera));
        let debt = |(above, share)| {
            let start = self.tag(share).start;
            start.saturating_sub(self.tag(above).virtual_time)
        };
        steps.map(debt).max().unwrap_or_default()
    }

    /// Returns the shares after so much time, for a camera.
    pub(super) fn after(time: Duration, payer: Payer, camera: CameraId) -> Self {
        let mut shares = Self::default();
        for (above, _) in steps(payer, camera) {
            shares.0.entry(above).or_default().virtual_time = time;
        }
        shares
    }

    /// Returns the number of tags.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
