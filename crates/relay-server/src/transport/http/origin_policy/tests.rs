use super::*;

fn open(trusted: &[&str]) -> OriginPolicy {
    let trusted = trusted.iter().map(|origin| origin.parse().unwrap());
    OriginPolicy::new(crate::access::tests::open(), trusted.collect())
}

impl OriginPolicy {
    /// Returns why a request is refused.
    fn denial(&self, requester: Requester<'_>) -> Result<(), Denial> {
        self.check(requester).map(drop)
    }
}

fn named(host: &str) -> Requester<'_> {
    Requester {
        host: Some(host),
        ..Requester::default()
    }
}

#[test]
fn names_that_a_stranger_can_make_lead_here_are_not_this_relays() {
    let policy = open(&[]);
    for own in [
        "127.0.0.1:8080",
        "[::1]:8080",
        "[2001:db8::1]",
        "localhost:8080",
        "nas",
        "nas.local:80",
        "NAS.Local.",
        "relay.lan",
    ] {
        assert_eq!(policy.denial(named(own)), Ok(()), "{own}");
    }
    for other in [
        "evil.example:8080",
        "127.0.0.1.evil.example",
        "local.evil",
        "a.b:x",
    ] {
        assert_eq!(policy.denial(named(other)), Err(Denial::Host), "{other}");
    }
    assert_eq!(policy.denial(Requester::default()), Ok(()), "not a browser");
}

#[test]
fn a_name_that_the_operator_gave_is() {
    let policy = open(&["https://cam.example"]);
    assert_eq!(policy.denial(named("cam.example")), Ok(()));
    assert_eq!(policy.denial(named("cam.example:8443")), Ok(()));
    assert_eq!(policy.denial(named("evil.example")), Err(Denial::Host));
    assert_eq!(open(&["*"]).denial(named("evil.example")), Ok(()));
}

#[test]
fn a_page_of_another_origin_gets_no_socket() {
    let policy = open(&["https://cam.example"]);
    let from = |origin, upgrade| {
        policy.denial(Requester {
            host: Some("127.0.0.1:8080"),
            origin: Some(origin),
            upgrade,
            ..Requester::default()
        })
    };
    assert_eq!(from("http://127.0.0.1:8080", true), Ok(()));
    assert_eq!(from("https://cam.example", true), Ok(()));
    for other in ["http://evil.example", "http://127.0.0.1:9999", "null", ""] {
        assert_eq!(from(other, true), Err(Denial::Origin), "{other}");
        assert_eq!(from(other, false), Ok(()), "as an <img> of any page may");
    }
}

fn private(trusted: &[&str]) -> (OriginPolicy, Vec<String>, tempfile::TempDir) {
    let state = tempfile::tempdir().unwrap();
    let (access, tokens) = crate::access::tests::private(state.path());
    let trusted = trusted.iter().map(|origin| origin.parse().unwrap());
    (OriginPolicy::new(access, trusted.collect()), tokens, state)
}

#[test]
fn a_private_relay_wants_the_viewers_token_and_nothing_else() {
    let (policy, tokens, _state) = private(&[]);
    let with = |token: Option<&str>| {
        policy.denial(Requester {
            host: Some("cam.example"),
            origin: Some("http://other.example"),
            upgrade: true,
            token,
            fetch_site: Some("cross-site"),
            cookie: None,
            publishes: None,
        })
    };
    assert_eq!(with(Some(&tokens[1])), Ok(()));
    for (token, refusal) in [
        (None, Refusal::Private),
        (Some(tokens[0].as_str()), Refusal::Role),
        (Some("x"), Refusal::Token),
    ] {
        assert_eq!(with(token), Err(Denial::Token(refusal)));
    }
}

#[test]
fn a_cookie_opens_what_its_ticket_opens_but_no_socket_for_another_page() {
    let (policy, tokens, _state) = private(&["https://cam.example"]);
    let grant = policy
        .access
        .check_token(Role::View, None, Some(&tokens[1]))
        .unwrap();
    let cookie = policy.access.issue_cookie(&grant).unwrap();
    let with = |cookie: &str, origin: Option<&str>, fetch_site: Option<&str>, upgrade| {
        policy.denial(Requester {
            host: Some("nas:8080"),
            origin,
            upgrade,
            cookie: Some(cookie),
            fetch_site,
            token: None,
            publishes: None,
        })
    };
    for upgrade in [false, true] {
        assert_eq!(with(&cookie, None, None, upgrade), Ok(()));
        assert_eq!(
            with(&cookie, Some("http://nas:8080"), None, upgrade),
            Ok(())
        );
        let behind_a_proxy = with(&cookie, Some("https://cam.example"), None, upgrade);
        assert_eq!(behind_a_proxy, Ok(()));
        let renamed = with(
            &cookie,
            Some("https://x.example"),
            Some("same-origin"),
            upgrade,
        );
        assert_eq!(renamed, Ok(()), "the browser states it");
        assert_eq!(with("x", None, None, upgrade), Err(Denial::Session));
    }
    for origin in ["http://nas:9999", "http://evil.example", "null"] {
        let other = with(&cookie, Some(origin), Some("same-site"), true);
        assert_eq!(other, Err(Denial::Origin), "{origin}");
        assert_eq!(with(&cookie, Some(origin), None, true), Err(Denial::Origin));
    }
}

#[test]
fn no_page_of_another_origin_signs_a_browser_in_or_out() {
    let (policy, ..) = private(&["https://cam.example"]);
    let from = |origin: Option<&'static str>, fetch_site| {
        policy.is_own_page(Requester {
            host: Some("nas:8080"),
            origin,
            fetch_site,
            ..Requester::default()
        })
    };
    for origin in [None, Some("http://nas:8080"), Some("https://cam.example")] {
        assert!(from(origin, None), "{origin:?}");
    }
    assert!(from(Some("null"), Some("same-origin")));
    for origin in [
        "http://nas",
        "http://nas:9999",
        "http://evil.example",
        "null",
        "",
    ] {
        assert!(!from(Some(origin), None), "{origin}");
        assert!(!from(Some(origin), Some("cross-site")), "{origin}");
    }
    assert!(!from(None, Some("cross-site")) && !from(None, Some("none")));
}

#[test]
fn a_publisher_needs_a_senders_token_and_no_page_of_another_origin_is_one() {
    let (policy, tokens, _state) = private(&[]);
    let [send, view] = &tokens[..] else {
        panic!("a token of each role");
    };
    let grant = policy.access.check_token(Role::View, None, Some(view));
    let cookie = policy.access.issue_cookie(&grant.unwrap()).unwrap();
    let publish = |policy: &OriginPolicy, token: Option<&str>, cookie, origin| {
        policy.denial(Requester {
            host: Some("127.0.0.1:8080"),
            origin,
            token,
            cookie,
            publishes: Some("yard"),
            ..Requester::default()
        })
    };
    assert_eq!(publish(&policy, Some(send), None, None), Ok(()));
    let viewers = publish(&policy, Some(view), None, None);
    assert_eq!(viewers, Err(Denial::Token(Refusal::Role)));
    for cookie in [None, Some(cookie.as_str())] {
        let none = publish(&policy, None, cookie, None);
        assert_eq!(none, Err(Denial::Token(Refusal::Private)));
    }
    let own = Some("http://127.0.0.1:8080");
    let other = Some("http://evil.example");
    let by_other = publish(&policy, Some(send), None, other);
    assert_eq!(by_other, Err(Denial::Origin));
    assert_eq!(publish(&open(&[]), None, None, own), Ok(()));
    assert_eq!(publish(&open(&[]), None, None, other), Err(Denial::Origin));
    let trusting = open(&["http://evil.example"]);
    assert_eq!(publish(&trusting, None, None, other), Ok(()));
}

#[test]
fn origins_are_scheme_host_and_port() {
    for bad in [
        "cam.example",
        "http://",
        "http://a/b",
        "ftp://a",
        "http://a b",
        "http://a:b:c",
        "http://[::1",
        "http://nas:0",
        "https://küche.example",
        "",
    ] {
        assert!(bad.parse::<Origin>().is_err(), "{bad}");
    }
    for (text, origin) in [
        ("https://cam.example:443", "https://cam.example"),
        ("http://nas:80/", "http://nas"),
        ("http://nas:443", "http://nas:443"),
        ("http://nas:8081", "http://nas:8081"),
        ("http://[2001:DB8:0::7]:8123", "http://[2001:db8::7]:8123"),
    ] {
        let parsed: Origin = text.parse().unwrap();
        assert_eq!(parsed.0, origin);
        assert_eq!(parsed.0.parse(), Ok(parsed), "{text}");
    }
    assert_eq!(
        "HTTPS://Cam.Example/".parse(),
        Ok(Origin("https://cam.example".to_owned()))
    );
}
