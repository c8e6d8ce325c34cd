//! Zones, and what a reload does to them.

use super::*;

/// The right half, from the middle on.
fn right(change: impl FnOnce(&mut Zone)) -> Zone {
    let corners = vec![[0.5, 0.0], [1.0, 0.0], [1.0, 1.0], [0.5, 1.0]];
    let mut zone = Zone {
        name: "drive".to_owned(),
        polygon: Polygon::new(corners).unwrap(),
        classes: Vec::new(),
        min_time: Duration::ZERO,
    };
    change(&mut zone);
    zone
}

fn yard(zone: Zone) -> Yard {
    Yard::new(rules(|rules| rules.zones = vec![zone]))
}

/// A person walks from the left edge to the right one in 8 s, and is in the middle after 4.
fn walk(yard: &mut Yard, seconds: std::ops::Range<f32>) {
    let from = seconds.start;
    yard.show_moving(seconds.end - from, |t| {
        vec![person(1, at(0.1 + 0.1 * (from + t), 0.8))]
    });
}

#[test]
fn an_entry_is_an_update_at_once_and_stays_in_the_list_when_the_zone_is_left() {
    let mut yard = yard(right(|_| {}));
    walk(&mut yard, 0.0..3.9);
    assert_eq!(yard.phases(), [Phase::Start]);
    walk(&mut yard, 3.9..4.2);
    let [update] = &yard.objects()[..] else {
        panic!("one update");
    };
    assert_eq!(
        (update.phase, &update.zones),
        (Phase::Update, &vec!["drive".to_owned()])
    );
    yard.show_moving(2.0, |t| vec![person(1, at(0.52 - 0.1 * t, 0.8))]);
    yard.show(6.0, &[]);
    let messages = yard.objects();
    let end = messages.last().unwrap();
    assert_eq!((end.phase, end.zones.len()), (Phase::End, 0));
    assert_eq!(end.entered_zones, ["drive"]);
    let entries = messages.iter().filter(|event| event.phase == Phase::Update);
    assert_eq!(entries.count(), 0, "no second entry");
}

#[test]
fn a_zone_counts_its_classes_and_those_that_stay_long_enough() {
    let mut dogs = yard(right(|zone| zone.classes = vec!["dog".to_owned()]));
    walk(&mut dogs, 0.0..7.0);
    assert!(
        dogs.objects()
            .iter()
            .all(|event| event.entered_zones.is_empty())
    );
    let mut slow = yard(right(|zone| zone.min_time = Duration::from_secs(2)));
    walk(&mut slow, 0.0..5.8);
    assert!(
        slow.objects()
            .iter()
            .all(|event| event.entered_zones.is_empty())
    );
    walk(&mut slow, 5.8..6.3);
    let [entry] = &slow.objects()[..] else {
        panic!("2 s in the zone");
    };
    assert_eq!(entry.entered_zones, ["drive"]);
    // Two short stays do not add up.
    let mut twice = yard(right(|zone| zone.min_time = Duration::from_secs(1)));
    let crosses = |t: f32| vec![person(1, at(if t % 1.2 < 0.8 { 0.52 } else { 0.48 }, 0.8))];
    twice.show_moving(6.0, crosses);
    assert!(
        twice
            .objects()
            .iter()
            .all(|event| event.entered_zones.is_empty())
    );
}

#[test]
fn an_object_that_begins_in_a_zone_starts_with_it() {
    let mut yard = yard(right(|_| {}));
    yard.show(2.0, &[person(1, at(0.8, 0.8))]);
    let [start] = &yard.objects()[..] else {
        panic!("a start alone");
    };
    assert_eq!(start.zones, ["drive"]);
    assert_eq!(start.entered_zones, ["drive"]);
}

#[test]
fn a_reload_carries_events_and_drops_zones_that_are_gone() {
    let mut yard = yard(right(|_| {}));
    yard.show(2.0, &[person(1, at(0.8, 0.8))]);
    let id = yard.objects()[0].id;
    let lawn = right(|zone| zone.name = "lawn".to_owned());
    yard.events.set(rules(|rules| {
        rules.zones = vec![lawn];
        rules.end_after = Duration::from_secs(1);
    }));
    yard.show(1.0, &[person(1, at(0.8, 0.8))]);
    let [update] = &yard.objects()[..] else {
        panic!("the new zone is an entry");
    };
    assert_eq!((update.id, &update.zones), (id, &vec!["lawn".to_owned()]));
    assert_eq!(update.entered_zones, ["lawn"]);
    yard.show(1.2, &[]);
    assert_eq!(yard.phases(), [Phase::End], "by the new end-after");
}

#[test]
fn no_message_has_more_zones_than_one_holds() {
    let zone = |n: usize| right(|zone| zone.name = format!("zone{n}"));
    let zones = (0..100).map(zone).collect();
    let mut yard = Yard::new(rules(|rules| rules.zones = zones));
    yard.show(2.0, &[person(1, at(0.8, 0.8))]);
    let [start] = &yard.objects()[..] else {
        panic!("a start");
    };
    assert_eq!(start.zones.len(), EventMessage::MAX_ZONES);
}
