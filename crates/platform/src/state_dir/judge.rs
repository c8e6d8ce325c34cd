//! Decides by owner, kind and mode whether a state directory or a file in it is used. Pure.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;

/// Bits of a mode by which users other than the owner read, write or enter.
const OTHERS: u32 = 0o077;
/// Bits of a mode by which users other than the owner write.
const OTHERS_WRITE: u32 = 0o022;
/// Bit of a directory that all users share, such as /tmp.
const STICKY: u32 = 0o1000;

/// Owner, kind and mode of an open file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) owner: u32,
    /// Whether it is of the kind that was opened: a directory, or a regular file.
    pub(super) right_kind: bool,
    /// Permissions, with the sticky bit.
    pub(super) mode: u32,
}

impl Facts {
    pub(super) fn of(found: &Metadata, right_kind: bool) -> Self {
        Self {
            owner: found.uid(),
            right_kind,
            mode: found.mode() & 0o7777,
        }
    }
}

/// Why a state directory or a file in it is not used.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// A symbolic link where a file or directory of ours should be.
    #[error(
        "it is a symbolic link that another user may have made; remove it, or name another directory"
    )]
    Link,
    /// Neither a directory nor a regular file, whichever was expected.
    #[error(
        "it is neither a file nor a directory of this program; remove it, or name another directory"
    )]
    Kind,
    /// An owner that is neither this user nor root.
    #[error(
        "it belongs to the user with number {owner}, and this program runs as number {user}: chown it, or name another \
         directory"
    )]
    Owner {
        /// The owner.
        owner: u32,
        /// The user that this program runs as.
        user: u32,
    },
    /// Write permission, or for a file read permission, for other users, which only the owner can withdraw.
    #[error(
        "other users have access to it (mode {0:o}); chmod it to {1:o}, or name another directory"
    )]
    Open(u32, u32),
    /// A file that is longer than any that this program writes.
    #[error("it is longer than {0} bytes, and no such file of this program is; remove it")]
    TooLong(usize),
    /// An error of the system.
    #[error(transparent)]
    System(#[from] io::Error),
}

/// Returns the mode to which a directory is to be changed, if it has to be.
///
/// # Errors
/// Why it is not used. A directory that all users share is refused and not repaired, even as root: /tmp is no state
/// directory.
pub(super) fn directory(found: Facts, user: u32) -> Result<Option<u32>, Cause> {
    check_owner(found, user)?;
    let private = found.mode & !OTHERS_WRITE & 0o777;
    match found.mode & OTHERS_WRITE {
        0 => Ok(None),
        _ if found.owner == user && found.mode & STICKY == 0 => Ok(Some(private)),
        _ => Err(Cause::Open(found.mode, private)),
    }
}

/// Returns the mode to which a file is to be changed, if it has to be.
///
/// # Errors
/// Why it is not used.
pub(super) fn file(found: Facts, user: u32) -> Result<Option<u32>, Cause> {
    check_owner(found, user)?;
    let private = found.mode & !OTHERS & 0o777;
    match found.mode & OTHERS {
        0 => Ok(None),
        _ if found.owner == user => Ok(Some(private)),
        // Of root, for the group of this user: how a tool of an administrator hands over a secret.
        others if others & !0o040 == 0 => Ok(None),
        _ => Err(Cause::Open(found.mode, private | found.mode & 0o040)),
    }
}

fn check_owner(found: Facts, user: u32) -> Result<(), Cause> {
    match found {
        Facts {
            right_kind: false, ..
        } => Err(Cause::Kind),
        Facts { owner, .. } if owner != user && owner != 0 => Err(Cause::Owner { owner, user }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: u32 = 1000;
    const OTHER: u32 = 1001;
    const ROOT: u32 = 0;

    fn found(owner: u32, mode: u32) -> Facts {
        Facts {
            owner,
            right_kind: true,
            mode,
        }
    }

    #[test]
    fn the_mode_of_a_file_of_ours_is_repaired_and_another_users_is_refused() {
        let judge = |owner, mode| file(found(owner, mode), OURS);
        assert!(matches!(judge(OURS, 0o600), Ok(None)));
        assert!(matches!(judge(OURS, 0o400), Ok(None)));
        assert!(matches!(judge(OURS, 0o644), Ok(Some(0o600))));
        assert!(matches!(judge(OURS, 0o777), Ok(Some(0o700))));
        for mode in [0o600, 0o644, 0o000] {
            assert!(matches!(
                judge(OTHER, mode),
                Err(Cause::Owner { owner: OTHER, .. })
            ));
        }
    }

    #[test]
    fn a_file_of_root_is_used_if_other_users_cannot_read_it() {
        let judge = |mode| file(found(ROOT, mode), OURS);
        assert!(matches!(judge(0o600), Ok(None)));
        assert!(matches!(judge(0o640), Ok(None)));
        for mode in [0o644, 0o660, 0o602] {
            assert!(matches!(judge(mode), Err(Cause::Open(..))), "{mode:o}");
        }
        assert!(matches!(file(found(ROOT, 0o644), ROOT), Ok(Some(0o600))));
    }

    #[test]
    fn a_directory_that_others_write_is_repaired_if_ours_and_never_if_shared() {
        let judge = |owner, mode| directory(found(owner, mode), OURS);
        assert!(matches!(judge(OURS, 0o700), Ok(None)));
        assert!(matches!(judge(OURS, 0o755), Ok(None)));
        assert!(matches!(judge(OURS, 0o777), Ok(Some(0o755))));
        assert!(matches!(judge(OURS, 0o770), Ok(Some(0o750))));
        assert!(matches!(judge(ROOT, 0o755), Ok(None)));
        assert!(matches!(judge(ROOT, 0o777), Err(Cause::Open(..))));
        assert!(matches!(judge(OTHER, 0o700), Err(Cause::Owner { .. })));
        for user in [OURS, ROOT] {
            let tmp = directory(found(ROOT, 0o1777), user);
            assert!(matches!(tmp, Err(Cause::Open(..))), "{user}");
        }
    }

    #[test]
    fn what_is_of_another_kind_is_refused_first() {
        let pipe = Facts {
            right_kind: false,
            ..found(OURS, 0o600)
        };
        assert!(matches!(file(pipe, OURS), Err(Cause::Kind)));
    }
}
