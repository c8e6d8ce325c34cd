//! The client's address behind proxies: the last untrusted hop. Pure.
//!
//! Each proxy appends the address from which a request came. So only what the trusted ones wrote is believed: the list is
//! read from its end, up to the first address that is not a trusted proxy's. What the client itself sent stands further left.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use axum::http::{HeaderMap, HeaderName, header};
use ipnet::IpNet;

/// The header of most proxies: `192.0.2.1, 198.51.100.7`.
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The header in which proxies state how the client reached them: `https`.
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// A network of `--http-trust-proxy`, or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyNetwork(IpNet);

impl FromStr for ProxyNetwork {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let network = s.parse::<IpAddr>().map(IpNet::from).or_else(|_| s.parse());
        network.map(Self).map_err(|_| {
            "the proxy's address or network, as in 127.0.0.1, ::1 or 172.16.0.0/12".to_owned()
        })
    }
}

/// The proxies whose headers are believed.
#[derive(Debug, Default)]
pub(super) struct TrustedProxies(Vec<ProxyNetwork>);

impl TrustedProxies {
    pub(super) fn new(networks: &[ProxyNetwork]) -> Self {
        Self(networks.to_vec())
    }

    /// Returns the address of the client behind a trusted `peer`; `None` if the peer is not trusted or names none.
    pub(super) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
        if !self.trusts(peer) {
            return None;
        }
        let listed = self.last_untrusted(values(headers, &X_FORWARDED_FOR), address);
        let forwarded = self.last_untrusted(values(headers, &header::FORWARDED), forwarded_for);
        match (listed, forwarded) {
            // A proxy that writes one of them passes on the other as the client sent it.
            (Some(one), Some(other)) if one != other => None,
            (listed, forwarded) => listed.or(forwarded),
        }
    }

    /// Returns whether a trusted `peer` states that the client reached it by TLS.
    pub(super) fn states_https(&self, peer: IpAddr, headers: &HeaderMap) -> bool {
        let is_https = |scheme: &str| scheme.trim().eq_ignore_ascii_case("https");
        self.trusts(peer)
            && values(headers, &X_FORWARDED_PROTO)
                .next()
                .is_some_and(is_https)
    }

    fn last_untrusted<'a>(
        &self,
        hops: impl Iterator<Item = &'a str>,
        parse: fn(&str) -> Option<IpAddr>,
    ) -> Option<IpAddr> {
        let mut client = None;
        for hop in hops {
            // What stands left of an element without an address may be the client's.
            let Some(address) = parse(hop) else { break };
            client = Some(address);
            if !self.trusts(address) {
                break;
            }
        }
        client
    }

    fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.0.contains(&address))
    }
}

/// Returns the elements of all headers of a name, from the last one on; of one that is not text, an element without address.
fn values<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines: Vec<_> = headers.get_all(name).iter().collect();
    let texts = lines.into_iter().rev();
    texts.flat_map(|line| line.to_str().unwrap_or_default().rsplit(','))
}

/// Returns an address that may stand in brackets and may have a port.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.trim_matches(['[', ']']);
    let with_port = || text.parse().map(|at: SocketAddr| at.ip());
    let address = bare.parse::<IpAddr>().or_else(|_| with_port()).ok()?;
    Some(address.to_canonical())
}

/// Returns the address of `for=` in an element of `Forwarded` (RFC 7239).
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(key, _)| key.trim().eq_ignore_ascii_case("for"))?;
    address(value.trim().trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROXY: &str = "10.0.0.1";

    fn client(peer: &str, headers: &[(&'static str, &str)]) -> Option<String> {
        let networks = ["10.0.0.0/8", "::1"].map(|network| network.parse().unwrap());
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let client = TrustedProxies::new(&networks).client(peer.parse().unwrap(), &map);
        client.map(|address| address.to_string())
    }

    fn listed(list: &str) -> Option<String> {
        client(PROXY, &[("x-forwarded-for", list)])
    }

    #[test]
    fn what_a_client_sends_about_itself_is_not_believed() {
        for peer in ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1"] {
            assert_eq!(client(peer, &[("x-forwarded-for", "198.51.100.7")]), None);
            assert_eq!(client(peer, &[("forwarded", "for=198.51.100.7")]), None);
        }
        let behind = listed("198.51.100.7, 192.0.2.1");
        assert_eq!(
            behind.as_deref(),
            Some("192.0.2.1"),
            "the proxy wrote the last one"
        );
        let without_flag = TrustedProxies::default();
        let mut headers = HeaderMap::new();
        headers.append("x-forwarded-for", "192.0.2.1".parse().unwrap());
        let peer = PROXY.parse().unwrap();
        assert_eq!(without_flag.client(peer, &headers), None);
    }

    #[test]
    fn the_client_is_the_last_hop_that_is_not_a_trusted_proxy() {
        for (list, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.1,10.0.0.2 , 10.0.0.3", "192.0.2.1"),
            ("192.0.2.1:4711", "192.0.2.1"),
            ("[2001:db8::1]:4711", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("10.0.0.9, 10.0.0.2", "10.0.0.9"),
            ("192.0.2.1, unknown, 10.0.0.2", "10.0.0.2"),
            ("192.0.2.1, \"x, 10.0.0.2", "10.0.0.2"),
        ] {
            assert_eq!(listed(list).as_deref(), Some(expected), "{list}");
        }
        let lines = [
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-for", "192.0.2.2, 10.0.0.2"),
        ];
        assert_eq!(client("::1", &lines).as_deref(), Some("192.0.2.2"));
        for nothing in ["", "unknown", ",,,", "192.0.2.1, _hidden"] {
            assert_eq!(listed(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn the_standard_header_is_read_too_and_two_that_differ_are_not() {
        let forwarded = |value| client(PROXY, &[("forwarded", value)]);
        for (value, expected) in [
            ("for=192.0.2.1", "192.0.2.1"),
            (
                "proto=https; For=\"[2001:db8::1]:4711\";by=10.0.0.1",
                "2001:db8::1",
            ),
            (
                "for=198.51.100.7, for=192.0.2.1;proto=http, for=10.0.0.2",
                "192.0.2.1",
            ),
        ] {
            assert_eq!(forwarded(value).as_deref(), Some(expected), "{value}");
        }
        assert_eq!(forwarded("for=unknown"), None);
        let both = |one, other| client(PROXY, &[("x-forwarded-for", one), ("forwarded", other)]);
        assert_eq!(
            both("192.0.2.1", "for=192.0.2.1").as_deref(),
            Some("192.0.2.1")
        );
        assert_eq!(both("192.0.2.1", "for=198.51.100.7"), None);
    }

    #[test]
    fn a_trusted_proxy_alone_states_that_the_client_came_by_tls() {
        let proxies = TrustedProxies::new(&["10.0.0.0/8".parse().unwrap()]);
        let states = |peer: &str, values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("x-forwarded-proto", value.parse().unwrap());
            }
            proxies.states_https(peer.parse().unwrap(), &headers)
        };
        assert!(states(PROXY, &["https"]) && states(PROXY, &["http, HTTPS"]));
        assert!(!states("192.0.2.1", &["https"]));
        for values in [
            &["http"][..],
            &["https", "http"],
            &["https, http"],
            &[""],
            &[],
        ] {
            assert!(!states(PROXY, values), "{values:?}");
        }
    }

    #[test]
    fn networks_are_addresses_or_prefixes() {
        for good in ["127.0.0.1", "::1", "10.0.0.0/8", "2001:db8::/32"] {
            assert!(good.parse::<ProxyNetwork>().is_ok(), "{good}");
        }
        for bad in ["", "localhost", "10.0.0.0/33", "10.0.0.0/8/8", "*"] {
            assert!(bad.parse::<ProxyNetwork>().is_err(), "{bad}");
        }
    }
}
