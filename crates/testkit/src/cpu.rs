//! Processor time of programs and threads, to the nanosecond, from the scheduler's statistics (`/proc/../schedstat`).
//!
//! The kernel updates a thread's statistics when the thread leaves the processor: they are exact for a thread that sleeps,
//! and late by at most a tick for one that runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The processor clock of a thread or a program.
#[derive(Debug, Clone)]
pub struct CpuClock(PathBuf);

impl CpuClock {
    /// Returns the clock of all threads that a program has.
    pub fn of_program(id: u32) -> Self {
        Self(PathBuf::from(format!("/proc/{id}/task")))
    }

    /// Returns the clock of the calling thread.
    ///
    /// # Panics
    /// Without `/proc`.
    pub fn of_this_thread() -> Self {
        let link = fs::read_link("/proc/thread-self").expect("Linux has /proc/thread-self");
        Self(Path::new("/proc").join(link))
    }

    /// Returns the processor time so far; zero for a thread or program that has ended.
    pub fn spent(&self) -> Duration {
        let own = runtime(&self.0);
        own.unwrap_or_else(|| {
            let threads = fs::read_dir(&self.0).into_iter().flatten().flatten();
            threads.filter_map(|thread| runtime(&thread.path())).sum()
        })
    }
}

/// Returns the busy time of all processors together since the machine's start.
pub fn machine() -> Duration {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks = |n: &str| n.parse::<u64>().unwrap_or(0);
    let all: Vec<u64> = stat
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .map(ticks)
        .collect();
    // user, nice, system, idle, iowait, irq, softirq, steal; guests are in user already
    let busy = all
        .iter()
        .take(8)
        .enumerate()
        .filter(|(kind, _)| ![3, 4].contains(kind));
    Duration::from_millis(10 * busy.map(|(_, ticks)| ticks).sum::<u64>())
}

/// Returns a thread's processor time; `None` if there is no such thread.
fn runtime(thread: &Path) -> Option<Duration> {
    let statistics = fs::read_to_string(thread.join("schedstat")).ok()?;
    let ns = statistics.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(ns))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_thread_that_works_is_charged_and_so_is_its_program() {
        let (thread, program) = (
            CpuClock::of_this_thread(),
            CpuClock::of_program(std::process::id()),
        );
        let before = (thread.spent(), program.spent(), machine());
        let start = Instant::now();
        while thread.spent() < before.0 + Duration::from_millis(30) {
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "nothing is charged"
            );
        }
        assert!(program.spent() >= before.1 + Duration::from_millis(30));
        assert!(machine() > before.2);
    }

    #[test]
    fn a_program_that_is_gone_costs_nothing() {
        assert_eq!(CpuClock::of_program(u32::MAX).spent(), Duration::ZERO);
    }
}
