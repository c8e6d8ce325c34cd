//! How boxes move between answers.

use protocol::detections::Detection;

use super::{Camera, assert_near, at, detected};

#[test]
fn the_picture_carries_a_box_and_velocity_does_where_it_cannot() {
    let mut camera = Camera::showing(&[at(0.3)]);
    camera.carried_frame([0.02, 0.01], 0.41);
    camera.carried_frame([0.02, 0.01], 0.41);
    assert_near(camera.x(), 0.34);
    camera.carried_frame([-0.1, 0.0], 0.39);
    assert_near(camera.x(), 0.36);
    camera.frame();
    assert_near(camera.x(), 0.38);
    let mut sent = None;
    camera.frame_with(|query| {
        sent = Some(*query);
        None
    });
    let query = sent.unwrap();
    assert_eq!(
        query.from,
        camera.count - 3,
        "the last frame that showed it"
    );
    assert_near(query.guess[0], 0.06);
    assert_near(query.patch.centre()[0], 0.34);
}

#[test]
fn the_search_reaches_farther_for_what_moves_and_never_too_far() {
    let mut camera = Camera::showing(&[at(0.3)]);
    let mut reach = |by: f32| {
        camera.carried_frame([by, 0.0], 0.9);
        let mut sent = None;
        camera.frame_with(|query| {
            sent = Some(query.reach);
            None
        });
        sent.unwrap()
    };
    assert_near(reach(0.0), 0.05);
    // Two frames since the picture last showed it.
    assert_near(reach(0.04), 0.05 + 0.02);
    assert_near(reach(0.6), 0.25);
}

#[test]
fn a_patch_whose_picture_is_forgotten_is_cut_anew() {
    let mut camera = Camera::inferred_every(30, &[at(0.5)]);
    let inferred = camera.count;
    for frames in 1..=20 {
        let mut from = None;
        camera.frame_with(|query| {
            from = Some(query.from);
            None
        });
        let oldest = camera.count.saturating_sub(16);
        assert_eq!(
            from,
            Some(if frames <= 16 {
                inferred
            } else {
                oldest.max(inferred + 16)
            })
        );
    }
}

#[test]
fn where_the_picture_shows_no_texture_velocity_is_that_of_the_detections() {
    // The first one is believed, the next ones are damped.
    let mut camera = Camera::new();
    let mut x = 0.2;
    for by in [0.0, 0.02, 0.04] {
        x += by;
        camera.frame();
        camera.answer(&[at(x)]);
    }
    camera.frame();
    assert_near(camera.x(), 0.26 + 0.02 + 0.8 * 0.02);
}

#[test]
fn where_the_picture_carries_detections_do_not_shake_the_velocity() {
    let mut camera = Camera::showing(&[at(0.3)]);
    camera.carried_frame([0.02, 0.0], 0.9);
    camera.answer(&[at(0.33)]);
    camera.frame();
    assert_near(camera.x(), 0.35);
}

#[test]
fn of_a_box_that_another_covers_the_rest_is_looked_for() {
    let mut camera = Camera::showing(&[at(0.5), detected(0.54, 1, 0.9)]);
    let mut patches = Vec::new();
    camera.frame_with(|query| {
        patches.push(query.patch.clipped().edges());
        None
    });
    for (patch, sides) in patches.iter().zip([[0.45, 0.49], [0.55, 0.59]]) {
        assert_near(patch[0], sides[0]);
        assert_near(patch[2], sides[1]);
        assert_near(patch[3] - patch[1], 0.2);
    }
    camera.carried_frame([0.05, 0.0], 0.9);
    let whole = |one: &Detection| one.bbox.x1 - one.bbox.x0;
    assert_near(whole(&camera.boxes[0]), 0.1);
    let first = |one: &&Detection| one.class == 0;
    let first = camera.boxes.iter().find(first).unwrap();
    assert_near(first.bbox.x0, 0.5);
}

#[test]
fn what_another_covers_is_moved_by_velocity_alone() {
    let mut camera = Camera::showing(&[at(0.5), detected(0.525, 1, 0.9)]);
    let mut queried = false;
    camera.frame_with(|_| {
        queried = true;
        None
    });
    assert!(!queried, "a quarter of each is left");
    assert_eq!(camera.boxes.len(), 2);
}

#[test]
fn centres_are_believed_and_sizes_are_damped() {
    let mut camera = Camera::showing(&[at(0.5)]);
    camera.answer(&[Detection {
        bbox: [0.45, 0.4, 0.65, 0.6].into(),
        ..at(0.5)
    }]);
    camera.carried_frame([0.0, 0.0], 0.9);
    assert_near(camera.x(), 0.55);
    let [x0, _, x1, _] = camera.boxes[0].bbox.edges();
    assert_near(x1 - x0, 0.18);
}

#[test]
fn what_comes_in_at_an_edge_grows_there() {
    let mut camera = Camera::showing(&[Detection {
        bbox: [0.0, 0.4, 0.05, 0.6].into(),
        ..at(0.0)
    }]);
    camera.carried_frame([0.05, 0.0], 0.9);
    let [x0, _, x1, _] = camera.boxes[0].bbox.edges();
    assert_near(x0, 0.0);
    assert_near(x1, 0.1);
}

#[test]
fn what_touches_an_edge_with_all_of_it_moves_as_a_whole() {
    let mut camera = Camera::showing(&[at(0.3)]);
    camera.answer(&[at(0.25)]);
    for x in [0.2, 0.15, 0.1, 0.05] {
        camera.frame();
        camera.answer(&[at(x)]);
    }
    camera.carried_frame([0.1, 0.0], 0.9);
    assert_near(camera.boxes[0].bbox.x0, 0.1);
}

#[test]
fn what_was_on_its_way_out_is_gone_with_the_first_miss() {
    let mut camera = Camera::showing(&[at(0.2)]);
    camera.carried_frame([-0.05, 0.0], 0.9);
    camera.carried_frame([-0.05, 0.0], 0.9);
    camera.answer(&[Detection {
        bbox: [0.0, 0.4, 0.08, 0.6].into(),
        ..at(0.0)
    }]);
    camera.carried_frame([-0.03, 0.0], 0.9);
    assert_eq!(camera.boxes.len(), 1);
    camera.answer(&[]);
    assert!(camera.frame().is_empty());
}

#[test]
fn what_has_left_the_picture_is_gone_without_an_answer() {
    let mut camera = Camera::showing(&[at(0.5)]);
    camera.carried_frame([0.2, 0.0], 0.9);
    camera.carried_frame([0.2, 0.0], 0.9);
    assert_eq!(camera.boxes.len(), 1);
    camera.carried_frame([0.2, 0.0], 0.9);
    assert!(camera.boxes.is_empty());
}
