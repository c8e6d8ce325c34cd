//! Benchmarks that run the same measurement under many settings: the cells, of which a few run at a time.

use std::cmp::Reverse;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{env, io, thread, vec};

use crate::cpu;

/// Runs a benchmark: parses the command line, and prints the text that `run` returns with whether a measurement failed.
/// Exits with 2 on a usage error, and with 1 after such a failure.
pub fn main<O>(
    parse: impl FnOnce(vec::IntoIter<String>) -> Result<O, String>,
    run: impl FnOnce(&O) -> (String, bool),
) -> ExitCode {
    let options = match parse(arguments().into_iter()) {
        Ok(options) => options,
        Err(why) => {
            eprintln!("{why}; scripts/bench --help lists the words");
            return ExitCode::from(2);
        }
    };
    let (text, failed) = run(&options);
    let printed = writeln!(io::stdout().lock(), "{text}");
    ExitCode::from(u8::from(failed || printed.is_err()))
}

/// Returns the words of the command line, without the `--bench` that cargo adds.
pub fn arguments() -> Vec<String> {
    let words = env::args().skip(1);
    words.filter(|word| word != "--bench").collect()
}

/// Measures each cell, `jobs` of them at a time, and returns the results in the order of `cells`.
///
/// The cells that take longest (by `length`) start first, so that none of them runs alone at the end. Standard error shows
/// a forecast of the duration, and a `line` for each cell as it ends.
pub fn run<C: Sync, T: Send>(
    cells: &[C],
    jobs: usize,
    length: impl Fn(&C) -> Duration,
    measure: impl Fn(&C) -> T + Sync,
    line: impl Fn(&C, &T) -> String,
) -> Vec<T> {
    let all = cells.len();
    let mut queue: Vec<usize> = (0..all).collect();
    queue.sort_by_key(|&n| Reverse(length(&cells[n])));
    let seconds = cells.iter().map(&length).sum::<Duration>().as_secs_f64() / jobs as f64;
    eprintln!("{all} cells, {jobs} at a time, about {seconds:.0} s");
    let (next, (sender, receiver)) = (AtomicUsize::new(0), mpsc::channel());
    let mut results = Vec::new();
    thread::scope(|scope| {
        for sender in vec![sender; jobs] {
            let (queue, next, measure) = (&queue, &next, &measure);
            scope.spawn(move || {
                while let Some(&n) = queue.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if sender.send((n, measure(&cells[n]))).is_err() {
                        return;
                    }
                }
            });
        }
        for (n, result) in receiver {
            let line = line(&cells[n], &result);
            results.push((n, result));
            eprintln!("{:>3}/{all} {line}", results.len());
        }
    });
    results.sort_by_key(|(n, _)| *n);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Returns the result of `measure`, or the first line of its panic: one cell that fails does not end the others.
///
/// # Errors
/// That line.
pub fn attempt<T>(measure: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(measure)).map_err(|panic| {
        let message = panic.downcast_ref::<String>().map(String::as_str);
        let message = message.or_else(|| panic.downcast_ref::<&str>().copied());
        let first = message.and_then(|message| message.lines().next());
        first.unwrap_or("see above").to_owned()
    })
}

/// Parses the value of a flag: a number above 0.
///
/// # Errors
/// A sentence, if the value is anything else.
pub fn number(flag: &str, text: &str) -> Result<u64, String> {
    let number = text.parse().ok().filter(|n| *n > 0);
    number.ok_or(format!("{flag} is a number above 0, not {text}"))
}

/// A measurement of how busy the machine is.
#[derive(Debug)]
pub struct Load {
    start: Instant,
    busy: Duration,
}

impl Load {
    /// Starts measuring.
    pub fn start() -> Self {
        Self {
            start: Instant::now(),
            busy: cpu::machine(),
        }
    }

    /// Returns one line: the duration so far, and the number of busy cores.
    pub fn describe(&self) -> String {
        let took = self.start.elapsed().as_secs_f64();
        let busy = (cpu::machine() - self.busy).as_secs_f64() / took;
        let cores = thread::available_parallelism().map_or(0, usize::from);
        format!("took {took:.0} s, in which {busy:.2} of {cores} cores were busy")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_cells_and_the_longest_goes_first() {
        let begun = Mutex::new(Vec::new());
        let measure = |cell: &u64| {
            begun.lock().unwrap().push(*cell);
            10 * cell
        };
        let length = |cell: &u64| Duration::from_secs(*cell);
        let line = |_: &u64, _: &u64| String::new();
        assert_eq!(run(&[2, 9, 4], 1, length, measure, line), [20, 90, 40]);
        assert_eq!(*begun.lock().unwrap(), [9, 4, 2]);
        assert_eq!(run(&[2, 9, 4], 8, length, measure, line), [20, 90, 40]);
    }

    #[test]
    fn as_many_run_at_a_time_as_are_asked_for() {
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let measure = |_: &()| {
            most.fetch_max(1 + running.fetch_add(1, Ordering::SeqCst), Ordering::SeqCst);
            thread::sleep(Duration::from_millis(20));
            running.fetch_sub(1, Ordering::SeqCst);
        };
        let second = |_: &()| Duration::from_secs(1);
        run(&[(); 12], 3, second, measure, |(), ()| String::new());
        assert!((2..=3).contains(&most.into_inner()));
    }

    #[test]
    fn what_fails_says_why_in_one_line() {
        assert_eq!(attempt(|| 7), Ok(7));
        let failed = attempt(|| panic!("no {} here\nand a log", "relay"));
        assert_eq!(failed, Err::<(), _>("no relay here".to_owned()));
        let failed = attempt(|| panic!("no relay"));
        assert_eq!(failed, Err::<(), _>("no relay".to_owned()));
    }

    #[test]
    fn a_number_is_above_nothing() {
        assert_eq!(number("--jobs", "6"), Ok(6));
        for text in ["0", "-1", "six", ""] {
            let why = number("--jobs", text).unwrap_err();
            assert!(why.starts_with("--jobs is a number above 0"), "{why}");
        }
    }
}
