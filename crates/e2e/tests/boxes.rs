//! The boxes that the viewer draws, through the whole chain: on every frame, on their objects, and on a bad network too.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use common::{alone, directory, finish, relay, sender, stop};
use protocol::geometry::BBox;
use serde_json::Value;
use testkit::boxes::ObjectBox;
use testkit::link::{Conditions, Impairments, Link, Loss};
use testkit::port;
use testkit::process::{Program, binary};

/// Returns the boxes of each frame.
fn boxes(file: &Path) -> BTreeMap<u64, Vec<BBox>> {
    let text = fs::read_to_string(file).unwrap();
    let lines = text.lines().map(serde_json::from_str::<Value>);
    let frame = |line: Value| {
        let list = ObjectBox::parse_list(&line["boxes"]);
        let list = list.into_iter().map(|one| one.bbox).collect();
        (line["seq"].as_u64().unwrap(), list)
    };
    lines.map_while(Result::ok).map(frame).collect()
}

/// Runs a viewer behind this path, and returns the frames of the demo that it shows, those without a box, and the share of
/// the true boxes that are drawn with an IoU of at least one half.
fn run(path: Impairments) -> (usize, usize, f64) {
    let (_alone, port, dir) = (alone(), port::free(), directory());
    let relay = relay(port, dir.path(), &["--model", "demo", "--every", "4"]);
    let link = Link::start(
        SocketAddr::from(([127, 0, 0, 1], port)),
        Conditions::both(path),
        5,
    );
    let [shown, truth] = ["shown", "truth"].map(|name| dir.path().join(name));
    let viewer = Program::new(binary("viewer"))
        .args(["--headless", "--report", "--transport", "quic"])
        .args(["--frames", "120", "--server", &link.address().to_string()])
        .args([Path::new("--shown"), &shown])
        .start();
    let args = ["--source", "demo", "--demo-truth", truth.to_str().unwrap()];
    let sender = sender(port, &args);
    finish(viewer);
    stop(sender);
    stop(relay);
    let (shown, truth) = (boxes(&shown), boxes(&truth));
    // Without the frames before the first inference.
    let drawn = || shown.iter().skip(20);
    let bare = drawn().filter(|(_, list)| list.is_empty()).count();
    let true_boxes = || drawn().flat_map(|(seq, list)| truth[seq].iter().map(move |t| (t, list)));
    let found = true_boxes().filter(|(t, list)| list.iter().any(|b| t.iou(*b) >= 0.5));
    let share = found.count() as f64 / true_boxes().count() as f64;
    (drawn().count(), bare, share)
}

#[test]
fn every_frame_has_its_boxes_on_a_path_that_loses_their_messages_too() {
    let bad = Impairments {
        delay: Duration::from_millis(25),
        loss: Loss::Random(0.05),
        ..Impairments::default()
    };
    for path in [Impairments::default(), bad] {
        let (frames, bare, share) = run(path);
        eprintln!(
            "{path:?}: {bare} of {frames} frames without a box, {share:.2} of the true boxes drawn"
        );
        assert_eq!(bare, 0);
        assert!(share > 0.7);
    }
}
