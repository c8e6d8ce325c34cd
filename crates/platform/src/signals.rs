//! SIGINT (Ctrl-C), SIGTERM and for some programs SIGHUP: the first one stops the program cleanly, a later one ends the process
//! at once.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Signals that come together are one request: `timeout` and shells signal a program and its process group, and a closed
/// terminal is a SIGHUP and often a SIGTERM. A user who asks again does so later.
const TOGETHER: Duration = Duration::from_millis(500);

/// What SIGHUP, a closed terminal, is to a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hangup {
    /// A stop, like SIGINT.
    Stops,
    /// None of this module's concern: the program reloads its configuration.
    Reloads,
}

/// Returns a token that the first SIGINT or SIGTERM cancels, and SIGHUP where that `Stops` the program. The handlers are
/// registered when this returns.
///
/// Call it inside a tokio runtime that keeps running.
///
/// # Errors
/// If the handlers cannot be registered.
pub fn stop_on_signals(hangup: Hangup) -> anyhow::Result<CancellationToken> {
    let mut interrupt = signal(SignalKind::interrupt()).context("registering SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("registering SIGTERM")?;
    let mut hangups = match hangup {
        Hangup::Stops => Some(signal(SignalKind::hangup()).context("registering SIGHUP")?),
        Hangup::Reloads => None,
    };
    let stop = CancellationToken::new();
    let requested = stop.clone();
    tokio::spawn(async move {
        let mut first = None;
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                () = next(hangups.as_mut()) => {}
            }
            let now = Instant::now();
            if now.duration_since(*first.get_or_insert(now)) > TOGETHER {
                std::process::exit(1);
            }
            requested.cancel();
        }
    });
    Ok(stop)
}

async fn next(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}
