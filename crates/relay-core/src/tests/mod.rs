//! The relay's rules, each by name, in virtual time.

mod model;
mod native;
mod tracks;

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use protocol::detections::{Detection, Found};
use protocol::geometry::Size;
use protocol::label::{Label, StreamId};
use testkit::jpeg::Sketch;

use protocol::schedule::Every;

use super::*;

const MS: Duration = Duration::from_millis(1);

fn address(host: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, host], port))
}

const VIEWER: u8 = 200;

fn viewer(n: u16) -> SocketAddr {
    address(VIEWER, n)
}

fn rules() -> Rules {
    Rules {
        every: Some("4".parse().unwrap()),
        batch: 1,
        rest: 0.0,
        overlay: Overlay::EveryNth,
        detections_read: false,
        model: "test".to_owned(),
        demo: false,
        plain_viewers: 4,
        plain_egress: 20_000_000,
        private: false,
        stream: StreamId(0xBEE),
    }
}

/// A frame whose bytes tell its number.
fn plain(n: u64) -> Bytes {
    Sketch::new(300, 200)
        .segment(0xFE, &n.to_be_bytes())
        .bytes()
        .into()
}

fn labelled(camera: &str, stream: u64, seq: u64) -> Bytes {
    let label = Label {
        stream: StreamId(stream),
        seq,
        captured_us: 1_000_000 * seq,
        camera: camera.parse().unwrap(),
    };
    label.write(&plain(seq)).into()
}

fn person() -> Vec<Detection> {
    vec![Detection {
        id: None,
        class: 0,
        label: "person".to_owned(),
        score: 0.9,
        bbox: [0.1, 0.1, 0.5, 0.5].into(),
    }]
}

/// A relay in virtual time. Whatever is drawn gets a name that tells on what and whose boxes.
struct Scene {
    relay: Relay,
    now: Instant,
    sent: Vec<Bytes>,
    jobs: Vec<Job>,
    burns: Vec<Burn>,
    published: Vec<Publish>,
    /// For screens that want boxes in the picture.
    burned: Vec<Publish>,
    live: Vec<Vec<String>>,
    /// What whoever follows objects is told.
    tracks: Vec<Action>,
    other: Vec<Action>,
}

impl Scene {
    fn new(rules: Rules) -> Self {
        let now = testkit::time::start();
        Self {
            relay: Relay::new(rules, now),
            now,
            sent: Vec::new(),
            jobs: Vec::new(),
            burns: Vec::new(),
            published: Vec::new(),
            burned: Vec::new(),
            live: Vec::new(),
            tracks: Vec::new(),
            other: Vec::new(),
        }
    }

    fn watched(rules: Rules) -> Self {
        let mut scene = Self::new(rules);
        scene.request(viewer(1));
        scene.other.clear();
        scene
    }

    fn datagram(&mut self, from: SocketAddr, bytes: impl Into<Bytes>) {
        self.relay.datagram(from, bytes.into(), 5_000_000, self.now);
        self.act();
    }

    fn request(&mut self, viewer: SocketAddr) {
        self.datagram(viewer, &b"Request"[..]);
    }

    fn hello(&mut self, viewer: SocketAddr) {
        self.datagram(viewer, Control::Hello { nonce: 7 }.write());
    }

    /// The frames `range` of an unlabelled camera, 100 ms apart.
    fn frames(&mut self, range: std::ops::RangeInclusive<u64>) {
        for n in range {
            self.datagram(address(1, 1000), plain(n));
            self.pass(100 * MS);
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.relay.deadline().filter(|&at| at <= end) {
            self.now = self.now.max(at);
            self.relay.tick(self.now);
            self.act();
        }
        self.now = end;
    }

    fn answer(&mut self, job: &Job, detections: Vec<Detection>) {
        let found = Found {
            size: Size {
                width: 300,
                height: 200,
            },
            took: 40 * MS,
            detections,
        };
        let Job {
            camera,
            count,
            arrival,
            ..
        } = job.clone();
        let answer = Answer {
            camera,
            count,
            arrival,
            found: Some(found),
        };
        self.relay.answered(vec![answer], self.now);
        self.act();
    }

    /// The model answers its latest job with one person.
    fn answer_last(&mut self) {
        let job = self.jobs.last().unwrap().clone();
        self.answer(&job, person());
    }

    fn burn(&mut self, burn: &Burn) {
        self.relay.burned(
            burn,
            Some(with_boxes(burn.job.count, burn.is_own())),
            self.now,
        );
        self.act();
    }

    fn burn_last(&mut self) {
        let burn = self.burns.last().unwrap().clone();
        self.burn(&burn);
    }

    fn act(&mut self) {
        while let Some(action) = self.relay.next_action() {
            match action {
                Action::Forward(forward) => self.sent.push(forward.jpeg),
                Action::Infer(jobs) => self.jobs.extend(jobs),
                Action::Burn(burn) => self.burns.push(burn),
                Action::Publish(frame) => self.published.push(frame),
                Action::PublishBurned(frame) => self.burned.push(frame),
                Action::Cameras(live) => self.live.push(live),
                Action::Follow(_) | Action::Correct(..) | Action::Forget(_) => {
                    self.tracks.push(action);
                }
                other => self.other.push(other),
            }
        }
    }
}

impl Burn {
    fn is_own(&self) -> bool {
        self.held != Some(Boxes::Older)
    }
}

fn with_boxes(count: u64, own: bool) -> Bytes {
    format!(
        "frame {count} with {} boxes",
        if own { "its own" } else { "older" }
    )
    .into()
}

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
    scene.burn_last();
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
    assert!(scene.burns.is_empty());
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
    assert!(scene.burns.is_empty());
    scene.datagram(address(1, 1000), plain(8));
    assert_eq!(
        (scene.burns[0].job.count, scene.burns[0].is_own()),
        (8, false)
    );
    assert_eq!(scene.jobs.len(), 2, "the model looks at it all the same");
    scene.pass(3 * MS);
    scene.burn_last();
    assert_eq!(scene.sent[7], with_boxes(8, false));
}

#[test]
fn a_model_that_is_late_once_is_waited_for_again_and_own_boxes_go_before_older_ones() {
    let mut scene = Scene::watched(rules());
    for n in 1..=12 {
        scene.datagram(address(1, 1000), plain(n));
        if n % 4 == 0 {
            scene.answer_last();
            scene.burn_last();
        }
        scene.pass(100 * MS);
    }
    scene.frames(13..=17);
    scene.answer_last();
    scene.frames(18..=19);
    scene.datagram(address(1, 1000), plain(20));
    scene.burn_last();
    assert_eq!(
        scene.sent.len(),
        19,
        "older boxes are drawn, and its own may still come"
    );
    scene.answer_last();
    scene.burn_last();
    assert_eq!(scene.sent[19], with_boxes(20, true));
}

#[test]
fn a_model_slower_than_the_camera_delays_no_frame_and_boxes_are_still_seen() {
    for every in ["1", "4", "auto"] {
        let mut scene = Scene::watched(Rules {
            every: Some(every.parse().unwrap()),
            ..rules()
        });
        for n in 1..=100 {
            scene.datagram(address(1, 1000), plain(n));
            // The drawing takes 2 ms, the model 150 ms.
            scene.pass(2 * MS);
            while let Some(burn) = scene.burns.pop() {
                scene.burn(&burn);
            }
            if n > 4 {
                assert_eq!(
                    scene.sent.len() as u64,
                    n,
                    "frame {n} at --every {every} has left"
                );
            }
            scene.pass(48 * MS);
            if n % 2 == 1 && !scene.jobs.is_empty() && !scene.relay.model.is_free {
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
    scene.burn_last();
    assert_eq!(
        scene.sent.len(),
        4,
        "the frame has left, and does not leave twice"
    );
    scene.frames(5..=8);
    assert_eq!(
        (scene.burns[1].job.count, scene.burns[1].is_own()),
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
    let mut scene = Scene::watched(Rules {
        detections_read: true,
        overlay: Overlay::None,
        ..rules()
    });
    scene.frames(1..=3);
    scene.datagram(address(1, 1000), plain(4));
    assert_eq!(scene.sent.len(), 4, "not held");
    scene.answer_last();
    let [
        Action::Note(Note::CameraAppeared(..)),
        Action::Tell(message),
    ] = &scene.other[..]
    else {
        panic!("{:?}", scene.other);
    };
    assert_eq!(
        (message.seq, message.camera.as_str(), message.t),
        (4, "cam1", 5.0)
    );
    assert_eq!(message.detections, person());
    let mut unwatched = Scene::new(Rules {
        detections_read: true,
        ..rules()
    });
    unwatched.frames(1..=4);
    assert_eq!(unwatched.jobs.len(), 1);
}

#[test]
fn a_message_carries_the_labels_number_and_time() {
    let mut scene = Scene::new(Rules {
        detections_read: true,
        every: Some("1".parse().unwrap()),
        ..rules()
    });
    scene.datagram(address(1, 1), labelled("yard", 1, 70));
    scene.answer_last();
    let Some(Action::Tell(message)) = scene.other.last() else {
        panic!("{:?}", scene.other);
    };
    assert_eq!(
        (message.seq, message.t, message.camera.as_str()),
        (70, 70.0, "yard")
    );
}

#[test]
fn without_a_model_every_frame_passes() {
    let mut scene = Scene::watched(Rules {
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
    scene.relay.model_died(scene.now);
    scene.act();
    scene.frames(5..=16);
    assert_eq!(scene.sent, (1..=16).map(plain).collect::<Vec<_>>());
    assert_eq!(
        (scene.jobs.len(), scene.relay.counts().not_inferred),
        (1, 0),
        "nobody asks it any more"
    );
}

#[test]
fn an_undecodable_frame_is_let_go_and_the_model_goes_on() {
    let mut scene = Scene::watched(rules());
    scene.frames(1..=3);
    scene.datagram(address(1, 1000), plain(4));
    let Job {
        camera,
        count,
        arrival,
        ..
    } = scene.jobs[0].clone();
    let undecodable = Answer {
        camera,
        count,
        arrival,
        found: None,
    };
    scene.relay.answered(vec![undecodable], scene.now);
    scene.act();
    assert_eq!(scene.sent[3], plain(4));
    scene.frames(5..=8);
    assert_eq!(scene.jobs.len(), 2);
}

#[test]
fn each_camera_has_its_own_count_and_the_model_takes_turns() {
    let mut scene = Scene::new(Rules {
        detections_read: true,
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
    let mut scene = Scene::watched(Rules {
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
fn plain_viewers_see_the_first_camera_that_is_live() {
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

#[test]
fn a_stranger_cannot_take_a_live_cameras_place() {
    let mut scene = Scene::watched(rules());
    for seq in 1..=30 {
        scene.datagram(address(1, 1), labelled("yard", 1, seq));
        scene.datagram(address(66, 1), labelled("yard", 6, 1000 + seq));
        scene.pass(100 * MS);
    }
    assert!((1..=30).all(|seq| scene.sent.contains(&labelled("yard", 1, seq))));
    assert_eq!(scene.sent.len(), 30);
    assert_eq!(scene.relay.counts().dropped["stranger"], 30);
    let notes = scene
        .other
        .iter()
        .filter(|a| matches!(a, Action::Note(Note::Stranger(..))))
        .count();
    assert_eq!(notes, 1, "said once");
}

#[test]
fn another_host_may_go_on_after_3_s_of_silence() {
    let mut scene = Scene::watched(rules());
    scene.datagram(address(1, 1), labelled("yard", 1, 1));
    scene.pass(2999 * MS);
    scene.datagram(address(2, 1), labelled("yard", 2, 1));
    assert_eq!(scene.sent.len(), 1);
    scene.pass(MS);
    scene.datagram(address(2, 1), labelled("yard", 2, 2));
    assert_eq!(scene.sent.len(), 2);
}

#[test]
fn a_restarted_camera_goes_on_after_300_ms_or_three_intervals() {
    let mut fast = Scene::watched(rules());
    for seq in 1..=20 {
        fast.datagram(address(1, 1), labelled("yard", 1, seq));
        fast.pass(20 * MS);
    }
    fast.pass(279 * MS);
    fast.datagram(address(1, 2), labelled("yard", 2, 1));
    assert_eq!(fast.sent.len(), 20, "299 ms");
    fast.pass(MS);
    fast.datagram(address(1, 2), labelled("yard", 2, 2));
    assert_eq!(fast.sent.len(), 21, "300 ms");

    let mut slow = Scene::watched(rules());
    for seq in 1..=20 {
        slow.datagram(address(1, 1), labelled("yard", 1, seq));
        slow.pass(200 * MS);
    }
    slow.pass(398 * MS);
    slow.datagram(address(1, 2), labelled("yard", 1, 21));
    assert_eq!(slow.sent.len(), 20, "598 ms at 5 fps");
    slow.pass(2 * MS);
    slow.datagram(address(1, 2), labelled("yard", 1, 22));
    assert_eq!(slow.sent.len(), 21, "600 ms");
}

#[test]
fn a_restarted_camera_keeps_its_name_and_its_count() {
    let mut scene = Scene::watched(rules());
    scene.frames(1..=3);
    scene.pass(500 * MS);
    scene.datagram(address(1, 2000), plain(4));
    assert_eq!(scene.jobs[0].count, 4);
    assert_eq!(scene.relay.live_cameras(scene.now), ["cam1"]);
}

#[test]
fn frames_without_a_label_are_named_by_appearance() {
    let mut scene = Scene::watched(rules());
    for host in 1..=3 {
        scene.datagram(address(host, 1000), plain(1));
    }
    assert_eq!(
        scene.relay.live_cameras(scene.now),
        ["cam1", "cam2", "cam3"]
    );
}

#[test]
fn reordered_and_doubled_frames_never_take_the_order_backwards() {
    let mut scene = Scene::watched(rules());
    for seq in [1, 2, 2, 1, 4, 3, 5] {
        scene.datagram(address(1, 1), labelled("yard", 1, seq));
    }
    let seqs = [1, 2, 4, 5].map(|seq| labelled("yard", 1, seq));
    scene.pass(200 * MS);
    assert_eq!(scene.sent, seqs);
    assert_eq!(scene.relay.counts().dropped["late"], 3);
}

#[test]
fn a_flood_of_sources_is_bounded_and_takes_no_live_cameras_place() {
    let mut scene = Scene::watched(rules());
    scene.datagram(address(1, 1), labelled("yard", 1, 1));
    for n in 0..1000 {
        scene.datagram(address(66, 1), labelled(&format!("flood{n}"), 1, 1));
    }
    assert_eq!(scene.relay.live_cameras(scene.now).len(), 64);
    assert!(scene.relay.counts().dropped["too_many_cameras"] > 900);
    scene.pass(2900 * MS);
    scene.datagram(address(1, 1), labelled("yard", 1, 2));
    scene.pass(200 * MS);
    scene.datagram(address(3, 1), labelled("porch", 1, 1));
    assert_eq!(scene.relay.live_cameras(scene.now), ["yard", "porch"]);
}

#[test]
fn a_fifth_viewer_finds_the_door_full_and_is_told() {
    let mut scene = Scene::new(rules());
    for n in 1..=4 {
        scene.request(viewer(n));
    }
    scene.hello(viewer(5));
    let full = Control::Accept {
        nonce: 7,
        verdict: Verdict::Full,
    };
    assert_eq!(*scene.other.last().unwrap(), Action::Reply(viewer(5), full));
    assert_eq!(scene.relay.viewers().0, 4);
    scene.relay.unreachable(viewer(2));
    scene.hello(viewer(5));
    let welcome = Control::Accept {
        nonce: 7,
        verdict: Verdict::Welcome,
    };
    assert_eq!(
        *scene.other.last().unwrap(),
        Action::Reply(viewer(5), welcome)
    );
    assert_eq!(scene.relay.counts().viewers_peak, 4);
}

#[test]
fn a_full_door_gives_up_only_a_place_that_was_not_renewed_for_60_s() {
    let mut scene = Scene::new(Rules {
        plain_viewers: 1,
        ..rules()
    });
    scene.request(viewer(1));
    scene.pass(Duration::from_secs(59));
    scene.request(viewer(2));
    assert!(matches!(
        scene.other.last(),
        Some(Action::Note(Note::Full(_)))
    ));
    scene.pass(Duration::from_secs(1));
    scene.request(viewer(2));
    assert_eq!(
        scene.other[scene.other.len() - 2..],
        [Action::Leave(viewer(1)), Action::Join(viewer(2))]
    );
}

#[test]
fn a_closed_door_sends_nobody_anything() {
    let mut scene = Scene::new(Rules {
        plain_viewers: 0,
        ..rules()
    });
    scene.request(viewer(1));
    scene.frames(1..=8);
    assert!(scene.sent.is_empty() && scene.jobs.is_empty());
}

#[test]
fn what_spoofed_requests_draw_is_bounded() {
    let mut scene = Scene::new(Rules {
        plain_viewers: 4,
        plain_egress: 1_000_000,
        every: None,
        ..rules()
    });
    for n in 0..1000 {
        scene.request(viewer(n));
    }
    let big: Bytes = Sketch::new(300, 200)
        .segment(0xFE, &[0; 50_000])
        .bytes()
        .into();
    let mut bits = 0;
    for _ in 0..1000 {
        scene
            .relay
            .datagram(address(1, 1), big.clone(), 0, scene.now);
        while let Some(action) = scene.relay.next_action() {
            if let Action::Forward(forward) = action {
                bits += 8 * forward.jpeg.len() * forward.viewers.len();
            }
        }
        scene.pass(10 * MS);
    }
    assert!(
        bits <= 10_500_000 && bits > 9_000_000,
        "{bits} bits in 10 s at 1 Mbit/s"
    );
}

#[test]
fn a_viewer_that_falls_silent_is_let_go() {
    let mut scene = Scene::new(rules());
    scene.hello(viewer(1));
    scene.pass(Duration::from_secs(11));
    assert_eq!(*scene.other.last().unwrap(), Action::Leave(viewer(1)));
    assert_eq!(scene.relay.viewers().0, 0);
}

#[test]
fn control_messages_are_never_counted_as_frames() {
    let mut scene = Scene::watched(rules());
    scene.hello(viewer(2));
    scene.datagram(address(1, 1), Control::Upgrade.write());
    assert_eq!(scene.relay.counts().received, 0);
    assert!(scene.sent.is_empty());
}

/// A scene in which the model finds something on each frame of which `sees` says so.
fn looking(demo: bool, sees: impl Fn(u64) -> bool) -> Scene {
    let mut scene = Scene::watched(Rules {
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
        let note = |a: &&Action| matches!(a, Action::Note(Note::Blind(_)));
        scene.other.iter().filter(note).count()
    };
    let real = looking(true, |n| n % 10 == 0);
    assert_eq!(blind(&real), 1);
    let first = real.burns.iter().find(|burn| burn.blind).unwrap();
    let first = first.job.count;
    assert!(first >= 12 && real.burns.last().unwrap().blind, "{first}");
    let demo = looking(true, |n| n % 3 == 0);
    assert_eq!(blind(&demo), 0);
    let yolo = looking(false, |_| false);
    assert_eq!((blind(&yolo), yolo.burns.len()), (0, 0));
}

#[test]
fn garbage_is_counted_by_reason_and_ffmpegs_pieces_are_explained_once() {
    let mut scene = Scene::watched(rules());
    scene.datagram(address(1, 1), &b"hello there"[..]);
    scene.datagram(address(1, 1), vec![9; 1472]);
    scene.datagram(address(1, 1), vec![9; 1472]);
    assert_eq!(
        scene.relay.counts().dropped,
        BTreeMap::from([("not_jpeg", 1), ("piece", 2)])
    );
    assert_eq!(scene.other, [Action::Note(Note::Pieces(address(1, 1)))]);
}

proptest! {
    /// Whatever the model and the drawing do, and whenever: each frame leaves once, in order, and soon.
    #[test]
    fn order_never_goes_backwards_and_no_frame_is_lost(
        events in prop::collection::vec((0u8..4, 1u64..250), 1..200), every in 1u32..6,
    ) {
        let mut scene = Scene::watched(Rules { every: Some(every.to_string().parse().unwrap()), ..rules() });
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
                3 if !scene.burns.is_empty() => {
                    let burn = scene.burns.remove(0);
                    scene.burn(&burn);
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
