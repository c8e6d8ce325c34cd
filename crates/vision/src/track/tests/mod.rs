//! The tracker's rules in virtual time, at 10 frames a second.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use protocol::detections::Detection;

use super::{Displacement, PatchQuery, Settings, Tracker};

mod answers;
mod life;
mod motion;

const SETTINGS: Settings = Settings {
    start: 0.40,
    keep: 0.25,
};
const TENTH: Duration = Duration::from_millis(100);

proptest! {
    /// For any input of the model, the picture and the clock.
    #[test]
    fn boxes_are_always_sane_and_ids_are_never_used_twice(
        steps in prop::collection::vec((0u64..4, 0u64..700, prop::collection::vec(detection(), 0..6), 0u64..6, moved()), 1..80),
    ) {
        let mut tracker = Tracker::new(SETTINGS);
        let (mut count, mut now) = (0, Duration::ZERO);
        let (mut alive, mut dead) = (BTreeSet::new(), BTreeSet::new());
        for (frames, ms, found, age, moved) in steps {
            count += frames;
            now += Duration::from_millis(ms);
            let boxes = tracker.on_frame(count, |_| moved, now);
            let ids: BTreeSet<u64> = boxes.iter().filter_map(|one| one.id).collect();
            prop_assert_eq!(ids.len(), boxes.len());
            prop_assert!(ids.is_disjoint(&dead), "an id is back");
            dead.extend(alive.difference(&ids));
            alive = ids;
            prop_assert!(boxes.is_sorted_by(|a, b| a.score >= b.score));
            for one in boxes {
                prop_assert!(one.bbox.edges().iter().all(|side| (0.0..=1.0).contains(side)), "{:?}", one);
                prop_assert!((0.0..=1.0).contains(&one.score), "{:?}", one);
            }
            tracker.on_answer(count.saturating_sub(age), &found);
        }
    }
}

fn detection() -> impl Strategy<Value = Detection> {
    (0usize..3, 0.0f32..=1.0, prop::array::uniform4(0.0f32..=1.0)).prop_map(
        |(class, score, bounds)| Detection {
            bbox: bounds.into(),
            ..detected(0.5, class, score)
        },
    )
}

fn moved() -> impl Strategy<Value = Option<Displacement>> {
    let shares = prop::array::uniform2(-1.0f32..1.0);
    prop::option::of((shares, -1.0f32..1.0).prop_map(|(by, score)| Displacement { by, score }))
}

/// A camera, and the boxes on its last frame.
struct Camera {
    tracker: Tracker,
    count: u64,
    now: Duration,
    boxes: Vec<Detection>,
    /// How far everything has moved, now and on each frame.
    way: [f32; 2],
    ways: BTreeMap<u64, [f32; 2]>,
}

impl Camera {
    fn new() -> Self {
        Self {
            tracker: Tracker::new(SETTINGS),
            count: 0,
            now: Duration::from_secs(1000),
            boxes: Vec::new(),
            way: [0.0; 2],
            ways: BTreeMap::new(),
        }
    }

    /// Returns a camera with tracks: two frames of a still picture, of which the first is inferred.
    fn showing(detections: &[Detection]) -> Self {
        let mut camera = Self::new();
        camera.frame();
        camera.answer(detections);
        camera.carried_frame([0.0; 2], 0.9);
        camera
    }

    /// Returns the same with the interval of inferences known, and the last frame just inferred.
    fn inferred_every(frames: u64, detections: &[Detection]) -> Self {
        let mut camera = Self::new();
        for _ in 0..3 {
            (0..frames).for_each(|_| drop(camera.frame()));
            camera.answer(detections);
        }
        camera
    }

    /// Adds a frame on which the picture shows no displacement.
    fn frame(&mut self) -> Vec<Detection> {
        self.frame_with(|_| None)
    }

    /// Adds a frame on which everything has moved by so much since the last one.
    fn carried_frame(&mut self, [dx, dy]: [f32; 2], score: f32) {
        self.way = [self.way[0] + dx, self.way[1] + dy];
        let now = self.way;
        let then = self.ways.clone();
        self.frame_with(|query| {
            let from = then[&query.from];
            let by = [now[0] - from[0], now[1] - from[1]];
            Some(Displacement { by, score })
        });
    }

    fn frame_with(
        &mut self,
        displacement: impl FnMut(&PatchQuery) -> Option<Displacement>,
    ) -> Vec<Detection> {
        self.count += 1;
        self.now += TENTH;
        self.ways.insert(self.count, self.way);
        self.boxes = self.tracker.on_frame(self.count, displacement, self.now);
        self.boxes.clone()
    }

    fn answer(&mut self, detections: &[Detection]) {
        self.answer_for(self.count, detections);
    }

    fn answer_for(&mut self, count: u64, detections: &[Detection]) {
        self.tracker.on_answer(count, detections);
    }

    /// Returns the centre of the only box.
    fn x(&self) -> f32 {
        let [only] = &self.boxes[..] else {
            panic!("{:?}", self.boxes)
        };
        only.bbox.centre()[0]
    }
}

/// Returns a detection a tenth wide and a fifth high, with its centre at this x in the middle of the picture's height.
fn at(x: f32) -> Detection {
    detected(x, 0, 0.9)
}

fn detected(x: f32, class: usize, score: f32) -> Detection {
    Detection {
        id: None,
        class,
        label: format!("class {class}"),
        score,
        fading: false,
        bbox: [x - 0.05, 0.4, x + 0.05, 0.6].into(),
    }
}

fn assert_near(a: f32, b: f32) {
    assert!((a - b).abs() < 1e-3, "{a} is not {b}");
}
