//! What holds of any HTTP request's headers and URL: which client is answered, and whose address is believed. The fuzz
//! target checks it, and the relay does for each committed file.

use std::net::IpAddr;

use axum::http::{HeaderName, HeaderValue, Request, Version, header};

use super::entry::{bad_host, origin, parameters, requester};
use super::origin_policy::{Denial, OriginPolicy, Requester};
use super::proxies::TrustedProxies;

/// The origin that the open relay trusts.
pub(super) const TRUSTED_ORIGIN: &str = "https://cam.example";
/// The network whose proxies are trusted.
pub(super) const TRUSTED_PROXIES: &str = "10.0.0.0/8";
/// Stands for the viewer's token in an input.
const TOKEN: &str = "TOKEN";

/// Name of the cookie, of which no input can have a valid one.
const COOKIE: &str = "sightline-1f";

/// An open relay and a private one.
pub(super) struct Relays {
    pub(super) open: OriginPolicy,
    pub(super) private: OriginPolicy,
    /// The viewer's token at the private one.
    pub(super) token: String,
    pub(super) proxies: TrustedProxies,
}

/// Checks a request: the first line is its URL, each further one a header.
pub(super) fn http_entry(bytes: &[u8], relays: &Relays) {
    let Some(request) = request(bytes, &relays.token) else {
        return;
    };
    let hosts = request.headers().get_all(header::HOST).iter().count();
    let lacks_host = hosts == 0 && request.version() == Version::HTTP_11;
    assert_eq!(bad_host(&request).is_some(), lacks_host || hosts > 1);
    let parameters = parameters(request.uri());
    let requester = requester(&request, &parameters, Some(COOKIE));
    check_private(requester, relays);
    check_open(requester, &request, relays);
    check_proxies(&request, relays);
}

fn request(bytes: &[u8], token: &str) -> Option<Request<()>> {
    let text = String::from_utf8_lossy(bytes).replace(TOKEN, token);
    let mut lines = text.lines();
    let mut request = Request::builder().uri(lines.next()?);
    for line in lines {
        let (name, value) = line.split_once(':')?;
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        // A header holds bytes above 127 too, which are no text.
        let value: Vec<u8> = value.trim().chars().map(|c| c as u32 as u8).collect();
        request = request.header(name, HeaderValue::from_bytes(&value).ok()?);
    }
    request.body(()).ok()
}

/// A private relay answers a client that has the token, and no other.
fn check_private(requester: Requester<'_>, relays: &Relays) {
    let verdict = relays.private.check(requester);
    let has_token = requester.token == Some(&relays.token);
    assert_eq!(verdict.is_ok(), has_token, "{verdict:?} {requester:?}");
    assert!(!matches!(verdict, Err(Denial::Host | Denial::Origin)));
}

/// An open relay answers to its own names alone, and opens a WebSocket to no page of another origin.
fn check_open(requester: Requester<'_>, request: &Request<()>, relays: &Relays) {
    let verdict = relays.open.check(requester);
    if let Some(host) = requester.host {
        let host = host.to_ascii_lowercase();
        let name = host.split(':').next().unwrap_or_default();
        let public = [".example", ".com", ".org", ".net"];
        let foreign = public
            .iter()
            .any(|end| name.trim_end_matches('.').ends_with(end));
        // A name in brackets is an address or none; one with several colons is no name of DNS.
        if foreign && host.matches(':').count() <= 1 && name.trim_end_matches('.') != "cam.example"
        {
            assert_eq!(verdict, Err(Denial::Host), "{host}");
        }
    }
    if verdict.is_ok() && requester.upgrade {
        let host = requester.host.unwrap_or_default();
        let same = |origin: &str| {
            let name = origin.split_once("://").map(|(_, name)| name);
            name == Some(host)
        };
        let permitted = |origin: &str| same(origin) || origin == TRUSTED_ORIGIN;
        assert!(requester.origin.is_none_or(permitted), "{requester:?}");
    }
    let page = origin(request.headers());
    assert!(page.is_none_or(|page| !relays.open.trusts(page) || page == TRUSTED_ORIGIN));
}

/// What a client writes in front of what the proxy wrote changes nothing, and without a trusted proxy nothing is believed.
fn check_proxies(request: &Request<()>, relays: &Relays) {
    let headers = request.headers();
    let outside = IpAddr::from([192, 0, 2, 1]);
    assert_eq!(relays.proxies.client(outside, headers), None);
    let proxy = IpAddr::from([10, 0, 0, 1]);
    let Some(client) = relays.proxies.client(proxy, headers) else {
        return;
    };
    let is_proxy = |address: IpAddr| matches!(address, IpAddr::V4(v4) if v4.octets()[0] == 10);
    if is_proxy(client) {
        return;
    }
    for name in ["x-forwarded-for", "forwarded"] {
        let mut forged = headers.clone();
        let Some(first) = forged.get_mut(name) else {
            continue;
        };
        let element: &[u8] = match name {
            "forwarded" => b"for=203.0.113.9, ",
            _ => b"203.0.113.9, ",
        };
        let value = [element, first.as_bytes()].concat();
        *first = HeaderValue::from_bytes(&value).expect("both parts are values");
        assert_eq!(
            relays.proxies.client(proxy, &forged),
            Some(client),
            "{name}"
        );
    }
}
