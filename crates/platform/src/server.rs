//! `--server`: which relay, and at which address its name stands now.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use protocol::RELAY_PORT;
use tokio::sync::watch;
use tracing::{info, warn};

/// How long until a name is looked up again while it resolves, and while it does not.
const AGAIN: Duration = Duration::from_secs(30);
const SOON: Duration = Duration::from_secs(2);

/// A relay, by name or address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Server {
    /// `host:port`.
    Host(String),
    /// `sightline://..`: where, what, the right to it, and whom to trust.
    Ticket(String),
}

impl FromStr for Server {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        if s.starts_with("sightline://") {
            return Ok(Self::Ticket(s.to_owned()));
        }
        let bad = || {
            format!(
                "'{s}' is no HOST[:PORT]; examples: relay.example, 192.0.2.7:8081, [2001:db8::7]:8081"
            )
        };
        // The colons of a bare IPv6 address are no port's.
        let (host, port) = match s.rsplit_once(':') {
            _ if s.parse::<Ipv6Addr>().is_ok() => (format!("[{s}]"), None),
            Some((host, port)) if !s.ends_with(']') => (host.to_owned(), Some(port)),
            _ => (s.to_owned(), None),
        };
        let port: u16 = port.map_or(Ok(RELAY_PORT), str::parse).map_err(|_| bad())?;
        let plain =
            |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '[' | ']' | '%');
        let good = !host.is_empty() && port != 0 && host.chars().all(plain);
        good.then(|| Self::Host(format!("{host}:{port}")))
            .ok_or_else(bad)
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => f.write_str(host),
            Self::Ticket(_) => f.write_str("sightline://.."),
        }
    }
}

/// Follows the address of `host` for as long as somebody looks: `None` until the name resolves for the first time, since
/// Wi-Fi may come later than the program; after that the last address that was seen.
pub fn follow(host: String) -> watch::Receiver<Option<SocketAddr>> {
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

/// The first IPv4 address, else the first: a relay listens on 0.0.0.0 by default, and `localhost` is ::1 first.
async fn resolve(host: &str) -> Result<SocketAddr, String> {
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
    fn the_port_may_be_left_out() {
        for (text, host) in [
            ("relay.example", "relay.example:8081"),
            ("relay.example:9000", "relay.example:9000"),
            ("192.0.2.7", "192.0.2.7:8081"),
            ("2001:db8::7", "[2001:db8::7]:8081"),
            ("[2001:db8::7]", "[2001:db8::7]:8081"),
            ("[2001:db8::7]:9000", "[2001:db8::7]:9000"),
        ] {
            assert_eq!(text.parse(), Ok(Server::Host(host.to_owned())), "{text}");
        }
        assert!(matches!(
            "sightline://h:1/c?token=x".parse(),
            Ok(Server::Ticket(_))
        ));
    }

    #[test]
    fn what_is_no_address_is_refused_with_examples() {
        for bad in [
            "",
            ":8081",
            "host:",
            "host:0",
            "host:99999",
            "ho st",
            "http://host",
        ] {
            assert!(
                bad.parse::<Server>().unwrap_err().contains("examples"),
                "{bad}"
            );
        }
    }

    #[tokio::test]
    async fn a_name_is_followed_to_its_ipv4_address() {
        let mut address = follow("localhost:8081".to_owned());
        let found = address.wait_for(Option::is_some).await.unwrap();
        assert_eq!(*found, Some(SocketAddr::from(([127, 0, 0, 1], 8081))));
    }
}
