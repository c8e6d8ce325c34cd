//! Cameras that go and come back, and as many as there may be.

use super::*;

fn live(yard: &mut Yard, names: &[&str]) {
    let names: Vec<CameraName> = names.iter().map(|name| name.parse().unwrap()).collect();
    let actions = yard.events.on_live(&names, yard.moment());
    yard.act(actions);
}

#[test]
fn a_camera_is_offline_30_s_after_its_last_frame_and_online_with_the_next() {
    let mut yard = Yard::new(EventSettings::default());
    live(&mut yard, &["yard", "gate"]);
    assert_eq!(yard.camera_states(), ["yard online", "gate online"]);
    // It is no longer live 3 s after its last frame.
    yard.wait(3.0);
    live(&mut yard, &["gate"]);
    yard.wait(26.5);
    assert_eq!(yard.camera_states(), [""; 0]);
    yard.wait(1.0);
    assert_eq!(yard.camera_states(), ["yard offline"]);
    yard.wait(100.0);
    live(&mut yard, &["gate", "yard"]);
    assert_eq!(yard.camera_states(), ["yard online"]);
}

#[test]
fn a_short_silence_is_no_news() {
    let mut yard = Yard::new(EventSettings::default());
    live(&mut yard, &["yard"]);
    live(&mut yard, &[]);
    yard.wait(20.0);
    live(&mut yard, &["yard"]);
    yard.wait(20.0);
    live(&mut yard, &[]);
    yard.wait(20.0);
    assert_eq!(yard.camera_states(), ["yard online"]);
}

#[test]
fn cameras_have_rules_of_their_own() {
    let mut settings = EventSettings::default();
    let slow = CameraSettings {
        min_time: Duration::from_secs(10),
        ..CameraSettings::default()
    };
    settings.cameras.insert("gate".parse().unwrap(), slow);
    let mut yard = Yard::new(settings);
    for _ in 0..30 {
        yard.frame_of("yard", &[person(1, at(0.5, 0.8))], 1.0);
        yard.frame_of("gate", &[person(1, at(0.5, 0.8))], 1.0);
    }
    let cameras: Vec<_> = yard
        .objects()
        .into_iter()
        .map(|event| event.camera)
        .collect();
    assert_eq!(cameras, ["yard"]);
}

#[test]
fn a_newcomer_gets_the_place_of_the_camera_that_left_first_and_that_ones_events_end() {
    let mut yard = Yard::new(rules(|rules| rules.end_after = Duration::from_secs(3600)));
    yard.show(2.0, &[person(1, at(0.5, 0.8))]);
    let names: Vec<String> = (1..MAX_CAMERAS).map(|n| format!("cam{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    live(&mut yard, &["yard"]);
    live(&mut yard, &names);
    assert_eq!(yard.camera_states().len(), MAX_CAMERAS);
    yard.frame_of("newcomer", &[], 1.0);
    let states = yard.messages.split_off(1);
    assert!(
        states[0].to_json().contains("offline"),
        "it is not reported online twice"
    );
    let [end] = &yard.objects()[..] else {
        panic!("the yard's event ends");
    };
    assert_eq!(
        (end.reason, &end.camera[..]),
        (Some(EndReason::Camera), "yard")
    );
    assert_eq!(yard.events.cameras.len(), MAX_CAMERAS);
}
