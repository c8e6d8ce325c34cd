//! What comes in by either door, put where the window finds it: the newest frame in a slot of one, boxes on their board,
//! the rest in the status.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use platform::latest::Sender;
use protocol::datagram::{Datagram, classify};
use protocol::detections::Detections;
use protocol::label::{CameraName, Label};
use protocol::lease::RelayKind;
use protocol::quic::{CameraInfo, MAX_CAMERAS, ServerMessage};
use quic::client::ControlEvent;
use quic::clock::Offset;
use quic::frames::Incoming;
use tokio::sync::watch;
use tracing::{debug, trace};

use crate::board::Board;
use crate::stream::{Counts, Order};

/// How frames come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// One JPEG a datagram.
    Plain,
    /// QUIC.
    Native,
}

impl Door {
    /// As `--transport` names it.
    pub(crate) fn transport(self) -> &'static str {
        match self {
            Self::Plain => "udp",
            Self::Native => "quic",
        }
    }
}

/// A frame on its way to the window.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The JPEG as it came.
    pub(crate) jpeg: Bytes,
    /// Its number: the label's, or counted here.
    pub(crate) seq: u64,
    /// What its sender says of it.
    pub(crate) label: Option<Label>,
    /// Width and height.
    pub(crate) size: (u16, u16),
    /// How it came.
    pub(crate) door: Door,
}

/// How the relay's native door stands to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Native {
    /// It has not opened (yet).
    Shut,
    /// Every place there is taken.
    Full,
    /// It is open, and the connection stands.
    Open,
}

/// What the receiving side knows, for the HUD, the log and the report.
#[derive(Debug, Clone)]
pub(crate) struct Status {
    /// Whether the relay's name has an address.
    pub(crate) resolved: bool,
    /// Who is there.
    pub(crate) peer: RelayKind,
    /// The native door.
    pub(crate) native: Native,
    /// Since when these three are as they are.
    pub(crate) since: Instant,
    /// How frames come, or came last.
    pub(crate) door: Door,
    /// The cameras that are live, as far as the relay tells.
    pub(crate) cameras: Vec<CameraName>,
    /// What the relay tells of the sender whose frames these are.
    pub(crate) told: Option<CameraInfo>,
    /// The relay's clock less ours.
    pub(crate) clock: Option<Offset>,
    /// Frames so far.
    pub(crate) counts: Counts,
    /// Detections messages so far.
    pub(crate) detections: u64,
    /// What came and is no frame, no message and nothing that we asked for.
    pub(crate) dropped: u64,
    /// Frames that a newer one overtook before they could be shown.
    pub(crate) overtaken: u64,
    /// Why nothing will come any more, whatever is waited for.
    pub(crate) failure: Option<String>,
}

impl Status {
    /// Before anything came by this `door`.
    pub(crate) fn new(door: Door, now: Instant) -> Self {
        Self {
            resolved: false,
            peer: RelayKind::Silent,
            native: Native::Shut,
            since: now,
            door,
            cameras: Vec::new(),
            told: None,
            clock: None,
            counts: Counts::default(),
            detections: 0,
            dropped: 0,
            overtaken: 0,
            failure: None,
        }
    }
}

/// The receiving side's hands.
pub(super) struct Intake {
    pub(super) frames: Sender<Frame>,
    pub(super) board: Arc<Board>,
    pub(super) status: watch::Sender<Status>,
    order: Order,
}

impl Intake {
    pub(super) fn new(
        frames: Sender<Frame>,
        board: Arc<Board>,
        status: watch::Sender<Status>,
    ) -> Self {
        Self {
            frames,
            board,
            status,
            order: Order::default(),
        }
    }

    /// Takes a frame whose bytes have been scanned.
    pub(super) fn frame(&mut self, frame: protocol::frame::Frame, door: Door) {
        let number = self.order.admit(frame.label.as_ref());
        // A frame is counted before it can be shown, so that no report tells of more shown than received.
        self.status.send_modify(|status| {
            status.door = door;
            status.counts = self.order.counts();
        });
        let displaced = number.and_then(|seq| {
            if let Some(label) = &frame.label {
                self.board.frame(label);
            }
            self.frames.send(Frame {
                jpeg: frame.jpeg,
                seq,
                label: frame.label,
                size: (frame.size.width, frame.size.height),
                door,
            })
        });
        if displaced.is_some() {
            self.status.send_modify(|status| status.overtaken += 1);
        }
    }

    /// The native door is open.
    pub(super) fn opened(&self, cameras: Vec<String>) {
        self.board.reset();
        self.status.send_modify(|status| {
            status.door = Door::Native;
            status.cameras = names(cameras);
        });
    }

    /// It is open no more: what was told there is of that connection.
    pub(super) fn ended(&self) {
        self.status.send_modify(|status| {
            (status.told, status.clock) = (None, None);
            status.cameras.clear();
        });
    }

    /// Takes what came on a stream of the native door.
    pub(super) fn arrival(&mut self, arrival: Incoming) {
        match arrival {
            Incoming::Frame(jpeg) => match classify(jpeg) {
                Ok(Datagram::Frame(frame)) => self.frame(frame, Door::Native),
                Ok(_) => self.drop_it("not_a_frame"),
                Err(reason) => self.drop_it(reason.name()),
            },
            Incoming::Line(line) => match Detections::parse(&line) {
                Ok(message) => {
                    self.status.send_modify(|status| status.detections += 1);
                    self.board.add(message);
                }
                Err(_) => self.drop_it("not_detections"),
            },
        }
    }

    /// Takes what else the relay tells.
    pub(super) fn heard(&self, heard: ControlEvent) {
        self.status.send_modify(|status| match heard {
            ControlEvent::Offset(offset) => status.clock = Some(offset),
            ControlEvent::Message(ServerMessage::Camera(camera)) => status.told = Some(camera),
            ControlEvent::Message(ServerMessage::Cameras(cameras)) => {
                status.cameras = names(cameras)
            }
            ControlEvent::Message(ServerMessage::Pong(_)) => {}
        });
    }

    /// Counts what is of no use.
    pub(super) fn drop_it(&self, reason: &'static str) {
        trace!(reason, "dropped");
        self.status.send_modify(|status| status.dropped += 1);
    }

    /// Tells who is there, now that there is an address.
    pub(super) fn tell(&self, peer: RelayKind, native: Native, now: Instant) {
        self.status.send_if_modified(|status| {
            let known = (status.resolved, status.peer, status.native);
            let changed = known != (true, peer, native);
            if changed {
                debug!(?peer, ?native, "relay");
                (status.resolved, status.peer, status.native) = (true, peer, native);
                status.since = now;
            }
            changed
        });
    }
}

/// Those of a relay's words that are cameras' names, in their order.
fn names(cameras: Vec<String>) -> Vec<CameraName> {
    let parsed = cameras.iter().filter_map(|name| name.parse().ok());
    parsed.take(MAX_CAMERAS).collect()
}

#[cfg(test)]
mod tests {
    use platform::latest::{Received, latest};
    use protocol::label::StreamId;
    use std::time::Duration;
    use testkit::jpeg::Sketch;

    use super::*;

    fn intake() -> (
        Intake,
        platform::latest::Receiver<Frame>,
        watch::Receiver<Status>,
    ) {
        let (putter, taker) = latest();
        let (tell, status) = watch::channel(Status::new(Door::Plain, Instant::now()));
        (Intake::new(putter, Arc::default(), tell), taker, status)
    }

    fn frame(seq: u64) -> Incoming {
        let label = Label {
            stream: StreamId(1),
            seq,
            captured_us: 5,
            camera: "yard".parse().unwrap(),
        };
        Incoming::Frame(label.write(&Sketch::new(300, 200).bytes()).into())
    }

    #[test]
    fn of_what_comes_only_frames_go_to_the_decoder() {
        let (mut intake, taker, status) = intake();
        for bytes in [
            &b"Request"[..],
            b"",
            b"\xFF\xD8\xFF",
            &protocol::control::Control::Upgrade.write(),
        ] {
            intake.arrival(Incoming::Frame(Bytes::copy_from_slice(bytes)));
        }
        assert_eq!(taker.recv(Duration::ZERO), Received::Timeout);
        assert_eq!(status.borrow().dropped, 4);
        intake.arrival(frame(7));
        let Received::Value(shown) = taker.recv(Duration::ZERO) else {
            panic!("no frame");
        };
        assert_eq!(
            (shown.seq, shown.size, shown.door),
            (7, (300, 200), Door::Native)
        );
        assert_eq!(status.borrow().door, Door::Native);
    }

    #[test]
    fn a_late_frame_counts_as_received_and_is_not_shown() {
        let (mut intake, taker, status) = intake();
        for seq in [1, 3, 2] {
            intake.arrival(frame(seq));
        }
        let Received::Value(shown) = taker.recv(Duration::ZERO) else {
            panic!("no frame");
        };
        assert_eq!(shown.seq, 3);
        let status = status.borrow();
        assert_eq!((status.counts.received, status.counts.lost), (3, 0));
        assert_eq!(status.overtaken, 1);
    }

    #[test]
    fn messages_are_counted_where_they_can_be_read() {
        let (mut intake, _taker, status) = intake();
        let good = br#"{"v":1,"camera":"yard","seq":1,"t":1.5,"w":3,"h":2,"kind":"tracked","detections":[]}"#;
        for line in [&good[..], b"{", b"{}", b"[1]"] {
            intake.arrival(Incoming::Line(Bytes::copy_from_slice(line)));
        }
        let status = status.borrow();
        assert_eq!((status.detections, status.dropped), (1, 3));
    }

    #[test]
    fn boxes_are_of_one_connection() {
        let (mut intake, taker, _status) = intake();
        let line = br#"{"v":1,"camera":"yard","seq":7,"t":0,"w":3,"h":2,"kind":"tracked","detections":[{"id":1,"class":0,"label":"x","score":1,"box":[0,0,1,1]}]}"#;
        intake.arrival(Incoming::Line(Bytes::from_static(line)));
        intake.arrival(frame(7));
        let Received::Value(shown) = taker.recv(Duration::ZERO) else {
            panic!("no frame");
        };
        let boxes = |intake: &Intake| intake.board.boxes(shown.label.as_ref().unwrap(), None).list;
        assert_eq!(boxes(&intake).len(), 1);
        intake.opened(Vec::new());
        assert_eq!(boxes(&intake).len(), 0);
    }

    #[test]
    fn what_the_relay_lists_are_cameras_names_and_not_too_many() {
        let (intake, _taker, status) = intake();
        let words = ["yard", "\x1b[2J", "", "front door"].map(str::to_owned);
        intake.opened(words.to_vec());
        let listed = status.borrow().cameras.clone();
        assert_eq!(listed.len(), 2);
        let many = vec!["x".to_owned(); 10 * MAX_CAMERAS];
        intake.heard(ControlEvent::Message(ServerMessage::Cameras(many)));
        assert_eq!(status.borrow().cameras.len(), MAX_CAMERAS);
        intake.ended();
        assert!(status.borrow().cameras.is_empty());
    }
}
