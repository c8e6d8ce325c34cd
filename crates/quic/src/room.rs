//! Room for a connection's input: bytes of frames that are incomplete, or wait to be taken. Connections of one end may share
//! bounds; the rule is a closure, so that this knows no relay.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// What a rule of input is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// For `more` bytes of a frame of which so many `bytes` are held.
    Take {
        /// Bytes of the frame that are held.
        bytes: usize,
        /// Bytes that it needs besides.
        more: usize,
    },
    /// To give these bytes back; granted if that leaves more to others.
    Give(usize),
    /// To keep what is held; granted unless that is more than the connection may hold now, since others came.
    Keep,
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The bytes are counted.
    Granted,
    /// Not before others were given back.
    Wait,
    /// The frame is too large.
    TooLarge,
}

/// The room of one connection; clones are the same room.
#[derive(Clone)]
pub struct Room {
    rule: Arc<dyn Fn(Request) -> Verdict + Send + Sync>,
    /// Wakes all that wait for room under the same bounds.
    freed: Arc<Notify>,
    /// Wakes those of this connection alone.
    own: Arc<Notify>,
}

/// A frame's part of a room; it is given back when this is dropped.
#[derive(Debug, Default)]
pub struct Held(Option<(Room, usize)>);

/// A frame is larger than the room permits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the frame is larger than the receiver takes now")]
pub struct TooLarge;

impl Room {
    /// Returns a room under this rule. Rooms under the same bounds share `freed`.
    pub fn new(
        freed: Arc<Notify>,
        rule: impl Fn(Request) -> Verdict + Send + Sync + 'static,
    ) -> Self {
        Self {
            rule: Arc::new(rule),
            freed,
            own: Arc::default(),
        }
    }

    /// Returns a room of so many bytes, shared with no other connection.
    pub fn alone(room: usize) -> Self {
        let held = Mutex::new(0);
        Self::new(Arc::default(), move |request| {
            let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
            match request {
                Request::Give(bytes) => *held -= bytes,
                Request::Keep => {}
                Request::Take { bytes, more } if bytes + more > room => return Verdict::TooLarge,
                Request::Take { more, .. } if *held + more > room => return Verdict::Wait,
                Request::Take { more, .. } => *held += more,
            }
            Verdict::Granted
        })
    }

    /// Returns whether more is held than the connection may hold now: its part shrinks when others come.
    pub fn is_exceeded(&self) -> bool {
        (self.rule)(Request::Keep) != Verdict::Granted
    }

    /// Returns the part of a frame that holds nothing yet.
    pub fn hold(&self) -> Held {
        Held(Some((self.clone(), 0)))
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room").finish_non_exhaustive()
    }
}

impl Held {
    /// Returns the bytes that are counted.
    pub fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |(_, bytes)| *bytes)
    }

    /// Waits until there is room for `more` bytes. Cancel-safe.
    ///
    /// # Errors
    /// [`TooLarge`], and nothing more is counted.
    pub async fn grow(&mut self, more: usize) -> Result<(), TooLarge> {
        let Some((room, bytes)) = &mut self.0 else {
            return Err(TooLarge);
        };
        let request = Request::Take {
            bytes: *bytes,
            more,
        };
        loop {
            let (freed, own) = (room.freed.notified(), room.own.notified());
            tokio::pin!(freed, own);
            // Before the question, so that no wake-up between the two is lost.
            freed.as_mut().enable();
            own.as_mut().enable();
            match (room.rule)(request) {
                Verdict::Granted => break,
                Verdict::TooLarge => return Err(TooLarge),
                Verdict::Wait => tokio::select! {
                    () = freed => {}
                    () = own => {}
                },
            }
        }
        *bytes += more;
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some((room, bytes)) = self.0.take()
            && bytes > 0
        {
            if (room.rule)(Request::Give(bytes)) == Verdict::Granted {
                room.freed.notify_waiters();
            }
            room.own.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_frame_waits_until_another_is_taken_and_one_that_never_fits_does_not() {
        let room = Room::alone(100);
        let (mut first, mut second) = (room.hold(), room.hold());
        first.grow(60).await.unwrap();
        second.grow(40).await.unwrap();
        assert_eq!(second.grow(61).await, Err(TooLarge));
        let mut waiting = Box::pin(second.grow(60));
        assert_eq!(waiting.as_mut().now_or_never(), None);
        drop(first);
        assert_eq!(waiting.as_mut().now_or_never(), Some(Ok(())));
        drop(waiting);
        assert_eq!(second.bytes(), 100);
        drop(second);
        assert_eq!(room.hold().grow(100).await, Ok(()));
    }

    #[tokio::test]
    async fn a_frame_that_holds_no_room_cannot_grow() {
        assert_eq!(Held::default().grow(1).await, Err(TooLarge));
    }
}
