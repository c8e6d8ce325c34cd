//! A model's classes: what they are called, and which of them are reported. Pure.

use std::collections::BTreeSet;

use anyhow::anyhow;
use protocol::text::printable;

use super::names::MAX_CLASSES;

/// Length of the longest list of class names in an error, in characters: twice that of COCO's 80.
const MAX_NAMES_SHOWN: usize = 1500;
/// Least likeness of a name that is proposed for one that is unknown.
const MIN_LIKENESS: f64 = 0.75;

/// The classes of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classes {
    names: Vec<String>,
    /// Whether there may be more classes than names.
    open: bool,
}

/// The classes that are reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted(Option<BTreeSet<usize>>);

impl Classes {
    /// Returns classes with these names; `open` if the model may have more.
    pub fn new(names: Vec<String>, open: bool) -> Self {
        Self { names, open }
    }

    /// Returns a class's name.
    pub fn label(&self, class: usize) -> String {
        let name = self.names.get(class).cloned();
        name.unwrap_or_else(|| format!("class {class}"))
    }

    /// Returns which classes are reported if `classes` names or numbers them; all if it is empty.
    ///
    /// # Errors
    /// If the model has no such class: which one may be meant, and those it has.
    pub fn wanted(&self, classes: &[String]) -> anyhow::Result<Wanted> {
        if classes.is_empty() {
            return Ok(Wanted(None));
        }
        let numbers = classes.iter().map(|class| class.trim());
        let numbers = numbers.map(|class| self.number(class).ok_or_else(|| self.unknown(class)));
        Ok(Wanted(Some(numbers.collect::<anyhow::Result<_>>()?)))
    }

    fn number(&self, class: &str) -> Option<usize> {
        let most = if self.open {
            MAX_CLASSES
        } else {
            self.names.len()
        };
        let by_number = class.parse().ok().filter(|&number: &usize| number < most);
        self.names
            .iter()
            .position(|name| name == class)
            .or(by_number)
    }

    fn unknown(&self, class: &str) -> anyhow::Error {
        let meant = self.similar(class);
        let meant = meant
            .map(|name| format!(": did you mean '{name}'?"))
            .unwrap_or_default();
        let shown = printable(class, super::names::MAX_NAME);
        let has = match self.names.is_empty() {
            true => "numbers instead of names".to_owned(),
            false => printable(&self.names.join(", "), MAX_NAMES_SHOWN),
        };
        anyhow!("--classes: the model has no class '{shown}'{meant}; it has {has}")
    }

    /// Returns the name that is most like `class`.
    fn similar(&self, class: &str) -> Option<&str> {
        let class = class.to_lowercase();
        let likeness = |name: &str| strsim::jaro_winkler(&name.to_lowercase(), &class);
        let names = self
            .names
            .iter()
            .map(|name| (likeness(name), name.as_str()));
        let best = names.max_by(|a, b| a.0.total_cmp(&b.0));
        best.filter(|(likeness, _)| *likeness >= MIN_LIKENESS)
            .map(|(_, name)| name)
    }
}

impl Wanted {
    /// Whether a class is reported.
    pub fn has(&self, class: usize) -> bool {
        self.0.as_ref().is_none_or(|wanted| wanted.contains(&class))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes(names: &[&str], open: bool) -> Classes {
        Classes::new(names.iter().map(|name| (*name).to_owned()).collect(), open)
    }

    fn wanted(classes: &Classes, words: &[&str]) -> anyhow::Result<Vec<usize>> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let wanted = classes.wanted(&words)?;
        Ok((0..5).filter(|class| wanted.has(*class)).collect())
    }

    #[test]
    fn classes_are_chosen_by_name_or_number_and_none_is_all() {
        let pets = classes(&["cat", "dog", "0"], false);
        assert_eq!(wanted(&pets, &[" dog "]).unwrap(), [1]);
        assert_eq!(wanted(&pets, &["1", "cat"]).unwrap(), [0, 1]);
        assert_eq!(wanted(&pets, &["0"]).unwrap(), [2], "a name goes before");
        assert_eq!(wanted(&pets, &[]).unwrap(), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn an_unknown_class_is_refused_with_the_one_that_may_be_meant() {
        let coco = classes(&["person", "bicycle", "traffic light", "人"], false);
        for (word, meant) in [
            ("Person", "'person'"),
            ("persn", "'person'"),
            ("bycicle", "'bicycle'"),
            ("traffic-light", "'traffic light'"),
        ] {
            let why = wanted(&coco, &[word]).unwrap_err().to_string();
            assert!(why.contains(&format!("did you mean {meant}?")), "{why}");
            assert!(why.contains("it has person, bicycle"), "{why}");
        }
        for word in ["zebra", "4", "-1", ""] {
            let why = wanted(&coco, &[word]).unwrap_err().to_string();
            assert!(
                why.contains(&format!("no class '{word}'; it has person")),
                "{why}"
            );
        }
    }

    #[test]
    fn an_end_to_end_model_without_names_has_numbers() {
        let open = classes(&[], true);
        assert_eq!(wanted(&open, &["4"]).unwrap(), [4]);
        assert_eq!(open.label(4), "class 4");
        let why = wanted(&open, &["dog"]).unwrap_err().to_string();
        assert!(why.contains("it has numbers instead of names"), "{why}");
        assert!(wanted(&open, &["10000"]).is_err());
    }
}
