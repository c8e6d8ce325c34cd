//! The send loop: at each tick one picture, made a frame and sent.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use platform::server::RelayAddress;
use platform::service::ServiceManager;
use platform::{report, signals};
use protocol::label::{CameraName, Label, StreamId};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::args::Args;
use crate::bandwidth::Bandwidth;
use crate::encoder::{Encoding, FrameEncoder};
use crate::pacer::Pacer;
use crate::preview::Preview;
use crate::send::Uplink;
use crate::service_state::ServiceState;
use crate::source::{CapturedPicture, PictureSource, Poll};

/// Longest wait between two polls of the preview's window.
const WINDOW_POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Longest wait between two checks for a stop: a stop takes this long at most, and a check costs a few microseconds.
const STOP_POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Sends until the source ends, `--frames` are sent, or the user stops the program.
///
/// # Errors
/// If something else ends the program; the message contains the cure.
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
    // A DNS query may hang for longer than a stop may take.
    runtime.shutdown_background();
    sent
}

fn send(args: &Args) -> anyhow::Result<()> {
    let stop = signals::stop_on_signals(signals::Hangup::Stops)?;
    let service = ServiceManager::from_environment();
    imaging::jpeg::single_threaded()?;
    let mut source = PictureSource::open(args)?;
    let mut sender = SendLoop::new(args, stop, source.fps(args.fps), service.clone())?;
    let sent = sender.run(&mut source);
    service.stopping();
    sender.finish(args.common.report);
    sent
}

/// State of a run.
struct SendLoop {
    stop: CancellationToken,
    fps: f64,
    /// Count of frames after which the run ends.
    limit: u64,
    camera: CameraName,
    stream: StreamId,
    encoder: FrameEncoder,
    /// Whether frames are never made smaller for the network's sake.
    fixed: bool,
    uplink: Uplink,
    preview: Option<Preview>,
    truth: Option<BufWriter<File>>,
    /// Whether the data rate was logged, which the first frame shows.
    logged_bandwidth: bool,
    /// Number of the last frame, sent or skipped.
    seq: u64,
    service: ServiceState,
}

impl SendLoop {
    fn new(
        args: &Args,
        stop: CancellationToken,
        fps: f64,
        service: ServiceManager,
    ) -> anyhow::Result<Self> {
        let server = args.server.as_ref().context("--server is needed")?;
        let random = || getrandom::u64().context("no random numbers from the system");
        let stream = StreamId(random()?);
        let preview = args.preview.then(Preview::open).transpose()?;
        let truth = args.demo_truth.as_ref().map(|path| {
            File::create(path).with_context(|| format!("creating --demo-truth {}", path.display()))
        });
        let camera = args.camera_name();
        info!(%server, %camera, source = %args.source, size = %args.size, fps, "sending");
        let about = format!("camera {camera} to {server}");
        let service = ServiceState::new(service, about, args.source.to_string(), Instant::now());
        Ok(Self {
            stop,
            fps,
            limit: args.frames.map_or(u64::MAX, Into::into),
            stream,
            encoder: FrameEncoder::new(args.frame_goal()),
            fixed: args.fixed,
            uplink: Uplink::new(
                server,
                RelayAddress::of_server(server),
                args.transport,
                &camera,
                stream,
                random()?,
            )?,
            camera,
            preview,
            truth: truth.transpose()?.map(BufWriter::new),
            logged_bandwidth: false,
            seq: 0,
            service,
        })
    }

    fn run(&mut self, source: &mut PictureSource) -> anyhow::Result<()> {
        let mut pacer = Pacer::new(self.fps, Instant::now());
        while self.seq < self.limit {
            let tick = pacer.next(Instant::now());
            let end = pacer.due(tick.index + 1);
            while Instant::now() < tick.due && self.keeps_running()? {
                // Before the wait, so that a connection that opens by that is open when the frame is due.
                self.uplink.poll(Instant::now())?;
                self.sleep_towards(tick.due);
            }
            loop {
                if !self.keeps_running()? {
                    return Ok(());
                }
                let timeout = end
                    .saturating_duration_since(Instant::now())
                    .min(self.poll_interval());
                match source.poll(&tick, timeout)? {
                    Poll::Picture(captured) => break self.send_picture(source, &captured)?,
                    Poll::End => return Ok(()),
                    Poll::Pending if Instant::now() >= end => break,
                    Poll::Pending => {}
                }
            }
        }
        Ok(())
    }

    /// False if the user stops the program, by a signal or at the window.
    fn keeps_running(&mut self) -> anyhow::Result<bool> {
        if let Some(preview) = &self.preview
            && preview.is_closed()?
        {
            self.stop.cancel();
        }
        self.service.turn(self.seq, &self.uplink, Instant::now());
        Ok(!self.stop.is_cancelled())
    }

    fn poll_interval(&self) -> Duration {
        self.preview
            .as_ref()
            .map_or(STOP_POLL_INTERVAL, |_| WINDOW_POLL_INTERVAL)
    }

    /// Sleeps until then, or until the window or a stop has to be checked.
    fn sleep_towards(&self, until: Instant) {
        thread::sleep(
            until
                .saturating_duration_since(Instant::now())
                .min(self.poll_interval()),
        );
    }

    /// Counts a picture and those missed before it as frames, and sends it.
    fn send_picture(
        &mut self,
        source: &PictureSource,
        captured: &CapturedPicture,
    ) -> anyhow::Result<()> {
        let before = self.seq;
        self.seq = self.limit.min(before + captured.missed + 1);
        self.write_truth(source, before)?;
        if before + captured.missed >= self.limit {
            return Ok(());
        }
        let label = Label {
            stream: self.stream,
            seq: self.seq,
            captured_us: self.uplink.label_us(captured.captured_us),
            camera: self.camera.clone(),
        };
        // A frame is made for the transport that takes it.
        let now = Instant::now();
        self.encoder.on_feedback(self.uplink.feedback(), now);
        match self.encoder.encode(&captured.picture, &label, now) {
            Ok(Some(frame)) if self.wants_small_frame(&frame) => {
                // A frame that cannot be made small goes as it is.
                let small = self.encoder.encode_smallest(&captured.picture, &label);
                self.send(small.unwrap_or(frame))?;
            }
            Ok(Some(frame)) => self.send(frame)?,
            Ok(None) => {}
            Err(why) => debug!("a picture that cannot be decoded is skipped: {why:#}"),
        }
        Ok(())
    }

    fn wants_small_frame(&mut self, frame: &[u8]) -> bool {
        !self.fixed && self.uplink.wants_small_frame(frame.len(), Instant::now())
    }

    fn send(&mut self, frame: Vec<u8>) -> anyhow::Result<()> {
        let now = Instant::now();
        if !std::mem::replace(&mut self.logged_bandwidth, true) {
            let Encoding { quality, size } = self.encoder.encoding();
            let bandwidth = Bandwidth::of_frames(frame.len(), self.fps);
            info!(quality, %size, bytes = frame.len(), "the first frame: {bandwidth} if all are like it");
        }
        if let Some(preview) = &self.preview {
            let refusal = self.uplink.refusal(now).map(|why| why.to_string());
            preview.show(&frame, refusal.as_deref())?;
        }
        self.uplink.send(frame.into(), now)?;
        self.uplink.set_quality(self.encoder.encoding().quality);
        Ok(())
    }

    /// Writes one line for each frame since `before`; a demo's tick n is its frame n + 1, since it misses none.
    fn write_truth(&mut self, source: &PictureSource, before: u64) -> anyhow::Result<()> {
        let Some(file) = &mut self.truth else {
            return Ok(());
        };
        for seq in before + 1..=self.seq {
            let line = json!({ "seq": seq, "boxes": source.truth(seq - 1)? });
            writeln!(file, "{line}").context("writing --demo-truth")?;
        }
        file.flush().context("writing --demo-truth")
    }

    fn finish(self, print_report: bool) {
        let encode = self.encoder.encode_times().ms(50.0);
        let Encoding { quality, size } = self.encoder.encoding();
        let totals = self.uplink.close();
        let skipped = self.seq - totals.sent;
        info!(sent = totals.sent, skipped, quality, %size, "stopped");
        if print_report {
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
