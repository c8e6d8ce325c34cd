//! The walls of the workspace: which crate may depend on what, and how long a file may be.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// Longest file of Rust, in lines.
const MAX_LINES: usize = 500;

/// Returns what `cargo tree` prints with these arguments: a line for each dependency, its name first.
fn tree(args: &[&str]) -> String {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let tree = Command::new(cargo)
        .current_dir(testkit::repository())
        .args(["tree", "--locked", "--offline", "--prefix", "none"])
        .args(args)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&tree.stderr);
    assert!(tree.status.success(), "cargo tree {args:?}: {errors}");
    String::from_utf8(tree.stdout).unwrap()
}

fn depends(args: &[&str], name: &str) -> bool {
    let tree = tree(args);
    tree.lines()
        .any(|line| line.split(' ').next() == Some(name))
}

fn assert_without(args: &[&str], forbidden: &[&str]) {
    for name in forbidden {
        assert!(!depends(args, name), "{args:?}: {name}");
    }
}

#[test]
fn what_decides_needs_neither_runtime_nor_codec_nor_command_line_not_even_for_its_tests() {
    let of = |package| ["-p", package, "-e", "normal,build,dev"];
    let core = of("relay-core");
    assert_without(
        &core,
        &["tokio", "opencv", "clap", "quinn", "ort", "tracing"],
    );
    assert!(
        depends(&core, "proptest"),
        "what tests need is looked at too"
    );
    // Its benchmark's harness has a command line.
    assert_without(
        &of("protocol"),
        &["tokio", "opencv", "quinn", "ort", "tracing"],
    );
}

#[test]
fn quic_and_the_platform_build_without_opencv() {
    for package in ["platform", "quic"] {
        assert_without(&["-p", package, "-e", "normal,build"], &["opencv", "ort"]);
    }
}

#[test]
fn what_sees_pictures_knows_no_relay_and_the_relay_no_sender() {
    let edges = ["-e", "normal,build"];
    let of = |package| [&["-p", package], &edges[..]].concat();
    for package in ["vision", "imaging", "scene"] {
        assert_without(&of(package), &["relay-core", "relay-server", "quic"]);
    }
    assert_without(&of("relay-server"), &["pi-sender", "scene", "testkit"]);
    assert_without(
        &of("pi-sender"),
        &["relay-server", "relay-core", "vision", "ort"],
    );
    assert_without(
        &of("viewer"),
        &["relay-server", "relay-core", "vision", "ort"],
    );
}

#[test]
fn a_sender_without_windows_links_no_gui_library() {
    let sender = ["-p", "pi-sender", "-e", "features", "-i", "opencv"];
    assert!(
        tree(&sender).contains("highgui"),
        "by default it has --preview"
    );
    let without = [&sender[..], &["--no-default-features"]].concat();
    assert!(!tree(&without).contains("highgui"));
}

#[test]
fn no_file_is_longer_than_one_subject_needs() {
    let mut files = Vec::new();
    sources(&testkit::repository().join("crates"), &mut files);
    assert!(files.len() > 200, "{}", files.len());
    let lines = |file: &PathBuf| fs::read_to_string(file).unwrap().lines().count();
    let long = files.iter().map(|file| (lines(file), file));
    let long: Vec<_> = long.filter(|(lines, _)| *lines > MAX_LINES).collect();
    assert!(long.is_empty(), "{long:?}");
}

fn sources(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        match extension {
            _ if path.is_dir() && !path.ends_with("target") => sources(&path, files),
            Some("rs" | "html" | "js" | "css") => files.push(path),
            _ => {}
        }
    }
}

#[test]
fn the_bounds_in_the_security_policy_are_those_in_force() {
    use protocol::jpeg::Limits;
    use relay_core::limits;
    let policy = fs::read_to_string(testkit::repository().join(".github/SECURITY.md")).unwrap();
    let mib = |bytes: usize| bytes >> 20;
    let seconds = |time: std::time::Duration| time.as_secs();
    let rows = [
        format!("| cameras | {} |", protocol::quic::MAX_CAMERAS),
        format!("| QUIC connections | {} |", limits::QUIC_CONNECTIONS),
        format!("| HTTP connections | {} |", limits::HTTP_CONNECTIONS),
        format!("HTTP requests a second | {} |", limits::HTTP_REQUEST_RATE),
        format!("gives way after | {} s |", seconds(limits::ARRIVAL)),
        format!(
            "never displaced after | {} s |",
            seconds(limits::ESTABLISHED_AFTER)
        ),
        format!(
            "of others | {} and {} |",
            limits::HANDSHAKES_OF_FEW,
            limits::HANDSHAKES_OF_MANY
        ),
        format!(
            "wait for the loop | {} and {} |",
            limits::EVENT_QUEUE,
            limits::DATAGRAM_QUEUE
        ),
        format!("new subscribers | {} |", limits::QUERY_QUEUE),
        format!(
            "also such that it resets | {} and {} |",
            limits::FRAME_RATE,
            limits::STREAM_RATE
        ),
        format!("of one peer | {} |", limits::LINE_RATE),
        format!("a frame | {} MiB |", mib(protocol::MAX_FRAME)),
        format!(
            "of all senders without a ticket | {} MiB |",
            mib(limits::INPUT_BYTES)
        ),
        format!(
            "of one host's senders | {} MiB |",
            mib(limits::HOST_INPUT_BYTES)
        ),
        format!(
            "that have not been read | {} kB |",
            limits::SENDER_WINDOW >> 10
        ),
        format!("whatever others hold | {} kB |", limits::LEAST_SHARE >> 10),
        format!(
            "of all senders with a ticket | {} MiB |",
            mib(limits::TICKET_INPUT_BYTES)
        ),
        format!(
            "the thread that draws | {}, {} and {} |",
            limits::MODEL_FRAMES,
            limits::TRACKING_FRAMES,
            limits::ANNOTATION_FRAMES
        ),
        format!(
            "for snapshots in all | {} and {} |",
            limits::RENDITION_FORMS,
            limits::SNAPSHOT_RENDITIONS
        ),
        format!(
            "of snapshots each | {}, and {} MiB before the newest |",
            limits::KEPT_RENDITIONS,
            mib(limits::KEPT_RENDITION_BYTES)
        ),
        format!("refusals a second by UDP | {} |", limits::REFUSALS),
        format!("sides | {} pixels |", Limits::default().width),
    ];
    for row in rows {
        assert!(policy.contains(&row), "no row ends in `{row}`");
    }
}
