//! One camera: whose frames are its own, how often they come and in which order.
//!
//! A camera is known by the name in its labels, or without labels by its source. Its name is owned by the source that
//! came first. The same host with a new port or a new stream is the same camera after a restart, or behind a router that
//! chose another port, so it goes on soon; another host under the same name may be anything, and waits until the camera
//! is not live any more.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use protocol::CAMERA_TIMEOUT;
use protocol::geometry::Size;
use protocol::label::CameraName;
use protocol::sequence::{Sequence, SequenceWindow};
use protocol::transport::Transport;

use crate::demo::DemoMatch;
use crate::hold::HoldSlot;
use crate::note::Note;
use crate::source::{Admission, Rejection, Source};

/// The same host goes on from a new port or stream after this silence of the old one, or three frame intervals.
const RESTART: Duration = Duration::from_millis(300);
/// Taken for the frame interval until there are two frames: the tutorial's.
const FIRST_INTERVAL: Duration = Duration::from_millis(100);
/// Time between two `upgrade` messages to a sender.
const UPGRADE_INTERVAL: Duration = Duration::from_secs(5);

/// The state of one camera.
#[derive(Debug)]
pub(crate) struct Camera {
    pub(crate) name: CameraName,
    owner: Source,
    /// Whether the owner closed its connection.
    owner_left: bool,
    /// When the owner was last sent an `upgrade`.
    upgrade_sent_at: Option<Instant>,
    /// Whether the name is its labels', and not one that the relay gave to an address.
    labelled: bool,
    last_frame: Instant,
    /// Smoothed time between frames.
    interval: Option<Duration>,
    /// Size of its frames.
    pub(crate) size: Size,
    sequence: SequenceWindow,
    rejection_noted: bool,
    pub(crate) demo: DemoMatch,
    /// Frames accepted.
    pub(crate) accepted: u64,
    /// What waits for UDP viewers.
    pub(crate) hold: HoldSlot,
    /// The size in the header of the last frame that the model answered, and the size at which that is displayed: an EXIF
    /// rotation makes the two differ.
    known_display_size: Option<[Size; 2]>,
}

impl Camera {
    /// Returns a camera that has sent no frame yet.
    pub(crate) fn new(name: CameraName, labelled: bool, owner: Source, now: Instant) -> Self {
        Self {
            name,
            owner,
            owner_left: false,
            upgrade_sent_at: None,
            labelled,
            last_frame: now,
            interval: None,
            size: Size {
                width: 0,
                height: 0,
            },
            sequence: SequenceWindow::default(),
            rejection_noted: false,
            demo: DemoMatch::default(),
            accepted: 0,
            hold: HoldSlot::default(),
            known_display_size: None,
        }
    }

    /// Returns whether frames come.
    pub(crate) fn is_live(&self, now: Instant) -> bool {
        now < self.live_until()
    }

    /// Returns when the camera will not be live any more unless another frame comes.
    pub(crate) fn live_until(&self) -> Instant {
        self.last_frame + CAMERA_TIMEOUT
    }

    /// Returns the time since the last frame.
    pub(crate) fn silence(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.last_frame)
    }

    /// Returns the frames a second, once there are two frames.
    pub(crate) fn fps(&self) -> Option<f64> {
        let interval = self.interval.map(|interval| interval.as_secs_f64());
        interval.filter(|seconds| *seconds > 0.0).map(f64::recip)
    }

    /// Returns whether its frames come from this source.
    pub(crate) fn is_from(&self, address: SocketAddr, transport: Transport) -> bool {
        (self.owner.address, self.owner.transport) == (address, transport)
    }

    /// Notes that a frame with this size in its header is displayed at another size.
    pub(crate) fn set_display_size(&mut self, header: Size, displayed: Size) {
        self.known_display_size = Some([header, displayed]);
    }

    /// Returns the size at which a frame with this size in its header is displayed, as far as is known.
    pub(crate) fn display_size(&self, header: Size) -> Size {
        match self.known_display_size {
            Some([known, displayed]) if known == header => displayed,
            _ => header,
        }
    }

    /// Notes that the owner closed its connection.
    pub(crate) fn on_owner_left(&mut self) {
        self.owner_left = true;
    }

    /// Returns whether its sender is to be sent an `upgrade` now: if it is one of ours and uses the UDP transport.
    pub(crate) fn upgrade_is_due(&mut self, now: Instant) -> bool {
        let passed = |at: Instant| now.saturating_duration_since(at) >= UPGRADE_INTERVAL;
        let due = self.labelled
            && self.owner.transport == Transport::Udp
            && self.upgrade_sent_at.is_none_or(passed);
        if due {
            self.upgrade_sent_at = Some(now);
        }
        due
    }

    /// Returns how long a frame may be held: most of the interval and not all of it, since a viewer shows the newest frame
    /// only and would never show one that leaves right before its successor.
    pub(crate) fn hold_time(&self) -> Duration {
        self.interval() * 3 / 4
    }

    /// Returns the usual time between two frames.
    fn interval(&self) -> Duration {
        self.interval.unwrap_or(FIRST_INTERVAL)
    }

    /// Returns whether this is the camera of a frame with that name, or without one from that host, whoever owns it.
    pub(crate) fn is_camera_of(&self, name: Option<&CameraName>, host: IpAddr) -> bool {
        match name {
            Some(name) => self.name == *name,
            None => !self.labelled && self.owner.address.ip() == host,
        }
    }

    /// Returns whether a source may send as this camera now.
    pub(crate) fn is_open_to(&self, source: Source, now: Instant) -> bool {
        self.silence(now) >= self.reserved_against(source)
    }

    /// Returns how long the owner must have been silent before a source may go on as this camera.
    fn reserved_against(&self, source: Source) -> Duration {
        let same_host = self.owner.address.ip() == source.address.ip();
        let other_transport = self.owner.transport != source.transport;
        match self.owner {
            owner if owner == source => Duration::ZERO,
            // Only the sender itself knows its stream's id on that host: it has changed its transport.
            owner if owner.is_stream_of(source) && other_transport => Duration::ZERO,
            _ if same_host && self.owner_left => Duration::ZERO,
            _ if same_host => RESTART.max(3 * self.interval()).min(CAMERA_TIMEOUT),
            _ => CAMERA_TIMEOUT,
        }
    }

    /// Lets a frame in and counts it, or returns why not.
    pub(crate) fn admit(
        &mut self,
        source: Source,
        seq: Option<u64>,
        now: Instant,
    ) -> Result<Admission, Rejection> {
        if !self.is_open_to(source, now) {
            let first = !std::mem::replace(&mut self.rejection_noted, true);
            let note = first.then(|| Note::NameInUse(self.name.clone(), source.address));
            return Err(Rejection::NotOwner(note));
        }
        let moved = source != self.owner;
        // If the same stream goes on by another transport, its numbers do too.
        let mut numbers = match !moved || self.owner.is_stream_of(source) {
            true => self.sequence,
            false => SequenceWindow::default(),
        };
        let sequence = seq.map_or(Sequence::Next(0), |seq| numbers.observe(seq, now));
        match sequence {
            Sequence::Next(_) => {}
            Sequence::Reordered if source.transport == Transport::Quic && !moved => {}
            Sequence::Reordered | Sequence::Duplicate => return Err(Rejection::LateOrDuplicate),
            Sequence::Absurd => return Err(Rejection::AbsurdNumber),
        }
        let newest = matches!(sequence, Sequence::Next(_));
        if moved {
            self.move_to(source, now);
        } else if self.accepted > 0 && newest {
            self.smooth_interval(self.silence(now));
        }
        (self.last_frame, self.owner_left, self.sequence) = (now, false, numbers);
        self.accepted += u64::from(newest);
        Ok(match newest {
            _ if moved => Admission::Moved,
            true => Admission::Known,
            false => Admission::Reordered,
        })
    }

    fn move_to(&mut self, source: Source, now: Instant) {
        let (accepted, interval) = (self.accepted, self.interval);
        *self = Self {
            accepted,
            interval,
            ..Self::new(self.name.clone(), self.labelled, source, now)
        };
    }

    /// Averages a quarter of the new interval and three of the old; a pause is not an interval.
    fn smooth_interval(&mut self, interval: Duration) {
        if interval < CAMERA_TIMEOUT {
            let old = self.interval.unwrap_or(interval);
            self.interval = Some((3 * old + interval) / 4);
        }
    }
}
