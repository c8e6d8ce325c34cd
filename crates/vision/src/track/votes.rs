//! What an object is called: the vote of all detections that were its own, so that one odd look renames nothing.

use protocol::detections::Detection;

/// Most classes that stand for election at a time.
const CLASSES: usize = 8;

/// What is left of a vote when the next one comes: what was true once is outvoted by five looks in a row.
const FADE: f32 = 0.8;
/// How many times the leader's votes it takes to follow it: with less, a class that flips back and forth would lead each
/// time that it was the last.
const LEAD: f32 = 1.5;

/// The votes for one object's class; a detection votes with its score.
#[derive(Debug)]
pub(super) struct Votes {
    /// The leader first; never empty.
    classes: Vec<Candidate>,
}

#[derive(Debug)]
struct Candidate {
    class: usize,
    label: String,
    votes: f32,
}

impl Votes {
    pub(super) fn of(first: &Detection) -> Self {
        Self {
            classes: vec![Candidate::new(first)],
        }
    }

    pub(super) fn add(&mut self, detection: &Detection) {
        for candidate in &mut self.classes {
            candidate.votes *= FADE;
        }
        let known = self
            .classes
            .iter_mut()
            .find(|candidate| candidate.class == detection.class);
        match known {
            Some(candidate) => candidate.votes += detection.score,
            None => self.enter(detection),
        }
        for challenger in 1..self.classes.len() {
            if self.classes[challenger].votes > LEAD * self.classes[0].votes {
                self.classes.swap(0, challenger);
            }
        }
    }

    /// A new class; where all places are taken, the weakest goes, and never the leader.
    fn enter(&mut self, detection: &Detection) {
        if self.classes.len() == CLASSES {
            self.classes[1..].sort_by(|a, b| b.votes.total_cmp(&a.votes));
            self.classes.pop();
        }
        self.classes.push(Candidate::new(detection));
    }

    pub(super) fn class(&self) -> usize {
        self.classes[0].class
    }

    pub(super) fn label(&self) -> &str {
        &self.classes[0].label
    }
}

impl Candidate {
    fn new(detection: &Detection) -> Self {
        Self {
            class: detection.class,
            label: detection.label.clone(),
            votes: detection.score,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detection(class: usize, score: f32) -> Detection {
        Detection {
            id: None,
            class,
            label: format!("class {class}"),
            score,
            bbox: [0.0; 4].into(),
        }
    }

    #[test]
    fn a_name_changes_when_the_other_has_more_votes_and_not_before() {
        let mut votes = Votes::of(&detection(1, 0.9));
        votes.add(&detection(2, 0.9));
        assert_eq!(votes.label(), "class 1");
        votes.add(&detection(2, 0.9));
        assert_eq!(votes.label(), "class 2");
    }

    #[test]
    fn of_two_names_that_take_turns_the_first_one_stays() {
        let mut votes = Votes::of(&detection(1, 0.9));
        for turn in 0..100 {
            votes.add(&detection(1 + turn % 2, 0.9));
            assert_eq!(votes.label(), "class 1", "{turn}");
        }
    }

    #[test]
    fn old_votes_count_for_less() {
        let mut votes = Votes::of(&detection(1, 0.9));
        (0..100).for_each(|_| votes.add(&detection(1, 0.9)));
        let others = (1..).take_while(|_| {
            votes.add(&detection(2, 0.9));
            votes.label() == "class 1"
        });
        assert_eq!(others.count(), 4, "the fifth");
    }

    #[test]
    fn the_list_of_classes_is_bounded_and_keeps_its_leader() {
        let mut votes = Votes::of(&detection(0, 0.9));
        for class in 1..100 {
            votes.add(&detection(class, 0.5));
            votes.add(&detection(0, 0.5));
        }
        assert_eq!((votes.classes.len(), votes.class()), (CLASSES, 0));
    }
}
