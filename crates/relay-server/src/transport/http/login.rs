//! Signing in at a private relay's page, and out: a ticket's token is sent once, and a cookie takes its place. So the token
//! stands in no address bar, history or proxy's log.

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use protocol::quic::Role;
use protocol::ticket::{Key, Ticket};
use tokio::time::timeout;

use super::Context;
use super::connection::Connection;
use super::entry::origin;
use super::origin_policy::{Denial, Proof};
use super::request::{Viewer, denied, text};
use crate::access::Grant;
use crate::tickets::cookie::LIFE;

/// The paths that need no session: a POST to them has to come from the relay's own page.
pub(super) const PATHS: [&str; 2] = ["/login", "/logout"];
/// Most bytes of a login: a ticket or a link with the longest names.
const MAX_LOGIN: usize = 1024;
/// Longest time for these to come.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Shows the page to a browser that opens the path of the login.
pub(super) async fn redirect() -> Redirect {
    Redirect::to("/")
}

/// Signs a browser in whose request holds a viewer's token, ticket or link.
pub(super) async fn sign_in(State(context): State<Arc<Context>>, request: Request) -> Response {
    let access = context.policy.access();
    if !access.is_private() {
        let why = "this relay is open: nothing to sign in to";
        return text(StatusCode::NOT_FOUND, why);
    }
    let secure = is_secure(&context, &request);
    let body = timeout(TIMEOUT, to_bytes(request.into_body(), MAX_LOGIN)).await;
    let Ok(Ok(body)) = body else {
        let why = "the request is not one token, ticket or link";
        return text(StatusCode::BAD_REQUEST, why);
    };
    let token = token_in(&String::from_utf8_lossy(&body)).map(|token| token.to_string());
    let token = token.as_deref().unwrap_or_default();
    match access.check_token(Role::View, None, Some(token)) {
        Err(refusal) => denied(Denial::Token(refusal)),
        Ok(grant) => {
            let cookie = cookie(&context, &grant, secure);
            signed(StatusCode::NO_CONTENT, cookie)
        }
    }
}

/// Signs a browser out: removes its cookie.
pub(super) async fn sign_out(State(context): State<Arc<Context>>, request: Request) -> Response {
    let name = context.policy.access().cookie_name();
    let cookie = name.map(|name| attributes(name, "", 0, is_secure(&context, &request)));
    signed(StatusCode::NO_CONTENT, cookie)
}

/// Returns the page's address without the token in it, and the cookie that takes its place.
pub(super) fn without_token(context: &Context, grant: &Grant, request: &Request) -> Response {
    let cookie = cookie(context, grant, is_secure(context, request));
    let to = Redirect::to(&address_without_token(request.uri()));
    let mut answer = to.into_response();
    if let Some(cookie) = cookie {
        answer.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    answer
}

/// Returns the cookie that replaces one that has become old.
pub(super) fn renewal(
    context: &Context,
    viewer: &Viewer,
    request: &Request,
) -> Option<HeaderValue> {
    match viewer.proof {
        Proof::Cookie { is_old: true } => {
            cookie(context, &viewer.grant, is_secure(context, request))
        }
        _ => None,
    }
}

fn signed(status: StatusCode, cookie: Option<HeaderValue>) -> Response {
    let cookie = cookie.map(|cookie| [(header::SET_COOKIE, cookie)]);
    (status, cookie.map(HeaderMap::from_iter).unwrap_or_default()).into_response()
}

fn cookie(context: &Context, grant: &Grant, secure: bool) -> Option<HeaderValue> {
    let access = context.policy.access();
    let (name, value) = (access.cookie_name()?, access.issue_cookie(grant)?);
    Some(attributes(name, &value, LIFE.as_secs(), secure))
}

/// Returns a cookie that no script reads and that the browser sends for the relay's own pages alone.
fn attributes(name: &str, value: &str, max_age: u64, secure: bool) -> HeaderValue {
    let secure = if secure { "; Secure" } else { "" };
    let cookie =
        format!("{name}={value}; Path=/; Max-Age={max_age}; HttpOnly; SameSite=Strict{secure}");
    HeaderValue::from_str(&cookie).expect("letters, digits and marks")
}

/// Returns whether the browser reached the relay by TLS, as the page's own origin or a trusted proxy states. A client that
/// states it falsely makes only its own cookie useless.
fn is_secure(context: &Context, request: &Request) -> bool {
    let headers = request.headers();
    let by_origin = origin(headers).is_some_and(|origin| origin.starts_with("https://"));
    let connection = request.extensions().get::<Arc<Connection>>();
    let by_proxy = |of: &Arc<Connection>| context.proxies.states_https(of.peer.ip(), headers);
    by_origin || connection.is_some_and(by_proxy)
}

/// Returns the token in what a user pasted: the token itself, a ticket, or a link to the page.
fn token_in(text: &str) -> Option<Key> {
    let text = text.trim().trim_matches(['\'', '"']);
    let of_ticket = || Ticket::from_str(text).ok().map(|ticket| ticket.token);
    let of_link = || {
        let (_, behind) = text.split_once("#token=")?;
        Key::parse(behind)
    };
    Key::parse(text).or_else(of_ticket).or_else(of_link)
}

/// Returns path and query of a URL without the token.
fn address_without_token(uri: &Uri) -> String {
    let pairs = uri.query().unwrap_or_default().split('&');
    let kept: Vec<_> = pairs
        .filter(|pair| !pair.is_empty() && !pair.starts_with("token="))
        .collect();
    match kept.is_empty() {
        true => "/".to_owned(),
        false => format!("/?{}", kept.join("&")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_in_whatever_of_a_ticket_was_pasted() {
        let digits = "1f".repeat(32);
        for text in [
            digits.clone(),
            format!(" {digits}\n"),
            format!("'{digits}'"),
            format!(
                "sightline://h:1/yard?token={digits}#sha256={}",
                "9c".repeat(32)
            ),
            format!("'sightline://h?token={digits}#sha256={}'", "9c".repeat(32)),
            format!("https://cam.example/?camera=yard#token={digits}"),
        ] {
            assert_eq!(token_in(&text), Key::parse(&digits), "{text}");
        }
        for text in ["", "x", &digits[1..], &format!("#token={digits}0")] {
            assert_eq!(token_in(text), None, "{text}");
        }
    }

    #[test]
    fn the_address_keeps_all_but_the_token() {
        for (url, kept) in [
            ("/?token=1f", "/"),
            (
                "/?token=1f&camera=front%20yard&bare=1",
                "/?camera=front%20yard&bare=1",
            ),
            ("/?camera=yard&token=1f", "/?camera=yard"),
            ("//evil.example/?token=1f", "/"),
        ] {
            assert_eq!(address_without_token(&url.parse().unwrap()), kept, "{url}");
        }
    }

    #[test]
    fn a_cookie_is_out_of_reach_of_scripts_and_other_sites() {
        let plain = attributes("sightline-1f", "a.b", 60, false);
        assert_eq!(
            plain,
            "sightline-1f=a.b; Path=/; Max-Age=60; HttpOnly; SameSite=Strict"
        );
        let secure = attributes("sightline-1f", "", 0, true);
        assert!(
            secure
                .to_str()
                .unwrap()
                .ends_with("; SameSite=Strict; Secure")
        );
    }
}
