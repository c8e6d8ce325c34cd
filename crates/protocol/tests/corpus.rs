//! Replays the fuzz targets' corpora, so that every compiler checks what fuzzing with a nightly one has found.

#![expect(
    clippy::disallowed_methods,
    reason = "the corpora are files; the ban on files is for the crate itself"
)]

use std::fs;
use std::path::{Path, PathBuf};

use protocol::control::{Control, LeaseVerdict, Question};
use protocol::datagram::REQUEST;
use protocol::detections::{Detection, Detections, Kind};
use protocol::label::{Label, StreamId};
use protocol::peer::Cookie;
use protocol::quic::{
    self, CameraInfo, ClientMessage, Ping, Pong, Refusal, SenderInfo, ServerMessage,
};
use testkit::jpeg::{Sketch, bombs};

#[path = "corpus/overlays.rs"]
mod overlays;
#[path = "../fuzz/src/lib.rs"]
#[allow(
    unreachable_pub,
    reason = "it is the root of the fuzz targets' library"
)]
mod rules;
#[path = "corpus/texts.rs"]
mod texts;

#[test]
fn every_datagram_of_the_corpus_gets_a_verdict() {
    replay("classify", rules::classify);
}

#[test]
fn every_picture_of_the_corpus_bears_a_label() {
    replay("label", rules::label);
}

#[test]
fn every_line_of_the_corpus_is_a_message_or_refused() {
    replay("detections", rules::detections);
}

#[test]
fn every_sequence_of_the_corpus_leaves_the_leases_in_order() {
    replay("sequence", |bytes| {
        rules::sequence(bytes, testkit::time::start());
    });
}

#[test]
fn every_overlay_of_the_corpus_keeps_the_viewers_rules() {
    replay("overlay", |bytes| {
        rules::overlay(bytes, testkit::time::start());
    });
}

#[test]
fn every_line_of_the_quic_corpus_is_a_message_or_none() {
    replay("lines", rules::lines);
}

#[test]
fn every_connection_of_the_corpus_gives_frames_that_bear_the_relays_label() {
    replay("lines_and_frames", rules::lines_and_frames);
}

#[test]
fn every_text_of_the_corpus_is_a_ticket_or_none() {
    replay("ticket", rules::ticket);
}

#[test]
fn every_metadata_of_the_corpus_gives_harmless_names_or_none() {
    replay("names_metadata", rules::names_metadata);
}

#[test]
fn every_source_of_the_corpus_is_shown_as_it_is_read() {
    replay("source_spec", rules::source_spec);
}

#[test]
fn every_picture_of_the_corpus_costs_what_it_may_or_is_refused() {
    replay("jpeg_cost", rules::jpeg_cost);
}

#[test]
fn every_stream_of_the_corpus_is_cut_into_the_same_pictures_in_any_pieces() {
    replay("splitter", rules::splitter);
}

fn replay(target: &str, rule: impl Fn(&[u8])) {
    let files: Vec<_> = fs::read_dir(corpus(target))
        .expect("the corpus is committed")
        .map(|file| file.expect("the corpus can be listed").path())
        .collect();
    assert!(!files.is_empty(), "the corpus of {target} is empty");
    for file in files {
        eprintln!("{}", file.display()); // the last one is that of the failure
        rule(&fs::read(file).expect("a file of the corpus can be read"));
    }
}

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target)
}

/// Writes the seeds with our own writers alone: `cargo test -p protocol --test corpus -- --ignored`.
#[test]
#[ignore = "it writes the corpora's seeds; run it when the wire has changed"]
fn seeds() {
    for (name, datagram) in datagrams() {
        write("classify", &name, &datagram);
    }
    for (name, picture) in pictures() {
        let name = format!("seed-{name}");
        write("label", &name, &to_be_labelled(b"yard", &picture));
    }
    write("label", "seed-nameless", &to_be_labelled(b"", &sketch()));
    for (name, picture) in costs() {
        write("jpeg_cost", &name, &picture);
    }
    for (name, stream) in streams() {
        write("splitter", name, &stream);
    }
    for (name, line) in messages() {
        write("detections", &name, line.as_bytes());
    }
    for (name, line) in lines() {
        write("lines", name, &line);
    }
    for (name, connection) in connections() {
        write("lines_and_frames", &name, &connection);
    }
    for (name, text) in texts::tickets() {
        write("ticket", name, text.as_bytes());
    }
    for (name, text) in texts::metadata() {
        write("names_metadata", name, text.as_bytes());
    }
    for (name, text) in texts::sources() {
        write("source_spec", name, text.as_bytes());
    }
    for (name, steps) in sequences() {
        write("sequence", &name, &steps);
    }
    for (name, steps) in overlays::seeds() {
        write("overlay", name, &steps);
    }
}

fn write(target: &str, name: &str, bytes: &[u8]) {
    let dir = corpus(target);
    fs::create_dir_all(&dir).expect("the corpus can be written");
    fs::write(dir.join(name), bytes).expect("the corpus can be written");
}

fn sketch() -> Vec<u8> {
    Sketch::new(300, 200).bytes()
}

fn labelled(seq: u64, jpeg: &[u8]) -> Vec<u8> {
    let label = Label {
        stream: StreamId(0x0123_4567_89ab_cdef),
        seq,
        captured_us: 1_763_820_000_123_456,
        camera: "yard".parse().expect("it is a name"),
    };
    label.write(jpeg)
}

fn lines() -> Vec<(&'static str, Vec<u8>)> {
    let sender = SenderInfo {
        offset_us: Some(-3_600_000_000),
        error_us: Some(900),
        quality: Some(70),
        ..SenderInfo::default()
    };
    let camera = CameraInfo {
        name: "back yard".to_owned(),
        sender,
    };
    let hello = r#"{"role":"send","camera":"yard","token":"00","stream":"0123456789abcdef"}"#;
    let pong = Pong {
        t1: 1,
        t2: u64::MAX,
        t3: 3,
    };
    vec![
        ("hello", hello.as_bytes().to_vec()),
        ("bad-name", br#"{"role":"view","camera":"a/b"}"#.to_vec()),
        ("refused", br#"{"ok":false,"refusal":"token"}"#.to_vec()),
        ("welcome", br#"{"ok":true,"cameras":["yard"]}"#.to_vec()),
        ("ping", quic::to_line(&ClientMessage::Ping(Ping { t1: 7 }))),
        ("facts", quic::to_line(&ClientMessage::SenderInfo(sender))),
        ("pong", quic::to_line(&ServerMessage::Pong(pong))),
        ("camera", quic::to_line(&ServerMessage::Camera(camera))),
        (
            "cameras",
            quic::to_line(&ServerMessage::Cameras(vec!["yard".to_owned()])),
        ),
        ("later", br#"{"dance":{"t1":1}}"#.to_vec()),
    ]
}

/// Returns inputs of the target `lines_and_frames`: lines, an empty one, and a frame.
fn connections() -> Vec<(String, Vec<u8>)> {
    let messages = lines().into_iter().map(|(_, line)| line);
    let messages: Vec<u8> = messages
        .flat_map(|line| [line.trim_ascii_end(), b"\n"].concat())
        .collect();
    let behind = |(name, jpeg): (&str, Vec<u8>)| {
        let connection = [&messages[..], b"\n", &jpeg].concat();
        (format!("seed-{name}"), connection)
    };
    pictures().into_iter().map(behind).collect()
}

fn controls() -> [(&'static str, Control); 9] {
    let accept = |verdict| Control::Accept {
        nonce: 7,
        verdict,
        cookie: None,
    };
    let proved = Question::new(7, Some(Cookie(1)));
    [
        ("hello", Control::Hello(Question::new(7, None))),
        ("probe", Control::Probe(Question::new(7, None))),
        ("private", accept(LeaseVerdict::Private)),
        ("welcome", accept(LeaseVerdict::Welcome)),
        ("full", accept(LeaseVerdict::Full)),
        ("upgrade", Control::Upgrade),
        ("proved-hello", Control::Hello(proved)),
        ("proved-probe", Control::Probe(proved)),
        ("refused", Control::Refused(Refusal::Taken)),
    ]
}

fn pictures() -> Vec<(&'static str, Vec<u8>)> {
    let torn = labelled(3, &sketch());
    let padded = [sketch(), vec![0; 9]].concat();
    vec![
        ("sketch", sketch()),
        ("labelled", labelled(1, &sketch())),
        ("padded", padded),
        ("no-end", torn[..torn.len() - 1].to_vec()),
        ("torn-in-the-label", torn[..40].to_vec()),
        ("soi", torn[..2].to_vec()),
        ("progressive", Sketch::new(64, 48).scans(12).bytes()),
        ("scans", Sketch::new(8, 8).scans(101).bytes()),
        ("fill", Sketch::new(8, 8).fill_bytes(5).bytes()),
        ("huge", Sketch::new(65_500, 65_500).bytes()),
        ("empty-picture", Sketch::new(0, 200).bytes()),
        (
            "other-app11",
            Sketch::new(8, 8).segment(0xEB, b"JP\0\x01").bytes(),
        ),
        (
            "later-label",
            Sketch::new(8, 8)
                .segment(0xEB, b"sightline\0\x02F..")
                .bytes(),
        ),
        (
            "thumbnail",
            Sketch::new(8, 8)
                .segment(0xE1, &Sketch::new(4, 4).bytes())
                .bytes(),
        ),
    ]
}

/// Returns the small ones of the pictures that keep a decoder busy, and honest ones.
fn costs() -> Vec<(String, Vec<u8>)> {
    let hostile = bombs::costly().into_iter().chain(bombs::unusual());
    let honest = [
        ("flat", bombs::flat(64, 48)),
        ("flat progressive", bombs::flat_progressive(64, 48)),
    ];
    let small = hostile.chain(honest).filter(|(_, jpeg)| jpeg.len() < 2000);
    small
        .map(|(name, jpeg)| (name.replace([' ', ','], "-"), jpeg))
        .collect()
}

/// Returns inputs of the target `splitter`: the size of the pieces, and the stream.
fn streams() -> Vec<(&'static str, Vec<u8>)> {
    let jpeg = Sketch::new(8, 8).segment(0xE1, &sketch()).bytes();
    let cut = &jpeg[..jpeg.len() / 2];
    vec![
        ("two", [&[7], &jpeg[..], &sketch()].concat()),
        ("cut", [&[1], cut, &jpeg, &jpeg].concat()),
        (
            "junk",
            [&[5][..], b"--boundary\r\n\r\n", &jpeg[..], b"\r\n"].concat(),
        ),
        (
            "starts",
            [&[3][..], &[0xFF, 0xD8, 0xFF].repeat(20), &jpeg].concat(),
        ),
        (
            "bad-length",
            [&[3], &jpeg[..9], &[0xFF, 0xE0, 0, 1], &jpeg].concat(),
        ),
    ]
}

fn datagrams() -> Vec<(String, Vec<u8>)> {
    let mut all = vec![
        ("seed-request".to_owned(), REQUEST.to_vec()),
        ("seed-piece".to_owned(), vec![7; 1472]),
    ];
    for (name, picture) in pictures() {
        all.push((format!("seed-{name}"), picture));
    }
    for (name, control) in controls() {
        let bytes = control.write();
        let mut torn = bytes.clone();
        torn[18] ^= 0x10; // behind identifier, version and kind
        all.push((format!("seed-torn-{name}"), torn));
        all.push((format!("seed-{name}"), bytes));
    }
    all
}

/// Returns the input of the target `label`: numbers, the name's length, the name, the picture.
fn to_be_labelled(name: &[u8], picture: &[u8]) -> Vec<u8> {
    let length = u8::try_from(name.len()).expect("names are short");
    [&[9; 24], &[length][..], name, picture].concat()
}

fn messages() -> Vec<(String, String)> {
    let person = Detection {
        id: Some(7),
        class: 0,
        label: "person".to_owned(),
        score: 0.87,
        fading: false,
        bbox: [0.1, 0.2, 0.3, 0.4].into(),
    };
    let message = Detections {
        v: Detections::VERSION,
        camera: "yard".to_owned(),
        seq: 1234,
        t: 1_763_820_000.123,
        w: 300,
        h: 200,
        kind: Kind::Inferred,
        infer_ms: Some(41.2),
        model: Some("yolov5n".to_owned()),
        detections: vec![person],
    };
    let whole = message.to_json();
    let nothing = Detections {
        kind: Kind::Tracked,
        infer_ms: None,
        model: None,
        detections: Vec::new(),
        ..message
    };
    vec![
        ("seed-torn".to_owned(), whole[..whole.len() / 2].to_owned()),
        (
            "seed-later".to_owned(),
            whole.replace(r#""v":1"#, r#""v":2"#),
        ),
        ("seed-range".to_owned(), whole.replace("0.87", "1.5")),
        ("seed-overflow".to_owned(), whole.replace("41.2", "1e39")),
        ("seed-inferred".to_owned(), whole),
        ("seed-nothing".to_owned(), nothing.to_json()),
    ]
}

/// Returns inputs of the target `sequence`.
fn sequences() -> Vec<(String, Vec<u8>)> {
    let [hello, probe, _, welcome, full, _, proved, released, _] =
        controls().map(|(_, control)| control.write());
    let [hello, probe, welcome, full] = [&hello[..], &probe, &welcome, &full];
    let [proved, released] = [&proved[..], &released];
    let frame = &labelled(1, &sketch())[..];
    let (other, closed_port) = (&b"x"[..], &b""[..]);
    let our_relay = [
        (1, 0, hello),
        (1, 5, welcome),
        (1, 10, frame),
        (1, 45, hello),
    ];
    let quic_viewer = [
        (1, 0, probe),
        (1, 5, welcome),
        (1, 10, hello),
        (1, 45, probe),
    ];
    let tutorial_relay = [
        (1, 0, other),
        (1, 18, other),
        (1, 10, frame),
        (1, 123, frame),
    ];
    let full_table = [
        (1, 0, REQUEST),
        (2, 1, REQUEST),
        (3, 1, hello),
        (3, 5, full),
        (3, 246, hello),
    ];
    let silence = [0, 18, 45, 20, 90].map(|pause| (1, pause, other));
    let end_of_a_lease = [(1, 0, hello), (2, 100, other), (2, 0, hello)];
    let viewers_go = [
        (1, 0, hello),
        (2, 1, REQUEST),
        (2, 1, closed_port),
        (4, 200, frame),
    ];
    let displaced = [
        (1, 0, REQUEST),
        (2, 1, REQUEST),
        (3, 1, proved),
        (3, 1, released),
    ];
    let suspect = [
        (1, 0, REQUEST),
        (1, 40, closed_port),
        (1, 40, closed_port),
        (2, 1, hello),
    ];
    let camera = [
        (1, 0, REQUEST),
        (1, 40, frame),
        (1, 40, frame),
        (1, 40, frame),
    ];
    [
        ("displaced", steps(2, &displaced)),
        ("suspect", steps(1, &suspect)),
        ("camera", steps(1, &camera)),
        ("our-relay", steps(1, &our_relay)),
        ("quic-viewer", steps(1, &quic_viewer)),
        ("tutorial-relay", steps(4, &tutorial_relay)),
        ("full-table", steps(2, &full_table)),
        ("silence", steps(0, &silence)),
        ("end-of-a-lease", steps(1, &end_of_a_lease)),
        ("viewers-go", steps(3, &viewers_go)),
    ]
    .map(|(name, steps)| (format!("seed-{name}"), steps))
    .into()
}

/// Returns an input of the target `sequence`, each step a sender, a pause (its square in ms) and a datagram.
fn steps(capacity: u8, steps: &[(u8, u8, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![capacity];
    for (sender, pause, datagram) in steps {
        let length = u16::try_from(datagram.len()).expect("seeds are small");
        bytes.extend([*sender, *pause]);
        bytes.extend(length.to_be_bytes());
        bytes.extend(*datagram);
    }
    bytes
}
