//! Which log lines pass: a few of a kind, then a count. Pure.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Span over which lines are counted.
const WINDOW: Duration = Duration::from_secs(60);
/// Lines of a kind that pass in a window. The programs' own regular lines come every 10 s.
const PER_KIND: u64 = 10;
/// Lines of a kind that pass in a window behind one that more than [`PER_KIND`] came in: one, as an example.
const PER_FLOODED_KIND: u64 = 1;
/// Lines of all kinds that pass in a window: at 170 bytes each, 1 MB an hour.
const OF_ALL_KINDS: u64 = 100;

/// What a line is to the bound on all kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weight {
    /// Counts, and is held back if too many have passed.
    Usual,
    /// Passes whatever other kinds do.
    Grave,
}

/// Decision on a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is written.
    Passes,
    /// It is counted, as the first one since the last count: [`LineLimiter::quote`] it.
    First,
    /// It is counted.
    Further,
}

/// Counts the lines of each kind. Kinds are places in the code, so there are only so many.
#[derive(Debug)]
pub(super) struct LineLimiter<K> {
    kinds: HashMap<K, Kind>,
    /// Start of the window of all kinds, and the lines that have passed in it.
    all: Option<(Instant, u64)>,
}

#[derive(Debug)]
struct Kind {
    start: Instant,
    allowed: u64,
    came: u64,
    suppressed: Option<Suppressed>,
}

/// Lines of a kind that did not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Suppressed {
    pub(super) count: u64,
    /// Text of the first of them.
    pub(super) example: String,
    /// When they are due to be reported.
    due: Instant,
}

impl<K: Eq + Hash + Clone> LineLimiter<K> {
    pub(super) fn new() -> Self {
        Self {
            kinds: HashMap::new(),
            all: None,
        }
    }

    /// Decides on a line.
    pub(super) fn judge(&mut self, kind: &K, weight: Weight, now: Instant) -> Verdict {
        let passed_of_all = passed_in_window(&mut self.all, now);
        let kind = self
            .kinds
            .entry(kind.clone())
            .or_insert_with(|| Kind::new(now));
        kind.roll(now);
        kind.came += 1;
        let room = weight == Weight::Grave || *passed_of_all < OF_ALL_KINDS;
        if room && kind.came <= kind.allowed {
            *passed_of_all += 1;
            return Verdict::Passes;
        }
        if let Some(suppressed) = &mut kind.suppressed {
            suppressed.count += 1;
            return Verdict::Further;
        }
        kind.suppressed = Some(Suppressed {
            count: 1,
            example: String::new(),
            due: kind.start + WINDOW,
        });
        Verdict::First
    }

    /// Sets the text that the next count of a kind shows.
    pub(super) fn quote(&mut self, kind: &K, example: String) {
        if let Some(Kind {
            suppressed: Some(suppressed),
            ..
        }) = self.kinds.get_mut(kind)
        {
            suppressed.example = example;
        }
    }

    /// Returns and forgets the kinds whose count is due by `until`.
    pub(super) fn take_due(&mut self, until: Instant) -> Vec<(K, Suppressed)> {
        self.take(|suppressed| suppressed.due <= until)
    }

    /// Returns and forgets all counts.
    pub(super) fn take_all(&mut self) -> Vec<(K, Suppressed)> {
        self.take(|_| true)
    }

    /// Returns the time of the next count.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let suppressed = self
            .kinds
            .values()
            .filter_map(|kind| kind.suppressed.as_ref());
        suppressed.map(|suppressed| suppressed.due).min()
    }

    fn take(&mut self, due: impl Fn(&Suppressed) -> bool) -> Vec<(K, Suppressed)> {
        let take = |(name, kind): (&K, &mut Kind)| {
            let suppressed = kind.suppressed.take_if(|suppressed| due(suppressed))?;
            Some((name.clone(), suppressed))
        };
        self.kinds.iter_mut().filter_map(take).collect()
    }
}

/// Returns the count of lines of all kinds in this window.
fn passed_in_window(all: &mut Option<(Instant, u64)>, now: Instant) -> &mut u64 {
    let (start, passed) = all.get_or_insert((now, 0));
    if now.saturating_duration_since(*start) >= WINDOW {
        (*start, *passed) = (now, 0);
    }
    passed
}

impl Kind {
    fn new(now: Instant) -> Self {
        Self {
            start: now,
            allowed: PER_KIND,
            came: 0,
            suppressed: None,
        }
    }

    /// Starts the next window if this one is over.
    fn roll(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.start);
        if age < WINDOW {
            return;
        }
        let flooded = self.came > PER_KIND && age < 2 * WINDOW;
        (self.start, self.came) = (now, 0);
        self.allowed = if flooded { PER_FLOODED_KIND } else { PER_KIND };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A limiter, and a clock that tests turn.
    struct Log {
        limiter: LineLimiter<u32>,
        start: Instant,
        now: Instant,
        lines: u64,
    }

    impl Log {
        fn new() -> Self {
            let start = Instant::now();
            Self {
                limiter: LineLimiter::new(),
                start,
                now: start,
                lines: 0,
            }
        }

        fn line(&mut self, kind: u32, weight: Weight) -> bool {
            let verdict = self.limiter.judge(&kind, weight, self.now);
            if verdict == Verdict::First {
                self.limiter.quote(&kind, kind.to_string());
            }
            self.lines += u64::from(verdict == Verdict::Passes);
            verdict == Verdict::Passes
        }

        fn usual(&mut self, kind: u32) -> bool {
            self.line(kind, Weight::Usual)
        }

        /// Returns how many of these lines pass.
        fn burst(&mut self, count: usize, kind: u32) -> usize {
            (0..count).filter(|_| self.usual(kind)).count()
        }

        /// Passes time, and returns the counts that fall due.
        fn after(&mut self, time: Duration) -> Vec<(u32, u64)> {
            self.now += time;
            let due = self.limiter.take_due(self.now);
            self.lines += due.len() as u64;
            due.into_iter()
                .map(|(kind, suppressed)| (kind, suppressed.count))
                .collect()
        }
    }

    #[test]
    fn ten_lines_of_a_kind_pass_and_the_others_are_counted_a_minute_later() {
        let mut log = Log::new();
        assert_eq!(log.burst(1000, 1), 10);
        assert!(log.usual(2), "another kind");
        assert_eq!(log.limiter.next_due(), Some(log.start + WINDOW));
        assert_eq!(log.after(59 * SECOND), []);
        assert_eq!(log.after(SECOND), [(1, 990)]);
        assert_eq!(log.after(WINDOW), [], "once");
        assert_eq!(log.limiter.next_due(), None);
    }

    #[test]
    fn a_flood_that_goes_on_costs_two_lines_a_minute() {
        let mut log = Log::new();
        for _ in 0..3600 {
            for _ in 0..20 {
                log.usual(1);
            }
            log.after(SECOND);
        }
        assert!(
            (60 + 60..=10 + 59 + 60).contains(&log.lines),
            "{}",
            log.lines
        );
    }

    #[test]
    fn ten_lines_pass_again_when_a_flood_is_over() {
        for pause in [WINDOW, 10 * WINDOW] {
            let mut log = Log::new();
            log.burst(50, 1);
            log.after(WINDOW);
            assert!(log.usual(1));
            log.after(pause);
            assert_eq!(log.burst(50, 1), 10, "{pause:?}");
        }
    }

    #[test]
    fn a_line_every_ten_seconds_always_passes_even_behind_a_burst() {
        let mut log = Log::new();
        log.burst(11, 1);
        log.after(3 * WINDOW);
        for n in 0..1000 {
            assert!(log.usual(1), "line {n}");
            assert_eq!(log.after(10 * SECOND), []);
        }
    }

    #[test]
    fn all_kinds_together_have_a_bound_and_what_is_grave_passes_it() {
        let mut log = Log::new();
        for _ in 0..60 {
            let passed = (0..300).map(|kind| (0..5).filter(|_| log.usual(kind)).count());
            assert_eq!(passed.sum::<usize>(), 100);
            assert!(log.line(1000, Weight::Grave));
            assert_eq!(
                (0..50)
                    .filter(|_| log.line(1001, Weight::Grave))
                    .count()
                    .min(1),
                1
            );
            assert!(log.after(WINDOW).len() > 200);
        }
    }

    #[test]
    fn what_is_not_yet_counted_is_counted_at_the_end() {
        let mut log = Log::new();
        log.burst(12, 7);
        let [(7, rest)] = &log.limiter.take_all()[..] else {
            panic!("no count");
        };
        assert_eq!((rest.count, rest.example.as_str()), (2, "7"));
        assert_eq!(log.limiter.take_all(), []);
    }
}
