//! All cameras, as many as the relay takes.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use protocol::CAMERA_TIMEOUT;
use protocol::label::CameraName;
use protocol::peer::{Cookie, Host, Proof, Standing};
use protocol::quic::{MAX_CAMERAS, Refusal};

use crate::camera::Camera;
use crate::cookie::CookieSecret;
use crate::frame::CameraId;
use crate::limits::HOST_CAMERAS;
use crate::ownership::{Evidence, Ownership};
use crate::source::{Admission, Rejection, SenderId, Source};

/// The table of cameras.
#[derive(Debug)]
pub(crate) struct Cameras {
    table: Vec<Camera>,
    secret: CookieSecret,
    /// Number of cameras that have appeared so far.
    appeared: u64,
    /// Number of cookies that were made for senders.
    cookies: u64,
}

/// A camera's name, given to a sender with a connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    /// Proves later that a sender is this one.
    pub(crate) proof: Proof,
    /// The sender that lost its camera by that.
    pub(crate) displaced: Option<(SenderId, Refusal)>,
}

impl Cameras {
    /// Returns an empty table.
    pub(crate) fn new(secret: CookieSecret) -> Self {
        Self {
            table: Vec::new(),
            secret,
            appeared: 0,
            cookies: 0,
        }
    }

    /// Gives a camera's name to a sender with a connection, before its first frame.
    ///
    /// # Errors
    /// [`Refusal::Taken`] if another source owns the name, [`Refusal::Full`] if there are as many cameras as the relay takes.
    pub(crate) fn claim(
        &mut self,
        source: Source,
        name: &CameraName,
        proof: &Proof,
        now: Instant,
    ) -> Result<Claim, Refusal> {
        let of_name = self.secret.of_name(name);
        let Some(id) = self.named(name) else {
            let cookie = self.new_cookie();
            let owner = Ownership::new(source, Some(cookie), now);
            let displaced = self
                .insert(name.clone(), true, owner, now)
                .map_err(|_| Refusal::Full)?;
            return Ok(Claim {
                proof: [cookie, of_name].into_iter().collect(),
                displaced: displaced.map(|sender| (sender, Refusal::Full)),
            });
        };
        let owner = &self.get(id).owner;
        let evidence = match () {
            () if self.is_of_owner(proof, owner) => Evidence::Owner,
            () if proof.contains(of_name) => Evidence::OwnerBefore,
            () => Evidence::None,
        };
        if !self.get(id).is_open_to(source, evidence, now) {
            return Err(Refusal::Taken);
        }
        let displaced = owner
            .source()
            .connection
            .filter(|sender| owner.is_connected() && Some(*sender) != source.connection);
        let known = owner.cookie().filter(|known| proof.contains(*known));
        let cookie = known.unwrap_or_else(|| self.new_cookie());
        self.get_mut(id).pass_to(source, Some(cookie), now);
        Ok(Claim {
            proof: [cookie, of_name].into_iter().collect(),
            displaced: displaced.map(|sender| (sender, Refusal::Taken)),
        })
    }

    /// Returns whether a source could send as a camera now.
    ///
    /// # Errors
    /// As [`Cameras::claim`].
    pub(crate) fn would_admit(
        &self,
        source: Source,
        name: &CameraName,
        now: Instant,
    ) -> Result<(), Refusal> {
        let has_room = || self.table.len() < MAX_CAMERAS || self.slot_for(source, now).is_some();
        match self.named(name) {
            Some(id) if self.get(id).is_open_to(source, Evidence::None, now) => Ok(()),
            Some(_) => Err(Refusal::Taken),
            None if has_room() => Ok(()),
            None => Err(Refusal::Full),
        }
    }

    /// Returns whether one of the cookies was sent to a camera's owner, or to the last owner with a connection.
    fn is_of_owner(&self, proof: &Proof, owner: &Ownership) -> bool {
        let source = owner.source();
        let of_address = || self.of_address(source.address);
        let by_udp = source.connection.is_none().then(of_address);
        let mut cookies = owner.cookie().into_iter().chain(by_udp);
        cookies.any(|cookie| proof.contains(cookie))
    }

    /// Returns the cookie of an address.
    pub(crate) fn of_address(&self, address: SocketAddr) -> Cookie {
        self.secret.of_address(address)
    }

    fn new_cookie(&mut self) -> Cookie {
        self.cookies += 1;
        self.secret.of_sender(self.cookies)
    }

    /// Counts a frame of a sender with a connection.
    pub(crate) fn admit_published(
        &mut self,
        source: Source,
        name: &CameraName,
        seq: Option<u64>,
        now: Instant,
    ) -> Result<(CameraId, Admission), Rejection> {
        let id = self.named(name).ok_or(Rejection::TooMany)?;
        let camera = self.get_mut(id);
        if camera.owner.source().connection != source.connection {
            return Err(Rejection::NotOwner(None));
        }
        Ok((id, camera.admit(source, seq, now)?))
    }

    /// Finds or makes the camera of a frame that came in a request of its own, and counts the frame. Returns the connected
    /// sender that lost its camera's slot by that, too.
    pub(crate) fn admit_posted(
        &mut self,
        source: Source,
        name: &CameraName,
        seq: Option<u64>,
        now: Instant,
    ) -> Result<((CameraId, Admission), Option<SenderId>), Rejection> {
        let (id, displaced) = match self.named(name) {
            Some(id) => (id, None),
            None => {
                let owner = Ownership::new(source, None, now);
                let displaced = self.insert(name.clone(), true, owner, now)?;
                (self.last_inserted(), displaced)
            }
        };
        let admission = self.get_mut(id).admit(source, seq, now)?;
        Ok(((id, admission), displaced))
    }

    /// Finds or makes the camera of a frame that came by UDP, and counts the frame. The sender that lost its camera's slot
    /// is always an unvalidated one, which has no connection to end.
    pub(crate) fn admit_datagram(
        &mut self,
        source: Source,
        name: Option<&CameraName>,
        seq: Option<u64>,
        now: Instant,
    ) -> Result<(CameraId, Admission), Rejection> {
        let known = match name {
            Some(name) => self.named(name),
            None => self.unlabelled(source, now),
        };
        let id = match known {
            Some(id) => id,
            None => {
                let (labelled, name) = (name.is_some(), name.cloned());
                let name = name.unwrap_or_else(|| self.free_name());
                self.insert(name, labelled, Ownership::new(source, None, now), now)?;
                self.last_inserted()
            }
        };
        Ok((id, self.get_mut(id).admit(source, seq, now)?))
    }

    fn last_inserted(&self) -> CameraId {
        let newest = (0..self.table.len()).max_by_key(|&index| self.table[index].appeared);
        CameraId(newest.unwrap_or_default())
    }

    /// Returns the camera of this name.
    fn named(&self, name: &CameraName) -> Option<CameraId> {
        let found = self.table.iter().position(|camera| camera.is_named(name));
        found.map(CameraId)
    }

    /// Returns the camera of frames without a label: the one of this address and port, else one of the same host that has
    /// fallen silent, the longest first.
    fn unlabelled(&self, source: Source, now: Instant) -> Option<CameraId> {
        let cameras = || {
            let cameras = self.table.iter().enumerate();
            cameras.filter(|(_, camera)| camera.is_unlabelled())
        };
        let same = cameras().find(|(_, camera)| camera.is_from(source.address));
        let silent = || {
            let silent = cameras().filter(|(_, camera)| {
                let same_host = camera.owner.source().host() == source.host();
                same_host && camera.is_open_to(source, Evidence::None, now)
            });
            silent.max_by_key(|(_, camera)| camera.silence(now))
        };
        same.or_else(silent).map(|(index, _)| CameraId(index))
    }

    /// Returns the camera of viewers that named none: the first that is live. One without a connection that has a
    /// slow rhythm keeps no other camera back for longer than [`CAMERA_TIMEOUT`], since the rhythm may be forged.
    pub(crate) fn default_camera(&self, now: Instant) -> Option<CameraId> {
        let live = self.ids().filter(|id| self.get(*id).is_live(now));
        live.min_by_key(|id| {
            let camera = self.get(*id);
            let pauses = !camera.owner.is_connected() && camera.silence(now) >= CAMERA_TIMEOUT;
            (pauses, camera.appeared)
        })
    }

    /// Returns whether a live camera's frames come from this address, by either transport.
    pub(crate) fn has_source(&self, address: SocketAddr, now: Instant) -> bool {
        let mut cameras = self.table.iter();
        cameras.any(|camera| {
            camera.owner.source().address == address
                && (camera.is_live(now) || camera.owner.is_connected())
        })
    }

    pub(crate) fn get(&self, id: CameraId) -> &Camera {
        &self.table[id.0]
    }

    pub(crate) fn get_mut(&mut self, id: CameraId) -> &mut Camera {
        &mut self.table[id.0]
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = CameraId> + use<> {
        (0..self.table.len()).map(CameraId)
    }

    /// Returns all cameras, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Camera> {
        self.table.iter()
    }

    /// Returns the cameras that have sent a frame, in order of appearance.
    pub(crate) fn seen(&self) -> Vec<&Camera> {
        let seen = self.table.iter().filter(|camera| camera.accepted > 0);
        let mut seen: Vec<&Camera> = seen.collect();
        seen.sort_by_key(|camera| camera.appeared);
        seen
    }

    /// Adds a camera: behind the others, or in place of another. Returns the connected sender that lost its slot by that.
    fn insert(
        &mut self,
        name: CameraName,
        labelled: bool,
        owner: Ownership,
        now: Instant,
    ) -> Result<Option<SenderId>, Rejection> {
        let place = match self.table.len() < MAX_CAMERAS {
            true => None,
            false => Some(
                self.slot_for(owner.source(), now)
                    .ok_or(Rejection::TooMany)?,
            ),
        };
        self.appeared += 1;
        let camera = Camera::new(name, labelled, owner, self.appeared);
        let Some(index) = place else {
            self.table.push(camera);
            return Ok(None);
        };
        let displaced = std::mem::replace(&mut self.table[index], camera).owner;
        let connected = displaced.is_connected();
        Ok(displaced.source().connection.filter(|_| connected))
    }

    /// Returns the slot that a newcomer gets when the table is full: that of a sender that has left, the longest silent first;
    /// else one of the host that holds most, of the least standing and there the youngest first. No sender loses its slot
    /// to one that has proved less, or whose host holds as many.
    fn slot_for(&self, newcomer: Source, now: Instant) -> Option<usize> {
        let mut held = Held::new();
        for camera in &self.table {
            let source = camera.owner.source();
            let counts = held.entry(source.host()).or_default();
            counts[..=source.standing as usize]
                .iter_mut()
                .for_each(|count| *count += 1);
        }
        let rank = |camera| rank(camera, newcomer, &held, now);
        let slots =
            (0..self.table.len()).filter_map(|index| Some((rank(&self.table[index])?, index)));
        slots.min().map(|(_, index)| index)
    }

    /// Returns the first of `cam1`, `cam2`, ... that no camera has.
    fn free_name(&self) -> CameraName {
        let taken = |name: &CameraName| self.table.iter().any(|camera| camera.is_named(name));
        (1..)
            .filter_map(|n| format!("cam{n}").parse().ok())
            .find(|name| !taken(name))
            .expect("fewer than 64 names are taken")
    }
}

/// The number of cameras of each host, for each standing: those whose senders have proved that much or more. What was
/// forged in the name of a host does not count against what the host has proved.
type Held = HashMap<Host, [usize; 3]>;

/// Returns how soon a camera's slot is given to a newcomer, the least first; `None` if it is not.
fn rank(camera: &Camera, newcomer: Source, held: &Held, now: Instant) -> Option<Rank> {
    let standing = camera.owner.source().standing;
    let silence = camera.silence(now);
    let has_left = !camera.owner.is_connected() && silence >= CAMERA_TIMEOUT;
    // A name under which no frame comes is worth no more than that of a camera that has left.
    if has_left || camera.shows_nothing(now) {
        return Some(Rank::Left(Reverse(silence)));
    }
    let held_by = |host, standing| held.get(&host).map_or(0, |of| of[standing as usize]);
    let holds = held_by(camera.owner.source().host(), standing);
    let rival = held_by(newcomer.host(), newcomer.standing);
    let weaker = standing < newcomer.standing;
    let enough = match weaker {
        true if rival < HOST_CAMERAS => 1,
        true => rival + 1,
        // An equal is to lose its slot only where that makes the hosts more equal.
        false => rival + 2,
    };
    let may_lose = weaker || standing == newcomer.standing && !camera.owner.is_established(now);
    let rank = Rank::Crowded(Reverse(holds), standing, Reverse(camera.appeared));
    (may_lose && holds >= enough).then_some(rank)
}

/// Why a camera's slot goes to a newcomer, the best reason first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// Its sender has left, this long ago.
    Left(Reverse<Duration>),
    /// Its host holds so many; the standing of its sender, and its order of appearance.
    Crowded(Reverse<usize>, Standing, Reverse<u64>),
}
