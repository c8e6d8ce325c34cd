//! The check of the state directory.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use platform::doctor::{Check, files};

use crate::access::{self, SECRETS};

/// The state directory.
#[derive(Debug)]
pub(super) struct State {
    path: Option<PathBuf>,
    /// Whether a file can be created in it, or in the part of its path that exists.
    writable: io::Result<()>,
    /// The directory if other users may write it, and secrets that other users may read.
    loose: Vec<PathBuf>,
    /// Whether the files in it can be used.
    content: anyhow::Result<()>,
}

impl State {
    /// Examines the directory, and changes nothing.
    pub(super) fn of(path: Option<PathBuf>) -> Self {
        let secrets = |dir: &Path| SECRETS.map(|name| dir.join(name));
        let files = path.iter().flat_map(|dir| secrets(dir));
        let loose = files.filter(|file| has_mode(file, 0o077));
        let directory = path.iter().filter(|dir| has_mode(dir, 0o022)).cloned();
        let loose = directory.chain(loose).collect();
        let writable = path.as_deref().map_or(Ok(()), files::try_directory);
        let content = path.as_deref().map_or(Ok(()), access::examine);
        Self {
            path,
            writable,
            loose,
            content,
        }
    }
}

/// Returns whether a file or directory has one of these rights in its mode.
fn has_mode(file: &Path, rights: u32) -> bool {
    fs::symlink_metadata(file)
        .is_ok_and(|found| !found.is_symlink() && found.permissions().mode() & rights != 0)
}

pub(super) fn judge_state(state: State, private: bool) -> Check {
    let missing = |what: String| match private {
        true => Check::bad(
            "state",
            format!(
                "{what}, and --private needs a directory for its tokens: name another with --state DIR"
            ),
        ),
        false => Check::advice(
            "state",
            format!(
                "{what}, so a restart loses certificate and viewers: name another with --state DIR"
            ),
        ),
    };
    let Some(path) = state.path else {
        return missing("there is no home directory for the state".to_owned());
    };
    // The cause has its cure: another directory would not have the tickets in force.
    match state.content {
        Ok(()) => {}
        Err(err) if private => return Check::bad("state", format!("{err:#}")),
        Err(err) => return missing(format!("{err:#}")),
    }
    let path = path.display();
    match (state.writable, state.loose.first()) {
        (Err(err), _) => missing(format!("{path} cannot be written: {err}")),
        (Ok(()), Some(loose)) => Check::advice(
            "state",
            format!(
                "other users have access to {}, and {path} holds secrets: the relay takes it from them when it starts, \
                 or do it now: chmod go-rwx {path} {path}/*",
                loose.display()
            ),
        ),
        (Ok(()), None) => Check::good(
            "state",
            format!("{path} can be written, and other users cannot read its secrets"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::io::ErrorKind;

    use platform::doctor::Verdict::{Advice, Bad, Good};

    use super::super::tests::assert_check;
    use super::*;

    #[test]
    fn a_private_relay_needs_its_state_and_an_open_one_only_misses_it() {
        let state = |path: Option<&str>, writable| State {
            path: path.map(PathBuf::from),
            writable,
            loose: Vec::new(),
            content: Ok(()),
        };
        let denied = || Err(ErrorKind::PermissionDenied.into());
        assert_check(&judge_state(state(Some("/s"), Ok(())), true), Good, "/s");
        assert_check(
            &judge_state(state(Some("/s"), denied()), true),
            Bad,
            "--state DIR",
        );
        assert_check(
            &judge_state(state(Some("/s"), denied()), false),
            Advice,
            "/s cannot be written",
        );
        assert_check(&judge_state(state(None, Ok(())), true), Bad, "--state DIR");
        let damaged = State {
            content: Err(anyhow::anyhow!("identity is damaged")),
            ..state(Some("/s"), Ok(()))
        };
        let check = judge_state(damaged, true);
        assert_check(&check, Bad, "identity is damaged");
        assert!(!check.text.contains("needs a directory"), "{check:?}");
    }

    #[test]
    fn a_directory_that_others_write_is_found_and_not_changed() {
        let dir = tempfile::tempdir().unwrap();
        for (mode, verdict) in [(0o777, Advice), (0o755, Good)] {
            fs::set_permissions(dir.path(), Permissions::from_mode(mode)).unwrap();
            let state = State::of(Some(dir.path().to_owned()));
            assert_check(&judge_state(state, true), verdict, "");
            assert!(has_mode(dir.path(), mode));
        }
    }

    #[test]
    fn a_directory_that_is_refused_at_the_start_is_bad() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o1777)).unwrap();
        let state = State::of(Some(dir.path().to_owned()));
        assert_check(&judge_state(state, true), Bad, "chmod");
        std::os::unix::fs::symlink("/nowhere", dir.path().join("viewer.token")).unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o700)).unwrap();
        let state = State::of(Some(dir.path().to_owned()));
        assert_check(&judge_state(state, true), Bad, "symbolic link");
    }

    #[test]
    fn a_secret_that_others_may_read_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("viewer.token");
        fs::write(&file, protocol::ticket::Key([7; 32]).to_string()).unwrap();
        for (mode, verdict) in [(0o640, Advice), (0o600, Good)] {
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            let state = State::of(Some(dir.path().to_owned()));
            assert_check(&judge_state(state, true), verdict, "");
        }
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            1,
            "the trial file was removed"
        );
    }
}
