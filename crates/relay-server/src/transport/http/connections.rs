//! The HTTP server's open connections, and the hosts that send wrong tokens.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::Context;
use relay_core::connection_limits::ConnectionLimits;

/// Most connections in all: below the 1024 descriptors that a process often may have, since the other transports need some.
const MAX_CONNECTIONS: usize = 512;
/// Most connections from one host: browsers open up to six each.
const MAX_PER_HOST: usize = 64;

/// An admitted connection; it is released when it is dropped, by the connection or by the WebSocket that it became.
#[derive(Debug)]
pub(super) struct Connection {
    context: Arc<Context>,
    /// Address of the client.
    pub(super) from: IpAddr,
}

impl Connection {
    /// Returns a connection that [`Connections::admit`] has admitted.
    pub(super) fn new(context: Arc<Context>, from: IpAddr) -> Self {
        Self { context, from }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.context.connections.release(self.from);
    }
}

/// Counts of connections and of wrong tokens. A client on this machine may be a tunnel or a proxy of all other clients,
/// and so is not counted as one host.
#[derive(Debug)]
pub(super) struct Connections(Mutex<ConnectionLimits>);

impl Default for Connections {
    fn default() -> Self {
        Self(Mutex::new(ConnectionLimits::new(
            MAX_CONNECTIONS,
            MAX_PER_HOST,
        )))
    }
}

impl Connections {
    /// Admits a connection if there is room, from a blocked host too: its requests get the reason as answer. Returns whether
    /// it did.
    pub(super) fn admit(&self, from: IpAddr) -> bool {
        match from.to_canonical().is_loopback() {
            true => self.limits().admit_uncounted(),
            false => self.limits().admit_if_room(from),
        }
    }

    fn release(&self, from: IpAddr) {
        self.limits().release(from);
    }

    /// Counts a wrong token from this address.
    pub(super) fn note_wrong_token(&self, from: IpAddr) {
        if !from.to_canonical().is_loopback() {
            self.limits().note_wrong_token(from, Instant::now());
        }
    }

    /// Returns whether requests from this address are refused for now, after too many wrong tokens.
    pub(super) fn is_blocked(&self, from: IpAddr) -> bool {
        self.limits().is_blocked(from, Instant::now())
    }

    fn limits(&self) -> MutexGuard<'_, ConnectionLimits> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_host_has_so_many_places_and_a_tunnel_on_this_machine_all_of_them() {
        let connections = Connections::default();
        let admit = |from: &str| {
            let from = from.parse().unwrap();
            (0..1000).take_while(|_| connections.admit(from)).count()
        };
        assert_eq!(admit("192.0.2.1"), MAX_PER_HOST);
        assert_eq!(admit("::ffff:192.0.2.1"), 0, "the same host");
        connections.release("192.0.2.1".parse().unwrap());
        assert_eq!(admit("192.0.2.1"), 1);
        assert_eq!(admit("::ffff:127.0.0.1"), MAX_CONNECTIONS - MAX_PER_HOST);
        connections.release("127.0.0.1".parse().unwrap());
        assert_eq!(admit("127.0.0.1"), 1);
    }

    #[test]
    fn who_guesses_tokens_is_blocked_but_not_all_who_come_by_a_tunnel() {
        let connections = Connections::default();
        let guess = |from: &str| {
            let from = from.parse().unwrap();
            (0..10).for_each(|_| connections.note_wrong_token(from));
            connections.is_blocked(from)
        };
        assert!(guess("192.0.2.1"));
        assert!(
            connections.admit("192.0.2.1".parse().unwrap()),
            "to receive the reason"
        );
        assert!(!guess("127.0.0.1") && !guess("::1"));
    }
}
