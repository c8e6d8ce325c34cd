//! One camera: whose frames are its own, how often they come and in which order.
//!
//! A camera is known by the name in its labels or by its sender's hello; by UDP and without a label by its source. The
//! same host with a new port or a new stream is the same camera after a restart, or behind a router that chose another
//! port, so it goes on soon; another host under the same name may be anything, and waits until the camera is not live any
//! more ([`Ownership`]).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use protocol::geometry::Size;
use protocol::label::CameraName;
use protocol::peer::{Cookie, Standing};
use protocol::sequence::{Sequence, SequenceWindow};
use protocol::transport::Transport;

use crate::demo::DemoMatch;
use crate::hold::HoldSlot;
use crate::limits::{ARRIVAL, UPGRADE_INTERVAL};
use crate::note::Note;
use crate::ownership::{Evidence, Ownership};
use crate::rhythm::FrameRhythm;
use crate::source::{Admission, Rejection, SenderId, Source};

/// The state of one camera.
#[derive(Debug)]
pub(crate) struct Camera {
    pub(crate) name: CameraName,
    /// Number of the camera in the order of appearance.
    pub(crate) appeared: u64,
    pub(crate) owner: Ownership,
    /// When the owner was last sent an `upgrade`.
    upgrade_sent_at: Option<Instant>,
    /// Whether the name is its labels', and not one that the relay gave to an address.
    labelled: bool,
    pub(crate) rhythm: FrameRhythm,
    /// Whether the owner's next frame is its first.
    first_frame: bool,
    /// Size of its frames.
    pub(crate) size: Size,
    sequence: SequenceWindow,
    rejection_noted: bool,
    pub(crate) demo: DemoMatch,
    /// Frames accepted.
    pub(crate) accepted: u64,
    /// Count of the last frame that went to UDP viewers.
    pub(crate) forwarded: u64,
    /// When a frame was last due for the model.
    pub(crate) last_due: Option<Instant>,
    /// What waits for UDP viewers.
    pub(crate) hold: HoldSlot,
    /// The size in the header of the last frame that the model answered, and the size at which that is displayed: an EXIF
    /// rotation makes the two differ.
    known_display_size: Option<[Size; 2]>,
}

impl Camera {
    /// Returns a camera that has sent no frame yet, the `appeared`th of all.
    pub(crate) fn new(name: CameraName, labelled: bool, owner: Ownership, appeared: u64) -> Self {
        Self {
            name,
            appeared,
            owner,
            upgrade_sent_at: None,
            labelled,
            rhythm: FrameRhythm::default(),
            first_frame: true,
            size: Size {
                width: 0,
                height: 0,
            },
            sequence: SequenceWindow::default(),
            rejection_noted: false,
            demo: DemoMatch::default(),
            accepted: 0,
            forwarded: 0,
            last_due: None,
            hold: HoldSlot::default(),
            known_display_size: None,
        }
    }

    /// Returns whether frames come.
    pub(crate) fn is_live(&self, now: Instant) -> bool {
        self.live_until().is_some_and(|until| now < until)
    }

    /// Returns when the camera will not be live any more unless another frame comes; `None` before the first frame.
    pub(crate) fn live_until(&self) -> Option<Instant> {
        self.rhythm.live_until()
    }

    /// Returns the time since the last frame; without one since its sender came.
    pub(crate) fn silence(&self, now: Instant) -> Duration {
        let since_owner = || now.saturating_duration_since(self.owner.since());
        self.rhythm.silence(now).unwrap_or_else(since_owner)
    }

    /// Returns whether its sender, which is here for a while, has sent no frame.
    pub(crate) fn shows_nothing(&self, now: Instant) -> bool {
        let since_owner = now.saturating_duration_since(self.owner.since());
        self.first_frame && since_owner >= ARRIVAL
    }

    /// Returns whether its frames come by this connection.
    pub(crate) fn is_of(&self, sender: SenderId) -> bool {
        self.owner.source().connection == Some(sender)
    }

    /// Returns whether its frames come as datagrams from this address.
    pub(crate) fn is_from(&self, address: SocketAddr) -> bool {
        let source = self.owner.source();
        (source.address, source.transport) == (address, Transport::Udp)
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

    /// Returns whether its sender is to be sent an `upgrade` now: if it is one of ours and uses the UDP transport.
    pub(crate) fn upgrade_is_due(&mut self, now: Instant) -> bool {
        let passed = |at: Instant| now.saturating_duration_since(at) >= UPGRADE_INTERVAL;
        let due = self.labelled
            && self.owner.source().transport == Transport::Udp
            && self.upgrade_sent_at.is_none_or(passed);
        if due {
            self.upgrade_sent_at = Some(now);
        }
        due
    }

    /// Returns how long a frame may be held: most of the interval and not all of it, since a viewer shows the newest frame
    /// only and would never show one that leaves right before its successor.
    pub(crate) fn hold_time(&self) -> Duration {
        self.rhythm.interval() * 3 / 4
    }

    /// Returns whether this is the camera of that name.
    pub(crate) fn is_named(&self, name: &CameraName) -> bool {
        self.name == *name
    }

    /// Returns whether its frames come without a label, and its name is the relay's.
    pub(crate) fn is_unlabelled(&self) -> bool {
        !self.labelled
    }

    /// Returns whether a source may send as this camera now, with this evidence that the camera is its own.
    pub(crate) fn is_open_to(&self, source: Source, evidence: Evidence, now: Instant) -> bool {
        self.owner.is_open_to(source, evidence, &self.rhythm, now)
    }

    /// Lets a frame in and counts it, or returns why not.
    pub(crate) fn admit(
        &mut self,
        source: Source,
        seq: Option<u64>,
        now: Instant,
    ) -> Result<Admission, Rejection> {
        if !self.is_open_to(source, Evidence::None, now) {
            if self.owner.source().is_stream_of(source) {
                // The owner's own frames, still on their way by UDP when it changed to QUIC.
                return Err(Rejection::LateOrDuplicate);
            }
            let first = !std::mem::replace(&mut self.rejection_noted, true);
            let note = first.then(|| Note::NameInUse(self.name.clone(), source.address));
            return Err(Rejection::NotOwner(note));
        }
        let moved = !self.owner.source().is_same(source);
        // The numbers of another source or stream begin anew.
        let same_stream = !moved && self.owner.source().stream == source.stream;
        let mut numbers = match same_stream {
            true => self.sequence,
            false => SequenceWindow::default(),
        };
        let sequence = seq.map_or(Sequence::Next(0), |seq| numbers.observe(seq, now));
        let newest = match sequence {
            Sequence::Next(_) => true,
            Sequence::Reordered if source.transport != Transport::Udp => false,
            Sequence::Reordered | Sequence::Duplicate => return Err(Rejection::LateOrDuplicate),
            Sequence::Absurd => return Err(Rejection::AbsurdNumber),
        };
        if moved {
            self.pass_to(source, None, now);
        }
        self.owner.set_stream_of(source);
        self.sequence = numbers;
        let first = std::mem::take(&mut self.first_frame);
        let admission = match newest {
            _ if first && self.accepted == 0 => Admission::Appeared,
            _ if first => Admission::Moved,
            true => Admission::Known,
            false => Admission::Reordered,
        };
        if newest {
            self.rhythm.on_frame(now);
            self.accepted += 1;
        }
        Ok(admission)
    }

    /// Gives the camera to another source, which begins anew. `cookie` is the proof that it was sent; by UDP none was.
    pub(crate) fn pass_to(&mut self, source: Source, cookie: Option<Cookie>, now: Instant) {
        self.owner.pass_to(source, cookie, now);
        self.first_frame = true;
        self.sequence = SequenceWindow::default();
        (self.upgrade_sent_at, self.rejection_noted) = (None, false);
        self.labelled |= source.standing > Standing::Unvalidated;
        (self.demo, self.hold) = (DemoMatch::default(), HoldSlot::default());
        self.known_display_size = None;
    }
}
