//! The window itself: on no display, on Qt's offscreen one, and on a virtual X server with keys and pixels.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod common;

use std::fs;
use std::process::Command;
use std::time::Duration;

use common::quic_relay::QuicRelay;
use common::script::RelayScript;
use common::virtual_display::{VirtualDisplay, is_installed, mean, near};
use common::{Behaviour, LEFT, LONG, RIGHT, UdpRelay, eventually, labelled, viewer};
use opencv::core::Mat;
use testkit::process::Program;

const ANY: &str = "127.0.0.1:0";

fn relay() -> UdpRelay {
    UdpRelay::start(Behaviour::Sightline, ANY, |n| vec![labelled(1, n)])
}

#[test]
fn without_a_display_it_ends_with_the_cure_and_no_abort() {
    let dir = tempfile::tempdir().unwrap();
    let relay = relay();
    let nowhere = || {
        ["DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"]
            .iter()
            .fold(viewer(relay.addr, dir.path()), |program, name| {
                program.env_remove(name)
            })
    };
    let dead = || nowhere().env("DISPLAY", ":4242");
    for program in [nowhere(), dead()] {
        let done = program.start().finish();
        assert_eq!(done.status.code(), Some(1), "{}", done.stderr);
        assert!(done.stderr.contains("--headless"), "{}", done.stderr);
    }
}

#[test]
fn on_an_offscreen_display_it_shows_its_frames_and_ends() {
    let dir = tempfile::tempdir().unwrap();
    let relay = relay();
    let done = viewer(relay.addr, dir.path())
        .env("QT_QPA_PLATFORM", "offscreen")
        .args(["--frames", "20"])
        .start()
        .finish();
    assert!(done.status.success(), "{}", done.stderr);
    let report = done.report.unwrap();
    assert_eq!(
        (&report["shown"], &report["lost"]),
        (&20.into(), &0.into()),
        "{report}"
    );
}

#[test]
fn the_window_shows_the_picture_in_its_shape_and_obeys_its_keys() {
    let Some(display) = VirtualDisplay::open() else {
        return;
    };
    let relay = relay();
    let viewer = display.viewer(&relay).args(["--hud", "off"]).start();
    let window = display.window(&viewer);
    display.eventually_shows("the picture", |screen| is_the_picture(screen, window));

    assert!(display.is_titled("yard"));
    let snapshot = display.snapshot(&viewer, 1);
    assert!(is_the_picture(&snapshot, [0, 0, 640, 427]));

    display.key("r");
    viewer.wait_for_line("recording", LONG);
    display.key("r");
    viewer.wait_for_line("recorded", LONG);
    let films = fs::read_dir(display.dir.path()).unwrap().filter(|entry| {
        let name = entry.as_ref().unwrap().file_name().into_string().unwrap();
        name.starts_with("yard_20") && name.ends_with(".mp4")
    });
    assert_eq!(films.count(), 1);

    display.key("h");
    let corner = |screen: &Mat| mean(screen, [window[0] + 4, window[1] + 4, 100, 12]);
    display.eventually_shows("the HUD", |screen| !near(corner(screen), LEFT));
    display.key("q");
    let done = viewer.finish();
    assert!(
        done.status.success() && done.report.is_some(),
        "{}",
        done.stderr
    );
}

#[test]
fn keys_are_those_of_the_same_place_on_a_cyrillic_keyboard() {
    let Some(display) = VirtualDisplay::open() else {
        return;
    };
    if !is_installed("setxkbmap", "-help") {
        return testkit::skip("no setxkbmap here, which sets the keyboard's layout");
    }
    let relay = relay();
    let viewer = display.viewer(&relay).start();
    display.window(&viewer);
    let layout = Command::new("setxkbmap")
        .args(["-display", &display.display, "ru"])
        .status();
    assert!(layout.unwrap().success());
    // By their places (X11 keycodes), which are S and Q of a Latin keyboard.
    let (yeru, short_i) = ("39", "24");
    display.snapshot_by(yeru, &viewer, 1);
    display.key("Caps_Lock");
    display.snapshot_by(yeru, &viewer, 2);
    display.key(short_i);
    assert!(viewer.finish().status.success());
}

#[test]
fn the_list_of_keys_is_shown_until_the_key_is_pressed_again() {
    let Some(display) = VirtualDisplay::open() else {
        return;
    };
    let relay = relay();
    let viewer = display.viewer(&relay).args(["--hud", "off"]).start();
    let window = display.window(&viewer);
    display.eventually_shows("the picture", |screen| is_the_picture(screen, window));
    // Lines at the top left, and the picture below them.
    let bar = |screen: &Mat, line| mean(screen, [window[0] + 5, window[1] + 22 * line + 6, 60, 12]);
    let below = |screen: &Mat| mean(screen, [window[0] + 4, window[1] + 120, 100, 100]);
    display.key("question");
    display.eventually_shows("the keys", |screen| {
        (0..4).all(|line| !near(bar(screen, line), LEFT)) && near(below(screen), LEFT)
    });
    display.key("question");
    display.eventually_shows("no keys", |screen| {
        (0..4).all(|line| near(bar(screen, line), LEFT))
    });
    viewer.terminate();
    assert!(viewer.finish().status.success());
}

#[test]
fn a_key_shows_the_next_camera_and_the_first_behind_the_last() {
    let Some(display) = VirtualDisplay::open() else {
        return;
    };
    let identity = quic::identity::Identity::generate().unwrap();
    let relay = QuicRelay::start(ANY, &identity, RelayScript::cameras(&["yard", "drive"]));
    let viewer = display.viewer_of(relay.addr).start();
    display.window(&viewer);
    eventually("the first camera", || display.is_titled("yard"));
    for camera in ["drive", "yard", "drive"] {
        display.key("n");
        eventually(camera, || display.is_titled(camera));
    }
    let hellos = relay.hellos();
    let chosen: Vec<_> = hellos.iter().map(|hello| hello.camera.as_deref()).collect();
    assert_eq!(chosen, [None, Some("drive"), Some("yard"), Some("drive")]);
    eventually("the connections before are closed", || {
        let closed = relay.closed();
        assert!(
            closed.iter().all(|end| end.contains("ApplicationClosed")),
            "{closed:?}"
        );
        closed.len() == 3
    });
    display.key("q");
    let done = viewer.finish();
    assert!(done.status.success(), "{}", done.stderr);
    assert!(!done.stderr.contains("WARN"), "{}", done.stderr);
}

#[test]
fn the_picture_fills_the_screen_and_comes_back() {
    let Some(display) = VirtualDisplay::open() else {
        return;
    };
    if !is_installed("openbox", "--version") {
        return testkit::skip(
            "no openbox here, and only a window manager makes a window fill the screen",
        );
    }
    let _manager = Program::new("openbox")
        .env("DISPLAY", &display.display)
        .start();
    let relay = relay();
    let viewer = display.viewer(&relay).args(["--hud", "off"]).start();
    let window = display.window(&viewer);
    display.eventually_shows("a managed window", |screen| is_the_picture(screen, window));
    // 1024x683 of 1024x768, between two bars.
    let whole = [0, 43, 1024, 682];
    let has_bars = |screen: &Mat| {
        let is_picture = |y| near(mean(screen, [600, y, 400, 38]), RIGHT);
        !is_picture(0) && !is_picture(730)
    };
    display.key("f");
    display.eventually_shows("the whole screen", |screen| {
        is_the_picture(screen, whole) && has_bars(screen)
    });
    assert!(display.is_titled("yard"));
    display.key("f");
    display.eventually_shows("the window again", |screen| !is_the_picture(screen, whole));
    assert!(display.is_titled("yard"));
    let window = display.window(&viewer);
    display.eventually_shows("its picture again", |screen| is_the_picture(screen, window));
    display.key("Escape");
    assert!(viewer.finish().status.success());
}

#[test]
fn a_window_that_is_closed_by_its_button_ends_the_program() {
    let Some(display) = VirtualDisplay::open() else {
        return;
    };
    let relay = relay();
    let viewer = display.viewer(&relay).start();
    display.window(&viewer);
    display.press_close_button();
    let done = viewer.finish();
    assert!(
        done.status.success() && done.report.is_some(),
        "{}",
        done.stderr
    );
}

#[test]
fn a_picture_that_stands_still_says_stale_and_no_relay_says_where() {
    let Some(display) = VirtualDisplay::open() else {
        return;
    };
    let relay = relay();
    let viewer = display.viewer(&relay).start();
    let window = display.window(&viewer);
    let red = |screen: &Mat| {
        let bar = mean(screen, [window[0] + 240, window[1] + 172, 160, 8]);
        near(bar, [0.0, 0.0, 200.0])
    };
    let [x, y, ..] = window;
    let picture = |screen: &Mat| near(mean(screen, [x + 20, y + 60, 280, 100]), LEFT);
    display.eventually_shows("the picture", |screen| picture(screen) && !red(screen));
    drop(relay);
    display.eventually_shows("STALE on the picture", |screen| {
        picture(screen) && red(screen)
    });
    viewer.terminate();
    assert!(viewer.finish().status.success());
}

#[test]
fn boxes_are_seen_until_key_b_and_never_on_a_stale_picture() {
    let Some(display) = VirtualDisplay::open() else {
        return;
    };
    let identity = quic::identity::Identity::generate().unwrap();
    let relay = QuicRelay::start(ANY, &identity, RelayScript::boxes_ahead(1));
    let viewer = display.viewer_of(relay.addr).start();
    let [x, y, ..] = display.window(&viewer);
    // The left edge of the box, and what is there without it.
    let edge = |screen: &Mat| mean(screen, [x + 160, y + 200, 1, 100]);
    let boxed = |screen: &Mat| near(edge(screen), [80.0, 220.0, 80.0]);
    let bare = |screen: &Mat| near(edge(screen), LEFT);
    display.eventually_shows("a box", boxed);
    // The snapshot is the picture as it is shown, without the figures.
    let is_boxed = |snapshot: Mat| {
        let [blue, green, _] = mean(&snapshot, [160, 200, 1, 100]);
        green > blue
    };
    assert!(is_boxed(display.snapshot(&viewer, 1)));
    display.key("b");
    display.eventually_shows("no box", bare);
    assert!(!is_boxed(display.snapshot(&viewer, 2)));
    display.key("b");
    display.eventually_shows("the box again", boxed);
    drop(relay);
    display.eventually_shows("a stale picture without a box", bare);
    viewer.terminate();
    assert!(viewer.finish().status.success());
}

#[test]
fn the_label_of_a_box_at_the_top_is_seen_beside_the_figures() {
    let Some(display) = VirtualDisplay::open() else {
        return;
    };
    let identity = quic::identity::Identity::generate().unwrap();
    let relay = QuicRelay::start(ANY, &identity, RelayScript::box_at(0.0));
    let viewer = display.viewer_of(relay.addr).start();
    let [x, y, ..] = display.window(&viewer);
    // A label's bar is green with black letters; behind the left edge of the box it has none yet.
    let label =
        |screen: &Mat, row| near(mean(screen, [x + 162, y + row, 1, 6]), [80.0, 220.0, 80.0]);
    display.eventually_shows("a label below the figures", |screen| label(screen, 46));
    display.key("h");
    display.eventually_shows("a label at the top", |screen| {
        label(screen, 18) && !label(screen, 46)
    });
    viewer.terminate();
    assert!(viewer.finish().status.success());
}

#[test]
fn boxes_that_come_late_are_drawn_on_the_picture_that_is_still_there() {
    let Some(display) = VirtualDisplay::open() else {
        return;
    };
    let identity = quic::identity::Identity::generate().unwrap();
    // Frames with a box and frames without one take turns, so what is drawn of an earlier message is never a box.
    let script = RelayScript::boxes_behind(Duration::from_millis(600), |seq| {
        Some(match seq % 2 {
            0 => (Duration::ZERO, vec![]),
            _ => (Duration::from_millis(150), vec![0.25]),
        })
    });
    let relay = QuicRelay::start(ANY, &identity, script);
    let viewer = display
        .viewer_of(relay.addr)
        .args(["--shown", "shown.jsonl"])
        .start();
    let [x, y, ..] = display.window(&viewer);
    let edge = |screen: &Mat| mean(screen, [x + 160, y + 200, 1, 100]);
    display.eventually_shows("a late box", |screen| {
        near(edge(screen), [80.0, 220.0, 80.0])
    });
    viewer.terminate();
    assert!(viewer.finish().status.success());
    let shown = fs::read_to_string(display.dir.path().join("shown.jsonl")).unwrap();
    assert!(!shown.contains("thing"), "as first drawn: {shown}");
}

/// Both colours stand in this area, away from its edges and from the mark that moves at its bottom.
fn is_the_picture(screen: &Mat, [x, y, w, h]: [i32; 4]) -> bool {
    let half = |x| mean(screen, [x + w / 20, y + h / 10, w * 2 / 5, h * 7 / 10]);
    near(half(x), LEFT) && near(half(x + w / 2), RIGHT)
}
