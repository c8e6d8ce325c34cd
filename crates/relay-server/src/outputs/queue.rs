//! The bounded queue between the relay and one output. To add an event never waits; when too many wait, the oldest go and
//! are counted, since the news of the last minute is worth more than that of yesterday.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::retry::{Lost, OutputStats};

/// Most events that wait for one output.
pub const MAX_WAITING: usize = 1000;

/// The queue of one output; clones are handles to the same queue.
#[derive(Debug)]
pub struct Queue<T> {
    shared: Arc<Shared<T>>,
}

#[derive(Debug)]
struct Shared<T> {
    waiting: Mutex<VecDeque<T>>,
    filled: Notify,
    stats: Arc<OutputStats>,
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<T> Queue<T> {
    /// Returns an empty queue that counts here.
    pub fn new(stats: Arc<OutputStats>) -> Self {
        Self {
            shared: Arc::new(Shared {
                waiting: Mutex::default(),
                filled: Notify::new(),
                stats,
            }),
        }
    }

    /// Adds an event. The oldest goes if [`MAX_WAITING`] wait already.
    pub fn push(&self, event: T) {
        self.with(|waiting| {
            if waiting.len() >= MAX_WAITING {
                waiting.pop_front();
                self.shared.stats.on_lost(Lost::QueueFull, 1);
            }
            waiting.push_back(event);
        });
        self.shared.filled.notify_one();
    }

    /// Returns the oldest event, and waits for one if there is none. Cancel-safe. One task at a time may wait.
    pub async fn pop(&self) -> T {
        loop {
            if let Some(event) = self.try_pop() {
                return event;
            }
            self.shared.filled.notified().await;
        }
    }

    /// Returns the oldest event, if there is one.
    pub fn try_pop(&self) -> Option<T> {
        self.with(VecDeque::pop_front)
    }

    /// Returns the number of events that wait.
    pub fn len(&self) -> usize {
        self.with(|waiting| waiting.len())
    }

    /// Returns whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn with<R>(&self, change: impl FnOnce(&mut VecDeque<T>) -> R) -> R {
        // No code that could panic runs under the lock.
        let mut waiting = self
            .shared
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut waiting);
        self.shared.stats.set_queued(waiting.len());
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> (Queue<usize>, Arc<OutputStats>) {
        let stats = Arc::<OutputStats>::default();
        (Queue::new(stats.clone()), stats)
    }

    #[test]
    fn the_oldest_go_when_too_many_wait_and_are_counted() {
        let (queue, stats) = queue();
        for n in 0..MAX_WAITING + 3 {
            queue.push(n);
        }
        assert_eq!(queue.len(), MAX_WAITING);
        assert_eq!(queue.try_pop(), Some(3));
        let snapshot = stats.snapshot();
        assert_eq!(snapshot.lost[0], ("queue_full", 3));
        assert_eq!(snapshot.waiting, MAX_WAITING as u64 - 1);
    }

    #[tokio::test]
    async fn events_come_out_in_their_order_also_to_a_task_that_waited() {
        let (queue, _) = queue();
        let reader = queue.clone();
        let read = tokio::spawn(async move { [reader.pop().await, reader.pop().await] });
        tokio::task::yield_now().await;
        queue.push(1);
        queue.push(2);
        assert_eq!(read.await.unwrap(), [1, 2]);
        assert!(queue.is_empty());
    }
}
