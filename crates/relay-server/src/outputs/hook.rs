//! `--on-event COMMAND`: runs a command for each event, with the event's fields in its environment and the message on its
//! standard input. A few run at a time; one that takes too long is ended with all that it has started.

use std::process::{ExitStatus, Stdio};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use protocol::event::EventMessage;
use protocol::text::printable_bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::fields;
use super::hub::{EventQueue, LAST_CHANCE};
use super::picture_url::PictureUrls;
use super::retry::{Lost, OutputStats};
use super::unix_s;
use super::webhook::request::with_urls;

/// Commands that run at a time.
const MAX_RUNNING: usize = 4;
/// Bytes of a command's standard error that the log shows if it fails.
const MAX_SHOWN: usize = 300;

/// How long commands may take.
#[derive(Debug, Clone, Copy)]
pub struct HookTimes {
    /// Until a command is sent SIGTERM.
    pub limit: Duration,
    /// From then until it is killed.
    pub grace: Duration,
}

impl Default for HookTimes {
    fn default() -> Self {
        Self {
            limit: Duration::from_secs(30),
            grace: Duration::from_secs(2),
        }
    }
}

/// A command with its arguments. No shell reads it; one that is wanted is named, as in `sh -c '..'`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookCommand {
    program: String,
    arguments: Vec<String>,
}

impl HookCommand {
    /// Returns the program.
    pub fn program(&self) -> &str {
        &self.program
    }
}

impl FromStr for HookCommand {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let words = shlex::split(s).ok_or("a quote does not close")?;
        let mut words = words.into_iter();
        let program = words.next().filter(|program| !program.is_empty());
        Ok(Self {
            program: program.ok_or("a command, as in '/usr/local/bin/notify --quiet'")?,
            arguments: words.collect(),
        })
    }
}

/// Runs the command for each event of the queue until `stop`.
pub async fn run(
    command: HookCommand,
    urls: PictureUrls,
    times: HookTimes,
    queue: EventQueue,
    stats: Arc<OutputStats>,
    stop: CancellationToken,
) {
    let mut running = JoinSet::new();
    loop {
        if running.len() >= MAX_RUNNING {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = running.join_next() => continue,
            }
        }
        let event = tokio::select! {
            () = stop.cancelled() => break,
            event = queue.pop() => event,
        };
        let message = with_urls(event.message.clone(), &urls, unix_s());
        start(&mut running, &command, message, times, &stats);
        while running.try_join_next().is_some() {}
    }
    finish(running, &queue, |running, message| {
        start(
            running,
            &command,
            with_urls(message, &urls, unix_s()),
            times,
            &stats,
        );
    })
    .await;
}

/// Runs what waits while the relay stops, as far as there is time; what runs then is killed.
async fn finish(
    mut running: JoinSet<()>,
    queue: &EventQueue,
    start: impl Fn(&mut JoinSet<()>, EventMessage),
) {
    let deadline = Instant::now() + LAST_CHANCE;
    let rest = async {
        while let Some(event) = queue.try_pop() {
            if running.len() >= MAX_RUNNING {
                running.join_next().await;
            }
            start(&mut running, event.message.clone());
        }
        while running.join_next().await.is_some() {}
    };
    let _ = tokio::time::timeout_at(deadline.into(), rest).await;
}

fn start(
    running: &mut JoinSet<()>,
    command: &HookCommand,
    message: EventMessage,
    times: HookTimes,
    stats: &Arc<OutputStats>,
) {
    let child = spawn(command, &message);
    let (stats, program) = (stats.clone(), command.program.clone());
    let json = Bytes::from(message.to_json());
    running.spawn(async move {
        let ended = match child {
            Err(err) => Err(format!("it cannot be started: {err}; check --on-event")),
            Ok(child) => supervise(child, json, times).await,
        };
        match ended {
            Ok(Ended::Well) => stats.on_delivered(),
            Ok(Ended::Late) => {
                stats.on_lost(Lost::TimedOut, 1);
                let limit_s = times.limit.as_secs();
                warn!(%program, limit_s, "the command of --on-event took too long and was ended; let it start what takes longer as a service");
            }
            Err(why) => {
                stats.on_lost(Lost::Failed, 1);
                warn!(%program, "the command of --on-event failed: {why}");
            }
        }
    });
}

/// How a command ended.
enum Ended {
    Well,
    Late,
}

/// Kills a command with all that it has started when it is dropped, unless it has ended by itself.
struct Group(Option<Pid>);

impl Group {
    fn signal(&self, signal: Signal) {
        // It may have ended at this moment.
        let _ = self.0.map(|group| killpg(group, signal));
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}

fn spawn(command: &HookCommand, message: &EventMessage) -> std::io::Result<Child> {
    let fields = fields::NAMES.map(|name| {
        let value = fields::text(message, name).unwrap_or_default();
        // A variable cannot hold the byte 0, and a name may.
        let variable = format!("SIGHTLINE_EVENT_{}", name.to_ascii_uppercase());
        (variable, value.replace('\0', " "))
    });
    Command::new(&command.program)
        .args(&command.arguments)
        .envs(fields)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
}

/// Waits for a command's end, within its time.
///
/// # Errors
/// How it failed.
async fn supervise(mut child: Child, json: Bytes, times: HookTimes) -> Result<Ended, String> {
    let pid = child.id().and_then(|id| i32::try_from(id).ok());
    let mut group = Group(pid.map(Pid::from_raw));
    let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
    // A command need not read: then the pipe breaks, which means nothing.
    let write = async {
        if let Some(mut stdin) = stdin {
            let _ = stdin.write_all(&json).await;
        }
        std::future::pending::<()>().await;
    };
    let mut shown = Vec::new();
    let read = async {
        if let Some(stderr) = stderr {
            let mut stderr = stderr;
            let _ = (&mut stderr)
                .take(MAX_SHOWN as u64)
                .read_to_end(&mut shown)
                .await;
            let _ = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
        }
        std::future::pending::<()>().await;
    };
    let in_time = tokio::select! {
        ended = timeout(times.limit, child.wait()) => ended,
        // Neither ends.
        () = async { tokio::join!(write, read); } => return Ok(Ended::Late),
    };
    match in_time {
        Ok(status) => {
            group.0 = None;
            judge(&status.map_err(|err| err.to_string())?, &shown)
        }
        Err(_) => {
            group.signal(Signal::SIGTERM);
            let _ = timeout(times.grace, child.wait()).await;
            // What it has started may not have ended with it.
            drop(group);
            let _ = child.wait().await;
            Ok(Ended::Late)
        }
    }
}

fn judge(status: &ExitStatus, shown: &[u8]) -> Result<Ended, String> {
    match status.success() {
        true => Ok(Ended::Well),
        false => Err(format!("{status}; {}", printable_bytes(shown, MAX_SHOWN))),
    }
}

#[cfg(test)]
mod tests;
