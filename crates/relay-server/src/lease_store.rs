//! The leases of tutorial viewers on disk: such a viewer sends its `Request` once, so after a restart only the relay's
//! memory leads back to it. Viewers of ours ask again and are not kept.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use std::{fs, io};

use anyhow::Context as _;

use crate::threads::Worker;

/// After a longer absence the viewers cannot be reached any more: routers forget a silent mapping after 30 to 120 s.
const REMEMBERED: Duration = Duration::from_secs(120);

/// Returns the file below `state` for a relay on `port`; `None` where there is no such directory, or the port is any, since then
/// no viewer could find this relay again either.
pub fn file(state: Option<&Path>, port: u16) -> Option<PathBuf> {
    let state = state.filter(|_| port != 0)?;
    Some(state.join(format!("viewers-{port}")))
}

/// Returns the viewers that had a lease when the file was last written, if that is not too long ago.
pub fn load(file: &Path, now: SystemTime) -> Vec<SocketAddr> {
    let written = fs::metadata(file).and_then(|metadata| metadata.modified());
    let recent = written.is_ok_and(|at| now.duration_since(at).is_ok_and(|age| age < REMEMBERED));
    let text = recent
        .then(|| fs::read_to_string(file).ok())
        .flatten()
        .unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// Starts a thread that writes the viewers it is sent, since a disk may be slow and a frame may not wait for it.
///
/// # Errors
/// If the system has no thread left.
pub fn writer(file: PathBuf) -> anyhow::Result<Worker<Vec<SocketAddr>>> {
    let lost = "tutorial viewers will not be found again after a restart";
    Worker::writer("leases", 1, lost, move |viewers: Vec<SocketAddr>| {
        write(&file, &viewers)
    })
}

/// Writes beside the file and moves, so that a power cut leaves the old file or the new one.
fn write(file: &Path, viewers: &[SocketAddr]) -> anyhow::Result<()> {
    let lines: String = viewers.iter().map(|viewer| format!("{viewer}\n")).collect();
    let beside = file.with_extension("new");
    let directory = file.parent().map_or(Ok(()), fs::create_dir_all);
    directory
        .and_then(|()| fs::write(&beside, lines))
        .and_then(|()| fs::rename(&beside, file))
        .or_else(|err: io::Error| Err(err).with_context(|| format!("writing {}", file.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_loaded_for_two_minutes() {
        let state = tempfile::tempdir().unwrap();
        let file = file(Some(state.path()), 8081).unwrap();
        let viewers: Vec<SocketAddr> = vec![
            "192.0.2.1:5000".parse().unwrap(),
            "[2001:db8::1]:1".parse().unwrap(),
        ];
        write(&file, &viewers).unwrap();
        let now = SystemTime::now();
        assert_eq!(load(&file, now), viewers);
        assert_eq!(load(&file, now + REMEMBERED), []);
        write(&file, &[]).unwrap();
        assert_eq!(load(&file, now), []);
    }

    #[test]
    fn a_torn_or_missing_file_gives_what_can_be_read() {
        let state = tempfile::tempdir().unwrap();
        let file = file(Some(state.path()), 8081).unwrap();
        assert_eq!(load(&file, SystemTime::now()), []);
        fs::write(&file, "192.0.2.1:5000\n192.0.2").unwrap();
        assert_eq!(load(&file, SystemTime::now()).len(), 1);
    }

    #[test]
    fn a_relay_on_any_port_keeps_nothing() {
        assert_eq!(file(Some(Path::new("/state")), 0), None);
    }
}
