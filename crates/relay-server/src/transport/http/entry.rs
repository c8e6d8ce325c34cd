//! What a request carries that decides whether it is answered, read from its headers and its URL. Pure.

use axum::extract::Query;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Request, Uri, Version, header};
use serde::Deserialize;

use super::origin_policy::Requester;

/// What a URL's query says of who requests; what it asks for is [`super::query`]'s.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Parameters {
    token: Option<String>,
    expires: Option<String>,
    signature: Option<String>,
}

impl Parameters {
    /// Returns end and signature of a signed URL.
    pub(super) fn signed(&self) -> Option<(&str, &str)> {
        self.expires.as_deref().zip(self.signature.as_deref())
    }
}

/// Returns the origin of the page that sends a request.
pub(super) fn origin(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::ORIGIN)?.to_str().ok()
}

/// Returns what is wrong with a request that does not name its host exactly once (RFC 9112, section 3.2): another server on
/// the way may have read another name than this one does.
pub(super) fn bad_host<B>(request: &Request<B>) -> Option<&'static str> {
    match request.headers().get_all(header::HOST).iter().count() {
        0 if request.version() == Version::HTTP_11 => Some("a request of HTTP/1.1 needs a host"),
        0 | 1 => None,
        _ => Some("a request has one host"),
    }
}

/// Returns what decides about a request. A name or an origin that is not text matches none.
pub(super) fn requester<'a, B>(
    request: &'a Request<B>,
    parameters: &'a Parameters,
) -> Requester<'a> {
    let headers = request.headers();
    let host = headers.get(header::HOST);
    let origin = headers.get(header::ORIGIN);
    // A URL with a name in the request line replaces the header (RFC 9112, section 3.2.2).
    let in_url = request.uri().authority().map(Authority::as_str);
    Requester {
        host: in_url.or(host.map(|host| host.to_str().unwrap_or("?.?"))),
        origin: origin.map(|origin| origin.to_str().unwrap_or_default()),
        upgrade: headers.contains_key(header::UPGRADE),
        token: bearer(headers).or(parameters.token.as_deref()),
    }
}

/// Returns the parameters of a URL's query; none if it cannot be parsed.
pub(super) fn parameters(uri: &Uri) -> Parameters {
    Query::try_from_uri(uri).map_or_else(|_| Parameters::default(), |Query(parameters)| parameters)
}

/// Returns the token of `Authorization: Bearer`.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::sync::Arc;

    use super::super::fuzz_rules::{Relays, TRUSTED_ORIGIN, TRUSTED_PROXIES, http_entry};
    use super::super::origin_policy::OriginPolicy;
    use super::super::proxies::TrustedProxies;
    use crate::access::Access;

    #[test]
    fn every_request_of_the_fuzz_targets_corpus_is_answered_or_refused_as_it_must_be() {
        let state = tempfile::tempdir().unwrap();
        let private = Access::open(Some(state.path()), true, false).unwrap();
        let (_, view) = private.tickets(&"relay".parse().unwrap()).unwrap();
        let open = Access::open(None, false, false).unwrap();
        let trusted = || vec![TRUSTED_ORIGIN.parse().unwrap()];
        let relays = Relays {
            open: OriginPolicy::new(Arc::new(open), trusted()),
            private: OriginPolicy::new(Arc::new(private), trusted()),
            token: view.token.to_string(),
            proxies: TrustedProxies::new(&[TRUSTED_PROXIES.parse().unwrap()]),
        };
        let corpus = "../protocol/fuzz/corpus/http_entry";
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join(corpus);
        let files: Vec<_> = fs::read_dir(corpus).unwrap().collect();
        assert!(files.len() >= 10);
        for file in files {
            let file = file.unwrap().path();
            eprintln!("{}", file.display()); // the last one is that of the failure
            http_entry(&fs::read(file).unwrap(), &relays);
        }
    }
}
