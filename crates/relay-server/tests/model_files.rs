//! What `--model` and `--classes` are answered with when they are wrong: the cause, and what to run.

mod common {
    pub(crate) mod process;
}

use std::fs;
use std::path::Path;

use common::process::{RELAY, SOON};
use testkit::process::Program;
use vision::detect::runtime;

/// A relay whose user has no models, in a directory without any.
fn relay(place: &Path, flags: &[&str]) -> Program {
    let own = ["--listen", "127.0.0.1:0", "--http", "off"];
    Program::new(RELAY)
        .args(own.iter().chain(flags))
        .dir(place)
        .env("XDG_DATA_HOME", place)
        .env("XDG_STATE_HOME", place)
        .env("ORT_DYLIB_PATH", runtime::library(None).unwrap_or_default())
}

fn is_refused(place: &Path, flags: &[&str], cure: &str) {
    let finished = relay(place, flags).start().finish();
    assert_eq!(finished.status.code(), Some(1), "{flags:?}");
    assert!(
        finished.stderr.contains(cure),
        "{cure:?} is missing: {}",
        finished.stderr
    );
}

fn has_runtime() -> bool {
    let is = runtime::library(None).is_ok();
    if !is {
        testkit::skip("ONNX Runtime is not here (scripts/setup)");
    }
    is
}

#[test]
fn a_model_without_a_file_is_answered_with_what_fetches_it() {
    let place = tempfile::tempdir().unwrap();
    // A checkout that fetched it has it.
    if !testkit::repository().join("models/yolov5x.onnx").exists() {
        let cure = "scripts/get-model yolov5x fetches it";
        is_refused(place.path(), &["--model", "yolov5x"], cure);
    }
    is_refused(
        place.path(),
        &["--model", "yolo5n"],
        "did you mean yolov5n?",
    );
    fs::create_dir(place.path().join("models")).unwrap();
    fs::write(place.path().join("models/yolov5n.onnx"), "").unwrap();
    is_refused(
        place.path(),
        &["--model", "yolov5n"],
        "did you mean --model ",
    );
}

#[test]
fn a_checkpoint_is_answered_with_how_it_is_exported() {
    if !has_runtime() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    for name in ["best.pt", "renamed.onnx"] {
        fs::write(place.path().join(name), b"PK\x03\x04archive/data.pkl").unwrap();
        let export = format!("export.py --weights {name} --include onnx");
        is_refused(place.path(), &["--model", name], &export);
    }
}

#[test]
fn an_unknown_class_is_answered_with_the_one_that_is_meant() {
    if !has_runtime() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let flags = ["--model", "demo", "--classes", "ball,crat"];
    is_refused(
        place.path(),
        &flags,
        "no class 'crat': did you mean 'crate'?; it has ball",
    );
}

#[test]
fn an_unknown_class_in_a_reload_is_named_at_once_and_changes_nothing() {
    if !has_runtime() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let config = place.path().join("relay.toml");
    fs::write(&config, "classes = \"ball\"\n").unwrap();
    let flags = ["--model", "demo", "--config", config.to_str().unwrap()];
    let relay = relay(place.path(), &flags).start();
    relay.wait_for_line("listening", SOON);
    // No camera sends a frame.
    fs::write(&config, "classes = \"crat\"\nconf = 0.5\n").unwrap();
    let why = "the configuration stays as it was: --classes: the model has no class 'crat': did you mean 'crate'?";
    relay.wait_for_line(why, SOON);
    fs::write(&config, "classes = \"ball\" \n").unwrap();
    relay.wait_for_line("the configuration was read again and is the same", SOON);
    drop(relay);
}

#[test]
fn names_that_are_not_understood_are_a_warning() {
    if !has_runtime() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let mut model = fs::read(testkit::repository().join("models/demo.onnx")).unwrap();
    // ModelProto's field 14, an entry of the metadata: key and value. The last of two with one key counts.
    model.extend(b"\x72\x13\x0a\x05names\x12\x0acoco.names");
    fs::write(place.path().join("yard.onnx"), model).unwrap();
    let relay = relay(place.path(), &["--model", "yard.onnx"]).start();
    relay.wait_for_line("the model's names of classes are not understood", SOON);
    drop(relay);
}
