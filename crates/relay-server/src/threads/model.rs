//! The model's thread: it loads the model, then answers one batch after the other.

use std::sync::mpsc::Receiver;
use std::thread;

use anyhow::anyhow;
use bytes::Bytes;
use protocol::detections::Found;
use relay_core::{CameraFrame, Inference};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{debug, error, info, warn};
use vision::detect::Detector;
use vision::detect::classes::Classes;

use super::Worker;
use crate::event::{Completion, Event};
use crate::live_settings::LiveSettings;

/// What is known of a model once it is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelInfo {
    /// Frames that it takes at a time.
    pub batch: usize,
    /// Its classes.
    pub classes: Classes,
}

/// Starts the model's thread. Returns when the model is warm.
///
/// # Errors
/// Those of `load`.
pub async fn start(
    load: impl FnOnce() -> anyhow::Result<Detector> + Send + 'static,
    mut settings: watch::Receiver<LiveSettings>,
    events: mpsc::Sender<Event>,
) -> anyhow::Result<(Worker<Vec<CameraFrame>>, ModelInfo)> {
    let (ready, loaded) = oneshot::channel();
    let work = move |batches: Receiver<Vec<CameraFrame>>| {
        let mut detector = match load() {
            Ok(detector) => detector,
            Err(err) => return drop(ready.send(Err(err))),
        };
        let _ = ready.send(Ok(ModelInfo {
            batch: detector.batch(),
            classes: detector.classes().clone(),
        }));
        let _alarm = DeathNotice(events.clone());
        // A copy: to hold the channel while the model works would keep a reload, and with it the loop, waiting.
        let mut current = settings.borrow().clone();
        for frames in batches {
            if settings.has_changed().unwrap_or(false) {
                let wanted = settings.borrow_and_update().clone();
                if adjust(&mut detector, &wanted) {
                    current = wanted;
                }
            }
            let inferred = infer(&mut detector, frames, &current);
            let inferred = Completion::Inferred(inferred);
            if events.blocking_send(inferred.into()).is_err() {
                return;
            }
        }
    };
    let worker = Worker::start("model", 1, work)?;
    let info = loaded
        .await
        .map_err(|_| anyhow!("the model's thread died while loading"))??;
    Ok((worker, info))
}

/// Reports the death of the model's thread when a panic unwinds it.
struct DeathNotice(mpsc::Sender<Event>);

impl Drop for DeathNotice {
    fn drop(&mut self) {
        if thread::panicking() {
            error!("the model's thread died; frames go on without boxes");
            let _ = self.0.blocking_send(Completion::ModelDied.into());
        }
    }
}

/// Returns what the model finds on each frame and its camera's settings let through.
fn infer(
    detector: &mut Detector,
    frames: Vec<CameraFrame>,
    settings: &LiveSettings,
) -> Vec<Inference> {
    let jpegs: Vec<Bytes> = frames.iter().map(|frame| frame.jpeg().clone()).collect();
    let inference = |(frame, found): (CameraFrame, anyhow::Result<Found>)| {
        let mut found = found
            .inspect_err(|err| debug!("a frame could not be inferred: {err:#}"))
            .ok();
        if let Some(found) = &mut found {
            let filter = settings.filter(&frame.label.camera);
            found.detections.retain(|one| filter.keeps(one));
        }
        Inference { frame, found }
    };
    let found = detector.detect_all(&jpegs);
    frames.into_iter().zip(found).map(inference).collect()
}

/// Returns whether the detector has the wanted settings now.
fn adjust(detector: &mut Detector, wanted: &LiveSettings) -> bool {
    let (conf, classes) = wanted.for_model();
    let set = detector.set(conf, wanted.iou, &classes);
    match &set {
        Ok(()) => {
            info!(%conf, iou = %wanted.iou, ?classes, "the model's settings changed")
        }
        Err(err) => warn!("the model's settings stay as they were: {err:#}"),
    }
    set.is_ok()
}
