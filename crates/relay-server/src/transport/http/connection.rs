//! A client's connection, as its requests see it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use axum::http::HeaderMap;

use relay_core::TokenBucket;
use relay_core::limits::{FRAME_BURST, FRAME_RATE};

use super::proxies::TrustedProxies;
use crate::transport::connections::Slot;

/// An admitted connection; its slot is free again when it is dropped, by the connection or by the WebSocket that it became.
#[derive(Debug)]
pub(super) struct Connection {
    slot: Slot,
    /// Address of the other end: the client's, or a proxy's.
    pub(super) peer: SocketAddr,
    has_host: AtomicBool,
    /// Pace of the frames that the client posts.
    frames: Mutex<TokenBucket>,
}

impl Connection {
    pub(super) fn new(slot: Slot, peer: SocketAddr) -> Self {
        Self {
            slot,
            peer,
            has_host: AtomicBool::new(false),
            frames: Mutex::new(TokenBucket::new(FRAME_RATE, FRAME_BURST, Instant::now())),
        }
    }

    /// Counts the connection for the client that its first request is from. A proxy may later send other clients' requests
    /// on it.
    pub(super) fn on_request(&self, headers: &HeaderMap, proxies: &TrustedProxies) {
        if self.has_host.swap(true, Ordering::Relaxed) {
            return;
        }
        if let Some(client) = proxies.client(self.peer.ip(), headers) {
            self.slot.set_host(client.into());
        }
    }

    /// Notes whether a request was permitted.
    pub(super) fn settle(&self, permitted: bool) {
        self.slot.settle(permitted);
    }

    /// Counts a frame that the client posts; false if it sends too many.
    pub(super) fn may_post(&self, now: Instant) -> bool {
        let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        frames.take(1.0, now)
    }

    /// Notes that the connection carries a camera.
    pub(super) fn protect(&self) {
        self.slot.protect();
    }

    /// Waits until another connection has taken the slot of this one.
    pub(super) async fn lost(&self) {
        self.slot.lost().await;
    }
}
