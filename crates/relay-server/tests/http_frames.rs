//! Frames over HTTP: MJPEG, snapshots and the WebSocket, also to a slow reader and while a camera stops.

mod common {
    pub(crate) mod http;
    pub(crate) mod process;
}

use std::io::ErrorKind;
use std::net::TcpStream;
use std::thread;

use common::http::{HttpRelay, request, seq};
use common::process::{MS, SOON};
use protocol::label::Label;
use serde_json::Value;
use testkit::jpeg::Sketch;
use tungstenite::{Message, WebSocket};

#[test]
fn a_part_of_mjpeg_is_the_frame_as_it_came_and_its_boundary_follows_at_once() {
    let mut relay = HttpRelay::with_camera("yard", &[]);
    let mut stream = relay.stream("/cam/yard/stream.mjpg");
    assert_eq!(
        (stream.0.status, stream.0.version.as_str()),
        (200, "HTTP/1.0")
    );
    assert_eq!(
        stream.0.header("content-type"),
        Some("multipart/x-mixed-replace; boundary=frame")
    );
    assert_eq!(stream.0.header("cache-control"), Some("no-store"));
    assert_eq!(stream.0.header("access-control-allow-origin"), None);
    stream.boundary();
    // The newest of the frames before comes at once.
    assert_eq!(stream.seq(), relay.seq);
    for bytes in [0, 100, 20_000, 60_000] {
        let sent = relay.send_frame("yard", bytes);
        let (time, jpeg) = stream.part();
        assert!(jpeg == sent, "byte for byte");
        assert_eq!(time, format!("1700000000.{:06}", relay.seq));
    }
}

#[test]
fn a_frame_without_a_label_gets_one() {
    let mut relay = HttpRelay::start(&[]);
    let bare = Sketch::new(300, 200).bytes();
    while relay.get("/api/cameras").body() == "[]" {
        relay.camera.send(&bare).unwrap();
    }
    let mut stream = relay.stream("/cam/cam1/stream.mjpg");
    stream.boundary();
    relay.camera.send(&bare).unwrap();
    let (_, jpeg) = stream.part();
    let label = Label::read(&jpeg).unwrap().unwrap();
    assert_eq!(label.camera.as_str(), "cam1");
    assert!(jpeg.ends_with(&bare[2..]));
    // A snapshot is never an old frame, also if another client's stream ended with it.
    drop(stream);
    thread::sleep(1500 * MS);
    for _ in 0..5 {
        relay.camera.send(&bare).unwrap();
        thread::sleep(20 * MS);
    }
    relay.seq = label.seq;
    let http = relay.http;
    let snapshot =
        thread::spawn(move || seq(&request(http, "GET", "/cam/cam1/snapshot.jpg", &[]).bytes()));
    while !snapshot.is_finished() {
        relay.camera.send(&bare).unwrap();
        thread::sleep(20 * MS);
    }
    assert!(snapshot.join().unwrap() > label.seq + 1);
}

#[test]
fn a_slow_reader_misses_frames_and_gets_the_newest() {
    let mut relay = HttpRelay::with_camera("yard", &[]);
    let mut stream = relay.stream("/cam/yard/stream.mjpg");
    stream.boundary();
    stream.seq();
    for _ in 0..600 {
        relay.send_frame("yard", 40_000);
        thread::sleep(2 * MS);
    }
    let mut seen = vec![stream.seq()];
    while seen.last() != Some(&relay.seq) {
        seen.push(stream.seq());
    }
    assert!(seen.is_sorted() && seen.len() < 100, "{seen:?}");
    let report = relay.stop().report.unwrap();
    assert!(report["not_forwarded"].as_u64() > Some(400), "{report}");
}

#[test]
fn where_a_camera_stops_its_streams_hold_and_go_on_with_it() {
    let mut relay = HttpRelay::with_camera("yard", &[]);
    let mut stream = relay.stream("/stream");
    stream.boundary();
    assert_eq!(stream.seq(), relay.seq);
    assert_eq!(relay.get("/snapshot").status, 200);
    thread::sleep(3500 * MS);
    let cameras: Value = serde_json::from_str(&relay.get("/api/cameras").body()).unwrap();
    assert_eq!(
        (&cameras[0]["live"], &cameras[0]["fps"]),
        (&false.into(), &Value::Null)
    );
    assert!(cameras[0]["age_ms"].as_u64() > Some(3400), "{cameras}");
    // A snapshot does not show an old frame as the current one; a stream begins with the camera's last frame.
    let snapshot = relay.get("/cam/yard/snapshot.jpg");
    assert_eq!(snapshot.status, 503);
    let mut late = relay.stream("/cam/yard/stream.mjpg");
    late.boundary();
    assert_eq!(late.seq(), relay.seq);
    relay.send_frame("yard", 0);
    assert_eq!((stream.seq(), late.seq()), (relay.seq, relay.seq));
}

#[test]
fn one_frame_is_under_way_on_a_socket_and_the_next_is_the_newest() {
    let mut relay = HttpRelay::with_camera("yard", &[]);
    let mut socket = relay.socket("/cam/yard/ws");
    let frames = |socket: &mut WebSocket<TcpStream>| loop {
        match socket.read().unwrap() {
            Message::Binary(jpeg) => return seq(&jpeg),
            Message::Text(_) => {}
            other => panic!("{other}"),
        }
    };
    assert_eq!(frames(&mut socket), relay.seq);
    for _ in 0..50 {
        relay.send_frame("yard", 0);
        thread::sleep(2 * MS);
    }
    socket.get_ref().set_read_timeout(Some(300 * MS)).unwrap();
    match socket.read() {
        Err(tungstenite::Error::Io(err)) => assert_eq!(err.kind(), ErrorKind::WouldBlock),
        Ok(Message::Text(_)) => {}
        other => panic!("{other:?}"),
    }
    socket.get_ref().set_read_timeout(Some(SOON)).unwrap();
    socket.send(Message::Binary(Vec::new().into())).unwrap();
    assert_eq!(frames(&mut socket), relay.seq);
    socket.send(Message::Binary(Vec::new().into())).unwrap();
    relay.send_frame("yard", 60_000);
    assert_eq!(frames(&mut socket), relay.seq);
    let report = relay.stop().report.unwrap();
    assert_eq!(report["viewers_peak"], 1);
}

#[test]
fn a_socket_that_requests_one_frame_more_at_the_start_has_two_under_way_and_never_many() {
    let mut relay = HttpRelay::with_camera("yard", &[]);
    // The first frame may leave before the requests arrive.
    for (requests, under_way) in [(1, 2..=2), (100, 4..=5)] {
        let mut socket = relay.socket("/cam/yard/ws");
        for _ in 0..requests {
            socket.send(Message::Binary(Vec::new().into())).unwrap();
        }
        // The answer shows that the requests have arrived.
        socket.send(Message::text(r#"{"ping":{"t1":7}}"#)).unwrap();
        let mut frames = 0;
        let mut next = |socket: &mut WebSocket<TcpStream>| match socket.read() {
            Ok(Message::Binary(_)) => {
                frames += 1;
                Some(String::new())
            }
            Ok(message) => Some(message.to_string()),
            Err(_) => None,
        };
        while next(&mut socket).is_some_and(|text| !text.contains("pong")) {}
        socket.get_ref().set_read_timeout(Some(300 * MS)).unwrap();
        for _ in 0..20 {
            relay.send_frame("yard", 0);
            thread::sleep(20 * MS);
        }
        while next(&mut socket).is_some() {}
        assert!(under_way.contains(&frames), "{requests}: {frames}");
    }
    relay.stop();
}

#[test]
fn a_socket_tells_whose_frames_these_are_which_cameras_there_are_and_the_time() {
    let mut relay = HttpRelay::with_camera("yard", &[]);
    let mut socket = relay.socket("/cam/yard/ws");
    let mut receive = |key: &str| loop {
        if let Message::Text(text) = socket.read().unwrap() {
            let message: Value = serde_json::from_str(&text).unwrap();
            if !message[key].is_null() {
                return message[key].clone();
            }
        } else {
            socket.send(Message::Binary(Vec::new().into())).unwrap();
            socket.send(Message::text(r#"{"ping":{"t1":5}}"#)).unwrap();
            socket.send(Message::text("what?")).unwrap();
        }
    };
    assert_eq!(receive("camera")["name"], "yard");
    let pong = receive("pong");
    assert!(pong["t1"] == 5 && pong["t3"].as_u64() > Some(1_700_000_000_000_000));
    while !receive("cameras")
        .as_array()
        .unwrap()
        .contains(&"drive".into())
    {
        relay.send_frame("drive", 0);
        relay.send_frame("yard", 0);
    }
}

#[test]
fn a_socket_that_says_too_much_is_closed() {
    let relay = HttpRelay::with_camera("yard", &[]);
    let mut socket = relay.socket("/cam/yard/ws");
    let _ = socket.send(Message::Binary(vec![0; 100_000].into()));
    loop {
        match socket.read() {
            Ok(Message::Close(_)) => break,
            Err(tungstenite::Error::Io(err)) => {
                assert_ne!(err.kind(), ErrorKind::WouldBlock, "it stays open");
                break;
            }
            Err(_) => break,
            Ok(_) => {}
        }
    }
    assert_eq!(relay.get("/healthz").status, 200);
}

#[test]
fn who_leaves_is_no_viewer_any_more() {
    let mut relay = HttpRelay::with_camera("yard", &[]);
    for _ in 0..3 {
        let (mut stream, socket) = (relay.stream("/stream"), relay.socket("/cam/yard/ws"));
        let events = relay.get("/cam/yard/detections");
        assert_eq!(events.header("content-type"), Some("text/event-stream"));
        stream.boundary();
        stream.seq();
        drop((stream, socket, events));
        for _ in 0..20 {
            relay.send_frame("yard", 0);
            thread::sleep(5 * MS);
        }
    }
    assert_eq!(relay.stop().report.unwrap()["viewers_peak"], 3);
}

#[test]
fn the_summary_counts_viewers_by_the_transport_that_they_came_by() {
    let mut relay = HttpRelay::with_camera("yard", &[]);
    let (mut stream, _socket) = (relay.stream("/stream"), relay.socket("/cam/yard/ws"));
    stream.boundary();
    relay.send_frame("yard", 0);
    let line = relay.running.wait_for_line("last 10 s", 2 * SOON);
    for field in [" viewers=2 ", " udp=0 ", " quic=0 ", " http=2 "] {
        assert!(line.contains(field), "{field}: {line}");
    }
}
