//! A client's connection, as its requests see it.

use std::net::SocketAddr;

use crate::transport::connections::Slot;

/// An admitted connection; its slot is free again when it is dropped, by the connection or by the WebSocket that it became.
#[derive(Debug)]
pub(super) struct Connection {
    slot: Slot,
    /// Address of the client.
    pub(super) peer: SocketAddr,
}

impl Connection {
    pub(super) fn new(slot: Slot, peer: SocketAddr) -> Self {
        Self { slot, peer }
    }

    /// Notes whether a request was permitted.
    pub(super) fn settle(&self, permitted: bool) {
        self.slot.settle(permitted);
    }

    /// Waits until another connection has taken the slot of this one.
    pub(super) async fn lost(&self) {
        self.slot.lost().await;
    }
}
