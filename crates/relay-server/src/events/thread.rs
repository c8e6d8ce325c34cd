//! The events thread: it decides with [`relay_core::events`], and hands messages and pictures on.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use imaging::sharpness;
use platform::clock::{local_minute, unix_micros};
use protocol::detections::Detection;
use protocol::event::{EndReason, EventId};
use protocol::geometry::BBox;
use protocol::label::CameraName;
use relay_core::TrackedFrame;
use relay_core::events::{EventAction, Events, Moment, Observation};
use tokio::sync::watch;

use super::EventFeed;
use super::hub::{EventHub, SentEvent};
use super::pictures::EventPicture;
use crate::live_settings::LiveSettings;
use crate::outputs::events::EventOutputs;
use crate::threads::Worker;

/// Frames that may wait: one of each camera that the relay takes.
const WAITING: usize = 64;
/// Time between two looks at what is due because time has passed.
const TICK: Duration = Duration::from_millis(250);
/// How long the outputs have to write what they hold at the end.
const OUTPUTS_TIMEOUT: Duration = Duration::from_millis(500);
/// Sharpness of a picture that cannot be decoded: it is neither.
const UNKNOWN_SHARPNESS: f32 = 0.5;

/// The thread's state.
struct EventsThread {
    events: Events,
    hub: Arc<EventHub>,
    outputs: EventOutputs,
    settings: watch::Receiver<LiveSettings>,
    live: watch::Receiver<Vec<CameraName>>,
    ticked: Instant,
    /// Minute of the local day, as of the last tick.
    minute: u16,
}

/// Starts the events thread.
///
/// # Errors
/// If the system has no thread left.
pub fn start(
    settings: watch::Receiver<LiveSettings>,
    hub: Arc<EventHub>,
    outputs: EventOutputs,
) -> anyhow::Result<EventFeed> {
    let (live, live_now) = watch::channel(Vec::new());
    let events = Events::new(settings.borrow().events());
    let mut thread = EventsThread {
        events,
        settings,
        live: live_now,
        hub: hub.clone(),
        outputs,
        ticked: Instant::now(),
        minute: local_minute(),
    };
    let work = move |frames: Receiver<TrackedFrame>| {
        loop {
            let next = frames.recv_timeout(TICK);
            thread.update();
            match next {
                Ok(tracked) => thread.observe(&tracked),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            thread.tick();
        }
        thread.close();
    };
    let queue = Worker::start("events", WAITING, work)?;
    Ok(EventFeed { queue, live, hub })
}

impl EventsThread {
    /// Takes what has changed since the last frame: settings, live cameras, commands.
    fn update(&mut self) {
        if self.settings.has_changed().unwrap_or(false) {
            let settings = self.settings.borrow_and_update().events();
            self.events.set(settings);
        }
        if self.live.has_changed().unwrap_or(false) {
            let live = self.live.borrow_and_update().clone();
            let actions = self.events.on_live(&live, self.moment(Instant::now()));
            self.act(actions, None);
        }
        for (camera, armed) in self.hub.take_commands() {
            let now = self.moment(Instant::now());
            let actions = self.events.arm(&camera, armed, now);
            self.act(actions, None);
        }
    }

    fn observe(&mut self, tracked: &TrackedFrame) {
        let frame = &tracked.frame;
        let now = self.moment(frame.received_at);
        let observation = Observation {
            camera: &frame.label.camera,
            tracker: tracked.tracker,
            boxes: &tracked.detections,
        };
        let mut sharp = |part: BBox| {
            sharpness::of(frame.jpeg(), frame.size(), part).unwrap_or(UNKNOWN_SHARPNESS)
        };
        // Without random numbers ids are unique while the relay runs.
        let mut random = || getrandom::u32().unwrap_or_default() as u16;
        let actions = self
            .events
            .observe(observation, &mut sharp, &mut random, now);
        self.act(actions, Some(tracked));
    }

    fn tick(&mut self) {
        if self.ticked.elapsed() < TICK {
            return;
        }
        self.ticked = Instant::now();
        self.minute = local_minute();
        let actions = self.events.tick(self.moment(self.ticked));
        self.act(actions, None);
    }

    fn act(&mut self, actions: Vec<EventAction>, tracked: Option<&TrackedFrame>) {
        if actions.is_empty() {
            return;
        }
        for action in actions {
            match (action, tracked) {
                (EventAction::Publish(message), _) => {
                    let json = message.to_json();
                    let event = Arc::new(SentEvent { message, json });
                    self.hub.publish(&event);
                    for output in self.outputs.publish(&event) {
                        self.hub.on_lost(output, 1);
                    }
                }
                (EventAction::KeepPicture(id, bbox), Some(tracked)) => {
                    self.keep(id, bbox, tracked);
                }
                (EventAction::KeepPicture(..), None) => {}
            }
        }
        self.hub.set_open(self.events.open());
    }

    fn keep(&self, id: EventId, bbox: BBox, tracked: &TrackedFrame) {
        let mut boxes = tracked.detections.iter();
        let object = boxes.find(|one| one.bbox.clipped() == bbox).cloned();
        let object = object.unwrap_or_else(|| Detection {
            id: None,
            class: 0,
            label: String::new(),
            score: 1.0,
            fading: false,
            bbox,
        });
        let picture = EventPicture::new(tracked.frame.jpeg().clone(), object);
        self.hub.keep(id, picture);
    }

    fn close(mut self) {
        let actions = self.events.end_all(EndReason::Stop);
        self.act(actions, None);
        self.outputs.close(Instant::now() + OUTPUTS_TIMEOUT);
    }

    /// Returns a moment of now or of shortly before by all clocks.
    fn moment(&self, at: Instant) -> Moment {
        let ago = u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX);
        Moment {
            at,
            unix_ms: (unix_micros() / 1000).saturating_sub(ago),
            minute: self.minute,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use protocol::event::{EventMessage, Phase};
    use relay_core::TrackerState;

    use super::*;
    use crate::args::Args;
    use crate::events::Watcher;
    use crate::fanout::tests::publication;

    /// Frames of a camera on which a person stands, as if they had come 100 ms apart.
    fn frames(camera: &str, count: u64) -> Vec<TrackedFrame> {
        let first = Instant::now() - Duration::from_millis(100 * count);
        let frame = |n: u64| {
            let mut frame = publication(camera, true, false, b"no JPEG").frame;
            frame.received_at = first + Duration::from_millis(100 * n);
            let person = Detection {
                id: Some(1),
                class: 0,
                label: "person".to_owned(),
                score: 0.9,
                fading: false,
                bbox: [0.1, 0.2, 0.3, 0.4].into(),
            };
            TrackedFrame {
                frame,
                detections: vec![person],
                tracker: TrackerState {
                    generation: 1,
                    answered: Some(n),
                },
            }
        };
        (0..count).map(frame).collect()
    }

    fn feed() -> (EventFeed, watch::Sender<LiveSettings>) {
        let args = Args::parse_from(["relay-server"]);
        let (settings, now) = watch::channel(args.live_settings());
        let feed = start(now, Arc::default(), EventOutputs::default()).unwrap();
        (feed, settings)
    }

    /// Returns what a client received by the time that the thread has ended.
    fn messages(feed: EventFeed, mut watcher: Watcher) -> Vec<EventMessage> {
        feed.close(Instant::now() + Duration::from_secs(10));
        let next = || watcher.messages.try_recv().ok();
        std::iter::from_fn(next)
            .map(|event| event.message.clone())
            .collect()
    }

    #[test]
    fn the_thread_keeps_a_picture_and_ends_what_is_open_when_the_relay_stops() {
        let (feed, _settings) = feed();
        let (hub, watcher) = (feed.hub().clone(), feed.hub().watch());
        frames("yard", 20)
            .into_iter()
            .for_each(|frame| feed.observe(frame));
        let messages = messages(feed, watcher);
        let Some(EventMessage::Object(end)) = messages.last() else {
            panic!("{messages:?}");
        };
        assert_eq!((end.phase, end.reason), (Phase::End, Some(EndReason::Stop)));
        assert_eq!(&hub.picture(end.id).unwrap().jpeg[..], b"no JPEG");
        let counts = hub.counts();
        assert_eq!((counts.open, &counts.lost[..]), (0, &[("frames", 0)][..]));
        assert_eq!(counts.messages, [("start", 1), ("end", 1)]);
    }

    #[test]
    fn what_finds_no_room_is_counted_and_live_cameras_and_commands_are_not_lost_by_it() {
        let (feed, _settings) = feed();
        let (hub, watcher) = (feed.hub().clone(), feed.hub().watch());
        for frame in frames("yard", 20_000) {
            feed.observe(frame);
        }
        assert!(hub.arm("gate".parse().unwrap(), false));
        feed.set_live(vec!["gate".parse().unwrap()]);
        for frame in frames("gate", 20) {
            feed.observe(frame);
        }
        let lost = hub.counts().lost[0].1;
        assert!(lost > 0, "20 000 frames at once");
        let messages = messages(feed, watcher);
        assert!(
            messages
                .iter()
                .any(|message| message.to_json().contains("online"))
        );
        let of_gate = |message: &&EventMessage| message.camera() == "gate";
        assert_eq!(messages.iter().filter(of_gate).count(), 1, "it is disarmed");
    }

    #[test]
    fn commands_that_wait_are_bounded_and_the_newest_of_a_camera_counts() {
        let hub = EventHub::default();
        let camera = |n: usize| format!("cam{n}").parse().unwrap();
        let taken = (0..100).filter(|n| hub.arm(camera(*n), true)).count();
        assert_eq!(taken, 64);
        assert!(hub.arm(camera(3), false), "in place of the one that waits");
        let commands = hub.take_commands();
        assert_eq!(
            (commands.len(), commands.last()),
            (64, Some(&(camera(3), false)))
        );
        assert!(hub.take_commands().is_empty());
    }
}
