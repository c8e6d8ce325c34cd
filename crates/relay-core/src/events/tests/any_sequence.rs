//! Whatever tracks, restarts and reloads come: each event starts once and ends once, and memory is bounded.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// One thing that happens.
#[derive(Debug, Clone)]
enum Act {
    Frame {
        camera: u8,
        boxes: Vec<Detection>,
    },
    Restart,
    Reload {
        end_after: u8,
        zones: bool,
        armed: bool,
        cooldown: u8,
    },
    Live(Vec<u8>),
    Arm {
        camera: u8,
        armed: bool,
    },
    Wait(u16),
    ClockBack(u16),
    Model,
}

fn detection() -> impl Strategy<Value = Detection> {
    let corner = 0f32..1.0;
    let label = prop::sample::select(vec!["person", "car", "dog"]);
    (
        0u64..6,
        label,
        corner.clone(),
        corner,
        0.01f32..0.6,
        0f32..=1.0,
        prop::bool::weighted(0.2),
    )
        .prop_map(|(id, label, x, y, side, score, fading)| Detection {
            score,
            fading,
            ..track(id, label, BBox::new(x, y, x + side, y + side).clipped())
        })
}

fn act() -> impl Strategy<Value = Act> {
    // Of few cameras with few boxes, so that events start at all.
    let boxes = prop::collection::vec(detection(), 0..4);
    prop_oneof![
        20 => (0u8..3, boxes).prop_map(|(camera, boxes)| Act::Frame { camera, boxes }),
        2 => Just(Act::Restart),
        2 => (0u8..9, any::<bool>(), prop::bool::weighted(0.8), 0u8..3)
            .prop_map(|(end_after, zones, armed, cooldown)| Act::Reload { end_after, zones, armed, cooldown }),
        2 => prop::collection::vec(0u8..100, 0..70).prop_map(Act::Live),
        1 => (0u8..4, any::<bool>()).prop_map(|(camera, armed)| Act::Arm { camera, armed }),
        3 => (0u16..8000).prop_map(Act::Wait),
        1 => (0u16..5000).prop_map(Act::ClockBack),
        1 => Just(Act::Model),
    ]
}

/// What has been seen of the events so far.
#[derive(Default)]
struct Ledger {
    /// The ids of all events, and whether each has ended.
    events: BTreeMap<EventId, bool>,
    online: BTreeMap<String, bool>,
}

impl Ledger {
    fn check(&mut self, message: &EventMessage) {
        let line = message.to_json();
        assert_eq!(
            &EventMessage::parse(line.as_bytes()).unwrap(),
            message,
            "well-formed"
        );
        let event = match message {
            EventMessage::Object(event) => event,
            EventMessage::Camera(event) => {
                let online = event.state == CameraState::Online;
                let before = self.online.insert(event.camera.clone(), online);
                assert!(before.is_none_or(|before| before != online), "{line}");
                return;
            }
        };
        let known = self.events.get(&event.id).copied();
        let ended = event.phase == Phase::End;
        match event.phase {
            Phase::Start => assert_eq!(known, None, "it starts once: {line}"),
            Phase::Update | Phase::End => assert_eq!(known, Some(false), "it is open: {line}"),
        }
        self.events.insert(event.id, ended);
        assert!(event.top_score >= event.score, "{line}");
        let inside = |zone| event.entered_zones.contains(zone);
        assert!(event.zones.iter().all(inside), "{line}");
    }

    fn open(&self) -> usize {
        self.events.values().filter(|ended| !**ended).count()
    }
}

fn settings(end_after: u8, zones: bool, armed: bool, cooldown: u8) -> EventSettings {
    let lower = vec![[0.0, 0.5], [1.0, 0.5], [1.0, 1.0], [0.0, 1.0]];
    let zone = Zone {
        name: "lower".to_owned(),
        polygon: Polygon::new(lower).unwrap(),
        classes: Vec::new(),
        min_time: Duration::from_millis(200),
    };
    rules(|rules| {
        rules.min_time = Duration::from_millis(100);
        rules.end_after = Duration::from_secs(end_after.into());
        rules.cooldown = Duration::from_secs(cooldown.into());
        rules.armed = Schedule::constant(armed);
        rules.zones = zones.then_some(zone).into_iter().collect();
    })
}

fn run(acts: Vec<Act>) {
    let mut yard = Yard::new(settings(2, true, true, 0));
    let mut ledger = Ledger::default();
    let name = |n: u8| -> CameraName { format!("cam{n}").parse().unwrap() };
    for act in acts {
        match act {
            // A sight of half a second, since one frame starts nothing.
            Act::Frame { camera, boxes } => {
                for _ in 0..5 {
                    yard.frame_of(name(camera).as_str(), &boxes, 0.5);
                }
            }
            Act::Restart => yard.generation += 1,
            Act::Reload {
                end_after,
                zones,
                armed,
                cooldown,
            } => {
                yard.events.set(settings(end_after, zones, armed, cooldown));
            }
            Act::Live(cameras) => {
                let live: Vec<_> = cameras.into_iter().map(name).collect();
                let actions = yard.events.on_live(&live, yard.moment());
                yard.act(actions);
            }
            Act::Arm { camera, armed } => {
                let actions = yard.events.arm(&name(camera), armed, yard.moment());
                yard.act(actions);
            }
            Act::Wait(ms) => {
                yard.now += Duration::from_millis(ms.into());
                let actions = yard.events.tick(yard.moment());
                yard.act(actions);
            }
            Act::ClockBack(ms) => yard.set_back += u64::from(ms),
            Act::Model => {
                let actions = yard.events.end_all(EndReason::Model);
                yard.act(actions);
            }
        }
        for message in std::mem::take(&mut yard.messages) {
            ledger.check(&message);
        }
        for (id, _) in std::mem::take(&mut yard.pictures) {
            assert!(ledger.events.contains_key(&id), "a picture of an event");
        }
        assert_eq!(ledger.open(), yard.events.open());
        assert!(yard.events.cameras.len() <= MAX_CAMERAS);
        let objects = yard.events.cameras.values().map(CameraEvents::objects);
        assert!(objects.sum::<usize>() <= MAX_OBJECTS_IN_ALL);
    }
    let actions = yard.events.end_all(EndReason::Stop);
    yard.act(actions);
    yard.messages
        .iter()
        .for_each(|message| ledger.check(message));
    assert_eq!(ledger.open(), 0, "all have ended");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_gives_events_that_start_once_and_end_once(acts in prop::collection::vec(act(), 0..120)) {
        run(acts);
    }
}

#[test]
fn objects_are_bounded_for_a_camera_and_in_all() {
    let mut yard = Yard::new(EventSettings::default());
    let crowd = |from: u64| -> Vec<Detection> {
        let place = |n: u64| at(0.05 + 0.009 * n as f32, 0.4 + 0.005 * n as f32);
        (0..100).map(|n| person(from + n, place(n))).collect()
    };
    for camera in 0..MAX_CAMERAS {
        for _ in 0..3 {
            yard.frame_of(&format!("cam{camera}"), &crowd(0), 1.0);
        }
    }
    let objects = |yard: &Yard| -> Vec<usize> {
        yard.events
            .cameras
            .values()
            .map(CameraEvents::objects)
            .collect()
    };
    let counts = objects(&yard);
    assert!(counts.iter().all(|&count| count <= MAX_OBJECTS));
    assert_eq!(counts.iter().max(), Some(&MAX_OBJECTS));
    let all: usize = counts.iter().sum();
    assert!((900..=MAX_OBJECTS_IN_ALL).contains(&all), "{all}");
}
