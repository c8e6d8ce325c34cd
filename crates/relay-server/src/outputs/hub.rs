//! Hands events to the outputs that take them over a network or to a command. Each has a queue and a task of its own, on a
//! thread beside the loop: to hand over an event is to add it to a few queues, whatever their receivers do.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use protocol::event::EventMessage;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::queue::Queue;
use super::retry::{Lost, OutputSnapshot, OutputStats};

/// How long an output may deliver what waits once the relay stops.
pub const LAST_CHANCE: Duration = Duration::from_millis(800);

/// An event on its way to the outputs.
#[derive(Debug, Clone, PartialEq)]
pub struct OutputEvent {
    /// The message.
    pub message: EventMessage,
    /// Its JSON.
    pub json: Bytes,
    /// The picture of the event, where there is one.
    pub picture: Option<Bytes>,
}

/// The queue of one output.
pub type EventQueue = Queue<Arc<OutputEvent>>;

/// An output's task: it takes events from its queue until the stop, and delivers what waits then within
/// [`LAST_CHANCE`].
pub type OutputTask = Pin<Box<dyn Future<Output = ()> + Send>>;

/// An output that is about to start.
pub struct Output {
    subscriber: Subscriber,
    task: OutputTask,
}

/// The running outputs.
#[derive(Debug)]
pub struct Hub {
    outputs: Vec<Subscriber>,
    stop: CancellationToken,
    thread: JoinHandle<()>,
}

#[derive(Debug)]
struct Subscriber {
    name: &'static str,
    stats: Arc<OutputStats>,
    queue: EventQueue,
    /// Whether it is handed the pictures: those of a full queue are 50 MB or more.
    pictures: bool,
}

/// What an output counts, with its name.
pub type NamedSnapshot = (&'static str, OutputSnapshot);

/// The counters of all outputs, shared with them.
#[derive(Debug, Clone, Default)]
pub struct EventOutputStats(Vec<(&'static str, Arc<OutputStats>)>);

impl EventOutputStats {
    /// Returns the counters of this moment.
    pub fn snapshot(&self) -> Vec<NamedSnapshot> {
        let each = self.0.iter();
        each.map(|(name, stats)| (*name, stats.snapshot()))
            .collect()
    }
}

impl Output {
    /// Returns an output; `task` is its work, by its queue, its counters and the token of the stop.
    pub fn new<F>(
        name: &'static str,
        stop: &CancellationToken,
        task: impl FnOnce(EventQueue, Arc<OutputStats>, CancellationToken) -> F,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stats = Arc::<OutputStats>::default();
        let queue = Queue::new(stats.clone());
        let task = task(queue.clone(), stats.clone(), stop.clone());
        let subscriber = Subscriber {
            name,
            stats,
            queue,
            pictures: false,
        };
        Self {
            subscriber,
            task: Box::pin(task),
        }
    }

    /// Returns the output with the pictures of the events: it takes them from its queue at once.
    #[must_use]
    pub fn with_pictures(mut self) -> Self {
        self.subscriber.pictures = true;
        self
    }
}

impl Hub {
    /// Starts the outputs; `stop` is the token that they were made with.
    ///
    /// # Errors
    /// If the system has no thread left.
    pub fn start(outputs: Vec<Output>, stop: CancellationToken) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("starting the runtime of the outputs")?;
        let mut tasks = Vec::new();
        let mut subscribers = Vec::new();
        for output in outputs {
            tasks.push(output.task);
            subscribers.push(output.subscriber);
        }
        let work = move || runtime.block_on(run(tasks));
        let thread = thread::Builder::new()
            .name("outputs".to_owned())
            .spawn(work)
            .context("starting the thread of the outputs")?;
        Ok(Self {
            outputs: subscribers,
            stop,
            thread,
        })
    }

    /// Hands an event to all outputs. Never waits.
    pub fn publish(&self, event: OutputEvent) {
        let without = Arc::new(OutputEvent {
            picture: None,
            ..event.clone()
        });
        let event = Arc::new(event);
        for output in &self.outputs {
            let event = if output.pictures { &event } else { &without };
            output.queue.push(event.clone());
        }
    }

    /// Returns the counters of all outputs.
    pub fn stats(&self) -> EventOutputStats {
        let outputs = self.outputs.iter();
        EventOutputStats(
            outputs
                .map(|output| (output.name, output.stats.clone()))
                .collect(),
        )
    }

    /// Lets the outputs deliver what waits, until `deadline`; the rest is counted as lost.
    pub fn close(self, deadline: Instant) {
        self.stop.cancel();
        while !self.thread.is_finished() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(2));
        }
        for output in &self.outputs {
            output
                .stats
                .on_lost(Lost::Stopped, output.queue.len() as u64);
        }
    }
}

async fn run(tasks: Vec<OutputTask>) {
    let mut running: JoinSet<()> = tasks.into_iter().collect();
    while running.join_next().await.is_some() {}
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::outputs::fields::tests::start;

    /// An output that stores the pictures of its events, in their order.
    fn storing(stop: &CancellationToken, stored: &Arc<Mutex<Vec<Option<Bytes>>>>) -> Output {
        let stored = stored.clone();
        Output::new("test", stop, |queue, _, stop| async move {
            stop.cancelled().await;
            while let Some(event) = queue.try_pop() {
                stored.lock().unwrap().push(event.picture.clone());
            }
        })
    }

    #[test]
    fn each_output_gets_each_event_and_pictures_only_if_it_wants_them() {
        let stop = CancellationToken::new();
        let [with, without] = [(); 2].map(|()| Arc::default());
        let outputs = vec![
            storing(&stop, &with).with_pictures(),
            storing(&stop, &without),
        ];
        let hub = Hub::start(outputs, stop).unwrap();
        for picture in [Some(Bytes::from("jpeg")), None] {
            let message = start("yard", "person");
            hub.publish(OutputEvent {
                json: message.to_json().into(),
                message,
                picture,
            });
        }
        hub.close(Instant::now() + Duration::from_secs(10));
        assert_eq!(*with.lock().unwrap(), [Some("jpeg".into()), None]);
        assert_eq!(*without.lock().unwrap(), [None, None]);
    }

    #[test]
    fn what_an_output_has_not_taken_at_the_stop_is_counted_as_lost() {
        let stop = CancellationToken::new();
        let idle = Output::new("test", &stop, |_, _, stop| async move {
            stop.cancelled().await;
        });
        let stats = idle.subscriber.stats.clone();
        let hub = Hub::start(vec![idle], stop).unwrap();
        for label in ["person", "dog"] {
            let message = start("yard", label);
            hub.publish(OutputEvent {
                json: message.to_json().into(),
                message,
                picture: None,
            });
        }
        hub.close(Instant::now() + Duration::from_secs(10));
        assert!(stats.snapshot().lost.contains(&("stopped", 2)));
    }
}
