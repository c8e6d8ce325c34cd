//! What is shown at the web door: for each camera that somebody watches one look-out, which takes its frames and messages
//! from the loop's feed and holds them out to all who watch here.
//!
//! ```text
//!   the loop's thread: feed --> carry --+   after all that the frame wakes there
//!                                       |   one wake-up
//!   the door's thread:                  +--> hand_out --> all who watch
//! ```
//!
//! A slot of one for each kind of frame, so whoever is slow finds the newest there and never a queue.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Instant;

use bytes::Bytes;
use platform::egress::EgressStats;
use protocol::label::{CameraName, Label};
use protocol::quic::CameraInfo;
use quic::frames::OutgoingFrame;
use tokio::runtime::Handle;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::{AbortHandle, yield_now};

use super::mjpeg;
use crate::event::Event;
use crate::feeds::Subscription;
use relay_core::ScreenId;

/// Messages that may wait for a reader: two seconds of tracked ones at 30 frames a second. Behind that the oldest go.
const MESSAGES: usize = 64;
/// Screens of this door are numbered from here, far above those of the native one.
const SCREENS: u64 = 1 << 63;

/// A frame that is shown.
#[derive(Debug)]
pub(super) struct Shown {
    /// Counted without gaps by the feed: a gap is a frame that this viewer missed.
    pub(super) number: u64,
    /// The JPEG, with its label.
    pub(super) jpeg: Bytes,
    /// Its label's time, in microseconds since the Unix epoch.
    pub(super) captured_us: u64,
    /// When it came.
    pub(super) since: Instant,
    part: OnceLock<Bytes>,
}

/// A slot of one.
pub(super) type Slot = watch::Receiver<Option<Arc<Shown>>>;

impl Shown {
    fn of(frame: OutgoingFrame) -> Self {
        let label = Label::read(&frame.jpeg).ok().flatten();
        Self {
            number: frame.number,
            jpeg: frame.jpeg,
            captured_us: label.map_or(0, |label| label.captured_us),
            since: frame.ready_at,
            part: OnceLock::new(),
        }
    }

    /// It as a part of MJPEG: made once for all who see it.
    pub(super) fn part(&self) -> Bytes {
        self.part.get_or_init(|| mjpeg::part(self)).clone()
    }
}

/// All look-outs.
#[derive(Debug)]
pub(super) struct Shows {
    events: mpsc::Sender<Event>,
    stats: Arc<EgressStats>,
    screens: AtomicU64,
    shows: Mutex<HashMap<Option<CameraName>, Weak<Show>>>,
    /// Where the loop runs.
    there: Handle,
}

/// One look-out; it ends with the last who watches.
#[derive(Debug)]
pub(super) struct Show {
    stage: Arc<Stage>,
    camera: watch::Receiver<CameraInfo>,
    live: watch::Receiver<Vec<String>>,
    tasks: [AbortHandle; 2],
}

/// Where frames and messages lie for who takes them next.
#[derive(Debug)]
struct Stage {
    newest: watch::Sender<Option<Arc<Shown>>>,
    /// With boxes burned in; filled while somebody watches it.
    burned: watch::Sender<Option<Arc<Shown>>>,
    messages: broadcast::Sender<Bytes>,
}

/// One of these.
enum Piece {
    Newest(Arc<Shown>),
    Burned(Arc<Shown>),
    Message(Bytes),
}

/// A place before a look-out.
#[derive(Debug)]
pub(super) struct Seat {
    show: Arc<Show>,
    leaving: Leaving,
}

impl Shows {
    /// To be called where the loop runs.
    pub(super) fn new(events: mpsc::Sender<Event>, stats: Arc<EgressStats>) -> Self {
        Self {
            events,
            stats,
            screens: AtomicU64::new(SCREENS),
            shows: Mutex::default(),
            there: Handle::current(),
        }
    }

    /// Takes a place before a camera, or before the first one that is live; `None` where the relay ends.
    pub(super) async fn join(&self, camera: Option<CameraName>) -> Option<Seat> {
        let screen = ScreenId(self.screens.fetch_add(1, Ordering::Relaxed));
        let (reply, subscription) = oneshot::channel();
        let event = Event::Screen(screen, camera.clone(), reply);
        let leaving = Leaving::new(screen, self);
        self.events.send(event).await.ok()?;
        let show = self.show(camera, subscription.await.ok()?);
        Some(Seat { show, leaving })
    }

    /// The look-out before this camera, with the subscription that it lives on where there is none yet.
    fn show(&self, camera: Option<CameraName>, subscription: Subscription) -> Arc<Show> {
        let mut shows = self.shows.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(show) = shows.get(&camera).and_then(Weak::upgrade) {
            return show;
        }
        shows.retain(|_, show| show.strong_count() > 0);
        let show = Arc::new(Show::start(subscription, &self.there));
        shows.insert(camera, Arc::downgrade(&show));
        show
    }
}

impl Show {
    fn start(feed: Subscription, there: &Handle) -> Self {
        let (camera, live) = (feed.camera.clone(), feed.live.clone());
        let (between, stage) = (Stage::new(), Arc::new(Stage::new()));
        let hand_out = tokio::spawn(hand_out(Audience::of(&between), stage.clone()));
        let carry = there.spawn(carry(feed, between));
        Self {
            stage,
            camera,
            live,
            tasks: [carry.abort_handle(), hand_out.abort_handle()],
        }
    }
}

impl Drop for Show {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Stage {
    fn new() -> Self {
        Self {
            newest: watch::Sender::default(),
            burned: watch::Sender::default(),
            messages: broadcast::Sender::new(MESSAGES),
        }
    }

    fn put(&self, piece: Piece) {
        match piece {
            Piece::Newest(shown) => drop(self.newest.send_replace(Some(shown))),
            Piece::Burned(shown) => drop(self.burned.send_replace(Some(shown))),
            // Nobody reads them: nobody misses them.
            Piece::Message(line) => drop(self.messages.send(line)),
        }
    }
}

/// From the loop's feed to the door's thread.
async fn carry(mut feed: Subscription, stage: Stage) {
    let mut last = 0;
    while let Some(piece) = of_feed(&mut feed, &mut last).await {
        // To wake another thread is a system call, and it may run in our place. So what the same frame wakes here goes
        // first: the native door's tasks.
        yield_now().await;
        stage.put(piece);
    }
}

/// What comes next; a frame that was overtaken is of no use to who sees the newest only. `None` where the relay ends.
async fn of_feed(feed: &mut Subscription, last: &mut u64) -> Option<Piece> {
    loop {
        tokio::select! {
            frame = feed.frames.next() => {
                let frame = frame?;
                if frame.number > *last {
                    *last = frame.number;
                    return Some(Piece::Newest(Arc::new(Shown::of(frame))));
                }
            }
            changed = feed.burned.changed() => {
                changed.ok()?;
                if let Some(frame) = feed.burned.borrow_and_update().clone() {
                    return Some(Piece::Burned(Arc::new(Shown::of(frame))));
                }
            }
            line = line(&mut feed.messages) => return line.map(Piece::Message),
        }
    }
}

/// Takes from a stage.
struct Audience {
    newest: Slot,
    burned: Slot,
    messages: broadcast::Receiver<Bytes>,
}

impl Audience {
    fn of(stage: &Stage) -> Self {
        Self {
            newest: stage.newest.subscribe(),
            burned: stage.burned.subscribe(),
            messages: stage.messages.subscribe(),
        }
    }
}

/// To all who watch: their wake-ups cost least on the thread that they are on.
async fn hand_out(mut from: Audience, stage: Arc<Stage>) {
    loop {
        let piece = tokio::select! {
            shown = next(&mut from.newest) => shown.map(Piece::Newest),
            shown = next(&mut from.burned) => shown.map(Piece::Burned),
            line = line(&mut from.messages) => line.map(Piece::Message),
        };
        let Some(piece) = piece else { return };
        stage.put(piece);
    }
}

/// The next message; who is slow misses the oldest. `None` where the relay ends. May be cancelled.
pub(super) async fn line(messages: &mut broadcast::Receiver<Bytes>) -> Option<Bytes> {
    loop {
        match messages.recv().await {
            Ok(line) => return Some(line),
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return None,
        }
    }
}

impl Seat {
    /// The frames as they came; the newest of now is new.
    pub(super) fn frames(&self) -> Slot {
        let mut slot = self.show.stage.newest.subscribe();
        slot.mark_changed();
        slot
    }

    /// The frames with boxes burned in, from the next one on: the last may be long ago, when somebody else asked for them.
    pub(super) async fn burned(&self) -> Slot {
        let slot = self.show.stage.burned.subscribe();
        let Leaving { events, screen, .. } = &self.leaving;
        // Where the relay ends no frame comes, and the reader sees that.
        let _ = events.send(Event::Burning(*screen)).await;
        slot
    }

    /// The detections messages, a line of JSON each.
    pub(super) fn messages(&self) -> broadcast::Receiver<Bytes> {
        self.show.stage.messages.subscribe()
    }

    /// Whose frames these are.
    pub(super) fn camera(&self) -> watch::Receiver<CameraInfo> {
        self.show.camera.clone()
    }

    /// The cameras that are live.
    pub(super) fn live(&self) -> watch::Receiver<Vec<String>> {
        self.show.live.clone()
    }

    /// Counts a frame that leaves; the viewer's `last` was another.
    pub(super) fn on_sent(&self, shown: &Shown, last: Option<u64>) {
        let stats = &self.leaving.stats;
        let skipped = last.map_or(0, |last| shown.number.saturating_sub(last + 1));
        stats.on_sent(shown.jpeg.len());
        stats.on_skipped(skipped);
        stats.record_wait(shown.since.elapsed());
    }
}

/// The next frame of a slot; `None` where the relay ends. May be cancelled.
pub(super) async fn next(slot: &mut Slot) -> Option<Arc<Shown>> {
    loop {
        slot.changed().await.ok()?;
        if let Some(shown) = slot.borrow_and_update().clone() {
            return Some(shown);
        }
    }
}

/// Tells the loop, when it is dropped, that somebody watches no more: however a connection ends.
#[derive(Debug)]
struct Leaving {
    screen: ScreenId,
    events: mpsc::Sender<Event>,
    stats: Arc<EgressStats>,
}

impl Leaving {
    fn new(screen: ScreenId, shows: &Shows) -> Self {
        shows.stats.on_joined();
        Self {
            screen,
            events: shows.events.clone(),
            stats: shows.stats.clone(),
        }
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.stats.on_left();
        let left = Event::ScreenLeft(self.screen);
        let Err(mpsc::error::TrySendError::Full(left)) = self.events.try_send(left) else {
            return;
        };
        let events = self.events.clone();
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move { events.send(left).await });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feeds::Feeds;
    use relay_core::Publish;

    fn frame(jpeg: &'static [u8], late: bool) -> Publish {
        Publish {
            camera: "yard".to_owned(),
            shown: true,
            late,
            jpeg: Bytes::from_static(jpeg),
            label: None,
            arrived: Instant::now(),
        }
    }

    /// The shows, with a loop behind them that has this camera's feed.
    fn shows(mut feeds: Feeds) -> (Arc<Shows>, mpsc::Sender<Publish>) {
        let (tell, mut events) = mpsc::channel(8);
        let (publish, mut published) = mpsc::channel(8);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    Some(event) = events.recv() => if let Event::Screen(_, _, reply) = event {
                        reply.send(feeds.subscribe(Some("yard"))).unwrap();
                    },
                    Some(frame) = published.recv() => feeds.publish(frame),
                }
            }
        });
        (Arc::new(Shows::new(tell, Arc::default())), publish)
    }

    #[tokio::test]
    async fn a_frame_that_was_overtaken_is_not_shown() {
        let (shows, publish) = shows(Feeds::default());
        let seat = shows.join("yard".parse().ok()).await.unwrap();
        let mut slot = seat.frames();
        for (jpeg, late) in [(b"1", false), (b"3", false), (b"2", true), (b"4", false)] {
            publish.send(frame(jpeg, late)).await.unwrap();
            // Each gets its turn, so that it is no other's place that it loses.
            for _ in 0..10 {
                yield_now().await;
            }
            if !late {
                assert_eq!(next(&mut slot).await.unwrap().jpeg, jpeg.as_slice());
            }
            assert!(!slot.has_changed().unwrap());
        }
    }

    #[tokio::test]
    async fn all_who_watch_a_camera_share_one_look_out_that_ends_with_them() {
        let (shows, publish) = shows(Feeds::default());
        let yard = || shows.join("yard".parse().ok());
        let (first, second) = (yard().await.unwrap(), yard().await.unwrap());
        assert!(Arc::ptr_eq(&first.show, &second.show));
        publish.send(frame(b"1", false)).await.unwrap();
        let shown = next(&mut first.frames()).await.unwrap();
        let same = next(&mut second.frames()).await.unwrap();
        assert!(Arc::ptr_eq(&shown, &same), "and so its part of MJPEG");
        let task = first.show.tasks[1].clone();
        drop(first);
        assert!(!task.is_finished());
        drop(second);
        while !task.is_finished() {
            yield_now().await;
        }
        assert_eq!(shows.stats.snapshot().viewers, 0);
    }
}
