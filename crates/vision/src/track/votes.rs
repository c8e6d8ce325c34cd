//! The class of a track: a vote of all its detections, so that a single odd one does not rename it.

use protocol::detections::Detection;

/// Most classes with votes at a time.
const MAX_CLASSES: usize = 8;

/// Share of a vote that is left when the next one comes: five detections in a row outvote any number before them.
const VOTE_DECAY: f32 = 0.8;
/// Multiple of the leader's votes that a new leader needs: with less, a class that flips back and forth would lead each
/// time that it was the last.
const MIN_LEAD: f32 = 1.5;

/// The votes for one track's class; a detection votes with its score.
#[derive(Debug)]
pub(super) struct Votes {
    /// The leader first; never empty.
    classes: Vec<ClassVotes>,
}

#[derive(Debug)]
struct ClassVotes {
    class: usize,
    label: String,
    votes: f32,
}

impl Votes {
    pub(super) fn of(first: &Detection) -> Self {
        Self {
            classes: vec![ClassVotes::new(first)],
        }
    }

    pub(super) fn add(&mut self, detection: &Detection) {
        for class in &mut self.classes {
            class.votes *= VOTE_DECAY;
        }
        let known = self
            .classes
            .iter_mut()
            .find(|known| known.class == detection.class);
        match known {
            Some(known) => known.votes += detection.score,
            None => self.add_class(detection),
        }
        for challenger in 1..self.classes.len() {
            if self.classes[challenger].votes > MIN_LEAD * self.classes[0].votes {
                self.classes.swap(0, challenger);
            }
        }
    }

    /// Adds a new class; at the bound the weakest is dropped, never the leader.
    fn add_class(&mut self, detection: &Detection) {
        if self.classes.len() == MAX_CLASSES {
            self.classes[1..].sort_by(|a, b| b.votes.total_cmp(&a.votes));
            self.classes.pop();
        }
        self.classes.push(ClassVotes::new(detection));
    }

    pub(super) fn class(&self) -> usize {
        self.classes[0].class
    }

    pub(super) fn label(&self) -> &str {
        &self.classes[0].label
    }
}

impl ClassVotes {
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
            fading: false,
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
        assert_eq!((votes.classes.len(), votes.class()), (MAX_CLASSES, 0));
    }
}
