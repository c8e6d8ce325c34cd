//! Each camera's newest frame and what is known of it, for whoever watches at the native door or in a browser.
//!
//! A slot of one for each camera: who is slow finds the newest frame there and never a queue. Late frames have a slot of
//! their own, so that one that was overtaken on the network never displaces a newer one here.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use protocol::quic::{CameraInfo, MAX_CAMERAS, SenderInfo};
use quic::frames::OutgoingFrame;
use tokio::sync::{broadcast, watch};

use relay_core::Publish;

/// Messages that may wait for a reader: two seconds of tracked ones at 30 frames a second. Behind that the oldest go.
const MESSAGES: usize = 64;

/// All feeds.
#[derive(Debug)]
pub struct Feeds {
    /// Of those who named no camera: the first that is live, whichever that is.
    first: Feed,
    named: BTreeMap<String, Feed>,
    live: watch::Sender<Vec<String>>,
}

/// What is shown of one camera.
#[derive(Debug)]
struct Feed {
    published: u64,
    newest: watch::Sender<Option<OutgoingFrame>>,
    late: watch::Sender<Option<OutgoingFrame>>,
    /// With boxes in the picture, while somebody wants that.
    burned: watch::Sender<Option<OutgoingFrame>>,
    messages: broadcast::Sender<Bytes>,
    camera: watch::Sender<CameraInfo>,
}

/// A place before a feed.
#[derive(Debug)]
pub struct Subscription {
    /// The frames.
    pub frames: Frames,
    /// The newest frame with boxes in the picture, for a screen that said that it wants it.
    pub burned: watch::Receiver<Option<OutgoingFrame>>,
    /// Detections messages, a line of JSON each.
    pub messages: broadcast::Receiver<Bytes>,
    /// Whose frames these are.
    pub camera: watch::Receiver<CameraInfo>,
    /// The cameras that are live.
    pub live: watch::Receiver<Vec<String>>,
}

/// The frames of a feed: slots of one.
#[derive(Debug)]
pub struct Frames {
    newest: watch::Receiver<Option<OutgoingFrame>>,
    /// The newest of those that were overtaken.
    late: watch::Receiver<Option<OutgoingFrame>>,
}

impl Default for Feeds {
    fn default() -> Self {
        Self {
            first: Feed::new(String::new()),
            named: BTreeMap::new(),
            live: watch::Sender::default(),
        }
    }
}

impl Feeds {
    /// The feed of a camera, there or not yet, or of the first one that is live.
    pub fn subscribe(&mut self, camera: Option<&str>) -> Subscription {
        // Names that somebody waited for in vain; cameras are few.
        self.named
            .retain(|_, feed| feed.published > 0 || feed.newest.receiver_count() > 0);
        let live = self.live.subscribe();
        match camera {
            Some(name) => self.feed(name).subscribe(live),
            None => self.first.subscribe(live),
        }
    }

    /// Hands out a frame.
    pub fn publish(&mut self, frame: Publish) {
        let Publish {
            camera,
            shown,
            late,
            jpeg,
            label,
            arrived,
        } = frame;
        let first = self.first.newest.receiver_count();
        let feed = self.feed(&camera);
        if label.is_some() && feed.newest.receiver_count() + first == 0 {
            // Nobody watches, and nobody misses a frame that is copied for its label.
            feed.published += 1;
            // Who comes next is not to take an older one for it.
            feed.newest.send_replace(None);
            if shown {
                self.first.newest.send_replace(None);
            }
            return;
        }
        let jpeg = label.map_or(jpeg.clone(), |label| label.write(&jpeg).into());
        feed.publish(&jpeg, late, arrived);
        if !shown {
            return;
        }
        if self.first.camera.borrow().name != camera {
            let of = self.feed(&camera).camera.borrow().clone();
            self.first.camera.send_replace(of);
        }
        self.first.publish(&jpeg, late, arrived);
    }

    /// Hands out a frame with boxes in the picture, to those who want it so.
    pub fn publish_burned(&mut self, frame: Publish) {
        let jpeg = match frame.label {
            Some(label) => label.write(&frame.jpeg).into(),
            None => frame.jpeg,
        };
        for feed in self.of(&frame.camera) {
            feed.burned.send_replace(Some(OutgoingFrame {
                number: feed.published,
                jpeg: jpeg.clone(),
                ready_at: frame.arrived,
            }));
        }
    }

    /// Hands out a detections message of a camera.
    pub fn tell(&self, camera: &str, line: &Bytes) {
        for feed in self.of(camera) {
            // Nobody reads them: nobody misses them.
            let _ = feed.messages.send(line.clone());
        }
    }

    /// What a camera's sender says of itself.
    pub fn facts(&mut self, camera: &str, facts: SenderInfo) {
        self.feed(camera);
        for feed in self.of(camera) {
            feed.camera.send_if_modified(|known| {
                let news = known.sender != facts;
                known.sender = facts;
                news
            });
        }
    }

    /// These cameras are live now.
    pub fn set_live(&self, cameras: Vec<String>) {
        self.live.send_replace(cameras);
    }

    /// The cameras that are live.
    pub fn live(&self) -> Vec<String> {
        self.live.borrow().clone()
    }

    /// A camera as the operator is told of it: its name, and the quality that its sender has come down to.
    pub fn describe(&self, camera: &str) -> String {
        let facts = self
            .named
            .get(camera)
            .map(|feed| feed.camera.borrow().sender);
        match facts.and_then(|facts| facts.quality) {
            Some(quality) => format!("{camera} q{quality}"),
            None => camera.to_owned(),
        }
    }

    fn feed(&mut self, camera: &str) -> &mut Feed {
        if !self.named.contains_key(camera) {
            if self.named.len() >= MAX_CAMERAS {
                self.forget_one();
            }
            self.named
                .insert(camera.to_owned(), Feed::new(camera.to_owned()));
        }
        self.named
            .get_mut(camera)
            .expect("it was inserted if it was not there")
    }

    /// Drops the feed before which nobody is and whose last frame is the oldest, with that frame: the relay has given its
    /// place away. Where all are watched, or live, there are no more than the relay lets in.
    fn forget_one(&mut self) {
        let live = self.live.borrow();
        let lonely = self
            .named
            .iter()
            .filter(|(name, feed)| feed.newest.receiver_count() == 0 && !live.contains(*name));
        let since = |feed: &Feed| feed.newest.borrow().as_ref().map(|frame| frame.ready_at);
        let oldest = lonely.min_by_key(|(_, feed)| since(feed));
        let oldest = oldest.map(|(name, _)| name.clone());
        drop(live);
        oldest.and_then(|name| self.named.remove(&name));
    }

    /// The feeds that show a camera now.
    fn of(&self, camera: &str) -> impl Iterator<Item = &Feed> {
        let first = Some(&self.first).filter(|first| first.camera.borrow().name == camera);
        self.named.get(camera).into_iter().chain(first)
    }
}

impl Feed {
    fn new(name: String) -> Self {
        let facts = SenderInfo::default();
        Self {
            published: 0,
            newest: watch::Sender::default(),
            late: watch::Sender::default(),
            burned: watch::Sender::default(),
            messages: broadcast::Sender::new(MESSAGES),
            camera: watch::Sender::new(CameraInfo {
                name,
                sender: facts,
            }),
        }
    }

    fn publish(&mut self, jpeg: &Bytes, late: bool, arrived: Instant) {
        let slot = if late { &self.late } else { &self.newest };
        self.published += u64::from(!late);
        slot.send_replace(Some(OutgoingFrame {
            number: self.published,
            jpeg: jpeg.clone(),
            ready_at: arrived,
        }));
    }

    /// Whoever comes finds the newest frame.
    fn subscribe(&self, live: watch::Receiver<Vec<String>>) -> Subscription {
        let mut newest = self.newest.subscribe();
        newest.mark_changed();
        let late = self.late.subscribe();
        Subscription {
            frames: Frames { newest, late },
            burned: self.burned.subscribe(),
            messages: self.messages.subscribe(),
            camera: self.camera.subscribe(),
            live,
        }
    }
}

impl Frames {
    /// The next frame to show: the newest, else one that it overtook. May be cancelled.
    pub async fn next(&mut self) -> Option<OutgoingFrame> {
        loop {
            let changed = tokio::select! {
                biased;
                changed = self.newest.changed() => changed.map(|()| self.newest.borrow_and_update().clone()),
                changed = self.late.changed() => changed.map(|()| self.late.borrow_and_update().clone()),
            };
            match changed {
                Ok(Some(frame)) => return Some(frame),
                Ok(None) => {}
                // The relay ends.
                Err(_) => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(camera: &str, shown: bool, late: bool, jpeg: &'static [u8]) -> Publish {
        Publish {
            camera: camera.to_owned(),
            shown,
            late,
            jpeg: Bytes::from_static(jpeg),
            label: None,
            arrived: Instant::now(),
        }
    }

    async fn next(subscription: &mut Subscription) -> Vec<u8> {
        subscription.frames.next().await.unwrap().jpeg.to_vec()
    }

    #[tokio::test]
    async fn who_is_slow_finds_the_newest_frame_and_no_queue() {
        let mut feeds = Feeds::default();
        let mut yard = feeds.subscribe(Some("yard"));
        for jpeg in [b"1", b"2", b"3"] {
            feeds.publish(frame("yard", true, false, jpeg));
        }
        let found = yard.frames.next().await.unwrap();
        assert_eq!((found.number, found.jpeg.as_ref()), (3, &b"3"[..]));
        assert!(!yard.frames.newest.has_changed().unwrap());
    }

    #[tokio::test]
    async fn boxes_in_the_picture_have_a_slot_of_their_own() {
        let mut feeds = Feeds::default();
        let (mut yard, mut first) = (feeds.subscribe(Some("yard")), feeds.subscribe(None));
        feeds.publish(frame("yard", true, false, b"bare"));
        feeds.publish_burned(frame("yard", true, false, b"boxes"));
        for seat in [&mut yard, &mut first] {
            assert_eq!(next(seat).await, b"bare");
            let burned = seat.burned.borrow_and_update().clone().unwrap();
            assert_eq!(burned.jpeg.as_ref(), b"boxes");
        }
    }

    #[tokio::test]
    async fn a_late_frame_never_displaces_a_newer_one() {
        let mut feeds = Feeds::default();
        let mut first = feeds.subscribe(None);
        feeds.publish(frame("yard", true, false, b"3"));
        feeds.publish(frame("yard", true, true, b"2"));
        assert_eq!(next(&mut first).await, b"3");
        assert_eq!(next(&mut first).await, b"2");
    }

    #[tokio::test]
    async fn who_names_no_camera_follows_the_first_that_is_live() {
        let mut feeds = Feeds::default();
        let mut first = feeds.subscribe(None);
        feeds.facts(
            "door",
            SenderInfo {
                quality: Some(60),
                ..SenderInfo::default()
            },
        );
        feeds.publish(frame("yard", true, false, b"yard"));
        feeds.publish(frame("door", false, false, b"door"));
        assert_eq!(next(&mut first).await, b"yard");
        feeds.publish(frame("door", true, false, b"door"));
        assert_eq!(next(&mut first).await, b"door");
        let camera = first.camera.borrow().clone();
        assert_eq!(
            (camera.name.as_str(), camera.sender.quality),
            ("door", Some(60))
        );
    }

    #[tokio::test]
    async fn whoever_comes_later_sees_a_picture_at_once() {
        let mut feeds = Feeds::default();
        feeds.publish(frame("yard", true, false, b"1"));
        assert_eq!(next(&mut feeds.subscribe(Some("yard"))).await, b"1");
    }

    #[tokio::test]
    async fn who_comes_after_a_time_without_anybody_takes_no_old_frame_for_the_newest() {
        let mut feeds = Feeds::default();
        let watched = (feeds.subscribe(Some("cam1")), feeds.subscribe(None));
        feeds.publish(frame("cam1", true, false, b"1"));
        drop(watched);
        // Without a label: it would be copied for nobody.
        let label = protocol::label::Label {
            stream: protocol::label::StreamId(1),
            seq: 2,
            captured_us: 2,
            camera: "cam1".parse().unwrap(),
        };
        feeds.publish(Publish {
            label: Some(label),
            ..frame("cam1", true, false, b"2")
        });
        for camera in [Some("cam1"), None] {
            let slot = feeds.subscribe(camera).frames.newest;
            assert!(slot.borrow().is_none(), "{camera:?}");
        }
    }

    #[test]
    fn names_that_are_waited_for_in_vain_are_forgotten() {
        let mut feeds = Feeds::default();
        for n in 0..1000 {
            feeds.subscribe(Some(&n.to_string()));
        }
        assert!(feeds.named.len() <= 1);
    }

    #[tokio::test]
    async fn however_many_names_strangers_think_of_few_frames_are_kept() {
        let mut feeds = Feeds::default();
        feeds.set_live(vec!["live".to_owned()]);
        feeds.publish(frame("live", true, false, b"live"));
        feeds.publish(frame("watched", true, false, b"watched"));
        let mut watched = feeds.subscribe(Some("watched"));
        for n in 0..1000 {
            feeds.publish(frame(&n.to_string(), false, false, b"n"));
        }
        assert!(feeds.named.len() <= MAX_CAMERAS);
        assert_eq!(next(&mut feeds.subscribe(Some("live"))).await, b"live");
        assert_eq!(next(&mut feeds.subscribe(Some("999"))).await, b"n");
        assert_eq!(next(&mut watched).await, b"watched");
    }

    #[tokio::test]
    async fn messages_reach_those_who_see_that_camera() {
        let mut feeds = Feeds::default();
        let (mut first, mut door) = (feeds.subscribe(None), feeds.subscribe(Some("door")));
        feeds.publish(frame("yard", true, false, b"1"));
        feeds.tell("yard", &Bytes::from_static(b"boxes"));
        assert_eq!(first.messages.try_recv().unwrap(), b"boxes"[..]);
        assert!(door.messages.try_recv().is_err());
    }
}
