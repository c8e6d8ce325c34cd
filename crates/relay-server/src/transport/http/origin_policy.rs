//! Decides which requests are answered. Pure.
//!
//! A private relay requires a viewer's token, or the cookie of a login with one. The origin of a page that sends a token
//! does not matter: only a page that was given the token has it. A cookie is sent by the browser, also for pages of other
//! ports and sibling names, so such pages get no WebSocket by it, and they can sign no browser in or out.
//!
//! An open relay has to check the origin: a browser behind a firewall lets any page of the internet open a WebSocket to any
//! address, and lets a page whose own name resolves to that address (DNS rebinding) read every answer. So pages of other
//! origins get no WebSocket, and requests for a name that can belong to another owner are refused.
//!
//! A publisher of frames needs a sender's token, for which no cookie is enough, and is not a page of another origin, whatever
//! token that has.

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use protocol::label::CameraName;
use protocol::peer::Standing;
use protocol::quic::{Refusal, Role};
use protocol::ticket::Host;

use crate::access::{Access, CookieGrant, Grant};

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
    /// The value of this relay's cookie.
    pub(super) cookie: Option<&'a str>,
    /// How the page that sends the request relates to the server, as the browser states it (`Sec-Fetch-Site`): no page can
    /// write this header itself.
    pub(super) fetch_site: Option<&'a str>,
    /// The camera that the request publishes as; `None` if it only reads.
    pub(super) publishes: Option<&'a str>,
}

/// What a request that is answered may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Permit {
    pub(super) grant: Grant,
    pub(super) by: Proof,
}

/// What a request has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// Nothing, as an open relay needs nothing.
    Nothing,
    Token,
    Cookie {
        /// Whether the cookie is to be renewed.
        is_old: bool,
    },
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Denial {
    /// A token that is wrong or missing.
    Token(Refusal),
    /// A cookie that has expired, or is of a ticket that was revoked.
    Session,
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

    /// Returns the tickets and cookies that the policy knows.
    pub(super) fn access(&self) -> &Arc<Access> {
        &self.access
    }

    /// Returns the origins that are trusted.
    pub(super) fn trusted(&self) -> impl Iterator<Item = &str> {
        self.trusted.iter().map(|Origin(origin)| origin.as_str())
    }

    /// Checks a request.
    ///
    /// # Errors
    /// If it is to be refused.
    pub(super) fn check(&self, requester: Requester<'_>) -> Result<Permit, Denial> {
        if self.access.is_private() {
            return match requester.publishes {
                Some(camera) => self.check_publisher(camera, requester),
                None => self.check_private(requester),
            };
        }
        if !requester.host.is_none_or(|host| self.is_own_name(host)) {
            return Err(Denial::Host);
        }
        let acts = requester.upgrade || requester.publishes.is_some();
        if acts && !self.is_own_page(by_origin(requester)) {
            return Err(Denial::Origin);
        }
        Ok(Permit {
            grant: Grant::default(),
            by: Proof::Nothing,
        })
    }

    fn check_private(&self, requester: Requester<'_>) -> Result<Permit, Denial> {
        let Some(cookie) = requester.cookie.filter(|_| requester.token.is_none()) else {
            let granted = self.access.check_token(Role::View, None, requester.token);
            let by = Proof::Token;
            return granted
                .map(|grant| Permit { grant, by })
                .map_err(Denial::Token);
        };
        let session = self.access.check_cookie(cookie);
        let CookieGrant { grant, is_old } = session.ok_or(Denial::Session)?;
        if requester.upgrade && !self.is_own_page(requester) {
            return Err(Denial::Origin);
        }
        let by = Proof::Cookie { is_old };
        Ok(Permit { grant, by })
    }

    /// Returns whether a request is not one of a page of another origin: only a browser sends an origin.
    pub(super) fn is_own_page(&self, requester: Requester<'_>) -> bool {
        let same = |origin: &str| host_of(origin).is_some() && host_of(origin) == requester.host;
        let permitted = |origin: &str| same(origin) || self.trusts(origin);
        match requester.fetch_site {
            Some("same-origin") => true,
            Some(_) => requester.origin.is_some_and(permitted),
            None => requester.origin.is_none_or(permitted),
        }
    }

    /// Checks a request that publishes at a private relay.
    fn check_publisher(&self, camera: &str, requester: Requester<'_>) -> Result<Permit, Denial> {
        let camera: CameraName = camera.parse().map_err(|_| Denial::Token(Refusal::Hello))?;
        let granted = self
            .access
            .check_token(Role::Send, Some(&camera), requester.token);
        let grant = granted.map_err(Denial::Token)?;
        if !self.is_own_page(by_origin(requester)) {
            return Err(Denial::Origin);
        }
        let by = Proof::Token;
        Ok(Permit { grant, by })
    }

    /// Returns what a client has proved whose request is permitted.
    pub(super) fn standing(&self) -> Standing {
        match self.access.is_private() {
            true => Standing::Authenticated,
            false => Standing::Validated,
        }
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

/// Returns a request to be judged by name and origin alone: a page whose own name leads here counts as the same origin in a
/// browser.
fn by_origin(requester: Requester<'_>) -> Requester<'_> {
    Requester {
        fetch_site: None,
        ..requester
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
// The fuzz targets include this file by its path.
#[path = "origin_policy/tests.rs"]
mod tests;
