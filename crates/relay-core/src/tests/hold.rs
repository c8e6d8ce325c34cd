//! Frames that wait for their boxes, and the model that is late.

use super::*;

#[test]
fn a_frame_that_is_not_due_leaves_at_once_byte_identical() {
    let mut scene = Scene::watched(rules());
    scene.datagram(address(1, 1000), plain(1));
    assert_eq!(scene.sent, [plain(1)]);
    assert!(scene.jobs.is_empty());
}

#[test]
fn the_fourth_and_the_eighth_go_to_the_model() {
    let mut scene = Scene::watched(rules());
    for n in 1..=8 {
        scene.frames(n..=n);
        if n % 4 == 0 {
            scene.answer_last();
        }
    }
    let counts: Vec<u64> = scene.jobs.iter().map(|job| job.count).collect();
    assert_eq!(counts, [4, 8]);
}

#[test]
fn the_nth_frame_waits_for_its_boxes_and_leaves_with_them() {
    let mut scene = Scene::watched(rules());
    scene.frames(1..=3);
    scene.datagram(address(1, 1000), plain(4));
    assert_eq!(scene.sent.len(), 3, "held");
    scene.pass(20 * MS);
    scene.answer_last();
    scene.annotate_last();
    assert_eq!(scene.sent[3], with_boxes(4, true));
}

#[test]
fn a_frame_on_which_nothing_is_found_leaves_as_it_came() {
    let mut scene = Scene::watched(rules());
    scene.frames(1..=3);
    scene.datagram(address(1, 1000), plain(4));
    let job = scene.jobs[0].clone();
    scene.answer(&job, Vec::new());
    assert_eq!(scene.sent[3], plain(4));
    assert!(scene.annotations.is_empty());
}

#[test]
fn a_held_frame_leaves_as_it_came_when_the_next_one_arrives_and_before_it() {
    let mut scene = Scene::watched(rules());
    scene.frames(1..=3);
    scene.datagram(address(1, 1000), plain(4));
    scene.pass(50 * MS);
    scene.datagram(address(1, 1000), plain(5));
    assert_eq!(scene.sent[3..], [plain(4), plain(5)]);
}

#[test]
fn a_held_frame_leaves_after_three_quarters_of_the_interval_so_that_it_is_seen() {
    let mut scene = Scene::watched(rules());
    scene.frames(1..=3);
    scene.datagram(address(1, 1000), plain(4));
    scene.pass(74 * MS);
    assert_eq!(scene.sent.len(), 3);
    scene.pass(2 * MS);
    assert_eq!(scene.sent[3], plain(4));
}

#[test]
fn a_slow_model_costs_boxes_and_not_frames() {
    let mut scene = Scene::watched(rules());
    scene.frames(1..=100);
    let all: Vec<Bytes> = (1..=100).map(plain).collect();
    assert_eq!(
        scene.sent, all,
        "a model that never answers changes nothing"
    );
    assert_eq!(
        scene.jobs.len(),
        1,
        "and it is asked for one frame at a time"
    );
}

#[test]
fn boxes_that_come_too_late_are_drawn_on_the_next_frame_due_which_does_not_wait_any_more() {
    let mut scene = Scene::watched(rules());
    scene.frames(1..=6);
    scene.answer_last();
    scene.frames(7..=7);
    assert!(scene.annotations.is_empty());
    scene.datagram(address(1, 1000), plain(8));
    assert_eq!(
        (
            scene.annotations[0].frame.count,
            scene.annotations[0].is_own()
        ),
        (8, false)
    );
    assert_eq!(scene.jobs.len(), 2, "the model looks at it all the same");
    scene.pass(3 * MS);
    scene.annotate_last();
    assert_eq!(scene.sent[7], with_boxes(8, false));
}

#[test]
fn a_model_that_is_late_once_is_waited_for_again_and_own_boxes_go_before_older_ones() {
    let mut scene = Scene::watched(rules());
    for n in 1..=12 {
        scene.datagram(address(1, 1000), plain(n));
        if n % 4 == 0 {
            scene.answer_last();
            scene.annotate_last();
        }
        scene.pass(100 * MS);
    }
    scene.frames(13..=17);
    scene.answer_last();
    scene.frames(18..=19);
    scene.datagram(address(1, 1000), plain(20));
    scene.annotate_last();
    assert_eq!(
        scene.sent.len(),
        19,
        "older boxes are drawn, and its own may still come"
    );
    scene.answer_last();
    scene.annotate_last();
    assert_eq!(scene.sent[19], with_boxes(20, true));
}

#[test]
fn a_model_slower_than_the_camera_delays_no_frame_and_boxes_are_still_seen() {
    for every in ["1", "4", "auto"] {
        let mut scene = Scene::watched(RelaySettings {
            every: Some(every.parse().unwrap()),
            ..rules()
        });
        for n in 1..=100 {
            scene.datagram(address(1, 1000), plain(n));
            // The drawing takes 2 ms, the model 150 ms.
            scene.pass(2 * MS);
            while let Some(annotate) = scene.annotations.pop() {
                scene.annotate(&annotate);
            }
            if n > 4 {
                assert_eq!(
                    scene.sent.len() as u64,
                    n,
                    "frame {n} at --every {every} has left"
                );
            }
            scene.pass(48 * MS);
            if n % 2 == 1 && !scene.jobs.is_empty() && !scene.relay.schedule.is_idle() {
                scene.answer_last();
            }
            scene.pass(50 * MS);
        }
        let boxes = scene
            .sent
            .iter()
            .filter(|jpeg| jpeg.starts_with(b"frame"))
            .count();
        assert!(boxes >= 20, "--every {every}: {boxes} frames with boxes");
    }
}

#[test]
fn boxes_whose_drawing_came_too_late_are_not_lost_either() {
    let mut scene = Scene::watched(rules());
    scene.frames(1..=3);
    scene.datagram(address(1, 1000), plain(4));
    scene.answer_last();
    scene.pass(101 * MS);
    assert_eq!(scene.sent[3], plain(4));
    scene.annotate_last();
    assert_eq!(
        scene.sent.len(),
        4,
        "the frame has left, and does not leave twice"
    );
    scene.frames(5..=8);
    assert_eq!(
        (
            scene.annotations[1].frame.count,
            scene.annotations[1].is_own()
        ),
        (8, false)
    );
}

#[test]
fn nobody_watching_and_nobody_reading_means_no_inference() {
    let mut scene = Scene::new(rules());
    scene.frames(1..=20);
    assert!(scene.jobs.is_empty() && scene.sent.is_empty());
    assert_eq!(scene.relay.counts().received, 20);
}

#[test]
fn where_detections_are_read_the_model_runs_without_a_viewer_and_holds_no_frame() {
    let mut scene = Scene::watched(RelaySettings {
        output_reads_detections: true,
        overlay: Overlay::None,
        ..rules()
    });
    scene.frames(1..=3);
    scene.datagram(address(1, 1000), plain(4));
    assert_eq!(scene.sent.len(), 4, "not held");
    scene.answer_last();
    let [
        Action::Log(Note::CameraAppeared(..)),
        Action::PublishDetections(message),
    ] = &scene.other[..]
    else {
        panic!("{:?}", scene.other);
    };
    assert_eq!(
        (message.seq, message.camera.as_str(), message.t),
        (4, "cam1", 5.0)
    );
    assert_eq!(message.detections, person());
    let mut unwatched = Scene::new(RelaySettings {
        output_reads_detections: true,
        ..rules()
    });
    unwatched.frames(1..=4);
    assert_eq!(unwatched.jobs.len(), 1);
}

#[test]
fn a_message_carries_the_labels_number_and_time() {
    let mut scene = Scene::new(RelaySettings {
        output_reads_detections: true,
        every: Some("1".parse().unwrap()),
        ..rules()
    });
    scene.datagram(address(1, 1), labelled("yard", 1, 70));
    scene.answer_last();
    let Some(Action::PublishDetections(message)) = scene.other.last() else {
        panic!("{:?}", scene.other);
    };
    assert_eq!(
        (message.seq, message.t, message.camera.as_str()),
        (70, 70.0, "yard")
    );
}

#[test]
fn without_a_model_every_frame_passes() {
    let mut scene = Scene::watched(RelaySettings {
        every: None,
        ..rules()
    });
    scene.frames(1..=8);
    assert_eq!(scene.sent.len(), 8);
    assert!(scene.jobs.is_empty());
}

#[test]
fn a_model_that_dies_lets_its_frame_go() {
    let mut scene = Scene::watched(rules());
    scene.frames(1..=3);
    scene.datagram(address(1, 1000), plain(4));
    scene.relay.on_model_died(scene.now);
    scene.act();
    scene.frames(5..=16);
    assert_eq!(scene.sent, (1..=16).map(plain).collect::<Vec<_>>());
    assert_eq!(
        (scene.jobs.len(), scene.relay.counts().not_inferred),
        (1, 0),
        "it gets no more requests"
    );
}

#[test]
fn an_undecodable_frame_is_let_go_and_the_model_goes_on() {
    let mut scene = Scene::watched(rules());
    scene.frames(1..=3);
    scene.datagram(address(1, 1000), plain(4));
    let undecodable = Inference {
        frame: scene.jobs[0].clone(),
        found: None,
    };
    scene.relay.on_inferred(vec![undecodable], scene.now);
    scene.act();
    assert_eq!(scene.sent[3], plain(4));
    scene.frames(5..=8);
    assert_eq!(scene.jobs.len(), 2);
}

#[test]
fn each_camera_has_its_own_count_and_the_model_takes_turns() {
    let mut scene = Scene::new(RelaySettings {
        output_reads_detections: true,
        every: Some("2".parse().unwrap()),
        ..rules()
    });
    for n in 1..=20 {
        for busy in 0..4 {
            scene.datagram(address(1, 1), labelled("busy", 1, 4 * n + busy));
        }
        scene.datagram(address(2, 1), labelled("calm", 1, n));
        scene.answer_last();
        scene.pass(100 * MS);
    }
    let calm = scene
        .jobs
        .iter()
        .filter(|job| job.camera == CameraId(1))
        .count();
    assert_eq!(
        calm, 10,
        "each second frame of the calm camera, however busy the other is"
    );
    let newest = scene
        .jobs
        .iter()
        .filter(|job| job.camera == CameraId(0))
        .all(|job| job.count % 2 == 0);
    assert!(newest);
}

#[test]
fn a_frame_that_waits_for_the_model_gives_way_to_a_newer_one() {
    let mut scene = Scene::watched(RelaySettings {
        every: Some("1".parse().unwrap()),
        ..rules()
    });
    scene.frames(1..=5);
    assert_eq!(scene.jobs.len(), 1);
    scene.answer_last();
    assert_eq!(scene.jobs[1].count, 5);
    assert_eq!(scene.relay.counts().not_inferred, 3);
}

#[test]
fn udp_viewers_see_the_first_camera_that_is_live() {
    let mut scene = Scene::watched(rules());
    scene.datagram(address(1, 1), labelled("first", 1, 1));
    scene.datagram(address(2, 1), labelled("second", 1, 1));
    assert_eq!(scene.sent, [labelled("first", 1, 1)]);
    for seq in 2..40 {
        scene.pass(100 * MS);
        scene.datagram(address(2, 1), labelled("second", 1, seq));
    }
    assert_eq!(
        scene.sent[1],
        labelled("second", 1, 31),
        "3 s after the first one's last frame"
    );
    scene.datagram(address(1, 1), labelled("first", 1, 2));
    scene.datagram(address(2, 1), labelled("second", 1, 41));
    assert_eq!(
        *scene.sent.last().unwrap(),
        labelled("first", 1, 2),
        "and back"
    );
}

/// A scene in which the model finds something on each frame of which `sees` says so.
fn looking(demo: bool, sees: impl Fn(u64) -> bool) -> Scene {
    let mut scene = Scene::watched(RelaySettings {
        demo,
        every: Some("1".parse().unwrap()),
        ..rules()
    });
    for n in 1..=40 {
        scene.datagram(address(1, 1000), plain(n));
        let job = scene.jobs.last().unwrap().clone();
        scene.answer(&job, if sees(n) { person() } else { Vec::new() });
        scene.pass(100 * MS);
    }
    scene
}

#[test]
fn a_demo_model_that_sees_nothing_of_a_real_scene_says_so_once_and_on_the_picture() {
    let blind = |scene: &Scene| {
        let note = |a: &&Action| matches!(a, Action::Log(Note::DemoMismatch(_)));
        scene.other.iter().filter(note).count()
    };
    let real = looking(true, |n| n % 10 == 0);
    assert_eq!(blind(&real), 1);
    let first = real
        .annotations
        .iter()
        .find(|annotate| annotate.demo_mismatch)
        .unwrap();
    let first = first.frame.count;
    assert!(
        first >= 12 && real.annotations.last().unwrap().demo_mismatch,
        "{first}"
    );
    let demo = looking(true, |n| n % 3 == 0);
    assert_eq!(blind(&demo), 0);
    let yolo = looking(false, |_| false);
    assert_eq!((blind(&yolo), yolo.annotations.len()), (0, 0));
}

proptest! {
    /// Whatever the model and the drawing do, and whenever: each frame leaves once, in order, and soon.
    #[test]
    fn order_never_goes_backwards_and_no_frame_is_lost(
        events in prop::collection::vec((0u8..4, 1u64..250), 1..200), every in 1u32..6,
    ) {
        let mut scene = Scene::watched(RelaySettings { every: Some(every.to_string().parse().unwrap()), ..rules() });
        let mut frames = 0;
        let mut unanswered = 0;
        for (event, ms) in events {
            match event {
                0 | 1 => {
                    frames += 1;
                    scene.datagram(address(1, 1000), plain(frames));
                }
                2 if unanswered < scene.jobs.len() => {
                    unanswered = scene.jobs.len();
                    scene.answer_last();
                }
                3 if !scene.annotations.is_empty() => {
                    let annotate = scene.annotations.remove(0);
                    scene.annotate(&annotate);
                }
                _ => {}
            }
            if event != 0 {
                scene.pass(Duration::from_millis(ms));
            }
        }
        scene.pass(Duration::from_secs(3));
        let number = |jpeg: &Bytes| match std::str::from_utf8(jpeg) {
            Ok(text) => text.split(' ').nth(1).unwrap().parse().unwrap(),
            Err(_) => u64::from_be_bytes(jpeg[6..14].try_into().unwrap()),
        };
        let left: Vec<u64> = scene.sent.iter().map(number).collect();
        prop_assert_eq!(left, (1..=frames).collect::<Vec<_>>());
    }
}

#[test]
fn boxes_of_a_camera_are_not_drawn_into_the_frame_of_one_that_took_its_place() {
    let mut scene = Scene::watched(RelaySettings {
        every: Some("1".parse().unwrap()),
        ..rules()
    });
    scene.datagram(address(1, 1), labelled("yard", 7, 1));
    let old = scene.jobs.pop().unwrap();
    scene.pass(3500 * MS);
    // The table gets full: the camera that has left loses its slot.
    for n in 0..64 {
        scene.datagram(address(2, 1), labelled(&format!("other{n}"), 7, 1));
    }
    let new = scene.relay.cameras.get(old.camera).name.clone();
    assert_ne!(new, old.label.camera);
    scene.answer(&old, person());
    assert!(scene.annotations.is_empty(), "{:?}", scene.annotations);
    let job = AnnotationJob {
        frame: old,
        detections: person(),
        reduced: false,
        demo_mismatch: false,
        held: Some(BoxesOf::Own),
        publish: true,
    };
    let sent = scene.sent.len();
    scene.annotate(&job);
    assert_eq!((scene.sent.len(), scene.annotated.len()), (sent, 0));
}
