//! The configuration file, read again when it changes and on SIGHUP: what finds boxes may be tuned while cameras run.
//!
//! The newest settings lie in a slot that the threads look into before their next piece of work. Flags and environment
//! still go before the file. A file with a mistake in it changes nothing, and the log says what is wrong.

use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use platform::config;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::interval;
use tracing::{info, warn};

use crate::args::Args;
use vision::track;

/// Between two looks at the file.
const LOOK: Duration = Duration::from_secs(1);

/// What may change while the relay runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Adjustable {
    /// Lowest score of a box.
    pub conf: f32,
    /// Highest overlap of two boxes of a class.
    pub iou: f32,
    /// Names or numbers of the classes to report; empty for all.
    pub classes: Vec<String>,
    /// Score from which an object is followed.
    pub track_start: f32,
}

impl Adjustable {
    /// What the command line and the file say.
    pub fn of(args: &Args) -> Self {
        Self {
            conf: args.conf,
            iou: args.iou,
            classes: args.classes.clone(),
            track_start: args.track_start,
        }
    }

    /// The scores for following: a box begins with more confidence than it needs to stay, else it would flicker.
    pub fn tracking(&self) -> track::Settings {
        track::Settings {
            start: self.track_start.max(self.conf),
            keep: self.conf,
        }
    }
}

/// Starts to look after the file. Call it inside a tokio runtime.
///
/// # Errors
/// Where the handler of SIGHUP cannot be registered.
pub fn watch(args: &Args) -> anyhow::Result<watch::Receiver<Adjustable>> {
    let asked = signal(SignalKind::hangup()).context("registering SIGHUP")?;
    let (settings, now) = watch::channel(Adjustable::of(args));
    tokio::spawn(look_after(args.clone(), asked, settings));
    Ok(now)
}

async fn look_after(mut args: Args, mut asked: Signal, settings: watch::Sender<Adjustable>) {
    let mut looks = interval(LOOK);
    let mut known = state();
    loop {
        let was_asked = tokio::select! {
            _ = asked.recv() => true,
            _ = looks.tick() => false,
        };
        let found = state();
        if was_asked || found != known {
            known = found;
            read(&mut args, &settings);
        }
    }
}

/// When which file was last changed.
fn state() -> Option<(SystemTime, u64)> {
    let file = config::file::<Args>()?;
    let of = |file: &Path| {
        let found = file.metadata().ok()?;
        Some((found.modified().ok()?, found.len()))
    };
    of(&file)
}

fn read(args: &mut Args, settings: &watch::Sender<Adjustable>) {
    let new = match config::try_parse(Args::check) {
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
    let others = new.clone().with(&Adjustable::of(args)) != *args;
    if others {
        warn!(
            "the configuration changed in more than conf, iou, classes and track-start: the rest needs a restart"
        );
    }
    let wanted = Adjustable::of(&new);
    let changed =
        settings.send_if_modified(|known| std::mem::replace(known, wanted.clone()) != wanted);
    if !changed && !others {
        info!("the configuration was read again, and says what it said");
    }
    *args = new;
}
