//! Jobs of all cameras for one thread, whose time the cameras share fairly. Pure.
//!
//! Start-time fair queueing: each camera has a tag, the virtual time at which its next job starts. A job that was done
//! moves its camera's tag on by the time that it took, whatever came of it, and the waiting camera with the smallest tag is
//! next; of equal ones that of the cheaper job. Virtual time is the tag of the job that was begun last, and a camera that
//! had nothing to do goes on from there: it has saved nothing. So a camera whose pictures are expensive gets as much time
//! as another, and fewer turns; and one that needs less than its share waits for hardly more than the job under way.
//!
//! What a camera's pictures cost is unknown before the first. A new camera pays an estimate in advance, so that an endless
//! row of new cameras moves virtual time on, and an older camera's turn comes.
//!
//! Tags are sums of whole nanoseconds and grow no faster than time does, so they neither overflow nor lose precision.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

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
pub(crate) struct FairQueue<T> {
    accounts: BTreeMap<CameraId, Account<T>>,
    /// Most jobs of one camera that wait.
    waiting: usize,
    /// Most jobs, of as many cameras, that the thread is given at a time.
    batch: usize,
    virtual_time: Duration,
    running: Option<Running>,
    /// Smoothed time that the thread takes.
    usual: Option<Duration>,
}

/// The account of one camera.
#[derive(Debug)]
struct Account<T> {
    /// Virtual time from which the next job may run.
    start: Duration,
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
    /// The cameras of the jobs, with the pixels of their pictures.
    jobs: Vec<(CameraId, u64)>,
}

impl<T> FairQueue<T> {
    /// Returns the queue of an idle thread that is given up to `batch` jobs at a time, with room for `waiting` of each
    /// camera.
    pub(crate) fn new(waiting: usize, batch: usize) -> Self {
        Self {
            accounts: BTreeMap::new(),
            waiting: waiting.max(1),
            batch: batch.max(1),
            virtual_time: Duration::ZERO,
            running: None,
            usual: None,
        }
    }

    /// Adds a job for a picture of so many pixels. Returns whether the oldest one of its camera was left out for it.
    pub(crate) fn enqueue(&mut self, camera: CameraId, pixels: u64, job: T) -> bool {
        let advance = self.estimate(pixels);
        let account = self.accounts.entry(camera).or_insert_with(Account::new);
        if account.jobs.is_empty() {
            let known = std::mem::replace(&mut account.known, true);
            let advance = if known { Duration::ZERO } else { advance };
            account.start = account.start.max(self.virtual_time + advance);
        }
        account.jobs.push_back((job, pixels.max(1)));
        let full = account.jobs.len() > self.waiting;
        if full {
            account.jobs.pop_front();
        }
        full
    }

    /// Drops the waiting jobs of a camera that is another one now. What it owes stays: else to begin anew would pay.
    pub(crate) fn forget(&mut self, camera: CameraId) {
        if let Some(account) = self.accounts.get_mut(&camera) {
            account.jobs.clear();
            (account.usual, account.known) = (None, false);
        }
    }

    /// Drops all waiting jobs.
    pub(crate) fn clear(&mut self) {
        self.accounts.clear();
    }

    /// Returns whether the thread works on nothing.
    pub(crate) fn is_idle(&self) -> bool {
        self.running.is_none()
    }

    /// Returns whether a job waits.
    pub(crate) fn has_waiting(&self) -> bool {
        let mut accounts = self.accounts.values();
        accounts.any(|account| !account.jobs.is_empty())
    }

    /// Returns the next jobs if the thread is idle and some wait, at most one of each camera.
    pub(crate) fn next_batch(&mut self, now: Instant) -> Option<Vec<T>> {
        if !self.is_idle() {
            return None;
        }
        let accounts = self.accounts.iter();
        let waiting = accounts.filter(|(_, account)| !account.jobs.is_empty());
        let mut turns: Vec<_> = waiting
            .map(|(id, account)| (account.start, self.expected(account), *id))
            .collect();
        turns.sort_unstable();
        turns.truncate(self.batch);
        self.virtual_time = turns.last()?.0;
        let (mut batch, mut jobs) = (Vec::new(), Vec::new());
        for (.., camera) in turns {
            let account = self.accounts.get_mut(&camera);
            if let Some((job, pixels)) = account.and_then(|account| account.jobs.pop_front()) {
                batch.push(job);
                jobs.push((camera, pixels));
            }
        }
        self.running = Some(Running { since: now, jobs });
        Some(batch)
    }

    /// Notes that the thread has done its jobs. Returns how long it took; `None` if it was given none.
    ///
    /// Cameras that shared a batch share its time by their pixels, since the parts are not measured.
    pub(crate) fn finish(&mut self, now: Instant) -> Option<Duration> {
        let Running { since, jobs } = self.running.take()?;
        let took = now.saturating_duration_since(since);
        self.usual = Some(smoothed(self.usual, took));
        let all: u64 = jobs.iter().map(|(_, pixels)| pixels).sum();
        for (camera, pixels) in jobs {
            let share = took.mul_f64(pixels as f64 / all as f64);
            if let Some(account) = self.accounts.get_mut(&camera) {
                account.start += share.clamp(MIN_CHARGE, MAX_CHARGE);
                account.usual = Some(smoothed(account.usual, took));
            }
        }
        Some(took)
    }

    /// Returns how long the thread usually takes for a job of a camera; `None` if it has done none yet.
    pub(crate) fn usual(&self, camera: CameraId) -> Option<Duration> {
        let account = self.accounts.get(&camera);
        account.and_then(|account| account.usual).or(self.usual)
    }

    /// Returns what the next job of a camera is taken to cost.
    fn expected(&self, account: &Account<T>) -> Duration {
        let pixels = account.jobs.front().map_or(0, |(_, pixels)| *pixels);
        account.usual.unwrap_or_else(|| self.estimate(pixels))
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
            start: Duration::ZERO,
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);
    /// Pixels of a picture of 300x200.
    const SMALL: u64 = 60_000;

    /// A thread that works on the jobs of cameras, each its cost.
    struct Thread {
        queue: FairQueue<(usize, Duration)>,
        now: Instant,
        done_at: Instant,
        /// Jobs done and their time, by camera.
        done: BTreeMap<usize, (u32, Duration)>,
    }

    impl Thread {
        fn new(waiting: usize, batch: usize) -> Self {
            let now = testkit::time::start();
            Self {
                queue: FairQueue::new(waiting, batch),
                now,
                done_at: now,
                done: BTreeMap::new(),
            }
        }

        fn enqueue(&mut self, camera: usize, cost: Duration) -> bool {
            self.queue.enqueue(CameraId(camera), SMALL, (camera, cost))
        }

        /// Lets time pass, in which the thread works.
        fn pass(&mut self, time: Duration) {
            let end = self.now + time;
            loop {
                if !self.queue.is_idle() {
                    if self.done_at > end {
                        break;
                    }
                    self.now = self.done_at;
                    self.queue.finish(self.now);
                }
                let Some(jobs) = self.queue.next_batch(self.now) else {
                    break;
                };
                self.done_at = self.now;
                for (camera, cost) in jobs {
                    self.done_at += cost;
                    let done = self.done.entry(camera).or_default();
                    *done = (done.0 + 1, done.1 + cost);
                }
            }
            self.now = end;
        }

        fn jobs(&self, camera: usize) -> u32 {
            self.done.get(&camera).map_or(0, |done| done.0)
        }

        fn time(&self, camera: usize) -> Duration {
            self.done.get(&camera).map_or(Duration::ZERO, |done| done.1)
        }

        /// The largest distance of a tag from virtual time.
        fn largest_debt(&self) -> Duration {
            let accounts = self.queue.accounts.values();
            let debts = accounts.map(|one| one.start.saturating_sub(self.queue.virtual_time));
            debts.max().unwrap_or_default()
        }
    }

    #[test]
    fn a_camera_with_cheap_jobs_gets_most_of_them_done_beside_four_with_expensive_ones() {
        let mut thread = Thread::new(1, 1);
        for tick in 0..1000 {
            for hostile in 0..4 {
                thread.enqueue(hostile, 150 * MS);
            }
            if tick % 40 == 39 {
                thread.enqueue(4, 20 * MS);
            }
            thread.pass(10 * MS);
        }
        assert!(thread.jobs(4) >= 20, "{:?} of 25", thread.done);
    }

    #[test]
    fn cameras_that_always_wait_share_the_time_and_not_the_turns() {
        let mut thread = Thread::new(1, 1);
        for _ in 0..10_000 {
            thread.enqueue(0, 60 * MS);
            thread.enqueue(1, 20 * MS);
            thread.pass(5 * MS);
        }
        let [long, short] = [0, 1].map(|camera| thread.time(camera));
        assert!(long.abs_diff(short) < 100 * MS, "{:?}", thread.done);
    }

    #[test]
    fn a_camera_that_was_idle_has_saved_nothing() {
        let mut thread = Thread::new(1, 1);
        thread.enqueue(1, MS);
        for _ in 0..1000 {
            thread.enqueue(0, 50 * MS);
            thread.pass(10 * MS);
        }
        let before = thread.jobs(0);
        for _ in 0..100 {
            thread.enqueue(0, 50 * MS);
            thread.enqueue(1, 50 * MS);
            thread.pass(10 * MS);
        }
        assert!(thread.jobs(0) - before >= 9, "{:?}", thread.done);
    }

    #[test]
    fn an_endless_row_of_new_cameras_takes_no_more_than_its_turns() {
        let mut thread = Thread::new(1, 1);
        thread.enqueue(64, 20 * MS);
        thread.pass(20 * MS);
        for tick in 0..1000 {
            let slot = tick % 8;
            thread.queue.forget(CameraId(slot));
            thread.enqueue(slot, 70 * MS);
            thread.enqueue(64, 20 * MS);
            thread.pass(10 * MS);
        }
        let share = Duration::from_secs(10) / 9;
        assert!(thread.time(64) > share, "{:?}", thread.time(64));
    }

    #[test]
    fn to_begin_anew_pays_no_debt() {
        let mut thread = Thread::new(1, 1);
        let mut was_at_work = false;
        for _ in 0..2000 {
            let running = thread.queue.running.as_ref();
            let at_work = running.is_some_and(|running| running.jobs[0].0 == CameraId(0));
            if std::mem::replace(&mut was_at_work, at_work) && !at_work {
                thread.queue.forget(CameraId(0));
            }
            for camera in 0..5 {
                thread.enqueue(camera, MS * if camera == 0 { 150 } else { 20 });
            }
            thread.pass(5 * MS);
        }
        assert!(
            thread.time(0) < Duration::from_millis(2500),
            "{:?}",
            thread.done
        );
    }

    #[test]
    fn a_new_camera_of_large_pictures_pays_for_them_before_the_first() {
        let mut thread = Thread::new(1, 1);
        thread.queue.enqueue(CameraId(0), 16_000_000, (0, MS));
        thread.enqueue(1, MS);
        thread.pass(MS / 2);
        assert_eq!((thread.jobs(0), thread.jobs(1)), (0, 1));
    }

    #[test]
    fn beyond_a_cameras_room_its_oldest_job_is_left_out() {
        let mut thread = Thread::new(2, 1);
        assert!(!thread.enqueue(0, MS) && !thread.enqueue(0, 2 * MS));
        assert!(thread.enqueue(0, 3 * MS));
        assert!(!thread.enqueue(1, MS), "each has its own room");
        thread.pass(Duration::from_secs(1));
        assert_eq!(thread.time(0), 5 * MS);
        assert!(!thread.queue.has_waiting());
    }

    #[test]
    fn cameras_that_share_a_batch_share_its_time_by_their_pixels() {
        let now = testkit::time::start();
        let mut queue = FairQueue::new(1, 2);
        queue.enqueue(CameraId(0), 30_000, ());
        queue.enqueue(CameraId(1), 90_000, ());
        let tags = |queue: &FairQueue<()>| [0, 1].map(|id| queue.accounts[&CameraId(id)].start);
        let before = tags(&queue);
        queue.next_batch(now).unwrap();
        assert_eq!(queue.finish(now + 40 * MS), Some(40 * MS));
        assert_eq!(tags(&queue), [before[0] + 10 * MS, before[1] + 30 * MS]);
        assert_eq!(queue.finish(now), None, "nothing was given");
    }

    #[test]
    fn a_machine_that_slept_leaves_no_camera_in_debt_for_long() {
        let mut thread = Thread::new(1, 1);
        thread.enqueue(0, Duration::from_secs(86_400));
        thread.pass(Duration::from_secs(86_400));
        assert!(thread.largest_debt() <= MAX_CHARGE);
    }

    #[test]
    fn after_months_of_work_the_tags_are_as_exact_as_at_the_start() {
        let mut thread = Thread::new(1, 1);
        thread.queue.virtual_time = Duration::from_secs(86_400 * 365);
        thread.enqueue(0, MS);
        thread.enqueue(1, MS);
        thread.pass(2 * MS);
        let tag = |camera| thread.queue.accounts[&CameraId(camera)].start;
        assert_eq!((thread.jobs(0), thread.jobs(1)), (1, 1));
        assert_eq!(tag(0), tag(1));
    }

    proptest! {
        #[test]
        fn no_camera_with_waiting_jobs_starves_and_no_debt_grows(
            costs in prop::collection::vec(0u32..300, 2..12),
            batch in 1usize..4,
            steps in prop::collection::vec((0usize..12, 0u32..60, any::<bool>()), 1..400),
        ) {
            let mut thread = Thread::new(1, batch);
            let longest = 300 * MS * batch as u32;
            // Between two turns of a waiting camera each other one has a job under way, one that the first one's tag is
            // behind, and one that is new.
            let patience = longest * (4 * costs.len() as u32 + 4);
            let (mut waits, mut before) = (thread.now, 0);
            for (camera, pass, anew) in steps {
                let camera = camera % costs.len();
                if anew && camera > 0 {
                    thread.queue.forget(CameraId(camera));
                }
                thread.enqueue(camera, MS * costs[camera]);
                thread.enqueue(0, MS * costs[0]);
                thread.pass(MS * pass);
                prop_assert!(thread.largest_debt() <= 2 * longest + MAX_CHARGE);
                if thread.jobs(0) > before {
                    (waits, before) = (thread.now, thread.jobs(0));
                }
                prop_assert!(thread.now - waits <= patience, "camera 0 starves");
            }
        }
    }
}
