//! What a transport or an output may ask of the relay: a subscription, the status, the metrics. It is all that the HTTP
//! server knows of the loop, and all that a new output needs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use protocol::label::CameraName;
use relay_core::{SenderId, SubscriberId};
use tokio::runtime::Handle;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::event::{Event, Query, RelayStatus};
use crate::fanout::Feed;
use crate::metrics::Metrics;

/// Longest wait for the loop's answer. The loop forwards a frame in less than a thousandth of that.
const TIMEOUT: Duration = Duration::from_secs(2);

/// A handle to the loop; clones are handles to the same loop.
#[derive(Debug, Clone)]
pub struct RelayHandle {
    events: mpsc::Sender<Event>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Whether the model is loaded and the loop runs.
    ready: AtomicBool,
    subscribers: AtomicU64,
    senders: AtomicU64,
}

/// Why the loop does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// The loop does not run yet.
    #[error("the model is being loaded")]
    Loading,
    /// The loop does not answer in time, or has ended.
    #[error("the relay does not answer")]
    Stuck,
}

/// A feed of frames and messages; dropping it unsubscribes.
#[derive(Debug)]
pub struct Subscription {
    /// The frames and messages.
    pub feed: Feed,
    /// Unsubscribes when it is dropped.
    pub guard: SubscriptionGuard,
}

/// Unsubscribes when it is dropped, however a connection ends.
#[derive(Debug)]
pub struct SubscriptionGuard {
    id: SubscriberId,
    events: mpsc::Sender<Event>,
}

impl RelayHandle {
    /// Returns a handle to the loop that receives these events.
    pub fn new(events: mpsc::Sender<Event>) -> Self {
        Self {
            events,
            shared: Arc::default(),
        }
    }

    /// Lets queries through from now on: the loop runs.
    pub fn set_ready(&self) {
        self.shared.ready.store(true, Ordering::Release);
    }

    /// Returns the number of a new sender's connection.
    pub fn next_sender(&self) -> SenderId {
        SenderId(self.shared.senders.fetch_add(1, Ordering::Relaxed))
    }

    /// Subscribes to a camera, or to the first that is live; `None` once the loop has ended.
    pub async fn subscribe(&self, camera: Option<CameraName>) -> Option<Subscription> {
        let id = SubscriberId(self.shared.subscribers.fetch_add(1, Ordering::Relaxed));
        let (reply, feed) = oneshot::channel();
        let query = Query::Subscribe(id, camera, reply);
        self.events.send(query.into()).await.ok()?;
        let guard = SubscriptionGuard {
            id,
            events: self.events.clone(),
        };
        let feed = feed.await.ok()?;
        Some(Subscription { feed, guard })
    }

    /// Returns the status of cameras and model.
    ///
    /// # Errors
    /// If the loop does not run yet or does not answer.
    pub async fn status(&self) -> Result<RelayStatus, Unavailable> {
        self.query(Query::Status).await
    }

    /// Returns all metrics of this moment.
    ///
    /// # Errors
    /// If the loop does not run yet or does not answer.
    pub async fn metrics(&self) -> Result<Box<Metrics>, Unavailable> {
        self.query(Query::Metrics).await
    }

    async fn query<T>(&self, query: fn(oneshot::Sender<T>) -> Query) -> Result<T, Unavailable> {
        if !self.shared.ready.load(Ordering::Acquire) {
            return Err(Unavailable::Loading);
        }
        let (reply, answer) = oneshot::channel();
        let answered = async {
            self.events.send(query(reply).into()).await.ok()?;
            answer.await.ok()
        };
        let answer = timeout(TIMEOUT, answered).await.ok().flatten();
        answer.ok_or(Unavailable::Stuck)
    }
}

impl SubscriptionGuard {
    /// Asks for annotated frames too.
    pub async fn request_annotated(&self) {
        // Once the loop has ended no frame comes, and the reader notices that.
        let query = Query::RequestAnnotated(self.id);
        let _ = self.events.send(query.into()).await;
    }
}

impl Drop for SubscriptionGuard {
    fn drop(&mut self) {
        let query = Query::Unsubscribe(self.id);
        let Err(TrySendError::Full(event)) = self.events.try_send(query.into()) else {
            return;
        };
        let events = self.events.clone();
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move { events.send(event).await });
        }
    }
}
