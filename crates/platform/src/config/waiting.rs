//! A service whose configuration cannot be used yet waits for it.
//!
//! A package starts the sender before anyone has named the relay. A program that ended there would be started again without
//! limit, and fill the journal; so under a service manager it waits for the file to change, and then starts anew.

use std::path::{Path, PathBuf};
use std::process;
use std::time::{Duration, Instant};

use clap::Parser;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{LogFormat, default_files, file, file_state, sentence, try_parse};
use crate::service::{ServiceManager, Watchdog};
use crate::{logging, relaunch, signals};

/// Time between two checks of the file.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Waits until the command line, environment and configuration file can be used, and starts the program anew; ends with 0 if
/// the manager stops it.
pub(super) fn wait<A: Parser>(
    check: impl Fn(&A) -> Result<(), String>,
    manager: &ServiceManager,
) -> ! {
    // The form of the log would be in the configuration. It is the journal's anyway.
    let log = logging::init(LogFormat::Text);
    let code = match until_usable(check, manager) {
        Ok(true) => {
            info!("the configuration is complete");
            let err = relaunch::relaunch(&[]);
            error!("the program could not be started anew: {err}");
            1
        }
        Ok(false) => {
            manager.stopping();
            0
        }
        Err(err) => {
            error!("{err:#}");
            1
        }
    };
    drop(log);
    process::exit(code)
}

/// Returns whether the configuration can be used; `false` if a signal asked for a stop.
fn until_usable<A: Parser>(
    check: impl Fn(&A) -> Result<(), String>,
    manager: &ServiceManager,
) -> anyhow::Result<bool> {
    let usable = || match try_parse(&check) {
        Ok(_) => true,
        Err(why) => {
            report(&watched::<A>(), &sentence(&why), manager);
            false
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let stop = signals::stop_on_signals(signals::Hangup::Stops)?;
        Ok(watch(&stop, manager.watchdog(), file_state::<A>, usable).await)
    })
}

/// Waits for changes of `state` until one is `usable`, or until a stop.
async fn watch<S: PartialEq>(
    stop: &CancellationToken,
    mut watchdog: Watchdog,
    state: impl Fn() -> S,
    usable: impl Fn() -> bool,
) -> bool {
    loop {
        // Before the configuration is read, so that no change is missed.
        let known = state();
        if usable() {
            return true;
        }
        let mut checks = interval(CHECK_INTERVAL);
        while state() == known {
            watchdog.feed(Instant::now());
            tokio::select! {
                () = stop.cancelled() => return false,
                _ = checks.tick() => {}
            }
        }
    }
}

/// Returns the file that a service reads: the one that is in force, or else the machine's.
fn watched<A: Parser>() -> PathBuf {
    let machines = || default_files(A::command().get_name()).pop();
    file::<A>().or_else(machines).unwrap_or_default()
}

/// Logs why the service waits, and shows it as its state.
fn report(file: &Path, why: &str, manager: &ServiceManager) {
    let file = file.display();
    warn!("{why}. The service waits: edit {file}, and it goes on by itself within a second");
    manager.ready(&format!("waits for its configuration: {why}"));
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_configuration_is_read_again_only_when_the_file_changed() {
        let (reads, checks) = (RefCell::new(Vec::new()), Cell::new(0));
        // The file changes at the fifth and the tenth check; the second change completes it.
        let state = || {
            checks.set(checks.get() + 1);
            checks.get() / 5
        };
        let usable = || {
            let mut reads = reads.borrow_mut();
            reads.push(checks.get() / 5);
            reads.len() == 3
        };
        let stop = CancellationToken::new();
        assert!(watch(&stop, Watchdog::default(), state, usable).await);
        assert_eq!(*reads.borrow(), [0, 1, 2]);
        stop.cancel();
        assert!(!watch(&stop, Watchdog::default(), || 0, || false).await);
    }
}
