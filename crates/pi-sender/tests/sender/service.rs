//! The sender as a service: what the service manager learns, and the wait for a configuration.

use std::fs;
use std::time::Duration;

use testkit::service_manager::ServiceManager;

use crate::support::{Relay, TIMEOUT, expect_exit, sender, write};

/// The watchdog's limit: a loop that turns at least each 200 ms feeds it in time.
const LIMIT: Duration = Duration::from_secs(2);

#[test]
fn the_service_is_ready_without_its_camera_feeds_the_watchdog_and_reports_its_end() {
    let manager = ServiceManager::start();
    let relay = Relay::start().addr().to_string();
    let words = [
        "--server",
        &relay,
        "--camera",
        "yard",
        "--source",
        "http://127.0.0.1:9/x",
    ];
    let sender = manager.supervise(sender(&words), LIMIT).start();
    assert!(
        manager
            .wait_for("STATUS=")
            .contains("camera yard to 127.0.0.1:")
    );
    manager.wait_for("READY=1");
    for _ in 0..6 {
        manager.wait_for("WATCHDOG=1");
    }
    assert!(
        manager
            .wait_for("STATUS=")
            .contains("no pictures from http://127.0.0.1")
    );
    sender.terminate();
    manager.wait_for("STOPPING=1");
    sender.finish_ok();
}

#[test]
fn without_a_configuration_the_service_waits_says_how_and_goes_on_by_itself() {
    let manager = ServiceManager::start();
    let relay = Relay::start();
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("pi-sender.toml");
    fs::write(&config, "fps = 5").unwrap();
    let words = ["--config", config.to_str().unwrap(), "--source", "demo"];
    let sender = manager.supervise(sender(&words), LIMIT).start();
    manager.wait_for("READY=1");
    let line = sender.wait_for_line("The service waits", TIMEOUT);
    assert!(
        line.contains("server = \"..\"") && line.contains("pi-sender.toml"),
        "{line}"
    );
    for _ in 0..6 {
        manager.wait_for("WATCHDOG=1");
    }
    // As an editor does: the sender may read the file at any moment.
    let replace = |text: &str| fs::rename(write(dir.path(), "new", text), &config).unwrap();
    replace("server = 'not a host'");
    sender.wait_for_line("not a host", TIMEOUT);
    replace(&format!("server = '{}'", relay.addr()));
    relay.frame();
    sender.terminate();
    let done = sender.finish_ok();
    let waits = done.stderr.matches("The service waits").count();
    assert_eq!(waits, 2, "each mistake once:\n{}", done.stderr);
}

#[test]
fn a_service_that_waits_for_its_configuration_stops_cleanly() {
    let manager = ServiceManager::start();
    let sender = manager
        .supervise(sender(&["--source", "demo"]), LIMIT)
        .start();
    manager.wait_for("READY=1");
    sender.terminate();
    manager.wait_for("STOPPING=1");
    sender.finish_ok();
}

#[test]
fn a_ticket_may_be_a_credential_and_is_not_repeated_when_it_is_wrong() {
    let relay = Relay::start();
    let dir = tempfile::tempdir().unwrap();
    let credential = |text: &str| {
        fs::write(dir.path().join("ticket"), text).unwrap();
        sender(&["--source", "demo", "--transport", "udp"]).env("CREDENTIALS_DIRECTORY", dir.path())
    };
    let sender = credential(&format!("{}\n", relay.addr())).start();
    relay.frame();
    sender.terminate();
    sender.finish_ok();
    let done = expect_exit(credential("-"), 2);
    assert!(
        done.stderr.contains("--server is missing"),
        "{}",
        done.stderr
    );
    let done = expect_exit(credential("sightline://h:1/c?token=secret"), 2);
    assert!(
        done.stderr.contains("LoadCredential") && !done.stderr.contains("secret"),
        "{}",
        done.stderr
    );
}

#[test]
fn a_mistyped_ticket_in_the_configuration_is_not_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("c.toml");
    fs::write(&config, "server = 'sightline://h:1/c?token=secret'").unwrap();
    let done = expect_exit(sender(&["--config", config.to_str().unwrap()]), 2);
    assert!(
        done.stderr.contains("--server") && !done.stderr.contains("secret"),
        "{}",
        done.stderr
    );
}

#[test]
fn a_services_instance_names_the_camera_unless_the_configuration_does() {
    let relay = Relay::start();
    let server = relay.addr().to_string();
    let camera = |more: &[&str]| {
        let words = [
            &[
                "--server",
                &server,
                "--source",
                "demo",
                "--transport",
                "udp",
            ][..],
            more,
        ]
        .concat();
        let sender = sender(&words).env("SIGHTLINE_INSTANCE", "gar den").start();
        let (_, label) = relay.frame();
        sender.terminate();
        sender.finish_ok();
        label.camera.to_string()
    };
    assert_eq!(camera(&[]), "gar-den");
    while relay.0.set_nonblocking(true).is_ok() && relay.0.recv(&mut [0; 9]).is_ok() {}
    relay.0.set_nonblocking(false).unwrap();
    assert_eq!(camera(&["--camera", "yard"]), "yard");
}
