//! The ladder's rules in virtual time, and on a link of given capacity.

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
/// Bytes that say nothing.
const LARGE: usize = MAX_DATAGRAM;

#[test]
fn more_than_a_tenth_skipped_over_two_seconds_is_a_step_down_and_each_step_has_two_seconds_of_its_own()
 {
    let mut sender = Sender::new(10);
    let steps = sender.skip(15, 7);
    assert_eq!(steps.len(), 3);
    let mut last = 0.0;
    for (at, step) in steps {
        assert_eq!(step, Step::Down);
        assert!((2.0..2.5).contains(&(at - last)), "{at} after {last}");
        last = at;
    }
}

#[test]
fn a_tenth_is_not_too_many_yet() {
    assert_eq!(Sender::new(10).skip(10, 60), []);
    assert_eq!(Sender::new(50).skip(10, 60), []);
}

#[test]
fn skips_that_are_over_are_no_reason_to_step_down() {
    let mut sender = Sender::new(10);
    assert_eq!(sender.skip(100, 1), []);
    assert_eq!(sender.skip(0, 5), []);
}

#[test]
fn at_a_slow_rate_ten_frames_are_waited_for_so_that_a_single_skip_moves_nothing() {
    for (interval, first) in [(1, 10), (5, 50)] {
        let mut sender = Sender::every(interval * SECOND);
        let steps = sender.skip(50, first);
        assert_eq!(steps, [(first as f64, Step::Down)]);
        let mut sender = Sender::every(interval * SECOND);
        assert_eq!(sender.skip(10, 600), []);
    }
}

#[test]
fn the_lowest_rung_is_the_end() {
    let mut sender = Sender::new(10);
    assert_eq!(sender.skip(100, 60).len(), sender.ladder.rungs.len() - 1);
    let bottom = sender.ladder.rung();
    assert_eq!(
        (bottom.quality, bottom.size.to_string().as_str()),
        (40, "94x64")
    );
}

#[test]
fn ten_clean_seconds_are_a_step_up_and_one_skip_in_fifty_is_clean() {
    for skipped in [0, 2] {
        let mut sender = Sender::new(50);
        sender.down(3);
        let (times, steps): (Vec<f64>, Vec<Step>) = sender.skip(skipped, 35).into_iter().unzip();
        assert_eq!(steps, [Step::Up; 3]);
        assert!(
            times
                .iter()
                .zip([10.0, 20.0, 30.0])
                .all(|(at, want)| (at - want).abs() < 0.2),
            "{times:?}"
        );
        assert!(sender.ladder.is_top());
    }
}

#[test]
fn between_clean_and_too_many_the_rung_stays() {
    let mut sender = Sender::new(50);
    sender.down(2);
    assert_eq!(sender.skip(5, 600), []);
}

#[test]
fn each_time_a_rung_fails_it_is_tried_after_twice_the_time_up_to_two_minutes() {
    let mut sender = Sender::new(10);
    sender.down(1);
    for wait in [10.0, 20.0, 40.0, 80.0, 120.0, 120.0] {
        let tried = sender.until_up();
        assert!((tried - wait).abs() < 0.2, "{tried} after {wait}");
        sender.down(1);
    }
}

#[test]
fn only_the_rung_that_failed_waits() {
    let mut sender = Sender::new(10);
    sender.down(1);
    for _ in 0..3 {
        sender.until_up();
        sender.down(1);
    }
    sender.down(1);
    assert!((sender.until_up() - 10.0).abs() < 0.2);
    assert!((sender.until_up() - 80.0).abs() < 0.2);
}

#[test]
fn a_rung_that_failed_and_then_holds_for_a_minute_forgives_all_failures() {
    let mut sender = Sender::new(10);
    sender.down(1);
    for _ in 0..3 {
        sender.until_up();
        sender.down(1);
    }
    sender.until_up();
    assert_eq!(sender.skip(0, 61), []);
    sender.down(1);
    assert!((sender.until_up() - 10.0).abs() < 0.2);
}

#[test]
fn a_rung_that_is_left_after_a_minute_has_not_failed() {
    let mut sender = Sender::new(10);
    sender.down(1);
    sender.until_up();
    sender.skip(5, 61);
    sender.down(1);
    assert!((sender.until_up() - 10.0).abs() < 0.2);
}

#[test]
fn counters_that_run_backwards_are_those_of_another_link() {
    for (of_a_hundred, seconds, offered) in [(50, 1, 0), (5, 20, 500)] {
        let mut sender = Sender::new(10);
        sender.skip(of_a_hundred, seconds);
        (sender.offered, sender.skipped) = (offered, 0);
        let steps = sender.skip(50, 3);
        assert_eq!(steps.len(), 1);
        assert!(steps[0].0 >= 2.0, "{steps:?}");
    }
}

#[test]
fn an_outage_is_no_slow_network() {
    let mut sender = Sender::new(10);
    sender.skip(0, 5);
    sender.outage(7 * SECOND);
    assert_eq!(sender.skip(0, 60), []);

    // What was skipped before it is no reason either, nor is a clean time before it.
    sender.skip(50, 1);
    sender.outage(SECOND);
    let steps = sender.skip(50, 3);
    assert!(steps.len() == 1 && steps[0].0 >= 2.0, "{steps:?}");
    sender.skip(0, 8);
    sender.outage(60 * SECOND);
    assert_eq!(sender.skip(0, 9), []);
    assert_eq!(sender.skip(0, 2).len(), 1);
}

#[test]
fn a_fixed_ladder_does_not_listen_to_the_network() {
    let mut sender = Sender::new(10);
    sender.ladder = Ladder::new(top(), true);
    assert_eq!(sender.skip(100, 60), []);
    assert!(sender.ladder.is_top());
}

#[test]
fn a_frame_that_does_not_fit_into_a_datagram_is_a_step_down_at_once() {
    for fixed in [false, true] {
        let (mut ladder, now) = (Ladder::new(top(), fixed), Instant::now());
        let steps = std::iter::from_fn(|| ladder.too_large(now)).count();
        assert_eq!(steps, ladder.rungs.len() - 1);
    }
}

#[test]
fn ten_seconds_of_roomy_frames_are_a_step_up() {
    for fixed in [false, true] {
        let (mut ladder, start) = (Ladder::new(top(), fixed), Instant::now());
        ladder.too_large(start);
        let ups: Vec<u32> = (1..=1000)
            .filter(|n| ladder.fitted(20_000, start + *n * SECOND / 10).is_some())
            .collect();
        assert_eq!((ups, ladder.is_top()), (vec![101], true));
    }
}

#[test]
fn one_large_frame_starts_the_ten_seconds_again() {
    let (mut ladder, start) = (Ladder::new(top(), false), Instant::now());
    ladder.too_large(start);
    let ups: Vec<u32> = (1..=200)
        .filter(|n| {
            let bytes = if *n == 90 { LARGE } else { 20_000 };
            ladder.fitted(bytes, start + *n * SECOND / 10).is_some()
        })
        .collect();
    assert_eq!(ups, [191]);
}

#[test]
fn a_rung_that_is_too_large_for_a_datagram_is_no_step_up_however_clean_the_network() {
    let mut sender = Sender::new(10);
    sender.ladder.too_large(sender.now);
    sender.ladder.too_large(sender.now);
    sender.down(1);
    sender.bytes = LARGE;
    let steps = sender.skip(0, 60);
    // Back to where the network alone had brought it down from, and no further.
    assert_eq!((steps.len(), sender.ladder.at), (1, 2));
    sender.bytes = 20_000;
    assert_eq!(sender.skip(0, 11).len(), 1);
}

#[test]
fn roomy_frames_are_no_step_up_while_the_network_is_slow() {
    let mut sender = Sender::new(10);
    sender.down(1);
    sender.bytes = 1000;
    assert_eq!(sender.skip(5, 60), []);
}

#[test]
fn on_the_plain_door_roomy_frames_are_enough_again() {
    let mut sender = Sender::new(10);
    sender.down(1);
    sender.ladder.plain();
    let mut frames = (0..).map(|n| sender.now + n * SECOND / 10);
    assert!(
        frames
            .by_ref()
            .take(90)
            .all(|now| sender.ladder.fitted(1000, now).is_none())
    );
    assert!(
        frames
            .take(20)
            .any(|now| sender.ladder.fitted(1000, now).is_some())
    );
}

/// Median bytes of each rung of 300x200 at quality 80, see `rung`.
const BYTES: [u32; 7] = [12_950, 9_558, 6_823, 4_314, 2_871, 2_014, 1_435];

#[test]
fn it_settles_on_the_highest_rung_that_fits_the_link_and_stays_there() {
    for fps in [5, 10, 30] {
        for (best, bytes) in BYTES.into_iter().enumerate() {
            // Just enough for this rung, and nearly enough for the one above.
            let above = best.checked_sub(1).map_or(bytes * 2, |above| BYTES[above]);
            for bytes_a_frame in [bytes * 98 / 100, above * 85 / 100] {
                settles(fps, bytes_a_frame, best);
            }
        }
    }
}

/// Ten minutes on a link that carries so many bytes in a frame's time.
fn settles(fps: u32, bytes_a_frame: u32, best: usize) {
    let mut sender = Sender::new(fps);
    let (mut credit, mut steps, mut there) = (0, 0, 0);
    for frame in 0..600 * fps {
        let bytes = BYTES[sender.ladder.at];
        credit = (credit + bytes_a_frame).min(2 * bytes.max(bytes_a_frame));
        let skip = credit < bytes;
        if !skip {
            credit -= bytes;
        }
        steps += u32::from(sender.frame(skip).is_some());
        there += u32::from(frame >= 60 * fps && sender.ladder.at == best);
    }
    let there = f64::from(there) / f64::from(540 * fps);
    let link = format!("{fps} fps, {bytes_a_frame} bytes a frame");
    assert!(
        there > 0.95,
        "{link}: on rung {best} for {there:.3} of the time"
    );
    assert!(steps <= 6 + 2 * 7, "{link}: {steps} steps");
}

#[derive(Debug, Clone)]
enum Event {
    Sent(usize),
    Skipped,
    TooLarge,
    Pause,
    Plain,
    NewLink,
    Silence(u64),
}

proptest! {
    #[test]
    fn whatever_happens_a_step_is_one_rung_and_none_up_comes_before_its_time(
        events in proptest::collection::vec(prop_oneof![
            40 => (0..=MAX_DATAGRAM).prop_map(Event::Sent),
            20 => Just(Event::Skipped),
            1 => Just(Event::TooLarge),
            1 => Just(Event::Pause),
            1 => Just(Event::Plain),
            1 => Just(Event::NewLink),
            1 => (0..30_000u64).prop_map(Event::Silence),
        ], 0..500),
        fps in 1..100u32,
    ) {
        let mut sender = Sender::new(fps);
        let mut last = None;
        for event in events {
            let (at, now) = (sender.ladder.at, sender.now);
            let (step, counted) = match event {
                Event::Sent(bytes) => {
                    sender.bytes = bytes;
                    (sender.frame(false), true)
                }
                Event::Skipped => (sender.frame(true), true),
                Event::TooLarge => (sender.ladder.too_large(now), false),
                Event::Pause => { sender.ladder.pause(); (None, false) }
                Event::Plain => { sender.ladder.plain(); (None, false) }
                Event::NewLink => { (sender.offered, sender.skipped) = (0, 0); (None, false) }
                Event::Silence(ms) => { sender.now += Duration::from_millis(ms); (None, false) }
            };
            let expected = match step {
                None => at,
                Some(Step::Down) => at + 1,
                Some(Step::Up) => at - 1,
            };
            prop_assert_eq!(sender.ladder.at, expected);
            prop_assert!(expected < sender.ladder.rungs.len());
            if let Some(step) = step {
                let least = match step {
                    Step::Up => CALM,
                    Step::Down if counted => LOOK,
                    Step::Down => Duration::ZERO,
                };
                prop_assert!(last.is_none_or(|last| now - last >= least));
                last = Some(now);
            }
        }
    }
}

fn top() -> Rung {
    Rung {
        quality: 80,
        size: "300x200".parse().unwrap(),
    }
}

/// A sender's frames in virtual time.
struct Sender {
    ladder: Ladder,
    interval: Duration,
    /// Of each frame that is sent.
    bytes: usize,
    offered: u64,
    skipped: u64,
    now: Instant,
}

impl Sender {
    fn new(fps: u32) -> Self {
        Self::every(SECOND / fps)
    }

    fn every(interval: Duration) -> Self {
        Self {
            ladder: Ladder::new(top(), false),
            interval,
            bytes: 10_000,
            offered: 0,
            skipped: 0,
            now: Instant::now(),
        }
    }

    /// Offers a frame, and tells.
    fn frame(&mut self, skip: bool) -> Option<Step> {
        self.offered += 1;
        self.skipped += u64::from(skip);
        let fitted = (!skip).then(|| self.ladder.fitted(self.bytes, self.now));
        let told = self.ladder.network(self.offered, self.skipped, self.now);
        self.now += self.interval;
        fitted.flatten().or(told)
    }

    /// So many of a hundred frames are skipped, evenly, for so many seconds: the steps, and when.
    fn skip(&mut self, of_a_hundred: u64, seconds: u64) -> Vec<(f64, Step)> {
        let start = self.now;
        let mut steps = Vec::new();
        for n in 0.. {
            let at = self.now - start;
            if at > Duration::from_secs(seconds) {
                break;
            }
            let skip = (n + 1) * of_a_hundred / 100 > n * of_a_hundred / 100;
            steps.extend(self.frame(skip).map(|step| (at.as_secs_f64(), step)));
        }
        steps
    }

    /// Skips everything until it is so many rungs further down.
    fn down(&mut self, steps: usize) {
        for _ in 0..steps {
            self.until(true);
        }
    }

    /// Skips nothing until there is a step up; tells how many seconds after the last step that was.
    fn until_up(&mut self) -> f64 {
        self.until(false)
    }

    fn until(&mut self, skip: bool) -> f64 {
        let start = self.now;
        while self.frame(skip).is_none() {
            assert!(self.now - start < 600 * SECOND, "there is no step");
        }
        (self.now - start).as_secs_f64()
    }

    /// Everything is skipped because there is no connection.
    fn outage(&mut self, time: Duration) {
        self.ladder.pause();
        let frames = (time.as_nanos() / self.interval.as_nanos()) as u64;
        self.offered += frames;
        self.skipped += frames;
        self.now += time;
    }
}
