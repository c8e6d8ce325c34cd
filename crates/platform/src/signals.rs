//! SIGINT (Ctrl-C) and SIGTERM: the first one stops the program cleanly, the second ends the process at once.

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Returns a token that the first SIGINT or SIGTERM cancels. The handlers are registered when this returns.
///
/// Call it inside a tokio runtime that keeps running.
///
/// # Errors
/// If the handlers cannot be registered.
pub fn stop_on_signals() -> anyhow::Result<CancellationToken> {
    let mut interrupt = signal(SignalKind::interrupt()).context("registering SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("registering SIGTERM")?;
    let stop = CancellationToken::new();
    let requested = stop.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if requested.is_cancelled() {
                std::process::exit(1);
            }
            requested.cancel();
        }
    });
    Ok(stop)
}
