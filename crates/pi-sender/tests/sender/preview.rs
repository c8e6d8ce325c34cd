//! The window of `--preview`.

use crate::support::{Relay, expect_exit, sender_to};

#[test]
fn a_preview_without_a_display_ends_it_with_the_cure() {
    let relay = Relay::start();
    let program = sender_to(relay.addr(), "demo", &["--preview"])
        .env_remove("DISPLAY")
        .env_remove("WAYLAND_DISPLAY")
        .env_remove("QT_QPA_PLATFORM");
    let done = expect_exit(program, 1);
    assert!(
        done.stderr.contains("--preview needs a display"),
        "{}",
        done.stderr
    );
}

#[test]
fn a_preview_shows_what_is_sent() {
    let relay = Relay::start();
    let program = sender_to(relay.addr(), "demo", &["--preview", "--frames", "5"])
        .env("QT_QPA_PLATFORM", "offscreen");
    expect_exit(program, 0);
    relay.frame();
}
