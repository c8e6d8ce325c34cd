//! `--server`: the relay, and the addresses of its name.

mod address;
mod candidates;
mod relay_url;

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use protocol::ticket::{Host, SCHEME, Ticket};

pub use self::address::RelayAddress;
pub use self::candidates::{Candidates, Outcome};
pub use self::relay_url::RelayUrl;

/// A relay, by address or by ticket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Server {
    /// Name or address, and port.
    Host(Host),
    /// Ticket: the program connects only to the relay with its fingerprint, and only by QUIC.
    Ticket(Box<Ticket>),
    /// URL: the program connects by HTTP alone.
    Url(RelayUrl),
}

impl Server {
    /// Returns the relay's name or address, and its port.
    pub fn host(&self) -> &Host {
        match self {
            Self::Host(host) => host,
            Self::Ticket(ticket) => &ticket.host,
            Self::Url(url) => &url.host,
        }
    }

    /// Returns the ticket, if there is one.
    pub fn ticket(&self) -> Option<&Ticket> {
        match self {
            Self::Host(_) | Self::Url(_) => None,
            Self::Ticket(ticket) => Some(ticket),
        }
    }
}

impl Server {
    /// Returns the URL, if there is one.
    pub fn url(&self) -> Option<&RelayUrl> {
        match self {
            Self::Url(url) => Some(url),
            Self::Host(_) | Self::Ticket(_) => None,
        }
    }

    /// Returns the URLs at which the relay may answer by HTTP, the first to be tried first.
    pub fn http_urls(&self) -> Vec<RelayUrl> {
        match self {
            Self::Url(url) => vec![url.clone()],
            Self::Host(host) => RelayUrl::of_host(host, None),
            Self::Ticket(ticket) => RelayUrl::of_host(&ticket.host, Some(ticket.token)),
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
        if RelayUrl::is_one(s) {
            return s.parse().map(Self::Url);
        }
        s.parse().map(Self::Host).map_err(|why| why.to_string())
    }
}

/// Shows the address alone, since a ticket's token is a secret.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => url.fmt(f),
            Self::Host(_) | Self::Ticket(_) => self.host().fmt(f),
        }
    }
}

/// Resolves `host:port` to all its addresses, in the system's order.
///
/// # Errors
/// The resolver's message if the name has no address (yet).
pub async fn resolve(host: &str) -> Result<Vec<SocketAddr>, String> {
    let found = tokio::net::lookup_host(host).await;
    let mut all: Vec<SocketAddr> = found.map_err(|err| err.to_string())?.collect();
    all.dedup();
    match all.is_empty() {
        true => Err("the name has no address".to_owned()),
        false => Ok(all),
    }
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
        let url: Server = "http://host:8080".parse().unwrap();
        assert_eq!(url.to_string(), "http://host:8080");
        assert!(url.url().is_some() && url.ticket().is_none());
        assert!(
            "ftp://host"
                .parse::<Server>()
                .unwrap_err()
                .contains("examples")
        );
    }
}
