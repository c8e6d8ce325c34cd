use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn session() -> Session {
    restarted(Seen::default())
}

fn restarted(seen: Seen) -> Session {
    Session::new(Topics::new("sightline".parse().unwrap()), seen)
}

/// An event message of the camera `yard`: `start 7 person drive` is the start of the event 7, of a person in the drive.
fn message(text: &str) -> EventMessage {
    let mut words = text.split(' ');
    let mut word = || words.next().unwrap();
    let (phase, n, label) = (word(), word(), word());
    let end = if phase == "end" {
        "1763820009.5"
    } else {
        "null"
    };
    let zones: Vec<_> = words.map(|zone| format!("\"{zone}\"")).collect();
    let zones = zones.join(",");
    let line = format!(
        r#"{{"v":1,"type":"{phase}","id":"1763820000.123-000{n}","camera":"yard","label":"{label}","score":0.8,"top_score":0.9,"box":[0.1,0.1,0.2,0.2],"zones":[{zones}],"entered_zones":[{zones}],"start":1763820000.1,"end":{end},"snapshot":"/events/1763820000.123-000{n}/snapshot.jpg","clip":null}}"#
    );
    EventMessage::parse(line.as_bytes()).unwrap()
}

fn camera_message(camera: &str, state: &str) -> EventMessage {
    let line =
        format!(r#"{{"v":1,"type":"camera","camera":"{camera}","state":"{state}","t":1.5}}"#);
    EventMessage::parse(line.as_bytes()).unwrap()
}

fn observe(session: &mut Session, text: &str) {
    let message = message(text);
    let json = Bytes::from(message.to_json());
    session.on_event(&message, json, Some("jpeg".into()));
}

/// What is sent and acknowledged now, by topic.
fn published(session: &mut Session) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    while let Some((token, message)) = session.outbox.next_message() {
        assert_eq!(message.retain, !message.topic.ends_with("/events"));
        all.insert(
            message.topic,
            String::from_utf8_lossy(&message.payload).into_owned(),
        );
        session.outbox.on_acknowledged(token);
    }
    all
}

fn facts(cameras: &[(&str, u64)]) -> Facts {
    let camera = |&(name, silence): &(&str, u64)| CameraFacts {
        name: name.to_owned(),
        fps: (silence < 3).then_some(9.96),
        silence: Duration::from_secs(silence),
        detects: true,
    };
    Facts {
        cameras: cameras.iter().map(camera).collect(),
        health: "good",
    }
}

#[test]
fn counts_follow_the_events_that_are_open_in_the_picture_and_in_each_zone() {
    let mut session = session();
    let mut counts = |text: &str| {
        observe(&mut session, text);
        let all = published(&mut session);
        let of = |topic: &str| {
            all.get(&format!("sightline/yard/{topic}"))
                .cloned()
                .unwrap_or_default()
        };
        [of("person"), of("zone/drive/person"), of("dog")]
    };
    assert_eq!(counts("start 1 person"), ["1", "", ""]);
    assert_eq!(counts("start 2 person drive"), ["2", "1", ""]);
    assert_eq!(
        counts("update 1 person drive"),
        ["", "2", ""],
        "what stays as it was is not sent again"
    );
    assert_eq!(
        counts("update 2 dog"),
        ["1", "1", "1"],
        "another label, and out of the zone"
    );
    assert_eq!(counts("end 1 person drive"), ["0", "0", ""]);
    assert_eq!(counts("end 2 dog"), ["", "", "0"]);
    assert!(session.open.is_empty());
}

#[test]
fn an_event_is_published_with_its_picture_and_its_camera_is_discovered() {
    let mut session = session();
    observe(&mut session, "start 1 person drive");
    let all = published(&mut session);
    assert_eq!(
        all["sightline/events"],
        message("start 1 person drive").to_json()
    );
    assert_eq!(all["sightline/yard/person/snapshot"], "jpeg");
    assert!(
        all["homeassistant/device/sightline-yard/config"].contains("zone-drive-person-occupancy")
    );
    observe(&mut session, "update 1 person drive");
    let all = published(&mut session);
    assert!(
        !all.contains_key("homeassistant/device/sightline-yard/config"),
        "nothing new to discover"
    );
}

#[test]
fn the_state_of_before_a_restart_is_published_as_nothing_there() {
    let mut session = session();
    observe(&mut session, "start 1 person drive");
    let stored = session.take_changed().unwrap();
    assert_eq!(session.take_changed(), None);
    let mut session = restarted(Seen::parse(stored.as_bytes()));
    let all = published(&mut session);
    for (topic, wanted) in [
        ("available", "online"),
        ("relay/version", env!("CARGO_PKG_VERSION")),
        ("yard/online", "offline"),
        ("yard/detect/state", "ON"),
        ("yard/person", "0"),
        ("yard/zone/drive/person", "0"),
    ] {
        assert_eq!(all[&format!("sightline/{topic}")], wanted, "{topic}");
    }
    assert!(all["homeassistant/device/sightline-yard/config"].contains("drive"));
}

#[test]
fn a_camera_is_online_until_30_s_after_its_last_frame() {
    let mut session = session();
    let mut state = |cameras: &[(&str, u64)]| {
        session.on_facts(&facts(cameras));
        let all = published(&mut session);
        ["online", "fps", "age"].map(|what| {
            all.get(&format!("sightline/yard/{what}"))
                .cloned()
                .unwrap_or_default()
        })
    };
    assert_eq!(state(&[("yard", 0)]), ["online", "10.0", "0"]);
    assert_eq!(state(&[("yard", 29)]), ["", "0.0", "29"]);
    assert_eq!(state(&[("yard", 30)]), ["offline", "", "30"]);
    assert_eq!(state(&[("yard", 1)]), ["online", "10.0", "1"]);
    assert_eq!(
        state(&[]),
        ["offline", "", ""],
        "the relay has forgotten it"
    );
    let online = camera_message("yard", "online");
    session.on_event(&online, online.to_json().into(), None);
    assert_eq!(published(&mut session)["sightline/yard/online"], "online");
}

#[test]
fn all_state_is_published_anew_over_a_new_connection() {
    let mut session = session();
    session.on_facts(&facts(&[("yard", 0)]));
    observe(&mut session, "start 1 person");
    let first = published(&mut session);
    session.outbox.on_disconnected();
    let again = published(&mut session);
    let once = ["sightline/events", "sightline/yard/person/snapshot"];
    let wanted = first
        .into_iter()
        .filter(|(topic, _)| !once.contains(&topic.as_str()));
    assert_eq!(again, wanted.collect());
}

#[test]
fn a_picture_is_due_at_an_event_and_every_10_s_while_the_camera_is_online() {
    let mut session = session();
    let start = Instant::now();
    session.on_facts(&facts(&[("yard", 0)]));
    assert_eq!(session.due_pictures(start), ["yard"]);
    assert!(session.on_picture("yard", Some("one".into()), start));
    assert_eq!(published(&mut session)["sightline/yard/picture"], "one");
    assert!(session.due_pictures(start + 9 * SECOND).is_empty());
    assert_eq!(session.due_pictures(start + 10 * SECOND), ["yard"]);
    observe(&mut session, "update 1 person");
    assert!(session.due_pictures(start + 2 * SECOND).is_empty());
    observe(&mut session, "start 2 person");
    assert!(
        session.due_pictures(start + SECOND / 2).is_empty(),
        "events by the hundred"
    );
    assert_eq!(session.due_pictures(start + SECOND), ["yard"]);
    session.on_facts(&facts(&[("yard", 31)]));
    assert!(session.due_pictures(start + 20 * SECOND).is_empty());
    let large = Bytes::from(vec![0; MAX_PICTURE + 1]);
    assert!(!session.on_picture("yard", Some(large), start));
    assert!(session.on_picture("yard", None, start) && session.on_picture("porch", None, start));
}

#[test]
fn a_command_switches_the_detection_of_a_known_camera_and_an_old_one_does_not() {
    let mut session = session();
    session.on_facts(&facts(&[("yard", 0)]));
    let command = |topic: &str, payload: &[u8], retained| {
        let switch = session.on_message(topic, payload, retained);
        switch.map(|switch| (switch.camera, switch.on))
    };
    let set = "sightline/yard/detect/set";
    assert_eq!(
        command(set, b"OFF", false),
        Some(("yard".to_owned(), false))
    );
    assert_eq!(command(set, b"ON", false), Some(("yard".to_owned(), true)));
    assert_eq!(command(set, b"OFF", true), None, "retained");
    assert_eq!(command(set, b"\xff", false), None);
    assert_eq!(command("sightline/porch/detect/set", b"OFF", false), None);
    published(&mut session);
    session.set_detection("yard", false);
    assert_eq!(
        published(&mut session)["sightline/yard/detect/state"],
        "OFF"
    );
}

#[test]
fn names_without_end_take_the_places_of_cameras_that_are_offline_and_leave_nothing_at_the_broker() {
    let mut session = session();
    let mut retained = BTreeMap::new();
    for n in 0..300 {
        session.on_facts(&facts(&[("yard", 0), (&format!("camera {n}"), 0)]));
        retained.extend(published(&mut session));
    }
    retained.retain(|_, value| !value.is_empty());
    assert!(session.cameras.len() <= 64 && session.cameras.contains_key("yard"));
    assert!(
        session.cameras.contains_key("camera 299"),
        "a newcomer has a place"
    );
    let devices = retained
        .keys()
        .filter(|topic| topic.starts_with("homeassistant/"))
        .count();
    assert_eq!(devices, 64 + 1);
}

#[test]
fn events_without_end_have_a_bound() {
    let mut session = session();
    let EventMessage::Object(mut event) = message("start 1 person") else {
        panic!("an event of an object");
    };
    for n in 0..3 * MAX_OPEN as u64 {
        event.id = EventId::new(n, 0);
        session.on_event(&EventMessage::Object(event.clone()), "{}".into(), None);
        published(&mut session);
    }
    assert_eq!(session.open.len(), MAX_OPEN);
}
