//! The input of all senders: [`InputPool`] decides how much of it the relay holds, and this waits where it has to.

use std::sync::{Arc, Mutex, PoisonError};

use protocol::peer::Host;
use quic::room::{Request, Room, Verdict};
use relay_core::input::{InputBounds, InputId, InputPool, InputVerdict};
use tokio::sync::Notify;

/// The pool that all senders share; clones are the same pool.
#[derive(Debug, Clone)]
pub struct SharedInput {
    pool: Arc<Mutex<InputPool>>,
    /// Wakes the senders that wait for room.
    freed: Arc<Notify>,
}

/// A sender's place in the pool; it leaves when this is dropped.
#[derive(Debug)]
pub struct SenderInput {
    input: SharedInput,
    id: InputId,
}

impl SharedInput {
    /// Returns the pool of a relay, which is private or open.
    pub fn new(private: bool) -> Self {
        let bounds = match private {
            true => InputBounds::AUTHENTICATED,
            false => InputBounds::VALIDATED,
        };
        Self {
            pool: Arc::new(Mutex::new(InputPool::new(bounds))),
            freed: Arc::default(),
        }
    }

    /// Counts a sender in. It may send nothing before it is [open](SenderInput::open).
    pub fn join(&self, host: Host) -> SenderInput {
        SenderInput {
            id: with(&self.pool, |pool| pool.join(host)),
            input: self.clone(),
        }
    }
}

impl SenderInput {
    /// Waits until there is room for the sender, and returns its flow-control window in bytes. A transport without such a
    /// window need not use it.
    pub async fn open(&self) -> usize {
        loop {
            let freed = self.input.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            match with(&self.input.pool, |pool| pool.open(self.id)) {
                Some(window) => return window,
                None => freed.await,
            }
        }
    }

    /// Returns the room for its frames; they may outlive this.
    pub fn room(&self) -> Room {
        let (pool, id) = (self.input.pool.clone(), self.id);
        Room::new(self.input.freed.clone(), move |request| {
            with(&pool, |pool| match request {
                Request::Give(bytes) => match pool.give(id, bytes) {
                    true => Verdict::Granted,
                    false => Verdict::Wait,
                },
                Request::Keep => match pool.is_exceeded(id) {
                    true => Verdict::TooLarge,
                    false => Verdict::Granted,
                },
                Request::Take { bytes, more } => match pool.take(id, bytes, more) {
                    InputVerdict::Granted => Verdict::Granted,
                    InputVerdict::Wait => Verdict::Wait,
                    InputVerdict::TooLarge => Verdict::TooLarge,
                },
            })
        })
    }
}

impl Drop for SenderInput {
    fn drop(&mut self) {
        with(&self.input.pool, |pool| pool.leave(self.id));
        self.input.freed.notify_waiters();
    }
}

fn with<T>(pool: &Mutex<InputPool>, act: impl FnOnce(&mut InputPool) -> T) -> T {
    act(&mut pool.lock().unwrap_or_else(PoisonError::into_inner))
}
