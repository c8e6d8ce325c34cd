//! A slot of one between two threads: the newest value wins, nothing queues.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Makes a slot: what is put replaces what still waits.
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

/// What a wait ended with.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<T> {
    /// The newest value.
    Value(T),
    /// Nothing came in time.
    Timeout,
    /// Nothing will come any more: the other end is gone.
    Closed,
}

/// The writing end; dropping it closes the slot once the last value is taken.
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
    /// Puts a value and returns the one it displaced, which nobody took.
    pub fn send(&self, value: T) -> Option<T> {
        let mut slot = self.0.slot.lock().unwrap_or_else(PoisonError::into_inner);
        let displaced = slot.value.replace(value);
        self.0.changed.notify_one();
        displaced
    }

    /// Whether the reading end is gone.
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
    /// Takes the newest value, waiting for at most `patience`.
    pub fn recv(&self, patience: Duration) -> Received<T> {
        let slot = self.0.slot.lock().unwrap_or_else(PoisonError::into_inner);
        let empty = |slot: &mut Slot<T>| slot.value.is_none() && !slot.closed;
        let (mut slot, _) = self
            .0
            .changed
            .wait_timeout_while(slot, patience, empty)
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
        let (putter, taker) = latest();
        assert_eq!(putter.send(1), None);
        assert_eq!(putter.send(2), Some(1));
        assert_eq!(taker.recv(Duration::ZERO), Received::Value(2));
        assert_eq!(taker.recv(Duration::ZERO), Received::Timeout);
    }

    #[test]
    fn the_last_value_comes_before_the_end() {
        let (putter, taker) = latest();
        putter.send(1);
        drop(putter);
        assert_eq!(taker.recv(Duration::MAX), Received::Value(1));
        assert_eq!(taker.recv(Duration::MAX), Received::Closed);
    }

    #[test]
    fn the_writer_sees_that_the_reader_is_gone() {
        let (putter, taker) = latest::<u8>();
        assert!(!putter.is_closed());
        drop(taker);
        assert!(putter.is_closed());
    }

    #[test]
    fn a_waiting_reader_is_woken() {
        let (putter, taker) = latest();
        let reader = std::thread::spawn(move || taker.recv(Duration::from_secs(60)));
        putter.send(7);
        assert_eq!(reader.join().unwrap(), Received::Value(7));
    }
}
