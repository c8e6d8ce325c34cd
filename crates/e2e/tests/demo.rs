//! `scripts/demo` with the programs of the tests: its output, its verdict, and that it leaves nothing behind.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{LONG, alone, directory};
use testkit::process::{Program, binary};

#[test]
fn the_demo_ends_well_with_true_boxes_and_a_picture_of_them() {
    let (_alone, work) = (alone(), directory());
    let picture = picture_of(work.path());
    let done = demo(work.path())
        .args(["--headless", "--seconds", "5"])
        .start()
        .finish();
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    for text in [
        "1 s:",
        "5 s:",
        " fps, age ",
        "true boxes found",
        "all is well",
    ] {
        assert!(done.stdout.contains(text), "{text}: {done:?}");
    }
    assert!(
        done.stdout.contains(picture.to_str().unwrap()),
        "{}",
        done.stdout
    );
    assert!(fs::read(picture).unwrap().starts_with(b"\xff\xd8\xff"));
    assert_nothing_left(work.path());
}

#[test]
fn the_demo_fails_without_boxes_and_does_without_a_display_that_is_none() {
    let (_alone, work) = (alone(), directory());
    let done = demo(work.path())
        .args(["--seconds", "2"])
        .env("SIGHTLINE_DEMO_MODEL", "none")
        .env("DISPLAY", ":987654")
        .start()
        .finish();
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    assert!(done.stdout.contains("no window can be opened"), "{done:?}");
    assert!(done.stdout.contains(" fps, age "), "{done:?}");
    assert!(
        done.stderr.contains("less than 20 frames went through"),
        "{done:?}"
    );
    assert_nothing_left(work.path());
}

#[test]
fn the_demo_fails_with_a_model_that_sees_other_things() {
    let Some(model) = testkit::shared("data/models/yolov5n-dynamic.onnx") else {
        return testkit::skip("the tutorial's model (../shared) is not here");
    };
    let (_alone, work) = (alone(), directory());
    let done = demo(work.path())
        .args(["--headless", "--seconds", "5"])
        .env("SIGHTLINE_DEMO_MODEL", model)
        .start()
        .finish();
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    for text in [
        "of the true boxes were found",
        "of the model's boxes are true",
    ] {
        assert!(done.stderr.contains(text), "{text}: {done:?}");
    }
}

/// Draws one scene, and writes the truth of another.
const LIAR: &str = r#"#!/usr/bin/env bash
trap 'kill $(jobs -p); wait; exit 0' TERM
"$SENDER" "${@:1:$#-2}" &
"$SENDER" --server 127.0.0.1:9 --source demo --demo-seed 2 --fps 30 --demo-truth "${@: -1}" &
wait
"#;

#[test]
fn the_demo_fails_where_the_boxes_are_elsewhere() {
    let (_alone, work) = (alone(), directory());
    let programs = work.path().join("programs");
    fs::create_dir(&programs).unwrap();
    for name in ["relay-server", "viewer"] {
        symlink(binary(name), programs.join(name)).unwrap();
    }
    let liar = programs.join("pi-sender");
    fs::write(&liar, LIAR).unwrap();
    fs::set_permissions(&liar, Permissions::from_mode(0o755)).unwrap();
    let done = demo(work.path())
        .args(["--headless", "--seconds", "5"])
        .env("SENDER", binary("pi-sender"))
        .env("SIGHTLINE_DEMO_BIN", programs)
        .start()
        .finish();
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    assert!(
        done.stderr.contains("of the true boxes were found")
            && !done.stderr.contains("went through the model"),
        "{done:?}"
    );
    assert_nothing_left(work.path());
}

#[test]
fn a_program_that_fails_ends_the_demo_with_its_last_words() {
    let (_alone, work) = (alone(), directory());
    let done = demo(work.path())
        .args(["--headless"])
        .env("SIGHTLINE_DEMO_MODEL", "/no/such/model.onnx")
        .start()
        .finish();
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    assert!(
        done.stderr.contains("ERROR --model /no/such/model.onnx")
            && done.stderr.contains("relay-server ended with status 1"),
        "{done:?}"
    );
    assert_nothing_left(work.path());
}

#[test]
fn ctrl_c_ends_all_three() {
    let (_alone, work) = (alone(), directory());
    let running = demo(work.path())
        .args(["--headless", "--seconds", "60"])
        .env("SIGHTLINE_DEMO_MODEL", "none")
        .start();
    running.wait_for_line(" fps, age ", LONG);
    // The script itself and its three programs.
    assert!(processes_of(work.path()) >= 4);
    running.interrupt();
    let done = running.finish();
    assert_eq!(done.status.code(), Some(130), "{done:?}");
    assert_nothing_left(work.path());
}

#[test]
fn in_a_window_the_demo_runs_for_as_long_as_it_was_told() {
    let path = std::env::var_os("PATH").unwrap();
    if !std::env::split_paths(&path).any(|directory| directory.join("Xvfb").is_file()) {
        return testkit::skip("Xvfb is not installed (scripts/setup --test)");
    }
    let (_alone, work) = (alone(), directory());
    let screen = Program::new("Xvfb")
        .args(["-displayfd", "1", "-nolisten", "tcp"])
        .start();
    let display = screen.wait_for_line("", LONG);
    let done = demo(work.path())
        .args(["--seconds", "4"])
        .env("SIGHTLINE_DEMO_MODEL", "none")
        .env("DISPLAY", format!(":{display}"))
        .start()
        .finish();
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    assert!(done.stdout.ends_with("demo: ended\n"), "{done:?}");
    assert!(done.took > Duration::from_secs(3), "{:?}", done.took);
    assert_nothing_left(work.path());
}

#[test]
fn words_that_are_none_get_the_usage() {
    let work = directory();
    for args in [&["--fast"][..], &["--seconds"], &["--seconds", "0"]] {
        let done = demo(work.path()).args(args).start().finish();
        assert_eq!(done.status.code(), Some(2), "{args:?}: {done:?}");
        assert!(done.stderr.contains("Usage: scripts/demo"), "{done:?}");
    }
    let done = demo(work.path()).args(["--help"]).start().finish();
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    assert!(done.stdout.contains("SIGHTLINE_DEMO_BIN"), "{done:?}");
}

/// Prepares the script with the programs under test, without a display; its files are below `work`.
fn demo(work: &Path) -> Program {
    let programs = ["pi-sender", "relay-server", "viewer"].map(binary);
    let directory = programs[0].parent().unwrap();
    assert!(
        programs
            .iter()
            .all(|program| program.starts_with(directory))
    );
    let temporary = work.join("temporary");
    fs::create_dir_all(&temporary).unwrap();
    Program::new(testkit::repository().join("scripts/demo"))
        .args([Path::new("--picture"), &picture_of(work)])
        .env("SIGHTLINE_DEMO_BIN", directory)
        .env("TMPDIR", temporary)
        .env_remove("DISPLAY")
        .env_remove("WAYLAND_DISPLAY")
        // A setting of the user's, for another relay.
        .env("VIEWER_SERVER", "192.0.2.1")
}

/// Returns a path in a directory that does not exist yet.
fn picture_of(work: &Path) -> PathBuf {
    work.join("pictures/demo.jpg")
}

fn assert_nothing_left(work: &Path) {
    assert_eq!(processes_of(work), 0);
    let left: Vec<_> = fs::read_dir(work.join("temporary")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Returns the number of processes with `work` in their environment, as all have that the script starts.
fn processes_of(work: &Path) -> usize {
    let work = work.to_str().unwrap().as_bytes();
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| fs::read(entry.ok()?.path().join("environ")).ok())
        .filter(|environment| environment.windows(work.len()).any(|part| part == work))
        .count()
}
