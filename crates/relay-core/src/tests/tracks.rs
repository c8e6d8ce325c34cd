//! Rules of the boxes between inferences.

use protocol::detections::Kind;

use super::*;

/// A relay with a screen that sees the first camera.
fn with_subscriber() -> Scene {
    let mut scene = Scene::new(rules());
    scene.relay.subscribe(SubscriberId(1), None);
    scene
}

/// A relay that draws boxes on every frame for a UDP viewer.
fn holding() -> Scene {
    Scene::watched(RelaySettings {
        overlay: Overlay::Hold,
        ..rules()
    })
}

fn jobs(scene: &Scene) -> Vec<CameraFrame> {
    let job = |action: &Action| match action {
        Action::Track(job) => Some(job.clone()),
        _ => None,
    };
    scene.tracks.iter().filter_map(job).collect()
}

fn followed(scene: &Scene) -> Vec<u64> {
    jobs(scene).iter().map(|job| job.count).collect()
}

impl Scene {
    /// The latest frame that was to be followed has its boxes.
    fn track_last(&mut self, detections: Vec<Detection>) {
        let frame = jobs(self).pop().unwrap();
        self.relay.on_tracked(
            TrackedFrame {
                frame,
                detections,
                tracker: TrackerState::default(),
            },
            self.now,
        );
        self.act();
    }
}

#[test]
fn every_frame_that_a_subscriber_sees_is_tracked_and_no_other() {
    let mut scene = with_subscriber();
    scene.frames(1..=8);
    assert_eq!(followed(&scene), [1, 2, 3, 4, 5, 6, 7, 8]);
    let mut scene = Scene::watched(rules());
    scene.frames(1..=8);
    assert_eq!(followed(&scene), [0; 0], "UDP viewers see no data");
    let mut scene = with_subscriber();
    scene.relay.rules.every = None;
    scene.frames(1..=8);
    assert_eq!(followed(&scene), [0; 0], "nothing finds anything to follow");
}

#[test]
fn where_events_are_wanted_all_cameras_are_inferred_and_tracked_without_a_viewer() {
    let mut scene = Scene::new(rules());
    scene.frames(1..=8);
    assert_eq!((followed(&scene), scene.jobs.len()), (vec![], 0));
    scene.relay.want_events(true);
    scene.frames(9..=16);
    assert_eq!(followed(&scene), (9..=16).collect::<Vec<_>>());
    assert_eq!(
        scene.jobs.last().unwrap().count,
        12,
        "16 waits for its answer"
    );
    scene.other.clear();
    scene.track_last(person());
    let [Action::ObserveTracks(observed)] = &scene.other[..] else {
        panic!("{:?}", scene.other);
    };
    assert_eq!(
        (observed.frame.count, &observed.detections),
        (16, &person())
    );
    scene.relay.want_events(false);
    scene.frames(17..=20);
    assert_eq!(followed(&scene).last(), Some(&16));
    // What is tracked for a viewer alone is no event.
    scene.relay.subscribe(SubscriberId(1), None);
    scene.frames(21..=24);
    scene.other.clear();
    scene.track_last(person());
    let observed = |action: &Action| matches!(action, Action::ObserveTracks(_));
    assert!(!scene.other.iter().any(observed));
}

#[test]
fn what_the_model_found_corrects_what_is_followed_and_comes_behind_its_frame() {
    let mut scene = with_subscriber();
    scene.frames(1..=6);
    scene.answer_last();
    let told = scene.tracks.iter().filter_map(|action| match action {
        Action::Track(job) => Some(("frame", job.count)),
        Action::UpdateTracker(_, count, found) => {
            assert_eq!(*found, person());
            Some(("answer", *count))
        }
        _ => None,
    });
    let frames = (1..=6).map(|count| ("frame", count));
    let order: Vec<_> = frames.chain([("answer", 4)]).collect();
    assert_eq!(told.collect::<Vec<_>>(), order);
}

#[test]
fn each_followed_frame_gives_one_message_of_its_own_number_and_time() {
    let mut scene = with_subscriber();
    scene.datagram(address(1, 1), labelled("yard", 7, 41));
    scene.track_last(person());
    let Some(Action::PublishDetections(message)) = scene.other.last() else {
        panic!("{:?}", scene.other);
    };
    assert_eq!((message.kind, message.seq), (Kind::Tracked, 41));
    assert_eq!((message.t, message.w, message.h), (41.0, 300, 200));
    assert_eq!((message.infer_ms, &message.model), (None, &None));
    assert_eq!(message.detections, person());
}

#[test]
fn a_turned_picture_has_the_size_at_which_it_is_displayed() {
    let mut scene = with_subscriber();
    scene.frames(1..=4);
    let job = scene.jobs.pop().unwrap();
    let found = Found {
        size: Size {
            width: 200,
            height: 300,
        },
        took: 40 * MS,
        detections: person(),
    };
    let answer = Inference {
        frame: job,
        found: Some(found),
    };
    scene.relay.on_inferred(vec![answer], scene.now);
    scene.frames(5..=5);
    scene.track_last(person());
    let sizes = scene.other.iter().filter_map(|action| match action {
        Action::PublishDetections(message) => Some((message.kind, message.w, message.h)),
        _ => None,
    });
    let turned = [(Kind::Inferred, 200, 300), (Kind::Tracked, 200, 300)];
    assert_eq!(sizes.collect::<Vec<_>>(), turned);
}

#[test]
fn a_camera_that_begins_anew_is_followed_anew() {
    let mut scene = with_subscriber();
    scene.datagram(address(1, 1), labelled("yard", 7, 1));
    scene.pass(1000 * MS);
    scene.tracks.clear();
    scene.datagram(address(1, 1), labelled("yard", 8, 1));
    assert!(
        matches!(
            scene.tracks[..],
            [Action::ResetTracker(_), Action::Track(_)]
        ),
        "{:?}",
        scene.tracks
    );
}

#[test]
fn a_late_frame_is_not_followed() {
    let mut scene = with_subscriber();
    for seq in [1, 3, 2] {
        scene.sent_as("yard", address(1, 1), labelled("yard", 7, seq));
    }
    assert_eq!(followed(&scene), [1, 2], "counted as they are accepted");
}

#[test]
fn with_hold_every_frame_waits_for_its_own_boxes_and_leaves_with_them() {
    let mut scene = holding();
    for n in 1..=8 {
        scene.datagram(address(1, 1000), plain(n));
        assert_eq!(scene.sent.len() as u64, n - 1, "held");
        scene.track_last(person());
        scene.annotate_last();
        assert_eq!(scene.sent.last(), Some(&with_boxes(n, true)));
        scene.pass(100 * MS);
    }
    let inferred: Vec<u64> = scene.jobs.iter().map(|job| job.count).collect();
    assert_eq!(inferred, [4], "and the model, which is slow, sees the Nth");
    assert_eq!(scene.annotations.len(), 8, "one drawing a frame");
    assert!(
        !scene
            .other
            .iter()
            .any(|action| matches!(action, Action::PublishDetections(_))),
        "nobody reads data"
    );
}

#[test]
fn with_hold_a_frame_without_boxes_leaves_as_it_came() {
    let mut scene = holding();
    scene.datagram(address(1, 1000), plain(1));
    scene.track_last(Vec::new());
    assert_eq!(scene.sent, [plain(1)]);
    assert!(scene.annotations.is_empty());
}

#[test]
fn with_hold_a_frame_whose_boxes_are_late_leaves_without_and_they_are_drawn_on_no_other() {
    let mut scene = holding();
    scene.datagram(address(1, 1000), plain(1));
    scene.pass(100 * MS);
    assert_eq!(scene.sent, [plain(1)]);
    scene.track_last(person());
    scene.datagram(address(1, 1000), plain(2));
    scene.pass(100 * MS);
    assert_eq!(scene.sent, [plain(1), plain(2)]);
    assert!(scene.annotations.is_empty());
    scene.datagram(address(1, 1000), plain(3));
    scene.track_last(person());
    scene.datagram(address(1, 1000), plain(4));
    assert_eq!(scene.sent[2..], [plain(3)], "drawn too late");
    assert_eq!(scene.annotations.len(), 1, "and not on the next one");
    scene.annotate_last();
    assert_eq!(scene.sent.len(), 3);
}

#[test]
fn with_hold_the_models_answer_corrects_and_is_not_drawn_itself() {
    let mut scene = holding();
    scene.frames(1..=3);
    scene.datagram(address(1, 1000), plain(4));
    scene.answer_last();
    assert!(matches!(
        scene.tracks.last(),
        Some(Action::UpdateTracker(_, 4, _))
    ));
    assert!(scene.annotations.is_empty());
}

#[test]
fn with_hold_and_no_model_no_frame_waits() {
    let mut scene = Scene::watched(RelaySettings {
        every: None,
        overlay: Overlay::Hold,
        ..rules()
    });
    scene.datagram(address(1, 1000), plain(1));
    assert_eq!(scene.sent, [plain(1)]);
}

/// A relay with a browser that wants boxes in the picture.
fn annotating(overlay: Overlay) -> Scene {
    let mut scene = Scene::watched(RelaySettings { overlay, ..rules() });
    scene.relay.subscribe(SubscriberId(1), None);
    scene.relay.request_annotated(SubscriberId(1));
    scene
}

#[test]
fn a_subscriber_that_wants_boxes_in_the_picture_has_them_on_every_frame_and_holds_none() {
    let mut scene = annotating(Overlay::EveryNth);
    for n in 1..=3 {
        scene.datagram(address(1, 1000), plain(n));
        assert_eq!(scene.sent.len() as u64, n, "UDP viewers do not wait");
        scene.track_last(person());
        scene.annotate_last();
        let annotated = scene.annotated.last().unwrap();
        assert_eq!(*annotated.frame.jpeg(), with_boxes(n, true));
        assert_eq!(annotated.frame.label.seq, n);
        scene.pass(100 * MS);
    }
    scene.datagram(address(1, 1000), plain(4));
    scene.track_last(Vec::new());
    assert_eq!(
        *scene.annotated.last().unwrap().frame.jpeg(),
        plain(4),
        "nothing to draw"
    );
    assert_eq!(
        scene.sent.len(),
        3,
        "which waits for the model's boxes, and not for these"
    );
    let job = scene.jobs[0].clone();
    scene.track_last(person());
    scene.annotate_last();
    assert_eq!(scene.sent.len(), 3);
    scene.answer(&job, person());
    scene.annotate_last();
    assert_eq!(scene.sent.last(), Some(&with_boxes(4, true)));
    assert_eq!(
        scene.annotated.len(),
        5,
        "each once, and the model's boxes are not theirs"
    );
    scene.relay.unsubscribe(SubscriberId(1));
    scene.relay.subscribe(SubscriberId(2), None);
    scene.datagram(address(1, 1000), plain(5));
    scene.track_last(person());
    assert_eq!(
        (scene.annotated.len(), scene.annotations.len()),
        (5, 5),
        "nobody wants it"
    );
}

#[test]
fn a_request_for_one_picture_with_boxes_is_inferred_at_once_and_many_take_two_inferences_a_second()
{
    for camera in [None, Some("cam1")] {
        let mut scene = Scene::new(RelaySettings {
            every: Some("1000".parse().unwrap()),
            ..rules()
        });
        let mut frames = 0;
        let mut send = |scene: &mut Scene, interval: Duration| {
            frames += 1;
            scene.pass(interval);
            scene.datagram(address(1, 1000), plain(frames));
            if scene.jobs.last().is_some_and(|job| job.count == frames) {
                scene.answer_last();
            }
        };
        let camera = || camera.map(|name| name.parse().unwrap());
        let inferred =
            |scene: &Scene| -> Vec<u64> { scene.jobs.iter().map(|job| job.count).collect() };
        scene.relay.subscribe(SubscriberId(0), camera());
        (0..9).for_each(|_| send(&mut scene, 100 * MS));
        assert!(scene.jobs.is_empty(), "boxes as data have their turn");
        scene.relay.request_annotated(SubscriberId(0));
        (0..9).for_each(|_| send(&mut scene, 100 * MS));
        assert_eq!(inferred(&scene), [10], "once for the request");
        for id in 1..=100 {
            scene.relay.subscribe(SubscriberId(id), camera());
            scene.relay.request_annotated(SubscriberId(id));
            send(&mut scene, 100 * MS);
            scene.relay.unsubscribe(SubscriberId(id));
        }
        assert_eq!(scene.jobs.len(), 1 + 20, "of 100 requests in 10 s");
        scene.relay.unsubscribe(SubscriberId(0));
        (0..9).for_each(|_| send(&mut scene, 1000 * MS));
        assert_eq!(scene.jobs.len(), 1 + 20);
    }
}

#[test]
fn without_a_model_a_subscriber_that_wants_boxes_in_the_picture_has_each_frame_as_it_came() {
    let mut scene = annotating(Overlay::EveryNth);
    scene.datagram(address(1, 1000), plain(1));
    scene.relay.on_model_died(scene.now);
    for n in 2..=3 {
        scene.pass(100 * MS);
        scene.datagram(address(1, 1000), plain(n));
    }
    let annotated: Vec<_> = scene
        .annotated
        .iter()
        .map(|publication| publication.frame.jpeg().clone())
        .collect();
    assert_eq!(annotated, [plain(2), plain(3)]);
}

#[test]
fn with_hold_one_drawing_is_for_udp_viewers_and_subscribers_alike() {
    let mut scene = annotating(Overlay::Hold);
    scene.datagram(address(1, 1000), plain(1));
    scene.track_last(person());
    assert_eq!(scene.annotations.len(), 1);
    scene.annotate_last();
    assert_eq!(scene.sent, [with_boxes(1, true)]);
    assert_eq!(*scene.annotated[0].frame.jpeg(), with_boxes(1, true));
    scene.pass(100 * MS);
    scene.datagram(address(1, 1000), plain(2));
    scene.track_last(person());
    let annotate = scene.annotations.pop().unwrap();
    scene.relay.on_annotated(&annotate, None, scene.now);
    scene.act();
    assert_eq!(scene.sent[1], plain(2), "it could not be drawn");
    assert_eq!(*scene.annotated[1].frame.jpeg(), plain(2));
}
