//! A source that waits for nobody: its thread reads it, holds the newest picture, and opens it again when it is lost.
//!
//! The thread may be stuck in a driver or a connection for as long as it likes: nobody joins it.

use std::process::Child;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use platform::latest::{Received, Receiver, Sender, latest};
use tracing::{info, warn};

use super::backoff::Backoff;
use platform::clock::unix_micros;

use super::{Next, Picture, Shot};
use crate::pace::Tick;

/// Reads one picture, waiting for it; an error is the loss of the source.
pub(super) type Feed = Box<dyn FnMut() -> anyhow::Result<Picture>>;
/// Opens the source.
pub(super) type Open = Box<dyn FnMut(&Leash) -> anyhow::Result<Feed> + Send>;

/// A source that is read by a thread of its own. Dropped, its child process is killed.
#[derive(Debug)]
pub(crate) struct Live {
    taker: Receiver<anyhow::Result<Numbered>>,
    leash: Leash,
    /// Number of the last picture that was taken.
    last: u64,
}

/// A picture, when it was read, and how many were read up to it.
#[derive(Debug)]
struct Numbered {
    picture: Picture,
    captured_us: u64,
    number: u64,
}

impl Live {
    /// Starts the thread. With `strict`, the loss of the source is an error instead of a reason to open it again.
    pub(super) fn start(open: Open, strict: bool) -> anyhow::Result<Self> {
        let (putter, taker) = latest();
        let leash = Leash::default();
        let reader = Reader {
            slot: putter,
            leash: leash.clone(),
            number: 0,
        };
        thread::Builder::new()
            .name("reader".to_owned())
            .spawn(move || reader.run(open, strict))
            .context("starting the camera's thread")?;
        Ok(Self {
            taker,
            leash,
            last: 0,
        })
    }

    pub(super) fn next(&mut self, tick: &Tick, patience: Duration) -> anyhow::Result<Next> {
        let shot = match self.taker.recv(patience) {
            Received::Value(shot) => shot?,
            Received::Timeout => return Ok(Next::Nothing),
            Received::Closed => anyhow::bail!("the camera's thread ended"),
        };
        // A tick is lost only where a picture was there for it.
        let displaced = shot.number - self.last - 1;
        self.last = shot.number;
        Ok(Next::Shot(Shot {
            picture: shot.picture,
            captured_us: shot.captured_us,
            missed: displaced.min(tick.missed),
        }))
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.leash.cut();
    }
}

struct Reader {
    slot: Sender<anyhow::Result<Numbered>>,
    leash: Leash,
    number: u64,
}

impl Reader {
    fn run(mut self, mut open: Open, strict: bool) {
        let mut backoff = Backoff::default();
        let mut complaint = None;
        while !self.slot.is_closed() {
            let before = self.number;
            let lost = open(&self.leash).and_then(|feed| self.pump(feed, complaint.is_some()));
            let Err(why) = lost else { return };
            if strict {
                self.slot.send(Err(why.context("the source is lost")));
                return;
            }
            if self.number > before {
                backoff.reset();
                complaint = None;
            }
            let why = format!("{why:#}");
            if complaint.as_ref() != Some(&why) {
                warn!(%why, "the source gives no pictures; trying again every few seconds");
                complaint = Some(why);
            }
            thread::sleep(backoff.pause());
        }
    }

    /// Moves pictures into the slot until nobody wants them any more; the error is why there are none.
    fn pump(&mut self, mut feed: Feed, was_lost: bool) -> anyhow::Result<()> {
        let first = self.number + 1;
        while !self.slot.is_closed() {
            let picture = feed()?;
            self.number += 1;
            if was_lost && self.number == first {
                info!("the source is back");
            }
            self.slot.send(Ok(Numbered {
                picture,
                captured_us: unix_micros(),
                number: self.number,
            }));
        }
        Ok(())
    }
}

/// Holds the child process of a source, so that it ends with the sender although the reader is stuck in its pipe.
#[derive(Debug, Clone, Default)]
pub(super) struct Leash(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    child: Option<Child>,
    cut: bool,
}

impl Leash {
    /// Takes a new child; the one before it is killed.
    pub(super) fn hold(&self, child: Child) {
        let mut held = self.lock();
        kill(held.child.replace(child));
        if held.cut {
            kill(held.child.take());
        }
    }

    /// Kills the child, if there is one.
    pub(super) fn release(&self) {
        kill(self.lock().child.take());
    }

    /// Kills the child, and any that comes later.
    fn cut(&self) {
        self.lock().cut = true;
        self.release();
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn kill(child: Option<Child>) {
    if let Some(mut child) = child {
        // Both fail only where it has ended already.
        let _ = child.kill();
        let _ = child.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn tick(missed: u64) -> Tick {
        Tick {
            index: 0,
            due: Instant::now(),
            missed,
        }
    }

    fn picture() -> Picture {
        Picture::Jpeg(Vec::new())
    }

    #[test]
    fn a_lost_source_is_opened_again_and_goes_on() {
        let mut opened = 0;
        let open = move |_: &Leash| -> anyhow::Result<Feed> {
            opened += 1;
            let mut left = 1;
            Ok(Box::new(move || {
                anyhow::ensure!(left > 0, "unplugged for the {opened}. time");
                left -= 1;
                Ok(picture())
            }))
        };
        let mut live = Live::start(Box::new(open), false).unwrap();
        for _ in 0..2 {
            let next = live.next(&tick(0), Duration::from_secs(30)).unwrap();
            assert!(matches!(next, Next::Shot(_)));
        }
    }

    #[test]
    fn a_strict_source_fails_with_its_cause() {
        let open = |_: &Leash| anyhow::bail!("no camera at /dev/video7");
        let mut live = Live::start(Box::new(open), true).unwrap();
        let why = live.next(&tick(0), Duration::from_secs(30)).unwrap_err();
        assert!(format!("{why:#}").contains("/dev/video7"), "{why:#}");
    }

    #[test]
    fn a_missed_tick_counts_only_where_a_picture_was_there_for_it() {
        let (tell, all_read) = std::sync::mpsc::channel();
        let mut left = 5;
        let open = move |_: &Leash| -> anyhow::Result<Feed> {
            let tell = tell.clone();
            Ok(Box::new(move || {
                if left == 0 {
                    tell.send(())?;
                    thread::sleep(Duration::from_secs(3600));
                }
                left -= 1;
                Ok(picture())
            }))
        };
        let mut live = Live::start(Box::new(open), false).unwrap();
        // All five are read before the first is taken: four were displaced.
        all_read.recv_timeout(Duration::from_secs(30)).unwrap();
        let Next::Shot(shot) = live.next(&tick(9), Duration::from_secs(30)).unwrap() else {
            panic!("no picture");
        };
        assert_eq!(shot.missed, 4);
    }
}
