//! The build script finds the commit of this source.

#[allow(
    dead_code,
    clippy::print_stdout,
    reason = "main is for cargo, which it answers on standard output"
)]
#[path = "../build.rs"]
mod build_script;

use std::path::Path;
use std::process::Command;

use build_script::Repository;

#[test]
fn the_commit_is_that_of_this_repository_and_of_no_other() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert!(Repository::around(&package.join("src")).is_none());
    assert!(Repository::around(Path::new("/")).is_none());
    let Some(repository) = Repository::around(package) else {
        return eprintln!("skipped: this source has no git repository");
    };
    let log = Command::new("git")
        .args(["log", "-1", "--format=%h %ct", "--abbrev=7"])
        .current_dir(package)
        .output()
        .expect("git was there a moment ago");
    let log = String::from_utf8(log.stdout).unwrap();
    let (commit, epoch) = log.trim().split_once(' ').unwrap();
    assert_eq!(repository.commit().as_deref(), commit.get(..7));
    assert_eq!(repository.epoch().as_deref(), Some(epoch));
    let watched = repository.files_of_head();
    assert!(
        watched.iter().any(|file| file.ends_with("HEAD")),
        "{watched:?}"
    );
}
