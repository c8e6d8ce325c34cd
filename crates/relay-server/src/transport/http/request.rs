//! What each request passes before its path is routed: its turn, the check of its token and origin, and the headers of every answer.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::body::{Body, HttpBody as _};
use axum::extract::{Request, State};
use axum::http::{Extensions, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use protocol::quic::Refusal;

use super::connection::Connection;
use super::entry::{bad_host, origin, parameters, published_camera, requester};
use super::origin_policy::{Denial, Permit, Proof, Requester};
use super::query::asks_for_page;
use super::{Context, login, page, publish, publish_answer};
use crate::access::{Grant, TicketSession};

/// The header of every answer, by which programs of ours tell a relay from any other server.
const SIGHTLINE: &str = protocol::http::SIGHTLINE;

/// The client of a permitted request.
#[derive(Debug, Clone)]
pub(super) struct Viewer {
    pub(super) grant: Grant,
    /// The session, which ends with the grant's ticket.
    pub(super) session: Arc<TicketSession>,
    pub(super) proof: Proof,
}

impl Viewer {
    /// Returns the client that [`guard`] has added to a request.
    pub(super) fn of(extensions: &Extensions) -> Self {
        let viewer = extensions.get().cloned();
        viewer.expect("guard adds it to each request that it permits")
    }

    /// Returns whether the client is signed in by a cookie.
    pub(super) fn has_cookie(&self) -> bool {
        matches!(self.proof, Proof::Cookie { .. })
    }
}

/// Answers a request that the policy permits, refuses another, and adds the headers that all answers have.
pub(super) async fn guard(
    State(context): State<Arc<Context>>,
    mut request: Request,
    next: Next,
) -> Response {
    context.rate.turn().await;
    let origin = origin(request.headers()).map(str::to_owned);
    let publishes = published_camera(request.uri().path());
    let verdict = verdict(&context, &request, publishes.as_deref());
    let connection = request.extensions().get::<Arc<Connection>>().cloned();
    if let Some(connection) = &connection {
        connection.on_request(request.headers(), &context.proxies);
        connection.settle(matches!(verdict, Verdict::Permitted(_)));
    }
    let mut answer = match verdict {
        Verdict::Refused(answer) => answer,
        _ if *request.method() == Method::OPTIONS => preflight(publishes.is_some()),
        Verdict::Public => next.run(request).await,
        Verdict::Permitted(permit) => {
            let address = connection.map(|connection| {
                let client = context
                    .proxies
                    .client(connection.peer.ip(), request.headers());
                client.unwrap_or(connection.peer.ip())
            });
            let address = address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
            let session = context.policy.access().session(&permit.grant, address);
            let viewer = Viewer {
                grant: permit.grant,
                session: Arc::new(session),
                proof: permit.by,
            };
            request.extensions_mut().insert(viewer.clone());
            if let Some(camera) = publishes {
                let standing = context.policy.standing();
                let permit = publish::Permit { camera, standing };
                request.extensions_mut().insert(permit);
            }
            let cookie = login::renewal(&context, &viewer, &request);
            let mut answer = ending_with(viewer.session, next.run(request).await);
            if let Some(cookie) = cookie {
                answer.headers_mut().insert(header::SET_COOKIE, cookie);
            }
            answer
        }
    };
    let headers = answer.headers_mut();
    headers.insert(SIGHTLINE, header_value("1"));
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

/// Returns the answer with a body that ends with the session, if it is one without an end of its own.
fn ending_with(session: Arc<TicketSession>, answer: Response) -> Response {
    if !session.has_ticket() || answer.body().size_hint().exact().is_some() {
        return answer;
    }
    answer.map(|body| {
        let ended = Box::pin(async move { session.ended().await });
        Body::from_stream(body.into_data_stream().take_until(ended))
    })
}

/// Returns the answer to a browser's CORS preflight; [`guard`] adds whether the origin is trusted.
fn preflight(publishes: bool) -> Response {
    let methods = match publishes {
        true => "GET, HEAD, POST",
        false => "GET, HEAD",
    };
    let allowed = [
        (header::ALLOW, methods),
        (header::ACCESS_CONTROL_ALLOW_METHODS, methods),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "authorization, content-type",
        ),
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
    Permitted(Permit),
    Refused(Response),
}

fn verdict(context: &Context, request: &Request, publishes: Option<&str>) -> Verdict {
    let preflight = *request.method() == Method::OPTIONS;
    if preflight || request.uri().path() == "/healthz" {
        return Verdict::Public;
    }
    if let Some(why) = bad_host(request) {
        return Verdict::Refused(text(StatusCode::BAD_REQUEST, why));
    }
    let policy = &context.policy;
    let parameters = parameters(request.uri());
    let requester = Requester {
        publishes,
        ..requester(request, &parameters, policy.access().cookie_name())
    };
    if login::PATHS.contains(&request.uri().path()) {
        return match *request.method() == Method::POST && !policy.is_own_page(requester) {
            true => Verdict::Refused(denied(Denial::Origin)),
            false => Verdict::Public,
        };
    }
    let for_page = request.uri().path() == "/" && asks_for_page(request.uri());
    match policy.check(requester) {
        Ok(permit) if for_page && parameters.has_token() && permit.by == Proof::Token => {
            Verdict::Refused(login::without_token(context, &permit.grant, request))
        }
        Ok(permit) => Verdict::Permitted(permit),
        Err(denial) if publishes.is_some() => Verdict::Refused(publish_answer::denied(denial)),
        Err(Denial::Token(refusal)) if for_page => {
            Verdict::Refused(page::login(policy.trusted(), refusal))
        }
        Err(Denial::Session) if for_page => {
            Verdict::Refused(page::login(policy.trusted(), Refusal::Private))
        }
        Err(denial) => Verdict::Refused(denied(denial)),
    }
}

/// Returns the answer for a denial: what is wrong, and what to do.
pub(super) fn denied(denial: Denial) -> Response {
    let (status, why) = match denial {
        Denial::Token(Refusal::Private) => (
            StatusCode::UNAUTHORIZED,
            "this relay is private: sign in at /, or send the token of a viewer's ticket (Authorization: Bearer TOKEN); \
             relay-server ticket add view makes one",
        ),
        Denial::Token(Refusal::Role) => (
            StatusCode::FORBIDDEN,
            "this is a sender's token; relay-server ticket add view makes one for a viewer",
        ),
        Denial::Token(_) => (
            StatusCode::UNAUTHORIZED,
            "this token is wrong, or was revoked; relay-server ticket add view makes another",
        ),
        Denial::Session => (
            StatusCode::UNAUTHORIZED,
            "you are signed out: the ticket was revoked, or not used for 30 days; sign in again at /",
        ),
        Denial::Host => (
            StatusCode::MISDIRECTED_REQUEST,
            "this host name is not one of the relay's; if it is the right one, start the relay with --http-origin http://NAME",
        ),
        Denial::Origin => (
            StatusCode::FORBIDDEN,
            "pages of another origin get no WebSocket from this relay, and sign no browser in or out; relay-server \
             --http-origin ORIGIN permits them",
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
