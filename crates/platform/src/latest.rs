//! The newest-wins slot between two threads: it holds one value, and a newer one replaces it.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Returns the two ends of a new, empty slot.
pub fn latest<T>() -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared {
        slot: Mutex::new(Slot {
            value: None,
            closed: false,
        }),
        changed: Condvar::new(),
    });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

/// Result of a wait for a value.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<T> {
    /// The newest value.
    Value(T),
    /// No value in time.
    Timeout,
    /// No value, now or later: the writing end is gone.
    Closed,
}

/// The writing end. Dropping it closes the slot as soon as the last value is taken.
#[derive(Debug)]
pub struct Sender<T>(Arc<Shared<T>>);

/// The reading end.
#[derive(Debug)]
pub struct Receiver<T>(Arc<Shared<T>>);

#[derive(Debug)]
struct Shared<T> {
    slot: Mutex<Slot<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct Slot<T> {
    value: Option<T>,
    closed: bool,
}

impl<T> Sender<T> {
    /// Puts a value into the slot, and returns the one that it replaced before it was taken.
    pub fn send(&self, value: T) -> Option<T> {
        let mut slot = self.0.slot.lock().unwrap_or_else(PoisonError::into_inner);
        let replaced = slot.value.replace(value);
        self.0.changed.notify_one();
        replaced
    }

    /// Returns whether the reading end is gone.
    pub fn is_closed(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut slot = self.0.slot.lock().unwrap_or_else(PoisonError::into_inner);
        slot.closed = true;
        self.0.changed.notify_one();
    }
}

impl<T> Receiver<T> {
    /// Waits for a value, at most for `timeout`, and takes it.
    pub fn recv(&self, timeout: Duration) -> Received<T> {
        let slot = self.0.slot.lock().unwrap_or_else(PoisonError::into_inner);
        let empty = |slot: &mut Slot<T>| slot.value.is_none() && !slot.closed;
        let (mut slot, _) = self
            .0
            .changed
            .wait_timeout_while(slot, timeout, empty)
            .unwrap_or_else(PoisonError::into_inner);
        match slot.value.take() {
            Some(value) => Received::Value(value),
            None if slot.closed => Received::Closed,
            None => Received::Timeout,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_value_wins() {
        let (sender, receiver) = latest();
        assert_eq!(sender.send(1), None);
        assert_eq!(sender.send(2), Some(1));
        assert_eq!(receiver.recv(Duration::ZERO), Received::Value(2));
        assert_eq!(receiver.recv(Duration::ZERO), Received::Timeout);
    }

    #[test]
    fn the_last_value_comes_before_the_end() {
        let (sender, receiver) = latest();
        sender.send(1);
        drop(sender);
        assert_eq!(receiver.recv(Duration::MAX), Received::Value(1));
        assert_eq!(receiver.recv(Duration::MAX), Received::Closed);
    }

    #[test]
    fn the_writer_sees_that_the_reader_is_gone() {
        let (sender, receiver) = latest::<u8>();
        assert!(!sender.is_closed());
        drop(receiver);
        assert!(sender.is_closed());
    }

    #[test]
    fn a_waiting_reader_is_woken() {
        let (sender, receiver) = latest();
        let reader = std::thread::spawn(move || receiver.recv(Duration::from_secs(60)));
        sender.send(7);
        assert_eq!(reader.join().unwrap(), Received::Value(7));
    }
}
