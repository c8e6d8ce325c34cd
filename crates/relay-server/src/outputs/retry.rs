//! How all outputs try again, and what they count. Pure: times are returned, not waited for.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Waiting times that double, each between half and all of its length, so that relays whose receiver was away do not all
/// come back to it at the same moment.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// Returns the waiting times from `first` to `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            next: first,
        }
    }

    /// Returns the next waiting time; `random` is from 0 to 1.
    pub fn delay(&mut self, random: f64) -> Duration {
        let delay = self.next;
        self.next = (2 * delay).min(self.longest);
        delay.mul_f64(0.5 + 0.5 * random.clamp(0.0, 1.0))
    }

    /// Begins again with the first waiting time, after a success.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

/// The attempts at one delivery.
#[derive(Debug, Clone)]
pub struct Attempts {
    left: u32,
    backoff: Backoff,
}

impl Attempts {
    /// Returns `most` attempts with these waiting times between them.
    pub fn new(most: u32, backoff: Backoff) -> Self {
        Self {
            left: most,
            backoff,
        }
    }

    /// Notes a failed attempt. Returns how long to wait for the next one, at least as long as the receiver requires and
    /// never longer than the longest waiting time; `None` if that was the last one.
    pub fn after_failure(&mut self, required: Option<Duration>, random: f64) -> Option<Duration> {
        self.left = self.left.saturating_sub(1);
        let longest = self.backoff.longest;
        let delay = self.backoff.delay(random);
        (self.left > 0).then(|| delay.max(required.unwrap_or_default()).min(longest))
    }
}

/// Returns a random number from 0 to 1; without random numbers from the system one half.
pub fn random() -> f64 {
    getrandom::u32().map_or(0.5, |random| f64::from(random) / f64::from(u32::MAX))
}

/// Why an event did not reach its receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// Too many waited; the oldest went.
    QueueFull,
    /// No attempt succeeded.
    GivenUp,
    /// The receiver refuses it, so that a further attempt makes no sense.
    Refused,
    /// A command ended with an error.
    Failed,
    /// A command was ended since it took too long.
    TimedOut,
    /// The relay stopped.
    Stopped,
}

impl Lost {
    /// All reasons, in the order of their counters.
    pub const ALL: [Self; 6] = [
        Self::QueueFull,
        Self::GivenUp,
        Self::Refused,
        Self::Failed,
        Self::TimedOut,
        Self::Stopped,
    ];

    /// Returns the name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::GivenUp => "given_up",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Stopped => "stopped",
        }
    }
}

/// Counters of one output.
#[derive(Debug, Default)]
pub struct OutputStats {
    delivered: AtomicU64,
    retries: AtomicU64,
    lost: [AtomicU64; Lost::ALL.len()],
    queued: AtomicU64,
    held: AtomicU64,
    failing: AtomicBool,
}

impl OutputStats {
    /// Counts an event that reached its receiver.
    pub fn on_delivered(&self) {
        self.delivered.fetch_add(1, Ordering::Relaxed);
        self.set_failing(false);
    }

    /// Counts a further attempt, or a further connection.
    pub fn on_retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
        self.set_failing(true);
    }

    /// Counts events that are lost.
    pub fn on_lost(&self, why: Lost, count: u64) {
        self.lost[why as usize].fetch_add(count, Ordering::Relaxed);
    }

    /// Sets how many events wait in the queue of the output.
    pub fn set_queued(&self, events: usize) {
        self.queued.store(events as u64, Ordering::Relaxed);
    }

    /// Sets how many events the output has taken from its queue and not delivered.
    pub fn set_held(&self, events: usize) {
        self.held.store(events as u64, Ordering::Relaxed);
    }

    /// Sets whether the last attempt failed.
    pub fn set_failing(&self, failing: bool) {
        self.failing.store(failing, Ordering::Relaxed);
    }

    /// Returns the counters of this moment.
    pub fn snapshot(&self) -> OutputSnapshot {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        OutputSnapshot {
            delivered: load(&self.delivered),
            retries: load(&self.retries),
            lost: Lost::ALL.map(|why| (why.name(), load(&self.lost[why as usize]))),
            waiting: load(&self.queued) + load(&self.held),
            failing: self.failing.load(Ordering::Relaxed),
        }
    }
}

/// Counters of one output at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputSnapshot {
    /// Events that reached their receiver.
    pub delivered: u64,
    /// Attempts or connections beyond the first.
    pub retries: u64,
    /// Events that did not reach it, by reason.
    pub lost: [(&'static str, u64); Lost::ALL.len()],
    /// Events that wait.
    pub waiting: u64,
    /// Whether the last attempt failed.
    pub failing: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn waiting_times_double_up_to_the_longest_and_begin_anew_after_a_success() {
        let mut backoff = Backoff::new(SECOND, 5 * SECOND);
        let delays = [(); 5].map(|()| backoff.delay(1.0).as_secs());
        assert_eq!(delays, [1, 2, 4, 5, 5]);
        backoff.reset();
        assert_eq!(backoff.delay(0.0), SECOND / 2);
        assert_eq!(backoff.delay(0.5), SECOND * 3 / 2);
    }

    #[test]
    fn attempts_end_and_wait_as_long_as_the_receiver_requires_within_their_bound() {
        let mut attempts = Attempts::new(4, Backoff::new(SECOND, 5 * SECOND));
        assert_eq!(attempts.after_failure(None, 1.0), Some(SECOND));
        let required = |seconds| Some(seconds * SECOND);
        assert_eq!(attempts.after_failure(required(4), 1.0), required(4));
        assert_eq!(attempts.after_failure(required(3600), 1.0), required(5));
        assert_eq!(attempts.after_failure(None, 1.0), None);
    }

    #[test]
    fn what_is_lost_is_counted_by_its_reason() {
        let stats = OutputStats::default();
        for (why, count) in Lost::ALL.into_iter().zip(1..) {
            stats.on_lost(why, count);
        }
        stats.on_retry();
        let lost = stats.snapshot().lost;
        assert_eq!(lost.map(|(_, count)| count), [1, 2, 3, 4, 5, 6]);
        assert_eq!(lost[0].0, "queue_full");
        assert!(stats.snapshot().failing);
        stats.on_delivered();
        let snapshot = stats.snapshot();
        assert!(!snapshot.failing && snapshot.delivered == 1 && snapshot.retries == 1);
    }
}
