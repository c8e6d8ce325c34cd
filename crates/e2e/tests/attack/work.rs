//! What hostile peers make the relay do: decode, infer, log.

use std::thread;
use std::time::Duration;

use e2e::attack::Attack;

use crate::honest::{CAMERA, Honest, MS, eventually, lines};

/// Most bytes that the relay logs within a minute: a hundred lines.
const LOG: usize = 25_000;

#[test]
fn the_costliest_pictures_of_four_cameras_leave_the_honest_one_half_of_its_inferences() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("detections");
    let detections = ["--detections", file.to_str().unwrap()];
    // The bombs alone take more time than the model has.
    let model = ["--model", "demo", "--every", "2"];
    let honest = Honest::start(&[&model[..], &detections].concat());
    let inferred = || {
        let messages = lines(&file);
        messages.iter().filter(|m| m["camera"] == CAMERA).count()
    };
    let bombs = || {
        let messages = lines(&file);
        let of_bombs = |camera: &str| camera.starts_with("bomb");
        messages
            .iter()
            .filter(|m| m["camera"].as_str().is_some_and(of_bombs))
            .count()
    };
    let attacker = honest.attack(Attack::Bombs);
    eventually("bombs are inferred", || bombs() > 4);
    let before = inferred();
    thread::sleep(6000 * MS);
    let now = inferred() - before;
    attacker.stop();
    // Without the attack it is each second of 60 frames.
    assert!(
        now >= 15,
        "{now} inferences in 6 s, and {} of bombs",
        bombs()
    );
}

#[test]
fn a_flood_of_joins_refusals_and_nonsense_leaves_the_log_short() {
    let honest = Honest::start(&["--model", "none"]);
    let attacker = honest.attack(Attack::Log);
    thread::sleep(Duration::from_secs(6));
    let done = attacker.stop().done;
    assert!(done > 300, "{done}");
    let log = honest.relay.stderr().join("\n");
    assert!(log.len() < LOG, "{} bytes: {log}", log.len());
    assert!(!log.contains('\u{1b}'), "{log}");
}
