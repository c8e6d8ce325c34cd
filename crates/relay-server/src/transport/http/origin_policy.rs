//! Decides which requests are answered. Pure.
//!
//! A private relay requires the viewer's token, and then the origin of the page that sends the request does not matter:
//! only a page that was given the token has it. An open relay has to check the origin: a browser behind a firewall lets any
//! page of the internet open a WebSocket to any address, and lets a page whose own name resolves to that address (DNS
//! rebinding) read every answer. So pages of other origins get no WebSocket, and requests for a name that can belong to
//! another owner are refused.

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use protocol::quic::{Hello, Refusal, Role};
use protocol::ticket::Host;

use crate::access::Access;

/// Endings of names that public DNS does not have (RFC 2606, 6761, 6762, 8375; ICANN's `internal`; `lan` by routers' custom).
const LOCAL_SUFFIXES: [&str; 5] = [".localhost", ".local", ".internal", ".home.arpa", ".lan"];

/// An origin whose pages are trusted, `https://cam.example`; `*` is any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(String);

impl FromStr for Origin {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let origin = s.trim_end_matches('/').to_ascii_lowercase();
        normalised(&origin).map(Self).ok_or_else(|| {
            "an origin as in https://cam.example or http://nas:8123, or *".to_owned()
        })
    }
}

/// Returns an origin in the form in which browsers send it: an IPv6 address in its shortest form, no default port.
fn normalised(origin: &str) -> Option<String> {
    if origin == "*" {
        return Some(origin.to_owned());
    }
    let schemes = [("http://", 80), ("https://", 443)];
    let mut schemes = schemes.into_iter();
    let (scheme, text, default_port) =
        schemes.find_map(|(scheme, port)| Some((scheme, origin.strip_prefix(scheme)?, port)))?;
    // Browsers send the ASCII form of other names.
    let host: Host = text.parse().ok().filter(|_| text.is_ascii())?;
    let name = host.name();
    Some(match host.port() {
        port if Host::names_port(text) && port != default_port => format!("{scheme}{name}:{port}"),
        _ => format!("{scheme}{name}"),
    })
}

/// Returns host and port of an origin.
fn host_of(origin: &str) -> Option<&str> {
    let scheme = ["http://", "https://"];
    scheme.iter().find_map(|scheme| origin.strip_prefix(scheme))
}

/// What a request carries that decides whether it is answered.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Requester<'a> {
    /// The `Host` header: the name by which the client reached the server.
    pub(super) host: Option<&'a str>,
    /// The origin of the page that sends the request.
    pub(super) origin: Option<&'a str>,
    /// Whether it requests a WebSocket, which browsers permit to pages of all origins.
    pub(super) upgrade: bool,
    /// The token.
    pub(super) token: Option<&'a str>,
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Denial {
    /// A token that is wrong or missing.
    Token(Refusal),
    /// A host name that is not this relay's.
    Host,
    /// A page of another origin.
    Origin,
}

/// Decides which requests are answered.
#[derive(Debug)]
pub(super) struct OriginPolicy {
    access: Arc<Access>,
    trusted: Vec<Origin>,
}

impl OriginPolicy {
    pub(super) fn new(access: Arc<Access>, trusted: Vec<Origin>) -> Self {
        Self { access, trusted }
    }

    /// Returns the origins that are trusted.
    pub(super) fn trusted(&self) -> impl Iterator<Item = &str> {
        self.trusted.iter().map(|Origin(origin)| origin.as_str())
    }

    /// Checks a request.
    ///
    /// # Errors
    /// If it is to be refused.
    pub(super) fn check(&self, requester: Requester<'_>) -> Result<(), Denial> {
        if self.access.is_private() {
            let hello = Hello {
                role: Role::View,
                camera: None,
                token: requester.token.map(str::to_owned),
                stream: None,
                cookie: None,
                trial: None,
                original: false,
            };
            return self.access.check(&hello).map_err(Denial::Token);
        }
        if !requester.host.is_none_or(|host| self.is_own_name(host)) {
            return Err(Denial::Host);
        }
        let same = |origin: &str| host_of(origin).is_some() && host_of(origin) == requester.host;
        let permitted = |origin: &str| same(origin) || self.trusts(origin);
        if requester.upgrade && !requester.origin.is_none_or(permitted) {
            return Err(Denial::Origin);
        }
        Ok(())
    }

    /// Returns whether pages of this origin may read the answers.
    pub(super) fn trusts(&self, origin: &str) -> bool {
        let trusted = |known: &Origin| known.0 == "*" || known.0 == origin;
        self.trusted.iter().any(trusted)
    }

    /// Returns whether a `Host` header names this relay: by an address, by a name that resolves in its own network only, or
    /// by a name of `--http-origin`.
    fn is_own_name(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let name = without_port(&host);
        let configured = |known: &Origin| {
            known.0 == "*" || host_of(&known.0).is_some_and(|host| without_port(host) == name)
        };
        let address = name.trim_matches(['[', ']']).parse::<IpAddr>();
        address.is_ok()
            || !name.contains('.')
            || LOCAL_SUFFIXES.iter().any(|end| name.ends_with(end))
            || self.trusted.iter().any(configured)
    }
}

/// Returns the name in `name:port`, without the dot that may end it.
fn without_port(host: &str) -> &str {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    name.trim_end_matches('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(trusted: &[&str]) -> OriginPolicy {
        let access = Access::open(None, false, false).unwrap();
        let trusted = trusted.iter().map(|origin| origin.parse().unwrap());
        OriginPolicy::new(Arc::new(access), trusted.collect())
    }

    fn named(host: &str) -> Requester<'_> {
        Requester {
            host: Some(host),
            ..Requester::default()
        }
    }

    #[test]
    fn names_that_a_stranger_can_make_lead_here_are_not_this_relays() {
        let policy = open(&[]);
        for own in [
            "127.0.0.1:8080",
            "[::1]:8080",
            "[2001:db8::1]",
            "localhost:8080",
            "nas",
            "nas.local:80",
            "NAS.Local.",
            "relay.lan",
        ] {
            assert_eq!(policy.check(named(own)), Ok(()), "{own}");
        }
        for other in [
            "evil.example:8080",
            "127.0.0.1.evil.example",
            "local.evil",
            "a.b:x",
        ] {
            assert_eq!(policy.check(named(other)), Err(Denial::Host), "{other}");
        }
        assert_eq!(policy.check(Requester::default()), Ok(()), "not a browser");
    }

    #[test]
    fn a_name_that_the_operator_gave_is() {
        let policy = open(&["https://cam.example"]);
        assert_eq!(policy.check(named("cam.example")), Ok(()));
        assert_eq!(policy.check(named("cam.example:8443")), Ok(()));
        assert_eq!(policy.check(named("evil.example")), Err(Denial::Host));
        assert_eq!(open(&["*"]).check(named("evil.example")), Ok(()));
    }

    #[test]
    fn a_page_of_another_origin_gets_no_socket() {
        let policy = open(&["https://cam.example"]);
        let from = |origin, upgrade| {
            policy.check(Requester {
                host: Some("127.0.0.1:8080"),
                origin: Some(origin),
                upgrade,
                token: None,
            })
        };
        assert_eq!(from("http://127.0.0.1:8080", true), Ok(()));
        assert_eq!(from("https://cam.example", true), Ok(()));
        for other in ["http://evil.example", "http://127.0.0.1:9999", "null", ""] {
            assert_eq!(from(other, true), Err(Denial::Origin), "{other}");
            assert_eq!(from(other, false), Ok(()), "as an <img> of any page may");
        }
    }

    #[test]
    fn a_private_relay_wants_the_viewers_token_and_nothing_else() {
        let state = tempfile::tempdir().unwrap();
        let access = Access::open(Some(state.path()), true, false).unwrap();
        let (send, view) = access.tickets(&"relay".parse().unwrap()).unwrap();
        let policy = OriginPolicy::new(Arc::new(access), Vec::new());
        let with = |token: Option<&str>| {
            policy.check(Requester {
                host: Some("cam.example"),
                origin: Some("http://other.example"),
                upgrade: true,
                token,
            })
        };
        assert_eq!(with(Some(&view.token.to_string())), Ok(()));
        for (token, refusal) in [
            (None, Refusal::Private),
            (Some(send.token.to_string()), Refusal::Role),
            (Some("x".to_owned()), Refusal::Token),
        ] {
            let refused = Err(Denial::Token(refusal));
            assert_eq!(with(token.as_deref()), refused);
        }
    }

    #[test]
    fn origins_are_scheme_host_and_port() {
        for bad in [
            "cam.example",
            "http://",
            "http://a/b",
            "ftp://a",
            "http://a b",
            "http://a:b:c",
            "http://[::1",
            "http://nas:0",
            "https://küche.example",
            "",
        ] {
            assert!(bad.parse::<Origin>().is_err(), "{bad}");
        }
        for (text, origin) in [
            ("https://cam.example:443", "https://cam.example"),
            ("http://nas:80/", "http://nas"),
            ("http://nas:443", "http://nas:443"),
            ("http://nas:8081", "http://nas:8081"),
            ("http://[2001:DB8:0::7]:8123", "http://[2001:db8::7]:8123"),
        ] {
            let parsed: Origin = text.parse().unwrap();
            assert_eq!(parsed.0, origin);
            assert_eq!(parsed.0.parse(), Ok(parsed), "{text}");
        }
        assert_eq!(
            "HTTPS://Cam.Example/".parse(),
            Ok(Origin("https://cam.example".to_owned()))
        );
    }
}
