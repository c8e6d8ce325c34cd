//! What is known of the other end of a transport: its host, its standing, and the cookie that proves its address.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::label;

/// The host of an address: the IPv4 address, or the /64 network of an IPv6 address, since a household has all addresses of
/// its /64. An IPv4 address that is written as IPv6 (`::ffff:192.0.2.1`) is IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Host(IpAddr);

impl From<IpAddr> for Host {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
            v4 => v4,
        })
    }
}

impl From<SocketAddr> for Host {
    fn from(address: SocketAddr) -> Self {
        address.ip().into()
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(v4) => v4.fmt(f),
            IpAddr::V6(network) => write!(f, "{network}/64"),
        }
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

/// Cookies that a sender returns, each of which may prove that it is a camera's sender of before. Text: the cookies one
/// behind the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proof(Vec<Cookie>);

impl Proof {
    /// Largest number of cookies: that of the sender's address, and the two of a relay's answer to a connection.
    pub const MAX: usize = 3;
    /// Hexadecimal digits of a cookie.
    const DIGITS: usize = 16;

    /// Parses one to [`Proof::MAX`] cookies of 16 lower-case hexadecimal digits each.
    pub fn parse(digits: &str) -> Option<Self> {
        let expected = (1..=Self::MAX).any(|count| digits.len() == count * Self::DIGITS);
        let cookies = digits.as_bytes().chunks(Self::DIGITS).map(Cookie::parse);
        expected.then(|| cookies.collect::<Option<_>>().map(Self))?
    }

    /// Returns the cookies.
    pub fn cookies(&self) -> &[Cookie] {
        &self.0
    }

    /// Returns the text form, `None` without a cookie.
    pub fn to_digits(&self) -> Option<String> {
        let digits = || self.0.iter().map(Cookie::to_string).collect();
        (!self.0.is_empty()).then(digits)
    }

    /// Returns whether this cookie is among them.
    pub fn contains(&self, cookie: Cookie) -> bool {
        self.0.contains(&cookie)
    }
}

/// Takes the first [`Proof::MAX`] cookies.
impl FromIterator<Cookie> for Proof {
    fn from_iter<T: IntoIterator<Item = Cookie>>(cookies: T) -> Self {
        Self(cookies.into_iter().take(Self::MAX).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(address: &str) -> Host {
        address.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn an_ipv6_network_is_one_host_and_each_ipv4_address_is_another() {
        assert_eq!(host("2001:db8::1"), host("2001:db8::ffff:0:0:1"));
        assert_ne!(host("2001:db8::1"), host("2001:db8:0:1::1"));
        assert_ne!(host("192.0.2.1"), host("192.0.2.2"));
        assert_eq!(host("::ffff:192.0.2.1"), host("192.0.2.1"));
        let [a, b] = ["192.0.2.1:5", "192.0.2.1:6"].map(|at| at.parse::<SocketAddr>().unwrap());
        assert_eq!(Host::from(a), Host::from(b), "whatever the port");
    }

    #[test]
    fn a_host_is_written_as_operators_write_networks() {
        assert_eq!(host("::ffff:192.0.2.1").to_string(), "192.0.2.1");
        assert_eq!(host("2001:db8::1").to_string(), "2001:db8::/64");
    }

    #[test]
    fn a_proof_is_one_to_three_cookies() {
        let digits = |count| "0123456789abcdef".repeat(count);
        for count in 1..=Proof::MAX {
            let proof = Proof::parse(&digits(count)).unwrap();
            assert_eq!(proof.cookies().len(), count);
            assert_eq!(proof.to_digits(), Some(digits(count)));
        }
        for bad in [
            "",
            "0123456789abcde",
            &digits(4),
            "0123456789abcdef0",
            "0123456789abcdeF",
        ] {
            assert_eq!(Proof::parse(bad), None, "{bad}");
        }
        assert_eq!(Proof::default().to_digits(), None);
        let many: Proof = (0..9).map(Cookie).collect();
        assert!(many.contains(Cookie(2)) && !many.contains(Cookie(3)));
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
