//! A ticket: where a relay is, what to see or send there, the right to it, and whom to trust, in one line to paste.
//!
//! ```text
//! sightline://relay.example:8081/yard?token=1f..#sha256=9c..
//!             where               |    |         |
//!             (port 8081 if none) |    |         the SHA-256 of the relay's certificate: nobody else is talked to
//!                                 |    the right to send, or to view: 64 hexadecimal digits
//!                                 the camera; may be absent
//! ```
//!
//! The fingerprint stands behind `#`, where a browser or a log of addresses would not pass it on. A space in a camera's
//! name is written `%20`; nothing else that a name may hold needs an escape.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use crate::RELAY_PORT;
use crate::label::CameraName;

/// How every ticket starts.
pub const SCHEME: &str = "sightline://";
/// Bytes of a [`Key`].
pub const KEY: usize = 32;

/// 32 bytes that are written as 64 lower-case hexadecimal digits: a token, or a certificate's SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key(pub [u8; KEY]);

/// Where a relay is: a name or an address, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    name: String,
    port: u16,
}

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// Where.
    pub host: Host,
    /// What; any camera if absent.
    pub camera: Option<CameraName>,
    /// The right to it.
    pub token: Key,
    /// The SHA-256 of the relay's certificate in DER.
    pub fingerprint: Key,
}

/// Why a text is no [`Host`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no HOST[:PORT]; examples: relay.example, 192.0.2.7:8081, [2001:db8::7]:8081")]
pub struct BadHost(String);

/// Why a text is no [`Ticket`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTicket {
    /// Another scheme, or none.
    #[error("a ticket starts with {SCHEME}")]
    Scheme,
    /// Cut off while it was copied, most likely.
    #[error(
        "the ticket's end '#sha256=..' is missing: it was not copied whole, or a shell took a part of it; put it in single quotes"
    )]
    NoFingerprint,
    /// Not 64 digits.
    #[error("the ticket's sha256 is not 64 hexadecimal digits: it was not copied whole")]
    Fingerprint,
    /// Not 64 digits, or none.
    #[error("the ticket's token is not 64 hexadecimal digits: it was not copied whole")]
    Token,
    /// No host.
    #[error("{0}")]
    Host(#[from] BadHost),
    /// No camera's name.
    #[error("the ticket's camera: {0}")]
    Camera(#[from] crate::label::BadName),
}

impl Key {
    /// Reads 64 lower-case hexadecimal digits.
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

/// A key is a secret or as long as one: its first digits tell it from another.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:02x}{:02x}..)", self.0[0], self.0[1])
    }
}

impl Host {
    /// Name or address; an IPv6 address in brackets.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// UDP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The host at another port.
    #[must_use]
    pub fn at(self, port: u16) -> Self {
        Self { port, ..self }
    }
}

impl FromStr for Host {
    type Err = BadHost;

    fn from_str(s: &str) -> Result<Self, BadHost> {
        let bad = || BadHost(s.escape_debug().take(100).collect());
        // The colons of a bare IPv6 address are no port's.
        let (name, port) = match s.rsplit_once(':') {
            _ if s.parse::<Ipv6Addr>().is_ok() => (format!("[{s}]"), None),
            Some((name, port)) if !s.ends_with(']') => (name.to_owned(), Some(port)),
            _ => (s.to_owned(), None),
        };
        let port: u16 = port.map_or(Ok(RELAY_PORT), str::parse).map_err(|_| bad())?;
        let plain =
            |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '[' | ']' | '%');
        let good = !name.is_empty() && port != 0 && name.chars().all(plain);
        good.then_some(Self { name, port }).ok_or_else(bad)
    }
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
        let (place, token) = rest.split_once("?token=").ok_or(BadTicket::Token)?;
        let token = Key::parse(token).ok_or(BadTicket::Token)?;
        let (host, camera) = place.split_once('/').unwrap_or((place, ""));
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
        for camera in [None, Some("yard"), Some("front door"), Some("Küche.2")] {
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
        ] {
            let parsed: Host = text.parse().unwrap();
            assert_eq!(parsed.to_string(), host, "{text}");
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
        ] {
            let why = bad.parse::<Host>().unwrap_err().to_string();
            assert!(why.contains("examples"), "{bad}");
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
