//! Reads a live source on a thread of its own, which holds the newest picture and opens the source again if it is lost.
//!
//! The thread may hang in a driver or a connection without limit: it is never joined.

use std::fmt;
use std::process::Child;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use platform::clock::unix_micros;
use platform::latest::{Received, Receiver, Sender, latest};
use tracing::{info, warn};

use super::backoff::Backoff;
use super::{CapturedPicture, Picture, Poll};
use crate::pacer::Tick;

/// Waits for one picture and returns it; an error means that the source is lost.
pub(super) type ReadPicture = Box<dyn FnMut() -> anyhow::Result<Picture>>;
/// Waits for one picture and returns it; `None` at the end, which only a pipe has.
pub(super) type ReadLive = Box<dyn FnMut() -> anyhow::Result<Option<Picture>>>;
/// Opens the source.
pub(super) type OpenSource = Box<dyn FnMut(&ChildGuard) -> anyhow::Result<ReadLive> + Send>;

/// The end of a source that has one by its nature and is opened again, so that nothing is lost: the cause and its cure, if
/// the user did not ask for that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StartsOver(pub(super) Option<&'static str>);

impl fmt::Display for StartsOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.unwrap_or("the video ended"))
    }
}

/// Returns the reading of a source that has no end.
pub(super) fn endless(mut read: ReadPicture) -> ReadLive {
    Box::new(move || read().map(Some))
}

/// A source with its reader thread. Dropping it kills the source's child process.
#[derive(Debug)]
pub(crate) struct LiveSource {
    pictures: Receiver<anyhow::Result<NumberedPicture>>,
    guard: ChildGuard,
    /// The thread, until it has ended.
    reader: Option<thread::JoinHandle<()>>,
    /// Number of the last picture that [`Self::poll`] returned.
    last: u64,
}

/// A picture, the time when it was read, and the count of pictures read up to it.
#[derive(Debug)]
struct NumberedPicture {
    picture: Picture,
    captured_us: u64,
    number: u64,
}

impl LiveSource {
    /// Starts the thread. With `strict`, the loss of the source is an error instead of a reason to open it again.
    pub(super) fn start(open: OpenSource, strict: bool) -> anyhow::Result<Self> {
        let (slot, pictures) = latest();
        let guard = ChildGuard::default();
        let reader = ReaderThread {
            slot,
            guard: guard.clone(),
            number: 0,
        };
        let thread = thread::Builder::new()
            .name("reader".to_owned())
            .spawn(move || reader.run(open, strict))
            .context("starting the camera's thread")?;
        Ok(Self {
            pictures,
            guard,
            reader: Some(thread),
            last: 0,
        })
    }

    pub(super) fn poll(&mut self, tick: &Tick, timeout: Duration) -> anyhow::Result<Poll> {
        let captured = match self.pictures.recv(timeout) {
            Received::Value(captured) => captured?,
            Received::Timeout => return Ok(Poll::Pending),
            Received::Closed => {
                let ended = self.reader.take().map(thread::JoinHandle::join);
                ensure!(
                    ended.is_none_or(|ended| ended.is_ok()),
                    "the camera's thread failed"
                );
                return Ok(Poll::End);
            }
        };
        // A tick is lost only if there was a picture for it.
        let displaced = captured.number - self.last - 1;
        self.last = captured.number;
        Ok(Poll::Picture(CapturedPicture {
            picture: captured.picture,
            captured_us: captured.captured_us,
            missed: displaced.min(tick.missed),
        }))
    }
}

impl Drop for LiveSource {
    fn drop(&mut self) {
        self.guard.close();
    }
}

struct ReaderThread {
    slot: Sender<anyhow::Result<NumberedPicture>>,
    guard: ChildGuard,
    number: u64,
}

impl ReaderThread {
    fn run(mut self, mut open: OpenSource, strict: bool) {
        let mut backoff = Backoff::default();
        let (mut warned, mut named) = (None, None);
        while !self.slot.is_closed() {
            let before = self.number;
            let lost =
                open(&self.guard).and_then(|read| self.read_until_lost(read, warned.is_some()));
            let Err(why) = lost else { return };
            let starts_over = why.downcast_ref::<StartsOver>().copied();
            if strict && starts_over.is_none_or(|over| over.0.is_some()) {
                self.slot.send(Err(why.context("the source is lost")));
                return;
            }
            if self.number > before {
                backoff.reset();
                warned = None;
            }
            if let Some(over) = starts_over {
                if let Some(why) = over.0.filter(|_| named != starts_over) {
                    warn!("{why}");
                }
                named = starts_over;
                thread::sleep(backoff.next_delay());
                continue;
            }
            let why = format!("{why:#}");
            if warned.as_ref() != Some(&why) {
                warn!(%why, "the source gives no pictures; trying again every few seconds");
                warned = Some(why);
            }
            thread::sleep(backoff.next_delay());
        }
    }

    /// Moves pictures into the slot until that is closed or they end; the error is why the source is lost.
    fn read_until_lost(&mut self, mut read: ReadLive, was_lost: bool) -> anyhow::Result<()> {
        let first = self.number + 1;
        while !self.slot.is_closed() {
            let Some(picture) = read()? else {
                return Ok(());
            };
            self.number += 1;
            if was_lost && self.number == first {
                info!("the source is back");
            }
            self.slot.send(Ok(NumberedPicture {
                picture,
                captured_us: unix_micros(),
                number: self.number,
            }));
        }
        Ok(())
    }
}

/// Owns the child process of a source, which leads a process group, so that it and its own children end with the sender
/// even if the reader hangs in its pipe.
#[derive(Debug, Clone, Default)]
pub(super) struct ChildGuard(Arc<Mutex<GuardedChild>>);

#[derive(Debug, Default)]
struct GuardedChild {
    child: Option<Child>,
    closed: bool,
}

impl ChildGuard {
    /// Takes a new child, and kills the one before it.
    pub(super) fn replace(&self, child: Child) {
        let mut guarded = self.lock();
        kill(guarded.child.replace(child));
        if guarded.closed {
            kill(guarded.child.take());
        }
    }

    /// Kills the child, if there is one.
    pub(super) fn kill(&self) {
        kill(self.lock().child.take());
    }

    /// Kills the child, and each one that is handed over later.
    fn close(&self) {
        self.lock().closed = true;
        self.kill();
    }

    fn lock(&self) -> MutexGuard<'_, GuardedChild> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Kills a child and its process group, also where the child itself has ended: until `wait`, its number is no other's.
fn kill(child: Option<Child>) {
    if let Some(mut child) = child {
        let group = i32::try_from(child.id()).map(Pid::from_raw);
        // All fail only if there is no such process any more.
        let _ = group.map(|group| killpg(group, Signal::SIGKILL));
        let _ = child.kill();
        let _ = child.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use opencv::core::Mat;

    use super::*;

    fn tick(missed: u64) -> Tick {
        Tick {
            index: 0,
            due: Instant::now(),
            missed,
        }
    }

    fn picture() -> Picture {
        Picture::Raw(Mat::default())
    }

    #[test]
    fn a_lost_source_is_opened_again_and_goes_on() {
        let mut opened = 0;
        let open = move |_: &ChildGuard| -> anyhow::Result<ReadLive> {
            opened += 1;
            let mut left = 1;
            Ok(Box::new(move || {
                anyhow::ensure!(left > 0, "unplugged for the {opened}. time");
                left -= 1;
                Ok(Some(picture()))
            }))
        };
        let mut live = LiveSource::start(Box::new(open), false).unwrap();
        for _ in 0..2 {
            let next = live.poll(&tick(0), Duration::from_secs(30)).unwrap();
            assert!(matches!(next, Poll::Picture(_)));
        }
    }

    /// Starts a strict source that gives one picture and starts over.
    fn starting_over(why: Option<&'static str>) -> LiveSource {
        let open = move |_: &ChildGuard| -> anyhow::Result<ReadLive> {
            let mut left = 1;
            Ok(Box::new(move || {
                if left == 0 {
                    anyhow::bail!(StartsOver(why));
                }
                left -= 1;
                Ok(Some(picture()))
            }))
        };
        LiveSource::start(Box::new(open), true).unwrap()
    }

    #[test]
    fn the_end_of_a_video_is_a_strict_sources_loss_unless_it_is_to_start_over() {
        let wait = Duration::from_secs(30);
        let mut asked_for = starting_over(None);
        for _ in 0..3 {
            let next = asked_for.poll(&tick(0), wait).unwrap();
            assert!(matches!(next, Poll::Picture(_)));
        }
        let mut not = starting_over(Some("it ends"));
        let why = loop {
            if let Err(why) = not.poll(&tick(0), wait) {
                break format!("{why:#}");
            }
        };
        assert!(why.contains("lost: it ends"), "{why}");
    }

    #[test]
    fn a_strict_source_fails_with_its_cause() {
        let open = |_: &ChildGuard| anyhow::bail!("no camera at /dev/video7");
        let mut live = LiveSource::start(Box::new(open), true).unwrap();
        let why = live.poll(&tick(0), Duration::from_secs(30)).unwrap_err();
        assert!(format!("{why:#}").contains("/dev/video7"), "{why:#}");
    }

    #[test]
    fn a_missed_tick_counts_only_where_a_picture_was_there_for_it() {
        let (send_all_read, all_read) = std::sync::mpsc::channel();
        let mut left = 5;
        let open = move |_: &ChildGuard| -> anyhow::Result<ReadLive> {
            let send_all_read = send_all_read.clone();
            Ok(Box::new(move || {
                if left == 0 {
                    send_all_read.send(())?;
                    thread::sleep(Duration::from_secs(3600));
                }
                left -= 1;
                Ok(Some(picture()))
            }))
        };
        let mut live = LiveSource::start(Box::new(open), false).unwrap();
        // All five are read before the first is taken: four were displaced.
        all_read.recv_timeout(Duration::from_secs(30)).unwrap();
        let Poll::Picture(captured) = live.poll(&tick(9), Duration::from_secs(30)).unwrap() else {
            panic!("no picture");
        };
        assert_eq!(captured.missed, 4);
    }

    #[test]
    fn a_source_that_ends_gives_its_last_picture_and_then_the_end() {
        let open = |_: &ChildGuard| -> anyhow::Result<ReadLive> {
            let mut pictures = vec![picture()];
            Ok(Box::new(move || Ok(pictures.pop())))
        };
        let mut live = LiveSource::start(Box::new(open), true).unwrap();
        let wait = Duration::from_secs(30);
        assert!(matches!(live.poll(&tick(0), wait), Ok(Poll::Picture(_))));
        assert!(matches!(live.poll(&tick(0), wait), Ok(Poll::End)));
    }

    #[test]
    fn a_child_that_is_replaced_takes_its_own_children_with_it() {
        use std::io::{BufRead as _, BufReader};
        use std::os::unix::process::CommandExt as _;
        use std::process::{Command, Stdio};
        let guard = ChildGuard::default();
        let mut grandchildren = Vec::new();
        for _ in 0..2 {
            let mut child = Command::new("sh")
                .args(["-c", "sleep 1000 & echo $!; exec sleep 1000"])
                .stdout(Stdio::piped())
                .process_group(0)
                .spawn()
                .unwrap();
            let mut line = String::new();
            let output = child.stdout.take().unwrap();
            BufReader::new(output).read_line(&mut line).unwrap();
            grandchildren.push(line.trim().to_owned());
            guard.replace(child);
        }
        let runs = |pid: &String| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            !status.is_empty() && !status.contains(") Z ")
        };
        let ended = |pid: &String| {
            (0..500).any(|_| {
                !runs(pid) || {
                    thread::sleep(Duration::from_millis(10));
                    false
                }
            })
        };
        assert!(ended(&grandchildren[0]));
        assert!(runs(&grandchildren[1]));
        guard.close();
        assert!(ended(&grandchildren[1]));
    }
}
