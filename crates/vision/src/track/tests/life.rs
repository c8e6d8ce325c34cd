//! When a track begins, fades and ends.

use std::time::Duration;

use protocol::detections::Detection;

use super::{Camera, TENTH, at, detected};
use crate::track::track_state::MAX_ANSWER_DELAY;

#[test]
fn a_track_begins_at_the_one_score_and_is_kept_from_the_other() {
    let mut camera = Camera::new();
    camera.frame();
    camera.answer(&[detected(0.5, 0, 0.39)]);
    assert!(camera.frame().is_empty());
    camera.answer(&[detected(0.5, 0, 0.40)]);
    let [first] = &camera.frame()[..] else {
        panic!("it begins a track")
    };
    for _ in 0..5 {
        camera.answer(&[detected(0.5, 0, 0.25)]);
        assert_eq!(camera.frame()[0].id, first.id);
    }
    for _ in 0..2 {
        camera.answer(&[detected(0.5, 0, 0.24)]);
        camera.frame();
    }
    assert!(camera.boxes.is_empty());
}

#[test]
fn one_missed_inference_is_coasted_and_the_second_ends_it() {
    let mut camera = Camera::showing(&[at(0.5)]);
    camera.answer(&[]);
    let coasting = camera.frame().to_vec();
    assert_eq!((coasting.len(), coasting[0].fading), (1, true));
    camera.answer(&[at(0.5)]);
    assert!(!camera.frame()[0].fading, "it was detected again");
    camera.answer(&[]);
    assert_eq!(camera.frame().len(), 1, "one is one again");
    camera.answer(&[]);
    assert!(camera.frame().is_empty());
}

#[test]
fn after_a_freeze_of_the_camera_nothing_is_known() {
    let mut camera = Camera::showing(&[at(0.5)]);
    camera.now += Duration::from_millis(700);
    assert_eq!(camera.frame().len(), 1, "a short one does not matter");
    camera.answer(&[at(0.5)]);
    camera.now += Duration::from_millis(1100);
    assert!(camera.frame().is_empty());
    camera.answer(&[at(0.5)]);
    assert_eq!(camera.frame().len(), 1, "it begins anew");
}

#[test]
fn the_pace_of_a_slow_camera_is_no_freeze() {
    let mut camera = Camera::new();
    for _ in 0..5 {
        camera.now += Duration::from_secs(3);
        camera.frame();
        camera.answer(&[at(0.5)]);
    }
    camera.now += Duration::from_secs(3);
    assert_eq!(camera.frame().len(), 1);
    camera.now += Duration::from_secs(30);
    assert!(camera.frame().is_empty());
}

#[test]
fn a_restarted_camera_begins_anew_and_no_id_comes_back() {
    let mut camera = Camera::showing(&[at(0.5)]);
    let mut ids = vec![camera.boxes[0].id];
    let back_in_count = |camera: &mut Camera| camera.count = 0;
    let back_in_time = |camera: &mut Camera| camera.now -= 2 * TENTH;
    let reset = |camera: &mut Camera| camera.tracker.reset();
    for restart in [back_in_count, back_in_time, reset] {
        restart(&mut camera);
        assert!(camera.frame().is_empty());
        camera.answer(&[at(0.5)]);
        ids.push(camera.frame()[0].id);
    }
    assert_eq!(ids, [1, 2, 3, 4].map(Some));
}

#[test]
fn a_box_without_support_fades_within_a_second() {
    let mut camera = Camera::inferred_every(2, &[detected(0.5, 0, 0.8)]);
    let mut scores = Vec::new();
    while !camera.frame().is_empty() {
        scores.push(camera.boxes[0].score);
    }
    assert_eq!(scores.len(), 9, "{scores:?}");
    assert!(scores[..5].iter().all(|&score| (score - 0.8).abs() < 1e-3));
    assert!(scores[4..].is_sorted_by(|a, b| a > b), "{scores:?}");
    assert!(scores[8] < 0.2);
}

#[test]
fn a_box_without_support_fades_within_twice_the_distance_of_inferences() {
    let mut camera = Camera::inferred_every(8, &[at(0.5)]);
    let frames = std::iter::repeat_with(|| camera.frame().len()).take_while(|&boxes| boxes > 0);
    assert_eq!(frames.count(), 15);
}

#[test]
fn a_box_without_support_fades_within_ten_seconds_however_rare_inferences_are() {
    let mut camera = Camera::inferred_every(60, &[at(0.5)]);
    let frames = std::iter::repeat_with(|| camera.frame().len()).take_while(|&boxes| boxes > 0);
    assert_eq!(frames.count(), 99);
}

#[test]
fn before_the_second_answer_a_box_lives_for_two_frame_intervals() {
    let mut camera = Camera::new();
    for _ in 0..2 {
        camera.now += Duration::from_secs(3);
        camera.frame();
    }
    camera.answer(&[at(0.5)]);
    camera.now += Duration::from_secs(3);
    assert_eq!(camera.frame().len(), 1);
    camera.now += Duration::from_secs(3);
    assert!(camera.frame().is_empty());
}

#[test]
fn the_distance_of_inferences_may_change_while_running() {
    let mut camera = Camera::inferred_every(4, &[at(0.5)]);
    for every in [12, 1, 7] {
        for _ in 0..2 {
            (0..every).for_each(|_| drop(camera.frame()));
            camera.answer(&[at(0.5)]);
        }
        assert_eq!(camera.frame().len(), 1, "{every}");
        // Support came on the frame before that one.
        let left = std::iter::repeat_with(|| camera.frame().len()).take_while(|&boxes| boxes > 0);
        assert_eq!(left.count(), 10.max(2 * every) - 2, "{every}");
        camera.answer(&[at(0.5)]);
    }
}

#[test]
fn a_while_in_which_nobody_asked_the_model_is_no_distance_of_inferences() {
    let mut camera = Camera::inferred_every(2, &[at(0.5)]);
    (0..100).for_each(|_| drop(camera.frame()));
    camera.answer(&[at(0.5)]);
    let frames = std::iter::repeat_with(|| camera.frame().len()).take_while(|&boxes| boxes > 0);
    assert_eq!(frames.count(), 9);
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut camera = Camera::new();
    let crowd: Vec<Detection> = (0..1000)
        .map(|n| {
            let (x, y) = ((n % 40) as f32 / 40.0, (n / 40) as f32 / 25.0);
            Detection {
                bbox: [x, y, x + 0.02, y + 0.03].into(),
                ..at(0.5)
            }
        })
        .collect();
    for _ in 0..3 * MAX_ANSWER_DELAY {
        camera.frame();
        camera.answer(&crowd);
    }
    assert_eq!(
        camera.tracker.remembered(),
        [64, MAX_ANSWER_DELAY, MAX_ANSWER_DELAY]
    );
    assert!(camera.frame().len() <= 64);
}
