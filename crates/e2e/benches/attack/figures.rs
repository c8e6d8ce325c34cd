//! The figures of a run and their goals.

use std::time::Duration;

use e2e::attack::{Achieved, Attack};

/// Window of the log's bound: what an attack logs at its start it may log again a minute later.
const LOG_WINDOW: f64 = 60.0;

/// Most bytes of memory above those of the calm relay, in kB.
const MEMORY: u64 = 64 << 10;
/// Most bytes of log an hour.
const LOG: f64 = 1e6;
/// Most that the age p99 is of the calm one.
const AGE: f64 = 2.0;
/// Least share of the calm inferences.
const INFERRED: f64 = 0.8;

/// What a run measured.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    /// Frames that the sender had from the attack's start on, sent or skipped.
    pub(crate) offered: f64,
    /// Of those, the frames that the viewer did not receive.
    pub(crate) lost: f64,
    /// Frames that the sender's frame window held back; they are among the lost.
    pub(crate) skipped: f64,
    /// Numbers of the frames that the viewer did not show from then on: lost, skipped, or overtaken by the next.
    pub(crate) missing: Vec<u64>,
    /// Ages of the frames shown, in ms.
    pub(crate) ages: Vec<f64>,
    /// Time in the relay that 99 % of all forwarded frames took at most, in ms; the rest of an age is the programs' turn at
    /// the processors.
    pub(crate) in_relay_ms: f64,
    /// Growth of the relay's memory at most, in kB.
    pub(crate) grown_kb: u64,
    /// Bytes of the relay's log.
    pub(crate) log_bytes: usize,
    /// Frames of the honest camera that were inferred.
    pub(crate) inferred: usize,
    pub(crate) took: Duration,
    /// The attack, and what it did.
    pub(crate) achieved: Option<(Attack, Achieved)>,
}

impl Measured {
    /// Returns several runs as one.
    pub(crate) fn pooled<'a>(runs: impl Iterator<Item = &'a Self>) -> Option<Self> {
        runs.cloned().reduce(|one, other| Self {
            offered: one.offered + other.offered,
            lost: one.lost + other.lost,
            skipped: one.skipped + other.skipped,
            missing: [one.missing, other.missing].concat(),
            ages: [one.ages, other.ages].concat(),
            in_relay_ms: one.in_relay_ms.max(other.in_relay_ms),
            grown_kb: one.grown_kb.max(other.grown_kb),
            log_bytes: one.log_bytes + other.log_bytes,
            inferred: one.inferred + other.inferred,
            took: one.took + other.took,
            achieved: None,
        })
    }

    /// Returns the share of frames that arrived.
    pub(crate) fn delivered(&self) -> f64 {
        1.0 - self.lost / self.offered
    }

    /// Returns the age below which this share of the frames lies; NaN if none was shown.
    pub(crate) fn age(&self, share: f64) -> f64 {
        let mut sorted = self.ages.clone();
        sorted.sort_by(f64::total_cmp);
        let place = (sorted.len() as f64 * share) as usize;
        let last = sorted.len().saturating_sub(1);
        sorted.get(place.min(last)).copied().unwrap_or(f64::NAN)
    }

    /// Returns inferences a second.
    pub(crate) fn inferences(&self) -> f64 {
        self.inferred as f64 / self.took.as_secs_f64()
    }

    /// Returns bytes of log an hour, were the attack to go on. Lines that also come without one come at a steady rate; what the
    /// attack adds has a bound for each minute, and so counts for one whole minute.
    pub(crate) fn log_an_hour(&self, calm: Option<&Self>) -> f64 {
        let steady = calm.unwrap_or(self);
        let steady = steady.log_bytes as f64 / steady.took.as_secs_f64();
        let seconds = self.took.as_secs_f64();
        let added = (self.log_bytes as f64 - steady * seconds).max(0.0);
        3600.0 * (steady + added / seconds.max(LOG_WINDOW))
    }

    /// Returns the names of the goals that are missed.
    pub(crate) fn missed(&self, calm: Option<&Self>) -> Vec<&'static str> {
        let calm = calm.unwrap_or(self);
        // A figure that is NaN meets no goal.
        let met = [
            ("delivered", self.lost <= 0.0),
            ("age", self.age(0.99) <= AGE * calm.age(0.99)),
            ("memory", self.grown_kb <= MEMORY),
            ("log", self.log_an_hour(Some(calm)) <= LOG),
            (
                "inferred",
                self.inferences() >= INFERRED * calm.inferences(),
            ),
        ];
        let missed = met.into_iter().filter(|(_, met)| !met);
        missed.map(|(name, _)| name).collect()
    }
}
