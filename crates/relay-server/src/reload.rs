//! Reads the configuration file again when it changes and on SIGHUP.
//!
//! The newest settings are in a watch channel that the threads read before their next piece of work. Flags and environment
//! still go before the file. A file with a mistake in it changes nothing, and the log names the mistake.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use platform::config;
use platform::service::ServiceManager;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::interval;
use tracing::{info, warn};
use vision::detect::classes::Classes;

use crate::args::Args;
use crate::live_settings::LiveSettings;

/// Time between two checks of the file.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Starts to watch the file; a reload on SIGHUP is reported to the service manager. Call it inside a tokio runtime. `classes`
/// are the model's, once it is loaded: without them an unknown class shows with the next frame.
///
/// # Errors
/// If the handler of SIGHUP cannot be registered.
pub fn watch(
    args: &Args,
    classes: Arc<OnceLock<Classes>>,
    service: ServiceManager,
) -> anyhow::Result<watch::Receiver<LiveSettings>> {
    let hangup = signal(SignalKind::hangup()).context("registering SIGHUP")?;
    let (settings, now) = watch::channel(args.live_settings());
    tokio::spawn(watch_file(args.clone(), hangup, settings, classes, service));
    Ok(now)
}

async fn watch_file(
    mut args: Args,
    mut hangup: Signal,
    settings: watch::Sender<LiveSettings>,
    classes: Arc<OnceLock<Classes>>,
    service: ServiceManager,
) {
    let mut checks = interval(CHECK_INTERVAL);
    let mut known = config::file_state::<Args>();
    loop {
        let requested = tokio::select! {
            _ = hangup.recv() => true,
            _ = checks.tick() => false,
        };
        let found = config::file_state::<Args>();
        let changed = found != known;
        known = found;
        if requested {
            service.reload(|| read(&mut args, &settings, classes.get()));
        } else if changed {
            read(&mut args, &settings, classes.get());
        }
    }
}

fn read(args: &mut Args, settings: &watch::Sender<LiveSettings>, classes: Option<&Classes>) {
    let new = match Args::try_of_process() {
        Ok(new) => new,
        Err(err) => {
            let why = config::sentence(&err);
            return warn!("the configuration stays as it was: {why}");
        }
    };
    if let Some(Err(why)) = classes.map(|classes| classes.wanted(&new.classes)) {
        return warn!("the configuration stays as it was: {why:#}");
    }
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
