//! The threads beside the loop: the model's, the one that follows objects from frame to frame, the one that draws boxes,
//! and the one that writes detections.
//!
//! Each takes one piece of work at a time and answers by event, if at all, so the loop that forwards frames never waits
//! for any of them.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use imaging::{draw, jpeg};
use opencv::core::{Mat, Point};
use opencv::prelude::*;
use protocol::datagram::MAX_DATAGRAM;
use protocol::detections::Detection;
use protocol::label::Label;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{debug, error, info, warn};

use crate::event::Event;
use crate::reload::Adjustable;
use protocol::detections::Found;
use relay_core::{Answer, Burn, CameraId, Job, Tracked};
use vision::detect::Detector;
use vision::track::CameraTracker;

/// Qualities at which a frame with boxes is tried until it fits a datagram; the first keeps the lines sharp.
const QUALITIES: [u8; 4] = [90, 75, 50, 25];
/// Drawings that may wait: two cameras' worth. A frame whose drawing finds no room leaves as it came.
const DRAWINGS: usize = 4;
/// Frames and answers that may wait to be followed: half a second of a fast camera's. What finds no room is left out, and
/// the next one comes soon.
const TRACKS: usize = 16;

/// A thread and its letter box.
#[derive(Debug)]
pub struct Worker<T> {
    give: SyncSender<T>,
    thread: JoinHandle<()>,
}

impl<T: Send + 'static> Worker<T> {
    /// Starts a thread that works off what it is given; at most `waiting` things wait for it.
    ///
    /// # Errors
    /// Where the system has no thread left.
    pub fn start(
        name: &str,
        waiting: usize,
        work: impl FnOnce(Receiver<T>) + Send + 'static,
    ) -> anyhow::Result<Self> {
        let (give, given) = sync_channel(waiting);
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || work(given))
            .with_context(|| format!("starting the {name} thread"))?;
        Ok(Self { give, thread })
    }

    /// Starts a thread that writes what it is given. A failure is said once, in the operator's words `lost`, and again
    /// only after a success.
    ///
    /// # Errors
    /// Where the system has no thread left.
    pub fn writer(
        name: &str,
        waiting: usize,
        lost: &'static str,
        mut write: impl FnMut(T) -> anyhow::Result<()> + Send + 'static,
    ) -> anyhow::Result<Self> {
        Self::start(name, waiting, move |given| {
            let mut failed = false;
            for item in given {
                let result = write(item);
                if let Err(err) = &result
                    && !failed
                {
                    warn!("{lost}: {err:#}");
                }
                failed = result.is_err();
            }
        })
    }

    /// Hands over work. Tells whether there was room for it.
    pub fn give(&self, work: T) -> bool {
        self.give.try_send(work).is_ok()
    }

    /// Lets the thread finish what it was given, until `deadline`.
    ///
    /// To be done before the process ends: the libraries' own clean-up at exit crashes under a thread that still
    /// works with them.
    pub fn close(self, deadline: Instant) {
        drop(self.give);
        while !self.thread.is_finished() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Starts the model's thread; it loads the model there. Returns when the model is warm, with the number of frames that it
/// takes at a time.
///
/// # Errors
/// Those of `load`.
pub async fn model(
    load: impl FnOnce() -> anyhow::Result<Detector> + Send + 'static,
    mut settings: watch::Receiver<Adjustable>,
    events: mpsc::Sender<Event>,
) -> anyhow::Result<(Worker<Vec<Job>>, usize)> {
    let (ready, loaded) = oneshot::channel();
    let work = move |asked: Receiver<Vec<Job>>| {
        let mut detector = match load() {
            Ok(detector) => detector,
            Err(err) => return drop(ready.send(Err(err))),
        };
        let _ = ready.send(Ok(detector.batch()));
        let _alarm = Alarm(events.clone());
        for jobs in asked {
            if settings.has_changed().unwrap_or(false) {
                adjust(&mut detector, &settings.borrow_and_update());
            }
            if events
                .blocking_send(Event::Answered(answers(&mut detector, jobs)))
                .is_err()
            {
                return;
            }
        }
    };
    let worker = Worker::start("model", 1, work)?;
    let batch = loaded
        .await
        .map_err(|_| anyhow!("the model's thread died while loading"))??;
    Ok((worker, batch))
}

/// Says that the model's thread has ended, however it did.
struct Alarm(mpsc::Sender<Event>);

impl Drop for Alarm {
    fn drop(&mut self) {
        if thread::panicking() {
            error!("the model's thread died; frames go on without boxes");
            let _ = self.0.blocking_send(Event::ModelDied);
        }
    }
}

fn answers(detector: &mut Detector, jobs: Vec<Job>) -> Vec<Answer> {
    let jpegs: Vec<Bytes> = jobs.iter().map(|job| job.jpeg.clone()).collect();
    let answer = |(job, found): (Job, anyhow::Result<Found>)| Answer {
        camera: job.camera,
        count: job.count,
        arrival: job.arrival,
        found: found
            .inspect_err(|err| debug!("a frame could not be inferred: {err:#}"))
            .ok(),
    };
    let found = detector.detect_all(&jpegs);
    jobs.into_iter().zip(found).map(answer).collect()
}

fn adjust(detector: &mut Detector, wanted: &Adjustable) {
    match detector.set(wanted.conf, wanted.iou, &wanted.classes) {
        Ok(()) => {
            info!(conf = wanted.conf, iou = wanted.iou, classes = ?wanted.classes, "the model's settings changed")
        }
        Err(err) => warn!("the model's settings stay as they were: {err:#}"),
    }
}

/// What the thread that follows objects is told, in order.
#[derive(Debug)]
pub enum Track {
    /// A frame has come.
    Frame(Job),
    /// The model found this on a frame that came before.
    Answer(CameraId, u64, Vec<Detection>),
    /// The next pictures of this camera are of another place or time.
    Forget(CameraId),
}

/// Starts the thread that follows objects from frame to frame, each camera's apart.
///
/// # Errors
/// Where the system has no thread left.
pub fn tracks(
    mut settings: watch::Receiver<Adjustable>,
    events: mpsc::Sender<Event>,
) -> anyhow::Result<Worker<Track>> {
    let work = move |told: Receiver<Track>| {
        // As many as there are cameras, which the relay bounds.
        let mut followers: HashMap<CameraId, CameraTracker> = HashMap::new();
        for track in told {
            if settings.has_changed().unwrap_or(false) {
                let scores = settings.borrow_and_update().tracking();
                followers
                    .values_mut()
                    .for_each(|follower| follower.set(scores));
            }
            match track {
                Track::Frame(job) => {
                    let follower = followers
                        .entry(job.camera)
                        .or_insert_with(|| CameraTracker::new(settings.borrow().tracking()));
                    let at = Duration::from_micros(job.arrival.captured_us);
                    let detections = follower.on_frame(job.count, job.jpeg.clone(), at);
                    let tracked = Event::Tracked(Tracked { job, detections });
                    if events.blocking_send(tracked).is_err() {
                        return;
                    }
                }
                Track::Answer(camera, count, found) => {
                    if let Some(follower) = followers.get_mut(&camera) {
                        follower.on_answer(count, &found);
                    }
                }
                Track::Forget(camera) => drop(followers.remove(&camera)),
            }
        }
    };
    Worker::start("tracks", TRACKS, work)
}

/// Starts the thread that draws boxes.
///
/// # Errors
/// Where the system has no thread left.
pub fn overlay(events: mpsc::Sender<Event>) -> anyhow::Result<Worker<Burn>> {
    let work = move |burns: Receiver<Burn>| {
        for burn in burns {
            let drawn =
                draw_on(&burn).inspect_err(|err| debug!("boxes could not be drawn: {err:#}"));
            let jpeg = drawn.ok().flatten();
            if events.blocking_send(Event::Burned(burn, jpeg)).is_err() {
                return;
            }
        }
    };
    Worker::start("overlay", DRAWINGS, work)
}

/// What a viewer should know who wonders where the boxes are.
fn notice(picture: &mut Mat) -> opencv::Result<()> {
    let height = picture.rows();
    for (row, text) in [
        (2, "demo model: blind to real scenes"),
        (1, "scripts/get-model yolov5n"),
    ] {
        draw::text(picture, text, Point::new(2, height - row * height / 12))?;
    }
    Ok(())
}

/// The frame with its boxes and its label; `None` where it does not fit a datagram at any quality.
fn draw_on(burn: &Burn) -> anyhow::Result<Option<Bytes>> {
    let mut picture = jpeg::decode(&burn.job.jpeg)?;
    draw::boxes(&mut picture, &burn.detections)?;
    if burn.blind {
        notice(&mut picture)?;
    }
    let label = Label::read(&burn.job.jpeg).ok().flatten();
    for quality in QUALITIES {
        let encoded = jpeg::encode(&picture, quality)?;
        let frame = label
            .as_ref()
            .map_or_else(|| encoded.clone(), |label| label.write(&encoded));
        if frame.len() <= MAX_DATAGRAM {
            return Ok(Some(frame.into()));
        }
    }
    Ok(None)
}
