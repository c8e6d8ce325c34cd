//! `--size auto`: from the start up, where the network reports how it bears the frames.

use imaging::jpeg;

use super::*;
use crate::frame_goal::SizeChoice;

fn auto() -> FrameGoal {
    FrameGoal {
        size: SizeChoice::Auto,
        ..goal(false)
    }
}

fn size(text: &str) -> Size {
    text.parse().unwrap()
}

/// A ladder for pictures of this size, on a network that reports.
fn growing(picture: &str) -> Simulation {
    let mut sim = Simulation::new(10);
    sim.ladder = Ladder::new(auto());
    sim.ladder.fit_to(size(picture));
    sim
}

fn rung(sim: &Simulation) -> String {
    let Rung { quality, size } = sim.ladder.rung();
    format!("{size}@{quality}")
}

#[test]
fn each_ten_clean_seconds_are_a_larger_size_up_to_640x480() {
    let mut sim = growing("1280x720");
    assert_eq!(rung(&sim), "300x169@80");
    let mut sizes = Vec::new();
    for _ in 0..4 {
        let waited = sim.until_up();
        assert!((waited - 10.0).abs() < 0.2, "{waited}");
        sizes.push(rung(&sim));
    }
    assert_eq!(
        sizes.join(" "),
        "363x204@80 438x246@80 530x298@80 640x360@80"
    );
    assert_eq!(sim.skip(0, 60), []);
}

#[test]
fn a_slow_network_takes_the_size_back_before_the_quality() {
    let mut sim = growing("640x480");
    sim.until_up();
    sim.until_up();
    let mut rungs = Vec::new();
    for _ in 0..5 {
        sim.down(1);
        rungs.push(rung(&sim));
    }
    assert_eq!(
        rungs.join(" "),
        "332x249@80 267x200@80 267x200@65 267x200@40 200x150@40"
    );
}

#[test]
fn by_udp_frames_never_grow_and_a_fall_back_to_it_takes_their_size_back() {
    let mut sim = growing("640x480");
    sim.ladder.forget_network();
    for n in 0..600 {
        let now = sim.now + n * SECOND / 10;
        assert_eq!(sim.ladder.on_fitted(1000, now), None);
    }
    for _ in 0..3 {
        sim.until_up();
    }
    assert_eq!(rung(&sim), "515x386@80");
    sim.ladder.forget_network();
    assert_eq!(rung(&sim), "267x200@80");
    assert!(sim.ladder.is_top());
}

#[test]
fn a_fixed_size_and_a_fixed_ladder_do_not_grow() {
    for goal in [
        goal(false),
        FrameGoal {
            fixed: true,
            ..auto()
        },
    ] {
        let mut sim = Simulation::new(10);
        sim.ladder = Ladder::new(goal);
        sim.ladder.fit_to(size("640x480"));
        assert_eq!(sim.skip(0, 60), []);
        assert_eq!(rung(&sim), "267x200@80");
    }
}

#[test]
fn pictures_of_another_size_leave_the_ladder_as_far_from_its_start_as_it_was() {
    let mut sim = growing("640x480");
    sim.until_up();
    sim.ladder.fit_to(size("1920x1080"));
    assert_eq!(rung(&sim), "363x204@80");
    // There is no larger one of these.
    sim.ladder.fit_to(size("200x100"));
    assert_eq!(rung(&sim), "200x100@80");
    sim.down(1);
    assert_eq!(rung(&sim), "200x100@65");
    sim.ladder.fit_to(size("640x480"));
    assert_eq!(rung(&sim), "267x200@65");
}

#[test]
fn pictures_of_two_sizes_in_turn_do_not_stop_the_growth() {
    let mut sim = growing("640x480");
    for frame in 0..=1000 {
        let size = size(["640x480", "1280x720"][frame % 2]);
        sim.ladder.fit_to(size);
        sim.frame(false);
    }
    assert!(sim.ladder.is_top());
}

#[test]
fn a_rung_that_failed_waits_longer_also_where_pictures_have_two_sizes_in_turn() {
    let mut sim = growing("640x480");
    for wait in [10.0, 20.0, 40.0] {
        let waited = sim.until_up();
        assert!((waited - wait).abs() < 0.2, "{waited} after {wait}");
        sim.down(1);
        sim.ladder.fit_to(size("1280x720"));
        sim.ladder.fit_to(size("640x480"));
    }
}

#[test]
fn on_real_photographs_each_size_saves_a_quarter_to_two_fifths() {
    let Some(photographs) = photographs(size("640x480")) else {
        return testkit::skip("shared/data is not here");
    };
    let bytes = |steps: usize| -> Vec<usize> {
        let made = photographs.iter().map(|picture| {
            let own = jpeg::size(picture).unwrap();
            let mut sizes = auto().larger(own).into_iter().chain([auto().start(own)]);
            let size = sizes.nth(steps).unwrap();
            let picture = jpeg::resize(picture, size).unwrap();
            jpeg::encode(&picture, 80).unwrap().len()
        });
        made.collect()
    };
    assert!(photographs.len() >= 20);
    for step in 0..4 {
        let median = median_share(&bytes(step), &bytes(step + 1));
        assert!((0.6..=0.75).contains(&median), "step {step}: {median:.2}");
    }
}
