//! A ticket: a relay's address, a camera, the right to send or view it, and the certificate to trust, in one line.
//!
//! ```text
//! sightline://relay.example:8081/yard?token=1f..#sha256=9c..
//!             address             |    |         |
//!             (port 8081 if none) |    |         fingerprint, the SHA-256 of the relay's certificate
//!                                 |    token, the right to send or to view: 64 hexadecimal digits
//!                                 camera; may be absent
//! ```
//!
//! The fingerprint stands behind `#`, which a browser sends to no server. A space in a camera's
//! name is written `%20`; nothing else that a name may hold needs an escape.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use crate::RELAY_PORT;
use crate::label::CameraName;
use crate::text::{MAX_SHOWN, printable};

/// Start of every ticket.
pub const SCHEME: &str = "sightline://";
/// Bytes of a [`Key`].
pub const KEY: usize = 32;
/// Length of the longest name of a host in bytes: that of DNS, with room for the length bytes of its form on the wire.
const MAX_NAME: usize = 255;
/// Length of the longest zone of an IPv6 address in bytes: twice that of Linux's names of interfaces.
const MAX_ZONE: usize = 32;

/// A token or a certificate's SHA-256: 32 bytes, written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key(pub [u8; KEY]);

/// A relay's name or address, and its port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    name: String,
    port: u16,
}

/// A relay's address, a camera, a token and a fingerprint, as the module's documentation describes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// Name or address, and port, of the relay.
    pub host: Host,
    /// The camera; any if absent.
    pub camera: Option<CameraName>,
    /// The right to send or to view.
    pub token: Key,
    /// SHA-256 of the relay's certificate in DER.
    pub fingerprint: Key,
}

/// Why a text is not a [`Host`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not HOST[:PORT]; examples: relay.example, 192.0.2.7:8081, [2001:db8::7]:8081")]
pub struct BadHost(String);

/// Why a text is not a [`Ticket`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTicket {
    /// Another scheme, or none.
    #[error("a ticket starts with {SCHEME}")]
    Scheme,
    /// No `#sha256=`: most likely cut off while it was copied.
    #[error(
        "the ticket's end '#sha256=..' is missing: it was not copied whole, or a shell took a part of it; put it in \
         single quotes"
    )]
    NoFingerprint,
    /// A fingerprint that is not 64 digits.
    #[error("the ticket's sha256 is not 64 hexadecimal digits: it was not copied whole")]
    Fingerprint,
    /// A token that is not 64 digits, or none.
    #[error("the ticket's token is not 64 hexadecimal digits: it was not copied whole")]
    Token,
    /// A host that is not one.
    #[error("{0}")]
    Host(#[from] BadHost),
    /// A camera's name that is not one.
    #[error("the ticket's camera: {0}")]
    Camera(#[from] crate::label::BadName),
}

impl Key {
    /// Parses 64 lower-case hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        let plain = |d: &u8| matches!(d, b'0'..=b'9' | b'a'..=b'f');
        if digits.len() != 2 * KEY || !digits.iter().all(plain) {
            return None;
        }
        let mut key = [0; KEY];
        for (byte, pair) in key.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(key))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Shows the first digits only, since a key may be a secret.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:02x}{:02x}..)", self.0[0], self.0[1])
    }
}

impl Host {
    /// Returns the name or address; an IPv6 address in brackets.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the UDP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns whether a text that is a host names a port too.
    pub fn names_port(text: &str) -> bool {
        split(text).is_some_and(|(_, port)| port.is_some())
    }

    /// Returns the host with another port.
    #[must_use]
    pub fn at(self, port: u16) -> Self {
        Self { port, ..self }
    }
}

impl FromStr for Host {
    type Err = BadHost;

    fn from_str(s: &str) -> Result<Self, BadHost> {
        let (name, port) = split(s).ok_or_else(|| BadHost(printable(s, MAX_SHOWN)))?;
        let port = port.unwrap_or(RELAY_PORT);
        Ok(Self { name, port })
    }
}

/// Returns name and port of a host; an IPv6 address in its shortest form, in brackets.
fn split(text: &str) -> Option<(String, Option<u16>)> {
    // The colons of a bare IPv6 address do not separate a port.
    if let Some(address) = ipv6(text) {
        return Some((address, None));
    }
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, behind) = rest.split_once(']')?;
            let port = match behind {
                "" => None,
                behind => Some(behind.strip_prefix(':')?),
            };
            (ipv6(address)?, port)
        }
        None => match text.split_once(':') {
            Some((name, port)) => (plain_name(name)?, Some(port)),
            None => (plain_name(text)?, None),
        },
    };
    match port {
        Some(digits) => Some((name, Some(parse_port(digits)?))),
        None => Some((name, None)),
    }
}

/// Returns an IPv6 address, which may have a zone (`fe80::1%eth0`), in its shortest form and in brackets.
fn ipv6(text: &str) -> Option<String> {
    let (address, zone) = match text.split_once('%') {
        Some((address, zone)) => (address, Some(zone)),
        None => (text, None),
    };
    let address: Ipv6Addr = address.parse().ok()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match zone {
        None => Some(format!("[{address}]")),
        Some(zone) if (1..=MAX_ZONE).contains(&zone.len()) && zone.chars().all(plain) => {
            Some(format!("[{address}%{zone}]"))
        }
        Some(_) => None,
    }
}

/// Returns a name or an IPv4 address.
fn plain_name(text: &str) -> Option<String> {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    let good = (1..=MAX_NAME).contains(&text.len()) && text.chars().all(plain);
    good.then(|| text.to_owned())
}

/// Parses a port of digits alone; `str::parse` takes a sign too.
fn parse_port(digits: &str) -> Option<u16> {
    let plain = digits.bytes().all(|digit| digit.is_ascii_digit());
    let port = digits.parse().ok().filter(|_| plain)?;
    (port != 0).then_some(port)
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.port)
    }
}

impl FromStr for Ticket {
    type Err = BadTicket;

    fn from_str(s: &str) -> Result<Self, BadTicket> {
        let rest = s.strip_prefix(SCHEME).ok_or(BadTicket::Scheme)?;
        let (rest, fingerprint) = rest.split_once('#').ok_or(BadTicket::NoFingerprint)?;
        let fingerprint = fingerprint
            .strip_prefix("sha256=")
            .and_then(Key::parse)
            .ok_or(BadTicket::Fingerprint)?;
        let (address, token) = rest.split_once("?token=").ok_or(BadTicket::Token)?;
        let token = Key::parse(token).ok_or(BadTicket::Token)?;
        let (host, camera) = address.split_once('/').unwrap_or((address, ""));
        let camera = match camera {
            "" => None,
            name => Some(name.replace("%20", " ").parse()?),
        };
        Ok(Self {
            host: host.parse()?,
            camera,
            token,
            fingerprint,
        })
    }
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.host)?;
        if let Some(camera) = &self.camera {
            write!(f, "/{}", camera.as_str().replace(' ', "%20"))?;
        }
        write!(f, "?token={}#sha256={}", self.token, self.fingerprint)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ticket(camera: Option<&str>) -> Ticket {
        Ticket {
            host: "relay.example".parse().unwrap(),
            camera: camera.map(|name| name.parse().unwrap()),
            token: Key([0x1f; KEY]),
            fingerprint: Key([0x9c; KEY]),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for camera in [None, Some("yard"), Some("back yard"), Some("Küche.2")] {
            let ticket = ticket(camera);
            assert_eq!(ticket.to_string().parse(), Ok(ticket));
        }
    }

    #[test]
    fn the_form_is_the_contracts() {
        let (token, print) = ("1f".repeat(KEY), "9c".repeat(KEY));
        let text = format!("sightline://relay.example:8081/yard?token={token}#sha256={print}");
        assert_eq!(ticket(Some("yard")).to_string(), text);
        let bare = format!("sightline://relay.example?token={token}#sha256={print}");
        assert_eq!(bare.parse(), Ok(ticket(None)));
    }

    #[test]
    fn a_ticket_that_was_not_copied_whole_says_what_is_missing() {
        let whole = ticket(Some("yard")).to_string();
        for (cut, cause) in [
            (whole.find('#').unwrap(), BadTicket::NoFingerprint),
            (whole.len() - 1, BadTicket::Fingerprint),
            (whole.find("sha256").unwrap(), BadTicket::Fingerprint),
            (3, BadTicket::Scheme),
        ] {
            assert_eq!(whole[..cut].parse::<Ticket>(), Err(cause));
        }
        assert_eq!(
            whole.replace("?token=1f", "?token=").parse::<Ticket>(),
            Err(BadTicket::Token)
        );
        assert!(matches!(
            whole.replace("yard", "a/b").parse::<Ticket>(),
            Err(BadTicket::Camera(_))
        ));
        assert!(matches!(
            whole.replace("relay.example", "").parse::<Ticket>(),
            Err(BadTicket::Host(_))
        ));
    }

    #[test]
    fn a_debug_print_shows_no_secret() {
        let shown = format!("{:?}", ticket(None));
        assert!(
            !shown.contains("1f1f1f") && shown.contains("Key(1f1f..)"),
            "{shown}"
        );
    }

    #[test]
    fn the_port_may_be_left_out() {
        for (text, host) in [
            ("relay.example", "relay.example:8081"),
            ("relay.example:9000", "relay.example:9000"),
            ("192.0.2.7", "192.0.2.7:8081"),
            ("2001:db8::7", "[2001:db8::7]:8081"),
            ("[2001:db8::7]", "[2001:db8::7]:8081"),
            ("[2001:db8::7]:9000", "[2001:db8::7]:9000"),
            ("2001:0DB8:0:0::7", "[2001:db8::7]:8081"),
            ("::", "[::]:8081"),
            ("::ffff:192.0.2.7", "[::ffff:192.0.2.7]:8081"),
            ("fe80::1%eth0", "[fe80::1%eth0]:8081"),
            ("[fe80::1%2]:9000", "[fe80::1%2]:9000"),
            ("relay.example:08037", "relay.example:8037"),
        ] {
            let parsed: Host = text.parse().unwrap();
            assert_eq!(parsed.to_string(), host, "{text}");
            let port = text.ends_with(":9000") || text.ends_with(":08037");
            assert_eq!(Host::names_port(text), port, "{text}");
        }
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
            "2::08037",
            "2::08037:1",
            "[2::08037]",
            "host:+1",
            "host:１",
            "a:b:1",
            "[host]",
            "[192.0.2.7]:1",
            "[::1",
            "::1]",
            "[::1]1",
            "[::1]:",
            "[[::1]]",
            "[]",
            "fe80::1%",
            "fe80::1%a]b",
            "host%eth0",
            &"x".repeat(256),
        ] {
            let why = bad.parse::<Host>().unwrap_err().to_string();
            assert!(why.contains("examples"), "{bad}");
        }
    }

    #[test]
    fn a_refusal_shows_the_text_escaped_and_cut() {
        let bad = format!("\x1b[2J\n{}", "x y".repeat(1000));
        let why = bad.parse::<Host>().unwrap_err().to_string();
        assert!(!why.contains(char::is_control) && why.len() < 400, "{why}");
    }

    /// Texts near a host: pieces of one in any order.
    fn hostlike() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            "[0-9a-f]{0,5}",
            "[a-zß_.-]{1,4}",
            "[+0-9]{1,6}",
            Just("::".to_owned()),
            prop::sample::select(vec![":", "[", "]", "%", "8081", "fe80", "192.0.2.7", "::1"])
                .prop_map(str::to_owned),
            any::<char>().prop_map(String::from),
        ];
        prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn any_text_that_is_a_host_is_shown_as_the_same_host(text in hostlike()) {
            if let Ok(host) = text.parse::<Host>() {
                prop_assert_eq!(host.to_string().parse(), Ok(host.clone()));
                prop_assert!(Host::names_port(&host.to_string()));
                prop_assert_eq!(host.name().contains([':', '[', ']', '%']), host.name().starts_with('['));
            }
        }

        #[test]
        fn any_text_that_is_a_ticket_is_shown_as_the_same_ticket(host in hostlike(), camera in "(/[a-zß %20.-]{0,6})?") {
            let digits = "0123456789abcdef".repeat(4);
            let text = format!("{SCHEME}{host}{camera}?token={digits}#sha256={digits}");
            if let Ok(ticket) = text.parse::<Ticket>() {
                prop_assert_eq!(ticket.to_string().parse(), Ok(ticket));
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_ticket_or_a_reason(text in ".{0,300}") {
            let _ = text.parse::<Ticket>();
        }

        #[test]
        fn a_damaged_ticket_never_panics(at in 0usize..200, with in any::<char>()) {
            let mut text: Vec<char> = ticket(Some("yard")).to_string().chars().collect();
            let at = at % text.len();
            text[at] = with;
            let text: String = text.into_iter().collect();
            if let Ok(read) = text.parse::<Ticket>() {
                prop_assert_eq!(read.to_string().parse(), Ok(read));
            }
        }
    }
}
