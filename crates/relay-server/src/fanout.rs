//! Fan-out: each camera's newest frame and messages, for its QUIC and HTTP subscribers.
//!
//! Each camera has a newest-wins slot: a slow subscriber finds the newest frame there and never a queue. Reordered frames
//! have a slot of their own, so that a frame that was overtaken on the network never displaces a newer one here.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use protocol::datagram::Foreign;
use protocol::geometry::Size;
use protocol::label::{CameraName, Label};
use protocol::quic::{CameraInfo, MAX_CAMERAS, SenderInfo};
use quic::frames::{FrameSource, OutgoingFrame};
use relay_core::{CameraFrame, CameraId, Payer, Publication};
use tokio::sync::{broadcast, watch};

/// Messages that may wait for a subscriber: two seconds of tracked ones at 30 frames a second. Behind that the oldest go.
pub const MESSAGE_QUEUE: usize = 64;

/// A frame as subscribers get it.
#[derive(Debug, Clone)]
pub struct PublishedFrame {
    /// Number without gaps, by feed: a gap is a frame that the subscriber missed.
    pub number: u64,
    /// The JPEG, with its label in it.
    pub jpeg: Bytes,
    /// The label.
    pub label: Label,
    /// Size in the JPEG's header.
    pub size: Size,
    /// The camera, and the host whose part of the threads' time its renditions take.
    pub camera: (CameraId, Payer),
    /// Time of arrival at the relay.
    pub received: Instant,
    /// Whether it is of the feed with boxes drawn in.
    pub annotated: bool,
}

/// The feeds of all cameras.
#[derive(Debug)]
pub struct Fanout {
    /// The feed of subscribers that named no camera: the first that is live, whichever that is.
    first: CameraFeed,
    named: BTreeMap<String, CameraFeed>,
    live: watch::Sender<Vec<CameraName>>,
    foreign: watch::Sender<Option<Foreign>>,
}

/// What is published of one camera.
#[derive(Debug)]
struct CameraFeed {
    published: u64,
    newest: watch::Sender<Option<PublishedFrame>>,
    reordered: watch::Sender<Option<PublishedFrame>>,
    /// With boxes drawn in, while a subscriber wants that.
    annotated: watch::Sender<Option<PublishedFrame>>,
    messages: broadcast::Sender<Bytes>,
    camera: watch::Sender<CameraInfo>,
}

/// The receiving ends of a camera's feed.
#[derive(Debug)]
pub struct Feed {
    /// The frames.
    pub frames: FrameReceiver,
    /// The newest frame with boxes drawn in, while it is [requested](relay_core::Relay::request_annotated).
    pub annotated: watch::Receiver<Option<PublishedFrame>>,
    /// Detections messages, a line of JSON each.
    pub messages: broadcast::Receiver<Bytes>,
    /// The camera whose frames these are.
    pub camera: watch::Receiver<CameraInfo>,
    /// The cameras that are live.
    pub live: watch::Receiver<Vec<CameraName>>,
    /// What other software sends to the relay in place of JPEGs.
    pub foreign: watch::Receiver<Option<Foreign>>,
}

/// Receives the frames of a feed, newest first.
#[derive(Debug)]
pub struct FrameReceiver {
    newest: watch::Receiver<Option<PublishedFrame>>,
    /// The newest of those that were overtaken.
    reordered: watch::Receiver<Option<PublishedFrame>>,
}

impl Default for Fanout {
    fn default() -> Self {
        Self {
            first: CameraFeed::new(String::new()),
            named: BTreeMap::new(),
            live: watch::Sender::default(),
            foreign: watch::Sender::default(),
        }
    }
}

impl Fanout {
    /// Returns the feed of a camera, there or not yet, or of the first that is live.
    pub fn subscribe(&mut self, camera: Option<&CameraName>) -> Feed {
        // Names that subscribers waited for in vain go; cameras are few.
        self.named
            .retain(|_, feed| feed.published > 0 || feed.newest.receiver_count() > 0);
        let (live, foreign) = (self.live.subscribe(), self.foreign.subscribe());
        match camera {
            Some(name) => self.feed(name.as_str()).subscribe(live, foreign),
            None => self.first.subscribe(live, foreign),
        }
    }

    /// Publishes a frame.
    pub fn publish(&mut self, publication: &Publication) {
        let Publication {
            frame,
            is_default,
            reordered,
        } = publication;
        let camera = frame.label.camera.as_str();
        let unnamed = self.first.newest.receiver_count();
        let feed = self.feed(camera);
        if frame.frame.label.is_none() && feed.newest.receiver_count() + unnamed == 0 {
            // Without a subscriber a frame is not copied for its label.
            feed.published += 1;
            // The next subscriber must not take an older frame for the newest.
            feed.newest.send_replace(None);
            if *is_default {
                self.first.newest.send_replace(None);
            }
            return;
        }
        let jpeg = frame.labelled();
        feed.publish(jpeg.clone(), frame, *reordered);
        if !is_default {
            return;
        }
        if self.first.camera.borrow().name != camera {
            let info = self.feed(camera).camera.borrow().clone();
            self.first.camera.send_replace(info);
        }
        self.first.publish(jpeg, frame, *reordered);
    }

    /// Publishes an annotated frame to the subscribers that requested it.
    pub fn publish_annotated(&self, publication: &Publication) {
        let frame = &publication.frame;
        let jpeg = frame.labelled();
        for feed in self.feeds_of(frame.label.camera.as_str()) {
            feed.annotated.send_replace(Some(PublishedFrame {
                number: feed.published,
                jpeg: jpeg.clone(),
                label: frame.label.clone(),
                size: frame.size(),
                camera: (frame.camera, frame.payer),
                received: frame.received_at,
                annotated: true,
            }));
        }
    }

    /// Publishes a detections message of a camera, a line of JSON.
    pub fn publish_message(&self, camera: &str, line: &Bytes) {
        for feed in self.feeds_of(camera) {
            // An error means that there is no subscriber.
            let _ = feed.messages.send(line.clone());
        }
    }

    /// Publishes what a camera's sender reports of itself.
    pub fn publish_sender_info(&mut self, camera: &CameraName, info: SenderInfo) {
        self.feed(camera.as_str());
        for feed in self.feeds_of(camera.as_str()) {
            feed.camera.send_if_modified(|known| {
                let changed = known.sender != info;
                known.sender = info;
                changed
            });
        }
    }

    /// Publishes the names of the cameras that are live now.
    pub fn publish_live(&self, cameras: Vec<CameraName>) {
        self.live.send_replace(cameras);
    }

    /// Publishes what other software sends in place of JPEGs.
    pub fn publish_foreign(&self, foreign: Option<Foreign>) {
        self.foreign.send_replace(foreign);
    }

    /// Returns what other software sends in place of JPEGs.
    pub fn foreign(&self) -> Option<Foreign> {
        *self.foreign.borrow()
    }

    /// Returns the names of the cameras that are live.
    pub fn live(&self) -> Vec<CameraName> {
        self.live.borrow().clone()
    }

    /// Returns a camera's name for the log, with the quality that its sender has come down to.
    pub fn describe(&self, camera: &CameraName) -> String {
        let feed = self.named.get(camera.as_str());
        let sender = feed.map(|feed| feed.camera.borrow().sender);
        match sender.and_then(|sender| sender.quality) {
            Some(quality) => format!("{camera} q{quality}"),
            None => camera.to_string(),
        }
    }

    fn feed(&mut self, camera: &str) -> &mut CameraFeed {
        if !self.named.contains_key(camera) {
            if self.named.len() >= MAX_CAMERAS {
                self.remove_one();
            }
            let feed = CameraFeed::new(camera.to_owned());
            self.named.insert(camera.to_owned(), feed);
        }
        self.named
            .get_mut(camera)
            .expect("it was inserted if it was not there")
    }

    /// Removes the feed without a subscriber whose last frame is the oldest: the relay has given its camera's slot away. If
    /// all have subscribers or are live, there are no more than the relay takes.
    fn remove_one(&mut self) {
        let live = self.live.borrow();
        let is_live = |name: &str| live.iter().any(|camera| camera.as_str() == name);
        let unused = self
            .named
            .iter()
            .filter(|(name, feed)| feed.newest.receiver_count() == 0 && !is_live(name));
        let received =
            |feed: &CameraFeed| feed.newest.borrow().as_ref().map(|frame| frame.received);
        let oldest = unused.min_by_key(|(_, feed)| received(feed));
        let oldest = oldest.map(|(name, _)| name.clone());
        drop(live);
        oldest.and_then(|name| self.named.remove(&name));
    }

    /// Returns the feeds that carry a camera now.
    fn feeds_of(&self, camera: &str) -> impl Iterator<Item = &CameraFeed> {
        let first = Some(&self.first).filter(|first| first.camera.borrow().name == camera);
        self.named.get(camera).into_iter().chain(first)
    }
}

impl CameraFeed {
    fn new(name: String) -> Self {
        let sender = SenderInfo::default();
        Self {
            published: 0,
            newest: watch::Sender::default(),
            reordered: watch::Sender::default(),
            annotated: watch::Sender::default(),
            messages: broadcast::Sender::new(MESSAGE_QUEUE),
            camera: watch::Sender::new(CameraInfo { name, sender }),
        }
    }

    /// Publishes a frame, as this JPEG.
    fn publish(&mut self, jpeg: Bytes, frame: &CameraFrame, reordered: bool) {
        let slot = if reordered {
            &self.reordered
        } else {
            &self.newest
        };
        self.published += u64::from(!reordered);
        slot.send_replace(Some(PublishedFrame {
            number: self.published,
            jpeg,
            label: frame.label.clone(),
            size: frame.size(),
            camera: (frame.camera, frame.payer),
            received: frame.received_at,
            annotated: false,
        }));
    }

    /// Returns the receiving ends; the newest frame of now counts as new.
    fn subscribe(
        &self,
        live: watch::Receiver<Vec<CameraName>>,
        foreign: watch::Receiver<Option<Foreign>>,
    ) -> Feed {
        let mut newest = self.newest.subscribe();
        newest.mark_changed();
        let reordered = self.reordered.subscribe();
        Feed {
            frames: FrameReceiver { newest, reordered },
            annotated: self.annotated.subscribe(),
            messages: self.messages.subscribe(),
            camera: self.camera.subscribe(),
            live,
            foreign,
        }
    }
}

#[cfg(test)]
impl FrameReceiver {
    /// Returns the newest frame, if there is one.
    pub(crate) fn newest(&self) -> Option<PublishedFrame> {
        self.newest.borrow().clone()
    }
}

impl FrameReceiver {
    /// Receives the newest frame, else one that it overtook; `None` once the relay ends. May be cancelled.
    pub async fn recv(&mut self) -> Option<PublishedFrame> {
        loop {
            let changed = tokio::select! {
                biased;
                changed = self.newest.changed() => changed.map(|()| self.newest.borrow_and_update().clone()),
                changed = self.reordered.changed() => changed.map(|()| self.reordered.borrow_and_update().clone()),
            };
            match changed {
                Ok(Some(frame)) => return Some(frame),
                Ok(None) => {}
                Err(_) => return None,
            }
        }
    }
}

impl FrameSource for FrameReceiver {
    async fn next(&mut self) -> Option<OutgoingFrame> {
        let frame = self.recv().await?;
        Some(OutgoingFrame {
            number: frame.number,
            jpeg: frame.jpeg,
            ready_at: frame.received,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests;
