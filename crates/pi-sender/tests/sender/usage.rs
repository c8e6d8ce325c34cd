//! The command line.

use crate::support::{expect_exit, sender, write};

#[test]
fn usage_errors_exit_2_and_name_the_cure() {
    let dir = tempfile::tempdir().unwrap();
    let config = write(dir.path(), "c.toml", "sourse = 'demo'");
    for (words, cure) in [
        (&["--source", "demo"][..], "--server is missing"),
        (&["--server", "sightline://h:8081/yard"], "single quotes"),
        (
            &["--config", config.to_str().unwrap()],
            "unknown key 'sourse'",
        ),
        (&["--server", "h", "--fixd"], "--fixed"),
        (
            &["http://h/video", "--source", "demo"],
            "examples: relay.example",
        ),
        (&["docter"], "did you mean doctor?"),
        (&["--source", "demo", "h"], "the relay is the first word"),
    ] {
        let done = expect_exit(sender(words), 2);
        assert!(done.stderr.contains(cure), "{}", done.stderr);
    }
}

#[test]
fn a_cameras_url_in_a_wrong_place_reaches_the_terminal_without_its_password() {
    const URL: &str = "rtsp://admin:topsecret@10.0.0.5/live?token=topsecret";
    let dir = tempfile::tempdir().unwrap();
    let unclosed = write(dir.path(), "a.toml", format!("source = \"{URL}"));
    let wrong = write(dir.path(), "b.toml", format!("server = \"{URL}\""));
    for words in [
        &["--server", "relay", "--camera", URL][..],
        &["--server", URL],
        &["relay", &format!("--sorce={URL}")],
        &["--config", unclosed.to_str().unwrap()],
        &["--config", wrong.to_str().unwrap()],
    ] {
        let done = expect_exit(sender(words), 2);
        let text = done.stderr + &done.stdout;
        assert!(text.contains("error: "), "{text}");
        assert!(!text.contains("topsecret"), "{text}");
    }
}

#[cfg(not(feature = "window"))]
#[test]
fn a_preview_without_windows_in_the_program_is_refused_with_its_cure() {
    let done = expect_exit(sender(&["--server", "h", "--preview"]), 2);
    assert!(done.stderr.contains("default features"), "{}", done.stderr);
    let relay = crate::support::Relay::start();
    let words = [
        "doctor",
        "--server",
        &relay.addr().to_string(),
        "--source",
        "demo",
        "--preview",
    ];
    let done = sender(&words).start().finish();
    assert_eq!(done.status.code(), Some(1), "{}", done.stdout);
    assert!(done.stdout.contains("default features"), "{}", done.stdout);
}
