//! Cameras and their places: whose frames are a camera's, and who is a stranger.
//!
//! A camera is a name, given by its label, or a source address without one. Its place belongs to the source that came
//! first. The same host with a new port or a new stream is the same camera after a restart or behind a router that chose
//! another port, so it goes on soon; another host under the same name may be anybody, and waits until the place is
//! plainly free.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use protocol::CAMERA_TIMEOUT;
use protocol::detections::Detection;
use protocol::frame::Frame;
use protocol::geometry::Size;
use protocol::label::{CameraName, StreamId};
use protocol::quic::MAX_CAMERAS;
use protocol::sequence::{Sequence, SequenceWindow};

use super::{Job, Note};

/// The same host goes on from a new port or stream after this silence of the old one, or three frame intervals.
const RESTART: Duration = Duration::from_millis(300);
/// Taken for the frame interval until there are two frames: the tutorial's.
const INTERVAL: Duration = Duration::from_millis(100);
/// Between two words to a sender that the native door is open.
const UPGRADE: Duration = Duration::from_secs(5);

/// A camera's number for as long as the relay runs; a place that is given up is given a new camera.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CameraId(pub(super) usize);

/// What a detections message says of a frame besides boxes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// The frame's number: its label's, or the relay's count.
    pub seq: u64,
    /// Capture time, or arrival, in microseconds since the Unix epoch.
    pub captured_us: u64,
    /// Width and height in the file's header, before any EXIF rotation.
    pub size: Size,
    /// Whether it came without a label.
    pub bare: bool,
}

impl Arrival {
    pub(super) fn of(frame: &Frame, count: u64, wall_us: u64) -> Self {
        let label = frame.label.as_ref();
        Self {
            seq: label.map_or(count, |label| label.seq),
            captured_us: label.map_or(wall_us, |label| label.captured_us),
            size: frame.size,
            bare: label.is_none(),
        }
    }
}

/// One camera.
#[derive(Debug)]
pub(super) struct Camera {
    pub(super) name: CameraName,
    /// Where its frames come from now.
    source: Source,
    /// That source has said good-bye.
    left: bool,
    upgraded: Option<Instant>,
    /// Its name is its label's, and not one that the relay gave to an address.
    named: bool,
    last: Instant,
    /// Smoothed time between frames.
    interval: Option<Duration>,
    /// Width and height of its frames.
    pub(super) size: Size,
    order: SequenceWindow,
    stranger_noted: bool,
    pub(super) sight: Sight,
    /// Frames accepted.
    pub(super) accepted: u64,
    /// The frame that waits for its boxes.
    pub(super) held: Option<Held>,
    /// Boxes that came too late for their frame.
    pub(super) late_boxes: Option<Vec<Detection>>,
    /// The newest frame that the model has not taken yet.
    pub(super) waiting: Option<Job>,
    /// The size in the header of the last frame that the model has answered, and that of the displayed picture, which an
    /// EXIF rotation makes another.
    turned: Option<[Size; 2]>,
}

/// On which of the last 16 inferred frames anything was found, the latest in the lowest bit; ones at the start, so that
/// nobody is called blind before 16 looks.
#[derive(Debug)]
pub(super) struct Sight(u16);

impl Default for Sight {
    fn default() -> Self {
        Self(u16::MAX)
    }
}

impl Sight {
    pub(super) fn looked(&mut self, found: bool) {
        self.0 = self.0 << 1 | u16::from(found);
    }

    /// The demo scene is never empty for long; a real one gives the demo model a false box now and then.
    pub(super) fn is_blind(&self) -> bool {
        self.0.count_ones() < 4
    }
}

/// A frame that waits for its boxes.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) job: Job,
    pub(super) until: Instant,
    /// For its own boxes, and not only until older ones are drawn on it.
    pub(super) waits: bool,
    /// Its own boxes, on their way onto it.
    pub(super) own_boxes: Option<Vec<Detection>>,
    /// It with boxes drawn on.
    pub(super) ready: Option<Bytes>,
}

/// Where a camera's frames come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Source {
    /// At the native door the one with which the connection began, which stands for it whatever routers do later.
    pub(super) address: SocketAddr,
    pub(super) stream: Option<StreamId>,
    pub(super) door: Door,
}

/// How a camera's frames come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    Plain,
    Native,
}

/// How a frame was let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    Known,
    Appeared,
    Moved,
    /// Good, but its successors came first: for those who can still use it.
    Late,
}

/// Why a good frame is nobody's.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Not from the source whose place it is; the note comes once for each occupation of the place.
    Stranger(Option<Note>),
    /// Not newer than the last one: reordered or doubled on the way.
    Late,
    /// Its label names another camera than its sender's hello.
    Misnamed,
    /// There are too many cameras.
    TooMany,
}

impl Refusal {
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Stranger(_) => "stranger",
            Self::Late => "late",
            Self::Misnamed => "misnamed",
            Self::TooMany => "too_many_cameras",
        }
    }

    pub(super) fn into_note(self) -> Option<Note> {
        match self {
            Self::Stranger(note) => note,
            Self::Late | Self::Misnamed | Self::TooMany => None,
        }
    }
}

impl Camera {
    fn new(name: CameraName, named: bool, source: Source, now: Instant) -> Self {
        Self {
            name,
            source,
            left: false,
            upgraded: None,
            named,
            last: now,
            interval: None,
            size: Size {
                width: 0,
                height: 0,
            },
            order: SequenceWindow::default(),
            stranger_noted: false,
            sight: Sight::default(),
            accepted: 0,
            held: None,
            late_boxes: None,
            waiting: None,
            turned: None,
        }
    }

    pub(super) fn is_live(&self, now: Instant) -> bool {
        now < self.ends()
    }

    /// When it will not be live any more, unless another frame comes.
    pub(super) fn ends(&self) -> Instant {
        self.last + CAMERA_TIMEOUT
    }

    /// Since its last frame.
    pub(super) fn silent(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.last)
    }

    /// Frames a second, once there are two.
    pub(super) fn fps(&self) -> Option<f64> {
        let interval = self.interval.map(|interval| interval.as_secs_f64());
        interval.filter(|seconds| *seconds > 0.0).map(f64::recip)
    }

    /// Whether its frames come from here.
    pub(super) fn is_from(&self, address: SocketAddr, door: Door) -> bool {
        (self.source.address, self.source.door) == (address, door)
    }

    /// A frame with this header turned out to be displayed at that size.
    pub(super) fn displays(&mut self, header: Size, as_size: Size) {
        self.turned = Some([header, as_size]);
    }

    /// The size at which a frame with this header is displayed, as far as is known.
    pub(super) fn displayed(&self, header: Size) -> Size {
        match self.turned {
            Some([known, displayed]) if known == header => displayed,
            _ => header,
        }
    }

    /// Its sender has gone.
    pub(super) fn leave(&mut self) {
        self.left = true;
    }

    /// Whether its sender is to be told now that the native door is open: where it is one of ours and uses the plain one.
    pub(super) fn upgrade(&mut self, now: Instant) -> bool {
        let due = self.named
            && self.source.door == Door::Plain
            && self
                .upgraded
                .is_none_or(|at| now.saturating_duration_since(at) >= UPGRADE);
        if due {
            self.upgraded = Some(now);
        }
        due
    }

    /// How long a frame may be held: most of the interval, and not all of it, since a viewer shows the newest frame only
    /// and would never show one that leaves right before its successor.
    pub(super) fn patience(&self) -> Duration {
        self.interval() * 3 / 4
    }

    /// The usual time between two frames.
    fn interval(&self) -> Duration {
        self.interval.unwrap_or(INTERVAL)
    }

    /// Whether this is the camera of such a frame, whoever holds its place.
    fn is_of(&self, name: Option<&str>, host: IpAddr) -> bool {
        match name {
            Some(name) => self.name.as_str() == name,
            None => !self.named && self.source.address.ip() == host,
        }
    }

    /// How long the place's source must have been silent before `source` may go on in it.
    fn reserved(&self, source: Source) -> Duration {
        match self.source {
            own if own == source => Duration::ZERO,
            // Nobody else on that host knows the number of the stream: it comes through the other door now.
            own if own.is_stream_of(source) && own.door != source.door => Duration::ZERO,
            own if own.address.ip() == source.address.ip() && self.left => Duration::ZERO,
            own if own.address.ip() == source.address.ip() => {
                RESTART.max(3 * self.interval()).min(CAMERA_TIMEOUT)
            }
            _ => CAMERA_TIMEOUT,
        }
    }

    /// Whether frames of `source` would be let into the place now.
    pub(super) fn is_open_to(&self, source: Source, now: Instant) -> bool {
        now.saturating_duration_since(self.last) >= self.reserved(source)
    }

    /// Lets a frame into the place, or says why not.
    fn admit(
        &mut self,
        source: Source,
        seq: Option<u64>,
        now: Instant,
    ) -> Result<Admission, Refusal> {
        if !self.is_open_to(source, now) {
            let first = !std::mem::replace(&mut self.stranger_noted, true);
            let note = first.then(|| Note::Stranger(self.name.to_string(), source.address));
            return Err(Refusal::Stranger(note));
        }
        let silence = now.saturating_duration_since(self.last);
        let moved = source != self.source;
        // The same stream goes on by another way: its numbers do too.
        let mut order = if !moved || self.source.is_stream_of(source) {
            self.order
        } else {
            SequenceWindow::default()
        };
        let place = seq.map_or(Sequence::Next(0), |seq| order.observe(seq));
        match place {
            Sequence::Next(_) => {}
            Sequence::Reordered if source.door == Door::Native && !moved => {}
            Sequence::Reordered | Sequence::Duplicate => return Err(Refusal::Late),
        }
        let newest = matches!(place, Sequence::Next(_));
        if moved {
            let next = Self::new(self.name.clone(), self.named, source, now);
            let old = std::mem::replace(self, next);
            (self.accepted, self.interval) = (old.accepted, old.interval);
        } else if self.accepted > 0 && newest {
            self.smooth(silence);
        }
        self.last = now;
        self.left = false;
        self.order = order;
        self.accepted += u64::from(newest);
        Ok(match place {
            _ if moved => Admission::Moved,
            Sequence::Next(_) => Admission::Known,
            _ => Admission::Late,
        })
    }

    /// A quarter of the new interval and three of the old; a pause is no interval.
    fn smooth(&mut self, interval: Duration) {
        if interval < CAMERA_TIMEOUT {
            let old = self.interval.unwrap_or(interval);
            self.interval = Some((3 * old + interval) / 4);
        }
    }
}

impl Source {
    fn is_stream_of(self, other: Self) -> bool {
        self.stream.is_some()
            && (self.stream, self.address.ip()) == (other.stream, other.address.ip())
    }
}

/// All cameras, in order of appearance.
#[derive(Debug, Default)]
pub(super) struct Cameras(Vec<Camera>);

impl Cameras {
    /// Finds or makes the camera of a frame, and counts the frame.
    pub(super) fn admit(
        &mut self,
        source: Source,
        name: Option<&CameraName>,
        seq: Option<u64>,
        now: Instant,
    ) -> Result<(CameraId, Admission), Refusal> {
        if let Some(CameraId(index)) = self.find(name, source.address.ip()) {
            let admission = self.0[index].admit(source, seq, now)?;
            return Ok((CameraId(index), admission));
        }
        let named = name.is_some();
        let name = name.cloned().unwrap_or_else(|| self.free_name());
        let mut camera = Camera::new(name, named, source, now);
        camera.admit(source, seq, now)?;
        let index = self.place(now)?;
        if index == self.0.len() {
            self.0.push(camera);
        } else {
            self.0[index] = camera;
        }
        Ok((CameraId(index), Admission::Appeared))
    }

    /// The camera of such a frame.
    pub(super) fn find(&self, name: Option<&CameraName>, host: IpAddr) -> Option<CameraId> {
        let name = name.map(CameraName::as_str);
        let found = self.0.iter().position(|camera| camera.is_of(name, host));
        found.map(CameraId)
    }

    /// The camera that plain viewers see: the first one that is live.
    pub(super) fn shown(&self, now: Instant) -> Option<CameraId> {
        self.0
            .iter()
            .position(|camera| camera.is_live(now))
            .map(CameraId)
    }

    pub(super) fn get(&self, id: CameraId) -> &Camera {
        &self.0[id.0]
    }

    pub(super) fn get_mut(&mut self, id: CameraId) -> &mut Camera {
        &mut self.0[id.0]
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = CameraId> + use<> {
        (0..self.0.len()).map(CameraId)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Camera> {
        self.0.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Where a new camera goes: behind the others, or in the place of the one that has been silent for longest.
    fn place(&self, now: Instant) -> Result<usize, Refusal> {
        // A spoofed flood of sources reaches this and no further.
        if self.0.len() < MAX_CAMERAS {
            return Ok(self.0.len());
        }
        let silent = self
            .0
            .iter()
            .enumerate()
            .filter(|(_, camera)| !camera.is_live(now));
        silent
            .min_by_key(|(_, camera)| camera.last)
            .map(|(index, _)| index)
            .ok_or(Refusal::TooMany)
    }

    /// The first of `cam1`, `cam2`, ... that no camera has.
    fn free_name(&self) -> CameraName {
        let taken = |name: &CameraName| self.0.iter().any(|camera| camera.name == *name);
        (1..)
            .filter_map(|n| format!("cam{n}").parse().ok())
            .find(|name| !taken(name))
            .expect("fewer than 64 names are taken")
    }
}
