//! The version that `--version` prints: of the source, of its commit, of the build.

use std::env::consts::ARCH;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The version of all programs.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Commit, in seven digits; empty in a build from a source without git, and in one for development.
const COMMIT: &str = env!("SIGHTLINE_COMMIT");
/// Time of that commit, or `SOURCE_DATE_EPOCH`, in seconds since the Unix epoch; empty if neither is known.
const EPOCH: &str = env!("SIGHTLINE_EPOCH");

/// Returns the version, as in `0.2.0 (3a4feb3, 2026-11-29, x86_64)`.
pub fn text() -> String {
    with_build(VERSION, COMMIT, EPOCH, ARCH)
}

fn with_build(version: &str, commit: &str, epoch: &str, arch: &str) -> String {
    let date = epoch.parse().ok().and_then(date).unwrap_or_default();
    let facts = [commit, &date, arch];
    let known: Vec<&str> = facts.into_iter().filter(|fact| !fact.is_empty()).collect();
    format!("{version} ({})", known.join(", "))
}

fn date(epoch: i64) -> Option<String> {
    let time = Timestamp::from_second(epoch).ok()?;
    Some(time.to_zoned(TimeZone::UTC).date().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_names_commit_date_and_architecture_as_far_as_they_are_known() {
        assert_eq!(
            with_build("0.2.0", "3a4feb3", "1795910399", "x86_64"),
            "0.2.0 (3a4feb3, 2026-11-28, x86_64)"
        );
        assert_eq!(with_build("0.2.0", "", "", "aarch64"), "0.2.0 (aarch64)");
        assert_eq!(with_build("0.2.0", "", "x", "aarch64"), "0.2.0 (aarch64)");
    }
}
