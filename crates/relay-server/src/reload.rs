//! Reads the configuration file again when it changes and on SIGHUP.
//!
//! The newest settings are in a watch channel that the threads read before their next piece of work. Flags and environment
//! still go before the file. A file with a mistake in it changes nothing, and the log names the mistake.

use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use platform::config;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::interval;
use tracing::{info, warn};

use crate::args::Args;
use crate::live_settings::LiveSettings;

/// Time between two checks of the file.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Starts to watch the file. Call it inside a tokio runtime.
///
/// # Errors
/// If the handler of SIGHUP cannot be registered.
pub fn watch(args: &Args) -> anyhow::Result<watch::Receiver<LiveSettings>> {
    let hangup = signal(SignalKind::hangup()).context("registering SIGHUP")?;
    let (settings, now) = watch::channel(args.live_settings());
    tokio::spawn(watch_file(args.clone(), hangup, settings));
    Ok(now)
}

async fn watch_file(mut args: Args, mut hangup: Signal, settings: watch::Sender<LiveSettings>) {
    let mut checks = interval(CHECK_INTERVAL);
    let mut known = state();
    loop {
        let requested = tokio::select! {
            _ = hangup.recv() => true,
            _ = checks.tick() => false,
        };
        let found = state();
        if requested || found != known {
            known = found;
            read(&mut args, &settings);
        }
    }
}

/// Returns when the file was last changed, and its length.
fn state() -> Option<(SystemTime, u64)> {
    let file = config::file::<Args>()?;
    let of = |file: &Path| {
        let found = file.metadata().ok()?;
        Some((found.modified().ok()?, found.len()))
    };
    of(&file)
}

fn read(args: &mut Args, settings: &watch::Sender<LiveSettings>) {
    let new = match Args::try_of_process() {
        Ok(new) => new,
        Err(err) => {
            let why = err.to_string();
            let why = why.trim_start_matches("error: ").lines().next();
            return warn!(
                "the configuration stays as it was: {}",
                why.unwrap_or_default()
            );
        }
    };
    let others = new.restart_keys(args);
    if !others.is_empty() {
        warn!(keys = %others.join(", "), "the configuration changed in keys that need a restart; the others are in force");
    }
    let wanted = new.live_settings();
    let changed =
        settings.send_if_modified(|known| std::mem::replace(known, wanted.clone()) != wanted);
    if !changed && others.is_empty() {
        info!("the configuration was read again and is the same");
    }
    *args = new;
}
