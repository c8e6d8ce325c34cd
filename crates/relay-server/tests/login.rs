//! The login of a private relay's page: the form, the cookie, and what signs a browser out.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

mod common {
    pub(crate) mod http;
    pub(crate) mod process;
    pub(crate) mod tickets;
}

use std::net::SocketAddr;
use std::time::Instant;

use common::http::{Response, exchange, request};
use common::process::{MS, SOON, stop};
use common::tickets::{PrivateRelay, add, ticket_ok};

/// Sends a POST as the relay's own page does, with these headers besides.
fn post(at: SocketAddr, path: &str, body: &str, headers: &str) -> Response {
    let length = body.len();
    let text = format!(
        "POST {path} HTTP/1.1\r\nhost: {at}\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    );
    exchange(at, text.as_bytes()).unwrap()
}

/// Returns the cookie that an answer sets: name and value.
fn cookie(answer: &Response) -> String {
    let set = answer.header("set-cookie").unwrap();
    set.split(';').next().unwrap().to_owned()
}

fn with_cookie(at: SocketAddr, path: &str, cookie: &str) -> Response {
    request(at, "GET", path, &[("cookie", cookie)])
}

#[test]
fn a_token_is_sent_once_and_the_cookie_opens_all_that_its_ticket_opens() {
    let dir = tempfile::tempdir().unwrap();
    let anna = add(dir.path(), &["view", "anna"]);
    let pi = add(dir.path(), &["send", "pi"]);
    let relay = PrivateRelay::start(dir.path(), &[]);
    let at = relay.http;
    let form = request(at, "GET", "/", &[]);
    assert_eq!(form.status, 401);
    assert_eq!(
        form.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert!(form.header("content-security-policy").is_some());
    let form = form.body();
    assert!(form.contains("id=\"token\"") && !form.contains("id=\"picture\""));
    assert_eq!(request(at, "GET", "/api/cameras", &[]).status, 401);
    assert_eq!(request(at, "GET", "/?action=snapshot", &[]).status, 401);

    let origin = format!("origin: http://{at}\r\n");
    for (body, status) in [
        (pi.token.to_string(), 403),
        ("0".repeat(64), 401),
        (String::new(), 401),
        ("x".repeat(1025), 400),
    ] {
        let refused = post(at, "/login", &body, &origin);
        assert_eq!(refused.status, status, "{body}");
        assert_eq!(refused.header("set-cookie"), None);
    }
    let signed_in = post(at, "/login", &anna.to_string(), &origin);
    assert_eq!(signed_in.status, 204);
    let set = signed_in.header("set-cookie").unwrap();
    for part in [
        "; HttpOnly",
        "; SameSite=Strict",
        "; Path=/",
        "; Max-Age=2592000",
    ] {
        assert!(set.contains(part), "{set}");
    }
    assert!(!set.contains("Secure") && !set.contains(&anna.token.to_string()));
    let cookie = cookie(&signed_in);
    let page = with_cookie(at, "/", &cookie);
    assert_eq!((page.status, page.header("set-cookie")), (200, None));
    assert!(page.body().contains("data-signed-in=\"true\""));
    for path in ["/api/cameras", "/metrics"] {
        assert_eq!(with_cookie(at, path, &cookie).status, 200, "{path}");
    }
    let name = cookie.split('=').next().unwrap();
    let forged = format!("{name}=0{}", &cookie[name.len() + 2..]);
    assert_eq!(with_cookie(at, "/api/cameras", &forged).status, 401);
    let log = stop(relay.running).stderr;
    assert!(!log.contains(&anna.token.to_string()) && !log.contains(&cookie));
}

#[test]
fn a_browser_stays_signed_in_over_a_restart_until_its_ticket_is_revoked_or_it_signs_out() {
    let dir = tempfile::tempdir().unwrap();
    let anna = add(dir.path(), &["view", "anna"]);
    add(dir.path(), &["view", "ben"]);
    let relay = PrivateRelay::start(dir.path(), &[]);
    let answer = post(relay.http, "/login", &anna.token.to_string(), "");
    let cookie = cookie(&answer);
    stop(relay.running);
    let relay = PrivateRelay::start(dir.path(), &[]);
    let at = relay.http;
    assert_eq!(with_cookie(at, "/api/cameras", &cookie).status, 200);

    let out = post(at, "/logout", "", &format!("cookie: {cookie}\r\n"));
    let set = out.header("set-cookie").unwrap();
    let name = cookie.split('=').next().unwrap();
    assert!(set.starts_with(&format!("{name}=; ")) && set.contains("Max-Age=0"));

    ticket_ok(dir.path(), &["revoke", "anna"]);
    let deadline = Instant::now() + SOON;
    loop {
        let answer = with_cookie(at, "/api/cameras", &cookie);
        if answer.status == 401 {
            assert!(answer.body().contains("signed out"));
            break;
        }
        assert!(Instant::now() < deadline, "{}", answer.status);
        std::thread::sleep(20 * MS);
    }
    let form = with_cookie(at, "/", &cookie);
    assert!(form.status == 401 && form.body().contains("id=\"token\""));
    stop(relay.running);
}

#[test]
fn behind_tls_the_cookie_is_secure_as_the_page_or_a_trusted_proxy_states() {
    let dir = tempfile::tempdir().unwrap();
    let anna = add(dir.path(), &["view", "anna"]).token.to_string();
    let flags = ["--http-origin", "https://cam.example"];
    let proxied = [&flags[..], &["--http-trust-proxy", "127.0.0.1"]].concat();
    for (flags, headers, secure) in [
        (&flags[..], "x-forwarded-proto: https\r\n", false),
        (&flags, "origin: https://cam.example\r\n", true),
        (&proxied, "x-forwarded-proto: https\r\n", true),
        (&proxied, "x-forwarded-proto: http\r\n", false),
    ] {
        let relay = PrivateRelay::start(dir.path(), flags);
        let answer = post(relay.http, "/login", &anna, headers);
        let set = answer.header("set-cookie").unwrap();
        assert_eq!(set.ends_with("; Secure"), secure, "{headers}: {set}");
        stop(relay.running);
    }
}

#[test]
fn pages_of_other_origins_sign_no_browser_in_or_out_and_get_no_socket_by_its_cookie() {
    let dir = tempfile::tempdir().unwrap();
    let anna = add(dir.path(), &["view", "anna"]).token.to_string();
    let relay = PrivateRelay::start(dir.path(), &[]);
    let at = relay.http;
    for headers in [
        "origin: http://evil.example\r\n",
        "origin: http://127.0.0.1:9\r\n",
        "origin: null\r\n",
        "sec-fetch-site: same-site\r\n",
    ] {
        for path in ["/login", "/logout"] {
            let refused = post(at, path, &anna, headers);
            assert_eq!(refused.status, 403, "{path} {headers}");
            assert_eq!(refused.header("set-cookie"), None);
        }
    }
    let cookie = cookie(&post(
        at,
        "/login",
        &anna,
        "sec-fetch-site: same-origin\r\n",
    ));
    let upgrade = |origin: &str| {
        let headers = [
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("cookie", &cookie),
            ("origin", origin),
        ];
        request(at, "GET", "/cam/yard/ws", &headers).status
    };
    assert_eq!(upgrade(&format!("http://{at}")), 404, "no such camera yet");
    assert_eq!(upgrade("http://127.0.0.1:9"), 403);
    assert_eq!(request(at, "GET", "/login", &[]).status, 303);
    assert_eq!(request(at, "GET", "/logout", &[]).status, 405);
    stop(relay.running);
}

#[test]
fn a_token_in_the_pages_address_is_replaced_by_the_cookie() {
    let dir = tempfile::tempdir().unwrap();
    let anna = add(dir.path(), &["view", "anna"]);
    let relay = PrivateRelay::start(dir.path(), &[]);
    let url = format!("/?camera=yard&token={}&bare=1", anna.token);
    let answer = request(relay.http, "GET", &url, &[]);
    assert_eq!(answer.status, 303);
    assert_eq!(answer.header("location"), Some("/?camera=yard&bare=1"));
    let page = with_cookie(relay.http, "/?camera=yard&bare=1", &cookie(&answer));
    assert_eq!(page.status, 200);
    // Other software still reads by the token in the URL.
    let cameras = format!("/api/cameras?token={}", anna.token);
    assert_eq!(request(relay.http, "GET", &cameras, &[]).status, 200);
    stop(relay.running);
}

#[test]
fn an_open_relay_has_nothing_to_sign_in_to() {
    let relay = common::http::HttpRelay::start(&[]);
    let answer = post(relay.http, "/login", "x", "");
    assert_eq!(answer.status, 404);
    let page = relay.get("/").body();
    assert!(page.contains("data-signed-in=\"false\""));
    assert_eq!(post(relay.http, "/logout", "", "").status, 204);
    relay.stop();
}
