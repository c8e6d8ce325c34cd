//! What a model's metadata tells about it. Pure.

use protocol::text::printable;

use super::names;
use super::yolo::STRIDE;

/// The coarsest grid of any YOLO network, P7.
pub const MAX_STRIDE: u16 = 128;
/// Length of the longest task that is shown, in characters: those there are have less.
const MAX_TASK: usize = 40;
/// Length of the names that are shown if they are not understood, in characters: enough to see what they are.
const MAX_NAMES: usize = 120;

/// What a model's metadata tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// What the model is for, as newer exporters write it: `detect`, `segment`, ...
    pub task: Option<String>,
    /// What the sides of its input are multiples of, where that is written.
    pub stride: Option<u16>,
    /// Names of its classes.
    pub names: ClassNames,
}

/// The names of classes in a model's metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClassNames {
    /// There are none.
    Absent,
    /// By class number.
    Known(Vec<String>),
    /// Their beginning, in a form that is not understood.
    Unclear(String),
}

impl Metadata {
    /// Parses the entries that `entry` returns.
    pub fn parse(entry: impl Fn(&str) -> Option<String>) -> Self {
        let task = entry("task").map(|task| printable(task.trim(), MAX_TASK));
        let names = entry("names").map_or(ClassNames::Absent, |text| match names::parse(&text) {
            Some(names) => ClassNames::Known(names),
            None => ClassNames::Unclear(printable(&text, MAX_NAMES)),
        });
        Self {
            task: task.filter(|task| !task.is_empty()),
            stride: entry("stride").and_then(|text| stride(&text)),
            names,
        }
    }
}

impl ClassNames {
    /// Returns how many there are, where that is known.
    pub fn count(&self) -> Option<usize> {
        match self {
            Self::Known(names) if !names.is_empty() => Some(names.len()),
            _ => None,
        }
    }

    /// Returns names for `count` classes.
    pub fn complete(self, count: usize) -> Vec<String> {
        let found = match self {
            Self::Absent => None,
            Self::Known(names) => Some(names),
            Self::Unclear(_) => Some(Vec::new()),
        };
        names::complete(found, count)
    }
}

/// Returns the largest stride in a text such as `32` or `[8, 16, 32]`, if it is one that networks have.
fn stride(text: &str) -> Option<u16> {
    let numbers = text.split(|c: char| !c.is_ascii_digit());
    let largest = numbers
        .filter_map(|number| number.parse::<u16>().ok())
        .max();
    let sound = |stride: &u16| stride.is_power_of_two() && (STRIDE..=MAX_STRIDE).contains(stride);
    largest.filter(sound)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(entries: &[(&str, &str)]) -> Metadata {
        let find = |key: &str| entries.iter().find(|(known, _)| *known == key);
        Metadata::parse(|key| find(key).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn what_is_absent_differs_from_what_is_not_understood() {
        let labels = |entries: &[_]| metadata(entries).names.complete(80)[0].clone();
        assert_eq!(labels(&[]), "person", "80 classes without names are COCO's");
        assert_eq!(labels(&[("names", "{0: 'cat'}")]), "cat");
        for unclear in ["names.txt", "", "{}", "{0: cat}"] {
            assert_eq!(labels(&[("names", unclear)]), "class 0", "{unclear}");
        }
        let unclear = metadata(&[("names", "see\nnames.txt")]).names;
        assert_eq!(unclear, ClassNames::Unclear("see\\nnames.txt".to_owned()));
    }

    #[test]
    fn the_stride_is_the_coarsest_grids() {
        for (text, want) in [
            ("32", Some(32)),
            ("64", Some(64)),
            ("[8, 16, 32, 64, 128]", Some(128)),
            ("[ 8 16 32]", Some(32)),
            ("8", None),
            ("48", None),
            ("65536", None),
            ("4096", None),
            ("", None),
        ] {
            assert_eq!(metadata(&[("stride", text)]).stride, want, "{text}");
        }
        assert_eq!(metadata(&[]).stride, None);
    }

    #[test]
    fn a_task_is_one_short_word() {
        assert_eq!(metadata(&[("task", " detect ")]).task.unwrap(), "detect");
        assert_eq!(metadata(&[("task", "")]).task, None);
        let hostile = metadata(&[("task", &"\x1b[2J".repeat(99))]).task.unwrap();
        assert!(hostile.len() < 50 && !hostile.contains('\x1b'), "{hostile}");
    }
}
