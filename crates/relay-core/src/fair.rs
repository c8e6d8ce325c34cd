//! Jobs of all cameras for one thread, whose time their hosts share fairly, and the cameras of each host. Pure.
//!
//! Start-time fair queueing ([`Shares`]): each host and each camera has a tag, the virtual time at which its next job
//! starts. A job moves the tags of its camera and its host on by the time that it took, whatever came of it; the host with
//! the smallest tag is next, and of its waiting cameras the one with the smallest; of equal ones that of the cheaper job.
//! Virtual time is the tag of the job that was begun last, and a camera that had nothing to do goes on from there: it has
//! saved nothing. So a camera whose pictures are expensive gets as much time as another, and fewer turns; one that needs
//! less than its share waits for hardly more than the job under way; and a host gains nothing by naming more cameras.
//!
//! What a camera's pictures cost is unknown before the first. A new camera pays an estimate in advance, so that an endless
//! row of new cameras moves virtual time on, and an older camera's turn comes.
//!
//! Tags are sums of whole nanoseconds and grow no faster than time does, so they neither overflow nor lose precision.

mod shares;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

pub use self::shares::Payer;
use self::shares::Shares;
use crate::frame::CameraId;

/// Largest charge for one job: while a machine sleeps, a job takes as long as that, and its camera is not to pay for it.
const MAX_CHARGE: Duration = Duration::from_secs(2);
/// Least charge, so that jobs that cost next to nothing take turns too.
const MIN_CHARGE: Duration = Duration::from_micros(1);
/// Decoding time of a pixel for the estimate: the most expensive picture that is let in takes 60 to 70 ms, and the largest
/// has 17 million pixels.
const NANOS_PER_PIXEL: u64 = 4;

/// Jobs that wait for a thread, and those that it works on.
#[derive(Debug)]
pub struct FairQueue<T> {
    accounts: BTreeMap<CameraId, Account<T>>,
    /// Most jobs of one camera that wait.
    waiting: usize,
    /// Most jobs, of as many cameras, that the thread is given at a time.
    batch: usize,
    shares: Shares,
    running: Option<Running>,
    /// Smoothed time that the thread takes.
    usual: Option<Duration>,
}

/// The account of one camera.
#[derive(Debug)]
struct Account<T> {
    payer: Payer,
    /// Jobs with the pixels of their pictures, the oldest first.
    jobs: VecDeque<(T, u64)>,
    /// Smoothed time until the thread has done a job of this camera; `None` for a new camera.
    usual: Option<Duration>,
    /// Whether the camera has paid in advance, or by its jobs.
    known: bool,
}

#[derive(Debug)]
struct Running {
    since: Instant,
    jobs: Vec<Begun>,
}

/// A job that was given to the thread.
#[derive(Debug, Clone, Copy)]
struct Begun {
    camera: CameraId,
    payer: Payer,
    /// Pixels of its picture.
    pixels: u64,
    /// What it was taken to cost, and its camera was charged.
    expected: Duration,
}

impl<T> FairQueue<T> {
    /// Returns the queue of an idle thread that is given up to `batch` jobs at a time, with room for `waiting` of each
    /// camera.
    pub fn new(waiting: usize, batch: usize) -> Self {
        Self {
            accounts: BTreeMap::new(),
            waiting: waiting.max(1),
            batch: batch.max(1),
            shares: Shares::default(),
            running: None,
            usual: None,
        }
    }

    /// Adds a job for a picture of so many pixels. Returns whether the oldest one of its camera was left out for it.
    pub fn enqueue(&mut self, camera: CameraId, pixels: u64, job: T) -> bool {
        let advance = self.estimate(pixels);
        let account = self.accounts.entry(camera).or_insert_with(Account::new);
        if account.jobs.is_empty() {
            let known = std::mem::replace(&mut account.known, true);
            self.shares.wake(account.payer, camera, known, advance);
        }
        account.jobs.push_back((job, pixels.max(1)));
        let full = account.jobs.len() > self.waiting;
        if full {
            account.jobs.pop_front();
        }
        full
    }

    /// Drops the waiting jobs of a camera that is another one now, of this host. What it owes stays: else to begin anew would
    /// pay.
    pub fn renew(&mut self, camera: CameraId, payer: Payer) {
        let account = self.accounts.entry(camera).or_insert_with(Account::new);
        account.jobs.clear();
        (account.usual, account.known) = (None, false);
        if std::mem::replace(&mut account.payer, payer) != payer {
            let payers = self.accounts.values().map(|account| account.payer);
            self.shares.pass(camera, payers);
        }
    }

    /// Drops the waiting jobs of a camera but those to keep.
    pub fn retain(&mut self, camera: CameraId, mut keep: impl FnMut(&T) -> bool) {
        if let Some(account) = self.accounts.get_mut(&camera) {
            account.jobs.retain(|(job, _)| keep(job));
        }
    }

    /// Drops all waiting jobs.
    pub fn clear(&mut self) {
        for account in self.accounts.values_mut() {
            account.jobs.clear();
        }
    }

    /// Returns whether the thread works on nothing.
    pub fn is_idle(&self) -> bool {
        self.running.is_none()
    }

    /// Returns whether a job waits.
    pub fn has_waiting(&self) -> bool {
        let mut accounts = self.accounts.values();
        accounts.any(|account| !account.jobs.is_empty())
    }

    /// Returns the next jobs if the thread is idle and some wait, at most one of each camera.
    pub fn next_batch(&mut self, now: Instant) -> Option<Vec<T>> {
        if !self.is_idle() {
            return None;
        }
        let (mut batch, mut jobs) = (Vec::new(), Vec::new());
        while batch.len() < self.batch
            && let Some(begun) = self.next(&jobs)
        {
            let account = self.accounts.get_mut(&begun.camera)?;
            batch.push(account.jobs.pop_front()?.0);
            self.shares.begin(begun.payer, begun.camera, begun.expected);
            jobs.push(begun);
        }
        if batch.is_empty() {
            return None;
        }
        self.running = Some(Running { since: now, jobs });
        Some(batch)
    }

    /// Returns the job whose turn it is, of a camera of which none is among the `taken` ones.
    fn next(&self, taken: &[Begun]) -> Option<Begun> {
        let is_taken = |id| taken.iter().any(|begun| begun.camera == id);
        let accounts = self.accounts.iter().filter(|(id, _)| !is_taken(**id));
        let turns = accounts.filter_map(|(&camera, account)| {
            let (_, pixels) = *account.jobs.front()?;
            let expected = self.expected(account);
            let turn = (self.shares.turn(account.payer, camera), expected, camera);
            let begun = Begun {
                camera,
                payer: account.payer,
                pixels,
                expected,
            };
            Some((turn, begun))
        });
        turns.min_by_key(|(turn, _)| *turn).map(|(_, begun)| begun)
    }

    /// Notes that the thread has done its jobs. Returns how long it took; `None` if it was given none.
    ///
    /// Cameras that shared a batch share its time by their pixels, since the parts are not measured.
    pub fn finish(&mut self, now: Instant) -> Option<Duration> {
        let Running { since, jobs } = self.running.take()?;
        let took = now.saturating_duration_since(since);
        self.usual = Some(smoothed(self.usual, took));
        let all: u64 = jobs.iter().map(|job| job.pixels).sum();
        for job in jobs {
            let share = took.mul_f64(job.pixels as f64 / all as f64);
            let cost = share.clamp(MIN_CHARGE, MAX_CHARGE);
            self.shares
                .settle(job.payer, job.camera, job.expected, cost);
            if let Some(account) = self.accounts.get_mut(&job.camera) {
                account.usual = Some(smoothed(account.usual, took));
            }
        }
        Some(took)
    }

    /// Returns how long the thread usually takes for a job of a camera; `None` if it has done none yet.
    pub fn usual(&self, camera: CameraId) -> Option<Duration> {
        let account = self.accounts.get(&camera);
        account.and_then(|account| account.usual).or(self.usual)
    }

    /// Returns what the next job of a camera is taken to cost.
    fn expected(&self, account: &Account<T>) -> Duration {
        let pixels = account.jobs.front().map_or(0, |(_, pixels)| *pixels);
        let usual = account.usual.unwrap_or_else(|| self.estimate(pixels));
        usual.clamp(MIN_CHARGE, MAX_CHARGE)
    }

    /// Returns what a job of a new camera is taken to cost.
    fn estimate(&self, pixels: u64) -> Duration {
        let decoding = Duration::from_nanos(pixels.saturating_mul(NANOS_PER_PIXEL));
        let estimate = self.usual.unwrap_or_default() + decoding.min(MAX_CHARGE);
        estimate.clamp(MIN_CHARGE, MAX_CHARGE)
    }
}

impl<T> Account<T> {
    fn new() -> Self {
        Self {
            payer: Payer::default(),
            jobs: VecDeque::new(),
            usual: None,
            known: false,
        }
    }
}

fn smoothed(usual: Option<Duration>, took: Duration) -> Duration {
    (3 * usual.unwrap_or(took) + took) / 4
}

#[cfg(test)]
mod tests;
