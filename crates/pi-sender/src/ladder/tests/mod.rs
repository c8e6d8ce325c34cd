//! The rules of the ladder in virtual time, and on a network of given capacity.

mod growth;

use imaging::jpeg;
use opencv::core::Mat;
use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
/// Bytes of a frame that leaves no headroom.
const LARGE: usize = MAX_FRAME;

#[test]
fn more_than_a_tenth_skipped_over_two_seconds_is_a_step_down_and_each_step_has_two_seconds_of_its_own()
 {
    let mut sim = Simulation::new(10);
    let steps = sim.skip(15, 7);
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
    assert_eq!(Simulation::new(10).skip(10, 60), []);
    assert_eq!(Simulation::new(50).skip(10, 60), []);
}

#[test]
fn skips_that_are_over_are_no_reason_to_step_down() {
    let mut sim = Simulation::new(10);
    assert_eq!(sim.skip(100, 1), []);
    assert_eq!(sim.skip(0, 5), []);
}

#[test]
fn at_a_slow_rate_ten_frames_are_waited_for_so_that_a_single_skip_moves_nothing() {
    for (interval, first) in [(1, 10), (5, 50)] {
        let mut sim = Simulation::every(interval * SECOND);
        let steps = sim.skip(50, first);
        assert_eq!(steps, [(first as f64, Step::Down)]);
        let mut sim = Simulation::every(interval * SECOND);
        assert_eq!(sim.skip(10, 600), []);
    }
}

#[test]
fn the_lowest_rung_is_the_end() {
    let mut sim = Simulation::new(10);
    assert_eq!(sim.skip(100, 60).len(), sim.ladder.rungs.len() - 1);
    let bottom = sim.ladder.rung();
    assert_eq!(
        (bottom.quality, bottom.size.to_string().as_str()),
        (40, "94x64")
    );
}

#[test]
fn ten_clean_seconds_are_a_step_up_and_one_skip_in_fifty_is_clean() {
    for skipped in [0, 2] {
        let mut sim = Simulation::new(50);
        sim.down(3);
        let (times, steps): (Vec<f64>, Vec<Step>) = sim.skip(skipped, 35).into_iter().unzip();
        assert_eq!(steps, [Step::Up; 3]);
        assert!(
            times
                .iter()
                .zip([10.0, 20.0, 30.0])
                .all(|(at, want)| (at - want).abs() < 0.2),
            "{times:?}"
        );
        assert!(sim.ladder.is_top());
    }
}

#[test]
fn between_clean_and_too_many_the_rung_stays() {
    let mut sim = Simulation::new(50);
    sim.down(2);
    assert_eq!(sim.skip(5, 600), []);
}

#[test]
fn each_time_a_rung_fails_it_is_tried_after_twice_the_time_up_to_two_minutes() {
    let mut sim = Simulation::new(10);
    sim.down(1);
    for wait in [10.0, 20.0, 40.0, 80.0, 120.0, 120.0] {
        let tried = sim.until_up();
        assert!((tried - wait).abs() < 0.2, "{tried} after {wait}");
        sim.down(1);
    }
}

#[test]
fn only_the_rung_that_failed_waits() {
    let mut sim = Simulation::new(10);
    sim.down(1);
    for _ in 0..3 {
        sim.until_up();
        sim.down(1);
    }
    sim.down(1);
    assert!((sim.until_up() - 10.0).abs() < 0.2);
    assert!((sim.until_up() - 80.0).abs() < 0.2);
}

#[test]
fn a_rung_that_failed_and_then_holds_for_a_minute_forgives_all_failures() {
    let mut sim = Simulation::new(10);
    sim.down(1);
    for _ in 0..3 {
        sim.until_up();
        sim.down(1);
    }
    sim.until_up();
    assert_eq!(sim.skip(0, 61), []);
    sim.down(1);
    assert!((sim.until_up() - 10.0).abs() < 0.2);
}

#[test]
fn a_rung_that_is_left_after_a_minute_has_not_failed() {
    let mut sim = Simulation::new(10);
    sim.down(1);
    sim.until_up();
    sim.skip(5, 61);
    sim.down(1);
    assert!((sim.until_up() - 10.0).abs() < 0.2);
}

#[test]
fn counters_that_run_backwards_are_those_of_another_link() {
    for (of_a_hundred, seconds, offered) in [(50, 1, 0), (5, 20, 500)] {
        let mut sim = Simulation::new(10);
        sim.skip(of_a_hundred, seconds);
        (sim.offered, sim.skipped) = (offered, 0);
        let steps = sim.skip(50, 3);
        assert_eq!(steps.len(), 1);
        assert!(steps[0].0 >= 2.0, "{steps:?}");
    }
}

#[test]
fn an_outage_is_no_slow_network() {
    let mut sim = Simulation::new(10);
    sim.skip(0, 5);
    sim.outage(7 * SECOND);
    assert_eq!(sim.skip(0, 60), []);

    // Skips before the outage cause no step down, and a clean time before it no step up.
    sim.skip(50, 1);
    sim.outage(SECOND);
    let steps = sim.skip(50, 3);
    assert!(steps.len() == 1 && steps[0].0 >= 2.0, "{steps:?}");
    sim.skip(0, 8);
    sim.outage(60 * SECOND);
    assert_eq!(sim.skip(0, 9), []);
    assert_eq!(sim.skip(0, 2).len(), 1);
}

#[test]
fn a_fixed_ladder_does_not_listen_to_the_network() {
    let mut sim = Simulation::new(10);
    sim.ladder = Ladder::new(goal(true));
    assert_eq!(sim.skip(100, 60), []);
    assert!(sim.ladder.is_top());
}

#[test]
fn a_frame_that_is_larger_than_the_transport_takes_is_a_step_down_at_once() {
    for fixed in [false, true] {
        let (mut ladder, now) = (Ladder::new(goal(fixed)), Instant::now());
        let steps = std::iter::from_fn(|| ladder.on_too_large(now)).count();
        assert_eq!(steps, ladder.rungs.len() - 1);
    }
}

#[test]
fn what_was_too_large_for_a_datagram_is_sent_whole_by_quic_and_fitted_again_by_udp() {
    for fixed in [false, true] {
        let (mut ladder, now) = (Ladder::new(goal(fixed)), Instant::now());
        for _ in 0..3 {
            assert_eq!(ladder.max_frame(), MAX_DATAGRAM);
            ladder.on_too_large(now);
            ladder.on_too_large(now);
            let fitted = ladder.rung();
            ladder.on_network(1, 0, now);
            assert_eq!((ladder.max_frame(), ladder.is_top()), (MAX_FRAME, true));
            assert_ne!(ladder.rung(), fitted);
            ladder.forget_network();
        }
    }
}

#[test]
fn what_the_network_took_is_not_given_back_by_another_transport() {
    let mut sim = Simulation::new(10);
    sim.down(2);
    sim.ladder.forget_network();
    sim.ladder.on_too_large(sim.now);
    sim.frame(false);
    assert_eq!(sim.ladder.at, 2);
}

#[test]
fn ten_seconds_of_roomy_frames_are_a_step_up() {
    for fixed in [false, true] {
        let (mut ladder, start) = (Ladder::new(goal(fixed)), Instant::now());
        ladder.on_too_large(start);
        let ups: Vec<u32> = (1..=1000)
            .filter(|n| ladder.on_fitted(20_000, start + *n * SECOND / 10).is_some())
            .collect();
        assert_eq!((ups, ladder.is_top()), (vec![101], true));
    }
}

#[test]
fn one_large_frame_starts_the_ten_seconds_again() {
    let (mut ladder, start) = (Ladder::new(goal(false)), Instant::now());
    ladder.on_too_large(start);
    let ups: Vec<u32> = (1..=200)
        .filter(|n| {
            let bytes = if *n == 90 { LARGE } else { 20_000 };
            ladder.on_fitted(bytes, start + *n * SECOND / 10).is_some()
        })
        .collect();
    assert_eq!(ups, [191]);
}

#[test]
fn a_rung_that_is_too_large_for_the_transport_is_no_step_up_however_clean_the_network() {
    let mut sim = Simulation::new(10);
    sim.frame(false);
    sim.ladder.on_too_large(sim.now);
    sim.ladder.on_too_large(sim.now);
    sim.down(1);
    sim.bytes = LARGE;
    let steps = sim.skip(0, 60);
    // Back to where the network alone had brought it down from, and no further.
    assert_eq!((steps.len(), sim.ladder.at), (1, 2));
    sim.bytes = 20_000;
    assert_eq!(sim.skip(0, 11).len(), 1);
}

#[test]
fn roomy_frames_are_no_step_up_while_the_network_is_slow() {
    let mut sim = Simulation::new(10);
    sim.down(1);
    sim.bytes = 1000;
    assert_eq!(sim.skip(5, 60), []);
}

#[test]
fn by_udp_roomy_frames_are_enough_again() {
    let mut sim = Simulation::new(10);
    sim.down(1);
    sim.ladder.forget_network();
    let mut frames = (0..).map(|n| sim.now + n * SECOND / 10);
    assert!(
        frames
            .by_ref()
            .take(90)
            .all(|now| sim.ladder.on_fitted(1000, now).is_none())
    );
    assert!(
        frames
            .take(20)
            .any(|now| sim.ladder.on_fitted(1000, now).is_some())
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

/// Simulates ten minutes on a network that carries so many bytes in a frame interval.
fn settles(fps: u32, bytes_a_frame: u32, best: usize) {
    let mut sim = Simulation::new(fps);
    let (mut credit, mut steps, mut there) = (0, 0, 0);
    for frame in 0..600 * fps {
        let bytes = BYTES[sim.ladder.at];
        credit = (credit + bytes_a_frame).min(2 * bytes.max(bytes_a_frame));
        let skip = credit < bytes;
        if !skip {
            credit -= bytes;
        }
        steps += u32::from(sim.frame(skip).is_some());
        there += u32::from(frame >= 60 * fps && sim.ladder.at == best);
    }
    let there = f64::from(there) / f64::from(540 * fps);
    let network = format!("{fps} fps, {bytes_a_frame} bytes a frame");
    assert!(
        there > 0.95,
        "{network}: on rung {best} for {there:.3} of the time"
    );
    assert!(steps <= 6 + 2 * 7, "{network}: {steps} steps");
}

#[derive(Debug, Clone)]
enum Event {
    Sent(usize),
    Skipped,
    TooLarge,
    Pause,
    NetworkUnknown,
    NewLink,
    Silence(u64),
}

proptest! {
    #[test]
    fn whatever_happens_a_step_is_one_rung_and_none_up_comes_before_its_time(
        events in proptest::collection::vec(prop_oneof![
            40 => (0..=MAX_FRAME).prop_map(Event::Sent),
            20 => Just(Event::Skipped),
            1 => Just(Event::TooLarge),
            1 => Just(Event::Pause),
            1 => Just(Event::NetworkUnknown),
            1 => Just(Event::NewLink),
            1 => (0..30_000u64).prop_map(Event::Silence),
        ], 0..500),
        fps in 1..100u32,
    ) {
        let mut sim = Simulation::new(fps);
        let mut last = None;
        for event in events {
            if matches!(event, Event::Sent(_) | Event::Skipped) && sim.ladder.by_udp {
                // The change of transport may give back what a datagram was too small for.
                sim.frame(false);
            }
            let (at, now) = (sim.ladder.at, sim.now);
            let (step, counted) = match event {
                Event::Sent(bytes) => {
                    sim.bytes = bytes;
                    (sim.frame(false), true)
                }
                Event::Skipped => (sim.frame(true), true),
                Event::TooLarge => (sim.ladder.on_too_large(now), false),
                Event::Pause => { sim.ladder.pause(); (None, false) }
                Event::NetworkUnknown => { sim.ladder.forget_network(); (None, false) }
                Event::NewLink => { (sim.offered, sim.skipped) = (0, 0); (None, false) }
                Event::Silence(ms) => { sim.now += Duration::from_millis(ms); (None, false) }
            };
            let expected = match step {
                None => at,
                Some(Step::Down) => at + 1,
                Some(Step::Up) => at - 1,
            };
            prop_assert_eq!(sim.ladder.at, expected);
            prop_assert!(expected < sim.ladder.rungs.len());
            if let Some(step) = step {
                let least = match step {
                    Step::Up => STEP_UP_AFTER,
                    Step::Down if counted => SKIP_WINDOW,
                    Step::Down => Duration::ZERO,
                };
                prop_assert!(last.is_none_or(|last| now - last >= least));
                last = Some(now);
            }
        }
    }
}

fn goal(fixed: bool) -> FrameGoal {
    FrameGoal {
        size: "300x200".parse().unwrap(),
        stretch: false,
        quality: 80,
        fixed,
    }
}

/// A sim's frames in virtual time.
struct Simulation {
    ladder: Ladder,
    interval: Duration,
    /// Of each frame that is sent.
    bytes: usize,
    offered: u64,
    skipped: u64,
    now: Instant,
}

impl Simulation {
    fn new(fps: u32) -> Self {
        Self::every(SECOND / fps)
    }

    fn every(interval: Duration) -> Self {
        Self {
            ladder: Ladder::new(goal(false)),
            interval,
            bytes: 10_000,
            offered: 0,
            skipped: 0,
            now: Instant::now(),
        }
    }

    /// Offers a frame, and returns the step that it caused.
    fn frame(&mut self, skip: bool) -> Option<Step> {
        self.offered += 1;
        self.skipped += u64::from(skip);
        let fitted = (!skip).then(|| self.ladder.on_fitted(self.bytes, self.now));
        let step = self.ladder.on_network(self.offered, self.skipped, self.now);
        self.now += self.interval;
        fitted.flatten().or(step)
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

    /// Skips nothing until there is a step up; returns how many seconds after the last step that was.
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

/// Returns the photographs of at least this size, if they are here.
pub(super) fn photographs(least: Size) -> Option<Vec<Mat>> {
    let files = std::fs::read_dir(testkit::shared("data/images")?).unwrap();
    let files = files.map(|entry| entry.unwrap().path());
    let decoded = files
        .filter(|path| path.is_file())
        .map(|path| jpeg::decode(&std::fs::read(path).unwrap()).unwrap());
    let large = decoded.filter(|picture| {
        let size = jpeg::size(picture).unwrap();
        size.width >= least.width && size.height >= least.height
    });
    Some(large.collect())
}

/// Returns the median of the shares that the bytes here have of those above.
pub(super) fn median_share(above: &[usize], here: &[usize]) -> f64 {
    let pairs = here.iter().zip(above);
    let mut shares: Vec<f64> = pairs
        .map(|(here, above)| *here as f64 / *above as f64)
        .collect();
    shares.sort_by(f64::total_cmp);
    shares[shares.len() / 2]
}
