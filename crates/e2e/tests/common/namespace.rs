//! A network namespace for one test: ports that the programs do not choose are free there, and addresses can be added to it.

use std::env;

use testkit::process::{Program, binary, on_path};

use super::{alone, directory};

/// Environment variable of a test that runs in its namespace.
const INSIDE: &str = "SIGHTLINE_TEST_IN_NAMESPACE";
const ENTER: &str = r#"ip link set lo up && ip -batch "$0" && exec "$@""#;
/// Beginnings of what is printed where there can be no namespace, or none with IPv6.
const IMPOSSIBLE: [&str; 3] = ["unshare: ", "Cannot assign requested", "Permission denied"];

/// Runs a test in a network namespace that has a loopback device, changed by `batch`, lines of `ip -batch`: the test program
/// calls itself there, for this test alone. Returns whether it ran; if not, this machine permits no namespaces.
pub(crate) fn in_namespace(test: &str, batch: &str, body: impl FnOnce()) -> bool {
    if env::var_os(INSIDE).is_some() {
        body();
        return true;
    }
    if on_path("unshare").is_none() || on_path("ip").is_none() {
        return false;
    }
    // No build inside, where there is no network, and no other chain beside it.
    for name in ["relay-server", "pi-sender", "viewer"] {
        binary(name);
    }
    let (_alone, directory) = (alone(), directory());
    let file = directory.path().join("batch");
    std::fs::write(&file, batch).unwrap();
    let run = Program::new("unshare")
        .args(["--user", "--map-root-user", "--net", "sh", "-c"])
        .args([ENTER.as_ref(), file.as_os_str()])
        .args([env::current_exe().unwrap()])
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .start()
        .finish();
    let began = run.stdout.contains("running 1 test");
    if !began && IMPOSSIBLE.iter().any(|cause| run.stderr.contains(cause)) {
        return false;
    }
    let passed = run.stdout.contains("1 passed");
    assert!(passed, "{}\n{}", run.stdout, run.stderr);
    true
}
