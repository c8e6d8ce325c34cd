//! The main thread's loop: the newest frame to a picture, the picture to the window and the files.
//!
//! A frame that came while the last one was drawn has displaced the one before it, so whatever this loop takes, the
//! picture is never older than one round of it, and in that a frame waits for its boxes for a few milliseconds at most.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use imaging::jpeg;
use platform::clock::unix_micros;
use platform::config::Switch;
use platform::latest::{Received, Receiver};
use platform::report::Percentiles;
use protocol::geometry::Size;
use protocol::label::Label;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::age::{Clocks, age};
use crate::args::Args;
use crate::board::Board;
use crate::files::Files;
use crate::hud::Hud;
use crate::picture::Picture;
use crate::receive::{Door, Frame, Plan, Status};
use crate::record::Recorder;
use crate::situation::Situation;
use crate::stream::Pace;
use crate::window::{Screen, View, Wish};

/// How long a frame is waited for before the window has its turn, and without a window before signals have theirs.
const WINDOWS_TURN: Duration = Duration::from_millis(10);
const SIGNALS_TURN: Duration = Duration::from_millis(50);
/// Quality of a snapshot: nobody will see that it is a JPEG.
const SNAPSHOT_QUALITY: u8 = 95;

/// Where what is shown comes from.
pub(crate) struct Sources {
    pub(crate) frames: Receiver<Frame>,
    pub(crate) board: Arc<Board>,
    pub(crate) status: watch::Receiver<Status>,
}

/// The loop's state.
pub(crate) struct Show {
    plan: Plan,
    size: Size,
    limit: u64,
    snapshots: PathBuf,
    /// `--record`, until it has been used.
    record: Option<PathBuf>,
    boxes: bool,

    sources: Sources,
    /// The status as it was at the start of this round.
    status: Status,
    files: Files,
    screen: Option<Screen>,
    recorder: Option<Recorder>,

    picture: Option<Picture>,
    situation: Option<Situation>,
    pace: Pace,
    ages: Percentiles,
    shown: u64,
    decode_errors: u64,
}

impl Show {
    /// Shows what comes from `sources` in `screen`, where there is one.
    pub(crate) fn new(args: &Args, sources: Sources, files: Files, screen: Option<Screen>) -> Self {
        let status = sources.status.borrow().clone();
        Self {
            plan: Plan::of(args),
            size: args.size,
            limit: args.frames.unwrap_or(u64::MAX),
            snapshots: args.save.clone().unwrap_or_default(),
            record: args.record.clone(),
            boxes: args.boxes == Switch::On,
            sources,
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
            let taken = self.sources.frames.recv(patience);
            self.status = self.sources.status.borrow().clone();
            let fresh = match taken {
                Received::Value(frame) => self.take(frame),
                Received::Timeout => false,
                Received::Closed => bail!(self.end()),
            };
            let wish = self.display(fresh)?;
            if fresh {
                self.displayed();
            }
            self.film();
            match wish {
                Some(Wish::Quit) => break,
                Some(Wish::Snapshot) => self.snapshot(),
                Some(Wish::Record) => self.toggle_recording(),
                Some(Wish::Boxes) => self.toggle_boxes(),
                None => {}
            }
        }
        self.finish_recording();
        Ok(self.report())
    }

    /// Makes the frame's picture the current one, when its boxes have had their moment to come; tells whether that went
    /// well.
    fn take(&mut self, frame: Frame) -> bool {
        let picture = Picture::of(frame, self.size);
        self.decode_errors += u64::from(picture.is_err());
        let fresh = picture.is_ok();
        self.picture = picture.ok().or(self.picture.take());
        if let Some(label) = self.boxed().filter(|_| fresh) {
            self.sources.board.wait(label);
        }
        fresh
    }

    /// The label of the current frame, where boxes that come as data are wanted on it.
    fn boxed(&self) -> Option<&Label> {
        let frame = &self.picture.as_ref()?.frame;
        // In a plain frame boxes are pixels already.
        let wanted = self.boxes && frame.door == Door::Native;
        frame.label.as_ref().filter(|_| wanted)
    }

    /// Brings window and log up to date.
    fn display(&mut self, fresh: bool) -> anyhow::Result<Option<Wish>> {
        let now = Instant::now();
        let stale = self.pace.stale(now).filter(|_| !fresh);
        let redrawn = self.draw_boxes(stale)?;
        let live = match fresh {
            true => Some(true),
            false => self.pace.live(now),
        };
        let situation = Situation::of(&self.plan, &self.status, live, now);
        let notice = situation.lines(&self.plan);
        if self.situation.as_ref() != Some(&situation) {
            situation.log(&self.plan);
            self.situation = Some(situation);
        }
        let hud = self.hud(now);
        let Some(screen) = &mut self.screen else {
            return Ok(None);
        };
        let view = View {
            picture: self.picture.as_ref().map(Picture::mat),
            fresh: fresh || redrawn,
            hud,
            stale,
            notice,
        };
        screen.show(&view, now)
    }

    /// Puts the boxes that belong there onto the picture. Tells whether it looks different.
    fn draw_boxes(&mut self, stale: Option<Duration>) -> opencv::Result<bool> {
        let boxes = self.boxed().map(|l| self.sources.board.boxes(l, stale));
        let picture = self.picture.as_mut();
        picture.map_or(Ok(false), |p| p.put_on(boxes.unwrap_or_default()))
    }

    fn hud(&self, now: Instant) -> Hud {
        Hud {
            fps: self.pace.fps(now),
            ages: self.pace.ages(),
            loss: self.pace.loss(),
            transport: self.status.door.transport(),
            encoding: self.encoding(),
            recording: self.recorder.is_some(),
        }
    }

    /// Width, height and quality of the frame that is shown, where its sender tells.
    fn encoding(&self) -> Option<(u16, u16, u8)> {
        let Frame { label, size, .. } = &self.picture.as_ref()?.frame;
        let (label, told) = label.as_ref().zip(self.status.told.as_ref())?;
        let quality = told.sender.quality?;
        (told.name == label.camera.as_str()).then_some((size.0, size.1, quality))
    }

    /// Counts and notes the frame whose picture is on the screen now.
    fn displayed(&mut self) {
        let Some(picture) = &self.picture else {
            return;
        };
        let frame = &picture.frame;
        let age = frame.label.as_ref().and_then(|label| {
            let clocks = match frame.door {
                Door::Plain => Clocks::Believed,
                Door::Native => Clocks::of(label, self.status.told.as_ref(), self.status.clock),
            };
            age(label.captured_us, clocks, unix_micros())
        });
        self.shown += 1;
        self.pace.shown(age, self.status.counts, Instant::now());
        if let Some(age) = age {
            self.ages.record(age);
        }
        self.files.shown(frame, picture.boxes(), age);
    }

    /// Gives the recording the current picture for the time since the last one.
    fn film(&mut self) {
        if let (Some(recorder), Some(picture)) = (&mut self.recorder, &self.picture)
            && let Err(err) = recorder.picture(picture.mat(), Instant::now())
        {
            warn!("recording: {err:#}");
            self.finish_recording();
        }
    }

    fn toggle_boxes(&mut self) {
        let plain = |picture: &Picture| picture.frame.door == Door::Plain;
        if self.picture.as_ref().is_some_and(plain) {
            self.note("boxes are in the picture (relay-server --overlay)".to_owned());
            return;
        }
        self.boxes = !self.boxes;
        let state = if self.boxes { "on" } else { "off" };
        self.note(format!("boxes {state}"));
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
        fs::write(&path, jpeg::encode(picture.mat(), SNAPSHOT_QUALITY)?)
            .with_context(|| format!("writing the snapshot {}", path.display()))?;
        Ok(path)
    }

    fn note(&mut self, note: String) {
        if let Some(screen) = &mut self.screen {
            screen.note(note, Instant::now());
        }
    }

    /// Why no frame will come any more.
    fn end(&self) -> String {
        let failure = self.status.failure.clone();
        failure.unwrap_or_else(|| "the receiving task has ended".to_owned())
    }

    fn report(&self) -> Value {
        let status = self.sources.status.borrow();
        json!({
            "received": status.counts.received,
            "shown": self.shown,
            "lost": status.counts.lost,
            "dropped": status.dropped,
            "overtaken": status.overtaken,
            "decode_errors": self.decode_errors,
            "age_ms_p50": self.ages.ms(50.0),
            "age_ms_p99": self.ages.ms(99.0),
            "transport": status.door.transport(),
            "detections": status.detections,
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
