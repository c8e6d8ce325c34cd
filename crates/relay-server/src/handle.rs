//! What a transport or an output may ask of the relay: a subscription, the status, the metrics. It is all that the HTTP
//! server knows of the loop, and all that a new output needs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use protocol::label::CameraName;
use protocol::peer::Proof;
use protocol::quic::{Refusal, SenderInfo, Trial};
use relay_core::limits::QUERY_QUEUE;
use relay_core::{FrameVerdict, Publisher, SenderId, SubscriberId};
use tokio::runtime::Handle;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use crate::event::{
    Accepted, Event, HttpFrame, HttpPublisher, Ingress, PublishRequest, Query, RelayStatus,
};
use crate::fanout::Feed;
use crate::metrics::LoopMetrics;

/// Longest wait for the loop's answer. The loop forwards a frame in less than a thousandth of that.
const TIMEOUT: Duration = Duration::from_secs(2);

/// A handle to the loop; clones are handles to the same loop.
#[derive(Debug, Clone)]
pub struct RelayHandle {
    queries: QuerySender,
    shared: Arc<Shared>,
}

/// Sends queries to the loop, not too many at a time.
#[derive(Debug, Clone)]
struct QuerySender {
    events: mpsc::Sender<Event>,
    /// Places in the loop's queue.
    places: Arc<Semaphore>,
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
    queries: QuerySender,
}

/// A camera's name, owned until this is dropped.
#[derive(Debug)]
pub struct Publication {
    /// The relay's answer.
    pub accepted: Accepted,
    /// Receives why the sender has lost its camera later.
    pub refusal: oneshot::Receiver<Refusal>,
    /// Gives the name back when it is dropped.
    pub guard: SenderGuard,
}

/// Gives a camera's name back when it is dropped, however a connection ends.
#[derive(Debug)]
pub struct SenderGuard {
    id: SenderId,
    events: mpsc::Sender<Event>,
}

impl RelayHandle {
    /// Returns a handle to the loop that receives these events.
    pub fn new(events: mpsc::Sender<Event>) -> Self {
        Self {
            queries: QuerySender {
                events,
                places: Arc::new(Semaphore::new(QUERY_QUEUE)),
            },
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
        self.queries.send(query).await?;
        let guard = SubscriptionGuard {
            id,
            queries: self.queries.clone(),
        };
        let feed = feed.await.ok()?;
        Some(Subscription { feed, guard })
    }

    /// Returns whether a sender could send, and why not; `None` once the loop has ended.
    pub async fn try_sender(
        &self,
        publisher: Publisher,
        trial: Trial,
    ) -> Option<Result<(), Refusal>> {
        let (reply, answer) = oneshot::channel();
        let query = Query::Trial(publisher, trial, reply);
        self.queries.send(query).await?;
        answer.await.ok()
    }

    /// Lets a publisher take its camera's name, if no other source owns it.
    ///
    /// # Errors
    /// If the loop does not run yet or does not answer.
    pub async fn publish(
        &self,
        publisher: Arc<Publisher>,
        proof: Proof,
    ) -> Result<Result<Publication, Refusal>, Unavailable> {
        let (reply, answer) = oneshot::channel();
        let (refused, refusal) = oneshot::channel();
        let id = publisher.id;
        let request = Ingress::PublishRequest(PublishRequest {
            publisher,
            proof,
            reply,
            refused,
        });
        // Before the request, so that no end of this task leaves the name to a connection that is gone.
        let guard = SenderGuard {
            id,
            events: self.queries.events.clone(),
        };
        let answered = async {
            self.queries.events.send(request.into()).await.ok()?;
            answer.await.ok()
        };
        match self.within_timeout(answered).await? {
            Ok(accepted) => Ok(Ok(Publication {
                accepted,
                refusal,
                guard,
            })),
            Err(refusal) => Ok(Err(refusal)),
        }
    }

    /// Hands in what a publisher sent as a frame, and returns what became of it.
    ///
    /// # Errors
    /// If the loop does not run yet or does not answer.
    pub async fn take_frame(
        &self,
        publisher: HttpPublisher,
        jpeg: Bytes,
    ) -> Result<FrameVerdict, Unavailable> {
        let (reply, answer) = oneshot::channel();
        let frame = HttpFrame {
            publisher,
            jpeg,
            reply,
        };
        let answered = async {
            self.queries.send(Query::TakeFrame(frame)).await?;
            answer.await.ok()
        };
        self.within_timeout(answered).await
    }

    /// Passes on what a sender reports of itself; `None` once the loop has ended.
    pub async fn report_sender(&self, sender: SenderId, info: SenderInfo) -> Option<()> {
        let report = Ingress::SenderInfo(sender, info);
        self.queries.events.send(report.into()).await.ok()
    }

    /// Returns the status of cameras and model.
    ///
    /// # Errors
    /// If the loop does not run yet or does not answer.
    pub async fn status(&self) -> Result<RelayStatus, Unavailable> {
        self.query(Query::Status).await
    }

    /// Returns the loop's part of the metrics of this moment.
    ///
    /// # Errors
    /// If the loop does not run yet or does not answer.
    pub async fn metrics(&self) -> Result<Box<LoopMetrics>, Unavailable> {
        self.query(Query::Metrics).await
    }

    async fn query<T>(&self, query: fn(oneshot::Sender<T>) -> Query) -> Result<T, Unavailable> {
        let (reply, answer) = oneshot::channel();
        let answered = async {
            self.queries.send(query(reply)).await?;
            answer.await.ok()
        };
        self.within_timeout(answered).await
    }

    async fn within_timeout<T>(
        &self,
        answered: impl Future<Output = Option<T>>,
    ) -> Result<T, Unavailable> {
        if !self.shared.ready.load(Ordering::Acquire) {
            return Err(Unavailable::Loading);
        }
        let answer = timeout(TIMEOUT, answered).await.ok().flatten();
        answer.ok_or(Unavailable::Stuck)
    }
}

impl SubscriptionGuard {
    /// Asks for annotated frames too.
    pub async fn request_annotated(&self) {
        // Once the loop has ended no frame comes, and the reader notices that.
        let query = Query::RequestAnnotated(self.id);
        let _ = self.queries.send(query).await;
    }
}

impl Drop for SubscriptionGuard {
    fn drop(&mut self) {
        let query = Query::Unsubscribe(self.id);
        let Some(query) = self.queries.try_send(query) else {
            return;
        };
        let queries = self.queries.clone();
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move { queries.send(query).await });
        }
    }
}

impl Drop for SenderGuard {
    fn drop(&mut self) {
        // A connection over TCP ends alike whether its peer closes it or is gone.
        let left = Event::from(Ingress::SenderLeft(self.id, false));
        let Err(TrySendError::Full(left)) = self.events.try_send(left) else {
            return;
        };
        let events = self.events.clone();
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move { events.send(left).await });
        }
    }
}

impl QuerySender {
    /// Sends a query when there is a place for it; `None` once the loop has ended.
    async fn send(&self, query: Query) -> Option<()> {
        let place = self.places.clone().acquire_owned().await.ok()?;
        let event = Event::Query(query, Some(place));
        self.events.send(event).await.ok()
    }

    /// Sends a query if there is a place for it now; returns it if there is none.
    fn try_send(&self, query: Query) -> Option<Query> {
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            return Some(query);
        };
        match self.events.try_send(Event::Query(query, Some(place))) {
            Err(TrySendError::Full(Event::Query(query, _))) => Some(query),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use relay_core::limits::EVENT_QUEUE;

    use tokio::task::yield_now;

    use super::*;

    #[tokio::test]
    async fn most_of_the_loops_queue_is_left_to_frames_however_many_queries_wait() {
        let (events_tx, mut events) = mpsc::channel(EVENT_QUEUE);
        let relay = RelayHandle::new(events_tx);
        let clients: Vec<_> = (0..1000)
            .map(|_| {
                let relay = relay.clone();
                tokio::spawn(async move { relay.subscribe(None).await.is_some() })
            })
            .collect();
        for _ in 0..100 {
            yield_now().await;
        }
        assert_eq!(events.len(), QUERY_QUEUE);
        // The test answers none, so each client also unsubscribes.
        let mut subscribed = 0;
        while subscribed < 1000 {
            let event = events.recv().await.unwrap();
            assert!(events.len() < QUERY_QUEUE);
            subscribed += usize::from(matches!(event, Event::Query(Query::Subscribe(..), _)));
        }
        drop(clients);
    }
}
