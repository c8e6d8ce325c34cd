//! The directories of a service, which systemd names, and the user's, by the XDG base directory specification.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Returns the directory of files that outlive a restart: the one that was named, else the service's, else the user's own.
pub fn state(named: Option<&Path>) -> Option<PathBuf> {
    let service = || first_of_list(&env::var_os("STATE_DIRECTORY")?);
    let user = || Some(user("XDG_STATE_HOME", ".local/state")?.join("sightline"));
    named.map(Path::to_owned).or_else(service).or_else(user)
}

/// Returns the first path of a list as systemd writes it, with colons; `None` if that is empty or relative.
fn first_of_list(list: &OsStr) -> Option<PathBuf> {
    env::split_paths(list)
        .next()
        .filter(|path| path.is_absolute())
}

/// Returns the directory that `variable` names, else `below` the home directory; `None` if neither is known. An empty
/// variable counts as unset.
pub fn user(variable: &str, below: &str) -> Option<PathBuf> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    let home = || Some(Path::new(&set("HOME")?).join(below));
    set(variable).map(PathBuf::from).or_else(home)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_services_directory_is_the_first_that_systemd_names() {
        let first = |list: &str| first_of_list(OsStr::new(list));
        assert_eq!(first("/var/lib/a:/var/lib/b"), Some("/var/lib/a".into()));
        assert_eq!(first(""), None);
        assert_eq!(first("a"), None);
    }

    #[test]
    fn a_named_directory_goes_first() {
        let named = Path::new("/named");
        assert_eq!(state(Some(named)).as_deref(), Some(named));
    }
}
