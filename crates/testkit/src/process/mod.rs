//! The real programs under test: started, read line by line, stopped by a signal, and killed on drop.
//!
//! ```no_run
//! # use testkit::process::{Program, binary};
//! let relay = Program::new(binary("relay-server"))
//!     .args(["--listen", "127.0.0.1:0", "--model", "none", "--report"])
//!     .start();
//! let addr = relay.listening();
//! // .. frames in, frames out ..
//! relay.terminate();
//! assert!(relay.finish_ok().figure("received") > 0.0);
//! ```
//!
//! A test that waits in vain panics with the program's whole output: the log is the first thing one wants to see.

mod build;
mod log;

use std::ffi::OsStr;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

pub use self::build::{binary, on_path};
use self::log::{Log, Stream, lock};

/// Longest wait for a program to be ready: a model loads and warms up first, on a machine that runs other tests.
const READY: Duration = Duration::from_secs(60);
/// Longest wait for a program to end.
const END: Duration = Duration::from_secs(60);

/// A program to start.
#[derive(Debug)]
pub struct Program(Command);

impl Program {
    /// Prepares the program at this path, with the environment of the test, no standard input, and a state directory of
    /// this test process alone.
    pub fn new(path: impl AsRef<Path>) -> Self {
        let mut command = Command::new(path.as_ref());
        let state = format!("target/test-state/{}", std::process::id());
        command.stdin(Stdio::null());
        command.env("XDG_STATE_HOME", crate::repository().join(state));
        Self(command)
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.0.args(args);
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.0.env(name, value);
        self
    }

    /// Removes an environment variable.
    #[must_use]
    pub fn env_remove(mut self, name: &str) -> Self {
        self.0.env_remove(name);
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.0.current_dir(dir);
        self
    }

    /// Starts the program.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(mut self) -> Running {
        self.0.stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = Instant::now();
        let mut child = self
            .0
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {:?}: {e}", self.0.get_program()));
        let log = Arc::new(Log::default());
        let stdout = child.stdout.take().expect("standard output is piped");
        let stderr = child.stderr.take().expect("standard error is piped");
        log.read(Stream::Out, stdout);
        log.read(Stream::Err, stderr);
        Running {
            child,
            log,
            started,
            signalled: Mutex::new(None),
        }
    }
}

/// A program that runs. Dropped, it is killed.
#[derive(Debug)]
pub struct Running {
    child: Child,
    log: Arc<Log>,
    started: Instant,
    signalled: Mutex<Option<Instant>>,
}

/// A program that has ended.
#[derive(Debug)]
pub struct Finished {
    /// Exit status.
    pub status: ExitStatus,
    /// The output of `--report`: the last line of standard output that is a JSON object.
    pub report: Option<Value>,
    /// All of standard output.
    pub stdout: String,
    /// All of standard error: the log.
    pub stderr: String,
    /// Time from start to end.
    pub took: Duration,
    /// Time from the first signal to the end, if one was sent.
    pub stopped_in: Option<Duration>,
}

impl Running {
    /// Returns the process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the first line, on either stream and from the start on, that contains `pattern`, and returns it.
    ///
    /// # Panics
    /// With the whole output, if there is none after `timeout` or the program ended without it.
    pub fn wait_for_line(&self, pattern: &str, timeout: Duration) -> String {
        self.wait_for(pattern, timeout, |line| {
            line.contains(pattern).then(|| line.to_owned())
        })
    }

    /// Waits for the relay's `listening` line, in a text or a JSON log, and returns its address.
    ///
    /// # Panics
    /// As [`Running::wait_for_line`] does.
    pub fn listening(&self) -> SocketAddr {
        self.wait_for("a `listening` line with an addr", READY, listening)
    }

    /// Returns the lines of standard output so far.
    pub fn stdout(&self) -> Vec<String> {
        self.log.captured().lines_of(Stream::Out).collect()
    }

    /// Returns the lines of standard error so far.
    pub fn stderr(&self) -> Vec<String> {
        self.log.captured().lines_of(Stream::Err).collect()
    }

    /// Returns the resident memory in kB, from `/proc`.
    ///
    /// # Panics
    /// If the program has ended.
    pub fn rss_kb(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap_or_default();
        status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next())
            .and_then(|kb| kb.parse().ok())
            .unwrap_or_else(|| panic!("the program has ended\n{}", self.log.captured()))
    }

    /// Sends SIGTERM, as a service manager does.
    pub fn terminate(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// Sends SIGINT, as Ctrl-C does.
    pub fn interrupt(&self) {
        self.signal(Signal::SIGINT);
    }

    /// Sends SIGHUP, as a terminal that is closed does.
    pub fn hang_up(&self) {
        self.signal(Signal::SIGHUP);
    }

    /// Sends SIGKILL: the program ends as in a power cut.
    pub fn kill(&self) {
        self.signal(Signal::SIGKILL);
    }

    /// Waits for the end, a minute at most.
    ///
    /// # Panics
    /// With the whole output, if the program does not end.
    pub fn finish(mut self) -> Finished {
        let deadline = Instant::now() + END;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                break status;
            }
            assert!(
                Instant::now() < deadline,
                "the program has not ended within {END:?}\n{}",
                self.log.captured()
            );
            thread::sleep(Duration::from_millis(2));
        };
        let ended = Instant::now();
        let output = self.log.complete();
        Finished {
            status,
            report: output.report(),
            stdout: output.text(Stream::Out),
            stderr: output.text(Stream::Err),
            took: ended - self.started,
            stopped_in: lock(&self.signalled).map(|at| ended - at),
        }
    }

    /// Waits for the end as [`Running::finish`] does, and requires success.
    ///
    /// # Panics
    /// With the whole output, if the program failed.
    pub fn finish_ok(self) -> Finished {
        let finished = self.finish();
        let Finished { stdout, stderr, .. } = &finished;
        assert!(
            finished.status.success(),
            "{}\n{stdout}{stderr}",
            finished.status
        );
        finished
    }

    fn signal(&self, signal: Signal) {
        lock(&self.signalled).get_or_insert_with(Instant::now);
        let id = i32::try_from(self.id()).expect("process ids are positive and small");
        // The child is not waited for yet, so the id is still its own; one that has ended needs no signal.
        let _ = kill(Pid::from_raw(id), signal);
    }

    fn wait_for<T>(&self, what: &str, timeout: Duration, find: impl Fn(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + timeout;
        let mut captured = self.log.captured();
        let mut seen = 0_usize;
        loop {
            let new = captured
                .lines
                .iter()
                .skip(seen.saturating_sub(captured.dropped));
            if let Some(found) = new.map(|(_, line)| line).find_map(|line| find(line)) {
                return found;
            }
            seen = captured.dropped + captured.lines.len();
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                captured.open > 0,
                "the program ended without {what:?}\n{captured}"
            );
            assert!(
                !left.is_zero(),
                "no {what:?} within {timeout:?}\n{captured}"
            );
            captured = self.log.wait(captured, left);
        }
    }
}

impl Finished {
    /// Returns a number of the report.
    ///
    /// # Panics
    /// If there is no report, or no such number in it.
    pub fn figure(&self, key: &str) -> f64 {
        let figure = self.report.as_ref().and_then(|r| r[key].as_f64());
        figure.unwrap_or_else(|| panic!("no {key} in the report: {self:?}"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the address in a `listening` line.
fn listening(line: &str) -> Option<SocketAddr> {
    if !line.contains("listening") {
        return None;
    }
    if let Ok(json) = serde_json::from_str::<Value>(line) {
        return json["fields"]["addr"].as_str()?.parse().ok();
    }
    let addr = line
        .split_whitespace()
        .find_map(|word| word.strip_prefix("addr="))?;
    addr.trim_matches('"').parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::log::KEPT;
    use super::*;

    fn shell(script: &str) -> Running {
        Program::new("/bin/sh").args(["-c", script]).start()
    }

    fn panic_of(f: impl FnOnce() + std::panic::UnwindSafe) -> String {
        let panic = std::panic::catch_unwind(f).unwrap_err();
        *panic.downcast::<String>().unwrap()
    }

    #[test]
    fn a_line_is_waited_for_on_either_stream() {
        let program = shell("echo one; echo two >&2; exec sleep 60");
        assert_eq!(program.wait_for_line("tw", READY), "two");
        assert_eq!(program.wait_for_line("one", READY), "one");
        assert_eq!(program.stdout(), ["one"]);
        assert_eq!(program.stderr(), ["two"]);
    }

    #[test]
    fn waiting_in_vain_ends_with_the_log() {
        let program = shell("echo something else; exec sleep 60");
        program.wait_for_line("else", READY);
        let message = panic_of(std::panic::AssertUnwindSafe(|| {
            program.wait_for_line("ready", Duration::from_millis(20));
        }));
        assert!(message.contains("out: something else"), "{message}");
    }

    #[test]
    fn a_program_that_ended_is_not_waited_for() {
        let program = shell("echo it broke >&2; exit 1");
        let message = panic_of(std::panic::AssertUnwindSafe(|| {
            program.wait_for_line("ready", Duration::from_secs(3600));
        }));
        assert!(message.contains("err: it broke"), "{message}");
    }

    #[test]
    fn the_address_is_found_in_text_and_json_logs() {
        let addr = SocketAddr::from(([127, 0, 0, 1], 40123));
        for line in [
            "2026-01-01T00:00:00.000000Z  INFO listening addr=127.0.0.1:40123 model=none",
            r#"{"timestamp":"2026","level":"INFO","fields":{"message":"listening","addr":"127.0.0.1:40123"}}"#,
        ] {
            assert_eq!(listening(line), Some(addr), "{line}");
        }
        assert_eq!(listening("WARN not listening yet"), None);
        let program = shell("echo starting; echo INFO listening addr=127.0.0.1:40123 >&2");
        assert_eq!(program.listening(), addr);
    }

    #[test]
    fn sigterm_ends_it_and_the_report_is_its_last_json_object() {
        let program = shell(
            r#"trap 'echo "{\"sent\":7}"; echo [1]; exit 3' TERM; echo "{\"v\":1}"; echo up; while :; do sleep 0.01; done"#,
        );
        program.wait_for_line("up", READY);
        assert!(program.rss_kb() > 100);
        program.terminate();
        let done = program.finish();
        assert_eq!(done.status.code(), Some(3));
        assert_eq!(done.report.unwrap()["sent"], 7);
        assert!(done.stopped_in.unwrap() <= done.took);
        assert_eq!(done.stdout, "{\"v\":1}\nup\n{\"sent\":7}\n[1]\n");
    }

    #[test]
    fn a_program_that_fails_has_not_ended_well_and_a_report_has_what_it_has() {
        let done = shell(r#"echo "{\"sent\":7}""#).finish_ok();
        assert!((done.figure("sent") - 7.0).abs() < 1e-9);
        let message = panic_of(|| {
            done.figure("skipped");
        });
        assert!(message.contains("no skipped in the report"), "{message}");
        let message = panic_of(|| drop(shell("echo it broke >&2; exit 1").finish_ok()));
        assert!(message.contains("it broke"), "{message}");
    }

    #[test]
    fn a_program_killed_says_so() {
        let program = shell("exec sleep 60");
        program.kill();
        assert_eq!(program.finish().status.signal(), Some(9));
    }

    #[test]
    fn a_dropped_program_is_gone() {
        let program = shell("exec sleep 60");
        let id = program.id();
        drop(program);
        assert!(!Path::new(&format!("/proc/{id}")).exists());
    }

    #[test]
    fn old_lines_make_room_for_new_ones() {
        let program = shell("seq 1 30000; echo done");
        program.wait_for_line("done", READY);
        let lines = program.stdout();
        assert_eq!((lines.len(), lines[0].as_str()), (KEPT, "10002"));
    }
}
