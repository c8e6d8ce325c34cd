//! Frames that are too large for UDP viewers, who are sent renditions.

use super::*;

/// A frame of `yard` of 20 kB and more.
fn large(seq: u64) -> Bytes {
    let label = Label {
        stream: StreamId(7),
        seq,
        captured_us: 5,
        camera: "yard".parse().unwrap(),
    };
    let sketch = Sketch::new(1920, 1080).segment(0xFE, &[0x20; 20_000]);
    label.write(&sketch.bytes()).into()
}

impl Scene {
    fn large_by_quic(&mut self, seq: u64) {
        self.sent_as("yard", address(1, 1000), large(seq));
    }

    /// The drawing thread answers its job number `n`.
    fn drawn(&mut self, n: usize) {
        let job = self.annotations[n].clone();
        self.annotate(&job);
    }

    /// Counts of the frames of all drawing jobs, and whether they are reduced.
    fn drawing_jobs(&self) -> Vec<(u64, bool)> {
        let jobs = self.annotations.iter();
        jobs.map(|job| (job.frame.count, job.reduced)).collect()
    }
}

#[test]
fn a_large_frame_by_quic_goes_to_udp_viewers_as_a_rendition_and_to_subscribers_as_it_came() {
    let mut scene = Scene::watched(rules());
    scene.large_by_quic(1);
    assert_eq!(scene.sent, [] as [Bytes; 0]);
    assert_eq!(*scene.published[0].frame.jpeg(), large(1));
    assert_eq!(scene.drawing_jobs(), [(1, true)]);
    assert_eq!(scene.annotations[0].detections, []);
    scene.drawn(0);
    assert_eq!(scene.sent, [with_boxes(1, true)]);
    assert_eq!(scene.forwards[0].unheld_received_at, None);
}

#[test]
fn a_large_frame_by_udp_and_a_small_one_by_quic_go_on_as_they_came() {
    let [mut by_udp, mut by_quic] = [(); 2].map(|()| Scene::watched(rules()));
    by_udp.datagram(address(1, 1000), large(1));
    by_quic.sent_as("yard", address(1, 1000), labelled("yard", 7, 2));
    assert_eq!(by_udp.sent, [large(1)]);
    assert_eq!(by_quic.sent, [labelled("yard", 7, 2)]);
    assert!(by_udp.annotations.is_empty() && by_quic.annotations.is_empty());
}

#[test]
fn without_a_udp_viewer_no_rendition_is_made() {
    let mut scene = Scene::new(rules());
    scene.large_by_quic(1);
    assert!(scene.annotations.is_empty());
}

#[test]
fn boxes_are_drawn_on_the_rendition_and_one_that_is_being_drawn_is_made_once() {
    let mut scene = Scene::watched(rules());
    for seq in 1..=3 {
        scene.large_by_quic(seq);
        scene.pass(100 * MS);
    }
    scene.large_by_quic(4);
    // Frame 4 waits for its boxes.
    assert_eq!(scene.drawing_jobs(), [(1, true), (2, true), (3, true)]);
    scene.answer_last();
    assert_eq!(scene.drawing_jobs().last(), Some(&(4, true)));
    assert_eq!(scene.annotations[3].detections, person());
    // The next frame comes before it is drawn.
    scene.large_by_quic(5);
    assert_eq!(scene.drawing_jobs()[4..], [(5, true)]);
    scene.drawn(3);
    scene.drawn(4);
    assert_eq!(scene.sent, [with_boxes(4, true), with_boxes(5, true)]);
}

#[test]
fn renditions_of_udp_viewers_never_go_backwards_and_the_newest_wait() {
    let mut scene = Scene::watched(RelaySettings {
        every: None,
        ..rules()
    });
    scene.threads_are_busy = true;
    for seq in 1..=6 {
        scene.large_by_quic(seq);
    }
    // Frame 1 is being made, and of the others the newest two wait.
    scene.drawn(0);
    scene.drawn(1);
    assert_eq!(scene.drawing_jobs(), [(1, true), (5, true), (6, true)]);
    // A small frame overtakes the last one.
    scene.sent_as("yard", address(1, 1000), labelled("yard", 7, 7));
    scene.drawn(2);
    let sent = [
        with_boxes(1, true),
        with_boxes(5, true),
        labelled("yard", 7, 7),
    ];
    assert_eq!(scene.sent, sent);
}

#[test]
fn boxes_for_subscribers_are_drawn_into_the_frame_in_its_own_size() {
    let mut scene = Scene::watched(RelaySettings {
        overlay: Overlay::Hold,
        ..rules()
    });
    scene.relay.subscribe(SubscriberId(1), None);
    scene.relay.request_annotated(SubscriberId(1));
    scene.large_by_quic(1);
    let frame = scene.published[0].frame.clone();
    let detections = person();
    let tracked = TrackedFrame {
        frame,
        detections,
        tracker: TrackerState::default(),
    };
    scene.relay.on_tracked(tracked, scene.now);
    scene.act();
    scene.drawn(0);
    let jobs: Vec<_> = scene.annotations.iter().collect();
    let forms: Vec<_> = jobs.iter().map(|job| (job.reduced, job.publish)).collect();
    assert_eq!(forms, [(false, true), (true, false)]);
}

#[test]
fn a_rendition_that_cannot_be_made_costs_its_frame_alone() {
    let mut scene = Scene::watched(rules());
    scene.large_by_quic(1);
    let job = scene.annotations[0].clone();
    scene.relay.on_annotated(&job, None, scene.now);
    scene.act();
    scene.large_by_quic(2);
    scene.drawn(1);
    assert_eq!(scene.sent, [with_boxes(2, true)]);
}
