//! Rules of the time that cameras have of the model, of the tracker and of drawing: four hostile cameras whose pictures
//! are expensive leave an honest one its own.

use super::*;

/// Cameras, the last one honest.
const CAMERAS: usize = 5;
const HONEST: usize = CAMERAS - 1;
/// Time in which the honest camera, at 10 frames a second, sends 160 frames: 40 of them are due with `--every 4`.
const RUN: Duration = Duration::from_secs(16);

/// How long each thread works on a frame of a hostile and of the honest camera.
#[derive(Clone, Copy)]
struct Costs {
    model: [Duration; 2],
    tracking: [Duration; 2],
    drawing: [Duration; 2],
}

const FREE: Costs = Costs {
    model: [Duration::ZERO; 2],
    tracking: [Duration::ZERO; 2],
    drawing: [Duration::ZERO; 2],
};

/// What was done for each camera.
#[derive(Debug, Default)]
struct Done {
    inferred: [u32; CAMERAS],
    tracked: [u32; CAMERAS],
    drawn: [u32; CAMERAS],
    /// Most jobs that a thread had at once.
    most_at_once: usize,
}

/// The three threads, each with the jobs that it was given, of which it works on the first.
struct Threads {
    scene: Scene,
    costs: Costs,
    /// When the first job of each was begun.
    since: [Option<Instant>; 3],
    done: Done,
}

impl Threads {
    fn new(costs: Costs) -> Self {
        let mut scene = Scene::new(rules());
        scene.threads_are_busy = true;
        for camera in 0..CAMERAS {
            let id = SubscriberId(camera as u64);
            scene.relay.subscribe(id, name(camera).parse().ok());
            scene.relay.request_annotated(id);
        }
        Self {
            scene,
            costs,
            since: [None; 3],
            done: Done::default(),
        }
    }

    /// All cameras send, the hostile ones 40 frames a second.
    fn run(mut self) -> Done {
        for tick in 0..RUN.as_millis() / 5 {
            let seq = tick as u64 + 1;
            for camera in 0..CAMERAS {
                let every = if camera == HONEST { 20 } else { 5 };
                if tick % every == 0 {
                    let from = address(10 + camera as u8, 1);
                    let frame = labelled(&name(camera), 7, seq);
                    self.scene.datagram(from, frame);
                }
            }
            self.scene.pass(5 * MS);
            self.work();
            self.scene.published.clear();
            self.scene.annotated.clear();
            self.scene.other.clear();
        }
        self.done
    }

    fn work(&mut self) {
        while let Some(job) = self.finished(0) {
            self.done.inferred[index(&job)] += 1;
            self.scene.jobs.remove(0);
            self.scene.answer(&job, person());
        }
        while let Some(frame) = self.finished(1) {
            self.done.tracked[index(&frame)] += 1;
            self.scene.tracks.remove(0);
            let tracked = TrackedFrame {
                frame,
                detections: person(),
                tracker: TrackerState::default(),
            };
            self.scene.relay.on_tracked(tracked, self.scene.now);
            self.scene.act();
        }
        while let Some(frame) = self.finished(2) {
            self.done.drawn[index(&frame)] += 1;
            let job = self.scene.annotations.remove(0);
            self.scene.annotate(&job);
        }
    }

    /// Returns the first job of a thread if that is done now.
    fn finished(&mut self, thread: usize) -> Option<CameraFrame> {
        let scene = &mut self.scene;
        scene
            .tracks
            .retain(|action| matches!(action, Action::Track(_)));
        let (job, waiting, costs) = match thread {
            0 => (
                scene.jobs.first().cloned(),
                scene.jobs.len(),
                self.costs.model,
            ),
            1 => {
                let job = jobs(scene).into_iter().next();
                (job, scene.tracks.len(), self.costs.tracking)
            }
            _ => {
                let job = scene.annotations.first().map(|job| job.frame.clone());
                (job, scene.annotations.len(), self.costs.drawing)
            }
        };
        self.done.most_at_once = self.done.most_at_once.max(waiting);
        let job = job?;
        let since = *self.since[thread].get_or_insert(scene.now);
        let cost = costs[usize::from(index(&job) == HONEST)];
        let done = scene.now - since >= cost;
        done.then(|| {
            self.since[thread] = None;
            job
        })
    }
}

fn name(camera: usize) -> String {
    format!("camera{camera}")
}

fn index(frame: &CameraFrame) -> usize {
    let name = frame.label.camera.as_str();
    name["camera".len()..].parse().unwrap()
}

fn jobs(scene: &Scene) -> Vec<CameraFrame> {
    let job = |action: &Action| match action {
        Action::Track(job) => Some(job.clone()),
        _ => None,
    };
    scene.tracks.iter().filter_map(job).collect()
}

#[test]
fn four_cameras_of_expensive_pictures_leave_an_honest_one_its_inferences() {
    let costs = Costs {
        model: [150 * MS, 20 * MS],
        ..FREE
    };
    let done = Threads::new(costs).run();
    assert!(done.inferred[HONEST] >= 32, "{done:?} of 40");
    assert!(done.inferred.iter().all(|count| *count >= 16), "{done:?}");
}

#[test]
fn four_cameras_that_are_expensive_to_track_leave_an_honest_one_its_boxes() {
    let costs = Costs {
        tracking: [60 * MS, 5 * MS],
        ..FREE
    };
    let done = Threads::new(costs).run();
    assert!(done.tracked[HONEST] >= 128, "{done:?} of 160");
    assert_eq!(done.most_at_once, 1, "a thread has the job under way alone");
}

#[test]
fn four_cameras_that_are_expensive_to_draw_leave_an_honest_one_its_pictures() {
    let costs = Costs {
        drawing: [60 * MS, 5 * MS],
        ..FREE
    };
    let done = Threads::new(costs).run();
    assert!(done.drawn[HONEST] >= 128, "{done:?} of 160");
}

#[test]
fn a_frame_that_cannot_be_decoded_costs_its_camera_the_time_all_the_same() {
    let mut scene = Scene::new(RelaySettings {
        every: Some("1".parse().unwrap()),
        output_reads_detections: true,
        ..rules()
    });
    let mut turns = [0; 2];
    for seq in 1..=100 {
        scene.datagram(address(1, 1), labelled("broken", 1, seq));
        scene.datagram(address(2, 1), labelled("yard", 1, seq));
        let frame = scene.jobs.pop().unwrap();
        let broken = frame.label.camera.as_str() == "broken";
        scene.pass(MS * if broken { 60 } else { 20 });
        turns[usize::from(!broken)] += 1;
        let found = None;
        let answer = Inference { frame, found };
        scene.relay.on_inferred(vec![answer], scene.now);
        scene.act();
    }
    assert!(turns[1] >= 2 * turns[0], "{turns:?}");
}

#[test]
fn what_the_model_found_waits_for_a_busy_tracker_and_comes_before_the_next_frame() {
    let mut scene = Scene::new(rules());
    scene.threads_are_busy = true;
    scene.relay.subscribe(SubscriberId(1), None);
    scene.frames(1..=4);
    scene.answer_last();
    let given = |scene: &Scene| {
        let given = scene.tracks.iter().map(|action| match action {
            Action::Track(job) => ("frame", job.count),
            Action::UpdateTracker(_, count, _) => ("answer", *count),
            _ => ("reset", 0),
        });
        given.collect::<Vec<_>>()
    };
    assert_eq!(given(&scene), [("frame", 1)], "it works on it");
    let track = |scene: &mut Scene| {
        let frame = jobs(scene).pop().unwrap();
        let detections = person();
        let tracked = TrackedFrame {
            frame,
            detections,
            tracker: TrackerState::default(),
        };
        scene.relay.on_tracked(tracked, scene.now);
        scene.act();
    };
    track(&mut scene);
    track(&mut scene);
    assert_eq!(
        given(&scene)[1..],
        [("frame", 3), ("frame", 4)],
        "the newest two have waited"
    );
    track(&mut scene);
    scene.frames(5..=5);
    assert_eq!(given(&scene)[3..], [("answer", 4), ("frame", 5)]);
}

#[test]
fn a_camera_that_begins_anew_all_the_time_sends_a_busy_tracker_one_reset() {
    let mut scene = Scene::new(rules());
    scene.threads_are_busy = true;
    scene.relay.subscribe(SubscriberId(1), None);
    for stream in 1..=20 {
        scene.datagram(address(1, 1), labelled("yard", stream, 1));
        scene.pass(1000 * MS);
    }
    assert_eq!(scene.tracks.len(), 1, "it works on the first frame");
    let frame = jobs(&scene).pop().unwrap();
    let detections = person();
    let tracked = TrackedFrame {
        frame,
        detections,
        tracker: TrackerState::default(),
    };
    scene.relay.on_tracked(tracked, scene.now);
    scene.act();
    assert!(
        matches!(
            scene.tracks[1..],
            [Action::ResetTracker(_), Action::Track(_)]
        ),
        "{:?}",
        scene.tracks
    );
}

/// Returns how many of 300 inferences each of these cameras got; each sends by QUIC or by UDP, and always has a frame waiting.
fn inferences(cameras: &[(SocketAddr, bool)]) -> Vec<u32> {
    let mut scene = Scene::new(RelaySettings {
        every: Some("1".parse().unwrap()),
        output_reads_detections: true,
        ..rules()
    });
    let mut inferred = vec![0; cameras.len()];
    for seq in 1..=300 {
        for (index, (from, by_quic)) in cameras.iter().enumerate() {
            let frame = labelled(&name(index), 7, seq);
            match by_quic {
                true => scene.sent_as(&name(index), *from, frame),
                false => scene.datagram(*from, frame),
            }
        }
        scene.pass(20 * MS);
        let job = scene.jobs.pop().unwrap();
        inferred[index(&job)] += 1;
        scene.answer(&job, person());
        scene.published.clear();
        scene.other.clear();
    }
    inferred
}

fn ipv6(host: u16, interface: u16) -> SocketAddr {
    let segments = [0x2001, 0xdb8, 0, host, interface, 0, 0, 1];
    SocketAddr::from((segments, 1))
}

#[test]
fn of_two_hosts_each_gets_half_of_the_model_whatever_cameras_one_of_them_names() {
    for by_quic in [true, false] {
        for of_host in [(|n| address(66, 1 + n)) as fn(u16) -> SocketAddr, |n| {
            ipv6(66, n)
        }] {
            let mut cameras: Vec<_> = (0..63).map(|n| (of_host(n), by_quic)).collect();
            cameras.push((address(1, 1), by_quic));
            let inferred = inferences(&cameras);
            assert!((130..=170).contains(&inferred[63]), "{inferred:?}");
            let [least, most] = [inferred[..63].iter().min(), inferred[..63].iter().max()];
            assert!(most.unwrap() - least.unwrap() <= 2, "{inferred:?}");
        }
    }
}

#[test]
fn twenty_cameras_behind_one_router_have_the_model_to_themselves() {
    let cameras: Vec<_> = (0..20).map(|n| (address(1, 1 + n), true)).collect();
    let inferred = inferences(&cameras);
    assert!(
        inferred.iter().all(|count| (13..=17).contains(count)),
        "{inferred:?}"
    );
}

#[test]
fn forged_addresses_take_no_more_of_the_model_than_one_validated_host() {
    let forged = (0..62).map(|n| (address(100 + n, 1), false));
    let mut cameras: Vec<_> = forged.collect();
    cameras.push((address(1, 1), true));
    let inferred = inferences(&cameras);
    assert!(inferred[62] >= 130, "{inferred:?}");
    assert!(inferred.iter().all(|count| *count >= 1), "{inferred:?}");
}
