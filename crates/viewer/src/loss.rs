//! The order of the frames that come in, and how many are missing. Pure.

use std::time::Instant;

use protocol::label::{CameraName, Label, StreamId};
use protocol::sequence::{Sequence, SequenceWindow};

/// So many frames in a row without a label are another camera. A tutorial relay strips the label of each Nth frame only,
/// so two in a row there already mean that one between them was lost.
const STRAYS: u64 = 16;

/// How many frames came and how many did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct FrameCounts {
    /// Valid frames.
    pub(crate) received: u64,
    /// Gaps in the frame numbers that no late frame has filled.
    pub(crate) lost: u64,
}

/// Counts frames as they come in, and what is missing between their numbers.
#[derive(Debug, Default)]
pub(crate) struct LossCounter {
    labelled: Option<LabelledStream>,
    /// Frames so far of a camera without labels; 0 during a labelled stream.
    unlabelled: u64,
    counts: FrameCounts,
}

/// Frames of one run of a Sightline sender.
#[derive(Debug)]
struct LabelledStream {
    stream: StreamId,
    camera: CameraName,
    window: SequenceWindow,
    newest: u64,
    /// Frames that came without a label since the newest.
    stripped: u64,
}

impl LossCounter {
    /// Counts a frame and returns its number, or `None` if it comes too late to be shown or its number cannot be true; one
    /// that was overtaken and comes after all is not lost.
    pub(crate) fn accept(&mut self, label: Option<&Label>, now: Instant) -> Option<u64> {
        self.counts.received += 1;
        match label {
            Some(label) => self.admit_labelled(label, now),
            None => Some(self.admit_unlabelled()),
        }
    }

    /// Returns the counts so far.
    pub(crate) fn counts(&self) -> FrameCounts {
        self.counts
    }

    fn admit_labelled(&mut self, label: &Label, now: Instant) -> Option<u64> {
        self.unlabelled = 0;
        let stream = match &mut self.labelled {
            Some(stream) if stream.contains(label) => stream,
            other => other.insert(LabelledStream::new(label)),
        };
        match stream.window.observe(label.seq, now) {
            Sequence::Next(missing) => {
                stream.newest = label.seq;
                let missing = missing.saturating_sub(std::mem::take(&mut stream.stripped));
                self.counts.lost = self.counts.lost.saturating_add(missing);
                Some(label.seq)
            }
            Sequence::Reordered => {
                self.counts.lost = self.counts.lost.saturating_sub(1);
                None
            }
            Sequence::Duplicate | Sequence::Absurd => None,
        }
    }

    /// Numbers a frame without a label. Amid labelled frames it is the next of these: a tutorial relay drew boxes on it.
    /// It fills a gap in the numbers, whichever of the missing ones it was.
    fn admit_unlabelled(&mut self) -> u64 {
        let stream = self.labelled.as_mut();
        if let Some(stream) = stream.filter(|stream| stream.stripped < STRAYS) {
            stream.stripped += 1;
            return stream.newest.saturating_add(stream.stripped);
        }
        self.labelled = None;
        self.unlabelled += 1;
        self.unlabelled
    }
}

impl LabelledStream {
    fn new(label: &Label) -> Self {
        Self {
            stream: label.stream,
            camera: label.camera.clone(),
            window: SequenceWindow::default(),
            newest: label.seq,
            stripped: 0,
        }
    }

    fn contains(&self, label: &Label) -> bool {
        (self.stream, &self.camera) == (label.stream, &label.camera)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[expect(clippy::unnecessary_wraps, reason = "None is a frame without a label")]
    fn label(stream: u64, seq: u64) -> Option<Label> {
        Some(Label {
            stream: StreamId(stream),
            seq,
            captured_us: 0,
            camera: "yard".parse().unwrap(),
        })
    }

    /// What each frame is shown as, and the loss at the end; `None` is a frame without a label.
    fn shown(frames: &[Option<Label>]) -> (Vec<Option<u64>>, u64) {
        let (mut counter, now) = (LossCounter::default(), testkit::time::start());
        let shown = frames
            .iter()
            .map(|l| counter.accept(l.as_ref(), now))
            .collect();
        assert_eq!(counter.counts().received, frames.len() as u64);
        (shown, counter.counts().lost)
    }

    #[test]
    fn gaps_in_the_numbers_are_losses() {
        let frames = [3, 4, 7, 8].map(|seq| label(1, seq));
        assert_eq!(
            shown(&frames),
            (vec![Some(3), Some(4), Some(7), Some(8)], 2)
        );
    }

    #[test]
    fn late_and_doubled_frames_are_not_shown() {
        let frames = [1, 3, 2, 3, 4].map(|seq| label(1, seq));
        assert_eq!(shown(&frames).0, [Some(1), Some(3), None, None, Some(4)]);
    }

    #[test]
    fn a_late_frame_is_not_lost_and_one_that_comes_twice_fills_no_gap() {
        let lost = |numbers: &[u64]| {
            let frames: Vec<_> = numbers.iter().map(|seq| label(1, *seq)).collect();
            shown(&frames).1
        };
        assert_eq!(lost(&[1, 5, 3]), 2);
        assert_eq!(lost(&[1, 5, 3, 3, 5, 1]), 2);
        assert_eq!(lost(&[1, 5, 3, 2, 4]), 0);
        assert_eq!(lost(&[1, 100, 2]), 98, "too late to know");
    }

    #[test]
    fn a_restarted_sender_starts_over_and_loses_nothing() {
        let frames = [label(1, 100), label(2, 1), label(2, 2), label(1, 900)];
        assert_eq!(
            shown(&frames),
            (vec![Some(100), Some(1), Some(2), Some(900)], 0)
        );
        let mut other = label(2, 50).unwrap();
        other.camera = "drive".parse().unwrap();
        assert_eq!(shown(&[label(2, 2), Some(other)]).1, 0);
    }

    #[test]
    fn a_camera_without_labels_is_counted_from_one() {
        assert_eq!(
            shown(&[None, None, None]),
            (vec![Some(1), Some(2), Some(3)], 0)
        );
    }

    #[test]
    fn a_tutorial_relays_nth_frames_without_label_stay_in_their_places() {
        let nth = |lost: &[u64]| {
            let sent = (1..=12).filter(|seq| !lost.contains(seq));
            shown(
                &sent
                    .map(|seq| if seq % 4 == 0 { None } else { label(1, seq) })
                    .collect::<Vec<_>>(),
            )
        };
        let (numbers, lost) = nth(&[]);
        assert_eq!(numbers, (1..=12).map(Some).collect::<Vec<_>>());
        assert_eq!(lost, 0);
        assert_eq!(nth(&[3]).1, 1, "the one before");
        assert_eq!(nth(&[4]).1, 1, "the one without label itself");
        assert_eq!(nth(&[5, 6, 8]).1, 3);
    }

    #[test]
    fn a_frame_without_label_that_was_overtaken_hides_none_that_follows() {
        let frames = [label(1, 3), label(1, 5), None, label(1, 6), label(1, 7)];
        let numbers = vec![Some(3), Some(5), Some(6), Some(6), Some(7)];
        assert_eq!(shown(&frames), (numbers, 1));
    }

    #[test]
    fn a_camera_without_labels_that_follows_a_labelled_one_gets_its_own_count() {
        let mut frames = vec![label(1, 500)];
        frames.extend(vec![None; 20]);
        frames.push(label(1, 501));
        let (numbers, lost) = shown(&frames);
        assert_eq!(numbers[16..=19], [Some(516), Some(1), Some(2), Some(3)]);
        assert_eq!((numbers[21], lost), (Some(501), 0));
    }

    #[test]
    fn absurd_numbers_are_neither_shown_nor_lost_frames() {
        let frames = [
            label(1, 0),
            label(1, u64::MAX),
            None,
            label(1, u64::MAX),
            label(1, 1),
            label(2, u64::MAX),
            label(2, 0),
        ];
        let (numbers, lost) = shown(&frames);
        let max = Some(u64::MAX);
        assert_eq!(numbers, [Some(0), None, Some(1), None, Some(1), max, None]);
        assert_eq!(lost, 0);
    }

    #[test]
    fn a_camera_whose_number_was_forged_is_shown_again_3_s_later() {
        let (mut counter, start) = (LossCounter::default(), testkit::time::start());
        let mut accept = |seq, ms| {
            let now = start + Duration::from_millis(ms);
            counter.accept(label(1, seq).as_ref(), now)
        };
        assert_eq!(accept(1, 0), Some(1));
        assert_eq!(accept(2000, 1), Some(2000), "a forged number");
        assert_eq!(accept(2, 100), None);
        assert_eq!(accept(32, 3001), Some(32));
        assert_eq!(accept(33, 3101), Some(33));
        assert_eq!(counter.counts().lost, 1998);
    }

    proptest! {
        #[test]
        fn no_order_of_frames_makes_the_loss_absurd(
            frames in prop::collection::vec(
                (prop::option::of((0u64..3, prop_oneof![0u64..500, any::<u64>()])), 0u64..4000), 0..200,
            ),
        ) {
            let (mut counter, mut now) = (LossCounter::default(), testkit::time::start());
            let (mut first, mut received) = (None, 0);
            for (frame, ms) in frames {
                now += Duration::from_millis(ms);
                let label = frame.and_then(|(stream, seq)| label(stream, seq));
                first.get_or_insert(now);
                received += 1;
                counter.accept(label.as_ref(), now);
            }
            let counts = counter.counts();
            prop_assert_eq!(counts.received, received);
            // 1000 frames a second, and 3 s more for each frame that may have skipped some before it.
            let seconds = first.map_or(0, |first| (now - first).as_secs() + 1);
            prop_assert!(counts.lost <= 1000 * (seconds + 3 * received), "{} lost", counts.lost);
        }
    }
}
