//! Events of the real program: from the demo scene's frames to the file, the HTTP server and the pictures.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

mod common {
    pub(crate) mod film;
    pub(crate) mod http;
    pub(crate) mod process;
}

use std::fs;
use std::io::BufRead as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use common::film::{Film, SIZE};
use common::http::{HttpRelay, Response, seq};
use common::process::{MS, SOON};
use protocol::detections::Detections;
use protocol::event::{EventMessage, Phase};
use serde_json::Value;

/// Time between two frames.
const INTERVAL: Duration = Duration::from_millis(50);

/// Calls until a value is there.
fn until<T>(mut ready: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + 2 * SOON;
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(Instant::now() < deadline);
        thread::sleep(20 * MS);
    }
}

/// Returns the events of a query, once there are so many.
fn events(relay: &HttpRelay, query: &str, least: usize) -> Vec<Value> {
    until(|| {
        let page: Value =
            serde_json::from_str(&relay.get(&format!("/api/events{query}")).body()).unwrap();
        let events = page["events"].as_array().unwrap().clone();
        (events.len() >= least).then_some(events)
    })
}

/// Returns the next message of `/events`.
fn next_message(stream: &mut Response) -> EventMessage {
    loop {
        let mut line = String::new();
        assert!(stream.rest.read_line(&mut line).unwrap() > 0, "it ended");
        if let Some(json) = line.strip_prefix("data: ") {
            return EventMessage::parse(json.trim_end().as_bytes()).unwrap();
        }
    }
}

fn messages(file: &Path) -> Vec<EventMessage> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let lines = text.lines();
    lines
        .map(|line| EventMessage::parse(line.as_bytes()).unwrap())
        .collect()
}

#[test]
fn events_reach_the_file_the_stream_and_the_list_and_each_has_a_picture() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("events.jsonl");
    // No viewer and no other output: events alone make boxes.
    let flags = ["--events", file.to_str().unwrap()];
    let relay = HttpRelay::with_model("demo", &flags);
    let mut stream = relay.get("/events");
    let film = Film::start(&relay.camera, INTERVAL);
    let listed = events(&relay, "?camera=yard", 2);
    let (mut online, mut started) = (false, Vec::new());
    while !online || started.len() < 2 {
        match next_message(&mut stream) {
            EventMessage::Camera(event) => online |= event.camera == "yard",
            EventMessage::Object(event) if event.phase == Phase::Start => started.push(event),
            EventMessage::Object(_) => {}
        }
    }
    for event in &listed {
        let event: EventMessage = serde_json::from_value(event.clone()).unwrap();
        let EventMessage::Object(event) = event else {
            panic!("an object's: {event:?}");
        };
        let plain = relay.get(&event.snapshot);
        assert_eq!(
            (plain.status, plain.header("content-type")),
            (200, Some("image/jpeg"))
        );
        let plain = plain.bytes();
        assert!(seq(&plain) > 0, "a frame as it came");
        let boxed = relay.get(&format!("{}?boxes=1", event.snapshot)).bytes();
        assert_ne!(plain, boxed);
        let picture = imaging::jpeg::decode(&boxed).unwrap();
        assert_eq!(imaging::jpeg::size(&picture).unwrap(), SIZE);
    }
    // Pages: one at a time, the newest first.
    let page: Value = serde_json::from_str(&relay.get("/api/events?limit=1").body()).unwrap();
    let first = page["events"][0]["id"].as_str().unwrap();
    assert_eq!(page["next"], first);
    let [older] = &events(&relay, &format!("?limit=1&before={first}"), 1)[..] else {
        panic!("one a page");
    };
    assert!(older["id"].as_str().unwrap() <= first && older["id"] != first);
    let metrics = relay.get("/metrics").body();
    assert!(
        metrics.contains("sightline_events_lost_total{queue=\"frames\"}"),
        "{metrics}"
    );
    drop(film);
    relay.stop();
    let written = messages(&file);
    let objects: Vec<_> = written
        .iter()
        .filter_map(|message| match message {
            EventMessage::Object(event) => Some(event),
            EventMessage::Camera(_) => None,
        })
        .collect();
    let of = |phase| objects.iter().filter(|event| event.phase == phase).count();
    assert!(of(Phase::Start) >= 2);
    assert_eq!(
        of(Phase::Start),
        of(Phase::End),
        "the relay ends what is open"
    );
    assert!(
        started.iter().all(|event| objects.contains(&event)),
        "the same messages"
    );
}

#[test]
fn what_the_list_and_the_pictures_do_not_know_is_an_error() {
    let relay = HttpRelay::start(&[]);
    for (path, status, part) in [
        ("/api/events?cam=yard", 400, "camera (a camera's name)"),
        ("/api/events?before=x", 400, "1763820000.123-a1b2"),
        ("/events?camera=yard", 400, "token"),
        ("/events/1.000-0000/snapshot.jpg", 404, "last 100 events"),
        ("/events/none/snapshot.jpg", 404, "SECONDS.MILLISECONDS-HEX"),
        ("/events/1.000-0000/snapshot.jpg?box=1", 400, "boxes"),
    ] {
        let answer = relay.get(path);
        assert_eq!(answer.status, status, "{path}");
        let why = answer.body();
        assert!(why.contains(part), "{path}: {why}");
    }
    assert_eq!(
        relay.get("/api/events").body(),
        r#"{"events":[],"next":null}"#
    );
}

#[test]
fn a_private_relay_shows_events_and_their_pictures_to_viewers_with_a_ticket_alone() {
    let relay = HttpRelay::start(&["--private"]);
    for path in ["/api/events", "/events", "/events/1.000-0000/snapshot.jpg"] {
        assert_eq!(relay.get(path).status, 401, "{path}");
    }
}

/// Changes a configuration file, which the relay then reads.
fn reload(relay: &HttpRelay, file: &Path, text: &str) {
    fs::write(file, text).unwrap();
    relay.running.hang_up();
}

#[test]
fn a_cameras_settings_take_effect_in_the_model_and_change_while_it_sends() {
    let dir = tempfile::tempdir().unwrap();
    let [config, lines] = ["relay.toml", "detections"].map(|name| dir.path().join(name));
    let everywhere = "mask = [[[0, 0], [1, 0], [1, 1], [0, 1]]]";
    fs::write(
        &config,
        format!("[events]\n[camera.yard]\nevery = 1\n{everywhere}\n"),
    )
    .unwrap();
    let flags = [
        "--config",
        config.to_str().unwrap(),
        "--detections",
        lines.to_str().unwrap(),
        "--every",
        "3",
    ];
    let relay = HttpRelay::with_model("demo", &flags);
    let _film = Film::start(&relay.camera, INTERVAL);
    let detections = || -> Vec<Detections> {
        let text = fs::read_to_string(&lines).unwrap_or_default();
        let whole = text
            .lines()
            .filter_map(|line| Detections::parse(line.as_bytes()).ok());
        whole.collect()
    };
    let of_every_frame = || {
        let seen = detections();
        let next = |pair: &[Detections]| pair[1].seq == pair[0].seq + 1;
        (seen.len() > 20 && seen.windows(2).any(next)).then_some(seen)
    };
    let masked = until(of_every_frame);
    assert!(
        masked.iter().all(|message| message.detections.is_empty()),
        "all is masked"
    );
    assert_eq!(events(&relay, "", 0).len(), 0);
    // A mistake changes nothing and names its line.
    reload(&relay, &config, "[camera.yard]\n\nconf = 7\n");
    relay
        .running
        .wait_for_line("line 3: a score is a number from 0 to 1", SOON);
    let zone = "[camera.yard.zone.all]\npolygon = [[0, 0], [1, 0], [1, 1], [0, 1]]";
    let classes = "classes = [\"ball\", \"star\", \"crate\"]";
    reload(
        &relay,
        &config,
        &format!("[camera.yard]\nevery = 2\n{classes}\n{zone}\n"),
    );
    let found = events(&relay, "?zone=all", 1);
    let labels = ["ball", "star", "crate"];
    assert!(
        found
            .iter()
            .all(|event| labels.contains(&event["label"].as_str().unwrap()))
    );
    let all = detections();
    let seen = all.iter().flat_map(|message| &message.detections);
    assert!(seen.clone().count() > 0);
    assert!(seen.clone().all(|one| labels.contains(&&one.label[..])));
    relay.stop();
}
