//! The annotation thread: it draws boxes into JPEGs.

use std::sync::mpsc::Receiver;

use bytes::Bytes;
use imaging::{draw, jpeg};
use opencv::core::{Mat, Point};
use opencv::prelude::*;
use protocol::datagram::MAX_DATAGRAM;
use relay_core::AnnotationJob;
use tokio::sync::mpsc;
use tracing::debug;

use super::Worker;
use crate::event::{Completion, Event};

/// Qualities at which a frame with boxes is tried until it fits a datagram; the first keeps the lines sharp.
const QUALITIES: [u8; 4] = [90, 75, 50, 25];
/// Frames that may wait: the relay gives one at a time.
const WAITING: usize = 1;

/// Starts the annotation thread.
///
/// # Errors
/// If the system has no thread left.
pub fn start(events: mpsc::Sender<Event>) -> anyhow::Result<Worker<AnnotationJob>> {
    let work = move |queue: Receiver<AnnotationJob>| {
        for annotate in queue {
            let drawn =
                draw_on(&annotate).inspect_err(|err| debug!("boxes could not be drawn: {err:#}"));
            let annotated = Completion::Annotated(annotate, drawn.ok().flatten());
            if events.blocking_send(annotated.into()).is_err() {
                return;
            }
        }
    };
    Worker::start("annotation", WAITING, work)
}

/// Returns the frame with its boxes, and with its label if it came with one; `None` if it does not fit a datagram at any
/// quality.
fn draw_on(annotate: &AnnotationJob) -> anyhow::Result<Option<Bytes>> {
    let frame = &annotate.frame.frame;
    let mut picture = jpeg::decode(&frame.jpeg)?;
    draw::boxes(&mut picture, &annotate.detections)?;
    if annotate.demo_mismatch {
        write_notice(&mut picture)?;
    }
    for quality in QUALITIES {
        let encoded = jpeg::encode(&picture, quality)?;
        let jpeg = match &frame.label {
            Some(label) => label.write(&encoded),
            None => encoded,
        };
        if jpeg.len() <= MAX_DATAGRAM {
            return Ok(Some(jpeg.into()));
        }
    }
    Ok(None)
}

/// Writes into the picture why it shows no boxes.
fn write_notice(picture: &mut Mat) -> opencv::Result<()> {
    let height = picture.rows();
    for (row, text) in [
        (2, "demo model: knows no real scenes"),
        (1, "scripts/get-model yolov5n"),
    ] {
        draw::text(picture, text, Point::new(2, height - row * height / 12))?;
    }
    Ok(())
}
