//! The overlay's rules, in virtual time.

use proptest::prelude::*;
use protocol::label::StreamId;

use protocol::geometry::BBox;

use super::super::display_stats::DisplayStats;
use super::super::loss::FrameCounts;
use super::*;

const START: u64 = 1_763_820_000_000_000;
const MS: Duration = Duration::from_millis(1);

/// Frame `seq` of a camera at 10 frames a second.
fn label(seq: u64) -> Label {
    Label {
        stream: StreamId(1),
        seq,
        captured_us: START + seq * 100_000,
        camera: "yard".parse().unwrap(),
    }
}

/// A box of a tenth of the picture, its left edge at `x`.
fn at(id: u64, x: f32) -> Detection {
    Detection {
        id: Some(id),
        class: 0,
        label: format!("thing {id}"),
        score: 0.8,
        fading: false,
        bbox: [x, 0.4, x + 0.1, 0.5].into(),
    }
}

fn message(kind: Kind, seq: u64, detections: Vec<Detection>) -> Detections {
    Detections {
        v: Detections::VERSION,
        camera: "yard".to_owned(),
        seq,
        t: captured(&label(seq)),
        w: 300,
        h: 200,
        kind,
        infer_ms: None,
        model: None,
        detections,
    }
}

fn tracked(seq: u64, boxes: &[(u64, f32)]) -> Detections {
    let boxes = boxes.iter().map(|(id, x)| at(*id, *x)).collect();
    message(Kind::Tracked, seq, boxes)
}

/// Its one box without an id.
fn inferred(seq: u64, x: f32) -> Detections {
    let found = Detection {
        id: None,
        ..at(0, x)
    };
    message(Kind::Inferred, seq, vec![found])
}

fn of(messages: impl IntoIterator<Item = Detections>) -> BoxTimeline {
    let mut overlay = BoxTimeline::default();
    let now = testkit::time::start();
    messages.into_iter().for_each(|m| overlay.add(m, now));
    overlay
}

/// What is drawn on frame `seq`: each box's id (0 without one) and its left edge in thousandths.
fn drawn(overlay: &BoxTimeline, seq: u64) -> Vec<(u64, i32)> {
    let boxes = overlay.boxes(&label(seq), None);
    let edge = |d: &Detection| (d.bbox.x0 * 1000.0).round() as i32;
    boxes
        .list
        .iter()
        .map(|d| (d.id.unwrap_or(0), edge(d)))
        .collect()
}

fn opacity(overlay: &BoxTimeline, seq: u64) -> f32 {
    overlay.boxes(&label(seq), None).opacity
}

#[test]
fn a_frame_gets_the_boxes_tracked_for_itself_whatever_came_after() {
    let overlay = of([
        tracked(1, &[(7, 0.1)]),
        inferred(1, 0.5),
        tracked(2, &[(7, 0.2)]),
        inferred(2, 0.6),
        tracked(3, &[(7, 0.3)]),
    ]);
    assert_eq!(drawn(&overlay, 1), [(7, 100)]);
    assert_eq!(drawn(&overlay, 2), [(7, 200)]);
    assert_eq!(opacity(&overlay, 1), 1.0);
}

#[test]
fn a_late_message_takes_the_place_of_what_was_guessed() {
    let mut overlay = of([tracked(1, &[(7, 0.1)]), tracked(2, &[(7, 0.2)])]);
    assert_eq!(drawn(&overlay, 3), [(7, 300)]);
    overlay.add(tracked(3, &[(7, 0.25)]), testkit::time::start());
    assert_eq!(drawn(&overlay, 3), [(7, 250)]);
}

#[test]
fn boxes_whose_message_is_lost_move_on_as_they_moved() {
    let overlay = of([
        tracked(1, &[(7, 0.1), (8, 0.5)]),
        tracked(3, &[(7, 0.3), (8, 0.48)]),
    ]);
    assert_eq!(drawn(&overlay, 4), [(7, 400), (8, 470)]);
    assert_eq!(drawn(&overlay, 5), [(7, 500), (8, 460)]);
    assert_eq!(opacity(&overlay, 5), 1.0, "no flicker");
    let sizes = overlay.boxes(&label(5), None).list;
    let size = |d: &Detection| d.bbox.x1 - d.bbox.x0;
    assert!(sizes.iter().all(|d| (size(d) - 0.1).abs() < 1e-5));
    assert!(sizes.iter().all(|d| d.score == 0.8));
}

#[test]
fn a_box_that_is_new_or_has_no_id_stays_where_it_is() {
    let mut bare = tracked(3, &[(7, 0.3)]);
    bare.detections[0].id = None;
    let mut before = bare.clone();
    (before.seq, before.t) = (2, captured(&label(2)));
    before.detections[0].bbox = BBox::default();
    assert_eq!(drawn(&of([before, bare]), 4), [(0, 300)]);
    let overlay = of([tracked(2, &[(7, 0.2)]), tracked(3, &[(7, 0.3), (9, 0.7)])]);
    assert_eq!(drawn(&overlay, 4), [(7, 400), (9, 700)]);
}

#[test]
fn two_that_cross_keep_their_ways() {
    let overlay = of([
        tracked(1, &[(7, 0.3), (8, 0.5)]),
        tracked(2, &[(8, 0.45), (7, 0.35)]),
    ]);
    assert_eq!(drawn(&overlay, 3), [(8, 400), (7, 400)]);
    assert_eq!(drawn(&overlay, 4), [(8, 350), (7, 450)]);
}

#[test]
fn of_two_messages_for_a_frame_the_one_that_came_last_counts_and_makes_no_speed() {
    let overlay = of([
        tracked(1, &[(7, 0.1)]),
        tracked(2, &[(7, 0.2)]),
        tracked(2, &[(7, 0.25)]),
    ]);
    assert_eq!(drawn(&overlay, 2), [(7, 250)]);
    assert_eq!(drawn(&overlay, 3), [(7, 400)]);
}

#[test]
fn an_id_that_ends_is_gone_at_once() {
    let overlay = of([tracked(1, &[(7, 0.1), (8, 0.5)]), tracked(2, &[(8, 0.5)])]);
    assert_eq!(drawn(&overlay, 2), [(8, 500)]);
    assert_eq!(drawn(&overlay, 3), [(8, 500)]);
    let overlay = of([tracked(1, &[(7, 0.1)]), inferred(1, 0.1), tracked(2, &[])]);
    assert_eq!(drawn(&overlay, 2), []);
    assert_eq!(drawn(&overlay, 3), []);
}

#[test]
fn a_box_that_moved_out_of_the_picture_is_gone_and_one_at_its_edge_is_cut() {
    let overlay = of([tracked(1, &[(7, 0.6)]), tracked(2, &[(7, 0.75)])]);
    let cut = overlay.boxes(&label(3), None).list;
    assert!((cut[0].bbox.x0 - 0.9).abs() < 1e-5 && cut[0].bbox.x1 <= 1.0);
    assert_eq!(drawn(&overlay, 4), []);
}

#[test]
fn without_a_further_message_boxes_fade_and_are_gone_after_a_second() {
    let overlay = of([tracked(1, &[(7, 0.1)])]);
    assert_eq!(opacity(&overlay, 6), 1.0);
    let score = |seq| overlay.boxes(&label(seq), None).list[0].score;
    assert_eq!(score(6), 0.8);
    assert!(!overlay.boxes(&label(6), None).list[0].fading);
    for seq in 7..11 {
        assert!(opacity(&overlay, seq) < opacity(&overlay, seq - 1));
        assert!(score(seq) < score(seq - 1));
        assert!(overlay.boxes(&label(seq), None).list[0].fading);
    }
    assert!((opacity(&overlay, 10) - 0.2).abs() < 1e-3);
    assert_eq!(drawn(&overlay, 11), []);
    assert_eq!(drawn(&overlay, 1000), []);
}

#[test]
fn where_the_model_is_asked_seldom_boxes_live_for_two_inferences() {
    let every = |n: u64| {
        let seen = [1, 2, 3].map(|k| inferred(100 - k * n, 0.1));
        of(seen.into_iter().rev().chain([tracked(100, &[(7, 0.1)])]))
    };
    for (n, life) in [(1, 10), (5, 10), (8, 16), (20, 40)] {
        let overlay = every(n);
        assert_eq!(opacity(&overlay, 100 + life / 2), 1.0, "{n}");
        assert_eq!(drawn(&overlay, 100 + life - 1).len(), 1, "{n}");
        assert_eq!(drawn(&overlay, 100 + life), [], "{n}");
    }
    let mut overlay = every(20);
    overlay.add(inferred(90, 0.1), testkit::time::start());
    assert_eq!(drawn(&overlay, 120), [], "the gap before was a loss");
    let overlay = of([
        inferred(1, 0.1),
        inferred(9000, 0.1),
        tracked(9000, &[(7, 0.1)]),
    ]);
    assert_eq!(drawn(&overlay, 9099).len(), 1);
    assert_eq!(drawn(&overlay, 9100), [], "and never longer than 10 s");
}

#[test]
fn a_message_for_a_frame_that_is_yet_to_come_waits_for_it() {
    let overlay = of([tracked(5, &[(7, 0.5)])]);
    assert_eq!(drawn(&overlay, 4), []);
    assert_eq!(drawn(&overlay, 5), [(7, 500)]);
    let overlay = of([tracked(3, &[(7, 0.3)]), tracked(5, &[(7, 0.5)])]);
    assert_eq!(drawn(&overlay, 4), [(7, 300)], "not drawn from the future");
}

#[test]
fn what_the_model_found_is_drawn_where_nobody_tracks_and_for_a_second() {
    let overlay = of([inferred(1, 0.1), inferred(4, 0.4)]);
    assert_eq!(drawn(&overlay, 3), [(0, 100)]);
    assert_eq!(drawn(&overlay, 4), [(0, 400)]);
    assert_eq!(drawn(&overlay, 14), [(0, 400)]);
    assert_eq!(drawn(&overlay, 15), []);
    assert_eq!(opacity(&overlay, 14), 1.0);
}

#[test]
fn what_the_model_found_is_not_drawn_where_there_are_tracks() {
    let overlay = of([inferred(4, 0.4), tracked(5, &[(7, 0.5)]), inferred(6, 0.6)]);
    assert_eq!(drawn(&overlay, 4), [], "those of the next frame are near");
    assert_eq!(drawn(&overlay, 5), [(7, 500)]);
    assert_eq!(drawn(&overlay, 6), [(7, 500)]);
    assert_eq!(drawn(&overlay, 16), [(0, 600)], "the tracks have ended");
}

#[test]
fn after_a_senders_restart_the_numbers_of_the_run_before_mean_nothing() {
    let mut before = tracked(7, &[(7, 0.7)]);
    before.t -= 60.0;
    let overlay = of([before, tracked(6, &[(8, 0.6)])]);
    assert_eq!(drawn(&overlay, 7), [(8, 600)]);
}

#[test]
fn after_a_relays_restart_its_ids_mean_other_things() {
    let mut overlay = of([tracked(1, &[(7, 0.1)]), inferred(1, 0.1)]);
    let now = testkit::time::start();
    overlay.on_frame(&label(1), now);
    overlay.reset();
    assert_eq!(drawn(&overlay, 2), []);
    overlay.add(tracked(3, &[(7, 0.8)]), now);
    assert_eq!(drawn(&overlay, 4), [(7, 800)], "a way of its own");
    assert_eq!(overlay.awaits(&label(1)), None);
}

#[test]
fn another_cameras_boxes_are_not_drawn_and_a_switch_forgets_those_before() {
    let drive = |mut message: Detections| {
        message.camera = "drive".to_owned();
        message
    };
    let overlay = of([tracked(1, &[(7, 0.1)]), drive(tracked(1, &[(7, 0.9)]))]);
    assert_eq!(drawn(&overlay, 1), []);
    let overlay = of([
        tracked(1, &[(7, 0.1)]),
        inferred(1, 0.1),
        drive(tracked(2, &[(7, 0.9)])),
        tracked(3, &[(7, 0.3)]),
    ]);
    assert_eq!(drawn(&overlay, 2), []);
    assert_eq!(drawn(&overlay, 4), [(7, 300)]);
    let overlay = of([inferred(1, 0.1), drive(inferred(2, 0.9)), inferred(3, 0.3)]);
    assert_eq!(drawn(&overlay, 2), []);
    assert_eq!(drawn(&overlay, 3), [(0, 300)]);
}

#[test]
fn a_stale_picture_has_no_boxes() {
    let overlay = of([tracked(1, &[(7, 0.1)])]);
    let (mut stats, start) = (DisplayStats::default(), testkit::time::start());
    stats.on_displayed(None, FrameCounts::default(), start);
    let seen = |after| {
        overlay
            .boxes(&label(1), stats.stale_for(start + after))
            .list
    };
    assert_eq!(seen(999 * MS).len(), 1);
    assert_eq!(seen(1000 * MS).len(), 0);
}

/// An overlay at the moment when the third frame comes, and that moment; each message came so late after its frame.
fn stream(late: Duration) -> (BoxTimeline, Instant) {
    let (mut overlay, start) = (BoxTimeline::default(), testkit::time::start());
    for seq in [1, 2] {
        let now = start + seq as u32 * 100 * MS;
        overlay.on_frame(&label(seq), now);
        overlay.add(tracked(seq, &[(7, 0.1)]), now + late);
    }
    let now = start + 300 * MS;
    overlay.on_frame(&label(3), now);
    (overlay, now)
}

#[test]
fn a_frame_waits_for_its_boxes_a_little_and_until_they_are_there() {
    let (mut overlay, now) = stream(MS);
    assert_eq!(overlay.awaits(&label(3)), Some(now + MAX_WAIT));
    overlay.add(tracked(3, &[]), now + MS);
    assert_eq!(overlay.awaits(&label(3)), None);
}

#[test]
fn a_frame_with_boxes_that_came_before_it_waits_not_at_all() {
    let (mut overlay, now) = stream(MS);
    overlay.add(tracked(4, &[]), now + 99 * MS);
    overlay.on_frame(&label(4), now + 100 * MS);
    assert_eq!(overlay.awaits(&label(4)), None);
    overlay.on_frame(&label(5), now + 200 * MS);
    assert!(overlay.awaits(&label(5)).is_some());
}

#[test]
fn a_newer_frame_ends_the_wait() {
    let (mut overlay, now) = stream(MS);
    overlay.on_frame(&label(4), now + MS);
    assert_eq!(overlay.awaits(&label(3)), None);
    assert!(overlay.awaits(&label(4)).is_some());
}

#[test]
fn nothing_waits_where_no_tracked_messages_come() {
    let (mut overlay, now) = (BoxTimeline::default(), testkit::time::start());
    overlay.on_frame(&label(1), now);
    assert_eq!(overlay.awaits(&label(1)), None);
    overlay.add(inferred(1, 0.1), now);
    overlay.on_frame(&label(2), now + 100 * MS);
    assert_eq!(overlay.awaits(&label(2)), None);

    let (mut overlay, now) = stream(MS);
    overlay.on_frame(&label(12), now + 900 * MS);
    assert!(overlay.awaits(&label(12)).is_some(), "for a second");
    overlay.on_frame(&label(13), now + 1000 * MS);
    assert_eq!(overlay.awaits(&label(13)), None);
}

#[test]
fn nothing_waits_for_messages_that_come_too_late_until_they_do_not() {
    let (mut overlay, now) = stream(MAX_WAIT + MS);
    assert_eq!(overlay.awaits(&label(3)), None);
    overlay.add(tracked(3, &[]), now + MS);
    overlay.on_frame(&label(4), now + 100 * MS);
    assert!(overlay.awaits(&label(4)).is_some());
    overlay.add(tracked(3, &[]), now + 101 * MS);
    overlay.on_frame(&label(5), now + 200 * MS);
    assert_eq!(
        overlay.awaits(&label(5)),
        None,
        "that was for a frame before"
    );
}

#[test]
fn nothing_waits_for_another_cameras_messages() {
    let (mut overlay, now) = stream(MS);
    let mut drive = tracked(4, &[]);
    drive.camera = "drive".to_owned();
    overlay.add(drive, now);
    assert_eq!(overlay.awaits(&label(3)), None);
}

#[test]
fn memory_is_bounded_and_so_are_names() {
    let both = |seq| [tracked(seq, &[(seq, 0.1)]), inferred(seq, 0.1)];
    let mut overlay = of((0..10_000).flat_map(both));
    assert_eq!(overlay.tracked.len(), MAX_TRACKED);
    assert_eq!(overlay.inferred.len(), MAX_INFERRED);
    let oldest = 10_000 - MAX_TRACKED as u64;
    assert_eq!(drawn(&overlay, oldest), [(oldest, 100)]);
    let mut long = tracked(10_000, &[(1, 0.1)]);
    long.detections[0].label = "ü".repeat(10_000);
    overlay.add(long, testkit::time::start());
    let drawn = overlay.boxes(&label(10_000), None).list;
    assert_eq!(drawn[0].label.len(), MAX_CLASS_NAME);
}

#[test]
fn of_a_frames_boxes_the_100_best_are_kept_and_drawn() {
    let crowd = |seq| tracked(seq, &[(seq, 0.1); 1000]);
    let mut better = crowd(1);
    better.detections[700].score = 0.9;
    let overlay = of([better, crowd(2)]);
    let kept = |messages: &VecDeque<Detections>| messages.iter().all(|m| m.detections.len() == 100);
    assert!(kept(&overlay.tracked));
    for seq in [1, 2, 3] {
        assert_eq!(drawn(&overlay, seq).len(), 100, "{seq}");
    }
    assert_eq!(overlay.boxes(&label(1), None).list[0].score, 0.9);
}

#[test]
fn of_two_boxes_with_one_id_the_better_one_has_the_way() {
    let mut twice = tracked(1, &[(7, 0.2), (7, 0.9)]);
    twice.detections[1].score = 0.3;
    let overlay = of([twice, tracked(2, &[(7, 0.3)])]);
    assert_eq!(drawn(&overlay, 3), [(7, 400)]);
}

proptest! {
    #[test]
    fn whatever_a_relay_says_nothing_panics_and_every_box_is_inside(
        times in prop::collection::vec((0..3_u8, -2e6..2e6_f64, any::<f64>().prop_filter("parsed", |t| t.is_finite())), 0..100),
        edges in prop::array::uniform4(0f32..=1.0),
        id in 0..2_u64,
        seq in any::<u64>(),
        captured_us in any::<u64>(),
    ) {
        let mut overlay = BoxTimeline::default();
        let label = Label { captured_us, seq, ..label(1) };
        let now = testkit::time::start();
        overlay.on_frame(&label, now);
        for (n, (how, near, any)) in times.into_iter().enumerate() {
            let mut message = tracked(n as u64, &[(id, 0.0), (id, 0.5)]);
            message.detections[0].bbox = edges.into();
            message.t = if how == 0 { any } else { captured(&label) + near / 1e6 };
            message.kind = if how == 1 { Kind::Inferred } else { Kind::Tracked };
            overlay.add(message, now);
        }
        let boxes = overlay.boxes(&label, None);
        let unit = |x: &f32| (0.0..=1.0).contains(x);
        prop_assert!(unit(&boxes.opacity));
        prop_assert!(boxes.list.iter().all(|d| unit(&d.score) && d.bbox.edges().iter().all(unit)));
        overlay.awaits(&label);
    }
}
