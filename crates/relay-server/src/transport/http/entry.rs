//! What a request carries that decides whether it is answered, read from its headers and its URL. Pure.

use axum::extract::Query;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, Request, Uri, Version, header};
use percent_encoding::percent_decode_str;
use serde::Deserialize;

use super::origin_policy::Requester;

/// How a page relates to the server, as the browser states it (Fetch Metadata).
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What a URL's query says of who requests; what it asks for is [`super::query`]'s.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Parameters {
    token: Option<String>,
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
    cookie_name: Option<&str>,
) -> Requester<'a> {
    let headers = request.headers();
    let fetch_site = headers.get(&SEC_FETCH_SITE);
    let host = headers.get(header::HOST);
    let origin = headers.get(header::ORIGIN);
    // A URL with a name in the request line replaces the header (RFC 9112, section 3.2.2).
    let in_url = request.uri().authority().map(Authority::as_str);
    Requester {
        host: in_url.or(host.map(|host| host.to_str().unwrap_or("?.?"))),
        origin: origin.map(|origin| origin.to_str().unwrap_or_default()),
        upgrade: headers.contains_key(header::UPGRADE),
        token: bearer(headers).or(parameters.token.as_deref()),
        cookie: cookie_name.and_then(|name| cookie(headers, name)),
        fetch_site: fetch_site.map(|site| site.to_str().unwrap_or_default()),
        publishes: None,
    }
}

/// Returns the value of the first cookie of a name.
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(header::COOKIE).into_iter();
    let texts = lines.filter_map(|line| line.to_str().ok());
    let mut pairs = texts.flat_map(|text| text.split(';'));
    pairs.find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

impl Parameters {
    /// Returns whether the URL itself holds a token.
    pub(super) fn has_token(&self) -> bool {
        self.token.is_some()
    }
}

/// Returns the camera that a path publishes as, decoded; `None` for the paths that only read.
pub(super) fn published_camera(path: &str) -> Option<String> {
    let path = path.strip_prefix("/cam/")?;
    let ends = ["/frame", "/publish"];
    let name = ends.iter().find_map(|end| path.strip_suffix(end))?;
    let decoded = percent_decode_str(name).decode_utf8_lossy();
    (!name.contains('/')).then(|| decoded.into_owned())
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

    use super::super::fuzz_rules::{Relays, TRUSTED_ORIGIN, TRUSTED_PROXIES, http_entry};
    use super::super::origin_policy::OriginPolicy;
    use super::super::proxies::TrustedProxies;
    use super::*;
    use crate::access::tests::{open, private};

    #[test]
    fn a_cookie_is_found_by_its_whole_name_among_others() {
        let with = |lines: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::COOKIE, line.parse().unwrap());
            }
            cookie(&headers, "sightline-1f").map(str::to_owned)
        };
        let found = Some("a.b".to_owned());
        assert_eq!(with(&["sightline-1f=a.b"]), found);
        assert_eq!(with(&["x=1; sightline-1f=a.b;y=2"]), found);
        assert_eq!(with(&["x=1", "sightline-1f=a.b"]), found);
        for other in ["", "sightline-1f", "sightline-1f2=a.b", "xsightline-1f=a.b"] {
            assert_eq!(with(&[other]), None, "{other}");
        }
    }

    #[test]
    fn a_path_publishes_as_the_one_name_in_it() {
        for (path, camera) in [
            ("/cam/yard/frame", Some("yard")),
            ("/cam/front%20yard/publish", Some("front yard")),
            ("/cam/a%2Fb/frame", Some("a/b")),
            ("/cam//frame", Some("")),
            ("/cam/yard/ws", None),
            ("/cam/yard/frame/", None),
            ("/cam/a/b/frame", None),
            ("/x/cam/yard/frame", None),
            ("/cam/frame", None),
            ("/", None),
        ] {
            assert_eq!(published_camera(path).as_deref(), camera, "{path}");
        }
    }

    #[test]
    fn every_request_of_the_fuzz_targets_corpus_is_answered_or_refused_as_it_must_be() {
        let state = tempfile::tempdir().unwrap();
        let (private, tokens) = private(state.path());
        let trusted = || vec![TRUSTED_ORIGIN.parse().unwrap()];
        let relays = Relays {
            open: OriginPolicy::new(open(), trusted()),
            private: OriginPolicy::new(private, trusted()),
            token: tokens[1].clone(),
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
