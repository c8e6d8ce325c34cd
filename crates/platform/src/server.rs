//! `--server`: the relay, and the address of its name.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use protocol::ticket::{Host, SCHEME, Ticket};
use tokio::sync::watch;
use tracing::{info, warn};

/// Time until a name that resolved is resolved again.
const REFRESH_INTERVAL: Duration = Duration::from_secs(30);
/// Time until a name that did not resolve is resolved again.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// A relay, by address or by ticket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Server {
    /// Name or address, and port.
    Host(Host),
    /// Ticket: the program connects only to the relay with its fingerprint, and only by QUIC.
    Ticket(Box<Ticket>),
}

impl Server {
    /// Returns the relay's name or address, and its port.
    pub fn host(&self) -> &Host {
        match self {
            Self::Host(host) => host,
            Self::Ticket(ticket) => &ticket.host,
        }
    }

    /// Returns the ticket, if there is one.
    pub fn ticket(&self) -> Option<&Ticket> {
        match self {
            Self::Host(_) => None,
            Self::Ticket(ticket) => Some(ticket),
        }
    }
}

impl FromStr for Server {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        if s.starts_with(SCHEME) {
            let ticket = s.parse().map_err(|why| format!("{why}"))?;
            return Ok(Self::Ticket(Box::new(ticket)));
        }
        s.parse().map(Self::Host).map_err(|why| why.to_string())
    }
}

/// Shows the address alone, since a ticket's token is a secret.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.host().fmt(f)
    }
}

/// Resolves `host` again and again while the receiver lives: `None` until it resolves for the first time, since the
/// network may come up later than the program; after that its last address.
pub fn watch_address(host: String) -> watch::Receiver<Option<SocketAddr>> {
    let (sender, address) = watch::channel(host.parse().ok());
    if address.borrow().is_none() {
        tokio::spawn(keep_resolving(host, sender));
    }
    address
}

async fn keep_resolving(host: String, sender: watch::Sender<Option<SocketAddr>>) {
    let mut warned = false;
    while !sender.is_closed() {
        let pause = match resolve(&host).await {
            Ok(address) => {
                warned = false;
                sender.send_if_modified(|known| {
                    let changed = *known != Some(address);
                    if changed {
                        info!(%host, %address, "relay's name resolved");
                        *known = Some(address);
                    }
                    changed
                });
                REFRESH_INTERVAL
            }
            Err(why) if !warned => {
                warn!(
                    %host,
                    %why,
                    "the relay's name does not resolve (yet); retrying every 2 s; check --server and the network"
                );
                warned = true;
                RETRY_INTERVAL
            }
            Err(_) => RETRY_INTERVAL,
        };
        tokio::select! {
            () = sender.closed() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Resolves `host:port` to its first IPv4 address, else to its first address, since a relay listens on 0.0.0.0 by
/// default and `localhost` resolves to ::1 first.
///
/// # Errors
/// The resolver's message if the name has no address (yet).
pub async fn resolve(host: &str) -> Result<SocketAddr, String> {
    let all: Vec<SocketAddr> = tokio::net::lookup_host(host)
        .await
        .map_err(|err| err.to_string())?
        .collect();
    let first = all
        .iter()
        .find(|address| address.is_ipv4())
        .or_else(|| all.first());
    first
        .copied()
        .ok_or_else(|| "the name has no address".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_host_or_a_ticket_and_shows_no_secret() {
        let host: Server = "relay.example".parse().unwrap();
        assert_eq!(
            (host.to_string().as_str(), host.ticket()),
            ("relay.example:8081", None)
        );
        let digits = "ab".repeat(32);
        let text = format!("sightline://relay.example/yard?token={digits}#sha256={digits}");
        let ticket: Server = text.parse().unwrap();
        assert_eq!(ticket.to_string(), "relay.example:8081");
        assert!(ticket.ticket().is_some());
        assert!(
            "sightline://h:1/c?token=x"
                .parse::<Server>()
                .unwrap_err()
                .contains("single quotes")
        );
        assert!(
            "http://host"
                .parse::<Server>()
                .unwrap_err()
                .contains("examples")
        );
    }

    #[tokio::test]
    async fn a_name_is_followed_to_its_ipv4_address() {
        let mut address = watch_address("localhost:8081".to_owned());
        let found = address.wait_for(Option::is_some).await.unwrap();
        assert_eq!(*found, Some(SocketAddr::from(([127, 0, 0, 1], 8081))));
    }
}
