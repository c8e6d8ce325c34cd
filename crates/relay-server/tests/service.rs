//! The relay as a service: what the service manager learns of it.

mod common {
    pub(crate) mod process;
}

use std::fs;
use std::time::Duration;

use common::process::{RELAY, SOON};
use testkit::process::Program;
use testkit::service_manager::ServiceManager;

/// The watchdog's limit: the loop feeds it four times in that time, and a busy machine may lose three.
const LIMIT: Duration = Duration::from_secs(2);

#[test]
fn the_service_is_ready_when_it_listens_feeds_the_watchdog_reloads_and_reports_its_end() {
    let manager = ServiceManager::start();
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("relay.toml");
    fs::write(&config, "conf = 0.3").unwrap();
    let relay = Program::new(RELAY)
        .args([
            "--listen",
            "127.0.0.1:0",
            "--http",
            "off",
            "--model",
            "demo",
            "--config",
        ])
        .args([&config]);
    let relay = manager.supervise(relay, LIMIT).start();
    assert_eq!(manager.wait_for("STATUS="), "STATUS=loads the model demo");
    let extension = manager.wait_for("EXTEND_TIMEOUT_USEC=");
    assert_eq!(extension, "EXTEND_TIMEOUT_USEC=30000000");
    assert!(manager.wait_for("STATUS=").contains("listens"));
    manager.wait_for("READY=1");
    relay.wait_for_line("listening", SOON);
    for _ in 0..6 {
        manager.wait_for("WATCHDOG=1");
    }
    relay.hang_up();
    manager.wait_for("MONOTONIC_USEC=");
    manager.wait_for("READY=1");
    assert!(
        manager
            .wait_for("STATUS=")
            .contains("no camera is live; viewers: 0")
    );
    relay.terminate();
    manager.wait_for("STOPPING=1");
    relay.finish_ok();
}

#[test]
fn the_relay_loses_no_line_and_doubles_none_when_it_starts_itself_anew() {
    let relay = Program::new(RELAY)
        .args([
            "--listen",
            "127.0.0.1:0",
            "--http",
            "off",
            "--model",
            "demo",
        ])
        .env_remove("ORT_DISABLE_TELEMETRY")
        .env("RUST_LOG", "inof")
        .env("RELAY_SERVER_EVRY", "3")
        .start();
    relay.listening();
    relay.terminate();
    let log = relay.finish_ok().stderr;
    for line in ["RELAY_SERVER_EVRY sets nothing", "RUST_LOG=inof is ignored"] {
        assert_eq!(log.matches(line).count(), 1, "{line}:\n{log}");
    }
}
