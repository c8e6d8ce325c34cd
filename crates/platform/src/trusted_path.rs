//! Files that a program finds by search and then runs or believes: a shared library, a model.
//!
//! What a user names is taken as it is. What is found must not be a file that another user of the machine could have put
//! there: the path is resolved first, and then the file and each directory above it belong to this user or to root, and
//! others cannot write them. Three cases need a rule:
//! - A directory that all users share and that is sticky (/tmp) is good above others, since there only the owner
//!   renames or removes an entry, but not for the file itself: a library loads others from its own directory.
//! - Group-writable is the default of Debian's and Fedora's users (umask 002), whose group is theirs alone. So the group may
//!   write if it is root's (number 0), or if its number is that of the user and of the user's own group: the rule by which
//!   `pam_umask` recognises such groups.
//! - An access control list shows in the group's bits of the mode, so it is treated as a group's.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::{getegid, geteuid};

/// Why a file that was found is not used.
#[derive(Debug, thiserror::Error)]
pub enum Untrusted {
    /// An owner that is neither this user nor root.
    #[error("{} belongs to another user (number {owner})", path.display())]
    Owner {
        /// The file, or a directory above it.
        path: PathBuf,
        /// The owner.
        owner: u32,
    },
    /// Write permission for other users.
    #[error("other users may write {} (mode {mode:o}; chmod go-w cures it)", path.display())]
    Writable {
        /// The file, or a directory above it.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// An error of the system.
    #[error("{}: {cause}", path.display())]
    System {
        /// The path as it was searched.
        path: PathBuf,
        /// The error.
        cause: io::Error,
    },
}

/// Returns the resolved path of a file that was found by search, if no other user can have put it there.
///
/// # Errors
/// [`Untrusted`].
pub fn resolve(found: &Path) -> Result<PathBuf, Untrusted> {
    let system = |path: &Path, cause| Untrusted::System {
        path: path.to_owned(),
        cause,
    };
    let user = User {
        user: geteuid().as_raw(),
        group: getegid().as_raw(),
    };
    let resolved = found.canonicalize().map_err(|err| system(found, err))?;
    for (height, path) in resolved.ancestors().enumerate() {
        // A resolved path has no links.
        let metadata = fs::symlink_metadata(path).map_err(|err| system(path, err))?;
        let facts = Facts {
            owner: metadata.uid(),
            group: metadata.gid(),
            mode: metadata.mode() & 0o7777,
            place: match height {
                0 => Place::File,
                1 => Place::Directory,
                _ => Place::Above,
            },
        };
        judge(facts, user).map_err(|flaw| flaw.at(path, facts))?;
    }
    Ok(resolved)
}

/// The user that the program runs as.
#[derive(Debug, Clone, Copy)]
struct User {
    user: u32,
    group: u32,
}

/// Place of a file or directory on a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The file.
    File,
    /// Its own directory.
    Directory,
    /// A directory above that.
    Above,
}

#[derive(Debug, Clone, Copy)]
struct Facts {
    owner: u32,
    group: u32,
    mode: u32,
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    Owner,
    Writable,
}

impl Flaw {
    fn at(self, path: &Path, facts: Facts) -> Untrusted {
        let path = path.to_owned();
        match self {
            Self::Owner => Untrusted::Owner {
                path,
                owner: facts.owner,
            },
            Self::Writable => Untrusted::Writable {
                path,
                mode: facts.mode,
            },
        }
    }
}

/// Decides whether other users can have put something at a place of a path.
fn judge(found: Facts, user: User) -> Result<(), Flaw> {
    const STICKY: u32 = 0o1000;
    const GROUP_WRITES: u32 = 0o020;
    const OTHERS_WRITE: u32 = 0o002;
    if found.owner != user.user && found.owner != 0 {
        return Err(Flaw::Owner);
    }
    let own_group = user.user == user.group && found.group == user.group;
    let group_writes = found.mode & GROUP_WRITES != 0 && found.group != 0 && !own_group;
    let others_write = found.mode & OTHERS_WRITE != 0 || group_writes;
    let guarded = found.place == Place::Above && found.mode & STICKY != 0;
    match others_write && !guarded {
        true => Err(Flaw::Writable),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    use super::*;

    const US: User = User {
        user: 1000,
        group: 1000,
    };
    const PLACES: [Place; 3] = [Place::File, Place::Directory, Place::Above];

    fn found(owner: u32, group: u32, mode: u32, place: Place) -> Facts {
        Facts {
            owner,
            group,
            mode,
            place,
        }
    }

    #[test]
    fn files_and_directories_of_this_user_and_of_root_are_trusted() {
        for place in PLACES {
            for owner in [0, 1000] {
                assert_eq!(judge(found(owner, 50, 0o755, place), US), Ok(()));
            }
            assert_eq!(judge(found(1001, 50, 0o755, place), US), Err(Flaw::Owner));
        }
    }

    #[test]
    fn what_all_users_write_is_not_trusted_but_for_a_sticky_directory_further_up() {
        for place in PLACES {
            let plain = judge(found(0, 0, 0o777, place), US);
            assert_eq!(plain, Err(Flaw::Writable), "{place:?}");
            let sticky = judge(found(0, 0, 0o1777, place), US);
            assert_eq!(sticky.is_ok(), place == Place::Above, "{place:?}");
        }
    }

    #[test]
    fn a_group_may_write_if_it_is_this_users_alone_or_roots() {
        let judge = |group, user| judge(found(0, group, 0o775, Place::Directory), user);
        assert_eq!(judge(1000, US), Ok(()));
        assert_eq!(judge(0, US), Ok(()));
        assert_eq!(judge(100, US), Err(Flaw::Writable));
        // `users`, the first group of all users on some systems.
        let shared = User {
            user: 1000,
            group: 100,
        };
        assert_eq!(judge(100, shared), Err(Flaw::Writable));
        assert_eq!(judge(1000, shared), Err(Flaw::Writable));
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_found_file_is_judged_where_it_really_is() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().join("real");
        fs::create_dir(&real).unwrap();
        let file = real.join("lib.so");
        fs::write(&file, "").unwrap();
        set_mode(&file, 0o644);
        set_mode(&real, 0o755);
        let link = dir.path().join("link.so");
        symlink(&file, &link).unwrap();
        let want = file.canonicalize().unwrap();
        assert_eq!(resolve(&link).unwrap(), want);
        set_mode(&real, 0o777);
        let why = resolve(&link).unwrap_err().to_string();
        assert!(why.contains("real") && why.contains("chmod go-w"), "{why}");
        set_mode(&real, 0o755);
        set_mode(&file, 0o666);
        assert!(resolve(&link).is_err());
        set_mode(&file, 0o644);
        assert!(resolve(&dir.path().join("none")).is_err());
        if chown(&file, Some(12345), None).is_ok() {
            let why = resolve(&link).unwrap_err().to_string();
            assert!(why.contains("12345"), "{why}");
        }
    }
}
