//! One feed a camera for all HTTP clients that watch it: it receives frames and messages from the loop's fan-out and
//! distributes them to all clients.
//!
//! ```text
//!   the loop's thread:   fan-out --> forward --+   after all that the frame wakes there
//!                                              |   one wake-up
//!   the server's thread:                       +--> distribute --> all clients of the camera
//! ```
//!
//! Each kind of frame has a newest-wins slot, so a slow client receives the newest frame and never a queue.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use bytes::Bytes;
use platform::egress::EgressStats;
use protocol::label::CameraName;
use protocol::quic::CameraInfo;
use tokio::runtime::Handle;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::task::{AbortHandle, yield_now};

use super::mjpeg;
use crate::fanout::{Feed, MESSAGE_QUEUE, PublishedFrame};
use crate::handle::{RelayHandle, Subscription, SubscriptionGuard};

/// A frame that all clients of a camera share.
#[derive(Debug)]
pub(super) struct SharedFrame {
    pub(super) frame: PublishedFrame,
    part: OnceLock<Bytes>,
}

/// A newest-wins slot.
pub(super) type Slot = watch::Receiver<Option<Arc<SharedFrame>>>;

impl SharedFrame {
    fn new(frame: PublishedFrame) -> Arc<Self> {
        Arc::new(Self {
            frame,
            part: OnceLock::new(),
        })
    }

    /// Returns the frame as a part of MJPEG: made once for all clients.
    pub(super) fn part(&self) -> Bytes {
        self.part.get_or_init(|| mjpeg::part(&self.frame)).clone()
    }
}

/// The feeds of all cameras that are watched.
#[derive(Debug)]
pub(super) struct SharedFeeds {
    relay: RelayHandle,
    stats: Arc<EgressStats>,
    feeds: Mutex<HashMap<Option<CameraName>, Weak<SharedFeed>>>,
    /// The runtime of the loop.
    loop_runtime: Handle,
}

/// The feed of one camera; it ends with its last client.
#[derive(Debug)]
pub(super) struct SharedFeed {
    channels: Arc<Channels>,
    camera: watch::Receiver<CameraInfo>,
    live: watch::Receiver<Vec<CameraName>>,
    tasks: [AbortHandle; 2],
}

/// Where a feed's frames and messages go.
#[derive(Debug)]
struct Channels {
    newest: watch::Sender<Option<Arc<SharedFrame>>>,
    /// With boxes drawn in; filled while a client requests it.
    annotated: watch::Sender<Option<Arc<SharedFrame>>>,
    messages: broadcast::Sender<Bytes>,
}

/// One item for one of the channels.
enum Item {
    Newest(Arc<SharedFrame>),
    Annotated(Arc<SharedFrame>),
    Message(Bytes),
}

/// A client's subscription.
#[derive(Debug)]
pub(super) struct HttpSubscription {
    feed: Arc<SharedFeed>,
    guard: SubscriptionGuard,
    stats: Arc<EgressStats>,
}

impl SharedFeeds {
    /// Returns shared feeds without a camera yet; to be called on the loop's runtime.
    pub(super) fn new(relay: RelayHandle, stats: Arc<EgressStats>) -> Self {
        Self {
            relay,
            stats,
            feeds: Mutex::default(),
            loop_runtime: Handle::current(),
        }
    }

    /// Subscribes a client to a camera, or to the first one that is live; `None` once the relay has ended.
    pub(super) async fn subscribe(&self, camera: Option<CameraName>) -> Option<HttpSubscription> {
        let Subscription { feed, guard } = self.relay.subscribe(camera.clone()).await?;
        self.stats.on_joined();
        Some(HttpSubscription {
            feed: self.shared(camera, feed),
            guard,
            stats: self.stats.clone(),
        })
    }

    /// Returns the feed of a camera; if there is none yet, it is started from `feed`.
    fn shared(&self, camera: Option<CameraName>, feed: Feed) -> Arc<SharedFeed> {
        let mut feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = feeds.get(&camera).and_then(Weak::upgrade) {
            return shared;
        }
        feeds.retain(|_, shared| shared.strong_count() > 0);
        let shared = Arc::new(SharedFeed::start(feed, &self.loop_runtime));
        feeds.insert(camera, Arc::downgrade(&shared));
        shared
    }
}

impl SharedFeed {
    fn start(feed: Feed, loop_runtime: &Handle) -> Self {
        let (camera, live) = (feed.camera.clone(), feed.live.clone());
        let (between, channels) = (Channels::new(), Arc::new(Channels::new()));
        let distribute = tokio::spawn(distribute(Receivers::of(&between), channels.clone()));
        let forward = loop_runtime.spawn(forward(feed, between));
        Self {
            channels,
            camera,
            live,
            tasks: [forward.abort_handle(), distribute.abort_handle()],
        }
    }
}

impl Drop for SharedFeed {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Channels {
    fn new() -> Self {
        Self {
            newest: watch::Sender::default(),
            annotated: watch::Sender::default(),
            messages: broadcast::Sender::new(MESSAGE_QUEUE),
        }
    }

    fn send(&self, item: Item) {
        match item {
            Item::Newest(frame) => drop(self.newest.send_replace(Some(frame))),
            Item::Annotated(frame) => drop(self.annotated.send_replace(Some(frame))),
            // An error means that no client reads messages.
            Item::Message(line) => drop(self.messages.send(line)),
        }
    }
}

/// Forwards the loop's feed to the server's thread.
async fn forward(mut feed: Feed, channels: Channels) {
    let mut last = 0;
    while let Some(item) = next_item(&mut feed, &mut last).await {
        // To wake another thread is a system call, and that thread may run in place of this one. So the tasks that the
        // same frame wakes here run first: those of the QUIC viewers.
        yield_now().await;
        channels.send(item);
    }
}

/// Receives what comes next, without frames that were overtaken; `None` once the relay has ended. A message never overtakes
/// the frames before it.
async fn next_item(feed: &mut Feed, last: &mut u64) -> Option<Item> {
    loop {
        tokio::select! {
            biased;
            frame = feed.frames.recv() => {
                let frame = frame?;
                if frame.number > *last {
                    *last = frame.number;
                    return Some(Item::Newest(SharedFrame::new(frame)));
                }
            }
            changed = feed.annotated.changed() => {
                changed.ok()?;
                if let Some(frame) = feed.annotated.borrow_and_update().clone() {
                    return Some(Item::Annotated(SharedFrame::new(frame)));
                }
            }
            line = next_line(&mut feed.messages) => return line.map(Item::Message),
        }
    }
}

/// The receiving ends of channels.
struct Receivers {
    newest: Slot,
    annotated: Slot,
    messages: broadcast::Receiver<Bytes>,
}

impl Receivers {
    fn of(channels: &Channels) -> Self {
        Self {
            newest: channels.newest.subscribe(),
            annotated: channels.annotated.subscribe(),
            messages: channels.messages.subscribe(),
        }
    }
}

/// Distributes items to all clients: their wake-ups cost least on the thread that they are on.
async fn distribute(mut from: Receivers, channels: Arc<Channels>) {
    loop {
        let item = tokio::select! {
            biased;
            frame = next_frame(&mut from.newest) => frame.map(Item::Newest),
            frame = next_frame(&mut from.annotated) => frame.map(Item::Annotated),
            line = next_line(&mut from.messages) => line.map(Item::Message),
        };
        let Some(item) = item else { return };
        channels.send(item);
    }
}

/// Receives the next message; a slow reader misses the oldest. `None` once the relay has ended. May be cancelled.
pub(super) async fn next_line(messages: &mut broadcast::Receiver<Bytes>) -> Option<Bytes> {
    loop {
        match messages.recv().await {
            Ok(line) => return Some(line),
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return None,
        }
    }
}

/// Receives the next frame of a slot; `None` once the relay has ended. May be cancelled.
pub(super) async fn next_frame(slot: &mut Slot) -> Option<Arc<SharedFrame>> {
    loop {
        slot.changed().await.ok()?;
        if let Some(frame) = slot.borrow_and_update().clone() {
            return Some(frame);
        }
    }
}

impl HttpSubscription {
    /// Returns the frames as they came; the newest of now counts as new.
    pub(super) fn frames(&self) -> Slot {
        let mut slot = self.feed.channels.newest.subscribe();
        slot.mark_changed();
        slot
    }

    /// Returns the frames with boxes drawn in, from the next one on: the last may be long ago, from another client's request.
    pub(super) async fn annotated(&self) -> Slot {
        let slot = self.feed.channels.annotated.subscribe();
        self.guard.request_annotated().await;
        slot
    }

    /// Returns the detections messages, a line of JSON each.
    pub(super) fn messages(&self) -> broadcast::Receiver<Bytes> {
        self.feed.channels.messages.subscribe()
    }

    /// Returns the camera whose frames these are.
    pub(super) fn camera(&self) -> watch::Receiver<CameraInfo> {
        self.feed.camera.clone()
    }

    /// Returns the cameras that are live.
    pub(super) fn live(&self) -> watch::Receiver<Vec<CameraName>> {
        self.feed.live.clone()
    }

    /// Counts a frame that is sent to a client whose `last` frame had this number. The first frame may have been there long
    /// before the client, and an annotated one waited for its boxes: their wait is not the relay's delay.
    pub(super) fn on_sent(&self, frame: &PublishedFrame, last: Option<u64>) {
        if frame.annotated {
            self.stats.on_annotated_sent(frame.jpeg.len());
        } else {
            self.stats.on_sent(frame.jpeg.len());
        }
        let Some(last) = last else { return };
        self.stats.on_skipped(frame.number.saturating_sub(last + 1));
        if !frame.annotated {
            self.stats.record_wait(frame.received.elapsed());
        }
    }
}

impl Drop for HttpSubscription {
    fn drop(&mut self) {
        self.stats.on_left();
    }
}

#[cfg(test)]
pub(super) mod tests {
    use relay_core::Publication;
    use tokio::sync::mpsc;

    use super::*;
    use crate::event::{Event, Query};
    use crate::fanout::Fanout;
    use crate::fanout::tests::publication;

    fn frame(jpeg: &'static [u8], reordered: bool) -> Publication {
        publication("yard", true, reordered, jpeg)
    }

    /// What the loop does next to its fan-out.
    pub(in crate::transport::http) type Step = Box<dyn FnOnce(&mut Fanout) + Send>;

    /// The shared feeds, with a loop behind them that publishes what it is sent.
    fn feeds() -> (Arc<SharedFeeds>, mpsc::Sender<Publication>) {
        let (feeds, steps) = feeds_of_steps();
        let (publish, mut published) = mpsc::channel::<Publication>(8);
        tokio::spawn(async move {
            while let Some(publication) = published.recv().await {
                let step: Step = Box::new(move |fanout| fanout.publish(&publication));
                steps.send(step).await.unwrap();
            }
        });
        (feeds, publish)
    }

    /// The shared feeds, with a loop behind them that takes these steps.
    pub(in crate::transport::http) fn feeds_of_steps() -> (Arc<SharedFeeds>, mpsc::Sender<Step>) {
        let (events_tx, mut events) = mpsc::channel(8);
        let (steps_tx, mut steps) = mpsc::channel::<Step>(8);
        let mut fanout = Fanout::default();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    Some(event) = events.recv() => {
                        if let Event::Query(Query::Subscribe(_, camera, reply), _) = event {
                            reply.send(fanout.subscribe(camera.as_ref())).unwrap();
                        }
                    }
                    Some(step) = steps.recv() => step(&mut fanout),
                }
            }
        });
        let relay = RelayHandle::new(events_tx);
        (Arc::new(SharedFeeds::new(relay, Arc::default())), steps_tx)
    }

    #[tokio::test]
    async fn a_frame_that_was_overtaken_is_not_shown() {
        let (feeds, publish) = feeds();
        let subscription = feeds.subscribe("yard".parse().ok()).await.unwrap();
        let mut slot = subscription.frames();
        for (jpeg, late) in [(b"1", false), (b"3", false), (b"2", true), (b"4", false)] {
            publish.send(frame(jpeg, late)).await.unwrap();
            // Each frame passes on before the next one comes, so that only its order can make it lose.
            for _ in 0..10 {
                yield_now().await;
            }
            if !late {
                assert_eq!(
                    next_frame(&mut slot).await.unwrap().frame.jpeg,
                    jpeg.as_slice()
                );
            }
            assert!(!slot.has_changed().unwrap());
        }
    }

    #[tokio::test]
    async fn all_who_watch_a_camera_share_one_feed_that_ends_with_them() {
        let (feeds, publish) = feeds();
        let yard = || feeds.subscribe("yard".parse().ok());
        let (first, second) = (yard().await.unwrap(), yard().await.unwrap());
        assert!(Arc::ptr_eq(&first.feed, &second.feed));
        publish.send(frame(b"1", false)).await.unwrap();
        let shared = next_frame(&mut first.frames()).await.unwrap();
        let same = next_frame(&mut second.frames()).await.unwrap();
        assert!(Arc::ptr_eq(&shared, &same), "one part of MJPEG for both");
        let task = first.feed.tasks[1].clone();
        drop(first);
        assert!(!task.is_finished());
        drop(second);
        while !task.is_finished() {
            yield_now().await;
        }
        assert_eq!(feeds.stats.snapshot().viewers, 0);
    }
    #[tokio::test]
    async fn frames_with_boxes_are_counted_apart_and_only_a_frame_that_came_meanwhile_has_a_delay()
    {
        let (feeds, publish) = feeds();
        let subscription = feeds.subscribe("yard".parse().ok()).await.unwrap();
        publish.send(frame(b"1", false)).await.unwrap();
        let shared = next_frame(&mut subscription.frames()).await.unwrap();
        let annotated = PublishedFrame {
            annotated: true,
            ..shared.frame.clone()
        };
        let delays = || -> u64 { feeds.stats.waits().recorded().map(|(_, count)| count).sum() };
        subscription.on_sent(&shared.frame, None);
        assert_eq!(delays(), 0, "it was there before");
        subscription.on_sent(&shared.frame, Some(0));
        assert_eq!(delays(), 1);
        subscription.on_sent(&annotated, Some(0));
        assert_eq!(delays(), 1, "it waited for its boxes");
        let counts = feeds.stats.snapshot();
        assert_eq!((counts.sent, counts.annotated), (3, 1));
    }
}
