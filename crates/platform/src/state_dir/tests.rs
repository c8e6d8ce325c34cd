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
