//! Where all transports hand in what they received: the newest frame goes into a slot of one, boxes into the timeline, the
//! rest into the status.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use platform::latest::Sender;
use protocol::datagram::{Datagram, classify};
use protocol::detections::Detections;
use protocol::frame::Frame;
use protocol::geometry::Size;
use protocol::label::CameraName;
use protocol::lease::RelayKind;
use protocol::quic::{MAX_CAMERAS, ServerMessage};
use protocol::transport::Transport;
use quic::client::ControlEvent;
use quic::receive::Incoming;
use tokio::sync::watch;
use tracing::{debug, info, trace};

use super::status::{LinkState, ReceiveStatus};
use crate::loss::LossCounter;
use crate::shared_box_timeline::SharedBoxTimeline;

/// A frame on its way to the window.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ReceivedFrame {
    /// The frame as it came.
    pub(crate) frame: Frame,
    /// Number of the frame: its label's, or counted by the viewer.
    pub(crate) seq: u64,
    /// The transport by which it came.
    pub(crate) transport: Transport,
}

/// The receiving side of the slot, the box timeline and the status.
pub(super) struct Inbox {
    frames: Sender<ReceivedFrame>,
    timeline: Arc<SharedBoxTimeline>,
    status: watch::Sender<ReceiveStatus>,
    counter: LossCounter,
    /// It has been logged that frames have more boxes than are drawn.
    crowded: bool,
}

impl Inbox {
    pub(super) fn new(
        frames: Sender<ReceivedFrame>,
        timeline: Arc<SharedBoxTimeline>,
        status: watch::Sender<ReceiveStatus>,
    ) -> Self {
        Self {
            frames,
            timeline,
            status,
            counter: LossCounter::default(),
            crowded: false,
        }
    }

    /// Counts a frame and hands it on, unless a newer one came before it.
    pub(super) fn on_frame(&mut self, frame: Frame, transport: Transport) {
        let number = self.counter.accept(frame.label.as_ref(), Instant::now());
        // A frame is counted before it can be shown, so that no report has more shown than received.
        self.status.send_modify(|status| {
            status.transport = transport;
            status.counts = self.counter.counts();
        });
        let displaced = number.and_then(|seq| {
            if let Some(label) = &frame.label {
                self.timeline.on_frame(label);
            }
            self.frames.send(ReceivedFrame {
                frame,
                seq,
                transport,
            })
        });
        if displaced.is_some() {
            self.status.send_modify(|status| status.overtaken += 1);
        }
    }

    /// Notes a new connection and the cameras that the relay lists.
    pub(super) fn on_connected(&self, transport: Transport, cameras: Vec<String>) {
        self.timeline.reset();
        self.status.send_modify(|status| {
            status.transport = transport;
            status.cameras = camera_names(cameras);
        });
    }

    /// Forgets what the relay reported on the connection that has ended.
    pub(super) fn on_disconnected(&self) {
        self.status.send_modify(|status| {
            (status.camera_info, status.clock_offset) = (None, None);
            status.rendition_of = None;
            status.cameras.clear();
        });
    }

    /// Forgets what the relay reported of the camera. The list of cameras stays: the user may choose again at once.
    pub(super) fn on_camera_left(&self) {
        self.status.send_modify(|status| {
            (status.camera_info, status.clock_offset) = (None, None);
            status.rendition_of = None;
        });
    }

    /// Takes what came on a unidirectional QUIC stream: a frame, or a line with detections.
    pub(super) fn on_incoming(&mut self, incoming: Incoming) {
        match incoming {
            Incoming::Frame(jpeg, _held) => self.on_jpeg(jpeg, Transport::Quic),
            Incoming::TooLarge => self.count_dropped("too_large"),
            Incoming::Line(line) => self.on_detections_line(&line),
        }
    }

    /// Takes what should be a frame.
    pub(super) fn on_jpeg(&mut self, jpeg: Bytes, transport: Transport) {
        match classify(jpeg) {
            Ok(Datagram::Frame(frame)) => self.on_frame(frame, transport),
            Ok(_) => self.count_dropped("not_a_frame"),
            Err(reason) => self.count_dropped(reason.name()),
        }
    }

    /// Takes what should be a detections message.
    pub(super) fn on_detections_line(&mut self, line: &[u8]) {
        match Detections::parse(line) {
            Ok(message) => self.on_detections(message),
            Err(_) => self.count_dropped("not_detections"),
        }
    }

    fn on_detections(&mut self, message: Detections) {
        let (boxes, drawn) = (message.detections.len(), Detections::MAX_DRAWN);
        if boxes > drawn && !std::mem::replace(&mut self.crowded, true) {
            info!(
                boxes,
                drawn, "a frame has more boxes than are drawn; those with the best scores are"
            );
        }
        self.status.send_modify(|status| status.detections += 1);
        self.timeline.add(message);
    }

    /// Takes a control message, or what a clock exchange has found.
    pub(super) fn on_control(&self, event: ControlEvent) {
        self.status.send_modify(|status| match event {
            ControlEvent::Offset(offset) => status.clock_offset = Some(offset),
            ControlEvent::Message(ServerMessage::Camera(info)) => {
                // A name that is not a camera's is that of no label.
                status.camera_info = Some(info).filter(|i| i.name.parse::<CameraName>().is_ok());
            }
            ControlEvent::Message(ServerMessage::Cameras(cameras)) => {
                status.cameras = camera_names(cameras)
            }
            ControlEvent::Message(ServerMessage::Foreign(foreign)) => status.foreign = foreign,
            ControlEvent::Message(ServerMessage::RenditionOf(size)) => {
                status.rendition_of = size.map(Size::from);
            }
            // To senders.
            ControlEvent::Message(ServerMessage::FrameTooLarge(_) | ServerMessage::Pong(_)) => {}
        });
    }

    /// Counts what is of no use.
    pub(super) fn count_dropped(&self, reason: &'static str) {
        trace!(reason, "dropped");
        self.status.send_modify(|status| status.dropped += 1);
    }

    /// Publishes the kind of relay and the state of the connection; the relay's name has an address by now.
    pub(super) fn set_relay(&self, relay: RelayKind, link: LinkState, now: Instant) {
        self.status.send_if_modified(|status| {
            let known = (status.resolved, status.relay, status.link);
            let changed = known != (true, relay, link);
            if changed {
                debug!(?relay, ?link, "relay");
                (status.resolved, status.relay, status.link) = (true, relay, link);
                status.since = now;
            }
            changed
        });
    }

    /// Returns a receiver of the status.
    pub(super) fn statuses(&self) -> watch::Receiver<ReceiveStatus> {
        self.status.subscribe()
    }

    /// Publishes the cameras that are live.
    pub(super) fn set_cameras(&self, cameras: Vec<CameraName>) {
        self.status.send_modify(|status| status.cameras = cameras);
    }

    /// Publishes whether the relay ends each connection at once.
    pub(super) fn set_unstable(&self, unstable: bool) {
        self.status.send_modify(|status| status.unstable = unstable);
    }

    /// Publishes an error that no waiting helps against.
    pub(super) fn set_failure(&self, failure: String) {
        self.status
            .send_modify(|status| status.failure = Some(failure));
    }
}

/// Returns those that are valid camera names, in their order.
fn camera_names(cameras: Vec<String>) -> Vec<CameraName> {
    let parsed = cameras.iter().filter_map(|name| name.parse().ok());
    parsed.take(MAX_CAMERAS).collect()
}

#[cfg(test)]
mod tests {
    use platform::latest::{Received, latest};
    use protocol::label::{Label, StreamId};
    use quic::receive::Held;
    use std::time::Duration;
    use testkit::jpeg::Sketch;

    use super::*;

    fn inbox() -> (
        Inbox,
        platform::latest::Receiver<ReceivedFrame>,
        watch::Receiver<ReceiveStatus>,
    ) {
        let (sender, frames) = latest();
        let (publish, status) = watch::channel(ReceiveStatus::new(Transport::Udp, Instant::now()));
        (Inbox::new(sender, Arc::default(), publish), frames, status)
    }

    fn frame(seq: u64) -> Incoming {
        let label = Label {
            stream: StreamId(1),
            seq,
            captured_us: 5,
            camera: "yard".parse().unwrap(),
        };
        Incoming::Frame(
            label.write(&Sketch::new(300, 200).bytes()).into(),
            Held::default(),
        )
    }

    #[test]
    fn of_what_comes_only_frames_go_to_the_decoder() {
        let (mut inbox, frames, status) = inbox();
        for bytes in [
            &b"Request"[..],
            b"",
            b"\xFF\xD8\xFF",
            &protocol::control::Control::Upgrade.write(),
        ] {
            inbox.on_incoming(Incoming::Frame(
                Bytes::copy_from_slice(bytes),
                Held::default(),
            ));
        }
        assert_eq!(frames.recv(Duration::ZERO), Received::Timeout);
        assert_eq!(status.borrow().dropped, 4);
        inbox.on_incoming(frame(7));
        let Received::Value(shown) = frames.recv(Duration::ZERO) else {
            panic!("no frame");
        };
        assert_eq!(
            (shown.seq, shown.frame.size, shown.transport),
            (7, "300x200".parse().unwrap(), Transport::Quic)
        );
        assert_eq!(status.borrow().transport, Transport::Quic);
    }

    #[test]
    fn a_late_frame_counts_as_received_and_is_not_shown() {
        let (mut inbox, frames, status) = inbox();
        for seq in [1, 3, 2] {
            inbox.on_incoming(frame(seq));
        }
        let Received::Value(shown) = frames.recv(Duration::ZERO) else {
            panic!("no frame");
        };
        assert_eq!(shown.seq, 3);
        let status = status.borrow();
        assert_eq!((status.counts.received, status.counts.lost), (3, 0));
        assert_eq!(status.overtaken, 1);
    }

    #[test]
    fn messages_are_counted_where_they_can_be_read() {
        let (mut inbox, _frames, status) = inbox();
        let good = br#"{"v":1,"camera":"yard","seq":1,"t":1.5,"w":3,"h":2,"kind":"tracked","detections":[]}"#;
        for line in [&good[..], b"{", b"{}", b"[1]"] {
            inbox.on_incoming(Incoming::Line(Bytes::copy_from_slice(line)));
        }
        let status = status.borrow();
        assert_eq!((status.detections, status.dropped), (1, 3));
    }

    #[test]
    fn what_a_relay_reports_of_a_camera_counts_under_a_cameras_name_alone() {
        let (inbox, _frames, status) = inbox();
        let report = |name: &str| {
            let name = name.to_owned();
            let sender = protocol::quic::SenderInfo::default();
            let info = protocol::quic::CameraInfo { name, sender };
            inbox.on_control(ControlEvent::Message(ServerMessage::Camera(info)));
            status.borrow().camera_info.is_some()
        };
        assert!(report("yard"));
        for name in ["", "\x1b[2J", "../yard", &"x".repeat(8000)] {
            assert!(!report(name), "{name}");
        }
    }

    #[test]
    fn the_list_of_cameras_outlives_the_choice_of_another() {
        let (inbox, _frames, status) = inbox();
        inbox.on_connected(Transport::Quic, vec!["yard".to_owned(), "drive".to_owned()]);
        inbox.on_camera_left();
        assert_eq!(status.borrow().cameras.len(), 2);
    }

    #[test]
    fn boxes_are_of_one_connection() {
        let (mut inbox, frames, _status) = inbox();
        let line = br#"{"v":1,"camera":"yard","seq":7,"t":0,"w":3,"h":2,"kind":"tracked","detections":[{"id":1,"class":0,"label":"x","score":1,"box":[0,0,1,1]}]}"#;
        inbox.on_incoming(Incoming::Line(Bytes::from_static(line)));
        inbox.on_incoming(frame(7));
        let Received::Value(shown) = frames.recv(Duration::ZERO) else {
            panic!("no frame");
        };
        let boxes = |inbox: &Inbox| {
            inbox
                .timeline
                .boxes(shown.frame.label.as_ref().unwrap(), None)
                .list
        };
        assert_eq!(boxes(&inbox).len(), 1);
        inbox.on_connected(Transport::Quic, Vec::new());
        assert_eq!(boxes(&inbox).len(), 0);
    }

    #[test]
    fn what_the_relay_lists_are_cameras_names_and_not_too_many() {
        let (inbox, _frames, status) = inbox();
        let names = ["yard", "\x1b[2J", "", "front yard"].map(str::to_owned);
        inbox.on_connected(Transport::Quic, names.to_vec());
        let listed = status.borrow().cameras.clone();
        assert_eq!(listed.len(), 2);
        let many = vec!["x".to_owned(); 10 * MAX_CAMERAS];
        inbox.on_control(ControlEvent::Message(ServerMessage::Cameras(many)));
        assert_eq!(status.borrow().cameras.len(), MAX_CAMERAS);
        inbox.on_disconnected();
        assert!(status.borrow().cameras.is_empty());
    }
}
