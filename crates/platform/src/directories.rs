//! The user's directories, by the XDG base directory specification.

use std::env;
use std::path::{Path, PathBuf};

/// Returns the directory of files that outlive a restart: the one that was named, else the user's own.
pub fn state(named: Option<&Path>) -> Option<PathBuf> {
    let user = || Some(user("XDG_STATE_HOME", ".local/state")?.join("sightline"));
    named.map(Path::to_owned).or_else(user)
}

/// Returns the directory that `variable` names, else `below` the home directory; `None` if neither is known. An empty
/// variable counts as unset.
pub fn user(variable: &str, below: &str) -> Option<PathBuf> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    let home = || Some(Path::new(&set("HOME")?).join(below));
    set(variable).map(PathBuf::from).or_else(home)
}
