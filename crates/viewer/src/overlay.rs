//! Boxes that come as data, and which of them belong on a frame. Pure.
//!
//! Messages travel on a stream of their own, so a frame's boxes come before it, behind it or not at all: the last few are
//! kept, and a frame without its own gets the newest from before it, for a second at most.

use std::collections::VecDeque;

use protocol::detections::{Detection, Detections, Kind};
use protocol::label::Label;

/// Messages kept: two seconds of tracked ones at 30 frames a second.
const KEPT: usize = 64;
/// Boxes older than this are none of the frame's.
const OLDEST: f64 = 1.0;
/// The longest name of a class that is drawn, in bytes.
const LABEL: usize = 64;

/// The boxes of the camera that is shown.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    camera: String,
    messages: VecDeque<Detections>,
}

impl Overlay {
    /// Keeps a message; one of another camera means that this one is shown from now on.
    pub(crate) fn add(&mut self, mut message: Detections) {
        if message.camera != self.camera {
            self.camera.clone_from(&message.camera);
            self.messages.clear();
        }
        for detection in &mut message.detections {
            let end = detection.label.floor_char_boundary(LABEL);
            detection.label.truncate(end);
        }
        self.messages.truncate(KEPT - 1);
        self.messages.push_front(message);
    }

    /// The boxes for the frame with this label: those tracked for itself, else the newest of any kind from before it.
    pub(crate) fn boxes(&self, label: &Label) -> &[Detection] {
        let taken = label.captured_us as f64 / 1e6;
        // A sender that was started again counts from 1 again, so a number alone says little.
        let near = |m: &&Detections| (-OLDEST..=OLDEST).contains(&(taken - m.t));
        let mut near = self
            .messages
            .iter()
            .filter(|_| self.camera == label.camera.as_str())
            .filter(near);
        let own = |m: &&Detections| m.kind == Kind::Tracked && m.seq == label.seq;
        let found = near.clone().find(own).or_else(|| {
            // Of messages of the same time the first is the one that came last, and a tracked one is smoother.
            let newer = |a: &&Detections, b: &&Detections| {
                let tracked = |m: &Detections| m.kind == Kind::Tracked;
                a.t.total_cmp(&b.t).then(tracked(a).cmp(&tracked(b)))
            };
            near.by_ref()
                .filter(|m| m.t <= taken + TICK)
                .rev()
                .max_by(newer)
        });
        found.map_or(&[], |message| &message.detections)
    }
}

/// What a time loses on its way through a decimal number.
const TICK: f64 = 1e-5;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use protocol::label::StreamId;

    use super::*;

    const START: u64 = 1_763_820_000_000_000;

    /// Frame `seq` of a camera at 10 frames a second.
    fn label(seq: u64) -> Label {
        Label {
            stream: StreamId(1),
            seq,
            captured_us: START + seq * 100_000,
            camera: "yard".parse().unwrap(),
        }
    }

    /// The message of that frame, its one box named `name`.
    fn message(kind: Kind, seq: u64, name: &str) -> Detections {
        Detections {
            v: Detections::VERSION,
            camera: "yard".to_owned(),
            seq,
            t: label(seq).captured_us as f64 / 1e6,
            w: 300,
            h: 200,
            kind,
            infer_ms: None,
            model: None,
            detections: vec![Detection {
                id: None,
                class: 0,
                label: name.to_owned(),
                score: 0.9,
                bounds: [0.1, 0.2, 0.3, 0.4],
            }],
        }
    }

    fn tracked(seq: u64) -> Detections {
        message(Kind::Tracked, seq, &format!("tracked {seq}"))
    }

    fn inferred(seq: u64) -> Detections {
        message(Kind::Inferred, seq, &format!("inferred {seq}"))
    }

    fn of(messages: impl IntoIterator<Item = Detections>) -> Overlay {
        let mut overlay = Overlay::default();
        messages.into_iter().for_each(|m| overlay.add(m));
        overlay
    }

    /// Whose boxes are drawn on frame `seq`.
    fn drawn(overlay: &Overlay, seq: u64) -> &str {
        overlay
            .boxes(&label(seq))
            .first()
            .map_or("none", |d| &d.label)
    }

    #[test]
    fn a_frame_gets_the_boxes_tracked_for_itself_whatever_came_after() {
        let overlay = of([tracked(1), inferred(1), tracked(2), inferred(2), tracked(3)]);
        assert_eq!(drawn(&overlay, 1), "tracked 1");
        assert_eq!(drawn(&overlay, 2), "tracked 2");
    }

    #[test]
    fn a_frame_without_its_own_gets_the_newest_of_either_kind_from_before() {
        let overlay = of([tracked(1), inferred(3), tracked(2), tracked(9)]);
        assert_eq!(drawn(&overlay, 4), "inferred 3");
        let overlay = of([inferred(3), tracked(3), inferred(3)]);
        assert_eq!(drawn(&overlay, 5), "tracked 3", "the smoother one");
        assert_eq!(drawn(&of([inferred(4)]), 4), "inferred 4");
    }

    #[test]
    fn boxes_older_than_a_second_are_not_drawn() {
        let overlay = of([inferred(1)]);
        assert_eq!(drawn(&overlay, 11), "inferred 1");
        assert_eq!(drawn(&overlay, 12), "none");
    }

    #[test]
    fn a_message_that_says_that_nothing_is_there_takes_the_boxes_away() {
        let mut nothing = tracked(2);
        nothing.detections.clear();
        assert_eq!(drawn(&of([tracked(1), nothing]), 2), "none");
    }

    #[test]
    fn after_a_restart_the_numbers_of_the_run_before_mean_nothing() {
        let mut before = tracked(7);
        before.t -= 60.0;
        let overlay = of([before, inferred(6)]);
        assert_eq!(drawn(&overlay, 7), "inferred 6");
    }

    #[test]
    fn another_cameras_boxes_are_not_drawn() {
        let mut door = tracked(1);
        door.camera = "door".to_owned();
        assert_eq!(drawn(&of([tracked(1), door.clone()]), 1), "none");
        assert_eq!(drawn(&of([door, tracked(1)]), 1), "tracked 1");
    }

    #[test]
    fn memory_is_bounded_and_so_are_names() {
        let mut overlay = of((0..10_000).map(tracked));
        assert_eq!(overlay.messages.len(), KEPT);
        assert_eq!(drawn(&overlay, 9_999 - KEPT as u64 + 1), "tracked 9936");
        overlay.add(message(Kind::Tracked, 10_000, &"ü".repeat(10_000)));
        assert_eq!(drawn(&overlay, 10_000).len(), LABEL);
    }

    proptest! {
        #[test]
        fn whatever_a_relay_says_nothing_panics(
            times in prop::collection::vec(any::<f64>(), 0..100), seq in any::<u64>(), captured_us in any::<u64>(),
        ) {
            let overlay = of(times.into_iter().map(|t| Detections { t, seq, ..tracked(1) }));
            overlay.boxes(&Label { captured_us, ..label(1) });
        }
    }
}
