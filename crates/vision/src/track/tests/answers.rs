//! Answers, late and otherwise: whose each detection is, and what it corrects.

use protocol::detections::Detection;

use super::{Camera, assert_near, at, detected};
use crate::track::Displacement;

#[test]
fn a_late_answer_moves_the_present_box_by_what_was_wrong_then() {
    let mut camera = Camera::showing(&[at(0.3)]);
    // The picture shows 0.02 a frame; the model's answer is that it was 0.01 too far left from the first frame on.
    let inferred = camera.count;
    for _ in 0..3 {
        camera.carried_frame([0.02, 0.0], 0.9);
    }
    assert_near(camera.x(), 0.36);
    camera.answer_for(inferred, &[at(0.31)]);
    camera.carried_frame([0.02, 0.0], 0.9);
    assert_near(camera.x(), 0.39);
}

#[test]
fn what_one_late_answer_has_corrected_the_next_does_not_correct_again() {
    let mut camera = Camera::showing(&[at(0.3)]);
    let inferred = camera.count;
    for _ in 0..3 {
        camera.carried_frame([0.0; 2], 0.9);
    }
    camera.answer_for(inferred, &[at(0.31)]);
    camera.answer_for(inferred + 1, &[at(0.31)]);
    camera.carried_frame([0.0; 2], 0.9);
    assert_near(camera.x(), 0.31);
}

#[test]
fn a_late_answer_is_compared_with_its_own_frame() {
    // What it is now is too far from the answer to be the same; what it was then is not.
    let mut camera = Camera::showing(&[at(0.1)]);
    let (inferred, id) = (camera.count, camera.boxes[0].id);
    for _ in 0..8 {
        camera.carried_frame([0.09, 0.0], 0.9);
    }
    camera.answer_for(inferred, &[at(0.1)]);
    camera.carried_frame([0.09, 0.0], 0.9);
    assert_eq!(camera.boxes.len(), 1);
    assert_eq!(camera.boxes[0].id, id);
}

#[test]
fn what_a_late_answer_begins_is_looked_for_from_its_own_frame() {
    let mut camera = Camera::new();
    camera.frame();
    camera.frame();
    camera.frame();
    camera.answer_for(1, &[at(0.3)]);
    let mut sent = None;
    camera.frame_with(|query| {
        sent = Some(*query);
        Some(Displacement {
            by: [0.12, 0.0],
            score: 0.9,
        })
    });
    let query = sent.unwrap();
    assert_eq!(query.from, 1);
    assert!(query.reach > 0.12, "nothing is known of its velocity");
    assert_near(camera.x(), 0.42);
    assert_near(camera.frame()[0].bbox.x0 + 0.05, 0.46);
}

#[test]
fn answers_out_of_order_and_for_unknown_frames_say_nothing() {
    let mut camera = Camera::showing(&[at(0.5)]);
    let before = camera.count - 1;
    for count in [before, camera.count + 1, u64::MAX] {
        camera.answer_for(count, &[]);
        camera.answer_for(count, &[]);
    }
    camera.answer_for(camera.count, &[at(0.5)]);
    camera.answer_for(before, &[]);
    camera.answer_for(before, &[]);
    camera.answer_for(before, &[]);
    assert_eq!(camera.frame().len(), 1);
}

#[test]
fn crossing_objects_keep_their_ids() {
    // Both class 0, one on the other in the middle, and by velocity alone.
    let mut camera = Camera::new();
    let ways = |n: u64| [0.2 + 0.01 * n as f32, 0.8 - 0.01 * n as f32];
    let mut ids = None;
    for n in 1..=60 {
        camera.frame();
        if n % 4 == 0 {
            camera.answer(&ways(n).map(at));
        }
        if n > 8 {
            let id = |x: f32| {
                let near = |one: &&Detection| (one.bbox.x0 + 0.05 - x).abs() < 0.025;
                camera.boxes.iter().find(near).unwrap().id
            };
            let now = ways(n);
            if (now[0] - now[1]).abs() > 0.1 {
                let now = now.map(id);
                assert_eq!(*ids.get_or_insert(now), now, "frame {n}");
            }
        }
    }
    assert_eq!(camera.boxes.len(), 2);
}

#[test]
fn crossing_objects_of_two_classes_are_not_swapped() {
    let mut camera = Camera::showing(&[at(0.46), detected(0.54, 1, 0.9)]);
    let left = |camera: &Camera| {
        let by_x = |a: &&Detection, b: &&Detection| a.bbox.x0.total_cmp(&b.bbox.x0);
        camera.boxes.iter().min_by(by_x).unwrap().id
    };
    let before = left(&camera);
    // Each is now nearer to where the other one was.
    camera.answer(&[at(0.52), detected(0.48, 1, 0.9)]);
    camera.carried_frame([0.0; 2], 0.9);
    assert_eq!(camera.boxes.len(), 2);
    assert_ne!(left(&camera), before);
}

#[test]
fn what_has_moved_by_more_than_itself_is_still_the_same() {
    let mut camera = Camera::showing(&[at(0.3)]);
    camera.answer(&[at(0.42)]);
    camera.frame();
    assert_eq!(camera.boxes.len(), 1);
    assert_near(camera.x(), 0.42);
}

#[test]
fn a_class_that_flips_renames_nothing_before_it_has_the_votes() {
    let mut camera = Camera::showing(&[detected(0.5, 0, 0.8)]);
    let id = camera.boxes[0].id;
    camera.answer(&[detected(0.5, 0, 0.8)]);
    // The other class leads by votes after the fifth answer, and by enough of them after the sixth.
    for class in [1, 0, 1, 0, 1, 1] {
        assert_eq!((camera.frame().len(), camera.boxes[0].class), (1, 0));
        camera.answer(&[detected(0.5, class, 0.8)]);
    }
    camera.frame();
    let [only] = &camera.boxes[..] else {
        panic!("it is one object")
    };
    assert_eq!(
        (only.class, only.label.as_str(), only.id),
        (1, "class 1", id)
    );
}

#[test]
fn two_names_for_one_box_are_one_object_with_both_votes() {
    let both = [detected(0.5, 0, 0.5), detected(0.502, 1, 0.4)];
    let mut camera = Camera::showing(&both);
    assert_eq!(camera.boxes.len(), 1);
    camera.answer(&[detected(0.5, 1, 0.3)]);
    assert_eq!(camera.frame()[0].class, 1);
}
