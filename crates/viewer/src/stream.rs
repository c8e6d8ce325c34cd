//! What is known of the stream: the order of frames and what is missing, and how the shown ones come in time. Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use protocol::CAMERA_TIMEOUT;
use protocol::label::{CameraName, Label, StreamId};
use protocol::sequence::{self, Sequence};

/// So many frames in a row without a label are another camera. A tutorial relay strips the label of each Nth frame only,
/// so two in a row there already mean that one between them was lost.
const STRAYS: u64 = 16;

/// How far the figures look back.
const WINDOW: Duration = Duration::from_secs(5);
/// Figures of a slow camera: so many frames are kept however old they are.
const FEW: usize = 4;
/// A picture is stale after this, or after three usual frame intervals where that is longer.
const STALE: Duration = Duration::from_secs(1);

/// How many frames came and how many did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    /// Valid frames.
    pub(crate) received: u64,
    /// Gaps in the frame numbers that no late frame has filled.
    pub(crate) lost: u64,
}

/// The order of frames as they come in.
#[derive(Debug, Default)]
pub(crate) struct Order {
    run: Option<Run>,
    /// Frames so far of a camera without labels; none during a run.
    unlabelled: u64,
    counts: Counts,
}

/// A stream of our sender.
#[derive(Debug)]
struct Run {
    stream: StreamId,
    camera: CameraName,
    order: sequence::SequenceWindow,
    newest: u64,
    /// Frames that came without a label since the newest.
    bare: u64,
}

impl Order {
    /// Counts a frame and gives its number, or `None` where it comes too late to be shown; one that was overtaken and
    /// comes after all is not lost.
    pub(crate) fn admit(&mut self, label: Option<&Label>) -> Option<u64> {
        self.counts.received += 1;
        match label {
            Some(label) => self.labelled(label),
            None => Some(self.bare()),
        }
    }

    /// What came so far.
    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    fn labelled(&mut self, label: &Label) -> Option<u64> {
        self.unlabelled = 0;
        let run = match &mut self.run {
            Some(run) if run.is_of(label) => run,
            run => run.insert(Run::of(label)),
        };
        match run.order.observe(label.seq) {
            Sequence::Next(missing) => {
                run.newest = label.seq;
                let missing = missing.saturating_sub(std::mem::take(&mut run.bare));
                self.counts.lost = self.counts.lost.saturating_add(missing);
                Some(label.seq)
            }
            Sequence::Reordered => {
                self.counts.lost = self.counts.lost.saturating_sub(1);
                None
            }
            Sequence::Duplicate => None,
        }
    }

    /// A frame without a label amid labelled ones is the next of these: a tutorial relay drew boxes on it. It fills a
    /// gap in the numbers, whichever of the missing ones it was.
    fn bare(&mut self) -> u64 {
        if let Some(run) = self.run.as_mut().filter(|run| run.bare < STRAYS) {
            run.bare += 1;
            return run.newest.saturating_add(run.bare);
        }
        self.run = None;
        self.unlabelled += 1;
        self.unlabelled
    }
}

impl Run {
    fn of(label: &Label) -> Self {
        Self {
            stream: label.stream,
            camera: label.camera.clone(),
            order: sequence::SequenceWindow::default(),
            newest: label.seq,
            bare: 0,
        }
    }

    fn is_of(&self, label: &Label) -> bool {
        (self.stream, &self.camera) == (label.stream, &label.camera)
    }
}

/// The shown frames in time.
#[derive(Debug, Default)]
pub(crate) struct Pace(VecDeque<Shown>);

#[derive(Debug)]
struct Shown {
    age: Option<Duration>,
    counts: Counts,
    at: Instant,
}

impl Pace {
    /// A frame of this age was shown, when so many had been received.
    pub(crate) fn shown(&mut self, age: Option<Duration>, counts: Counts, now: Instant) {
        // After a break the old figures say nothing; but two frames are needed to know a slow camera's interval.
        if self.0.len() > 1 && self.stale(now).is_some() {
            self.0.clear();
        }
        self.0.push_back(Shown {
            age,
            counts,
            at: now,
        });
        while self.0.len() > FEW && self.0.front().is_some_and(|s| now - s.at > WINDOW) {
            self.0.pop_front();
        }
    }

    /// Frames per second: none before the second frame, 0 when the picture is stale.
    pub(crate) fn fps(&self, now: Instant) -> Option<f64> {
        if self.stale(now).is_some() {
            return Some(0.0);
        }
        let span = self.0.back()?.at - self.0.front()?.at;
        (!span.is_zero()).then(|| (self.0.len() - 1) as f64 / span.as_secs_f64())
    }

    /// Median age, and the one that all but one in a hundred are below.
    pub(crate) fn ages(&self) -> Option<(Duration, Duration)> {
        let ages = || self.0.iter().filter_map(|s| s.age);
        Some((share(0.5, ages())?, share(0.99, ages())?))
    }

    /// Share of frames lost, 0 to 1.
    pub(crate) fn loss(&self) -> f64 {
        let (Some(first), Some(last)) = (self.0.front(), self.0.back()) else {
            return 0.0;
        };
        // Late frames may have filled more gaps than there are new ones.
        let lost = last.counts.lost.saturating_sub(first.counts.lost);
        let all = lost + (last.counts.received - first.counts.received);
        lost as f64 / all.max(1) as f64
    }

    /// How long the picture stands still already, where that is too long.
    pub(crate) fn stale(&self, now: Instant) -> Option<Duration> {
        self.silent_for(STALE, now)
    }

    /// Whether the camera sends; `None` before the first frame.
    pub(crate) fn live(&self, now: Instant) -> Option<bool> {
        (!self.0.is_empty()).then(|| self.silent_for(CAMERA_TIMEOUT, now).is_none())
    }

    fn silent_for(&self, least: Duration, now: Instant) -> Option<Duration> {
        let silence = now.saturating_duration_since(self.0.back()?.at);
        let intervals = self.0.iter().zip(self.0.iter().skip(1));
        let usual = share(0.5, intervals.map(|(a, b)| b.at - a.at)).unwrap_or_default();
        (silence >= least.max(3 * usual)).then_some(silence)
    }
}

/// The value below which this share of all lies, 0 to 1.
fn share(share: f64, values: impl Iterator<Item = Duration>) -> Option<Duration> {
    let mut values: Vec<Duration> = values.collect();
    values.sort_unstable();
    let at = (values.len() as f64 * share) as usize;
    values.get(at).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

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
        let mut order = Order::default();
        let shown = frames.iter().map(|l| order.admit(l.as_ref())).collect();
        assert_eq!(order.counts().received, frames.len() as u64);
        (shown, order.counts().lost)
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
        other.camera = "door".parse().unwrap();
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
    fn absurd_numbers_overflow_nothing() {
        let frames = [
            label(1, 0),
            label(1, u64::MAX),
            None,
            label(1, u64::MAX),
            label(2, 0),
            label(2, u64::MAX),
        ];
        assert_eq!(shown(&frames).1, u64::MAX);
    }

    /// Ten frames a second for 6 s with ages of 30 to 40 ms and each tenth frame lost.
    fn steady(start: Instant) -> (Pace, Instant) {
        let (mut pace, mut counts, mut now) = (Pace::default(), Counts::default(), start);
        for n in 1..=60u32 {
            now = start + n * 100 * MS;
            counts.received += 1;
            counts.lost += u64::from(n % 10 == 0);
            pace.shown(Some((30 + n % 11) * MS), counts, now);
        }
        (pace, now)
    }

    #[test]
    fn a_steady_camera_has_its_figures() {
        let (pace, now) = steady(Instant::now());
        assert!((pace.fps(now).unwrap() - 10.0).abs() < 0.01);
        assert_eq!(pace.ages(), Some((35 * MS, 40 * MS)));
        assert!((pace.loss() - 5.0 / 55.0).abs() < 0.01, "{}", pace.loss());
    }

    #[test]
    fn a_picture_is_stale_after_a_second_or_three_intervals() {
        let (pace, now) = steady(Instant::now());
        assert_eq!(pace.stale(now + 999 * MS), None);
        assert_eq!(pace.stale(now + 3200 * MS), Some(3200 * MS));
        assert_eq!(pace.fps(now + 3200 * MS), Some(0.0));

        let (mut slow, start) = (Pace::default(), now);
        for n in 0..3 {
            slow.shown(None, Counts::default(), start + n * 2000 * MS);
        }
        assert_eq!(slow.stale(start + 9999 * MS), None);
        assert!(slow.stale(start + 10_000 * MS).is_some());
        assert_eq!(slow.fps(start + 5000 * MS), Some(0.5));
    }

    #[test]
    fn after_a_break_the_figures_start_over() {
        let (mut pace, now) = steady(Instant::now());
        let back = now + 60_000 * MS;
        pace.shown(None, Counts::default(), back);
        assert_eq!(
            (pace.fps(back), pace.ages(), pace.loss()),
            (None, None, 0.0)
        );
        pace.shown(None, Counts::default(), back + 100 * MS);
        assert!((pace.fps(back + 100 * MS).unwrap() - 10.0).abs() < 0.01);
    }

    #[test]
    fn frames_that_come_late_make_no_loss_below_zero() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        for (n, lost) in [(1, 5), (2, 3)] {
            let counts = Counts {
                received: n.into(),
                lost,
            };
            pace.shown(None, counts, start + n * 100 * MS);
        }
        assert_eq!(pace.loss(), 0.0);
    }

    #[test]
    fn a_camera_is_live_until_its_place_at_the_relay_is_free_again() {
        let (pace, now) = steady(Instant::now());
        assert_eq!(Pace::default().live(now), None);
        assert_eq!(pace.live(now + 2999 * MS), Some(true));
        assert_eq!(pace.live(now + 3000 * MS), Some(false));
    }
}
