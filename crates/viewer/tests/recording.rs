//! `--record` of the real viewer: a video that plays, in real time, whatever ends it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use common::{Behaviour, LONG, UdpRelay, eventually, labelled, viewer};
use serde_json::Value;
use testkit::process::{Program, Running};

const ANY: &str = "127.0.0.1:0";

/// Returns whether the tools are here; else says that the test is left out.
fn has_ffmpeg() -> bool {
    let has = |program| Command::new(program).arg("-version").output().is_ok();
    let all = has("ffmpeg") && has("ffprobe");
    if !all {
        testkit::skip("no ffmpeg and ffprobe here");
    }
    all
}

/// A viewer that records, and its relay.
struct Recording {
    viewer: Running,
    _relay: UdpRelay,
    started: Instant,
}

impl Recording {
    fn start(dir: &Path, args: &[&str], change: impl FnOnce(Program) -> Program) -> Self {
        let relay = UdpRelay::start(Behaviour::Sightline, ANY, |n| vec![labelled(1, n)]);
        let program = viewer(relay.addr, dir).args(["--headless"]).args(args);
        let viewer = change(program).start();
        viewer.wait_for_line("frames come", LONG);
        Self {
            viewer,
            _relay: relay,
            started: Instant::now(),
        }
    }

    fn goes_on_for(&self, time: Duration) {
        thread::sleep(time.saturating_sub(self.started.elapsed()));
    }
}

/// What a player finds in a file.
#[derive(Debug)]
struct Film {
    codec: String,
    width: u64,
    height: u64,
    /// Seconds, by the last picture's time.
    seconds: f64,
    pictures: usize,
    /// Longest time between two key frames.
    key_interval: f64,
}

fn probe(film: &Path) -> Film {
    let out = Command::new("ffprobe")
        .args(["-v", "quiet", "-of", "json", "-show_entries"])
        .arg("stream=codec_name,width,height:packet=pts_time,dts_time,flags")
        .arg(film)
        .output()
        .unwrap();
    let out: Value = serde_json::from_slice(&out.stdout).unwrap();
    let stream = &out["streams"][0];
    let packets = out["packets"].as_array().unwrap();
    let time = |packet: &Value| {
        // AVI has no times of display.
        let time = packet["pts_time"].as_str().or(packet["dts_time"].as_str());
        time.unwrap().parse::<f64>().unwrap()
    };
    let is_key = |packet: &&Value| packet["flags"].as_str().unwrap().starts_with('K');
    let keys: Vec<f64> = packets.iter().filter(is_key).map(time).collect();
    let between = keys.windows(2).map(|pair| pair[1] - pair[0]);
    Film {
        codec: stream["codec_name"].as_str().unwrap().to_owned(),
        width: stream["width"].as_u64().unwrap(),
        height: stream["height"].as_u64().unwrap(),
        seconds: packets.iter().map(time).fold(0.0, f64::max),
        pictures: packets.len(),
        key_interval: between.fold(0.0, f64::max),
    }
}

/// Waits until ffmpeg, which completes the file by itself, has ended: no process works in the directory any more.
fn wait_for_encoder(dir: &Path) {
    eventually("the end of ffmpeg", || {
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let mut at = processes.filter_map(|process| fs::read_link(process.path().join("cwd")).ok());
        !at.any(|at| at.starts_with(dir))
    });
}

#[test]
fn a_recording_is_h264_in_real_time_and_in_the_pictures_shape_in_every_container() {
    if !has_ffmpeg() {
        return;
    }
    for container in ["mp4", "avi", "mkv"] {
        let (dir, name) = (tempfile::tempdir().unwrap(), format!("film.{container}"));
        let args = ["--size", "320x240", "--record", &name];
        let recording = Recording::start(dir.path(), &args, |program| program);
        recording.goes_on_for(Duration::from_secs(3));
        recording.viewer.terminate();
        let ran = recording.started.elapsed().as_secs_f64();
        let done = recording.viewer.finish_ok();
        assert!(done.stderr.contains("recorded"), "{}", done.stderr);
        wait_for_encoder(dir.path());
        let film = probe(&dir.path().join(&name));
        assert_eq!(film.codec, "h264", "{film:?}");
        assert_eq!((film.width, film.height), (320, 214), "3:2, even: {film:?}");
        assert!(
            (ran - 0.7..ran + 0.7).contains(&film.seconds),
            "{ran} s: {film:?}"
        );
        assert!(film.pictures > 50, "25 a second: {film:?}");
        assert!(film.key_interval < 1.2, "{film:?}");
    }
}

#[test]
fn a_killed_viewer_leaves_a_whole_film_to_its_last_second() {
    if !has_ffmpeg() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let recording = Recording::start(dir.path(), &["--record", "film.mp4"], |program| program);
    recording.goes_on_for(Duration::from_secs(3));
    recording.viewer.kill();
    let ran = recording.started.elapsed().as_secs_f64();
    wait_for_encoder(dir.path());
    let film = probe(&dir.path().join("film.mp4"));
    assert!(film.seconds > ran - 1.0, "{ran} s: {film:?}");
}

#[test]
fn two_signals_at_once_are_one_and_the_film_is_whole() {
    if !has_ffmpeg() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let recording = Recording::start(dir.path(), &["--record", "film.mp4"], |program| program);
    recording.goes_on_for(Duration::from_secs(1));
    recording.viewer.terminate();
    thread::sleep(Duration::from_millis(10));
    recording.viewer.interrupt();
    let done = recording.viewer.finish_ok();
    assert!(done.stderr.contains("recorded"), "{}", done.stderr);
}

#[test]
fn without_ffmpeg_the_recording_is_matroska_with_jpegs_and_survives_too() {
    if !has_ffmpeg() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let args = ["--size", "320x240", "--record", "film.mp4"];
    let recording = Recording::start(dir.path(), &args, |program| {
        program.env("PATH", "/nonexistent")
    });
    recording.goes_on_for(Duration::from_secs(3));
    recording.viewer.kill();
    let ran = recording.started.elapsed().as_secs_f64();
    let log = recording.viewer.stderr().join("\n");
    assert!(log.contains("ffmpeg is not installed"), "{log}");
    let film = probe(&dir.path().join("film.mp4"));
    assert_eq!(
        (film.codec.as_str(), film.width, film.height),
        ("mjpeg", 320, 213)
    );
    assert!(film.seconds > ran - 1.0, "{ran} s: {film:?}");
    assert!(film.pictures > 50, "{film:?}");
}

#[test]
fn a_recording_that_cannot_be_written_ends_the_viewer_with_the_cause() {
    if !has_ffmpeg() {
        return;
    }
    // A limit on the size of a file, as a full disk is one.
    let dir = tempfile::tempdir().unwrap();
    let relay = UdpRelay::start(Behaviour::Sightline, ANY, |n| vec![labelled(1, n)]);
    let script = r#"ulimit -f 20; trap '' XFSZ; exec "$0" "$@""#;
    let done = Program::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_viewer")])
        .args(["--server", &relay.addr.to_string(), "--headless"])
        .args(["--record", "film.mp4", "--report"])
        .dir(dir.path())
        .env("XDG_CONFIG_HOME", dir.path())
        .env_remove("RUST_LOG")
        .start()
        .finish();
    assert_eq!(done.status.code(), Some(1), "{}", done.stderr);
    assert!(
        done.stderr.contains("film.mp4 is not whole"),
        "{}",
        done.stderr
    );
    assert!(done.stderr.contains("File too large"), "{}", done.stderr);
    let film = probe(&dir.path().join("film.mp4"));
    assert!(film.pictures > 5, "what fitted plays: {film:?}");
}

#[test]
fn a_recording_whose_directory_is_removed_ends_the_viewer_with_the_cause() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("films")).unwrap();
    let args = ["--record", "films/film.mkv"];
    let recording = Recording::start(dir.path(), &args, |program| program);
    eventually("the file", || {
        fs::metadata(dir.path().join(args[1])).is_ok_and(|f| f.len() > 0)
    });
    fs::remove_dir_all(dir.path().join("films")).unwrap();
    let done = recording.viewer.finish();
    assert_eq!(done.status.code(), Some(1), "{}", done.stderr);
    assert!(done.stderr.contains("was removed"), "{}", done.stderr);
}

#[test]
fn no_recording_overwrites_a_file_and_no_run_the_lines_of_another() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("film.mkv"), b"mine").unwrap();
    for run in 1..=2 {
        let relay = UdpRelay::start(Behaviour::Sightline, ANY, |n| vec![labelled(1, n)]);
        let done = viewer(relay.addr, dir.path())
            .args(["--headless", "--frames", "5", "--record", "film.mkv"])
            .args(["--shown", "shown.jsonl"])
            .start()
            .finish_ok();
        assert!(done.stderr.contains("is kept"), "{}", done.stderr);
        assert_eq!(fs::read(dir.path().join("film.mkv")).unwrap(), b"mine");
        let lines = fs::read_to_string(dir.path().join("shown.jsonl")).unwrap();
        assert_eq!(lines.lines().count(), 5 * run);
    }
    let files = fs::read_dir(dir.path())
        .unwrap()
        .map(|file| file.unwrap().path());
    let films: Vec<PathBuf> = files
        .filter(|path| path.extension().is_some_and(|e| e == "mkv"))
        .collect();
    assert_eq!(films.len(), 3, "{films:?}");
    let named = |path: &&PathBuf| path.to_str().unwrap().contains("film_20");
    assert_eq!(films.iter().filter(named).count(), 2, "{films:?}");
}
