#![no_main]

use std::sync::{Arc, LazyLock};

use self::http_entry::{Relays, TRUSTED_ORIGIN, TRUSTED_PROXIES};
use self::origin_policy::OriginPolicy;
use self::proxies::TrustedProxies;

// Parts of the relay, which links OpenCV and ONNX Runtime: these files need neither.
#[path = "../../../relay-server/src/transport/http/entry.rs"]
#[allow(dead_code, reason = "the relay uses the rest")]
mod entry;
#[path = "../src/http_entry.rs"]
mod http_entry;
#[path = "../../../relay-server/src/transport/http/origin_policy.rs"]
#[allow(dead_code, reason = "the relay uses the rest")]
mod origin_policy;
#[path = "../../../relay-server/src/transport/http/proxies.rs"]
#[allow(dead_code, reason = "the relay uses the rest")]
mod proxies;

/// The relay's, but for the files in which it keeps the tickets.
mod access {
    use protocol::label::CameraName;
    use protocol::quic::{Refusal, Role};

    #[derive(Debug, Clone, PartialEq, Eq, Default)]
    pub struct Grant;

    pub struct CookieGrant {
        pub grant: Grant,
        pub is_old: bool,
    }

    #[derive(Debug)]
    pub struct Access(pub Option<String>);

    impl Access {
        pub fn is_private(&self) -> bool {
            self.0.is_some()
        }

        pub fn check_token(
            &self,
            _: Role,
            _: Option<&CameraName>,
            token: Option<&str>,
        ) -> Result<Grant, Refusal> {
            let given = token.ok_or(Refusal::Private)?;
            let same = self.0.as_deref() == Some(given);
            same.then_some(Grant).ok_or(Refusal::Token)
        }

        pub fn check_cookie(&self, _: &str) -> Option<CookieGrant> {
            None
        }
    }
}

static RELAYS: LazyLock<Relays> = LazyLock::new(|| {
    let token = "0123456789abcdef".repeat(4);
    let trusted = || vec![TRUSTED_ORIGIN.parse().expect("it is an origin")];
    let policy = |token| OriginPolicy::new(Arc::new(access::Access(token)), trusted());
    let network = TRUSTED_PROXIES.parse().expect("it is a network");
    Relays {
        open: policy(None),
        private: policy(Some(token.clone())),
        token,
        proxies: TrustedProxies::new(&[network]),
    }
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| http_entry::http_entry(bytes, &RELAYS));
