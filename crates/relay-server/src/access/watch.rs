//! Reads the tickets again when their file changes, and writes their last uses: once a second on a thread that may block, so
//! that neither delays a frame.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use platform::state_dir::FileVersion;
use tokio::task::spawn_blocking;
use tokio::time::interval;
use tracing::{info, warn};

use super::store::Store;
use super::{Access, Private, now};
use crate::tickets::Tickets;

/// Time between two checks of the file: a change is in force within twice that.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Shortest time between two times that the last uses are written.
const WRITE_INTERVAL: Duration = Duration::from_secs(60);

/// What is known of the files.
#[derive(Debug)]
pub(super) struct Watched {
    version: Option<FileVersion>,
    uses_written: Option<Instant>,
}

impl Watched {
    pub(super) fn new(store: &Store) -> Self {
        Self {
            version: store.version().ok().flatten(),
            uses_written: None,
        }
    }
}

/// Watches the file of a private relay's tickets for as long as the relay runs.
pub async fn watch(access: Arc<Access>) {
    if access.private.is_none() {
        return;
    }
    let mut checks = interval(CHECK_INTERVAL);
    loop {
        checks.tick().await;
        let access = access.clone();
        let checked = spawn_blocking(move || access.check_files(Instant::now())).await;
        if checked.is_err() {
            // A panic, which the log has.
            return;
        }
    }
}

impl Access {
    /// Reads the tickets if their file has changed, and writes the last uses if it is time for that.
    pub(crate) fn check_files(&self, now: Instant) {
        let Some(private) = &self.private else { return };
        let mut watched = private
            .watched
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        private.reload(&mut watched);
        let due = |written: Instant| now.duration_since(written) >= WRITE_INTERVAL;
        if watched.uses_written.is_none_or(due) && private.write_uses() {
            watched.uses_written = Some(now);
        }
    }

    /// Writes the last uses at the end.
    pub fn close(&self) {
        if let Some(private) = &self.private {
            private.write_uses();
        }
    }
}

impl Private {
    fn reload(&self, watched: &mut Watched) {
        let Ok(version) = self.store.version() else {
            return;
        };
        if version == watched.version {
            return;
        }
        watched.version = version;
        match self.store.read() {
            Err(err) => warn!("the tickets stay as they were: {err:#}"),
            Ok(None) => {
                warn!(
                    "the file of the tickets was removed, so no ticket is in force; relay-server ticket add makes one"
                );
                self.replace(Tickets::default());
            }
            Ok(Some(tickets)) => {
                info!(
                    tickets = tickets.iter().len(),
                    "the tickets changed and are in force"
                );
                self.replace(tickets);
            }
        }
    }

    /// Puts tickets in force; the sessions of those that are gone end.
    fn replace(&self, tickets: Tickets) {
        self.tickets.send_replace(Arc::new(tickets));
    }

    /// Writes the last uses if there are new ones; returns whether it tried to.
    fn write_uses(&self) -> bool {
        let tickets = self.tickets.borrow().clone();
        let Some(text) = self.uses().write(&tickets, now()) else {
            return false;
        };
        if let Err(err) = self.store.write_uses(&text) {
            warn!("the last uses of the tickets are not stored: {err:#}");
        }
        true
    }
}
