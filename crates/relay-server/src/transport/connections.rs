//! The open connections of a transport: a [`ConnectionTable`] decides which stay, and each connection has a [`Slot`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use protocol::peer::{Host, Standing};
use relay_core::connections::{ConnectionId, ConnectionTable, Opening, Settlement};
use relay_core::limits::{HTTP_CONNECTIONS, QUIC_CONNECTIONS, RESERVED_PART};
use tokio_util::sync::CancellationToken;

/// The open connections of one transport.
#[derive(Debug)]
pub(super) struct Connections {
    open: Mutex<Open>,
    /// What a peer has shown whose request is permitted.
    permitted: Standing,
}

#[derive(Debug)]
struct Open {
    table: ConnectionTable,
    /// What closes each connection.
    closers: HashMap<ConnectionId, CancellationToken>,
}

/// A connection's slot; it is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    connections: Arc<Connections>,
    id: ConnectionId,
    closer: CancellationToken,
}

impl Connections {
    /// Returns the slots for QUIC.
    pub(super) fn quic(private: bool) -> Arc<Self> {
        Self::new(QUIC_CONNECTIONS, private)
    }

    /// Returns the slots for HTTP.
    pub(super) fn http(private: bool) -> Arc<Self> {
        Self::new(HTTP_CONNECTIONS, private)
    }

    fn new(capacity: usize, private: bool) -> Arc<Self> {
        let (reserve, permitted) = match private {
            true => (capacity / RESERVED_PART, Standing::Authenticated),
            false => (0, Standing::Validated),
        };
        Arc::new(Self {
            open: Mutex::new(Open {
                table: ConnectionTable::new(capacity, reserve),
                closers: HashMap::new(),
            }),
            permitted,
        })
    }

    /// Opens a connection of this host; `None` if it is refused.
    pub(super) fn open(self: &Arc<Self>, host: Host) -> Option<Slot> {
        let mut open = self.lock();
        let id = match open.table.open(host, Instant::now()) {
            Opening::Admitted(id) => id,
            Opening::AdmittedInPlaceOf(id, displaced) => {
                open.close(displaced);
                id
            }
            Opening::Refused => return None,
        };
        let closer = CancellationToken::new();
        open.closers.insert(id, closer.clone());
        Some(Slot {
            connections: self.clone(),
            id,
            closer,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn close(&mut self, id: ConnectionId) {
        self.table.close(id);
        if let Some(closer) = self.closers.remove(&id) {
            closer.cancel();
        }
    }
}

impl Slot {
    /// Notes that the peer's first request came, and whether it is permitted. The connection may lose its slot by that.
    pub(super) fn settle(&self, permitted: bool) {
        let standing = match permitted {
            true => self.connections.permitted,
            false => Standing::Validated,
        };
        let mut open = self.connections.lock();
        match open.table.set_standing(self.id, standing, Instant::now()) {
            Settlement::Kept => {}
            Settlement::KeptInPlaceOf(displaced) => open.close(displaced),
            Settlement::Refused => open.close(self.id),
        }
    }

    /// Counts the connection for another host: that of the client behind a proxy.
    pub(super) fn set_host(&self, host: Host) {
        self.connections.lock().table.set_host(self.id, host);
    }

    /// Notes that the connection carries a camera.
    pub(super) fn protect(&self) {
        let now = Instant::now();
        self.connections.lock().table.protect(self.id, now);
    }

    /// Waits until the connection has lost its slot and is to be closed.
    pub(super) async fn lost(&self) {
        self.closer.cancelled().await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.connections.lock().close(self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn host(address: &str) -> Host {
        address.parse::<IpAddr>().unwrap().into()
    }

    #[tokio::test]
    async fn a_connection_that_loses_its_slot_is_closed_and_leaves_nothing_behind() {
        let connections = Connections::new(3, false);
        let greedy = [0; 3].map(|_| connections.open(host("192.0.2.1")).unwrap());
        greedy.iter().for_each(|slot| slot.settle(true));
        let honest = connections.open(host("192.0.2.2")).unwrap();
        honest.settle(true);
        greedy[2].lost().await;
        assert!(!greedy[0].closer.is_cancelled() && !honest.closer.is_cancelled());
        assert!(connections.open(host("192.0.2.1")).is_none());
        drop((greedy, honest));
        let open = connections.lock();
        assert!(open.table.is_empty() && open.closers.is_empty());
    }

    #[tokio::test]
    async fn peers_of_a_private_relay_that_show_no_ticket_leave_room_for_those_that_do() {
        let connections = Connections::new(16, true);
        let strangers: Vec<_> = (0..200)
            .filter_map(|n| connections.open(host(&format!("192.0.2.{n}"))))
            .inspect(|slot| slot.settle(false))
            .filter(|slot| !slot.closer.is_cancelled())
            .collect();
        assert_eq!(strangers.len(), 12);
        let friend = connections.open(host("198.51.100.1")).unwrap();
        friend.settle(true);
        assert!(!friend.closer.is_cancelled());
    }
}
