//! The main thread's loop: the newest frame to a picture, the picture to the window and the files.
//!
//! A frame that came while the last one was drawn has displaced the one before it, so whatever this loop takes, the
//! picture is never older than one round of it.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use opencv::core::Mat;
use platform::config::{Size, Switch};
use platform::jpeg;
use platform::latest::{Taken, Taker};
use platform::report::Percentiles;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::args::Args;
use crate::files::Files;
use crate::hud::Hud;
use crate::receive::{Frame, Status};
use crate::record::Recorder;
use crate::situation::Situation;
use crate::stream::{self, Pace};
use crate::window::{Screen, View, Wish};

/// How long a frame is waited for before the window has its turn, and without a window before signals have theirs.
const WINDOWS_TURN: Duration = Duration::from_millis(10);
const SIGNALS_TURN: Duration = Duration::from_millis(50);
/// Plain frames, whoever the relay is.
const TRANSPORT: &str = "udp";
/// Quality of a snapshot: nobody will see that it is a JPEG.
const SNAPSHOT_QUALITY: u8 = 95;

/// The loop's state.
pub(crate) struct Show {
    host: String,
    size: Size,
    limit: u64,
    snapshots: PathBuf,
    /// `--record`, until it has been used.
    record: Option<PathBuf>,

    frames: Taker<Frame>,
    status: watch::Receiver<Status>,
    files: Files,
    screen: Option<Screen>,
    recorder: Option<Recorder>,

    picture: Option<Mat>,
    situation: Option<Situation>,
    pace: Pace,
    ages: Percentiles,
    shown: u64,
    decode_errors: u64,
}

impl Show {
    /// Shows `frames` in `screen`, where there is one.
    pub(crate) fn new(
        args: &Args,
        frames: Taker<Frame>,
        status: watch::Receiver<Status>,
        files: Files,
        screen: Option<Screen>,
    ) -> Self {
        if args.boxes == Switch::Off {
            info!(
                "the relay draws the boxes into the picture; relay-server --overlay none leaves them out"
            );
        }
        Self {
            host: args.host(),
            size: args.size,
            limit: args.frames.unwrap_or(u64::MAX),
            snapshots: args.save.clone().unwrap_or_default(),
            record: args.record.clone(),
            frames,
            status,
            files,
            screen,
            recorder: None,
            picture: None,
            situation: None,
            pace: Pace::default(),
            ages: Percentiles::default(),
            shown: 0,
            decode_errors: 0,
        }
    }

    /// Runs until the user, a signal or `--frames` ends it; gives the report.
    ///
    /// # Errors
    /// Where the recording cannot be written or the window fails.
    pub(crate) fn run(mut self, stop: &CancellationToken) -> anyhow::Result<Value> {
        if self.record.is_some() {
            self.start_recording()?;
        }
        let patience = if self.screen.is_some() {
            WINDOWS_TURN
        } else {
            SIGNALS_TURN
        };
        while !stop.is_cancelled() && self.shown < self.limit {
            let frame = match self.frames.take(patience) {
                Taken::Value(frame) => self.decode(frame),
                Taken::Nothing => None,
                Taken::Closed => bail!("the receiving task has ended"),
            };
            let wish = self.display(frame.is_some())?;
            if let Some(frame) = frame {
                self.displayed(&frame);
            }
            self.film();
            match wish {
                Some(Wish::Quit) => break,
                Some(Wish::Snapshot) => self.snapshot(),
                Some(Wish::Record) => self.toggle_recording(),
                None => {}
            }
        }
        self.finish_recording();
        Ok(self.report())
    }

    /// Makes the frame's picture the current one, and gives the frame back where that went well.
    fn decode(&mut self, frame: Frame) -> Option<Frame> {
        let picture =
            jpeg::decode(&frame.jpeg).and_then(|picture| jpeg::resize(&picture, self.size));
        let Ok(picture) = picture else {
            self.decode_errors += 1;
            return None;
        };
        self.picture = Some(picture);
        Some(frame)
    }

    /// Brings window and log up to date.
    fn display(&mut self, fresh: bool) -> anyhow::Result<Option<Wish>> {
        let now = Instant::now();
        let status = *self.status.borrow();
        let live = if fresh {
            Some(true)
        } else {
            self.pace.live(now)
        };
        let elapsed = now.saturating_duration_since(status.since);
        let situation = Situation::of(status.resolved, status.peer, live, elapsed);
        if self.situation.replace(situation) != Some(situation) {
            situation.log(&self.host);
        }
        let Some(screen) = &mut self.screen else {
            return Ok(None);
        };
        let view = View {
            picture: self.picture.as_ref(),
            fresh,
            hud: Hud {
                fps: self.pace.fps(now),
                age: self.pace.age(),
                loss: self.pace.loss(),
                transport: TRANSPORT,
                recording: self.recorder.is_some(),
            },
            stale: self.pace.stale(now).filter(|_| !fresh),
            notice: situation.lines(&self.host),
        };
        screen.show(&view, now)
    }

    /// Counts and notes a frame whose picture is on the screen now.
    fn displayed(&mut self, frame: &Frame) {
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let wall = u64::try_from(wall.as_micros()).unwrap_or(u64::MAX);
        let age = frame
            .captured_us
            .and_then(|captured| stream::age(captured, wall));
        self.shown += 1;
        self.pace
            .shown(age, self.status.borrow().counts, Instant::now());
        if let Some(age) = age {
            self.ages.add(age);
        }
        self.files.shown(frame, age);
    }

    /// Gives the recording the current picture for the time since the last one.
    fn film(&mut self) {
        if let (Some(recorder), Some(picture)) = (&mut self.recorder, &self.picture)
            && let Err(err) = recorder.picture(picture, Instant::now())
        {
            warn!("recording: {err:#}");
            self.finish_recording();
        }
    }

    fn toggle_recording(&mut self) {
        if self.recorder.is_some() {
            self.finish_recording();
            self.note("recording ended".to_owned());
        } else if let Err(err) = self.start_recording() {
            warn!("{err:#}");
            self.note("no recording: see the log".to_owned());
        }
    }

    fn start_recording(&mut self) -> anyhow::Result<()> {
        let path = self
            .record
            .take()
            .unwrap_or_else(|| format!("sightline-{}.mp4", now_as_name()).into());
        self.recorder = Some(Recorder::start(&path, self.size)?);
        Ok(())
    }

    fn finish_recording(&mut self) {
        if let Some(recorder) = self.recorder.take()
            && let Err(err) = recorder.finish()
        {
            warn!("{err:#}");
        }
    }

    fn snapshot(&mut self) {
        let note = match self.write_snapshot() {
            Ok(path) => {
                info!(file = %path.display(), "snapshot");
                format!("snapshot {}", path.display())
            }
            Err(err) => {
                warn!("{err:#}");
                "no snapshot: see the log".to_owned()
            }
        };
        self.note(note);
    }

    fn write_snapshot(&self) -> anyhow::Result<PathBuf> {
        let picture = self
            .picture
            .as_ref()
            .context("a snapshot of no picture yet")?;
        let path = self
            .snapshots
            .join(format!("sightline-{}.jpg", now_as_name()));
        fs::write(&path, jpeg::encode(picture, SNAPSHOT_QUALITY)?)
            .with_context(|| format!("writing the snapshot {}", path.display()))?;
        Ok(path)
    }

    fn note(&mut self, note: String) {
        if let Some(screen) = &mut self.screen {
            screen.note(note, Instant::now());
        }
    }

    fn report(&self) -> Value {
        let status = *self.status.borrow();
        json!({
            "received": status.counts.received,
            "shown": self.shown,
            "lost": status.counts.lost,
            "dropped": status.dropped,
            "overtaken": status.overtaken,
            "decode_errors": self.decode_errors,
            "age_ms_p50": self.ages.ms(50.0),
            "age_ms_p99": self.ages.ms(99.0),
            "transport": TRANSPORT,
            // Boxes come as data only through the native door.
            "detections": 0,
        })
    }
}

/// Seconds since the Unix epoch with their thousandths, so that names sort and two in a second differ.
fn now_as_name() -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    format!("{}-{:03}", now.as_secs(), now.subsec_millis())
}
