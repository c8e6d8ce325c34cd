//! Who is inside the web door, and who guesses tokens there.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::Door;
use relay_core::connection_limits::Guard;

/// Connections in all: below the 1024 descriptors that a process often may have, which the other doors need too.
const IN_ALL: usize = 512;
/// Connections from one host: browsers open up to six each.
const FROM_ONE: usize = 64;

/// A connection's place, given back when it is dropped: by the connection, and by the WebSocket that it may become.
#[derive(Debug)]
pub(super) struct Place {
    door: Arc<Door>,
    /// Where the connection comes from.
    pub(super) from: IpAddr,
}

impl Place {
    /// One that has been entered.
    pub(super) fn new(door: Arc<Door>, from: IpAddr) -> Self {
        Self { door, from }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.door.places.leave(self.from);
    }
}

/// Who is inside, and who guesses tokens. Whoever comes from this machine may be a tunnel or a proxy with everybody
/// behind it, and so is not counted as one host.
#[derive(Debug)]
pub(super) struct Places(Mutex<Guard>);

impl Default for Places {
    fn default() -> Self {
        Self(Mutex::new(Guard::new(IN_ALL, FROM_ONE)))
    }
}

impl Places {
    /// Who is barred comes in too, and is told why.
    pub(super) fn enter(&self, from: IpAddr) -> bool {
        match from.to_canonical().is_loopback() {
            true => self.guard().enter_uncounted(),
            false => self.guard().enter_to_be_told(from),
        }
    }

    fn leave(&self, from: IpAddr) {
        self.guard().leave(from);
    }

    /// Somebody there had a wrong token.
    pub(super) fn guessed(&self, from: IpAddr) {
        if !from.to_canonical().is_loopback() {
            self.guard().guessed(from, Instant::now());
        }
    }

    /// Whether nobody there is listened to for now.
    pub(super) fn is_barred(&self, from: IpAddr) -> bool {
        self.guard().is_barred(from, Instant::now())
    }

    fn guard(&self) -> MutexGuard<'_, Guard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_host_has_so_many_places_and_a_tunnel_on_this_machine_all_of_them() {
        let places = Places::default();
        let enter = |from: &str| {
            let from = from.parse().unwrap();
            (0..1000).take_while(|_| places.enter(from)).count()
        };
        assert_eq!(enter("192.0.2.1"), FROM_ONE);
        assert_eq!(enter("::ffff:192.0.2.1"), 0, "the same host");
        places.leave("192.0.2.1".parse().unwrap());
        assert_eq!(enter("192.0.2.1"), 1);
        assert_eq!(enter("::ffff:127.0.0.1"), IN_ALL - FROM_ONE);
        places.leave("127.0.0.1".parse().unwrap());
        assert_eq!(enter("127.0.0.1"), 1);
    }

    #[test]
    fn who_guesses_tokens_is_barred_but_not_all_who_come_by_a_tunnel() {
        let places = Places::default();
        let guess = |from: &str| {
            let from = from.parse().unwrap();
            (0..10).for_each(|_| places.guessed(from));
            places.is_barred(from)
        };
        assert!(guess("192.0.2.1"));
        assert!(places.enter("192.0.2.1".parse().unwrap()), "to be told so");
        assert!(!guess("127.0.0.1") && !guess("::1"));
    }
}
