//! Broken pictures of a source: a few are skipped, and a row without end is a loss that names its cause. Pure.

use std::fmt;

use anyhow::bail;
use tracing::debug;

/// Count of broken pictures in a row after which a source is lost.
const MAX_BROKEN_PICTURES: u32 = 50;

/// The broken pictures since the last good one.
#[derive(Debug)]
pub(super) struct BrokenRow {
    /// What gives them, for the error.
    source: &'static str,
    count: u32,
}

impl BrokenRow {
    pub(super) fn of(source: &'static str) -> Self {
        Self { source, count: 0 }
    }

    /// Counts a picture that is skipped.
    ///
    /// # Errors
    /// If it is one too many: what is wrong with it.
    pub(super) fn skip(&mut self, why: &dyn fmt::Display) -> anyhow::Result<()> {
        debug!("a broken picture is skipped: {why:#}");
        self.count += 1;
        if self.count >= MAX_BROKEN_PICTURES {
            bail!(
                "{} gave {} broken pictures in a row; of the last: {why:#}",
                self.source,
                self.count
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use protocol::jpeg::Defect;

    use super::*;

    #[test]
    fn fifty_broken_pictures_in_a_row_are_a_loss_that_names_what_is_wrong_with_the_last() {
        let mut row = BrokenRow::of("the camera");
        for _ in 1..50 {
            row.skip(&Defect::NoEnd).unwrap();
        }
        let why = row.skip(&Defect::Coding).unwrap_err().to_string();
        assert!(
            why.starts_with(
                "the camera gave 50 broken pictures in a row; of the last: it is coded without loss"
            ),
            "{why}"
        );
    }
}
