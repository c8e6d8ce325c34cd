//! The main thread's loop: decodes the newest frame and shows its picture in the window and the files.
//!
//! A frame that came while the last one was drawn has displaced the one before it, so a picture is never older than one
//! round of this loop, and in that a frame waits for its boxes for a few milliseconds at most.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use imaging::jpeg;
use platform::clock::{steady_micros, unix_micros};
use platform::config::Switch;
use platform::latest::{Received, Receiver};
use platform::recording::{Picture, Recording};
use platform::report::Percentiles;
use protocol::geometry::Size;
use protocol::label::{CameraName, Label};
use protocol::transport::Transport;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::age::{Clocks, age};
use crate::args::Args;
use crate::connection_state::ConnectionState;
use crate::decoded_frame::DecodedFrame;
use crate::display_stats::DisplayStats;
use crate::hud::{Hud, RecordingState};
use crate::next_camera::NextCamera;
use crate::output_files::{OutputFiles, name_of, write_picture};
use crate::receive::{ConnectOptions, ReceiveStatus, ReceivedFrame};
use crate::shared_box_timeline::SharedBoxTimeline;
use crate::window::{Command, ViewerWindow, WindowContent};

/// How long the loop waits for a frame before it handles the window's events, and without a window before it checks for a
/// signal.
const WINDOW_POLL: Duration = Duration::from_millis(10);
const SIGNAL_POLL: Duration = Duration::from_millis(50);
/// Quality of a snapshot, at which a JPEG looks like the picture itself.
const SNAPSHOT_QUALITY: u8 = 95;
/// Quality of a recording's pictures on their way to its encoder, which loses more.
const RECORDING_QUALITY: u8 = 95;

/// What the receiving task hands to the loop.
pub(crate) struct DisplayInputs {
    pub(crate) frames: Receiver<ReceivedFrame>,
    pub(crate) timeline: Arc<SharedBoxTimeline>,
    pub(crate) status: watch::Receiver<ReceiveStatus>,
    /// What the receiving task connects to.
    pub(crate) options: watch::Sender<ConnectOptions>,
}

/// The loop's state.
pub(crate) struct DisplayLoop {
    options: ConnectOptions,
    size: Size,
    /// `--frames`.
    limit: u64,
    snapshot_dir: PathBuf,
    /// `--record`, until it has been used.
    record: Option<PathBuf>,
    /// Whether boxes that come as data are drawn.
    boxes: bool,

    inputs: DisplayInputs,
    /// The status as it was at the start of this round.
    status: ReceiveStatus,
    files: OutputFiles,
    window: Option<ViewerWindow>,
    recording: Option<Recording>,
    /// Why a recording ended that was to go on.
    recording_failure: Option<anyhow::Error>,

    /// The frame on the screen.
    current: Option<DecodedFrame>,
    /// The state that was logged last.
    connection: Option<ConnectionState>,
    stats: DisplayStats,
    ages: Percentiles,
    shown: u64,
    decode_errors: u64,
}

impl DisplayLoop {
    /// Creates a loop that shows frames in `window`, if there is one.
    pub(crate) fn new(
        args: &Args,
        inputs: DisplayInputs,
        files: OutputFiles,
        window: Option<ViewerWindow>,
    ) -> Self {
        let status = inputs.status.borrow().clone();
        let options = inputs.options.borrow().clone();
        Self {
            options,
            size: args.size,
            limit: args.frames.unwrap_or(u64::MAX),
            snapshot_dir: args.save.clone().unwrap_or_default(),
            record: args.record.clone(),
            boxes: args.boxes == Switch::On,
            inputs,
            status,
            files,
            window,
            recording: None,
            recording_failure: None,
            current: None,
            connection: None,
            stats: DisplayStats::default(),
            ages: Percentiles::default(),
            shown: 0,
            decode_errors: 0,
        }
    }

    /// Runs until the user, a signal or `--frames` ends it; returns the report.
    ///
    /// # Errors
    /// When a recording could not be written, or the window fails.
    pub(crate) fn run(mut self, stop: &CancellationToken) -> anyhow::Result<Value> {
        if self.record.is_some() {
            self.start_recording()?;
        }
        let patience = if self.window.is_some() {
            WINDOW_POLL
        } else {
            SIGNAL_POLL
        };
        while !stop.is_cancelled() && self.shown < self.limit {
            let received = self.inputs.frames.recv(patience);
            self.status = self.inputs.status.borrow().clone();
            let fresh = match received {
                Received::Value(frame) => self.decode(frame),
                Received::Timeout => false,
                Received::Closed => bail!(self.failure()),
            };
            let (command, redrawn) = self.display(fresh)?;
            if fresh {
                self.on_displayed();
            }
            self.record_picture(fresh || redrawn);
            if self.window.is_none() && self.recording_failure.is_some() {
                break;
            }
            match command {
                Some(Command::Quit) => break,
                Some(Command::Snapshot) => self.snapshot(),
                Some(Command::ToggleRecording) => self.toggle_recording(),
                Some(Command::ToggleBoxes) => self.toggle_boxes(),
                Some(Command::NextCamera) => self.choose_next_camera(),
                None => {}
            }
        }
        self.finish_recording();
        match self.recording_failure.take() {
            Some(failure) => Err(failure),
            None => Ok(self.report()),
        }
    }

    /// Makes the frame the current one and waits for its boxes for a moment. Returns whether it could be decoded.
    fn decode(&mut self, received: ReceivedFrame) -> bool {
        let decoded = DecodedFrame::new(received, self.size);
        self.decode_errors += u64::from(decoded.is_err());
        let fresh = decoded.is_ok();
        self.current = decoded.ok().or(self.current.take());
        if let Some(label) = self.label_for_boxes().filter(|_| fresh) {
            self.inputs.timeline.wait(label);
        }
        fresh
    }

    /// Returns the label of the current frame, if boxes that come as data are wanted on it.
    fn label_for_boxes(&self) -> Option<&Label> {
        let received = &self.current.as_ref()?.received;
        // In a frame of the UDP transport boxes are pixels already.
        let wanted = self.boxes && received.transport != Transport::Udp;
        received.frame.label.as_ref().filter(|_| wanted)
    }

    /// Brings window and log up to date. Returns the command of a key, and whether the boxes on the picture have changed.
    fn display(&mut self, fresh: bool) -> anyhow::Result<(Option<Command>, bool)> {
        let now = Instant::now();
        let stale = self.stats.stale_for(now).filter(|_| !fresh);
        let redrawn = self.draw_boxes(stale, now)?;
        let live = match fresh {
            true => Some(true),
            false => self.stats.is_live(now),
        };
        let notice = self.update_connection_state(live, now);
        let hud = self.hud(now);
        let camera = self.camera().map(str::to_owned);
        let Some(window) = &mut self.window else {
            return Ok((None, redrawn));
        };
        let content = WindowContent {
            picture: self.current.as_mut().map(DecodedFrame::picture_mut),
            camera: camera.as_deref(),
            changed: fresh || redrawn,
            hud,
            stale,
            notice,
        };
        Ok((window.show(content, now)?, redrawn))
    }

    /// Logs the connection's state when it has changed. Returns its lines for the window.
    fn update_connection_state(&mut self, live: Option<bool>, now: Instant) -> Vec<String> {
        let state = ConnectionState::new(&self.options, &self.status, live, now);
        let lines = state.lines(&self.options);
        if self.connection.as_ref() != Some(&state) {
            state.log(&self.options);
            self.connection = Some(state);
        }
        lines
    }

    /// Draws the boxes that belong on the picture. Returns whether it looks different.
    fn draw_boxes(&mut self, stale: Option<Duration>, now: Instant) -> opencv::Result<bool> {
        let window = self.window.as_ref();
        let covered = window.map_or(0, |window| window.covered_rows(now));
        let label = self.label_for_boxes();
        let boxes = label.map(|label| self.inputs.timeline.boxes(label, stale));
        let current = self.current.as_mut();
        current.map_or(Ok(false), |frame| {
            frame.set_boxes(boxes.unwrap_or_default(), covered)
        })
    }

    fn hud(&self, now: Instant) -> Hud {
        Hud {
            fps: self.stats.fps(now),
            ages: self.stats.ages(),
            loss: self.stats.loss(),
            transport: self.status.transport.name(),
            encoding: self.encoding(),
            rendition: self.rendition(),
            recording: match (&self.recording, &self.recording_failure) {
                (Some(_), _) => RecordingState::Running,
                (None, Some(_)) => RecordingState::Failed,
                (None, None) => RecordingState::Off,
            },
        }
    }

    /// Returns the sizes of the frame that is shown and of the original, if it is a rendition.
    fn rendition(&self) -> Option<[Size; 2]> {
        let shown = self.current.as_ref()?.received.frame.size;
        let original = self.status.rendition_of?;
        (shown.width < original.width).then_some([shown, original])
    }

    /// Returns size and quality of the frame that is shown, if its sender reports them.
    fn encoding(&self) -> Option<(Size, u8)> {
        let frame = &self.current.as_ref()?.received.frame;
        let (label, info) = frame.label.as_ref().zip(self.status.camera_info.as_ref())?;
        let quality = info.sender.quality.filter(|q| (1..=100).contains(q))?;
        (info.name == label.camera.as_str()).then_some((frame.size, quality))
    }

    /// Counts and records the frame whose picture is on the screen now.
    fn on_displayed(&mut self) {
        let Some(current) = &self.current else {
            return;
        };
        let age = self.age(&current.received);
        self.shown += 1;
        self.stats
            .on_displayed(age, self.status.counts, Instant::now());
        if let Some(age) = age {
            self.ages.record(age);
        }
        let known = self.label_for_boxes().is_some();
        let boxes = known.then(|| current.boxes());
        self.files.on_shown(&current.received, boxes, age);
    }

    /// Returns the age of a frame that is displayed now, if it can be known.
    fn age(&self, received: &ReceivedFrame) -> Option<Duration> {
        let label = received.frame.label.as_ref()?;
        let clocks = match received.transport {
            Transport::Udp => Clocks::Assumed,
            Transport::Quic | Transport::Http => Clocks::new(
                label,
                self.status.camera_info.as_ref(),
                self.status.clock_offset,
            ),
        };
        let now_us = match clocks {
            Clocks::Assumed => unix_micros(),
            Clocks::Pending | Clocks::Compared { .. } => steady_micros(),
        };
        age(label.captured_us, clocks, now_us)
    }

    /// Writes the current picture to the recording, if it is due.
    fn record_picture(&mut self, is_new: bool) {
        let (Some(recording), Some(current)) = (&mut self.recording, &self.current) else {
            return;
        };
        let picture = || {
            let picture = current.picture();
            Ok(Picture {
                jpeg: jpeg::encode(picture, RECORDING_QUALITY)?,
                size: jpeg::size(picture)?,
            })
        };
        if let Err(err) = recording.write(is_new, Instant::now(), picture) {
            self.recording = None;
            self.fail_recording(err);
        }
    }

    fn fail_recording(&mut self, failure: anyhow::Error) {
        warn!("{failure:#}");
        self.show_note(format!("NO RECORDING: {}", failure.root_cause()));
        self.recording_failure = Some(failure);
    }

    fn toggle_boxes(&mut self) {
        let by_udp = |frame: &DecodedFrame| frame.received.transport == Transport::Udp;
        if self.current.as_ref().is_some_and(by_udp) {
            self.show_note("boxes are in the picture (relay-server --overlay)".to_owned());
            return;
        }
        self.boxes = !self.boxes;
        let state = if self.boxes { "on" } else { "off" };
        self.show_note(format!("boxes {state}"));
    }

    /// Lets the receiving task connect to the next camera of the relay's list.
    fn choose_next_camera(&mut self) {
        if !self.options.can_choose(self.status.link) {
            self.show_note("only by QUIC or HTTP can another camera be chosen".to_owned());
            return;
        }
        let chosen = self.options.camera.as_ref().map(CameraName::as_str);
        let next = NextCamera::new(&self.status.cameras, chosen.or(self.camera()));
        let note = next.note();
        if let NextCamera::Other(camera) = next {
            info!(%camera, "the next camera is chosen");
            self.options.camera = Some(camera.clone());
            self.inputs.options.send_replace(self.options.clone());
        }
        self.show_note(note);
    }

    fn toggle_recording(&mut self) {
        if self.recording.is_some() {
            self.finish_recording();
            if self.recording_failure.is_none() {
                self.show_note("recording ended".to_owned());
            }
        } else if let Err(err) = self.start_recording() {
            self.fail_recording(err);
        }
    }

    fn start_recording(&mut self) -> anyhow::Result<()> {
        let path = match self.record.take() {
            Some(path) => path,
            None => format!("{}.mp4", name_of(self.camera())).into(),
        };
        self.recording = Some(Recording::start(&path)?);
        self.recording_failure = None;
        Ok(())
    }

    fn finish_recording(&mut self) {
        if let Some(recording) = self.recording.take()
            && let Err(err) = recording.finish()
        {
            self.fail_recording(err);
        }
    }

    /// Returns the name of the camera that is shown, if it has one.
    fn camera(&self) -> Option<&str> {
        let label = self.current.as_ref()?.received.frame.label.as_ref()?;
        Some(label.camera.as_str())
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
        self.show_note(note);
    }

    fn write_snapshot(&self) -> anyhow::Result<PathBuf> {
        let current = self
            .current
            .as_ref()
            .context("taking a snapshot: no picture has come yet")?;
        let picture = jpeg::encode(current.picture(), SNAPSHOT_QUALITY)?;
        write_picture(&self.snapshot_dir, self.camera(), &picture)
            .with_context(|| format!("writing a snapshot into {}", self.snapshot_dir.display()))
    }

    fn show_note(&mut self, note: String) {
        if let Some(window) = &mut self.window {
            window.show_note(note, Instant::now());
        }
    }

    /// Returns why no frame will come any more.
    fn failure(&self) -> String {
        let failure = self.status.failure.clone();
        failure.unwrap_or_else(|| "the receiving task has ended".to_owned())
    }

    fn report(&self) -> Value {
        let status = self.inputs.status.borrow();
        json!({
            "received": status.counts.received,
            "shown": self.shown,
            "lost": status.counts.lost,
            "dropped": status.dropped,
            "overtaken": status.overtaken,
            "decode_errors": self.decode_errors,
            "age_ms_p50": self.ages.ms(50.0),
            "age_ms_p99": self.ages.ms(99.0),
            "transport": status.transport.name(),
            "detections": status.detections,
        })
    }
}
