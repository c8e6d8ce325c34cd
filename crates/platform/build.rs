//! Finds the commit and the date that `--version` prints. A source without git, as from a tarball, is built without them.
//!
//! A build for development has neither: it would compile every program again with each commit. `SIGHTLINE_COMMIT` and
//! `SOURCE_DATE_EPOCH` name them where a build knows better.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where this package lies in the repository; in another place the git directory found is that of another project.
const PREFIX: &str = "crates/platform/";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for variable in ["SIGHTLINE_COMMIT", "SOURCE_DATE_EPOCH"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    let git = (env::var("PROFILE").as_deref() == Ok("release"))
        .then(|| Repository::around(Path::new(".")))
        .flatten();
    let named = |variable| env::var(variable).ok().filter(|value| !value.is_empty());
    let commit = named("SIGHTLINE_COMMIT").or_else(|| git.as_ref()?.commit());
    let epoch = named("SOURCE_DATE_EPOCH").or_else(|| git.as_ref()?.epoch());
    for file in git.iter().flat_map(Repository::files_of_head) {
        println!("cargo::rerun-if-changed={}", file.display());
    }
    println!(
        "cargo::rustc-env=SIGHTLINE_COMMIT={}",
        commit.unwrap_or_default()
    );
    println!(
        "cargo::rustc-env=SIGHTLINE_EPOCH={}",
        epoch.unwrap_or_default()
    );
}

/// The git repository of this source.
pub(crate) struct Repository(PathBuf);

impl Repository {
    /// Returns the repository that has this package at its place.
    pub(crate) fn around(package: &Path) -> Option<Self> {
        let repository = Self(package.to_owned());
        let prefix = repository.git(&["rev-parse", "--show-prefix"])?;
        (prefix == PREFIX).then_some(repository)
    }

    /// Returns the commit, in seven digits.
    pub(crate) fn commit(&self) -> Option<String> {
        let whole = self.git(&["rev-parse", "HEAD"])?;
        Some(whole.get(..7)?.to_owned())
    }

    /// Returns the commit's time, in seconds since the Unix epoch.
    pub(crate) fn epoch(&self) -> Option<String> {
        self.git(&["show", "--no-patch", "--format=%ct", "HEAD"])
    }

    /// Returns the files that change when another commit is checked out or made.
    pub(crate) fn files_of_head(&self) -> Vec<PathBuf> {
        let branch = self.git(&["symbolic-ref", "--quiet", "HEAD"]);
        let names = ["HEAD".to_owned(), "packed-refs".to_owned()];
        let paths = names.into_iter().chain(branch);
        let paths = paths.filter_map(|name| self.git(&["rev-parse", "--git-path", &name]));
        // One that does not exist would run this script at each build.
        paths
            .map(|path| self.0.join(path))
            .filter(|path| path.exists())
            .collect()
    }

    fn git(&self, words: &[&str]) -> Option<String> {
        let output = Command::new("git")
            .args(words)
            .current_dir(&self.0)
            .stderr(Stdio::null())
            .output()
            .ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    }
}
