//! Frames of 1080p through the three programs.

mod common;

use std::fs;

use common::{alone, directory, finish, relay, sender, stop, viewer};
use protocol::datagram::MAX_DATAGRAM;
use protocol::jpeg::{Limits, scan};
use testkit::port;

#[test]
fn a_demo_of_1080p_at_quality_85_reaches_the_viewers_files_in_its_own_size() {
    let _alone = alone();
    let (work, port) = (directory(), port::free());
    let saved = work.path().join("saved");
    let relay = relay(port, work.path(), &["--model", "none", "--http", "off"]);
    let watching = viewer(port, &["--frames", "5", "--save", saved.to_str().unwrap()]);
    let camera = sender(
        port,
        &[
            "--source",
            "demo",
            "--size",
            "1920x1080",
            "--fixed",
            "--quality",
            "85",
            "--fps",
            "3",
            "--transport",
            "quic",
        ],
    );
    let seen = finish(watching);
    let sent = stop(camera);
    stop(relay);
    let reports =
        [&seen, &sent].map(|program| program.report.as_ref().unwrap()["transport"].clone());
    assert_eq!(reports[1], "quic");
    let files: Vec<Vec<u8>> = fs::read_dir(saved)
        .unwrap()
        .map(|file| fs::read(file.unwrap().path()).unwrap())
        .collect();
    let whole: Vec<_> = files
        .iter()
        .filter(|jpeg| scan(jpeg, Limits::default()).unwrap().to_string() == "1920x1080")
        .collect();
    // The viewer begins by UDP, where it is sent renditions.
    assert!(
        whole.len() >= 3,
        "{} of {}: {reports:?}",
        whole.len(),
        files.len()
    );
    assert!(whole.iter().all(|jpeg| jpeg.len() > MAX_DATAGRAM));
}
