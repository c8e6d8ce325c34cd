//! `--server`: which relay, and at which address its name stands now.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use protocol::ticket::{Host, SCHEME, Ticket};
use tokio::sync::watch;
use tracing::{info, warn};

/// How long until a name is looked up again while it resolves, and while it does not.
const AGAIN: Duration = Duration::from_secs(30);
const SOON: Duration = Duration::from_secs(2);

/// A relay, and what opens it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Server {
    /// By name or address.
    Host(Host),
    /// By ticket: only that very relay is talked to, and only by QUIC.
    Ticket(Box<Ticket>),
}

impl Server {
    /// Where it is.
    pub fn host(&self) -> &Host {
        match self {
            Self::Host(host) => host,
            Self::Ticket(ticket) => &ticket.host,
        }
    }

    /// The ticket, where there is one.
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

/// Without what a ticket keeps secret.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.host().fmt(f)
    }
}

/// Follows the address of `host` for as long as somebody looks: `None` until the name resolves for the first time, since
/// Wi-Fi may come later than the program; after that the last address that was seen.
pub fn watch_address(host: String) -> watch::Receiver<Option<SocketAddr>> {
    let (tell, address) = watch::channel(host.parse().ok());
    if address.borrow().is_none() {
        tokio::spawn(resolve_again_and_again(host, tell));
    }
    address
}

async fn resolve_again_and_again(host: String, tell: watch::Sender<Option<SocketAddr>>) {
    let mut complained = false;
    while !tell.is_closed() {
        let patience = match resolve(&host).await {
            Ok(found) => {
                complained = false;
                tell.send_if_modified(|known| {
                    let changed = *known != Some(found);
                    if changed {
                        info!(%host, address = %found, "relay's name resolved");
                        *known = Some(found);
                    }
                    changed
                });
                AGAIN
            }
            Err(why) if !complained => {
                warn!(%host, %why, "the relay's name does not resolve (yet); trying again every 2 s");
                complained = true;
                SOON
            }
            Err(_) => SOON,
        };
        tokio::select! {
            () = tell.closed() => {}
            () = tokio::time::sleep(patience) => {}
        }
    }
}

/// Looks up `host:port`: the first IPv4 address, else the first, since a relay listens on 0.0.0.0 by default, and
/// `localhost` is ::1 first.
///
/// # Errors
/// Why it has none (yet), in the resolver's words.
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
