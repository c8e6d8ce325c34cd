//! `--mqtt URL`: state, events and pictures at an MQTT broker, and Home Assistant's discovery.
//!
//! ```text
//!  queue of events ---+                                                        +--> Connection (rumqttc)
//!  status, pictures --+--> Session (PURE): topics, discovery --> Outbox (PURE) |     one at a time, reopened with backoff
//!  commands ----------+                                                        +--< acknowledgements
//! ```

pub mod broker;
pub mod connection;
pub mod discovery;
pub mod outbox;
pub mod seen;
pub mod session;
pub mod topics;

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use platform::state_dir::StateDir;
use protocol::label::CameraName;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::connection::{Connection, Login, Report};
use self::outbox::Token;
use self::seen::Seen;
use self::session::{CameraFacts, Facts, Session};
use self::topics::Topics;
use super::hub::{EventQueue, LAST_CHANCE, OutputEvent};
use super::retry::{Backoff, Lost, OutputStats, random};
use crate::event::RelayStatus;
use crate::handle::RelayHandle;

/// Time between two requests for the status of the relay.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);
/// Longest wait for a camera's newest frame, which is there if the camera is live.
const PICTURE_TIMEOUT: Duration = Duration::from_millis(200);
/// File in the state directory with the labels that were seen.
const SEEN_FILE: &str = "mqtt-seen.json";
/// Largest such file in bytes.
const MAX_SEEN_FILE: usize = 4 << 20;

/// What the output needs.
pub struct MqttSettings {
    /// The broker and the login.
    pub login: Login,
    /// The state directory, where there is one.
    pub state: Option<PathBuf>,
    /// Waiting times between two connections.
    pub backoff: Backoff,
}

/// Returns the waiting times of a relay: a broker that restarts is back within seconds.
pub fn backoff() -> Backoff {
    Backoff::new(Duration::from_secs(1), Duration::from_secs(30))
}

/// Publishes the events of the queue and the state of the relay until `stop`.
pub async fn run(
    settings: MqttSettings,
    relay: RelayHandle,
    queue: EventQueue,
    stats: Arc<OutputStats>,
    stop: CancellationToken,
) {
    let topics = Topics::new(settings.login.broker().prefix.clone());
    let directory = settings
        .state
        .as_deref()
        .and_then(|state| StateDir::create(state).ok());
    let stored = directory
        .as_ref()
        .and_then(|directory| directory.read(SEEN_FILE, MAX_SEEN_FILE).ok().flatten());
    let seen = stored
        .map(|stored| Seen::parse(&stored.bytes))
        .unwrap_or_default();
    let mut publisher = Publisher {
        session: Session::new(topics, seen),
        login: settings.login,
        backoff: settings.backoff,
        directory,
        relay,
        stats,
        link: None,
        failures: 0,
    };
    publisher.run(&queue, &stop).await;
    publisher.finish(&queue).await;
}

/// The broker's acknowledgement of one message, or the news that none will come.
type Acknowledgement = Pin<Box<dyn Future<Output = (Token, bool)> + Send>>;

struct Publisher {
    session: Session,
    login: Login,
    backoff: Backoff,
    directory: Option<StateDir>,
    relay: RelayHandle,
    stats: Arc<OutputStats>,
    link: Option<Link>,
    /// Attempts to connect since the last success.
    failures: u32,
}

/// A connection with what is on the way over it.
struct Link {
    connection: Connection,
    /// Whether the broker has accepted the relay.
    open: bool,
    acknowledgements: FuturesUnordered<Acknowledgement>,
}

/// What happens at a link.
enum LinkEvent {
    Report(Report),
    Acknowledged(Token, bool),
}

impl Link {
    async fn next(&mut self) -> LinkEvent {
        tokio::select! {
            report = self.connection.report() => LinkEvent::Report(report),
            Some((token, good)) = self.acknowledgements.next(), if !self.acknowledgements.is_empty() => {
                LinkEvent::Acknowledged(token, good)
            }
        }
    }
}

/// Waits for what happens at the link; without one, without limit.
async fn next(link: &mut Option<Link>) -> LinkEvent {
    match link {
        Some(link) => link.next().await,
        None => std::future::pending().await,
    }
}

impl Publisher {
    async fn run(&mut self, queue: &EventQueue, stop: &CancellationToken) {
        let mut status = interval(STATUS_INTERVAL);
        status.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut pictures = interval(session::PICTURE_INTERVAL / 10);
        pictures.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut connect_at = Instant::now();
        loop {
            self.send();
            self.stats.set_held(self.session.outbox.events());
            tokio::select! {
                () = stop.cancelled() => return,
                event = queue.pop() => self.on_event(&event),
                event = next(&mut self.link) => {
                    if self.on_link(event).await {
                        connect_at = Instant::now() + self.backoff.delay(random());
                    }
                }
                () = sleep_until(connect_at), if self.link.is_none() => self.connect(),
                _ = status.tick() => self.refresh().await,
                _ = pictures.tick() => self.picture().await,
            }
        }
    }

    fn connect(&mut self) {
        self.link = Some(Link {
            connection: Connection::open(&self.login, Some(self.session.goodbye())),
            open: false,
            acknowledgements: FuturesUnordered::new(),
        });
    }

    /// Sends what may be sent now.
    fn send(&mut self) {
        let Some(link) = self.link.as_mut().filter(|link| link.open) else {
            return;
        };
        while let Some((token, message)) = self.session.outbox.next_message() {
            // The connection has room for two windows; one without room has ended, and its report follows.
            let Some(notice) = link.connection.publish(message) else {
                break;
            };
            let acknowledged = async move { (token, notice.wait_completion_async().await.is_ok()) };
            link.acknowledgements.push(Box::pin(acknowledged));
        }
    }

    /// Takes what happens at the link. Returns whether it has ended.
    async fn on_link(&mut self, event: LinkEvent) -> bool {
        match event {
            LinkEvent::Acknowledged(token, true) => {
                if self.session.outbox.on_acknowledged(token) {
                    self.stats.on_delivered();
                }
                false
            }
            // The report of the connection's end is on its way.
            LinkEvent::Acknowledged(_, false) => false,
            LinkEvent::Report(Report::Connected) => {
                self.on_connected();
                false
            }
            LinkEvent::Report(Report::Message(topic, payload, retained)) => {
                self.on_message(&topic, &payload, retained).await;
                false
            }
            LinkEvent::Report(Report::Ended(why)) => {
                self.on_ended(&why);
                true
            }
        }
    }

    fn on_connected(&mut self) {
        let broker = self.login.broker();
        info!(%broker, attempts = self.failures + 1, prefix = broker.prefix.as_str(), "MQTT broker connected");
        self.failures = 0;
        self.backoff.reset();
        self.stats.set_failing(false);
        if let Some(link) = &mut self.link {
            link.open = true;
            link.connection.subscribe(self.session.subscription());
        }
    }

    fn on_ended(&mut self, why: &str) {
        let broker = self.login.broker();
        let was_open = self.link.take().is_some_and(|link| link.open);
        self.session.outbox.on_disconnected();
        if was_open || self.failures == 0 {
            warn!(%broker, "no connection to the MQTT broker, events wait and the relay tries again: {why}");
        }
        self.failures += 1;
        self.stats.on_retry();
    }

    async fn on_message(&mut self, topic: &[u8], payload: &[u8], retained: bool) {
        let topic = String::from_utf8_lossy(topic);
        let Some(switch) = self.session.on_message(&topic, payload, retained) else {
            return;
        };
        if let Ok(camera) = switch.camera.parse::<CameraName>()
            && self.relay.set_detection(camera, switch.on).await.is_some()
        {
            info!(
                camera = switch.camera,
                on = switch.on,
                "detection switched by MQTT"
            );
            self.session.set_detection(&switch.camera, switch.on);
        }
    }

    fn on_event(&mut self, event: &OutputEvent) {
        let lost = self
            .session
            .on_event(&event.message, event.json.clone(), event.picture.clone());
        if lost > 0 {
            self.stats.on_lost(Lost::QueueFull, lost);
        }
        self.store();
    }

    async fn refresh(&mut self) {
        // While the model is being loaded there are no cameras.
        if let Ok(status) = self.relay.status().await {
            self.session.on_facts(&facts(&status));
            self.store();
        }
    }

    /// Takes a picture of one camera of which one is due, so that no event waits for more than that.
    async fn picture(&mut self) {
        let open = self.link.as_ref().is_some_and(|link| link.open);
        let now = std::time::Instant::now();
        let due = self.session.due_pictures(now);
        for camera in due.iter().filter(|_| open) {
            let jpeg = newest(&self.relay, camera).await;
            self.session.on_picture(camera, jpeg, now);
        }
    }

    /// Stores which labels were seen. Without a state directory Home Assistant loses entities at a restart, until they
    /// are seen again.
    fn store(&mut self) {
        if let Some(json) = self.session.take_changed()
            && let Some(directory) = &self.directory
            && let Err(err) = directory.replace(SEEN_FILE, json.as_bytes())
        {
            warn!(
                "what Home Assistant has entities for cannot be stored, so a restart forgets it: {err}"
            );
        }
    }

    /// Sends what waits, and `offline`, while the relay stops.
    async fn finish(mut self, queue: &EventQueue) {
        while let Some(event) = queue.try_pop() {
            self.on_event(&event);
        }
        let goodbye = self.session.goodbye();
        self.session.outbox.set(goodbye.topic, goodbye.payload);
        let _ = timeout(LAST_CHANCE, self.drain()).await;
        let lost = self.session.outbox.events() as u64;
        self.stats.on_lost(Lost::Stopped, lost);
        if let Some(link) = self.link.filter(|link| link.open) {
            link.connection.close(LAST_CHANCE / 4).await;
        }
    }

    /// Sends all that waits; returns when the broker has acknowledged it, or without a connection.
    async fn drain(&mut self) {
        while self.link.as_ref().is_some_and(|link| link.open) && !self.session.outbox.is_done() {
            self.send();
            let event = next(&mut self.link).await;
            self.on_link(event).await;
        }
    }
}

/// Returns what is published of a status.
fn facts(status: &RelayStatus) -> Facts {
    let cameras = status.cameras.iter().map(|camera| CameraFacts {
        name: camera.name.to_string(),
        fps: camera.fps,
        silence: camera.silence,
        detects: !status.undetected.contains(&camera.name),
    });
    Facts {
        cameras: cameras.collect(),
        health: match (status.model_died, status.has_model) {
            (true, _) => "the model's thread has died",
            (false, false) => "no model",
            (false, true) => "good",
        },
    }
}

/// Returns the newest frame of a camera.
async fn newest(relay: &RelayHandle, camera: &str) -> Option<Bytes> {
    let camera = camera.parse().ok()?;
    let mut subscription = relay.subscribe(Some(camera)).await?;
    let frame = timeout(PICTURE_TIMEOUT, subscription.feed.frames.recv()).await;
    Some(frame.ok().flatten()?.jpeg)
}
