//! Who is inside the web door, and who guesses tokens there.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::Context;
use relay_core::connection_limits::ConnectionLimits;

/// Connections in all: below the 1024 descriptors that a process often may have, which the other doors need too.
const MAX_CONNECTIONS: usize = 512;
/// Connections from one host: browsers open up to six each.
const MAX_PER_HOST: usize = 64;

/// A connection's place, given back when it is dropped: by the connection, and by the WebSocket that it may become.
#[derive(Debug)]
pub(super) struct Connection {
    context: Arc<Context>,
    /// Where the connection comes from.
    pub(super) from: IpAddr,
}

impl Connection {
    /// One that has been entered.
    pub(super) fn new(context: Arc<Context>, from: IpAddr) -> Self {
        Self { context, from }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.context.connections.release(self.from);
    }
}

/// Who is inside, and who guesses tokens. Whoever comes from this machine may be a tunnel or a proxy with everybody
/// behind it, and so is not counted as one host.
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
    /// Who is barred comes in too, and is told why.
    pub(super) fn admit(&self, from: IpAddr) -> bool {
        match from.to_canonical().is_loopback() {
            true => self.limits().admit_uncounted(),
            false => self.limits().admit_if_room(from),
        }
    }

    fn release(&self, from: IpAddr) {
        self.limits().release(from);
    }

    /// Somebody there had a wrong token.
    pub(super) fn note_wrong_token(&self, from: IpAddr) {
        if !from.to_canonical().is_loopback() {
            self.limits().note_wrong_token(from, Instant::now());
        }
    }

    /// Whether nobody there is listened to for now.
    pub(super) fn is_barred(&self, from: IpAddr) -> bool {
        self.limits().is_barred(from, Instant::now())
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
        let enter = |from: &str| {
            let from = from.parse().unwrap();
            (0..1000).take_while(|_| connections.admit(from)).count()
        };
        assert_eq!(enter("192.0.2.1"), MAX_PER_HOST);
        assert_eq!(enter("::ffff:192.0.2.1"), 0, "the same host");
        connections.release("192.0.2.1".parse().unwrap());
        assert_eq!(enter("192.0.2.1"), 1);
        assert_eq!(enter("::ffff:127.0.0.1"), MAX_CONNECTIONS - MAX_PER_HOST);
        connections.release("127.0.0.1".parse().unwrap());
        assert_eq!(enter("127.0.0.1"), 1);
    }

    #[test]
    fn who_guesses_tokens_is_barred_but_not_all_who_come_by_a_tunnel() {
        let connections = Connections::default();
        let guess = |from: &str| {
            let from = from.parse().unwrap();
            (0..10).for_each(|_| connections.note_wrong_token(from));
            connections.is_barred(from)
        };
        assert!(guess("192.0.2.1"));
        assert!(
            connections.admit("192.0.2.1".parse().unwrap()),
            "to be told so"
        );
        assert!(!guess("127.0.0.1") && !guess("::1"));
    }
}
