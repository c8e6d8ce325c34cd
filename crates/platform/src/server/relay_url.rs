//! `--server` as a URL: a relay that is reached by HTTP alone.

use std::fmt;
use std::str::FromStr;

use protocol::RELAY_PORT;
use protocol::http::HTTP_PORT;
use protocol::ticket::{Host, Key};

/// What a URL that is not a relay's lacks or has too much.
const EXAMPLES: &str =
    "a relay's URL is http://HOST:8080, https://HOST or https://HOST?token=TOKEN, and has no path";

/// A relay's HTTP server.
#[derive(Clone, PartialEq, Eq)]
pub struct RelayUrl {
    /// Whether TLS protects the connection.
    pub tls: bool,
    /// Name or address, and TCP port.
    pub host: Host,
    /// The right to send or to view at a private relay.
    pub token: Option<Key>,
}

impl RelayUrl {
    /// Returns the URLs at which a relay may be found that is known by its host for UDP: behind a proxy with TLS, and its own
    /// HTTP server. None for a relay at a port of its own, beside which another relay may have those. A token is never sent in
    /// clear text there.
    pub fn of_host(host: &Host, token: Option<Key>) -> Vec<Self> {
        if host.port() != RELAY_PORT {
            return Vec::new();
        }
        let at = |tls, port| Self {
            tls,
            host: host.clone().at(port),
            token,
        };
        let proxy = [at(true, 443)].into_iter();
        let own = token.is_none().then(|| at(false, HTTP_PORT));
        proxy.chain(own).collect()
    }

    /// Returns whether a text is meant to be a URL of HTTP.
    pub fn is_one(text: &str) -> bool {
        text.starts_with("http://") || text.starts_with("https://")
    }

    /// Returns whether a token would be sent in clear text.
    pub fn exposes_token(&self) -> bool {
        !self.tls && self.token.is_some()
    }
}

impl FromStr for RelayUrl {
    type Err = String;

    /// An error does not repeat the text, which may hold a secret.
    fn from_str(s: &str) -> Result<Self, String> {
        let wrong = || EXAMPLES.to_owned();
        let (tls, rest) = match s.strip_prefix("https://") {
            Some(rest) => (true, rest),
            None => (false, s.strip_prefix("http://").ok_or_else(wrong)?),
        };
        let (place, query) = match rest.split_once('?') {
            Some((place, query)) => (place, Some(query)),
            None => (rest, None),
        };
        let place = place.strip_suffix('/').unwrap_or(place);
        let host: Host = place.parse().map_err(|_| wrong())?;
        let port = match (Host::names_port(place), tls) {
            (true, _) => host.port(),
            (false, true) => 443,
            (false, false) => 80,
        };
        let token = query.map(|query| {
            let token = query.strip_prefix("token=").and_then(Key::parse);
            token.ok_or_else(|| {
                "the URL's token is not 64 hexadecimal digits, as in https://HOST?token=TOKEN"
                    .to_owned()
            })
        });
        Ok(Self {
            tls,
            host: host.at(port),
            token: token.transpose()?,
        })
    }
}

/// Shows the address alone, since the token is a secret.
impl fmt::Display for RelayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        let default = if self.tls { 443 } else { 80 };
        match self.host.port() {
            port if port == default => write!(f, "{scheme}://{}", self.host.name()),
            port => write!(f, "{scheme}://{}:{port}", self.host.name()),
        }
    }
}

impl fmt::Debug for RelayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RelayUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<String, String> {
        text.parse::<RelayUrl>().map(|url| url.to_string())
    }

    #[test]
    fn a_url_is_a_scheme_a_host_and_perhaps_a_token() {
        let token = "ab".repeat(32);
        for (text, expected) in [
            ("http://10.0.0.7:8080", "http://10.0.0.7:8080"),
            ("http://relay", "http://relay"),
            ("https://cam.example/", "https://cam.example"),
            ("https://[2001:db8::7]:8443", "https://[2001:db8::7]:8443"),
            (
                &format!("https://cam.example?token={token}"),
                "https://cam.example",
            ),
            (
                &format!("http://relay:8080/?token={token}"),
                "http://relay:8080",
            ),
        ] {
            assert_eq!(shown(text).as_deref(), Ok(expected));
        }
        let url: RelayUrl = format!("http://relay:8080?token={token}").parse().unwrap();
        assert!(url.exposes_token());
        assert!(!format!("{url:?} {url}").contains("abab"));
    }

    #[test]
    fn what_is_no_relays_url_is_refused_without_its_secrets() {
        for text in [
            "http://",
            "http://user:secret@camera/stream.mjpg",
            "http://camera/secret.mjpg",
            "https://cam.example/yard",
            "https://cam.example?token=secret",
            "https://cam.example?other=secret",
            "rtsp://camera",
        ] {
            let why = shown(text).unwrap_err();
            assert!(why.contains("https://HOST"), "{text}: {why}");
            assert!(!why.contains("secret"), "{why}");
        }
    }

    #[test]
    fn a_token_goes_to_no_relay_in_clear_text_by_itself() {
        let host: Host = "relay.example".parse().unwrap();
        let urls = |token| {
            RelayUrl::of_host(&host, token)
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            urls(None),
            ["https://relay.example", "http://relay.example:8080"]
        );
        assert_eq!(urls(Some(Key([7; 32]))), ["https://relay.example"]);
        let other: Host = "relay.example:9000".parse().unwrap();
        assert_eq!(RelayUrl::of_host(&other, None), []);
    }
}
