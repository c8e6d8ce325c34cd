//! What the loop hears from its threads and from the viewers' sockets.

use std::net::SocketAddr;

use bytes::Bytes;

use crate::relay::{Answer, Burn};

/// Events that may wait for the loop.
pub const EVENTS: usize = 256;

/// What comes from elsewhere than the main socket.
#[derive(Debug)]
pub enum Event {
    /// A datagram on a viewer's socket.
    Datagram(SocketAddr, Bytes),
    /// A viewer's host says that nobody listens there.
    Gone(SocketAddr),
    /// The model has answered.
    Answered(Answer),
    /// Boxes have been drawn, or could not be.
    Burned(Burn, Option<Bytes>),
    /// The model's thread is gone.
    ModelDied,
}
