//! The units for systemd in `config/systemd`, as systemd itself judges them.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use testkit::process::on_path;

/// Highest exposure that `systemd-analyze security` may find, in tenths.
const MAX_EXPOSURE: u32 = 30;

/// The units, and the names under which they are installed.
const UNITS: [(&str, &str); 3] = [
    ("pi-sender.service", "pi-sender.service"),
    ("pi-sender@.service", "pi-sender@yard.service"),
    ("relay-server.service", "relay-server.service"),
];

/// Returns the units in a directory of their own, with a program that is here in the place of the packages'.
fn installed() -> (tempfile::TempDir, Vec<PathBuf>) {
    let dir = tempfile::tempdir().unwrap();
    let install = |(name, installed): (&str, &str)| {
        let text = fs::read_to_string(config(name)).unwrap();
        let text = text.replace("ExecStart=/usr/bin/pi-sender", "ExecStart=/bin/true");
        let text = text.replace("ExecStart=/usr/bin/relay-server", "ExecStart=/bin/true");
        let path = dir.path().join(installed);
        fs::write(&path, text).unwrap();
        path
    };
    let units = UNITS.map(install).into();
    (dir, units)
}

fn config(name: &str) -> PathBuf {
    testkit::repository().join("config/systemd").join(name)
}

/// Runs `systemd-analyze` on a unit; `None`, with a skip, where it is not installed.
fn analyze(words: &[&str], unit: &Path) -> Option<Output> {
    if on_path("systemd-analyze").is_none() {
        testkit::skip("systemd-analyze is not installed");
        return None;
    }
    let output = Command::new("systemd-analyze")
        .args(words)
        .arg(unit)
        .output();
    Some(output.expect("it starts"))
}

fn text(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    format!("{out}{err}")
}

#[test]
fn systemd_finds_no_fault_with_the_units() {
    let (dir, units) = installed();
    let drop_in = dir.path().join("relay-server.service.d");
    fs::create_dir(&drop_in).unwrap();
    fs::copy(config("relay-server-gpu.conf"), drop_in.join("gpu.conf")).unwrap();
    for unit in units {
        let Some(output) = analyze(&["verify", "--man=no"], &unit) else {
            return;
        };
        let text = text(&output);
        assert!(output.status.success() && text.is_empty(), "{text}");
    }
    fs::write(drop_in.join("wrong.conf"), "[Service]\nDeviceAlow=x\n").unwrap();
    let wrong = analyze(
        &["verify", "--man=no"],
        &dir.path().join("relay-server.service"),
    );
    let wrong = text(&wrong.unwrap());
    assert!(wrong.contains("DeviceAlow"), "drop-ins are read: {wrong}");
}

#[test]
fn the_services_are_hardly_exposed() {
    let threshold = format!("--threshold={MAX_EXPOSURE}");
    let (_dir, units) = installed();
    for unit in units {
        let words = ["security", "--offline=yes", "--no-pager", &threshold];
        let Some(output) = analyze(&words, &unit) else {
            return;
        };
        assert!(output.status.success(), "{}", text(&output));
    }
}

#[test]
fn a_unit_names_what_the_program_and_the_packages_know() {
    for (name, _) in UNITS {
        let unit = fs::read_to_string(config(name)).unwrap();
        for line in [
            "Type=notify",
            "NotifyAccess=main",
            "WatchdogSec=30",
            "RestartSec=2",
            "StartLimitIntervalSec=0",
            "After=network-online.target",
            "User=sightline",
            "StateDirectory=sightline",
        ] {
            assert!(unit.lines().any(|found| found == line), "{name}: {line}");
        }
        let sender = name.starts_with("pi-sender");
        assert_eq!(
            unit.contains("LoadCredential=ticket:/etc/sightline/"),
            sender,
            "{name}"
        );
        assert_eq!(unit.contains("SetCredential=ticket:-\n"), sender, "{name}");
        assert_eq!(unit.contains("SupplementaryGroups=video"), sender, "{name}");
    }
}
