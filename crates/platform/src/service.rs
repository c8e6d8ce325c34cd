//! The service manager (systemd) that started the program: readiness, watchdog, state.
//!
//! Without one, that is without `NOTIFY_SOCKET` in the environment, nothing here does anything.
//!
//! The watchdog is fed by the loop that does the program's work, and by no thread of its own: such a thread would go on while
//! the loop hangs, and the manager would never restart the program.

use std::env;
use std::fmt;
use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use protocol::text::printable;
use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;

/// Turns of the loop within the manager's limit that have to feed the watchdog: of four in a row three may be late.
const FEEDINGS: u32 = 4;
/// Time between two checks of the watchdog where the manager watches nothing: long enough to cost nothing.
const NEVER: Duration = Duration::from_secs(3600);
/// Time between two extensions of the start's limit.
const EXTENSION_INTERVAL: Duration = Duration::from_secs(5);
/// How far each extension moves that limit: several intervals, since the machine is busy while a model loads.
const EXTENSION: Duration = Duration::from_secs(30);
/// After this a start is extended no more. TensorRT builds an engine for minutes; what takes longer hangs.
const LONGEST_START: Duration = Duration::from_secs(30 * 60);
/// Longest line of state, in characters; names of cameras come from peers.
const MAX_STATUS: usize = 200;

type Send = dyn Fn(&[NotifyState<'_>]) -> io::Result<()> + std::marker::Send + Sync;

/// The service manager, if one started this program. Clones are the same one.
#[derive(Clone, Default)]
pub struct ServiceManager(Option<Arc<Link>>);

/// The way to a manager, and what it knows of this program.
struct Link {
    send: Box<Send>,
    /// Time without feeding after which the manager ends the program; `None` if it does not watch.
    limit: Option<Duration>,
    ready: AtomicBool,
    status: Mutex<String>,
    failed: AtomicBool,
}

impl ServiceManager {
    /// Returns the manager that the environment names.
    pub fn from_environment() -> Self {
        let named = env::var_os("NOTIFY_SOCKET").is_some_and(|socket| !socket.is_empty());
        match named {
            true => Self::new(Box::new(sd_notify::notify), sd_notify::watchdog_enabled()),
            false => Self::default(),
        }
    }

    fn new(send: Box<Send>, limit: Option<Duration>) -> Self {
        Self(Some(Arc::new(Link {
            send,
            limit,
            ready: AtomicBool::new(false),
            status: Mutex::default(),
            failed: AtomicBool::new(false),
        })))
    }

    /// Returns whether a manager started this program.
    pub fn is_present(&self) -> bool {
        self.0.is_some()
    }

    /// Reports that the program does its work, with a line on its state. The watchdog counts from now on.
    pub fn ready(&self, status: &str) {
        self.set_status(status);
        if let Some(link) = &self.0 {
            link.ready.store(true, Ordering::Relaxed);
            link.send(&[NotifyState::Ready, NotifyState::Watchdog]);
        }
    }

    /// Reports a line on the program's state, which `systemctl status` shows; one that is as before is not sent.
    pub fn set_status(&self, status: &str) {
        let Some(link) = &self.0 else { return };
        let status = printable(status, MAX_STATUS);
        let mut known = link.status.lock().unwrap_or_else(PoisonError::into_inner);
        if *known != status {
            link.send(&[NotifyState::Status(&status)]);
            *known = status;
        }
    }

    /// Reports that the program ends.
    pub fn stopping(&self) {
        if let Some(link) = &self.0 {
            link.send(&[NotifyState::Stopping]);
        }
    }

    /// Does `work`, which reads the configuration again, as a reload. A program that is not ready yet reports none: its end
    /// would be taken for the end of the start.
    pub fn reload(&self, work: impl FnOnce()) {
        let link = self.0.as_ref();
        let link = link.filter(|link| link.ready.load(Ordering::Relaxed));
        if let Some(link) = link
            && let Ok(now) = NotifyState::monotonic_usec_now()
        {
            link.send(&[NotifyState::Reloading, now]);
        }
        work();
        if let Some(link) = link {
            link.send(&[NotifyState::Ready]);
        }
    }

    /// Waits for a part of the start that may be slow, and extends the manager's limit as long as that takes, up to half an
    /// hour. Call it inside a tokio runtime.
    pub async fn extend_start<T>(&self, work: impl Future<Output = T>) -> T {
        let Some(link) = &self.0 else {
            return work.await;
        };
        let mut work = std::pin::pin!(work);
        let mut ticks = interval(EXTENSION_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for _ in 0..LONGEST_START.as_secs() / EXTENSION_INTERVAL.as_secs() {
            tokio::select! {
                done = &mut work => return done,
                _ = ticks.tick() => {
                    let micros = u32::try_from(EXTENSION.as_micros()).unwrap_or(u32::MAX);
                    link.send(&[NotifyState::ExtendTimeoutUsec(micros)]);
                }
            }
        }
        work.await
    }

    /// Returns the watchdog, for the loop that does the program's work.
    pub fn watchdog(&self) -> Watchdog {
        Watchdog {
            manager: self.clone(),
            fed: None,
        }
    }
}

impl fmt::Debug for ServiceManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ServiceManager")
            .field(&self.is_present())
            .finish()
    }
}

impl Link {
    fn send(&self, state: &[NotifyState<'_>]) {
        if let Err(err) = (self.send)(state)
            && !self.failed.swap(true, Ordering::Relaxed)
        {
            warn!("the service manager cannot be reached at $NOTIFY_SOCKET: {err}");
        }
    }
}

/// The manager's watchdog: it ends and restarts a program whose loop feeds it no more.
#[derive(Debug, Default)]
pub struct Watchdog {
    manager: ServiceManager,
    fed: Option<Instant>,
}

impl Watchdog {
    /// Returns how often [`Watchdog::feed`] has to be called, at least.
    pub fn interval(&self) -> Duration {
        let link = self.manager.0.as_ref();
        let limit = link.and_then(|link| link.limit);
        limit.map_or(NEVER, |limit| limit / FEEDINGS)
    }

    /// Feeds the watchdog, if it is due. Cheap enough for each turn of a loop.
    pub fn feed(&mut self, now: Instant) {
        let Some(link) = &self.manager.0 else { return };
        // Half of it, since the timer of a loop comes a little early now and then.
        let pause = self.interval() / 2;
        let due = self
            .fed
            .is_none_or(|fed| now.saturating_duration_since(fed) >= pause);
        if due && link.limit.is_some() {
            self.fed = Some(now);
            link.send(&[NotifyState::Watchdog]);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};
    use std::thread;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(40);

    /// Returns a manager, and the messages that it is sent.
    fn manager(limit: Option<Duration>) -> (ServiceManager, Receiver<String>) {
        let (sent, messages) = channel();
        let send = move |state: &[NotifyState<'_>]| {
            let lines: Vec<String> = state.iter().map(ToString::to_string).collect();
            sent.send(lines.join(" ")).map_err(io::Error::other)
        };
        (ServiceManager::new(Box::new(send), limit), messages)
    }

    fn sent(messages: &Receiver<String>) -> Vec<String> {
        messages.try_iter().collect()
    }

    #[test]
    fn without_a_manager_nothing_happens() {
        let none = ServiceManager::default();
        none.ready("x");
        none.stopping();
        let mut ran = false;
        none.reload(|| ran = true);
        none.watchdog().feed(Instant::now());
        assert!(ran && !none.is_present());
        assert_eq!(none.watchdog().interval(), NEVER);
    }

    #[test]
    fn a_program_is_ready_once_and_its_state_is_sent_when_it_changes() {
        let (manager, messages) = manager(None);
        manager.ready("listens");
        assert_eq!(sent(&messages), ["STATUS=listens", "READY=1 WATCHDOG=1"]);
        manager.set_status("listens");
        manager.set_status("yard\nREADY=0");
        assert_eq!(sent(&messages), ["STATUS=yard\\nREADY=0"]);
        manager.stopping();
        assert_eq!(sent(&messages), ["STOPPING=1"]);
    }

    #[test]
    fn a_reload_is_framed_by_its_time_and_its_end_but_not_during_the_start() {
        let (manager, messages) = manager(None);
        manager.reload(|| ());
        assert_eq!(sent(&messages), [""; 0]);
        manager.ready("");
        sent(&messages);
        manager.reload(|| manager.set_status("during"));
        let [begin, during, end] = &sent(&messages)[..] else {
            panic!("three messages");
        };
        let micros = begin.strip_prefix("RELOADING=1 MONOTONIC_USEC=").unwrap();
        assert!(micros.parse::<u64>().unwrap() > 0);
        assert_eq!(
            (during.as_str(), end.as_str()),
            ("STATUS=during", "READY=1")
        );
    }

    #[test]
    fn the_watchdog_is_fed_eight_times_in_its_limit_at_most_however_fast_the_loop_turns() {
        let (manager, messages) = manager(Some(LIMIT));
        let mut watchdog = manager.watchdog();
        assert_eq!(watchdog.interval(), LIMIT / 4);
        let start = Instant::now();
        for ms in (0..LIMIT.as_millis() as u64).step_by(100) {
            watchdog.feed(start + Duration::from_millis(ms));
        }
        assert_eq!(sent(&messages), ["WATCHDOG=1"; 8]);
    }

    #[test]
    fn a_manager_that_does_not_watch_is_not_fed() {
        let (manager, messages) = manager(None);
        manager.watchdog().feed(Instant::now());
        assert_eq!(sent(&messages), [""; 0]);
    }

    #[test]
    fn a_loop_that_hangs_feeds_no_watchdog() {
        let limit = Duration::from_millis(40);
        let (manager, messages) = manager(Some(limit));
        let (hang, hung) = channel::<()>();
        let mut watchdog = manager.watchdog();
        let work = thread::spawn(move || {
            for turn in 0..10 {
                watchdog.feed(Instant::now());
                if turn == 3 {
                    // As a loop does that waits for something that never comes.
                    let _ = hung.recv();
                }
                thread::sleep(limit / 4);
            }
        });
        let mut fed = 0;
        while messages.recv_timeout(Duration::from_secs(1)).is_ok() {
            fed += 1;
        }
        assert!(
            (1..=4).contains(&fed),
            "fed {fed} times, the last time before it hung"
        );
        drop(hang);
        work.join().unwrap();
        assert!(sent(&messages).len() > 1, "a loop that goes on feeds again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_start_is_extended_until_it_ends_or_takes_too_long() {
        let (manager, messages) = manager(None);
        let slow = tokio::time::sleep(Duration::from_secs(12));
        manager.extend_start(slow).await;
        assert_eq!(sent(&messages), ["EXTEND_TIMEOUT_USEC=30000000"; 3]);
        let hangs = manager.extend_start(std::future::pending::<()>());
        let day = Duration::from_secs(86_400);
        assert!(tokio::time::timeout(day, hangs).await.is_err());
        assert_eq!(sent(&messages).len(), 360);
    }
}
