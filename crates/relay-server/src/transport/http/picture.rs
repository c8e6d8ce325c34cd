//! One picture of a camera: the newest frame, or the first one with the boxes of an inference.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use protocol::CAMERA_TIMEOUT;
use protocol::detections::{Detections, Kind};
use relay_core::CameraStatus;
use tokio::sync::broadcast;
use tokio::time::timeout;

use super::shared_feed::{HttpSubscription, SharedFrame, Slot, next_frame, next_line};

/// Longest wait for a model of which the picture's request is the only demand, aside from that for the camera's frames.
const MODEL_TIMEOUT: Duration = Duration::from_secs(3);
/// Wait for the frame of a camera that is not live by a status of up to 50 ms ago.
pub(super) const BACK: Duration = Duration::from_millis(100);
/// Longest wait for boxes: other software gives a request up after 10 s.
const MAX_PATIENCE: Duration = Duration::from_secs(9);

/// Returns the status of a camera that is live, of this name or the first.
///
/// # Errors
/// With how long the camera has been silent, or the one that was live last.
pub(super) fn live<'a>(
    cameras: &'a [CameraStatus],
    name: Option<&str>,
) -> Result<&'a CameraStatus, String> {
    let named = || {
        let of_name = |camera: &&CameraStatus| name.is_none_or(|name| camera.name == name);
        cameras.iter().filter(of_name)
    };
    if let Some(live) = named().find(|camera| camera.live) {
        return Ok(live);
    }
    let last = named().min_by_key(|camera| camera.silence);
    let silent = last.map(|camera| {
        let (name, seconds) = (&camera.name, camera.silence.as_secs());
        format!("; `{name}` has been silent for {seconds} s")
    });
    Err(format!("no frame comes{}", silent.unwrap_or_default()))
}

/// Returns how long a picture waits for its boxes: the model is given the camera's next frame, and its answer is drawn into
/// the one behind that.
pub(super) fn patience(fps: Option<f64>) -> Duration {
    let frames = fps.and_then(|fps| Duration::try_from_secs_f64(2.0 / fps).ok());
    let frames = frames.unwrap_or(MAX_PATIENCE).min(MAX_PATIENCE);
    (MODEL_TIMEOUT + frames).min(MAX_PATIENCE)
}

/// Returns the current frame, or the next within `patience`; `None` if the camera has stopped. The current frame of a slow camera is as old as
/// that is slow.
pub(super) async fn newest(
    subscription: &HttpSubscription,
    patience: Duration,
) -> Option<Arc<SharedFrame>> {
    let mut slot = subscription.frames();
    let live = subscription.live();
    let fresh = async {
        loop {
            let shared = next_frame(&mut slot).await?;
            let is_live = live.borrow().contains(&shared.frame.label.camera);
            if is_live || shared.frame.received.elapsed() < CAMERA_TIMEOUT {
                return Some(shared);
            }
        }
    };
    timeout(patience, fresh).await.ok().flatten()
}

/// Returns the first frame with the boxes of an inference. When none comes in time, it returns the last frame that the
/// boxes were to be drawn into, or the newest.
pub(super) async fn annotated(
    subscription: &HttpSubscription,
    patience: Duration,
) -> Option<Arc<SharedFrame>> {
    let mut waiting = Waiting {
        messages: subscription.messages(),
        annotated: subscription.annotated().await,
        newest: subscription.frames(),
        last: None,
    };
    match timeout(patience, waiting.first()).await {
        Ok(first) => first,
        Err(_) => match waiting.last {
            None => newest(subscription, CAMERA_TIMEOUT).await,
            last => last,
        },
    }
}

struct Waiting {
    messages: broadcast::Receiver<Bytes>,
    annotated: Slot,
    newest: Slot,
    last: Option<Arc<SharedFrame>>,
}

impl Waiting {
    /// Waits without limit; `None` once the relay has ended.
    async fn first(&mut self) -> Option<Arc<SharedFrame>> {
        let mut boxes_from = None;
        loop {
            tokio::select! {
                line = next_line(&mut self.messages) => {
                    boxes_from = boxes_from.or(self.boxes_from(&line?));
                }
                frame = next_frame(&mut self.annotated) => self.last = Some(frame?),
            }
            let has_boxes = |frame: &&Arc<SharedFrame>| {
                boxes_from.is_some_and(|from| frame.frame.label.seq >= from)
            };
            if let Some(frame) = self.last.as_ref().filter(has_boxes) {
                return Some(frame.clone());
            }
        }
    }

    /// Returns the number of the first frame that has the boxes of this message. The tracker has an inference's boxes from
    /// the frame on that comes next.
    fn boxes_from(&self, line: &[u8]) -> Option<u64> {
        let message = Detections::parse(line).ok()?;
        match message.kind {
            Kind::Tracked => (!message.detections.is_empty()).then_some(message.seq),
            Kind::Inferred => {
                let newest = self.newest.borrow();
                Some(
                    newest
                        .as_ref()
                        .map_or(message.seq, |shared| shared.frame.label.seq + 1),
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use relay_core::Publication;
    use tokio::sync::mpsc;
    use tokio::time::{Instant, sleep};

    use super::super::shared_feed::tests::{Step, feeds_of_steps};
    use super::*;
    use crate::fanout::tests::publication;

    const INTERVAL: Duration = Duration::from_millis(100);
    const BOXES_TIMEOUT: Duration = Duration::from_secs(1);
    const JPEG: &[u8] = b"jpeg";

    fn frame(seq: u64) -> Publication {
        let mut publication = publication("yard", true, false, JPEG);
        publication.frame.label.seq = seq;
        publication
    }

    fn message(kind: &str, seq: u64, found: bool) -> Bytes {
        let boxes = match found {
            true => r#"{"class":0,"label":"person","score":0.9,"box":[0.1,0.1,0.5,0.5]}"#,
            false => "",
        };
        let text = format!(
            r#"{{"v":1,"camera":"yard","seq":{seq},"t":1.5,"w":300,"h":200,"kind":"{kind}","detections":[{boxes}]}}"#
        );
        Bytes::from(text + "\n")
    }

    /// A camera of which each frame is annotated; the model infers the frames `inferred` and answers one frame later.
    async fn film(steps: mpsc::Sender<Step>, inferred: Option<u64>) {
        for seq in 1.. {
            let step: Step = Box::new(move |fanout| {
                fanout.publish(&frame(seq));
                fanout.publish_annotated(&frame(seq));
                if inferred.is_some_and(|inferred| seq == inferred + 1) {
                    fanout.publish_message("yard", &message("inferred", seq - 1, true));
                }
            });
            if steps.send(step).await.is_err() {
                return;
            }
            sleep(INTERVAL).await;
        }
    }

    async fn picture(inferred: Option<u64>) -> (u64, Duration) {
        let (feeds, steps) = feeds_of_steps();
        let subscription = feeds.subscribe("yard".parse().ok()).await.unwrap();
        tokio::spawn(film(steps, inferred));
        let start = Instant::now();
        let shared = annotated(&subscription, BOXES_TIMEOUT).await.unwrap();
        (shared.frame.label.seq, start.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_frame_is_the_answer_of_a_camera_that_is_live_and_of_no_other() {
        for live in [true, false] {
            let (feeds, steps) = feeds_of_steps();
            let subscription = feeds.subscribe("yard".parse().ok()).await.unwrap();
            let step: Step = Box::new(move |fanout| {
                let mut old = frame(1);
                old.frame.received_at -= 2 * CAMERA_TIMEOUT;
                fanout.publish(&old);
                let yard = "yard".parse().unwrap();
                fanout.publish_live(if live { vec![yard] } else { Vec::new() });
            });
            steps.send(step).await.unwrap();
            // Until the frame has come through.
            sleep(INTERVAL).await;
            assert_eq!(newest(&subscription, CAMERA_TIMEOUT).await.is_some(), live);
        }
    }

    #[test]
    fn the_wait_for_boxes_is_as_long_as_two_frames_of_the_camera_and_a_slow_model_take() {
        for (fps, ms) in [
            (Some(10.0), 3200),
            (Some(1.0), 5000),
            (Some(0.5), 7000),
            (Some(0.1), 9000),
            (Some(0.0), 9000),
            (None, 9000),
        ] {
            assert_eq!(patience(fps), Duration::from_millis(ms), "{fps:?}");
        }
    }

    #[test]
    fn a_camera_that_is_not_live_is_named_with_its_silence() {
        let camera = |name: &str, live, seconds| CameraStatus {
            name: name.parse().unwrap(),
            live,
            fps: None,
            size: "300x200".parse().unwrap(),
            silence: Duration::from_secs(seconds),
        };
        let cameras = [camera("yard", false, 50), camera("drive", false, 9)];
        let with_gate = [cameras.to_vec(), vec![camera("gate", true, 0)]].concat();
        let yard = "no frame comes; `yard` has been silent for 50 s";
        let drive = "no frame comes; `drive` has been silent for 9 s";
        for (cameras, name, wanted) in [
            (&cameras[..], Some("yard"), Err(yard)),
            (&cameras[..], None, Err(drive)),
            (&with_gate[..], Some("yard"), Err(yard)),
            (&with_gate[..], None, Ok("gate")),
            (&with_gate[..], Some("gate"), Ok("gate")),
            (&[], None, Err("no frame comes")),
        ] {
            let found = live(cameras, name).map(|camera| camera.name.as_str());
            assert_eq!(found, wanted.map_err(str::to_owned), "{name:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_annotated_frame_behind_an_inference_is_the_answer() {
        let (seq, _) = picture(Some(4)).await;
        assert_eq!(seq, 6, "the answer on frame 4 came with frame 5");
    }

    #[tokio::test(start_paused = true)]
    async fn a_model_that_does_not_answer_costs_a_second_and_not_the_picture() {
        let (seq, took) = picture(None).await;
        assert!((9..=11).contains(&seq), "the newest: {seq}");
        assert_eq!(took.as_secs(), BOXES_TIMEOUT.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn boxes_that_are_there_for_another_viewer_need_no_wait() {
        let (feeds, steps) = feeds_of_steps();
        let subscription = feeds.subscribe("yard".parse().ok()).await.unwrap();
        let publish = tokio::spawn(async move {
            sleep(INTERVAL).await;
            let step: Step = Box::new(|fanout| {
                fanout.publish_message("yard", &message("tracked", 7, true));
                fanout.publish_annotated(&frame(7));
            });
            steps.send(step).await.unwrap();
            steps
        });
        let start = Instant::now();
        let shared = annotated(&subscription, BOXES_TIMEOUT).await.unwrap();
        assert_eq!(shared.frame.label.seq, 7);
        assert!(start.elapsed() < 2 * INTERVAL);
        drop(publish);
    }
}
