//! Which rendition a QUIC or HTTP viewer is sent: the original for as long as its path carries that. Pure.
//!
//! ```text
//! the original   down: one step, if more than 10 % of the frames of 2 s were skipped, given up or late
//!   |                  several, if one frame took so long that one step would not help
//!   | smaller    up:   one step after 10 s without; a step that failed is tried ever later
//! 120 wide
//! ```
//!
//! A frame under way by HTTP cannot be given up. So a viewer whose first frame would be large begins with a small one, and
//! goes up with each frame that arrives in time, until the first that does not.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A smaller form of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SmallerForm {
    /// Width in pixels; the picture keeps its shape.
    pub width: u16,
    /// JPEG quality.
    pub quality: u8,
}

/// The forms below the original; each takes about half the bytes of the one above. The last crosses 64 kbit/s four times a
/// second.
const FORMS: [SmallerForm; 7] = [
    form(960, 70),
    form(640, 60),
    form(480, 50),
    form(320, 45),
    form(240, 40),
    form(160, 40),
    form(120, 35),
];
/// Width of the form that a viewer begins with whose first frame would have more than [`LARGE`] bytes.
const FIRST_WIDTH: u16 = 320;
/// Bytes of such a frame: half a second at 1 Mbit/s.
const LARGE: usize = 64 << 10;
/// Time after which a frame that was acknowledged by HTTP is late; by QUIC it is given up then.
const LATE: Duration = Duration::from_millis(400);
/// Time over which the share of lost frames is computed for a step down.
const WINDOW: Duration = Duration::from_secs(2);
/// Fewest frames that a share is computed of.
const MIN_FRAMES: usize = 5;
/// Share of lost frames above which there is a step down.
const STEP_DOWN_SHARE: f64 = 0.1;
/// Share up to which there is a step up: a lossy path costs a frame now and then with every form.
const STEP_UP_SHARE: f64 = 0.02;
/// Time since the last step, and without loss, before a step up.
const STEP_UP_AFTER: Duration = Duration::from_secs(10);
/// Time that a form must hold after a step up to it, else it has failed.
const TRIAL_TIME: Duration = Duration::from_secs(60);
/// Longest time before a form that failed is tried again; each failure doubles the time.
const MAX_STEP_UP_AFTER: Duration = Duration::from_secs(120);
/// Most frames of which the outcome is remembered: those of [`STEP_UP_AFTER`] at 50 frames a second.
const MAX_OUTCOMES: usize = 500;

const fn form(width: u16, quality: u8) -> SmallerForm {
    SmallerForm { width, quality }
}

/// The form in force for one viewer, and what moves it.
#[derive(Debug)]
pub struct RenditionLadder {
    /// Forms that are smaller than the frames.
    forms: &'static [SmallerForm],
    /// Width of the frames.
    width: u16,
    /// Number of the form in force; 0 is the original.
    at: usize,
    /// Whether each frame that arrives in time is a step up.
    starting: bool,
    /// Time of the last frames' outcomes, and whether they were lost.
    outcomes: VecDeque<(Instant, bool)>,
    /// Time of the last step, and whether it was up.
    last_step: Option<(Instant, bool)>,
    /// For each form, the time after a step before it is tried.
    step_up_after: [Duration; FORMS.len() + 1],
}

impl Default for RenditionLadder {
    fn default() -> Self {
        Self {
            forms: &FORMS,
            width: u16::MAX,
            at: 0,
            starting: false,
            outcomes: VecDeque::new(),
            last_step: None,
            step_up_after: [STEP_UP_AFTER; FORMS.len() + 1],
        }
    }
}

impl RenditionLadder {
    /// Returns the ladder of a viewer by HTTP whose first frame would have so many bytes and this width.
    pub fn of_http(bytes: usize, width: u16) -> Self {
        let mut ladder = Self::default();
        ladder.fit_to(width);
        if bytes > LARGE {
            ladder.starting = true;
            let forms = ladder.forms.iter();
            ladder.at = forms.take_while(|form| form.width > FIRST_WIDTH).count() + 1;
            ladder.at = ladder.at.min(ladder.forms.len());
        }
        ladder
    }

    /// Returns the form in which a frame of this width is sent; `None` for the original.
    pub fn form(&mut self, width: u16) -> Option<SmallerForm> {
        self.fit_to(width);
        self.forms.get(self.at.checked_sub(1)?).copied()
    }

    /// Takes the number of frames that a newer one replaced, or that were given up.
    pub fn on_lost(&mut self, frames: u64, now: Instant) {
        for _ in 0..frames.min(MAX_OUTCOMES as u64) {
            self.record(true, now);
        }
        self.move_by_share(now);
    }

    /// Notes that a frame was sent in its turn.
    pub fn on_sent(&mut self, now: Instant) {
        self.record(false, now);
        self.move_by_share(now);
    }

    /// Notes that a frame was acknowledged by HTTP, so long after it was sent.
    pub fn on_acknowledged(&mut self, took: Duration, now: Instant) {
        let late = took > LATE;
        if self.starting {
            self.starting = !late && self.at > 0;
            if !late {
                self.at = self.at.saturating_sub(1);
                return;
            }
        }
        self.record(late, now);
        // Half the bytes take half the time.
        let steps = (took.as_millis() / LATE.as_millis()).checked_ilog2();
        match steps.unwrap_or(0) {
            0 => self.move_by_share(now),
            steps => self.step_down(steps as usize, now),
        }
    }

    fn fit_to(&mut self, width: u16) {
        if std::mem::replace(&mut self.width, width) != width {
            let larger = FORMS.iter().take_while(|form| form.width >= width).count();
            // The same number of pixels as before, as far as there is such a form.
            let wanted = self
                .forms
                .get(self.at.wrapping_sub(1))
                .map(|form| form.width);
            self.forms = &FORMS[larger..];
            let above = |wanted| {
                self.forms
                    .iter()
                    .take_while(|form| form.width > wanted)
                    .count()
            };
            self.at = wanted.map_or(0, |wanted| (above(wanted) + 1).min(self.forms.len()));
        }
    }

    fn record(&mut self, lost: bool, now: Instant) {
        if self.outcomes.len() == MAX_OUTCOMES {
            self.outcomes.pop_front();
        }
        self.outcomes.push_back((now, lost));
    }

    fn move_by_share(&mut self, now: Instant) {
        let too_many = |span| {
            self.share(span, now)
                .is_some_and(|share| share > STEP_DOWN_SHARE)
        };
        // Loss that is over is no reason.
        if too_many(WINDOW) && too_many(WINDOW / 2) {
            self.step_down(1, now);
        } else if self
            .share(STEP_UP_AFTER, now)
            .is_some_and(|share| share <= STEP_UP_SHARE)
        {
            self.step_up(now);
        }
    }

    /// Returns the share of lost frames of the last `span`; `None` if the frames since the last step are too few, or reach
    /// less far back.
    fn share(&self, span: Duration, now: Instant) -> Option<f64> {
        let reaches = |first: &&(Instant, bool)| now.saturating_duration_since(first.0) >= span;
        self.outcomes.front().filter(reaches).or_else(|| {
            // A fast camera's outcomes are forgotten before that.
            self.outcomes
                .front()
                .filter(|_| self.outcomes.len() == MAX_OUTCOMES)
        })?;
        let recent = self.outcomes.iter().rev();
        let recent: Vec<bool> = recent
            .enumerate()
            .take_while(|(n, (at, _))| *n < MIN_FRAMES || now.saturating_duration_since(*at) < span)
            .map(|(_, (_, lost))| *lost)
            .collect();
        let lost = recent.iter().filter(|lost| **lost).count();
        (recent.len() >= MIN_FRAMES).then(|| lost as f64 / recent.len() as f64)
    }

    fn step_down(&mut self, steps: usize, now: Instant) {
        if let Some((tried, true)) = self.last_step
            && now.saturating_duration_since(tried) < TRIAL_TIME
        {
            let wait = &mut self.step_up_after[self.at];
            *wait = MAX_STEP_UP_AFTER.min(*wait * 2);
        }
        let lowest = self.forms.len();
        if self.at < lowest {
            self.at = (self.at + steps).min(lowest);
            self.last_step = Some((now, false));
            self.outcomes.clear();
        }
    }

    fn step_up(&mut self, now: Instant) {
        let Some(above) = self.at.checked_sub(1) else {
            return;
        };
        let held = |(at, _): (Instant, bool)| now.saturating_duration_since(at);
        if self.last_step.map_or(Duration::MAX, held) >= self.step_up_after[above] {
            self.at = above;
            self.last_step = Some((now, true));
            self.outcomes.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const SECOND: Duration = Duration::from_secs(1);
    const FULL: u16 = 1920;

    /// A viewer of a 1080p camera at 10 frames a second in virtual time.
    struct Viewer {
        ladder: RenditionLadder,
        now: Instant,
    }

    impl Viewer {
        fn by_quic() -> Self {
            Self {
                ladder: RenditionLadder::default(),
                now: testkit::time::start(),
            }
        }

        fn width(&mut self) -> u16 {
            self.ladder.form(FULL).map_or(FULL, |form| form.width)
        }

        /// Of a hundred frames so many are skipped, for so many seconds. Returns the widths that came, with their seconds.
        fn skip(&mut self, of_a_hundred: u64, seconds: u64) -> Vec<(u64, u16)> {
            let (start, mut steps, mut width) = (self.now, Vec::new(), self.width());
            for n in 0..10 * seconds {
                self.now += 100 * MS;
                match (n + 1) * of_a_hundred / 100 > n * of_a_hundred / 100 {
                    true => self.ladder.on_lost(1, self.now),
                    false => self.ladder.on_sent(self.now),
                }
                if self.width() != width {
                    width = self.width();
                    steps.push(((self.now - start).as_secs(), width));
                }
            }
            steps
        }
    }

    /// Bytes of a form of a 1080p picture, about.
    fn bytes(form: Option<SmallerForm>) -> usize {
        match form.map(|form| form.width) {
            None => 300_000,
            Some(960) => 60_000,
            Some(640) => 27_000,
            Some(480) => 14_000,
            Some(320) => 7500,
            Some(240) => 4600,
            Some(160) => 2700,
            Some(_) => 1700,
        }
    }

    /// A page of a 1080p camera at 10 frames a second behind a path of so many bytes a second and this round trip. Returns
    /// its frames in each second, and the age of the oldest after the first 5 s.
    fn page(rate: usize, trip: Duration, seconds: u64) -> (Vec<usize>, Duration) {
        let start = testkit::time::start();
        let mut ladder = RenditionLadder::of_http(bytes(None), FULL);
        let (mut now, mut shown, mut oldest) = (start, vec![0; seconds as usize], Duration::ZERO);
        loop {
            // The newest frame is up to 100 ms old when its turn comes.
            let form = ladder.form(FULL);
            let took = trip + SECOND * bytes(form) as u32 / rate as u32;
            now += took;
            let Some(frames) = shown.get_mut((now - start).as_secs() as usize) else {
                return (shown, oldest);
            };
            *frames += 1;
            if now - start > 5 * SECOND {
                oldest = oldest.max(took + 100 * MS);
            }
            ladder.on_acknowledged(took, now);
            now = now.max(start + (now - start).as_millis().div_ceil(100) as u32 * 100 * MS);
        }
    }

    #[test]
    fn more_than_a_tenth_skipped_over_two_seconds_is_a_step_down_and_no_less_is() {
        assert_eq!(Viewer::by_quic().skip(10, 60), []);
        let steps = Viewer::by_quic().skip(20, 5);
        assert_eq!(steps, [(2, 960), (4, 640)]);
    }

    #[test]
    fn ten_clean_seconds_are_a_step_up_and_the_original_is_the_end() {
        let mut viewer = Viewer::by_quic();
        viewer.skip(50, 5);
        let up = viewer.skip(0, 60);
        assert_eq!(
            up.iter().map(|(_, width)| *width).collect::<Vec<_>>(),
            [960, FULL]
        );
        assert!(
            (9..=11).contains(&up[0].0) && (19..=21).contains(&up[1].0),
            "{up:?}"
        );
    }

    #[test]
    fn a_form_that_failed_is_tried_ever_later() {
        let mut viewer = Viewer::by_quic();
        viewer.skip(50, 3);
        for wait in [10, 20, 40] {
            let start = viewer.now;
            while viewer.width() != FULL {
                viewer.skip(0, 1);
            }
            let waited = (viewer.now - start).as_secs();
            assert!(
                (wait - 1..=wait + 2).contains(&waited),
                "{waited} s, not {wait}"
            );
            while viewer.width() == FULL {
                viewer.skip(50, 1);
            }
        }
    }

    #[test]
    fn all_lost_ends_with_the_smallest_form() {
        let mut viewer = Viewer::by_quic();
        viewer.skip(100, 60);
        assert_eq!(viewer.width(), 120);
    }

    #[test]
    fn at_64_kbit_a_second_a_page_shows_two_frames_a_second_and_none_is_old() {
        let (shown, oldest) = page(8000, 50 * MS, 120);
        assert!(shown[3..].iter().all(|frames| *frames >= 1), "{shown:?}");
        let all: usize = shown[3..].iter().sum();
        assert!(
            all >= 2 * shown[3..].len(),
            "{all} in {} s",
            shown.len() - 3
        );
        assert!(oldest < 1200 * MS, "{oldest:?}");
    }

    #[test]
    fn a_page_on_a_good_path_has_the_original_within_a_second_and_keeps_it() {
        for trip in [1, 50, 150] {
            let mut ladder = RenditionLadder::of_http(300_000, FULL);
            let mut now = testkit::time::start();
            let start = now;
            for _ in 0..600 {
                let form = ladder.form(FULL);
                assert!(form.is_none() || now - start < SECOND);
                let took = trip * MS + SECOND * bytes(form) as u32 / 2_000_000;
                now += took;
                ladder.on_acknowledged(took, now);
            }
        }
    }

    #[test]
    fn a_path_that_becomes_narrow_costs_one_frame_and_not_one_for_each_step() {
        let mut ladder = RenditionLadder::default();
        assert_eq!(ladder.form(FULL), None);
        ladder.on_acknowledged(37 * SECOND, testkit::time::start() + 37 * SECOND);
        assert!(ladder.form(FULL).is_some_and(|form| form.width <= 160));
    }

    #[test]
    fn no_form_is_larger_than_the_frame() {
        for (width, expected) in [(1920, 960), (640, 480), (300, 240), (160, 120)] {
            let mut ladder = RenditionLadder::default();
            ladder.form(width);
            ladder.on_acknowledged(2 * LATE, testkit::time::start());
            assert_eq!(ladder.form(width).map(|form| form.width), Some(expected));
        }
        let mut ladder = RenditionLadder::default();
        ladder.form(120);
        ladder.on_acknowledged(2 * LATE, testkit::time::start());
        assert_eq!(ladder.form(120), None);
    }

    #[test]
    fn frames_of_another_size_keep_the_form() {
        let mut ladder = RenditionLadder::of_http(300_000, FULL);
        for width in [FULL, 640, 300, 1280] {
            let form = ladder.form(width).map(|form| form.width);
            assert!(form.is_some_and(|form| form <= 320), "{form:?} of {width}");
        }
    }
}
