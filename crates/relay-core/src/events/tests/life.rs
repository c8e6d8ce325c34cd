//! When an event starts, is updated and ends, and what is the same object.

use super::*;

const PERSON: BBox = BBox::new(0.45, 0.5, 0.55, 0.8);

fn default() -> Yard {
    Yard::new(EventSettings::default())
}

#[test]
fn an_event_starts_with_the_second_inference_behind_min_time_and_ends_when_the_object_was_last_seen()
 {
    let mut yard = default();
    yard.show(1.0, &[]);
    yard.show(2.0, &[person(1, PERSON)]);
    yard.show(4.9, &[]);
    let [start] = &yard.objects()[..] else {
        panic!("one start and no end yet");
    };
    assert_eq!((start.phase, start.end), (Phase::Start, None));
    assert!((since_begin(start.start) - 1.1).abs() < 1e-3, "{start:?}");
    assert_eq!(start.id.start_ms(), BEGIN_MS + 1100);
    assert_eq!(start.snapshot, format!("/events/{}/snapshot.jpg", start.id));
    yard.show(0.3, &[]);
    let [end] = &yard.objects()[..] else {
        panic!("it is gone");
    };
    assert_eq!(
        (end.phase, end.id, end.reason),
        (Phase::End, start.id, None)
    );
    assert!(
        (since_begin(end.end.unwrap()) - 3.0).abs() < 1e-3,
        "{end:?}"
    );
    assert_eq!(yard.events.open(), 0);
}

#[test]
fn what_one_inference_shows_and_what_is_shorter_than_min_time_is_no_event() {
    let mut yard = default();
    yard.show(0.3, &[]);
    yard.show(0.4, &[person(1, PERSON)]);
    yard.show(5.0, &[]);
    assert_eq!(yard.phases(), []);
    let mut rarely = default();
    rarely.every = 20;
    rarely.show(1.9, &[]);
    rarely.show(1.5, &[person(1, PERSON)]);
    rarely.show(5.0, &[]);
    assert_eq!(rarely.phases(), [], "seen for long, inferred once");
    // Three inferences, and not as long as min-time wants.
    let mut patient = Yard::new(rules(|rules| rules.min_time = Duration::from_secs(2)));
    patient.show(1.5, &[person(1, PERSON)]);
    patient.show(6.0, &[]);
    assert_eq!(patient.phases(), []);
    patient.show(2.2, &[person(2, PERSON)]);
    assert_eq!(patient.phases(), [Phase::Start]);
}

#[test]
fn noise_that_comes_back_at_a_place_is_no_event() {
    let mut yard = default();
    for id in 0..50 {
        yard.show(0.3, &[person(id, PERSON)]);
        yard.show(2.0, &[]);
    }
    assert_eq!(yard.phases(), []);
}

#[test]
fn what_is_doubtful_most_of_the_time_is_no_event() {
    let mut yard = default();
    let scored = |score| Detection {
        score,
        ..person(1, PERSON)
    };
    yard.show(0.4, &[scored(0.45)]);
    yard.show(20.0, &[scored(0.3)]);
    assert_eq!(yard.phases(), []);
    yard.show(20.0, &[scored(0.8)]);
    assert_eq!(yard.phases(), [Phase::Start]);
}

#[test]
fn a_fading_track_supports_nothing() {
    let mut yard = default();
    let fading = Detection {
        fading: true,
        ..person(1, PERSON)
    };
    yard.show(3.0, std::slice::from_ref(&fading));
    assert_eq!(yard.phases(), []);
    yard.show(2.0, &[person(1, PERSON)]);
    yard.show(5.1, &[fading]);
    assert_eq!(yard.phases(), [Phase::Start, Phase::End]);
}

#[test]
fn the_same_object_behind_a_tree_for_two_seconds_is_one_event() {
    let mut yard = default();
    let walks = |id: u64, from: f32| move |t: f32| vec![person(id, at(from + 0.1 * t, 0.8))];
    yard.show_moving(2.0, walks(1, 0.2));
    yard.show(2.0, &[]);
    yard.show_moving(2.0, walks(2, 0.6));
    yard.show(6.0, &[]);
    let messages = yard.objects();
    let phases: Vec<_> = messages.iter().map(|event| event.phase).collect();
    assert_eq!(
        (phases[0], phases[phases.len() - 1]),
        (Phase::Start, Phase::End)
    );
    assert!(messages.iter().all(|event| event.id == messages[0].id));
    // It stood still behind the tree and came out where it went in.
    yard.show_moving(2.0, walks(3, 0.2));
    yard.show(2.0, &[]);
    yard.show_moving(1.0, walks(4, 0.4));
    assert_eq!(
        yard.phases()
            .iter()
            .filter(|phase| **phase == Phase::Start)
            .count(),
        1
    );
}

#[test]
fn two_objects_that_are_there_together_are_two_events() {
    let mut yard = default();
    let two = [person(1, at(0.3, 0.8)), person(2, at(0.45, 0.8))];
    yard.show(3.0, &two);
    // One is lost and found again beside the other, which keeps its own.
    yard.show(1.0, &two[..1]);
    yard.show(2.0, &[two[0].clone(), person(3, at(0.45, 0.8))]);
    yard.show(6.0, &[]);
    assert_eq!(
        yard.phases(),
        [Phase::Start, Phase::Start, Phase::End, Phase::End]
    );
}

#[test]
fn a_second_box_of_an_object_is_no_second_event() {
    let mut yard = default();
    yard.show(1.0, &[person(1, PERSON)]);
    let doubled = [person(1, PERSON), person(2, PERSON.moved([0.03, 0.0]))];
    yard.show(3.0, &doubled);
    let renamed = [
        person(1, PERSON),
        track(3, "dog", PERSON.moved([0.01, 0.0])),
    ];
    yard.show(3.0, &renamed);
    assert_eq!(yard.phases(), [Phase::Start]);
    // The second track takes over: the event goes on with it.
    yard.show(1.0, &doubled);
    yard.show(8.0, &doubled[1..]);
    assert_eq!(yard.phases(), []);
    assert_eq!(yard.events.open(), 1);
}

#[test]
fn the_camera_starts_again_and_the_event_goes_on() {
    let mut yard = default();
    yard.show(2.0, &[person(1, at(0.3, 0.8)), person(2, at(0.7, 0.8))]);
    yard.wait(2.0);
    // Another tracker, which gives the same numbers to other objects.
    yard.generation += 1;
    yard.show(2.0, &[person(2, at(0.3, 0.8)), person(1, at(0.7, 0.8))]);
    assert_eq!(yard.phases(), [Phase::Start, Phase::Start]);
    assert_eq!(yard.events.open(), 2);
    yard.wait(6.0);
    let ends: Vec<_> = yard
        .objects()
        .iter()
        .map(|event| event.bbox.x0 < 0.5)
        .collect();
    assert_eq!(ends, [true, false], "each is where it was");
}

#[test]
fn a_camera_that_stops_ends_its_events_at_the_last_frame() {
    let mut yard = default();
    yard.show(2.0, &[person(1, PERSON)]);
    yard.wait(5.25);
    let [_, end] = &yard.objects()[..] else {
        panic!("start and end");
    };
    assert!((since_begin(end.end.unwrap()) - 2.0).abs() < 1e-3);
}

#[test]
fn a_parked_car_that_the_model_loses_is_one_event_until_it_moves() {
    let mut yard = default();
    let car = |id, x| track(id, "car", at(x, 0.8));
    yard.show(3.0, &[car(1, 0.3)]);
    yard.show(10.0, &[]);
    assert_eq!(yard.phases(), [Phase::Start, Phase::End]);
    for id in 2..10 {
        yard.show(3.0, &[car(id, 0.3)]);
        yard.show(60.0, &[]);
    }
    assert_eq!(yard.phases(), [], "the same car");
    yard.show_moving(3.0, |t| vec![car(20, 0.3 + 0.1 * t)]);
    let [start] = &yard.objects()[..] else {
        panic!("it drives off");
    };
    assert_eq!(start.label, "car");
    yard.show(3.0, &[track(21, "person", at(0.3, 0.8))]);
    assert_eq!(
        yard.phases(),
        [Phase::Start],
        "a person where the car stood"
    );
}

#[test]
fn another_label_is_an_update_once_two_inferences_have_it() {
    let mut yard = default();
    yard.show(2.0, &[track(1, "dog", PERSON)]);
    assert_eq!(yard.phases(), [Phase::Start]);
    yard.show(0.4, &[track(1, "cat", PERSON)]);
    yard.show(2.0, &[track(1, "dog", PERSON)]);
    assert_eq!(yard.phases(), [], "the model was wrong once");
    yard.show(1.0, &[track(1, "cat", PERSON)]);
    let [update] = &yard.objects()[..] else {
        panic!("one update");
    };
    assert_eq!((update.phase, &update.label[..]), (Phase::Update, "cat"));
}

#[test]
fn a_better_picture_is_kept_at_once_and_reported_every_three_seconds_at_most() {
    let mut yard = default();
    let grows = |t: f32| vec![person(1, PERSON.scaled([1.0 + t / 4.0, 1.0 + t / 4.0]))];
    yard.show_moving(10.0, grows);
    let messages = yard.objects();
    let updates = messages.len() - 1;
    assert!((2..=3).contains(&updates), "{updates} in 9.5 s");
    assert!(yard.pictures.len() > 5, "{}", yard.pictures.len());
    let areas: Vec<f32> = yard.pictures.iter().map(|(_, bbox)| bbox.area()).collect();
    assert!(areas.is_sorted());
    // A smaller, a blurred and a cut one are worse.
    yard.pictures.clear();
    let large = PERSON.scaled([3.4, 3.4]);
    for _ in 0..20 {
        yard.frame(&[person(1, PERSON)]);
        yard.frame_of("yard", &[person(1, large)], 0.3);
        yard.frame(&[person(1, large.moved([0.6, 0.0]).clipped())]);
    }
    assert_eq!(yard.pictures, []);
}

#[test]
fn the_cooldown_is_of_one_label_and_begins_with_a_start() {
    let mut yard = Yard::new(rules(|rules| rules.cooldown = Duration::from_secs(30)));
    let passes = |yard: &mut Yard, id: u64, label: &str| {
        yard.show_moving(2.0, |t| vec![track(id, label, at(0.2 + 0.2 * t, 0.8))]);
        yard.show(6.0, &[]);
        yard.phases().len()
    };
    assert_eq!(passes(&mut yard, 1, "person"), 2);
    assert_eq!(passes(&mut yard, 2, "person"), 0);
    assert_eq!(passes(&mut yard, 3, "dog"), 2);
    yard.show(8.0, &[]);
    assert_eq!(passes(&mut yard, 4, "person"), 2);
}

#[test]
fn a_disarmed_camera_has_no_events_and_its_open_ones_end() {
    let armed = "22:00-06:00".parse().unwrap();
    let mut yard = Yard::new(rules(|rules| rules.armed = armed));
    yard.show(2.0, &[person(1, PERSON)]);
    assert_eq!(yard.phases(), []);
    yard.minute = 22 * 60;
    yard.show(2.0, &[person(1, PERSON)]);
    let [start] = &yard.objects()[..] else {
        panic!("armed")
    };
    assert!(
        since_begin(start.start) > 2.0,
        "what came before is not reported"
    );
    let name = "yard".parse().unwrap();
    let actions = yard.events.arm(&name, false, yard.moment());
    yard.act(actions);
    let [end] = &yard.objects()[..] else {
        panic!("disarmed")
    };
    assert_eq!(end.reason, Some(EndReason::Disarmed));
    yard.show(2.0, &[person(1, PERSON)]);
    assert_eq!(yard.phases(), []);
    assert!(!yard.events.is_armed(&name, yard.moment()));
}

#[test]
fn another_model_ends_all_events_and_knows_no_thing_that_stood_still() {
    let mut yard = default();
    yard.show(2.0, &[person(1, PERSON)]);
    let actions = yard.events.end_all(EndReason::Model);
    yard.act(actions);
    let [_, end] = &yard.objects()[..] else {
        panic!("start and end");
    };
    assert_eq!(end.reason, Some(EndReason::Model));
    yard.show(2.0, &[person(1, PERSON)]);
    assert_eq!(yard.phases(), [Phase::Start]);
}

#[test]
fn ids_are_unique_also_where_random_bits_repeat() {
    let mut yard = default();
    yard.random_step = 0;
    for round in 0..20 {
        let boxes: Vec<_> = (0..9)
            .map(|n| person(10 * round + n, at(0.1 + 0.1 * n as f32, 0.8)))
            .collect();
        yard.show(1.0, &boxes);
        yard.generation += 1;
        let actions = yard.events.end_all(EndReason::Model);
        yard.act(actions);
    }
    let mut ids: Vec<_> = yard
        .objects()
        .iter()
        .filter(|event| event.phase == Phase::Start)
        .map(|event| event.id)
        .collect();
    assert_eq!(ids.len(), 180);
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 180);
}

#[test]
fn a_wall_clock_that_goes_back_ends_no_event_before_it_began() {
    let mut yard = default();
    yard.show(2.0, &[person(1, PERSON)]);
    yard.set_back = 3_600_000;
    yard.show(2.0, &[person(1, PERSON)]);
    yard.wait(6.0);
    let [start, end] = &yard.objects()[..] else {
        panic!("start and end");
    };
    assert!(end.end.unwrap() >= start.start + 1.9);
}
