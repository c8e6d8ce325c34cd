//! Renditions of single frames: smaller, or of another quality. Each is made once for all clients that request it, off the
//! frame loop and off the server's thread.
//!
//! One is made at a time, and behind each the maker rests for as long as it worked: whatever sizes clients request, that
//! takes half a core, which hosts and cameras share fairly. What is made or waits is bounded, in number and in bytes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use protocol::quic::MAX_CAMERAS;
use relay_core::limits::{
    KEPT_RENDITION_BYTES, KEPT_RENDITIONS, RENDITION_FORMS, SNAPSHOT_RENDITIONS,
};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};
use tracing::debug;

use crate::fanout::PublishedFrame;
use crate::rendition::{Rendition, render};
use crate::rendition_turns::{Origin, RenditionTurns};

/// Longest rest of the maker.
const MAX_REST: Duration = Duration::from_secs(1);

/// Why there is no rendition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoRendition {
    /// Too many others wait to be made.
    #[error("too many sizes of pictures are requested at once; try again in a second")]
    Busy,
    /// The frame cannot be decoded.
    #[error("this camera's picture cannot be decoded; request it without width and quality")]
    Broken,
}

/// A rendition, or why there is none.
pub type Made = Result<Bytes, NoRendition>;

/// The renditions of the newest frames.
#[derive(Debug)]
pub struct SharedRenditions {
    entries: Mutex<VecDeque<Entry>>,
    turns: Arc<RenditionTurns>,
    /// Most renditions that wait.
    waiting: usize,
}

/// A rendition that is there or is being made.
#[derive(Debug)]
struct Entry {
    /// The frame, whose address tells it from others as long as it is kept here.
    frame: Bytes,
    rendition: Rendition,
    made: watch::Receiver<Option<Made>>,
}

impl SharedRenditions {
    /// Returns the renditions that HTTP clients request of single frames.
    pub fn of_snapshots() -> Self {
        Self {
            entries: Mutex::default(),
            turns: RenditionTurns::new(SNAPSHOT_RENDITIONS, false),
            waiting: SNAPSHOT_RENDITIONS,
        }
    }

    /// Returns those for viewers of streams: a frame gives way to a newer one of its camera.
    pub fn of_viewers() -> Self {
        Self {
            entries: Mutex::default(),
            turns: RenditionTurns::new(RENDITION_FORMS, true),
            waiting: RENDITION_FORMS * MAX_CAMERAS,
        }
    }

    /// Returns a frame as `rendition`, with the frame's label.
    ///
    /// # Errors
    /// If too many others are requested, or the frame cannot be decoded.
    pub async fn get(&self, frame: &PublishedFrame, rendition: Rendition) -> Made {
        if rendition.is_original() {
            return Ok(frame.jpeg.clone());
        }
        let mut made = self.entry(frame, rendition)?;
        let made = made.wait_for(Option::is_some).await;
        made.ok()
            .and_then(|made| made.clone())
            .unwrap_or(Err(NoRendition::Broken))
    }

    /// Returns a frame as `rendition` for a viewer of a stream: as it came, if it cannot be decoded here.
    ///
    /// # Errors
    /// [`NoRendition::Busy`].
    pub async fn of_viewer(&self, frame: &PublishedFrame, rendition: Rendition) -> Made {
        match self.get(frame, rendition).await {
            Err(NoRendition::Broken) => Ok(frame.jpeg.clone()),
            made => made,
        }
    }

    /// Returns where the rendition is or will be.
    fn entry(
        &self,
        frame: &PublishedFrame,
        rendition: Rendition,
    ) -> Result<watch::Receiver<Option<Made>>, NoRendition> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries
            .iter()
            .find(|entry| entry.is(&frame.jpeg, rendition))
        {
            return Ok(entry.made.clone());
        }
        let waiting = entries.iter().filter(|entry| entry.is_waiting()).count();
        if waiting >= self.waiting {
            return Err(NoRendition::Busy);
        }
        forget_oldest(&mut entries);
        let (sender, made) = watch::channel(None);
        entries.push_back(Entry {
            frame: frame.jpeg.clone(),
            rendition,
            made: made.clone(),
        });
        tokio::spawn(make(self.turns.clone(), frame.clone(), rendition, sender));
        Ok(made)
    }
}

impl Entry {
    fn is(&self, frame: &Bytes, rendition: Rendition) -> bool {
        let same = (self.frame.as_ptr(), self.frame.len()) == (frame.as_ptr(), frame.len());
        same && self.rendition == rendition
    }

    fn is_waiting(&self) -> bool {
        self.made.borrow().is_none() && self.made.has_changed().is_ok()
    }

    /// Returns the bytes that are kept with it.
    fn bytes(&self) -> usize {
        let made = self.made.borrow();
        let rendition = made.as_ref().and_then(|made| made.as_ref().ok());
        self.frame.len() + rendition.map_or(0, Bytes::len)
    }
}

/// Forgets the oldest of those that were made until there is room for one more.
fn forget_oldest(entries: &mut VecDeque<Entry>) {
    loop {
        let kept = entries.iter().filter(|entry| !entry.is_waiting());
        let (count, bytes) = kept.fold((0, 0), |(count, bytes), entry| {
            (count + 1, bytes + entry.bytes())
        });
        if count < KEPT_RENDITIONS && bytes < KEPT_RENDITION_BYTES {
            return;
        }
        let oldest = entries.iter().position(|entry| !entry.is_waiting());
        oldest.and_then(|oldest| entries.remove(oldest));
    }
}

/// Makes a rendition when its turn comes.
async fn make(
    turns: Arc<RenditionTurns>,
    frame: PublishedFrame,
    rendition: Rendition,
    made: watch::Sender<Option<Made>>,
) {
    let (camera, payer) = frame.camera;
    let origin = Origin {
        camera,
        payer,
        pixels: u64::from(frame.size.width) * u64::from(frame.size.height),
        frame: frame.jpeg.as_ptr().addr(),
    };
    let Some(_turn) = turns.take(origin).await else {
        made.send_replace(Some(Err(NoRendition::Busy)));
        return;
    };
    let start = Instant::now();
    let rendered = spawn_blocking(move || render(&frame.jpeg, rendition)).await;
    let rendered = rendered
        .map_err(anyhow::Error::from)
        .flatten()
        .inspect_err(|err| debug!("a rendition could not be made: {err:#}"));
    made.send_replace(Some(rendered.map_err(|_| NoRendition::Broken)));
    sleep(start.elapsed().min(MAX_REST)).await;
}

#[cfg(test)]
mod tests {
    use imaging::jpeg;
    use opencv::core::{CV_8UC3, Mat, Scalar, randu};
    use protocol::label::{Label, StreamId};

    use relay_core::Publication;

    use super::*;
    use crate::fanout::Fanout;
    use crate::fanout::tests::publication;

    fn published(jpeg: Bytes) -> PublishedFrame {
        let publication = publication("yard", true, false, b"");
        let frame = publication.frame.with_jpeg(jpeg);
        let mut fanout = Fanout::default();
        let feed = fanout.subscribe(None);
        fanout.publish(&Publication {
            frame,
            ..publication
        });
        feed.frames.newest().expect("it was published")
    }

    fn frame(width: i32, height: i32) -> PublishedFrame {
        let grey = Scalar::all(0.0);
        let mut picture = Mat::new_rows_cols_with_default(height, width, CV_8UC3, grey).unwrap();
        randu(&mut picture, &0.0, &255.0).unwrap();
        let label = Label {
            stream: StreamId(1),
            seq: 7,
            captured_us: 3,
            camera: "yard".parse().unwrap(),
        };
        published(label.write(&jpeg::encode(&picture, 90).unwrap()).into())
    }

    fn of(width: Option<u16>, quality: Option<u8>) -> Rendition {
        Rendition { width, quality }
    }

    #[tokio::test]
    async fn clients_that_request_the_same_of_one_frame_share_what_is_made_once() {
        let renditions = SharedRenditions::of_snapshots();
        let (first, second) = (frame(300, 200), frame(300, 200));
        let small = of(Some(100), None);
        let made = renditions.get(&first, small).await.unwrap();
        for _ in 0..100 {
            assert_eq!(
                renditions.get(&first, small).await.unwrap().as_ptr(),
                made.as_ptr()
            );
        }
        assert_ne!(
            renditions.get(&second, small).await.unwrap().as_ptr(),
            made.as_ptr()
        );
        assert_eq!(
            renditions
                .get(&first, of(None, None))
                .await
                .unwrap()
                .as_ptr(),
            first.jpeg.as_ptr()
        );
    }

    #[tokio::test]
    async fn what_is_kept_and_what_waits_is_bounded_and_the_rest_is_refused() {
        let renditions = Arc::new(SharedRenditions::of_snapshots());
        let frame = frame(300, 200);
        let clients: Vec<_> = (0..100_u16)
            .map(|n| {
                let (renditions, frame) = (renditions.clone(), frame.clone());
                tokio::spawn(async move { renditions.get(&frame, of(Some(16 + n), None)).await })
            })
            .collect();
        let mut refused = 0;
        for client in clients {
            refused += usize::from(client.await.unwrap() == Err(NoRendition::Busy));
        }
        assert_eq!(refused, 100 - SNAPSHOT_RENDITIONS);
        for n in 0..30 {
            renditions.get(&frame, of(None, Some(n + 1))).await.unwrap();
            assert!(renditions.entries.lock().unwrap().len() <= KEPT_RENDITIONS);
        }
    }

    #[tokio::test]
    async fn a_viewer_gets_a_frame_that_cannot_be_decoded_as_it_came() {
        let renditions = SharedRenditions::of_viewers();
        let broken = published(Bytes::from_static(b"no picture"));
        let small = of(Some(100), None);
        assert_eq!(
            renditions.of_viewer(&broken, small).await,
            Ok(broken.jpeg.clone())
        );
        let good = frame(300, 200);
        let made = renditions.of_viewer(&good, small).await.unwrap();
        assert!(made.len() < good.jpeg.len());
    }

    #[tokio::test]
    async fn what_is_kept_takes_few_bytes_however_large_the_pictures() {
        let renditions = SharedRenditions::of_snapshots();
        let large = published(Bytes::from(vec![0; KEPT_RENDITION_BYTES / 3]));
        for quality in 1..10 {
            let made = renditions.get(&large, of(None, Some(quality))).await;
            assert_eq!(made, Err(NoRendition::Broken));
            assert!(renditions.entries.lock().unwrap().len() <= 4);
        }
    }
}
