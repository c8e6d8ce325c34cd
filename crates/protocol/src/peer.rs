//! What is known of the other end of a transport: its host, its standing, and the cookie that proves its address.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use crate::label;

/// A peer's host: its IPv4 address, or the /64 network of its IPv6 address, which is one household's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Host(IpAddr);

impl Host {
    /// Returns the host of an address; an IPv4 address inside an IPv6 one is the IPv4 host.
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
            v4 => v4,
        })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a peer has proved, in rising order: a peer never takes anything from one of a higher standing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Nothing: a bare datagram, whose source address may be forged.
    Unvalidated,
    /// Its address, by the handshake of QUIC or TCP.
    Validated,
    /// A right, by a ticket or a login.
    Authenticated,
}

/// A number that the relay sends to one address and no other peer can know. A peer that returns it receives what is sent to
/// that address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Cookie(pub u64);

impl Cookie {
    /// Parses 16 lower-case hexadecimal digits.
    pub fn parse(digits: &[u8]) -> Option<Self> {
        label::hex(digits).map(Self)
    }
}

/// Shows 16 hexadecimal digits, the form in which it travels.
impl fmt::Display for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Hides the number, which is a proof.
impl fmt::Debug for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cookie(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_address_is_a_host_and_an_ipv6_network_is_one() {
        let host = |text: &str| Host::of(text.parse().unwrap());
        assert_ne!(host("192.0.2.1"), host("192.0.2.2"));
        assert_eq!(host("192.0.2.1"), host("::ffff:192.0.2.1"));
        assert_eq!(host("2001:db8::1"), host("2001:db8::ffff:1"));
        assert_ne!(host("2001:db8::1"), host("2001:db8:0:1::1"));
    }

    #[test]
    fn a_debug_print_shows_no_cookie() {
        assert_eq!(format!("{:?}", Cookie(7)), "Cookie(..)");
        assert_eq!(
            Cookie::parse(Cookie(7).to_string().as_bytes()),
            Some(Cookie(7))
        );
    }
}
