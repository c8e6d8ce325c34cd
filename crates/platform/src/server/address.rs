//! The relay's address, shared by a program's transports: they report what they see of it, and follow it.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use super::candidates::{Candidates, Outcome};
use super::{Server, resolve};

/// Time until a name that resolved is resolved again.
const REFRESH_INTERVAL: Duration = Duration::from_secs(30);
/// Time until a name that did not resolve is resolved again.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// The address at which a program finds its relay now. Clones share it.
#[derive(Debug, Clone)]
pub struct RelayAddress {
    shared: Arc<watch::Sender<Candidates>>,
    changes: watch::Receiver<Candidates>,
}

impl RelayAddress {
    /// Returns the address of a server, as [`RelayAddress::of_host`] does; no address of one that is reached by HTTP alone,
    /// whose name is resolved for each connection.
    pub fn of_server(server: &Server) -> Self {
        match server {
            Server::Url(_) => Self::known(&[]),
            Server::Host(_) | Server::Ticket(_) => Self::of_host(server.to_string()),
        }
    }

    /// Resolves `host` again and again while a clone of the result lives: the network may come up later than the
    /// program, and a name may move. Call it inside a tokio runtime.
    pub fn of_host(host: String) -> Self {
        let literal = host.parse().ok();
        let address = Self::known(literal.as_slice());
        if literal.is_none() {
            tokio::spawn(keep_resolving(host, Arc::downgrade(&address.shared)));
        }
        address
    }

    /// Returns the address of a name that has these; with none, of a name that does not resolve yet.
    pub fn known(addresses: &[SocketAddr]) -> Self {
        let mut candidates = Candidates::default();
        candidates.on_resolved(addresses);
        let (shared, changes) = watch::channel(candidates);
        Self {
            shared: Arc::new(shared),
            changes,
        }
    }

    /// Replaces the addresses that the name has.
    pub fn set(&self, addresses: &[SocketAddr]) {
        replace(&self.shared, addresses);
    }

    /// Returns the address to use now; `None` until the name resolves.
    pub fn current(&self) -> Option<SocketAddr> {
        self.shared.borrow().current()
    }

    /// Returns the time of the last answer at the address in use.
    pub fn answered(&self) -> Option<Instant> {
        self.shared.borrow().answered()
    }

    /// Waits until the name resolves, and returns the address to use now.
    pub async fn resolved(&mut self) -> SocketAddr {
        self.moved_from(None).await
    }

    /// Waits until another address than this one is to be used, and returns it.
    pub async fn moved_from(&mut self, relay: Option<SocketAddr>) -> SocketAddr {
        let moved = |found: &Candidates| found.current().is_some_and(|at| Some(at) != relay);
        let found = self.changes.wait_for(moved).await;
        found
            .ok()
            .and_then(|found| found.current())
            .expect("this holds the sender, and waited for an address")
    }

    /// Takes what a transport sees of an address now, and moves on to another one where that is due.
    pub fn report(&self, address: SocketAddr, outcome: Outcome) {
        self.report_at(address, outcome, Instant::now());
    }

    /// Takes what a transport saw of an address at this time.
    pub fn report_at(&self, address: SocketAddr, outcome: Outcome, now: Instant) {
        self.shared.send_if_modified(|candidates| {
            let first_round = candidates.rounds() == 0;
            candidates.on_outcome(address, outcome, now);
            let Some(to) = candidates.current().filter(|to| *to != address) else {
                return false;
            };
            match outcome {
                // The address is not in use any more.
                Outcome::Answered => return false,
                Outcome::Refused if first_round => {
                    info!(%address, %to, "no program listens there; trying the name's next address")
                }
                Outcome::Unreachable if first_round => {
                    info!(%address, %to, "no route there; trying the name's next address")
                }
                _ if first_round => {
                    info!(%address, %to, "nothing answers there; trying the name's next address")
                }
                _ => debug!(%address, %to, ?outcome, "trying the name's next address"),
            }
            true
        });
    }
}

/// Returns whether the addresses are others, in whatever order.
fn replace(shared: &watch::Sender<Candidates>, addresses: &[SocketAddr]) -> bool {
    let mut others = false;
    shared.send_if_modified(|candidates| {
        let sorted = |mut list: Vec<SocketAddr>| {
            list.sort_unstable();
            list
        };
        let (before, known) = (candidates.current(), sorted(candidates.addresses()));
        candidates.on_resolved(addresses);
        others = known != sorted(candidates.addresses());
        candidates.current() != before
    });
    others
}

async fn keep_resolving(host: String, shared: Weak<watch::Sender<Candidates>>) {
    let mut warned = false;
    loop {
        let resolved = resolve(&host).await;
        let Some(shared) = shared.upgrade() else {
            return;
        };
        let pause = match resolved {
            Ok(addresses) => {
                warned = false;
                if replace(&shared, &addresses) {
                    info!(%host, ?addresses, "relay's name resolved");
                }
                REFRESH_INTERVAL
            }
            Err(why) => {
                if !std::mem::replace(&mut warned, true) {
                    warn!(
                        %host,
                        %why,
                        "the relay's name does not resolve (yet); retrying every 2 s; check --server and the network"
                    );
                }
                RETRY_INTERVAL
            }
        };
        drop(shared);
        sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[tokio::test]
    async fn a_name_is_followed_to_an_address_of_this_host() {
        let mut address = RelayAddress::of_host("localhost:8081".to_owned());
        let found = address.resolved().await;
        assert!(found.ip().is_loopback() && found.port() == 8081, "{found}");
    }

    #[tokio::test]
    async fn clones_follow_what_one_of_them_reports() {
        let dead = SocketAddr::from((Ipv6Addr::LOCALHOST, 9));
        let alive = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
        let address = RelayAddress::known(&[dead, alive]);
        let mut other = address.clone();
        assert_eq!(other.resolved().await, dead);
        address.report(dead, Outcome::Refused);
        assert_eq!(other.moved_from(Some(dead)).await, alive);
        address.report(alive, Outcome::Answered);
        address.set(&[alive, dead]);
        address.set(&[dead, alive]);
        assert_eq!(other.current(), Some(alive), "the order alone changed");
    }
}
