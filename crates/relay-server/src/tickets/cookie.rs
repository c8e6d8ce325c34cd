//! The cookie by which a browser stays signed in: a ticket's id and a time, signed by a key of this relay. Pure.
//!
//! The relay stores nothing of it, so that a restart signs out no browser and sessions fill no table. A cookie is worth what
//! its ticket is: it fails as soon as that is revoked.

use std::time::Duration;

use protocol::ticket::Key;
use ring::hmac;

use super::TicketId;

/// Time without a request after which a browser is signed out.
pub const LIFE: Duration = Duration::from_secs(30 * 24 * 3600);
/// A cookie with less than this left of its life is renewed: once a day, and not with each answer.
const RENEW_BELOW: Duration = Duration::from_secs(29 * 24 * 3600);

/// Makes and checks cookies.
#[derive(Debug)]
pub struct CookieKey {
    key: hmac::Key,
    /// The cookie's name. It has the relay in it: a browser sends cookies to all ports of a host, and two relays that it
    /// reaches by tunnels have the same.
    name: String,
}

/// The content of a cookie of this relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    /// The ticket of the login.
    pub ticket: TicketId,
    /// Whether the cookie is to be renewed.
    pub is_old: bool,
}

impl CookieKey {
    /// Returns the key with this secret, of the relay with this fingerprint.
    pub fn new(secret: &[u8; 32], relay: &Key) -> Self {
        let relay = relay.to_string();
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, secret),
            name: format!("sightline-{}", &relay[..8]),
        }
    }

    /// Returns the cookie's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns a cookie's value for a login at this time, in seconds since the Unix epoch.
    pub fn issue(&self, ticket: TicketId, now: u64) -> String {
        let expires = now.saturating_add(LIFE.as_secs());
        let signed = format!("{ticket}.{expires:016x}");
        let signature = hmac::sign(&self.key, signed.as_bytes());
        let mut digits = Key([0; 32]);
        digits.0.copy_from_slice(signature.as_ref());
        format!("{signed}.{digits}")
    }

    /// Returns whose session a cookie's value is of; `None` if it is not one of this relay's, or has expired.
    pub fn verify(&self, value: &str, now: u64) -> Option<Session> {
        let (signed, signature) = value.rsplit_once('.')?;
        let signature = Key::parse(signature)?;
        hmac::verify(&self.key, signed.as_bytes(), &signature.0).ok()?;
        let (ticket, expires) = signed.split_once('.')?;
        let left = u64::from_str_radix(expires, 16).ok()?.checked_sub(now)?;
        Some(Session {
            ticket: TicketId::parse(ticket)?,
            is_old: left < RENEW_BELOW.as_secs(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::table;
    use super::*;

    const NOW: u64 = 1_763_820_000;
    const DAY: u64 = 24 * 3600;

    fn key(secret: u8) -> CookieKey {
        CookieKey::new(&[secret; 32], &Key([secret; 32]))
    }

    fn id() -> TicketId {
        table().iter().next().unwrap().id()
    }

    #[test]
    fn a_cookie_lives_for_thirty_days_and_is_renewed_after_one() {
        let cookie = key(1).issue(id(), NOW);
        for (later, is_old) in [(0, Some(false)), (DAY, Some(false)), (DAY + 1, Some(true))]
            .into_iter()
            .chain([(30 * DAY, Some(true)), (30 * DAY + 1, None)])
        {
            let session = key(1).verify(&cookie, NOW + later);
            let expected = is_old.map(|is_old| Session {
                ticket: id(),
                is_old,
            });
            assert_eq!(session, expected, "after {later} s");
        }
    }

    #[test]
    fn no_other_relays_and_no_changed_cookie_is_believed() {
        let cookie = key(1).issue(id(), NOW);
        assert_eq!(key(2).verify(&cookie, NOW), None);
        assert_ne!(key(1).name(), key(2).name());
        for at in 0..cookie.len() {
            let mut changed = cookie.clone().into_bytes();
            changed[at] ^= 1;
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(key(1).verify(&changed, NOW), None, "{changed}");
        }
        for bad in ["", ".", "..", &cookie[1..], &cookie[..cookie.len() - 1]] {
            assert_eq!(key(1).verify(bad, NOW), None, "{bad}");
        }
    }
}
