//! Files that outlive a restart, in a directory that another user of the machine may have prepared.
//!
//! The directory is opened once and its files by that descriptor, without following links; owner, kind and mode are checked
//! on the open file, so that what was checked is what is read. A mode that is too open is repaired where the file is ours.
//! Files are replaced as a whole: a power cut leaves the old one or the new one.
//!
//! The directory itself may be named through a link, if this user or root has made it: systemd's `DynamicUser` does so.

mod judge;

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::Mode;
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

/// An open state directory.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    open: File,
    user: u32,
    /// Whether modes are repaired.
    repairs: bool,
}

impl StateDir {
    /// Opens a directory, which is created for this user alone if it does not exist.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn create(path: &Path) -> Result<Self, StateError> {
        let mut builder = DirBuilder::new();
        let created = builder.recursive(true).mode(0o700).create(path);
        created
            .map_err(Cause::System)
            .and_then(|()| Self::at(path, true))
            .map_err(at(path))
    }

    /// Opens a directory as it is: no mode is repaired. Returns `None` if it does not exist.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn examine(path: &Path) -> Result<Option<Self>, StateError> {
        match Self::at(path, false) {
            Err(Cause::System(err)) if err.kind() == io::ErrorKind::NotFound => Ok(None),
            opened => opened.map(Some).map_err(at(path)),
        }
    }

    fn at(path: &Path, repairs: bool) -> Result<Self, Cause> {
        let user = geteuid().as_raw();
        let named = fs::symlink_metadata(path)?;
        if named.is_symlink() && ![user, 0].contains(&named.uid()) {
            return Err(Cause::Link);
        }
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let resolved = path.canonicalize()?;
        let open: File = openat(nix::fcntl::AT_FDCWD, &resolved, flags, Mode::empty())
            .map_err(io::Error::from)?
            .into();
        let found = open.metadata()?;
        let mode = judge::directory(Facts::of(&found, found.is_dir()), user)?;
        let directory = Self {
            path: path.to_owned(),
            open,
            user,
            repairs,
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
        let written = file
            .write_all(bytes)
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
