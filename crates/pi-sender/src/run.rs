//! The loop: a tick, a picture, a frame, a datagram.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use imaging::window::{Window, WindowEvent};
use platform::server;
use platform::{report, signals};
use protocol::label::{CameraName, Label, StreamId};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::args::Args;
use crate::frame::{Form, Maker};
use crate::ladder::Rung;
use crate::pace::Pace;
use crate::send::{Load, Uplink};
use crate::source::{Next, Shot, Source};

/// Longest wait without a look at the window.
const WINDOWS_SLICE: Duration = Duration::from_millis(20);
/// Longest wait without a look at the signals: a stop may take this long, and each look costs a few microseconds.
const SIGNALS_SLICE: Duration = Duration::from_millis(200);

/// Sends until the source ends, enough frames are sent, or somebody asks for a stop.
///
/// # Errors
/// What ended the program against its user's will, with the cure.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let sent = {
        let _inside = runtime.enter();
        send(args)
    };
    // A look-up of a name may hang for longer than a stop may take.
    runtime.shutdown_background();
    sent
}

fn send(args: &Args) -> anyhow::Result<()> {
    let stop = signals::stop_on_signals()?;
    imaging::jpeg::single_threaded()?;
    let mut source = Source::open(args)?;
    let mut sender = Sender::new(args, stop, source.fps(args.fps))?;
    let sent = sender.run(&mut source);
    sender.finish(args.common.report);
    sent
}

/// The state of a run.
struct Sender {
    stop: CancellationToken,
    fps: f64,
    /// Frames to offer; no end without it.
    limit: u64,
    camera: CameraName,
    stream: StreamId,
    maker: Maker,
    /// Frames are never made smaller for the network's sake.
    fixed: bool,
    uplink: Uplink,
    preview: Option<Window>,
    truth: Option<BufWriter<File>>,
    /// Number of the last frame offered: those sent and those skipped.
    seq: u64,
}

impl Sender {
    fn new(args: &Args, stop: CancellationToken, fps: f64) -> anyhow::Result<Self> {
        let server = args.server.as_ref().context("--server is needed")?;
        let stream = StreamId(getrandom::u64().context("no random numbers from the system")?);
        let preview = args.preview.then(|| Window::open("Sightline sender"));
        let truth = args.demo_truth.as_ref().map(|path| {
            File::create(path).with_context(|| format!("creating --demo-truth {}", path.display()))
        });
        let camera = args.camera_name();
        let top = Rung {
            quality: args.quality,
            size: args.size,
        };
        info!(%server, %camera, source = %args.source, size = %args.size, fps, "sending");
        Ok(Self {
            stop,
            fps,
            limit: args.frames.map_or(u64::MAX, Into::into),
            stream,
            maker: Maker::new(top, args.fixed),
            fixed: args.fixed,
            uplink: Uplink::new(
                server,
                server::watch_address(server.to_string()),
                args.transport,
                &camera,
                stream,
            ),
            camera,
            preview: preview
                .transpose()
                .context("--preview needs a display; leave it out where there is none")?,
            truth: truth.transpose()?.map(BufWriter::new),
            seq: 0,
        })
    }

    fn run(&mut self, source: &mut Source) -> anyhow::Result<()> {
        let mut pace = Pace::new(self.fps, Instant::now());
        while self.seq < self.limit {
            let tick = pace.next(Instant::now());
            let end = pace.due(tick.index + 1);
            while Instant::now() < tick.due && self.goes_on()? {
                self.rest(tick.due);
            }
            loop {
                if !self.goes_on()? {
                    return Ok(());
                }
                let patience = end
                    .saturating_duration_since(Instant::now())
                    .min(self.slice());
                match source.next(&tick, patience)? {
                    Next::Shot(shot) => break self.offer(source, &shot)?,
                    Next::End => return Ok(()),
                    Next::Nothing if Instant::now() >= end => break,
                    Next::Nothing => {}
                }
            }
        }
        Ok(())
    }

    /// False where the user asks for the end, by a signal or at the window.
    fn goes_on(&mut self) -> anyhow::Result<bool> {
        if let Some(window) = &self.preview
            && matches!(
                window.poll(1)?,
                WindowEvent::Closed | WindowEvent::Key('q' | '\x1b')
            )
        {
            self.stop.cancel();
        }
        Ok(!self.stop.is_cancelled())
    }

    fn slice(&self) -> Duration {
        self.preview
            .as_ref()
            .map_or(SIGNALS_SLICE, |_| WINDOWS_SLICE)
    }

    fn rest(&self, until: Instant) {
        thread::sleep(
            until
                .saturating_duration_since(Instant::now())
                .min(self.slice()),
        );
    }

    /// Counts a picture and those missed before it as frames, and sends it.
    fn offer(&mut self, source: &Source, shot: &Shot) -> anyhow::Result<()> {
        let before = self.seq;
        self.seq = self.limit.min(before + shot.missed + 1);
        self.write_truth(source, before)?;
        if before + shot.missed >= self.limit {
            return Ok(());
        }
        let label = Label {
            stream: self.stream,
            seq: self.seq,
            captured_us: shot.captured_us,
            camera: self.camera.clone(),
        };
        match self.maker.make(&shot.picture, &label, Instant::now()) {
            Ok(Some(frame)) if !self.fixed && self.uplink.seeks(frame.len(), Instant::now()) => {
                // A frame that cannot be made small goes as it is.
                let small = self.maker.small(&shot.picture, &label);
                self.send(small.unwrap_or(frame))?;
            }
            Ok(Some(frame)) => self.send(frame)?,
            Ok(None) => {}
            Err(why) => debug!("a picture that cannot be decoded is skipped: {why:#}"),
        }
        Ok(())
    }

    fn send(&mut self, frame: Vec<u8>) -> anyhow::Result<()> {
        if let Some(window) = &self.preview {
            // A camera's JPEG that cannot be decoded is the viewer's to show, or not, as well.
            if let Ok(picture) = imaging::jpeg::decode(&frame) {
                window.show(&picture)?;
            }
        }
        let now = Instant::now();
        self.uplink.send(frame, now)?;
        match self.uplink.load() {
            Load::Native { offered, skipped } => self.maker.network(offered, skipped, now),
            Load::Plain => self.maker.plain(),
            Load::Lost => self.maker.pause(),
        }
        self.uplink.set_quality(self.maker.form().quality);
        Ok(())
    }

    /// One line for each frame offered since `before`; a demo's tick n is its frame n + 1, since it misses none.
    fn write_truth(&mut self, source: &Source, before: u64) -> anyhow::Result<()> {
        let Some(file) = &mut self.truth else {
            return Ok(());
        };
        for seq in before + 1..=self.seq {
            let line = json!({ "seq": seq, "boxes": source.truth(seq - 1)? });
            writeln!(file, "{line}").context("writing --demo-truth")?;
        }
        file.flush().context("writing --demo-truth")
    }

    fn finish(self, print: bool) {
        let encode = self.maker.encode_times().ms(50.0);
        let Form { quality, size } = self.maker.form();
        let totals = self.uplink.close();
        let skipped = self.seq - totals.sent;
        info!(sent = totals.sent, skipped, quality, %size, "stopped");
        if print {
            report::print(&json!({
                "sent": totals.sent,
                "skipped": skipped,
                "expired": totals.expired,
                "bytes": totals.bytes,
                "encode_ms_p50": encode,
                "transport": totals.transport,
            }));
        }
    }
}
