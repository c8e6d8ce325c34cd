//! Status and metrics for HTTP clients. Each is made once for all clients that request it within its life, off the loop:
//! however many there are, the loop makes at most one cheap copy in that time.

use std::future::Future;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use protocol::health::Health;
use relay_core::CameraStatus;
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use crate::access::Grant;
use crate::event::RelayStatus;
use crate::handle::{RelayHandle, Unavailable};

/// Life of the status: no client sees a difference.
const STATUS_LIFE: Duration = Duration::from_millis(50);
/// Life of the metrics: Prometheus requests them every few seconds.
const METRICS_LIFE: Duration = Duration::from_secs(1);

type Made<T> = Result<T, Unavailable>;

/// The answers.
#[derive(Debug)]
pub(super) struct SharedAnswers {
    relay: RelayHandle,
    status: SharedAnswer<Arc<StatusAnswer>>,
    metrics: SharedAnswer<Bytes>,
}

/// A status that clients share.
#[derive(Debug)]
pub(super) struct StatusAnswer {
    pub(super) status: RelayStatus,
    cameras: OnceLock<Bytes>,
}

/// A value that is made at most once in its life.
#[derive(Debug)]
struct SharedAnswer<T> {
    life: Duration,
    last: Mutex<Option<Last<T>>>,
}

/// The last attempt to make a value.
#[derive(Debug)]
struct Last<T> {
    started: Instant,
    made: watch::Receiver<Option<Made<T>>>,
}

impl SharedAnswers {
    pub(super) fn new(relay: RelayHandle) -> Self {
        Self {
            relay,
            status: SharedAnswer::new(STATUS_LIFE),
            metrics: SharedAnswer::new(METRICS_LIFE),
        }
    }

    /// Returns the status of cameras and model.
    pub(super) async fn status(&self) -> Made<Arc<StatusAnswer>> {
        let relay = self.relay.clone();
        let make = async move {
            let status = relay.status().await?;
            Ok(Arc::new(StatusAnswer {
                status,
                cameras: OnceLock::new(),
            }))
        };
        self.status.get(make).await
    }

    /// Returns the metrics as text. Histograms are walked and the text is written on a thread that may block, since it
    /// reads `/proc` too.
    pub(super) async fn metrics(&self) -> Made<Bytes> {
        let relay = self.relay.clone();
        let make = async move {
            let figures = relay.metrics().await?;
            let text = spawn_blocking(|| figures.complete().render().into());
            text.await.map_err(|_| Unavailable::Stuck)
        };
        self.metrics.get(make).await
    }
}

/// A camera as HTTP clients see it.
#[derive(Debug, Serialize)]
struct ListedCamera<'a> {
    name: &'a str,
    live: bool,
    /// Frames a second.
    fps: Option<f64>,
    width: u16,
    height: u16,
    /// Time since its last frame came.
    age_ms: u64,
    /// State of its sender's machine.
    #[serde(flatten)]
    health: Option<Health>,
}

impl<'a> ListedCamera<'a> {
    fn new((camera, health): (&'a CameraStatus, &Health)) -> Self {
        Self {
            name: camera.name.as_str(),
            live: camera.live,
            fps: camera.fps.map(|fps| (fps * 10.0).round() / 10.0),
            width: camera.size.width,
            height: camera.size.height,
            age_ms: u64::try_from(camera.silence.as_millis()).unwrap_or(u64::MAX),
            health: camera.live.then_some(*health),
        }
    }
}

impl StatusAnswer {
    /// Returns the cameras that a client may see as JSON. Clients that may see all share one text.
    pub(super) fn cameras(&self, grant: &Grant) -> Bytes {
        match grant.camera {
            None => self.cameras.get_or_init(|| self.list(grant)).clone(),
            Some(_) => self.list(grant),
        }
    }

    fn list(&self, grant: &Grant) -> Bytes {
        let RelayStatus {
            cameras, health, ..
        } = &self.status;
        let all = cameras.iter().zip(health);
        let visible = all.filter(|(camera, _)| grant.covers(camera.name.as_str()));
        let listed: Vec<ListedCamera<'_>> = visible.map(ListedCamera::new).collect();
        let json = serde_json::to_vec(&listed);
        json.expect("plain structures of text and numbers").into()
    }
}

impl<T: Clone + Send + Sync + 'static> SharedAnswer<T> {
    fn new(life: Duration) -> Self {
        Self {
            life,
            last: Mutex::default(),
        }
    }

    /// Returns the value, which `make` makes if the last one is too old. Its task goes on when its client leaves, for the
    /// others that wait.
    async fn get(&self, make: impl Future<Output = Made<T>> + Send + 'static) -> Made<T> {
        let mut made = {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            match last.as_ref().filter(|last| last.serves(self.life)) {
                Some(last) => last.made.clone(),
                None => last.insert(Last::start(make)).made.clone(),
            }
        };
        let made = made.wait_for(Option::is_some).await;
        made.ok()
            .and_then(|made| made.clone())
            .unwrap_or(Err(Unavailable::Stuck))
    }
}

impl<T: Send + Sync + 'static> Last<T> {
    fn start(make: impl Future<Output = Made<T>> + Send + 'static) -> Self {
        let (sender, made) = watch::channel(None);
        let started = Instant::now();
        tokio::spawn(async move { sender.send(Some(make.await)) });
        Self { started, made }
    }

    /// Returns whether a client still gets this value: it is young enough, or is being made.
    fn serves(&self, life: Duration) -> bool {
        let being_made = self.made.borrow().is_none() && self.made.has_changed().is_ok();
        being_made || self.started.elapsed() < life
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::mpsc;
    use tokio::task::JoinSet;
    use tokio::time::{advance, sleep, timeout};

    use super::*;
    use crate::event::{Event, Query};

    const LIFE: Duration = Duration::from_secs(1);

    #[derive(Default)]
    struct Queries {
        status: AtomicU32,
        metrics: AtomicU32,
    }

    /// Answers of a loop that counts its queries and takes some time for each.
    fn answers() -> (Arc<SharedAnswers>, Arc<Queries>) {
        let (events_tx, mut events) = mpsc::channel(8);
        let queries = Arc::<Queries>::default();
        let counted = queries.clone();
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                sleep(Duration::from_millis(2)).await;
                match event {
                    Event::Query(Query::Status(reply), _) => {
                        counted.status.fetch_add(1, Ordering::Relaxed);
                        let _ = reply.send(RelayStatus::default());
                    }
                    Event::Query(Query::Metrics(reply), _) => {
                        counted.metrics.fetch_add(1, Ordering::Relaxed);
                        let _ = reply.send(Box::default());
                    }
                    other => panic!("{other:?}"),
                }
            }
        });
        let relay = RelayHandle::new(events_tx);
        relay.set_ready();
        (Arc::new(SharedAnswers::new(relay)), queries)
    }

    #[tokio::test(start_paused = true)]
    async fn one_query_reaches_the_loop_however_many_clients_come_within_an_answers_life() {
        let (answers, queries) = answers();
        let counts = || {
            let of = |count: &AtomicU32| count.load(Ordering::Relaxed);
            (of(&queries.status), of(&queries.metrics))
        };
        for round in 1..=3 {
            let mut clients = JoinSet::new();
            for _ in 0..200 {
                let answers = answers.clone();
                clients.spawn(async move {
                    answers.status().await.unwrap();
                    answers.metrics().await.unwrap();
                });
            }
            clients.join_all().await;
            assert_eq!(counts(), (round, round));
            advance(METRICS_LIFE).await;
        }
        for _ in 0..50 {
            answers.status().await.unwrap();
            advance(STATUS_LIFE / 10).await;
        }
        let (status, _) = counts();
        assert!((7..=9).contains(&status), "one in 50 ms: {status}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_never_older_than_its_life() {
        let answer = SharedAnswer::new(LIFE);
        let start = Instant::now();
        for _ in 0..100 {
            let made = answer.get(async { Ok(Instant::now()) }).await.unwrap();
            assert!(made.elapsed() < LIFE, "{:?}", start.elapsed());
            advance(LIFE / 7).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_leaves_does_not_make_the_next_one_start_again() {
        let answer = SharedAnswer::new(LIFE);
        let made = Arc::new(AtomicU32::new(0));
        let make = || {
            let made = made.clone();
            async move {
                sleep(3 * LIFE).await;
                Ok(made.fetch_add(1, Ordering::Relaxed))
            }
        };
        for _ in 0..20 {
            assert!(timeout(LIFE / 10, answer.get(make())).await.is_err());
        }
        assert_eq!(answer.get(make()).await, Ok(0));
        assert_eq!(made.load(Ordering::Relaxed), 1);
    }
}
