//! What must hold for any bytes. The fuzz targets call these, and so does `tests/corpus.rs`, for each committed file.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use protocol::control::Control;
use protocol::datagram::{Datagram, classify as verdict};
use protocol::detections::Detections;
use protocol::jpeg::{self, EOI, Limits, SOI};
use protocol::label::{CameraName, Label, StreamId};
use protocol::lease::{Grant, LeaseRequest, Leases, QUIET, Renewal};
use protocol::quic::{self, Answer, ClientMessage, Hello, ServerMessage};
use protocol::ticket::{Host, Ticket};

/// One datagram: what it is taken for agrees with every other reading of the same bytes.
pub fn classify(bytes: &[u8]) {
    let label = Label::read(bytes);
    if let Ok(Some(end)) = jpeg::stream_end(bytes) {
        assert!(bytes[..end].ends_with(&EOI));
    }
    match verdict(bytes.to_vec()) {
        Ok(Datagram::Frame(frame)) => {
            let limits = Limits::default();
            assert!((1..=limits.width).contains(&frame.size.width));
            assert!((1..=limits.height).contains(&frame.size.height));
            assert_eq!(frame.label, label.ok().flatten());
        }
        Ok(Datagram::Control(control)) => {
            assert_eq!(verdict(control.write()), Ok(Datagram::Control(control)));
        }
        Ok(Datagram::Request) => assert_eq!(bytes, b"Request"),
        Err(reason) => assert!(!reason.name().is_empty()),
    }
}

/// A line of the native door: what it is taken for is written and read again, whoever said it.
pub fn words(line: &[u8]) {
    fn same<T: PartialEq + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned>(
        line: &[u8],
    ) {
        if let Some(read) = quic::from_line::<T>(line) {
            assert_eq!(quic::from_line(&quic::to_line(&read)), Some(read));
        }
    }
    same::<Hello>(line);
    same::<Answer>(line);
    same::<ClientMessage>(line);
    same::<ServerMessage>(line);
    if let Some(Ok(Some(camera))) = quic::from_line::<Hello>(line).map(|hello| hello.camera()) {
        assert!(camera.as_str().len() <= CameraName::MAX);
    }
}

/// A text that somebody pasted: a ticket is written as it can be read again, and a host too.
pub fn ticket(text: &[u8]) {
    let Ok(text) = str::from_utf8(text) else {
        return;
    };
    if let Ok(ticket) = text.parse::<Ticket>() {
        assert_eq!(ticket.to_string().parse(), Ok(ticket));
    }
    if let Ok(host) = text.parse::<Host>() {
        assert_eq!(host.to_string().parse(), Ok(host));
    }
}

/// A label written into a picture: it is read again, and the picture is as good as before.
///
/// 24 bytes of numbers, a length and a name of that length, and the picture.
pub fn label(bytes: &[u8]) {
    let Some((numbers, rest)) = bytes.split_first_chunk::<24>() else {
        return;
    };
    let number = |at: usize| u64::from_be_bytes(std::array::from_fn(|i| numbers[at + i]));
    let (name, picture) = match rest {
        [length, rest @ ..] => rest.split_at(usize::from(*length).min(rest.len())),
        [] => (rest, rest),
    };
    let Some(camera) = str::from_utf8(name).ok().and_then(|name| name.parse().ok()) else {
        return;
    };
    let label = Label {
        stream: StreamId(number(0)),
        seq: number(8),
        captured_us: number(16),
        camera,
    };
    let labelled = label.write(picture);
    if !picture.starts_with(&SOI) {
        assert_eq!(labelled, picture);
        return;
    }
    assert_eq!(label.write(&labelled), labelled);
    if let Ok(header) = jpeg::scan(picture, Limits::default()) {
        assert_eq!(jpeg::scan(&labelled, Limits::default()), Ok(header));
    }
    assert_eq!(Label::read(&labelled), Ok(Some(label)));
}

/// One line of JSON: what gets through is in range, and says the same when it is sent on.
pub fn detections(bytes: &[u8]) {
    let Ok(message) = Detections::parse(bytes) else {
        return;
    };
    let unit = 0.0..=1.0;
    assert!(message.detections.len() <= Detections::MAX);
    for detection in &message.detections {
        assert!(unit.contains(&detection.score));
        assert!(
            detection
                .bbox
                .edges()
                .iter()
                .all(|side| unit.contains(side))
        );
    }
    let again = Detections::parse(message.to_json().as_bytes()).expect("what is written is read");
    assert_eq!(again.detections, message.detections);
    assert_eq!((again.camera, again.seq), (message.camera, message.seq));
}

/// Datagrams in a row, to both sides of the plain door at once: no place too many, no `Request` too early.
///
/// One byte for the number of places; then for each datagram one for its sender, one for the time since the last (its
/// square in milliseconds), two for its length (big-endian), and the datagram. An empty one means that nobody listens
/// at the sender's address any more.
pub fn sequence(bytes: &[u8], start: Instant) {
    let [capacity, rest @ ..] = bytes else {
        return;
    };
    let mut rest = rest;
    let mut door = Door::new(usize::from(capacity % 6), start);
    while let [sender, pause, high, low, tail @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(tail.len());
        let (datagram, tail) = tail.split_at(length);
        door.now += Duration::from_millis(u64::from(*pause).pow(2));
        door.hear(
            SocketAddr::from(([192, 0, 2, 1], 1000 + u16::from(sender % 8))),
            datagram,
        );
        rest = tail;
    }
}

/// A relay's places and a viewer's renewal that hear the same datagrams.
struct Door {
    now: Instant,
    capacity: usize,
    leases: Leases,
    renewal: Renewal,
    last_request: Option<Instant>,
    last_frame: Option<Instant>,
}

impl Door {
    fn new(capacity: usize, start: Instant) -> Self {
        Self {
            now: start,
            capacity,
            leases: Leases::new(capacity),
            renewal: Renewal::default(),
            last_request: None,
            last_frame: None,
        }
    }

    fn hear(&mut self, sender: SocketAddr, datagram: &[u8]) {
        let now = self.now;
        match verdict(datagram.to_vec()) {
            Ok(Datagram::Request) => self.ask(sender, LeaseRequest::Request),
            Ok(Datagram::Control(Control::Hello { .. })) => {
                self.ask(sender, LeaseRequest::Hello);
                self.renewal.on_echo(now);
            }
            Ok(Datagram::Control(Control::Probe { .. })) => {
                self.ask(sender, LeaseRequest::Probe);
                self.renewal.on_echo(now);
            }
            Ok(Datagram::Control(Control::Accept { verdict, .. })) => {
                self.renewal.on_answer(verdict, now);
            }
            Ok(Datagram::Frame(_)) => {
                self.last_frame = Some(now);
                self.renewal.on_frame(now);
            }
            Err(_) if datagram.is_empty() => {
                self.leases.release(sender);
                assert!(self.leases.viewers().all(|viewer| viewer != sender));
            }
            Ok(Datagram::Control(Control::Upgrade)) | Err(_) => {}
        }
        self.places_are_in_order();
        self.renewal_is_patient();
    }

    fn ask(&mut self, viewer: SocketAddr, ask: LeaseRequest) {
        let grant = self.leases.request(viewer, ask, self.now);
        let holds = |leases: &Leases, who| leases.viewers().any(|viewer| viewer == who);
        let without = matches!(grant, Grant::Full | Grant::Released | Grant::NotHeld);
        assert_eq!(holds(&self.leases, viewer), !without);
        if let Grant::Replaced(old) = grant {
            assert!(!holds(&self.leases, old));
        }
    }

    fn places_are_in_order(&mut self) {
        let expired = self.leases.expire(self.now);
        let viewers: HashSet<_> = self.leases.viewers().collect();
        assert!(self.leases.viewers().len() <= self.capacity);
        assert_eq!(viewers.len(), self.leases.viewers().len(), "one place each");
        assert!(expired.iter().all(|gone| !viewers.contains(gone)));
        assert!(self.leases.deadline().is_none_or(|end| end > self.now));
    }

    fn renewal_is_patient(&mut self) {
        for _ in 0..2 {
            if self.renewal.poll(self.now) == Some(LeaseRequest::Request) {
                for last in [self.last_request, self.last_frame].into_iter().flatten() {
                    assert!(self.now - last >= QUIET, "a tutorial relay may stream");
                }
                self.last_request = Some(self.now);
            }
        }
        assert_eq!(
            self.renewal.poll(self.now),
            None,
            "it says what it has to say"
        );
        assert!(
            self.renewal
                .deadline(self.now)
                .is_some_and(|due| due > self.now)
        );
    }
}
