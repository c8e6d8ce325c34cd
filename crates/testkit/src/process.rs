//! The real programs under test: started, read line by line, stopped by signal, and never left behind.
//!
//! ```no_run
//! # use testkit::process::{Program, binary};
//! let relay = Program::new(binary("relay-server"))
//!     .args(["--listen", "127.0.0.1:0", "--model", "none", "--report"])
//!     .start();
//! let addr = relay.listening();
//! // .. frames in, frames out ..
//! relay.terminate();
//! assert!(relay.well().figure("received") > 0.0);
//! ```
//!
//! A test that waits in vain panics with all that the program said: the log is the first thing one wants to see.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// Lines kept of all a program says; the oldest go first.
const KEPT: usize = 20_000;
/// For a program to be ready: a model loads and warms up first, on a machine that runs other tests.
const READY: Duration = Duration::from_secs(60);
/// For a program to end, and for its last words behind that.
const END: Duration = Duration::from_secs(60);
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A program to start.
#[derive(Debug)]
pub struct Program(Command);

impl Program {
    /// The program at this path, with the environment of the test and no standard input. What it keeps for its next start
    /// it keeps for this test alone.
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

    /// Takes an environment variable away.
    #[must_use]
    pub fn env_remove(mut self, name: &str) -> Self {
        self.0.env_remove(name);
        self
    }

    /// Runs it in this directory.
    #[must_use]
    pub fn dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.0.current_dir(dir);
        self
    }

    /// Starts it.
    ///
    /// # Panics
    /// Where it cannot be started.
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
    /// How.
    pub status: ExitStatus,
    /// What `--report` printed: the last line of standard output that is a JSON object.
    pub report: Option<Value>,
    /// All of standard output.
    pub stdout: String,
    /// All of standard error: the log.
    pub stderr: String,
    /// From start to end.
    pub took: Duration,
    /// From the first signal to the end, where one was sent.
    pub stopped_in: Option<Duration>,
}

impl Running {
    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The first line, on either stream and from the start on, that contains `pattern`; waits for it.
    ///
    /// # Panics
    /// With the whole log, where there is none after `timeout` or the program ended without it.
    pub fn wait_for_line(&self, pattern: &str, timeout: Duration) -> String {
        self.wait_for(pattern, timeout, |line| {
            line.contains(pattern).then(|| line.to_owned())
        })
    }

    /// The address in the relay's `listening` line, in a text or a JSON log; waits for it.
    ///
    /// # Panics
    /// As [`Running::wait_for_line`] does.
    pub fn listening(&self) -> SocketAddr {
        self.wait_for("a `listening` line with an addr", READY, listening)
    }

    /// The lines of standard output so far.
    pub fn stdout(&self) -> Vec<String> {
        self.log.said().lines_of(Stream::Out).collect()
    }

    /// The lines of standard error so far.
    pub fn stderr(&self) -> Vec<String> {
        self.log.said().lines_of(Stream::Err).collect()
    }

    /// Resident memory in kB, by `/proc`.
    ///
    /// # Panics
    /// Where the program has ended.
    pub fn rss_kb(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap_or_default();
        status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next())
            .and_then(|kb| kb.parse().ok())
            .unwrap_or_else(|| panic!("the program has ended\n{}", self.log.said()))
    }

    /// Asks it to end, as a service manager does.
    pub fn terminate(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// Asks it to end, as Ctrl-C does.
    pub fn interrupt(&self) {
        self.signal(Signal::SIGINT);
    }

    /// Kills it, as a power cut does.
    pub fn kill(&self) {
        self.signal(Signal::SIGKILL);
    }

    /// Waits for its end, a minute at most.
    ///
    /// # Panics
    /// With the whole log, where it does not end.
    pub fn finish(mut self) -> Finished {
        let deadline = Instant::now() + END;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                break status;
            }
            assert!(
                Instant::now() < deadline,
                "the program has not ended within {END:?}\n{}",
                self.log.said()
            );
            thread::sleep(Duration::from_millis(2));
        };
        let ended = Instant::now();
        let said = self.log.last_words();
        Finished {
            status,
            report: said.report(),
            stdout: said.text(Stream::Out),
            stderr: said.text(Stream::Err),
            took: ended - self.started,
            stopped_in: lock(&self.signalled).map(|at| ended - at),
        }
    }

    /// As [`Running::finish`], of a program that is to end well.
    ///
    /// # Panics
    /// With all that it said, where it did not.
    pub fn well(self) -> Finished {
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
        let mut said = self.log.said();
        let mut seen = 0_usize;
        loop {
            let new = said.lines.iter().skip(seen.saturating_sub(said.dropped));
            if let Some(found) = new.map(|(_, line)| line).find_map(|line| find(line)) {
                return found;
            }
            seen = said.dropped + said.lines.len();
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(said.open > 0, "the program ended without {what:?}\n{said}");
            assert!(!left.is_zero(), "no {what:?} within {timeout:?}\n{said}");
            said = self.log.wait(said, left);
        }
    }
}

impl Finished {
    /// A number of the report.
    ///
    /// # Panics
    /// Where there is no report, or no such number in it.
    pub fn figure(&self, key: &str) -> f64 {
        let figure = self.report.as_ref().and_then(|r| r[key].as_f64());
        figure.unwrap_or_else(|| panic!("no {key} in the report: {self:?}"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The path of a program of this workspace, for tests outside its own package (inside, it is `env!("CARGO_BIN_EXE_..")`).
///
/// Built on first use, once a test process, in the profile of the tests. All packages are named to cargo, so that
/// dependencies have the features, and so the artefacts, of `cargo test --workspace`.
///
/// # Panics
/// With cargo's words, where it does not build.
pub fn binary(name: &str) -> PathBuf {
    static BUILT: OnceLock<Mutex<BTreeMap<String, PathBuf>>> = OnceLock::new();
    let mut built = lock(BUILT.get_or_init(Mutex::default));
    built
        .entry(name.to_owned())
        .or_insert_with(|| build(name))
        .clone()
}

/// A program of this machine; `None` where it is not installed.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

fn build(name: &str) -> PathBuf {
    let mut command = cargo();
    command
        .args(["build", "--workspace", "--bin", name, "--locked"])
        .arg("--message-format=json-render-diagnostics")
        .current_dir(crate::repository());
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let output = command.output().expect("cargo starts");
    let messages = String::from_utf8_lossy(&output.stdout);
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} does not build:\n{words}");
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == name)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .unwrap_or_else(|| panic!("cargo built no {name}:\n{words}"))
}

/// Cargo as a shell would start it. What it tells a test about the test's own package is taken away: build scripts look
/// at some of it (ring's does), and would build all that depends on them again, here and then again outside.
fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let of_package = |name: &&OsString| {
        let name = name.to_string_lossy();
        name == "OUT_DIR" || name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
    };
    let names: Vec<OsString> = std::env::vars_os().map(|(name, _)| name).collect();
    for name in names.iter().filter(of_package) {
        cargo.env_remove(name);
    }
    cargo
}

/// The address in a `listening` line.
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stream {
    Out,
    Err,
}

/// What a program says, as its readers hear it.
#[derive(Debug, Default)]
struct Log {
    said: Mutex<Said>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct Said {
    lines: VecDeque<(Stream, String)>,
    /// Older lines, no longer kept.
    dropped: usize,
    /// Streams that have not ended.
    open: usize,
}

impl Log {
    fn read(self: &Arc<Self>, stream: Stream, pipe: impl Read + Send + 'static) {
        self.said().open += 1;
        let log = Arc::clone(self);
        thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while matches!(pipe.read_until(b'\n', &mut line), Ok(1..)) {
                log.hear(stream, String::from_utf8_lossy(&line).trim_end());
                line.clear();
            }
            log.said().open -= 1;
            log.news.notify_all();
        });
    }

    fn hear(&self, stream: Stream, line: &str) {
        let mut said = self.said();
        if said.lines.len() == KEPT {
            said.lines.pop_front();
            said.dropped += 1;
        }
        said.lines.push_back((stream, line.to_owned()));
        drop(said);
        self.news.notify_all();
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        lock(&self.said)
    }

    fn wait<'a>(&self, said: MutexGuard<'a, Said>, timeout: Duration) -> MutexGuard<'a, Said> {
        let woken = self.news.wait_timeout(said, timeout);
        woken.unwrap_or_else(PoisonError::into_inner).0
    }

    /// All that was said, once both streams have ended; a program it started may hold them open, so not for ever.
    fn last_words(&self) -> MutexGuard<'_, Said> {
        let open = |said: &mut Said| said.open > 0;
        let said = self.news.wait_timeout_while(self.said(), LAST_WORDS, open);
        said.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Said {
    fn lines_of(&self, stream: Stream) -> impl DoubleEndedIterator<Item = String> {
        let of = move |(from, _): &&(Stream, String)| *from == stream;
        self.lines.iter().filter(of).map(|(_, line)| line.clone())
    }

    fn text(&self, stream: Stream) -> String {
        self.lines_of(stream).map(|line| line + "\n").collect()
    }

    fn report(&self) -> Option<Value> {
        self.lines_of(Stream::Out)
            .rev()
            .filter_map(|line| serde_json::from_str::<Value>(&line).ok())
            .find(Value::is_object)
    }
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "--- it said ({} older lines dropped):", self.dropped)?;
        for (stream, line) in &self.lines {
            f.write_str(if *stream == Stream::Out {
                "out: "
            } else {
                "err: "
            })?;
            f.write_str(line)?;
            f.write_char('\n')?;
        }
        f.write_str("---")
    }
}

/// A panic elsewhere leaves the lines as good as they were.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    fn shell(script: &str) -> Running {
        Program::new("/bin/sh").args(["-c", script]).start()
    }

    fn panic_of(f: impl FnOnce() + std::panic::UnwindSafe) -> String {
        let panic = std::panic::catch_unwind(f).unwrap_err();
        *panic.downcast::<String>().unwrap()
    }

    #[test]
    fn a_build_knows_nothing_of_the_package_under_test() {
        let cargo = cargo();
        let removed: Vec<_> = cargo
            .get_envs()
            .filter(|(_, value)| value.is_none())
            .collect();
        for name in ["CARGO_MANIFEST_DIR", "CARGO_PKG_NAME"] {
            assert!(std::env::var_os(name).is_some(), "cargo sets {name}");
            assert!(
                removed.iter().any(|(removed, _)| *removed == name),
                "{name}"
            );
        }
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
        let words = panic_of(std::panic::AssertUnwindSafe(|| {
            program.wait_for_line("ready", Duration::from_millis(20));
        }));
        assert!(words.contains("out: something else"), "{words}");
    }

    #[test]
    fn a_program_that_ended_is_not_waited_for() {
        let program = shell("echo it broke >&2; exit 1");
        let words = panic_of(std::panic::AssertUnwindSafe(|| {
            program.wait_for_line("ready", Duration::from_secs(3600));
        }));
        assert!(words.contains("err: it broke"), "{words}");
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
        let done = shell(r#"echo "{\"sent\":7}""#).well();
        assert!((done.figure("sent") - 7.0).abs() < 1e-9);
        let words = panic_of(|| {
            done.figure("skipped");
        });
        assert!(words.contains("no skipped in the report"), "{words}");
        let words = panic_of(|| drop(shell("echo it broke >&2; exit 1").well()));
        assert!(words.contains("it broke"), "{words}");
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
