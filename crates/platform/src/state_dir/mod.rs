//! Files that outlive a restart, in a directory that another user of the machine may have prepared.
//!
//! The directory is opened once and its files by that descriptor, without following links; owner, kind and mode are checked
//! on the open file, so that what was checked is what is read. A mode that is too open is repaired where the file is ours.
//! Files are replaced as a whole: a power cut leaves the old one or the new one.
//!
//! The directory itself may be named through a link, if this user or root has made it: systemd's `DynamicUser` does so.
//!
//! Root may open the directory of a service in that user's place ([`StateDir::create_for_owner`]): the files are then judged
//! as that user's own, and each new one is given to it, since the service could not read root's.

mod judge;

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{Mode, fstatat};
use nix::unistd::{UnlinkatFlags, geteuid, linkat, unlinkat};
use tracing::warn;

pub use self::judge::Cause;
use self::judge::Facts;

/// Why a state directory or a file in it is not used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {cause}", path.display())]
pub struct StateError {
    /// The directory or file.
    pub path: PathBuf,
    /// The cause, with its cure.
    pub cause: Cause,
}

/// Content of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Time of the last change.
    pub modified: SystemTime,
}

/// What differs between two contents of one name, without reading them: a replaced file has another inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileVersion {
    inode: u64,
    /// Seconds and nanoseconds of the last change.
    modified: (i64, i64),
    length: i64,
}

/// An open state directory.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    open: File,
    /// The user whose files these are.
    user: u32,
    /// The user and group that new files are given to; `None` if they are this process's own.
    gives_to: Option<(u32, u32)>,
    /// Whether modes are repaired.
    repairs: bool,
}

/// What a directory is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// To be used by this user.
    Own,
    /// To be used by this user, and by root in the owner's place.
    ForOwner,
    /// To be examined as it is.
    Examine,
}

impl StateDir {
    /// Opens a directory, which is created for this user alone if it does not exist.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn create(path: &Path) -> Result<Self, StateError> {
        Self::create_as(path, Purpose::Own)
    }

    /// Opens a directory as [`StateDir::create`] does; root opens that of another user in its owner's place.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn create_for_owner(path: &Path) -> Result<Self, StateError> {
        Self::create_as(path, Purpose::ForOwner)
    }

    fn create_as(path: &Path, purpose: Purpose) -> Result<Self, StateError> {
        let mut builder = DirBuilder::new();
        let created = builder.recursive(true).mode(0o700).create(path);
        created
            .map_err(Cause::System)
            .and_then(|()| Self::at(path, purpose))
            .map_err(at(path))
    }

    /// Opens a directory as it is: no mode is repaired. Returns `None` if it does not exist.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn examine(path: &Path) -> Result<Option<Self>, StateError> {
        match Self::at(path, Purpose::Examine) {
            Err(Cause::System(err)) if err.kind() == io::ErrorKind::NotFound => Ok(None),
            opened => opened.map(Some).map_err(at(path)),
        }
    }

    fn at(path: &Path, purpose: Purpose) -> Result<Self, Cause> {
        let process = geteuid().as_raw();
        let named = fs::symlink_metadata(path)?;
        if named.is_symlink() && ![process, 0].contains(&named.uid()) {
            return Err(Cause::Link);
        }
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let resolved = path.canonicalize()?;
        let open: File = openat(nix::fcntl::AT_FDCWD, &resolved, flags, Mode::empty())
            .map_err(io::Error::from)?
            .into();
        let found = open.metadata()?;
        let in_owners_place = purpose == Purpose::ForOwner && process == 0;
        let user = if in_owners_place {
            found.uid()
        } else {
            process
        };
        let mode = judge::directory(Facts::of(&found, found.is_dir()), user)?;
        let directory = Self {
            path: path.to_owned(),
            open,
            user,
            gives_to: (user != process).then_some((user, found.gid())),
            repairs: purpose != Purpose::Examine,
        };
        directory.repair(&directory.open, path, mode)?;
        Ok(directory)
    }

    /// Returns the path of a file in the directory.
    pub fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Reads a file of at most `most` bytes; returns `None` if it does not exist.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn read(&self, name: &str, most: usize) -> Result<Option<Stored>, StateError> {
        match self.read_checked(name, most) {
            Err(Cause::System(err)) if err.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some).map_err(at(&self.path_of(name))),
        }
    }

    fn read_checked(&self, name: &str, most: usize) -> Result<Stored, Cause> {
        // Without O_NONBLOCK the open of a pipe would wait for its writer.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let file: File = match openat(&self.open, name, flags, Mode::empty()) {
            Err(Errno::ELOOP) => return Err(Cause::Link),
            opened => opened.map_err(io::Error::from)?.into(),
        };
        let found = file.metadata()?;
        let mode = judge::file(Facts::of(&found, found.is_file()), self.user)?;
        self.repair(&file, &self.path_of(name), mode)?;
        let mut bytes = Vec::new();
        let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
        file.take(limit).read_to_end(&mut bytes)?;
        if bytes.len() > most {
            return Err(Cause::TooLong(most));
        }
        let modified = found.modified()?;
        Ok(Stored { bytes, modified })
    }

    /// Returns what differs between two contents of a file; `None` if there is no file of that name.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn version(&self, name: &str) -> Result<Option<FileVersion>, StateError> {
        match fstatat(&self.open, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => Ok(None),
            Err(err) => Err(at(&self.path_of(name))(Cause::System(err.into()))),
            Ok(found) => Ok(Some(FileVersion {
                inode: found.st_ino,
                modified: (found.st_mtime, found.st_mtime_nsec),
                length: found.st_size,
            })),
        }
    }

    /// Runs a change of several files, or of a file that depends on what it holds, while no other program does so here.
    ///
    /// # Errors
    /// What `change` returns, or an error of the system.
    pub fn locked<T, E: From<StateError>>(
        &self,
        change: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let failed = |err| E::from(at(&self.path)(Cause::System(err)));
        self.open.lock().map_err(failed)?;
        let changed = change();
        let unlocked = self.open.unlock();
        changed.and_then(|value| unlocked.map(|()| value).map_err(failed))
    }

    /// Removes a file. That there is none is not an error.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn remove(&self, name: &str) -> Result<(), StateError> {
        match unlinkat(&self.open, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(err) => Err(at(&self.path_of(name))(Cause::System(err.into()))),
        }
    }

    fn repair(&self, file: &File, path: &Path, mode: Option<u32>) -> io::Result<()> {
        let Some(mode) = mode.filter(|_| self.repairs) else {
            return Ok(());
        };
        file.set_permissions(Permissions::from_mode(mode))?;
        let path = path.display();
        warn!(
            %path,
            "other users had access to it, and its mode is now {mode:o}; remove it if you do not trust them"
        );
        Ok(())
    }

    /// Writes a file in place of the one of that name, if there is one.
    ///
    /// # Errors
    /// [`StateError`]; the old file is then still there.
    pub fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), StateError> {
        let moved = |temporary: &str| renameat(&self.open, temporary, &self.open, name);
        self.write_beside(name, bytes, moved)
            .map_err(|err| at(&self.path_of(name))(err.into()))
    }

    /// Writes a file if there is none of that name; of two programs that do so at the same time, one succeeds. Returns
    /// whether it was written.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn write_new(&self, name: &str, bytes: &[u8]) -> Result<bool, StateError> {
        let link = |temporary: &str| {
            linkat(&self.open, temporary, &self.open, name, AtFlags::empty())?;
            unlinkat(&self.open, temporary, UnlinkatFlags::NoRemoveDir)
        };
        match self.write_beside(name, bytes, link) {
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            written => written
                .map(|()| true)
                .map_err(|err| at(&self.path_of(name))(err.into())),
        }
    }

    /// Writes a temporary file and lets `place` give it its name.
    fn write_beside(
        &self,
        name: &str,
        bytes: &[u8],
        place: impl FnOnce(&str) -> nix::Result<()>,
    ) -> io::Result<()> {
        let unique = getrandom::u64().map_err(io::Error::other)?;
        let temporary = format!(".{name}.{unique:016x}.new");
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let mut file: File = openat(&self.open, temporary.as_str(), flags, mode)?.into();
        let given = match self.gives_to {
            Some((user, group)) => fchown(&file, Some(user), Some(group)),
            None => Ok(()),
        };
        let written = given
            .and_then(|()| file.write_all(bytes))
            .and_then(|()| file.sync_all())
            .and_then(|()| Ok(place(&temporary)?));
        if written.is_err() {
            // What could not be written needs no other report.
            let _ = unlinkat(&self.open, temporary.as_str(), UnlinkatFlags::NoRemoveDir);
        }
        written.and_then(|()| self.open.sync_all())
    }
}

fn at(path: &Path) -> impl Fn(Cause) -> StateError {
    let path = path.to_owned();
    move |cause| StateError {
        path: path.clone(),
        cause,
    }
}

#[cfg(test)]
mod tests;
