//! The annotation thread: it draws boxes into JPEGs, and makes renditions for UDP viewers.

use std::sync::mpsc::Receiver;

use bytes::Bytes;
use imaging::{draw, jpeg};
use opencv::core::{Mat, Point};
use opencv::prelude::*;
use protocol::MAX_FRAME;
use protocol::datagram::MAX_DATAGRAM;
use relay_core::AnnotationJob;
use tokio::sync::mpsc;
use tracing::debug;

use super::Worker;
use crate::event::{Completion, Event};
use crate::rendition;

/// Qualities at which a frame with boxes is tried until it fits; the first keeps the lines sharp.
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

/// Returns the frame with its boxes, and with its label if it came with one; `None` if it fits no datagram at any quality,
/// where it is for UDP viewers.
fn draw_on(annotate: &AnnotationJob) -> anyhow::Result<Option<Bytes>> {
    let frame = &annotate.frame.frame;
    let mut picture = match annotate.reduced {
        true => rendition::decode_within(&frame.jpeg, frame.size, rendition::UDP_SIZE)?,
        false => jpeg::decode(&frame.jpeg)?,
    };
    draw::boxes(&mut picture, &annotate.detections)?;
    if annotate.demo_mismatch {
        write_notice(&mut picture)?;
    }
    let label = frame.label.as_ref();
    if annotate.reduced {
        let made = rendition::encode_small(&picture, label)?;
        return Ok((made.len() <= MAX_DATAGRAM).then(|| made.into()));
    }
    let most = match annotate.held {
        Some(_) => MAX_DATAGRAM,
        None => MAX_FRAME,
    };
    for quality in QUALITIES {
        let jpeg = rendition::labelled(label, jpeg::encode(&picture, quality)?);
        if jpeg.len() <= most {
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
