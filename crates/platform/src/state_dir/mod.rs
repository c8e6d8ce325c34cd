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

    /// Returns what tells one content of a file from the next; `None` if there is no file of that name.
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
mod tests {
    use std::os::unix::fs::{chown, symlink};

    use tempfile::TempDir;

    use super::*;

    const OTHER: u32 = 12345;

    fn state() -> (TempDir, StateDir) {
        let parent = tempfile::tempdir().unwrap();
        let state = StateDir::create(&parent.path().join("deep/state")).unwrap();
        (parent, state)
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn names(state: &StateDir) -> Vec<String> {
        let files = fs::read_dir(&state.path).unwrap();
        files
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn what_is_written_is_read_by_this_user_alone() {
        let (_parent, state) = state();
        assert_eq!(mode(&state.path), 0o700);
        assert_eq!(state.read("token", 9).unwrap(), None);
        assert!(state.write_new("token", b"first").unwrap());
        assert!(!state.write_new("token", b"second").unwrap());
        assert_eq!(state.read("token", 9).unwrap().unwrap().bytes, b"first");
        state.replace("token", b"third").unwrap();
        assert_eq!(state.read("token", 9).unwrap().unwrap().bytes, b"third");
        assert_eq!(mode(&state.path_of("token")), 0o600);
        assert_eq!(names(&state), ["token"], "no temporary file is left");
    }

    #[test]
    fn a_link_is_neither_read_nor_written_through() {
        let (parent, state) = state();
        let other = parent.path().join("other");
        fs::write(&other, "theirs").unwrap();
        symlink(&other, state.path_of("token")).unwrap();
        let why = state.read("token", 9).unwrap_err();
        assert!(matches!(why.cause, Cause::Link), "{why}");
        assert!(!state.write_new("token", b"ours").unwrap());
        state.replace("token", b"ours").unwrap();
        assert_eq!(fs::read(&other).unwrap(), b"theirs");
        assert_eq!(state.read("token", 9).unwrap().unwrap().bytes, b"ours");
    }

    #[test]
    fn modes_are_repaired_where_the_file_is_ours_but_not_by_an_examination() {
        let (_parent, state) = state();
        state.replace("token", b"x").unwrap();
        let token = state.path_of("token");
        set_mode(&token, 0o644);
        set_mode(&state.path, 0o777);
        let examined = StateDir::examine(&state.path).unwrap().unwrap();
        assert!(examined.read("token", 9).unwrap().is_some());
        assert_eq!((mode(&token), mode(&state.path)), (0o644, 0o777));
        let opened = StateDir::create(&state.path).unwrap();
        assert!(opened.read("token", 9).unwrap().is_some());
        assert_eq!((mode(&token), mode(&state.path)), (0o600, 0o755));
    }

    #[test]
    fn what_belongs_to_another_user_is_refused() {
        let (_parent, state) = state();
        state.replace("token", b"x").unwrap();
        if chown(state.path_of("token"), Some(OTHER), None).is_err() {
            return eprintln!("only root can give a file away; the pure test covers the rule");
        }
        let why = state.read("token", 9).unwrap_err();
        assert!(
            matches!(why.cause, Cause::Owner { owner: OTHER, .. }),
            "{why}"
        );
        chown(&state.path, Some(OTHER), None).unwrap();
        let why = StateDir::create(&state.path).unwrap_err().to_string();
        assert!(why.contains("12345") && why.contains("chown"), "{why}");
        assert!(StateDir::examine(&state.path).is_err());
    }

    #[test]
    fn root_that_works_in_the_owners_place_gives_the_owner_each_file() {
        let (_parent, state) = state();
        state.replace("token", b"x").unwrap();
        let token = state.path_of("token");
        for path in [&state.path, &token] {
            if chown(path, Some(OTHER), Some(OTHER)).is_err() {
                return eprintln!("skipped: only root can give a file away");
            }
        }
        assert!(StateDir::create(&state.path).is_err());
        let owners = StateDir::create_for_owner(&state.path).unwrap();
        assert!(owners.read("token", 9).unwrap().is_some());
        owners.replace("token", b"y").unwrap();
        owners.write_new("other", b"z").unwrap();
        for name in ["token", "other"] {
            let found = fs::metadata(owners.path_of(name)).unwrap();
            assert_eq!(
                (found.uid(), found.gid(), found.mode() & 0o777),
                (OTHER, OTHER, 0o600)
            );
        }
        chown(owners.path_of("other"), Some(OTHER + 1), None).unwrap();
        let why = owners.read("other", 9).unwrap_err();
        assert!(matches!(why.cause, Cause::Owner { .. }), "{why}");
    }

    #[test]
    fn each_replacement_is_another_version_and_a_removed_file_has_none() {
        let (_parent, state) = state();
        assert_eq!(state.version("token").unwrap(), None);
        state.replace("token", b"a").unwrap();
        let first = state.version("token").unwrap();
        assert!(first.is_some());
        assert_eq!(state.version("token").unwrap(), first);
        state.replace("token", b"b").unwrap();
        assert_ne!(state.version("token").unwrap(), first);
        state.remove("token").unwrap();
        state.remove("token").unwrap();
        assert_eq!(state.version("token").unwrap(), None);
    }

    #[test]
    fn changes_that_depend_on_what_is_there_wait_for_each_other() {
        let (_parent, state) = state();
        state.replace("count", b"0").unwrap();
        let add = || {
            // Each has its own descriptor, as another program has.
            let state = StateDir::create(&state.path).unwrap();
            state.locked(|| {
                let stored = state.read("count", 9)?.unwrap();
                let count: u32 = String::from_utf8(stored.bytes).unwrap().parse().unwrap();
                state.replace("count", (count + 1).to_string().as_bytes())
            })
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(add)).collect();
            threads
                .into_iter()
                .for_each(|one| one.join().unwrap().unwrap());
        });
        assert_eq!(state.read("count", 9).unwrap().unwrap().bytes, b"8");
    }

    #[test]
    fn the_directory_may_be_a_link_of_this_user_but_of_no_other() {
        let (parent, state) = state();
        state.replace("token", b"x").unwrap();
        let link = parent.path().join("link");
        symlink(&state.path, &link).unwrap();
        let linked = StateDir::create(&link).unwrap();
        assert!(linked.read("token", 9).unwrap().is_some());
        if std::os::unix::fs::lchown(&link, Some(OTHER), None).is_ok() {
            let why = StateDir::create(&link).unwrap_err();
            assert!(matches!(why.cause, Cause::Link), "{why}");
        }
    }

    #[test]
    fn pipes_directories_and_long_files_are_refused_and_do_not_block() {
        let (_parent, state) = state();
        nix::unistd::mkfifo(&state.path_of("pipe"), Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        fs::create_dir(state.path_of("dir")).unwrap();
        for name in ["pipe", "dir"] {
            let why = state.read(name, 9).unwrap_err();
            assert!(matches!(why.cause, Cause::Kind), "{why}");
        }
        state.replace("long", &[b'x'; 10]).unwrap();
        assert!(state.read("long", 10).unwrap().is_some());
        let why = state.read("long", 9).unwrap_err();
        assert!(matches!(why.cause, Cause::TooLong(9)), "{why}");
    }

    #[test]
    fn a_shared_directory_and_a_file_are_not_state_directories() {
        let parent = tempfile::tempdir().unwrap();
        let shared = parent.path().join("shared");
        fs::create_dir(&shared).unwrap();
        set_mode(&shared, 0o1777);
        assert!(matches!(
            StateDir::create(&shared).unwrap_err().cause,
            Cause::Open(..)
        ));
        assert_eq!(mode(&shared), 0o1777);
        let file = parent.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(StateDir::create(&file).is_err());
        assert!(
            StateDir::examine(&parent.path().join("none"))
                .unwrap()
                .is_none()
        );
    }
}
