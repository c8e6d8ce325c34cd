//! Ctrl-C and SIGTERM ask for a clean stop; a second one ends the process at once.

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that is cancelled by the first SIGINT or SIGTERM. The handlers stand when this returns.
///
/// Call it inside a tokio runtime that keeps running.
///
/// # Errors
/// Where the handlers cannot be registered.
pub fn stop_on_signals() -> anyhow::Result<CancellationToken> {
    let mut interrupt = signal(SignalKind::interrupt()).context("registering SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("registering SIGTERM")?;
    let stop = CancellationToken::new();
    let asked = stop.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if asked.is_cancelled() {
                std::process::exit(1);
            }
            asked.cancel();
        }
    });
    Ok(stop)
}
