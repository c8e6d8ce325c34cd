//! What each request passes before its path is routed: its turn, the check of its token and origin, and the headers of every answer.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use platform::clock::unix_micros;
use protocol::quic::Refusal;

use super::Context;
use super::connection::Connection;
use super::entry::{Parameters, bad_host, origin, parameters, requester};
use super::origin_policy::Denial;
use crate::outputs::picture_url::PictureSigner;

/// Answers a request that the policy permits, refuses another, and adds the headers that all answers have.
pub(super) async fn guard(
    State(context): State<Arc<Context>>,
    request: Request,
    next: Next,
) -> Response {
    context.rate.turn().await;
    let origin = origin(request.headers()).map(str::to_owned);
    let verdict = verdict(&context, &request);
    if let Some(connection) = request.extensions().get::<Arc<Connection>>() {
        connection.on_request(request.headers(), &context.proxies);
        connection.settle(matches!(verdict, Verdict::Permitted));
    }
    let mut answer = match verdict {
        Verdict::Refused(answer) => answer,
        _ if *request.method() == Method::OPTIONS => preflight(),
        _ => next.run(request).await,
    };
    let headers = answer.headers_mut();
    headers.insert(header::X_FRAME_OPTIONS, header_value("SAMEORIGIN"));
    headers.insert(header::CACHE_CONTROL, header_value("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, header_value("nosniff"));
    headers.insert(header::REFERRER_POLICY, header_value("no-referrer"));
    if let Some(origin) = origin.filter(|origin| context.policy.trusts(origin))
        && let Ok(origin) = HeaderValue::from_str(&origin)
    {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::VARY, header_value("origin"));
    }
    answer
}

/// Returns the answer to a browser's CORS preflight; [`guard`] adds whether the origin is trusted.
fn preflight() -> Response {
    let allowed = [
        (header::ALLOW, "GET, HEAD"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization"),
    ];
    (StatusCode::NO_CONTENT, allowed).into_response()
}

/// Returns a header's value.
pub(super) fn header_value(value: &'static str) -> HeaderValue {
    HeaderValue::from_static(value)
}

/// What becomes of a request.
enum Verdict {
    /// Every client may send it.
    Public,
    /// The policy permits it.
    Permitted,
    Refused(Response),
}

fn verdict(context: &Context, request: &Request) -> Verdict {
    let preflight = *request.method() == Method::OPTIONS;
    if preflight || request.uri().path() == "/healthz" {
        return Verdict::Public;
    }
    if let Some(why) = bad_host(request) {
        return Verdict::Refused(text(StatusCode::BAD_REQUEST, why));
    }
    let parameters = parameters(request.uri());
    if is_signed(context, request, &parameters) {
        return Verdict::Permitted;
    }
    match context.policy.check(requester(request, &parameters)) {
        Ok(()) => Verdict::Permitted,
        Err(denial) => Verdict::Refused(denied(denial)),
    }
}

/// Returns whether a request is for a picture of an event whose URL an output has signed.
fn is_signed(context: &Context, request: &Request, parameters: &Parameters) -> bool {
    let path = request.uri().path();
    let now = unix_micros() / 1_000_000;
    let permits = |(signer, (expires, signature)): (&PictureSigner, (&str, &str))| {
        signer.permits(path, expires, signature, now)
    };
    let signed = context.signer.as_ref().zip(parameters.signed());
    path.starts_with("/events/") && signed.is_some_and(permits)
}

/// Returns the answer for a denial: what is wrong, and what to do.
fn denied(denial: Denial) -> Response {
    let (status, why) = match denial {
        Denial::Token(Refusal::Private) => (
            StatusCode::UNAUTHORIZED,
            "this relay is private: add ?token=TOKEN, the token of the viewer's ticket in the relay's log",
        ),
        Denial::Token(Refusal::Role) => (
            StatusCode::FORBIDDEN,
            "this is the sender's token; the viewer's is in the other ticket in the relay's log",
        ),
        Denial::Token(_) => (
            StatusCode::UNAUTHORIZED,
            "this token is wrong, or was renewed; the relay's log shows the ticket in force",
        ),
        Denial::Host => (
            StatusCode::MISDIRECTED_REQUEST,
            "this host name is not one of the relay's; if it is the right one, start the relay with --http-origin http://NAME",
        ),
        Denial::Origin => (
            StatusCode::FORBIDDEN,
            "pages of another origin get no WebSocket from this relay; relay-server --http-origin ORIGIN permits them",
        ),
    };
    let mut answer = text(status, why);
    if status == StatusCode::UNAUTHORIZED {
        answer
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, header_value("Bearer"));
    }
    answer
}

/// Returns an answer of one line of text.
pub(super) fn text(status: StatusCode, text: impl std::fmt::Display) -> Response {
    (status, format!("{text}\n")).into_response()
}
