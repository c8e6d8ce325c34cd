//! The leases of tutorial viewers on disk: such a viewer sends its `Request` once, so after a restart only the relay's
//! memory leads back to it. Viewers of ours ask again and are not kept.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use platform::state_dir::{StateDir, StateError};
use tracing::warn;

use crate::threads::Worker;

/// After a longer absence the viewers cannot be reached any more: routers forget a silent mapping after 30 to 120 s.
const REMEMBERED: Duration = Duration::from_secs(120);
/// Length of the longest line: an IPv6 address of 39 characters, a scope and a port of 10 and 5, their marks and the end.
const MAX_LINE: usize = 60;
/// Largest number of lines, above any value of --udp-viewers.
const MAX_LINES: usize = 10_000;

/// The file of the leases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseFile {
    state: PathBuf,
    name: String,
}

/// Returns the file below `state` for a relay on `port`; `None` where there is no such directory, or the port is any, since then
/// no viewer could find this relay again either.
pub fn file(state: Option<&Path>, port: u16) -> Option<LeaseFile> {
    let state = state.filter(|_| port != 0)?.to_owned();
    let name = format!("viewers-{port}");
    Some(LeaseFile { state, name })
}

/// Returns the viewers that had a lease when the file was last written, at most `most`, if that is not too long ago.
pub fn load(file: &LeaseFile, most: usize, now: SystemTime) -> Vec<SocketAddr> {
    let stored = StateDir::examine(&file.state).and_then(|state| match state {
        Some(state) => state.read(&file.name, MAX_LINE * MAX_LINES),
        None => Ok(None),
    });
    let stored = stored.unwrap_or_else(|err| {
        warn!("tutorial viewers of before the restart are not found again: {err}");
        None
    });
    let recent = |at: SystemTime| now.duration_since(at).is_ok_and(|age| age < REMEMBERED);
    let stored = stored.filter(|stored| recent(stored.modified));
    let bytes = stored.map(|stored| stored.bytes).unwrap_or_default();
    parse(&String::from_utf8_lossy(&bytes), most)
}

/// Returns the addresses of a file that a viewer can have, at most `most`.
fn parse(text: &str, most: usize) -> Vec<SocketAddr> {
    let addresses = text.lines().filter_map(|line| line.parse().ok());
    addresses.filter(is_viewer).take(most).collect()
}

/// Returns whether a datagram can have come from this address.
fn is_viewer(address: &SocketAddr) -> bool {
    let ip = address.ip();
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !broadcast
}

/// Starts a thread that writes the viewers it is sent, since a disk may be slow and a frame may not wait for it.
///
/// # Errors
/// If the system has no thread left.
pub fn writer(file: LeaseFile) -> anyhow::Result<Worker<Vec<SocketAddr>>> {
    let lost = "tutorial viewers will not be found again after a restart";
    Worker::writer("leases", 1, lost, move |viewers: Vec<SocketAddr>| {
        Ok(write(&file, &viewers)?)
    })
}

fn write(file: &LeaseFile, viewers: &[SocketAddr]) -> Result<(), StateError> {
    let lines: String = viewers.iter().map(|viewer| format!("{viewer}\n")).collect();
    StateDir::create(&file.state)?.replace(&file.name, lines.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn what_is_written_is_loaded_for_two_minutes() {
        let state = tempfile::tempdir().unwrap();
        let file = file(Some(state.path()), 8081).unwrap();
        let viewers = addresses(&["192.0.2.1:5000", "[2001:db8::1]:1"]);
        write(&file, &viewers).unwrap();
        let now = SystemTime::now();
        assert_eq!(load(&file, 4, now), viewers);
        assert_eq!(load(&file, 4, now + REMEMBERED), []);
        write(&file, &[]).unwrap();
        assert_eq!(load(&file, 4, now), []);
    }

    #[test]
    fn a_torn_or_missing_file_gives_what_can_be_read() {
        let state = tempfile::tempdir().unwrap();
        let file = file(Some(state.path()), 8081).unwrap();
        assert_eq!(load(&file, 4, SystemTime::now()), []);
        fs::write(state.path().join("viewers-8081"), "192.0.2.1:5000\n192.0.2").unwrap();
        assert_eq!(load(&file, 4, SystemTime::now()).len(), 1);
    }

    #[test]
    fn a_relay_on_any_port_keeps_nothing() {
        assert_eq!(file(Some(Path::new("/state")), 0), None);
    }

    #[test]
    fn a_prepared_file_gives_no_more_viewers_than_leases_and_no_impossible_ones() {
        let text = "0.0.0.0:1\n192.0.2.1:0\n224.0.0.1:9\n255.255.255.255:9\n[ff02::1]:9\n[::]:9\n192.0.2.2:9\n192.0.2.3:9\n";
        assert_eq!(parse(text, 4), addresses(&["192.0.2.2:9", "192.0.2.3:9"]));
        assert_eq!(parse(text, 1), addresses(&["192.0.2.2:9"]));
        assert_eq!(parse(text, 0), []);
        let longest = addresses(&["[1111:2222:3333:4444:5555:6666:7777:8888%4294967295]:65535"]);
        assert!(longest[0].to_string().len() < MAX_LINE);
    }

    #[test]
    fn a_link_in_place_of_the_file_is_neither_read_nor_written_through() {
        let state = tempfile::tempdir().unwrap();
        let file = file(Some(state.path()), 8081).unwrap();
        let target = state.path().join("target");
        fs::write(&target, "192.0.2.1:5000\n").unwrap();
        let path = state.path().join("viewers-8081");
        symlink(&target, &path).unwrap();
        assert_eq!(load(&file, 4, SystemTime::now()), []);
        write(&file, &addresses(&["192.0.2.9:1"])).unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "192.0.2.1:5000\n");
        let written = fs::symlink_metadata(&path).unwrap();
        assert!(written.is_file() && written.permissions().mode() & 0o777 == 0o600);
    }

    #[test]
    fn an_endless_file_is_not_read() {
        let state = tempfile::tempdir().unwrap();
        let file = file(Some(state.path()), 8081).unwrap();
        let line = "192.0.2.1:5000\n";
        let lines = MAX_LINE * MAX_LINES / line.len() + 1;
        fs::write(state.path().join("viewers-8081"), line.repeat(lines)).unwrap();
        assert_eq!(load(&file, 4, SystemTime::now()), []);
    }
}
