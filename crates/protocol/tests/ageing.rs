//! The rule of ageing boxes, by the table that the page's script is tested with too.

use std::time::Duration;

use protocol::ageing::{life, moved, opacity};
use protocol::geometry::BBox;
use serde::Deserialize;

#[derive(Deserialize)]
struct Table {
    life: Vec<Life>,
    opacity: Vec<Opacity>,
    moved: Vec<Moved>,
}

#[derive(Deserialize)]
struct Life {
    interval: Option<f64>,
    life: f64,
}

#[derive(Deserialize)]
struct Opacity {
    age: f64,
    life: f64,
    opacity: f32,
}

#[derive(Deserialize)]
struct Moved {
    case: String,
    last: BBox,
    earlier: Option<BBox>,
    between: f64,
    since: f64,
    #[serde(rename = "box")]
    bbox: Option<BBox>,
}

fn table() -> Table {
    serde_json::from_str(include_str!("ageing.json")).expect("the cases are valid JSON")
}

#[test]
fn a_box_lives_for_two_inferences_but_a_second_at_least_and_ten_at_most() {
    for case in table().life {
        let found = life(case.interval.map(Duration::from_secs_f64));
        assert_eq!(found, Duration::from_secs_f64(case.life));
    }
}

#[test]
fn a_box_is_seen_in_full_for_half_of_its_life_and_fades_in_the_other() {
    for case in table().opacity {
        let (age, life) = (case.age, case.life);
        let found = opacity(Duration::from_secs_f64(age), Duration::from_secs_f64(life));
        assert!(
            (found - case.opacity).abs() < 1e-6,
            "{age} of {life}: {found}"
        );
    }
}

#[test]
fn a_box_without_a_message_goes_on_as_its_centre_went() {
    for case in table().moved {
        let earlier = case.earlier.map(|earlier| (earlier, case.between));
        let found = moved(case.last, earlier, case.since);
        assert_eq!(found.is_some(), case.bbox.is_some(), "{}", case.case);
        let edges = found.into_iter().flat_map(BBox::edges);
        let expected = case.bbox.into_iter().flat_map(BBox::edges);
        for (edge, expected) in edges.zip(expected) {
            assert!((edge - expected).abs() < 1e-6, "{}: {found:?}", case.case);
        }
    }
}
