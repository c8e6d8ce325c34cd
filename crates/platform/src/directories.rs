//! The user's directories, by the XDG base directory specification.

use std::env;
use std::path::{Path, PathBuf};

/// Where what outlives a restart is kept: the directory that was named, else the user's own for it.
pub fn state(named: Option<&Path>) -> Option<PathBuf> {
    let user = || Some(user("XDG_STATE_HOME", ".local/state")?.join("sightline"));
    named.map(Path::to_owned).or_else(user)
}

/// The directory that `variable` names, else `below` the home directory; `None` where neither is known. An empty variable
/// counts as unset.
pub fn user(variable: &str, below: &str) -> Option<PathBuf> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    let home = || Some(Path::new(&set("HOME")?).join(below));
    set(variable).map(PathBuf::from).or_else(home)
}
