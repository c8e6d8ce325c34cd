//! Properties that hold for any bytes. The fuzz targets check them, and `tests/corpus.rs` does for each committed file.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use protocol::control::{Control, Question};
use protocol::datagram::{Datagram, classify as classify_datagram};
use protocol::detections::Detections;
use protocol::jpeg::{self, EOI, Limits, SOI, Splitter, Survey};
use protocol::label::{CameraName, Label, StreamId};
use protocol::lease::{Grant, LeaseRequest, Leases, REPEAT_REQUEST_AFTER, Renewal};
use protocol::peer::Cookie;
use protocol::quic::{self, Answer, ClientMessage, Hello, ServerMessage};
use protocol::text::is_hidden;
use protocol::ticket::{Host, Ticket};

use self::source_spec::SourceSpec;

// Parsers of other crates, which link OpenCV and ONNX Runtime: their files need neither.
#[path = "../../../pi-sender/src/source/camera_url.rs"]
#[allow(dead_code, reason = "the sender uses all of it")]
mod camera_url;
#[path = "../../../pi-sender/src/source/mistyped.rs"]
#[allow(dead_code, reason = "the sender uses all of it")]
mod mistyped;
#[path = "../../../vision/src/detect/names.rs"]
mod names;
#[path = "../../../pi-sender/src/source/spec.rs"]
#[allow(dead_code, reason = "the sender uses all of it")]
mod source_spec;

// The viewer's rules, which need neither window nor codec.
#[path = "../../../viewer/src/box_timeline.rs"]
#[allow(dead_code, reason = "the viewer uses all of it")]
mod box_timeline;
#[path = "../../../viewer/src/display_stats.rs"]
#[allow(dead_code, reason = "the viewer uses all of it")]
mod display_stats;
#[path = "../../../viewer/src/loss.rs"]
mod loss;
mod overlay;

pub use self::overlay::overlay;

/// Checks one datagram: its class agrees with every other reading of the same bytes.
pub fn classify(bytes: &[u8]) {
    let label = Label::read(bytes);
    if let Ok(Some(end)) = jpeg::stream_end(bytes) {
        assert!(bytes[..end].ends_with(&EOI));
    }
    match classify_datagram(bytes.to_vec()) {
        Ok(Datagram::Frame(frame)) => {
            let limits = Limits::default();
            assert!((1..=limits.width).contains(&frame.size.width));
            assert!((1..=limits.height).contains(&frame.size.height));
            assert_eq!(frame.label, label.ok().flatten());
        }
        Ok(Datagram::Control(control)) => {
            assert_eq!(
                classify_datagram(control.write()),
                Ok(Datagram::Control(control))
            );
        }
        Ok(Datagram::Request) => assert_eq!(bytes, b"Request"),
        Err(reason) => assert!(!reason.name().is_empty()),
    }
}

/// Checks a picture's survey: what is admitted costs a decoder no more than it may, and the walk is linear.
pub fn jpeg_cost(bytes: &[u8]) {
    let Ok(survey) = Survey::of(bytes) else {
        return;
    };
    assert!(survey.visited <= 5 * bytes.len() as u64);
    for limits in [Limits::NETWORK, Limits::OWN] {
        if survey.check(limits).is_ok() {
            let pixels = u64::from(survey.size.width) * u64::from(survey.size.height);
            assert!(survey.block_scans <= limits.block_scans);
            assert!(survey.coded_bytes <= bytes.len() as u64);
            assert!(survey.cost() >= pixels / 64);
            assert!(survey.cost() <= limits.unpaid_cost.saturating_add(24 * survey.coded_bytes));
            assert!((1..=limits.components).contains(&survey.components));
        }
    }
    if survey.check(Limits::NETWORK).is_ok() {
        assert_eq!(survey.check(Limits::OWN), Ok(survey.size));
    }
}

/// Checks that pictures come out of a stream as they are in it, whatever its pieces, at a cost that is linear.
///
/// The first byte is the size of the pieces.
pub fn splitter(bytes: &[u8]) {
    let Some((size, stream)) = bytes.split_first() else {
        return;
    };
    let (pictures, visited) = split(stream, usize::from(*size).max(1));
    let (whole, visited_whole) = split(stream, stream.len().max(1));
    let mut rest = stream;
    for picture in &pictures {
        assert!(picture.starts_with(&SOI) && picture.ends_with(&EOI));
        assert_eq!(jpeg::stream_end(picture), Ok(Some(picture.len())));
        let at = rest.windows(picture.len()).position(|part| part == picture);
        rest = &rest[at.expect("it is in the stream, behind the one before") + picture.len()..];
    }
    // Below this, no broken picture is left out for its cost.
    let free = 1 << 20;
    for visited in [visited, visited_whole] {
        assert!(visited <= free + 16 * stream.len() as u64);
    }
    if visited.max(visited_whole) < free {
        assert_eq!(pictures, whole);
    }
}

fn split(stream: &[u8], size: usize) -> (Vec<Vec<u8>>, u64) {
    let mut splitter = Splitter::new();
    let mut pictures = Vec::new();
    for piece in stream.chunks(size) {
        splitter.push(piece);
        pictures.extend(std::iter::from_fn(|| splitter.next_picture()));
    }
    (pictures, splitter.visited())
}

/// Checks one line of the QUIC transport's first stream: each message that it parses as is written and parsed again.
pub fn lines(line: &[u8]) {
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

/// Checks what a peer sends on one connection: the lines of its first stream up to an empty one, and a frame.
///
/// What the relay logs of the hello is short and harmless, and a frame that it accepts is one with the label, too, that it
/// inserts where there is none.
pub fn lines_and_frames(bytes: &[u8]) {
    let mut rest = bytes;
    let mut next_line = || {
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let (line, behind) = rest.split_at(end);
        rest = &behind[1..];
        (!line.is_empty()).then_some(line)
    };
    let hello = next_line().and_then(quic::from_line::<Hello>);
    while let Some(line) = next_line() {
        lines(line);
    }
    let camera = hello.as_ref().and_then(|hello| hello.camera().ok()?);
    if let Some(hello) = &hello {
        let shown = format!("{hello:?}");
        assert!(shown.len() < 400 && !shown.contains(is_hidden), "{shown}");
        let again = quic::from_line::<Hello>(&quic::to_line(hello)).expect("it is written");
        assert_eq!(
            (again.stream(), again.proof()),
            (hello.stream(), hello.proof())
        );
    }
    let Ok(Datagram::Frame(frame)) = classify_datagram(rest.to_vec()) else {
        return;
    };
    let Some(camera) = camera.filter(|_| frame.label.is_none()) else {
        return;
    };
    let label = Label {
        stream: hello
            .and_then(|hello| hello.stream())
            .unwrap_or(StreamId(1)),
        seq: 1,
        captured_us: 2,
        camera,
    };
    match classify_datagram(label.write(&frame.jpeg)) {
        Ok(Datagram::Frame(labelled)) => {
            assert_eq!(labelled.size, frame.size);
            assert_eq!(labelled.label, Some(label));
        }
        other => panic!("{other:?}"),
    }
}

/// Checks the metadata of a model file: names of classes are few, short and on one line.
pub fn names_metadata(text: &[u8]) {
    let found = str::from_utf8(text).ok().and_then(names::parse);
    let count = found.as_ref().map_or(3, Vec::len);
    assert!(count <= names::MAX_CLASSES);
    for name in names::complete(found, count) {
        assert!(!name.is_empty() && !name.contains(is_hidden));
        assert!(name.chars().count() <= names::MAX_NAME + 2);
    }
}

/// Checks a value of `--source`: it is written and parsed again, but for what is secret of a URL or a pipeline.
pub fn source_spec(text: &[u8]) {
    let Ok(text) = str::from_utf8(text) else {
        return;
    };
    if let Ok(spec) = text.parse::<SourceSpec>() {
        let shown = spec.to_string();
        let again = shown
            .parse::<SourceSpec>()
            .expect("what is written is read");
        assert_eq!(again.to_string(), shown);
        assert!(
            again == spec || matches!(spec, SourceSpec::Url(_) | SourceSpec::Gst(_)),
            "{shown}"
        );
    }
}

/// Checks a text that was pasted: a ticket in it is written and parsed again, and so is a host; a reason against it is
/// harmless.
pub fn ticket(text: &[u8]) {
    let Ok(text) = str::from_utf8(text) else {
        return;
    };
    match text.parse::<Ticket>() {
        Ok(ticket) => assert_eq!(ticket.to_string().parse(), Ok(ticket)),
        Err(why) => assert!(!why.to_string().contains(is_hidden)),
    }
    match text.parse::<Host>() {
        Ok(host) => {
            assert!(Host::names_port(&host.to_string()) && host.port() != 0);
            assert_eq!(host.to_string().parse(), Ok(host));
        }
        Err(why) => assert!(!why.to_string().contains(is_hidden)),
    }
}

/// Writes a label into a picture, and checks that it is read again and the picture is as good as before.
///
/// The bytes are 24 bytes of numbers, a length and a name of that length, and the picture.
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

/// Checks one line of JSON: a message that is accepted is in range, and stays the same when it is forwarded.
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

/// Gives datagrams in a row to both ends of the UDP transport: no lease too many is granted, no `Request` is sent too
/// early.
///
/// The bytes are one for the number of leases; then for each datagram one for its sender, one for the time since the
/// last (its square in milliseconds), two for its length (big-endian), and the datagram. An empty one means that the
/// sender's host reported a closed port.
pub fn sequence(bytes: &[u8], start: Instant) {
    let [capacity, rest @ ..] = bytes else {
        return;
    };
    let mut rest = rest;
    let mut ends = Ends::new(usize::from(capacity % 6), start);
    while let [sender, pause, high, low, tail @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(tail.len());
        let (datagram, tail) = tail.split_at(length);
        ends.now += Duration::from_millis(u64::from(*pause).pow(2));
        ends.receive(
            SocketAddr::from(([192, 0, 2, 1], 1000 + u16::from(sender % 8))),
            datagram,
        );
        rest = tail;
    }
}

/// A relay's leases and a viewer's renewal that receive the same datagrams.
struct Ends {
    now: Instant,
    capacity: usize,
    leases: Leases,
    renewal: Renewal,
    last_request: Option<Instant>,
    last_frame: Option<Instant>,
}

impl Ends {
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

    fn receive(&mut self, sender: SocketAddr, datagram: &[u8]) {
        let now = self.now;
        match classify_datagram(datagram.to_vec()) {
            Ok(Datagram::Request) => {
                self.request(sender, LeaseRequest::Request, Question::new(0, None));
            }
            Ok(Datagram::Control(Control::Hello(question))) => {
                self.request(sender, LeaseRequest::Hello, question);
                self.renewal.on_echo(now);
            }
            Ok(Datagram::Control(Control::Probe(question))) => {
                self.request(sender, LeaseRequest::Probe, question);
                self.renewal.on_echo(now);
            }
            Ok(Datagram::Control(Control::Accept { verdict, .. })) => {
                self.renewal.on_answer(verdict, now);
            }
            Ok(Datagram::Frame(_)) => {
                self.leases.on_frame_from(sender, now);
                self.last_frame = Some(now);
                self.renewal.on_frame(now);
            }
            Err(_) if datagram.is_empty() => {
                let ended = self.leases.on_refused(sender, now);
                assert!(!(ended && self.leases.holds(sender)));
            }
            Ok(Datagram::Control(Control::Upgrade | Control::Refused(_))) | Err(_) => {}
        }
        self.check_leases();
        self.check_renewal();
    }

    /// Requests a lease; the cookie 1 is the relay's.
    fn request(&mut self, viewer: SocketAddr, request: LeaseRequest, question: Question) {
        let proved = question.cookie == Some(Cookie(1));
        let before: HashSet<_> = self.leases.viewers().collect();
        let grant = self.leases.request(viewer, request, proved, self.now);
        let without = matches!(grant, Grant::Full | Grant::Released | Grant::NotHeld);
        assert_eq!(self.leases.holds(viewer), !without);
        let lost = before.into_iter().filter(|held| !self.leases.holds(*held));
        let lost: Vec<_> = lost.collect();
        match grant {
            Grant::Replaced(old) => assert_eq!(lost, [old]),
            Grant::Released => assert!(proved && lost == [viewer]),
            _ => assert!(lost.is_empty()),
        }
    }

    fn check_leases(&mut self) {
        let expired = self.leases.expire(self.now);
        let viewers: HashSet<_> = self.leases.viewers().collect();
        assert!(self.leases.viewers().len() <= self.capacity);
        assert_eq!(viewers.len(), self.leases.viewers().len(), "one lease each");
        assert!(expired.iter().all(|viewer| !viewers.contains(viewer)));
        assert!(self.leases.deadline().is_none_or(|end| end > self.now));
    }

    fn check_renewal(&mut self) {
        for _ in 0..2 {
            if self.renewal.poll(self.now) == Some(LeaseRequest::Request) {
                for last in [self.last_request, self.last_frame].into_iter().flatten() {
                    assert!(
                        self.now - last >= REPEAT_REQUEST_AFTER,
                        "a tutorial relay may stream"
                    );
                }
                self.last_request = Some(self.now);
            }
        }
        assert_eq!(self.renewal.poll(self.now), None, "all is sent");
        assert!(
            self.renewal
                .deadline(self.now)
                .is_some_and(|due| due > self.now)
        );
    }
}
