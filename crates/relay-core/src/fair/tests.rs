//! Rules of the queue that cameras and their hosts share.

use proptest::prelude::*;

use super::shares::MAX_TAGS;
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
        let accounts = self.queue.accounts.iter();
        let cameras: Vec<_> = accounts.map(|(id, one)| (one.payer, *id)).collect();
        self.queue.shares.largest_debt(&cameras)
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
        thread.queue.renew(CameraId(slot), Payer::default());
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
        let at_work = running.is_some_and(|running| running.jobs[0].camera == CameraId(0));
        if std::mem::replace(&mut was_at_work, at_work) && !at_work {
            thread.queue.renew(CameraId(0), Payer::default());
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
    let tags = |queue: &FairQueue<()>| [0, 1].map(|id| queue.shares.start_of(CameraId(id)));
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
    let year = Duration::from_secs(86_400 * 365);
    thread.queue.shares = Shares::after(year, Payer::default(), CameraId(0));
    thread.enqueue(0, MS);
    thread.enqueue(1, MS);
    thread.pass(2 * MS);
    let tag = |camera| thread.queue.shares.start_of(CameraId(camera));
    assert_eq!((thread.jobs(0), thread.jobs(1)), (1, 1));
    assert_eq!(tag(0), tag(1));
}

#[test]
fn a_host_that_names_a_new_camera_for_each_job_gets_no_more_than_its_half() {
    let mut thread = Thread::new(1, 1);
    let [many, one] = [1, 2].map(|host| Payer::numbered(host, true));
    thread.queue.renew(CameraId(63), one);
    for tick in 0..1000 {
        let slot = tick % 63;
        thread.queue.renew(CameraId(slot), many);
        thread.enqueue(slot, 20 * MS);
        thread.enqueue(63, 20 * MS);
        thread.pass(10 * MS);
    }
    assert!(thread.jobs(63) >= 240, "{:?} of 500", thread.jobs(63));
}

#[test]
fn a_batch_has_a_job_of_each_host_before_a_second_one_of_any() {
    let now = testkit::time::start();
    let mut queue = FairQueue::new(1, 3);
    for camera in 0..8 {
        let host = [0, 0, 0, 0, 0, 0, 1, 2][camera];
        queue.renew(CameraId(camera), Payer::numbered(host, true));
        queue.enqueue(CameraId(camera), SMALL, camera);
    }
    let batch = queue.next_batch(now).unwrap();
    assert!(batch.contains(&6) && batch.contains(&7), "{batch:?}");
}

#[test]
fn a_host_owes_what_its_camera_took_after_that_is_another_hosts() {
    let mut thread = Thread::new(1, 1);
    let [owes, other] = [1, 2].map(|host| Payer::numbered(host, true));
    thread.queue.renew(CameraId(0), owes);
    thread.queue.renew(CameraId(1), other);
    thread.enqueue(1, MS);
    thread.pass(MS);
    thread.enqueue(0, 1000 * MS);
    thread.pass(1000 * MS);
    thread.queue.renew(CameraId(0), other);
    thread.queue.renew(CameraId(2), owes);
    for _ in 0..50 {
        thread.enqueue(1, 20 * MS);
        thread.enqueue(2, 20 * MS);
        thread.pass(10 * MS);
    }
    assert!(
        thread.jobs(1) >= 20 && thread.jobs(2) <= 1,
        "{:?}",
        thread.done
    );
}

#[test]
fn a_camera_that_is_another_hosts_waits_no_longer_than_that_ones_others() {
    let mut thread = Thread::new(1, 1);
    let [before, after] = [1, 2].map(|host| Payer::numbered(host, true));
    thread.queue.renew(CameraId(0), before);
    thread.queue.renew(CameraId(1), after);
    for _ in 0..1000 {
        thread.enqueue(0, 20 * MS);
        thread.pass(20 * MS);
    }
    let alone = thread.jobs(0);
    thread.queue.renew(CameraId(0), after);
    for _ in 0..100 {
        thread.enqueue(0, 20 * MS);
        thread.enqueue(1, 20 * MS);
        thread.pass(10 * MS);
    }
    assert!(thread.jobs(0) - alone >= 20, "{:?}", thread.done);
}

#[test]
fn an_endless_row_of_hosts_leaves_no_more_tags_than_there_is_room_for() {
    let mut queue = FairQueue::new(1, 1);
    for host in 0..10_000 {
        let camera = CameraId(host as usize % 64);
        queue.renew(camera, Payer::numbered(host, host % 2 == 0));
        queue.enqueue(camera, SMALL, ());
        assert!(queue.shares.len() <= MAX_TAGS + 2);
    }
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
                thread.queue.renew(CameraId(camera), Payer::default());
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

    #[test]
    fn hosts_that_always_have_work_have_equal_parts_and_so_have_the_cameras_of_each(
        cameras in prop::collection::vec((0u32..4, any::<bool>(), 10u32..60), 2..10),
    ) {
        let mut thread = Thread::new(8, 1);
        for (index, (host, validated, _)) in cameras.iter().enumerate() {
            thread.queue.renew(CameraId(index), Payer::numbered(*host, *validated));
        }
        let length = Duration::from_secs(10);
        for _ in 0..length.as_millis() / 10 {
            for (index, (.., cost)) in cameras.iter().enumerate() {
                thread.enqueue(index, MS * *cost);
            }
            thread.pass(10 * MS);
        }
        let hosts = |of: bool| {
            let hosts = cameras.iter().filter(|(_, validated, _)| *validated == of);
            let mut hosts: Vec<u32> = hosts.map(|(host, ..)| *host).collect();
            hosts.sort_unstable();
            hosts.dedup();
            hosts.len() as u32
        };
        let [unvalidated, validated] = [false, true].map(hosts);
        let parts = validated + unvalidated.min(1);
        for (index, (host, is_validated, _)) in cameras.iter().enumerate() {
            let same = |one: &&(u32, bool, u32)| (one.0, one.1) == (*host, *is_validated);
            let of_host = cameras.iter().filter(same).count() as u32;
            let parts = parts * if *is_validated { 1 } else { unvalidated } * of_host;
            let (had, due) = (thread.time(index), length / parts);
            let late = 60 * MS * 4;
            prop_assert!(had + late >= due, "{index}: {had:?} of {due:?}, {:?}", thread.done);
        }
    }
}
