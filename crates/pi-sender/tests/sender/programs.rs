//! Pictures from other programs: the Pi's camera program, and a pipe.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use protocol::label::Label;
use testkit::process::{Program, Running};

use crate::support::{Relay, TIMEOUT, expect_exit, jpeg, mjpeg, sender_to, stop, write};

/// Writes a camera program, and returns the PATH that finds it.
fn camera_program(dir: &Path, script: &str) -> String {
    let program = write(dir, "rpicam-vid", format!("#!/bin/sh\n{script}\n"));
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
    format!("{}:/usr/bin:/bin", dir.display())
}

/// Starts a sender whose camera program has a child, and returns both, once pictures come.
fn sender_with_a_family(dir: &Path) -> (Running, Vec<String>) {
    let (pictures, _) = mjpeg(dir, 3);
    let pids = dir.join("pids");
    let path = camera_program(
        dir,
        &format!(
            "sleep 1000 & echo $$ $! > '{}'\ncat '{pictures}'\nwait",
            pids.display()
        ),
    );
    let relay = Relay::start();
    let running = sender_to(relay.addr(), "rpicam", &[])
        .env("PATH", path)
        .start();
    relay.frame();
    let pids = fs::read_to_string(pids).unwrap();
    (
        running,
        pids.split_whitespace().map(str::to_owned).collect(),
    )
}

fn wait_for_the_end_of(pids: &[String]) {
    let start = Instant::now();
    let runs = |pid: &&String| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z ")
    };
    while let Some(pid) = pids.iter().find(runs) {
        assert!(
            start.elapsed() < TIMEOUT,
            "process {pid} of {pids:?} outlives the sender"
        );
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_camera_program_and_its_children_end_with_the_sender() {
    let dir = tempfile::tempdir().unwrap();
    let (running, pids) = sender_with_a_family(dir.path());
    assert_eq!(pids.len(), 2);
    stop(running);
    wait_for_the_end_of(&pids);
}

#[test]
fn the_camera_program_and_its_children_end_also_with_a_sender_that_is_killed() {
    if !Path::new("/usr/bin/setpriv").exists() {
        return testkit::skip("setpriv is not here");
    }
    let dir = tempfile::tempdir().unwrap();
    let (running, pids) = sender_with_a_family(dir.path());
    // Dropped, it is killed.
    drop(running);
    wait_for_the_end_of(&pids);
}

/// Starts a sender whose camera program is a wrapper that ignores SIGTERM, as its child does; returns the directory where each
/// start leaves its process ids.
fn sender_with_a_stubborn_wrapper(dir: &Path, behind: &str) -> Running {
    let (pictures, _) = mjpeg(dir, 3);
    let pids = dir.join("pids");
    let path = camera_program(
        dir,
        &format!(
            "trap '' TERM\nsleep 1000 & echo $$ $! >> '{}'\n{behind} '{pictures}'\nwait\nsleep 1000",
            pids.display()
        ),
    );
    let relay = Relay::start();
    sender_to(relay.addr(), "rpicam", &["--fps", "50"])
        .env("PATH", path)
        .start()
}

/// Waits until the wrapper has been started so often, and returns the process ids of each start.
fn pids_of_starts(dir: &Path, starts: usize) -> Vec<Vec<String>> {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let text = fs::read_to_string(dir.join("pids")).unwrap_or_default();
        let lines = text.lines().map(|line| line.split_whitespace());
        let pids: Vec<Vec<String>> = lines
            .map(|line| line.map(str::to_owned).collect())
            .collect();
        if pids.len() >= starts {
            return pids;
        }
        assert!(Instant::now() < deadline, "{text}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_wrapper_that_ignores_sigterm_ends_with_the_sender_however_that_ends() {
    for killed in [false, true] {
        if killed && !Path::new("/usr/bin/setpriv").exists() {
            return testkit::skip("setpriv is not here");
        }
        let dir = tempfile::tempdir().unwrap();
        let running = sender_with_a_stubborn_wrapper(dir.path(), "cat");
        let pids = pids_of_starts(dir.path(), 1).concat();
        assert_eq!(pids.len(), 2);
        match killed {
            true => drop(running),
            false => drop(stop(running)),
        }
        wait_for_the_end_of(&pids);
    }
}

#[test]
fn a_wrapper_that_hangs_and_ignores_sigterm_is_started_again_and_does_not_pile_up() {
    let dir = tempfile::tempdir().unwrap();
    let running = sender_with_a_stubborn_wrapper(dir.path(), ":");
    let starts = pids_of_starts(dir.path(), 2);
    wait_for_the_end_of(&starts[0]);
    running.wait_for_line("rpicam-vid runs and gave no picture for", TIMEOUT);
    stop(running);
    wait_for_the_end_of(&starts.concat());
}

#[test]
fn rpicam_options_reach_the_camera_program_as_words() {
    let dir = tempfile::tempdir().unwrap();
    let (pictures, _) = mjpeg(dir.path(), 3);
    let words = dir.path().join("words");
    let path = camera_program(
        dir.path(),
        &format!(
            "printf '%s\\n' \"$@\" > '{}'\ncat '{pictures}'\nsleep 1000",
            words.display()
        ),
    );
    let relay = Relay::start();
    let options = "--hflip --tuning-file '/a b.json' --width 640";
    let running = sender_to(relay.addr(), "rpicam", &["--rpicam-options", options])
        .env("PATH", path)
        .start();
    relay.frame();
    stop(running);
    let words = fs::read_to_string(words).unwrap();
    assert!(
        words.ends_with("--hflip\n--tuning-file\n/a b.json\n--width\n640\n"),
        "{words}"
    );
    assert!(!words.contains("--width\n300\n"), "{words}");
}

/// Returns a sender that reads what a shell command writes.
fn piped(command: &str, relay: &Relay, words: &[&str]) -> Program {
    let line = format!("{command} | exec \"$@\"");
    let server = relay.addr().to_string();
    let sender = [
        env!("CARGO_BIN_EXE_pi-sender"),
        "--server",
        &server,
        "--source",
        "-",
    ];
    Program::new("/bin/sh")
        .env("XDG_CONFIG_HOME", "/nonexistent")
        .args(["-c", &line, "sh"])
        .args(sender)
        .args(words)
}

#[test]
fn a_pipe_of_jpegs_is_sent_to_the_byte_and_ends_like_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let pictures = [jpeg(300, 200, 10.0), jpeg(300, 200, 90.0)];
    let files = pictures
        .clone()
        .map(|jpeg| write(dir.path(), &format!("{}.jpg", jpeg.len()), jpeg));
    let [a, b] = files.map(|path| path.display().to_string());
    let relay = Relay::start();
    let command = format!("(cat '{a}'; sleep 0.5; cat '{b}'; sleep 0.2; head -c 50 '{a}')");
    let done = expect_exit(
        piped(&command, &relay, &["--report", "--exit-on-source-error"]),
        0,
    );
    assert_eq!(done.report.unwrap()["sent"], 2);
    for picture in pictures {
        let frame = relay.datagram();
        let label = Label::read(&frame).unwrap().unwrap();
        assert!(frame == label.write(&picture));
    }
}

#[test]
fn the_newest_picture_of_a_pipe_counts() {
    let dir = tempfile::tempdir().unwrap();
    let (path, pictures) = mjpeg(dir.path(), 12);
    let relay = Relay::start();
    // All come at once and the pipe stays open: a reader of one picture a tick would be 12 ticks behind.
    let done = expect_exit(
        piped(
            &format!("(cat '{path}'; sleep 1.2)"),
            &relay,
            &["--fps", "2", "--report"],
        ),
        0,
    );
    let sent = done.report.unwrap()["sent"].as_u64().unwrap();
    assert!((1..=2).contains(&sent), "{sent} of 12 pictures at once");
    let frames = std::iter::repeat_with(|| relay.datagram()).take(sent as usize);
    let last = frames.last().unwrap();
    let label = Label::read(&last).unwrap().unwrap();
    assert!(last == label.write(&pictures[11]));
}

#[test]
fn a_file_as_standard_input_is_played_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (path, _) = mjpeg(dir.path(), 6);
    let relay = Relay::start();
    let line = format!("exec \"$@\" < '{path}'");
    let server = relay.addr().to_string();
    let program = Program::new("/bin/sh")
        .env("XDG_CONFIG_HOME", "/nonexistent")
        .args([
            "-c",
            &line,
            "sh",
            env!("CARGO_BIN_EXE_pi-sender"),
            "--server",
            &server,
            "--source",
            "-",
            "--fps",
            "30",
            "--report",
        ]);
    let report = expect_exit(program, 0).report.unwrap();
    assert_eq!(
        report["sent"].as_u64().unwrap() + report["skipped"].as_u64().unwrap(),
        6
    );
}

#[test]
fn a_pipe_without_a_jpeg_ends_it_with_the_cause() {
    let relay = Relay::start();
    let done = expect_exit(piped("echo no picture", &relay, &[]), 1);
    assert!(
        done.stderr
            .contains("ended without a JPEG: it begins with 'no picture"),
        "{}",
        done.stderr
    );
}

#[test]
fn a_pipe_of_something_else_is_named_once_and_goes_on_when_pictures_come() {
    let dir = tempfile::tempdir().unwrap();
    let card = write(dir.path(), "card.jpg", jpeg(300, 200, 10.0));
    let relay = Relay::start();
    let command = format!(
        "(yes | head -c 3000000; cat '{}'; sleep 0.3)",
        card.display()
    );
    let done = expect_exit(piped(&command, &relay, &[]), 0);
    relay.frame();
    let warnings = done
        .stderr
        .matches("gives no picture: it begins with 'y\\ny");
    assert_eq!(warnings.count(), 1, "{}", done.stderr);
    assert!(done.stderr.contains("--codec mjpeg"), "{}", done.stderr);
}

#[test]
fn the_doctor_names_what_a_pipe_gives_in_place_of_pictures() {
    let relay = Relay::start();
    let h264 = r"(printf '\0\0\0\001\147\144'; sleep 7)";
    for (command, words) in [
        ("yes", "it begins with 'y"),
        (h264, "H.264 or H.265 video"),
        ("sleep 7", "no data comes on standard input for 5 s"),
    ] {
        let mut program = piped(command, &relay, &["doctor", "--transport", "udp"]);
        program = program.env("NO_COLOR", "1");
        let done = expect_exit(program, 1);
        assert!(done.stdout.contains(words), "{}", done.stdout);
        assert!(!done.stdout.contains("lens cap"), "{}", done.stdout);
    }
}
