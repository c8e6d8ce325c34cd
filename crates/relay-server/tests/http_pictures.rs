//! Single pictures over HTTP: their size, quality and boxes, what is refused, and cameras that have stopped.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

mod common {
    pub(crate) mod film;
    pub(crate) mod http;
    pub(crate) mod process;
}

use std::net::SocketAddr;
use std::thread;
use std::time::Instant;

use common::film::{Film, SIZE, frame};
use common::http::{HttpRelay, request, seq};
use common::process::{MS, SOON};
use imaging::jpeg;
use opencv::core::{self, Mat};
use opencv::prelude::*;
use scene::Scene;

/// Waits until the relay has a live camera.
fn wait_until_live(http: SocketAddr) {
    let deadline = Instant::now() + SOON;
    while request(http, "GET", "/readyz", &[]).status != 200 {
        assert!(Instant::now() < deadline);
        thread::sleep(10 * MS);
    }
}

/// Returns the number of pixels in which a picture differs clearly from its frame of the scene.
fn drawn_pixels(picture: &[u8]) -> i32 {
    let scene = Scene::new(5, SIZE, 20.0, 60.0).unwrap();
    let before = jpeg::decode(&frame(&scene, seq(picture))).unwrap();
    let mut difference = Mat::default();
    core::absdiff(&before, &jpeg::decode(picture).unwrap(), &mut difference).unwrap();
    let flat = difference.reshape(1, 0).unwrap();
    let mut clear = Mat::default();
    core::compare(&flat, &100.0, &mut clear, core::CMP_GT).unwrap();
    core::count_non_zero(&clear).unwrap()
}

#[test]
fn a_picture_comes_in_the_size_and_quality_that_are_requested() {
    let relay = HttpRelay::start(&[]);
    let _film = Film::start(&relay.camera, 50 * MS);
    wait_until_live(relay.http);
    let picture = |path: &str| {
        let answer = relay.get(path);
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("content-type"), Some("image/jpeg"));
        let jpeg = answer.bytes();
        let size = protocol::jpeg::scan(&jpeg, protocol::jpeg::Limits::default()).unwrap();
        assert!(seq(&jpeg) > 0, "the label of its frame");
        (size.to_string(), jpeg.len())
    };
    let (_, full) = picture("/snapshot.jpg");
    for (path, size) in [
        ("/cam/yard/snapshot.jpg?width=150", "150x100"),
        ("/snapshot?width=16&quality=50", "16x11"),
        ("/?action=snapshot&width=100", "100x67"),
        ("/cam/yard/snapshot.jpg?width=4096", "300x200"),
        ("/cam/yard/snapshot.jpg?width=150&boxes=1", "150x100"),
    ] {
        assert_eq!(picture(path).0, size, "{path}");
    }
    let (size, low) = picture("/cam/yard/snapshot.jpg?quality=10");
    assert_eq!(size, "300x200");
    assert!(2 * low < full, "{low} {full}");
}

#[test]
fn a_query_that_a_path_does_not_know_is_an_error_that_names_what_it_takes() {
    let relay = HttpRelay::with_camera("yard", &[]);
    for (path, allowed) in [
        ("/cam/yard/snapshot.jpg?widht=320", "width (a number"),
        ("/cam/yard/snapshot.jpg?width=9", "from 16 to 4096"),
        ("/snapshot?quality=high", "from 1 to 100"),
        ("/cam/yard/stream.mjpg?width=320", "boxes (1 or 0)"),
        ("/stream?boxes=yes", "1 or 0"),
        ("/cam/yard/detections?boxes=1", "it takes token"),
        ("/cam/yard/ws?fps=5", ""),
        ("/api/cameras?name=yard", "it takes token"),
        ("/?action=reboot", "stream or snapshot"),
        ("/?action=stream&quality=5", "boxes (1 or 0)"),
        ("/?camra=yard", "camera (a camera's name)"),
    ] {
        let answer = relay.get(path);
        assert_eq!(answer.status, 400, "{path}");
        let body = answer.body();
        assert!(body.contains(allowed), "{path}: {body}");
    }
    assert_eq!(
        relay.try_socket("/cam/yard/ws?fps=5", &[]).unwrap_err(),
        400
    );
    assert!(relay.try_socket("/cam/yard/ws?token=a", &[]).is_ok());
    for path in ["/stream?1732841234567", "/?action=stream&1732841234567"] {
        assert_eq!(relay.get(path).status, 200, "OctoPrint's {path}");
    }
}

#[test]
fn a_camera_that_has_stopped_is_answered_at_once_with_its_silence() {
    let mut relay = HttpRelay::with_camera("yard", &[]);
    let deadline = Instant::now() + SOON;
    while relay.get("/readyz").status == 200 {
        assert!(Instant::now() < deadline);
        thread::sleep(50 * MS);
    }
    for path in [
        "/cam/yard/snapshot.jpg",
        "/cam/yard/snapshot.jpg?boxes=1&width=100",
        "/snapshot",
    ] {
        let start = Instant::now();
        let answer = relay.get(path);
        assert_eq!(answer.status, 503, "{path}");
        assert!(start.elapsed() < 1000 * MS, "{path}: {:?}", start.elapsed());
        let body = answer.body();
        assert!(
            body.contains("`yard` has been silent for "),
            "{path}: {body}"
        );
    }
    // The frame that is back with this moment's request counts.
    let sent = relay.send_frame("yard", 0);
    assert!(relay.get("/cam/yard/snapshot.jpg").bytes() == sent);
}

#[test]
fn a_picture_has_boxes_although_nothing_else_watches_its_slow_camera() {
    if vision::detect::runtime::load(None).is_err() {
        return testkit::skip("ONNX Runtime is not installed (scripts/setup)");
    }
    let relay = HttpRelay::with_model("demo", &["--every", "50"]);
    let _film = Film::start(&relay.camera, 300 * MS);
    wait_until_live(relay.http);
    // All within the time of 50 frames.
    for path in ["/cam/yard/snapshot.jpg?boxes=1", "/snapshot?boxes=1"] {
        thread::sleep(2000 * MS);
        let picture = relay.get(path).bytes();
        let drawn = drawn_pixels(&picture);
        assert!(
            drawn > 200,
            "{path}: {drawn} pixels of frame {}",
            seq(&picture)
        );
    }
    let picture = relay.get("/snapshot").bytes();
    assert_eq!(drawn_pixels(&picture), 0, "without boxes");
    let report = relay.stop().report.unwrap();
    assert_eq!(report["inferred"], 2, "{report}");
}
