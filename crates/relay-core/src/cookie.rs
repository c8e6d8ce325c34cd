//! The relay's cookies: numbers that it can check without remembering to whom it sent them.

use std::net::{IpAddr, SocketAddr};

use protocol::label::CameraName;
use protocol::peer::Cookie;
use ring::hmac;

/// The secrets from which cookies are derived.
#[derive(Clone)]
pub struct CookieSecret {
    /// Another one at each start of the relay.
    of_run: hmac::Key,
    /// The same at each start.
    lasting: hmac::Key,
}

impl CookieSecret {
    /// Returns the secret of random bytes and of bytes that are the same at each start of the relay.
    pub fn new(random: [u8; 32], lasting: [u8; 32]) -> Self {
        let key = |bytes: [u8; 32]| hmac::Key::new(hmac::HMAC_SHA256, &bytes);
        Self {
            of_run: key(random),
            lasting: key(lasting),
        }
    }

    /// Returns the cookie of an address and port: a peer that knows it receives what is sent there.
    pub(crate) fn of_address(&self, address: SocketAddr) -> Cookie {
        let mut context = hmac::Context::with_key(&self.of_run);
        context.update(b"address");
        match address.ip() {
            IpAddr::V4(ip) => context.update(&ip.octets()),
            IpAddr::V6(ip) => context.update(&ip.octets()),
        }
        context.update(&address.port().to_be_bytes());
        first_number(context.sign())
    }

    /// Returns the cookie of the sender to which a camera's name was given as the `number`th.
    pub(crate) fn of_sender(&self, number: u64) -> Cookie {
        let mut context = hmac::Context::with_key(&self.of_run);
        context.update(b"sender");
        context.update(&number.to_be_bytes());
        first_number(context.sign())
    }

    /// Returns the cookie of all senders with a connection that a camera's name was given to, in this run and in earlier
    /// ones.
    pub(crate) fn of_name(&self, name: &CameraName) -> Cookie {
        first_number(hmac::sign(&self.lasting, name.as_str().as_bytes()))
    }
}

fn first_number(tag: hmac::Tag) -> Cookie {
    let mut number = [0; 8];
    number.copy_from_slice(&tag.as_ref()[..8]);
    Cookie(u64::from_be_bytes(number))
}

/// Hides the secret.
impl std::fmt::Debug for CookieSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CookieSecret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_sender_and_secret_has_its_own_cookie() {
        let secrets = [1, 2].map(|n| CookieSecret::new([n; 32], [3; 32]));
        let mut cookies = Vec::new();
        for secret in &secrets {
            for address in ["192.0.2.1:1", "192.0.2.1:2", "192.0.2.2:1", "[::1]:1"] {
                cookies.push(secret.of_address(address.parse().unwrap()).0);
            }
            cookies.extend([secret.of_sender(1).0, secret.of_sender(2).0]);
        }
        cookies.sort_unstable();
        cookies.dedup();
        assert_eq!(cookies.len(), 12);
        let again = CookieSecret::new([1; 32], [3; 32]).of_sender(1);
        assert_eq!(again, secrets[0].of_sender(1));
    }

    #[test]
    fn a_names_cookie_is_the_same_after_a_restart_and_another_at_each_relay() {
        let of = |run, lasting, name: &str| {
            let secret = CookieSecret::new([run; 32], [lasting; 32]);
            secret.of_name(&name.parse().unwrap())
        };
        assert_eq!(of(1, 3, "yard"), of(2, 3, "yard"));
        assert_ne!(of(1, 3, "yard"), of(1, 4, "yard"));
        assert_ne!(of(1, 3, "yard"), of(1, 3, "porch"));
    }
}
