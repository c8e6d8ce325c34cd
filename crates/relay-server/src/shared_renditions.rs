//! Renditions of single frames: smaller, or of another quality. Each is made once for all clients that request it, off the
//! frame loop and off the server's thread.
//!
//! One is made at a time, and behind each the maker rests for as long as it worked: whatever sizes clients request, that
//! takes half a core. What is made or waits is bounded, in number and in bytes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};
use tracing::debug;

use crate::rendition::{Rendition, render};

/// Renditions that may wait to be made: of four cameras at four sizes each.
const MAX_WAITING: usize = 16;
/// Renditions that are kept for the next client.
const MAX_KEPT: usize = 16;
/// Most bytes of those: two of the largest pictures.
const MAX_KEPT_BYTES: usize = 16 << 20;
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
    turn: Arc<Semaphore>,
}

/// A rendition that is there or is being made.
#[derive(Debug)]
struct Entry {
    /// The frame, whose address tells it from others as long as it is kept here.
    frame: Bytes,
    rendition: Rendition,
    made: watch::Receiver<Option<Made>>,
}

impl Default for SharedRenditions {
    fn default() -> Self {
        Self {
            entries: Mutex::default(),
            turn: Arc::new(Semaphore::new(1)),
        }
    }
}

impl SharedRenditions {
    /// Returns a frame as `rendition`, with the frame's label.
    ///
    /// # Errors
    /// If too many others are requested, or the frame cannot be decoded.
    pub async fn get(&self, frame: &Bytes, rendition: Rendition) -> Made {
        if rendition.is_original() {
            return Ok(frame.clone());
        }
        let mut made = self.entry(frame, rendition)?;
        let made = made.wait_for(Option::is_some).await;
        made.ok()
            .and_then(|made| made.clone())
            .unwrap_or(Err(NoRendition::Broken))
    }

    /// Returns where the rendition is or will be.
    fn entry(
        &self,
        frame: &Bytes,
        rendition: Rendition,
    ) -> Result<watch::Receiver<Option<Made>>, NoRendition> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.iter().find(|entry| entry.is(frame, rendition)) {
            return Ok(entry.made.clone());
        }
        let waiting = entries.iter().filter(|entry| entry.is_waiting()).count();
        if waiting >= MAX_WAITING {
            return Err(NoRendition::Busy);
        }
        forget_oldest(&mut entries);
        let (sender, made) = watch::channel(None);
        entries.push_back(Entry {
            frame: frame.clone(),
            rendition,
            made: made.clone(),
        });
        tokio::spawn(make(self.turn.clone(), frame.clone(), rendition, sender));
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
        if count < MAX_KEPT && bytes < MAX_KEPT_BYTES {
            return;
        }
        let oldest = entries.iter().position(|entry| !entry.is_waiting());
        oldest.and_then(|oldest| entries.remove(oldest));
    }
}

/// Makes a rendition when its turn comes.
async fn make(
    turn: Arc<Semaphore>,
    frame: Bytes,
    rendition: Rendition,
    made: watch::Sender<Option<Made>>,
) {
    let Ok(_turn) = turn.acquire().await else {
        return;
    };
    let start = Instant::now();
    let rendered = spawn_blocking(move || render(&frame, rendition)).await;
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

    use super::*;

    fn frame(width: i32, height: i32) -> Bytes {
        let grey = Scalar::all(0.0);
        let mut picture = Mat::new_rows_cols_with_default(height, width, CV_8UC3, grey).unwrap();
        randu(&mut picture, &0.0, &255.0).unwrap();
        let label = Label {
            stream: StreamId(1),
            seq: 7,
            captured_us: 3,
            camera: "yard".parse().unwrap(),
        };
        label.write(&jpeg::encode(&picture, 90).unwrap()).into()
    }

    fn of(width: Option<u16>, quality: Option<u8>) -> Rendition {
        Rendition { width, quality }
    }

    #[tokio::test]
    async fn clients_that_request_the_same_of_one_frame_share_what_is_made_once() {
        let renditions = SharedRenditions::default();
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
            first.as_ptr()
        );
    }

    #[tokio::test]
    async fn what_is_kept_and_what_waits_is_bounded_and_the_rest_is_refused() {
        let renditions = Arc::new(SharedRenditions::default());
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
        assert_eq!(refused, 100 - MAX_WAITING);
        for n in 0..30 {
            renditions.get(&frame, of(None, Some(n + 1))).await.unwrap();
            assert!(renditions.entries.lock().unwrap().len() <= MAX_KEPT);
        }
    }

    #[tokio::test]
    async fn what_is_kept_takes_few_bytes_however_large_the_pictures() {
        let renditions = SharedRenditions::default();
        let large = Bytes::from(vec![0; MAX_KEPT_BYTES / 3]);
        for quality in 1..10 {
            let made = renditions.get(&large, of(None, Some(quality))).await;
            assert_eq!(made, Err(NoRendition::Broken));
            assert!(renditions.entries.lock().unwrap().len() <= 4);
        }
    }
}
