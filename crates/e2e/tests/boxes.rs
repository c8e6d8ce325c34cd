//! Boxes as the viewer draws them, from camera to screen: on every frame, with their objects, and on a bad network too.

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

use common::{alone, directory, relay, sender, stop, well};
use serde_json::Value;
use testkit::link::{Conditions, Link, Loss, Path as Way};
use testkit::port;
use testkit::precision::overlap;
use testkit::process::{Program, binary};

/// The boxes of each frame.
fn boxes(file: &Path) -> BTreeMap<u64, Vec<[f64; 4]>> {
    let bounds = |d: &Value| [0, 1, 2, 3].map(|n| d["box"][n].as_f64().unwrap());
    let text = fs::read_to_string(file).unwrap();
    let lines = text.lines().map(serde_json::from_str::<Value>);
    let frame = |line: Value| {
        let list = line["boxes"].as_array().unwrap();
        let list = list.iter().map(bounds).collect();
        (line["seq"].as_u64().unwrap(), list)
    };
    lines.map_while(Result::ok).map(frame).collect()
}

/// What a viewer behind this path shows of the demo: frames, those without a box, and the share of the true boxes that
/// are drawn where they are, to an overlap of a half.
fn seen(way: Way) -> (usize, usize, f64) {
    let (_alone, port, dir) = (alone(), port::free(), directory());
    let relay = relay(port, dir.path(), &["--model", "demo", "--every", "4"]);
    let link = Link::start(
        SocketAddr::from(([127, 0, 0, 1], port)),
        Conditions::both(way),
        5,
    );
    let [shown, truth] = ["shown", "truth"].map(|name| dir.path().join(name));
    let viewer = Program::new(binary("viewer"))
        .args(["--headless", "--report", "--transport", "quic"])
        .args(["--frames", "120", "--server", &link.address().to_string()])
        .args([Path::new("--shown"), &shown])
        .start();
    let words = ["--source", "demo", "--demo-truth", truth.to_str().unwrap()];
    let sender = sender(port, &words);
    well(viewer);
    stop(sender);
    stop(relay);
    let (shown, truth) = (boxes(&shown), boxes(&truth));
    // The first inference has yet to find them.
    let drawn = || shown.iter().skip(20);
    let bare = drawn().filter(|(_, list)| list.is_empty()).count();
    let true_boxes = || drawn().flat_map(|(seq, list)| truth[seq].iter().map(move |t| (t, list)));
    let found = true_boxes().filter(|(t, list)| list.iter().any(|b| overlap(**t, *b) >= 0.5));
    let share = found.count() as f64 / true_boxes().count() as f64;
    (drawn().count(), bare, share)
}

#[test]
fn every_frame_has_its_boxes_on_a_path_that_loses_their_messages_too() {
    let bad = Way {
        delay: Duration::from_millis(25),
        loss: Loss::Random(0.05),
        ..Way::default()
    };
    for way in [Way::default(), bad] {
        let (frames, bare, share) = seen(way);
        eprintln!(
            "{way:?}: {bare} of {frames} frames without a box, {share:.2} of the true boxes drawn"
        );
        assert_eq!(bare, 0);
        assert!(share > 0.7);
    }
}
