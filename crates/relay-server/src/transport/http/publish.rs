//! Publishing by HTTP: a frame as the body of a request, or each as a message of a WebSocket.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use protocol::datagram::MAX_DATAGRAM;
use protocol::http::{COOKIE, STREAM};
use protocol::label::CameraName;
use protocol::peer::Standing;
use protocol::quic::{Hello, Refusal, Role, Trial};
use protocol::transport::Transport;
use relay_core::{Poster, Publisher};
use tokio::time::timeout;
use tracing::{debug, warn};

use super::connection::Connection;
use super::publish_socket::Peer;
use super::request::Viewer;
use super::{Context, publish_answer, publish_socket};
use crate::event::HttpPublisher;

/// Most bytes of a frame.
pub(super) const MAX_FRAME: usize = MAX_DATAGRAM;
/// Longest time for a request's body: a frame that takes longer is worth nothing.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// What is read of a body that is too large, so that its client, which sends before it reads, gets the answer: more than a
/// network holds of it.
const DRAINED: usize = 1 << 20;
/// Longest time for that.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// The right to publish as a camera, which the policy has checked.
#[derive(Debug, Clone)]
pub(super) struct Permit {
    /// The camera, by the path.
    pub(super) camera: String,
    /// What the client has proved.
    pub(super) standing: Standing,
}

impl Permit {
    fn camera(&self) -> Result<CameraName, Refusal> {
        self.camera.parse().map_err(|_| Refusal::Hello)
    }
}

/// Why a body is no frame's.
enum BodyError {
    TooLarge,
    TooSlow,
    Broken,
}

/// Takes one JPEG, the body of the request.
pub(super) async fn frame(
    State(context): State<Arc<Context>>,
    Extension(permit): Extension<Permit>,
    Extension(connection): Extension<Arc<Connection>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    if !connection.may_post(Instant::now()) {
        return publish_answer::too_many();
    }
    let camera = match permit.camera() {
        Ok(camera) => camera,
        Err(refusal) => return publish_answer::refused(refusal),
    };
    let jpeg = match read(&headers, body).await {
        Ok(jpeg) => jpeg,
        Err(error) => return body_error(&error),
    };
    let poster = HttpPublisher::Poster(Poster {
        address: client(&context, &connection, &headers),
        standing: permit.standing,
        camera,
    });
    match context.relay.take_frame(poster, jpeg.clone()).await {
        Ok(verdict) => publish_answer::of_verdict(verdict, &jpeg),
        Err(why) => publish_answer::error(StatusCode::SERVICE_UNAVAILABLE, "unavailable", why),
    }
}

fn body_error(error: &BodyError) -> Response {
    match error {
        BodyError::TooLarge => publish_answer::too_large(),
        BodyError::TooSlow => publish_answer::error(
            StatusCode::REQUEST_TIMEOUT,
            "too_slow",
            "the frame did not arrive within 10 s: lower the JPEG's quality or size",
        ),
        BodyError::Broken => publish_answer::error(
            StatusCode::BAD_REQUEST,
            "broken",
            "the request ended before its frame was whole; send it again",
        ),
    }
}

/// Reads a body of at most [`MAX_FRAME`] bytes.
async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, BodyError> {
    let mut chunks = body.into_data_stream();
    let declared = headers.get(header::CONTENT_LENGTH);
    let declared = declared.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    let waits = headers.contains_key(header::EXPECT);
    let whole = async {
        if declared.is_some_and(|length| length > MAX_FRAME) {
            return Err(BodyError::TooLarge);
        }
        let mut jpeg = BytesMut::new();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|_| BodyError::Broken)?;
            if jpeg.len() + chunk.len() > MAX_FRAME {
                return Err(BodyError::TooLarge);
            }
            jpeg.extend_from_slice(&chunk);
        }
        Ok(jpeg.freeze())
    };
    let read = timeout(BODY_TIMEOUT, whole)
        .await
        .unwrap_or(Err(BodyError::TooSlow));
    if matches!(read, Err(BodyError::TooLarge)) && !waits {
        let drain = async {
            let mut left = DRAINED;
            while let Some(Ok(chunk)) = chunks.next().await {
                left = match left.checked_sub(chunk.len()) {
                    Some(left) => left,
                    None => return,
                };
            }
        };
        let _ = timeout(DRAIN_TIMEOUT, drain).await;
    }
    read
}

/// Returns the address of the client, which may be behind a proxy.
fn client(context: &Context, connection: &Connection, headers: &HeaderMap) -> IpAddr {
    let peer = connection.peer.ip();
    context.proxies.client(peer, headers).unwrap_or(peer)
}

/// Opens a WebSocket whose messages are frames. The name is taken before the answer, so that a refusal has a status.
pub(super) async fn socket(
    State(context): State<Arc<Context>>,
    Extension(permit): Extension<Permit>,
    Extension(connection): Extension<Arc<Connection>>,
    Extension(viewer): Extension<Viewer>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let text = |name| headers.get(name)?.to_str().ok().map(str::to_owned);
    let hello = Hello {
        role: Role::Send,
        camera: Some(permit.camera.clone()),
        token: None,
        stream: text(STREAM),
        cookie: text(COOKIE),
        trial: None,
        original: false,
    };
    let camera = match permit.camera() {
        Ok(camera) => camera,
        Err(refusal) => return publish_answer::refused(refusal),
    };
    let publisher = Publisher {
        id: context.relay.next_sender(),
        address: SocketAddr::new(
            client(&context, &connection, &headers),
            connection.peer.port(),
        ),
        standing: permit.standing,
        camera,
        stream: hello.stream(),
        transport: Transport::Http,
    };
    let Ok(upgrade) = upgrade else {
        return trial(&context, publisher).await;
    };
    let publisher = Arc::new(publisher);
    let published = context
        .relay
        .publish(publisher.clone(), hello.proof())
        .await;
    let publication = match published {
        Ok(Ok(publication)) => publication,
        Ok(Err(refusal)) => {
            warn!(from = %publisher.address, role = "sender", camera = %publisher.camera, why = %refusal, "peer refused");
            return publish_answer::refused(refusal);
        }
        Err(why) => {
            return publish_answer::error(StatusCode::SERVICE_UNAVAILABLE, "unavailable", why);
        }
    };
    connection.protect();
    let cookie = publication.accepted.proof.to_digits();
    let relay = context.relay.clone();
    let peer = Peer {
        publisher,
        connection,
        ticket: viewer.session,
    };
    let mut answer = publish_socket::upgrade(upgrade, relay, peer, publication);
    if let Some(cookie) = cookie.and_then(|cookie| HeaderValue::from_str(&cookie).ok()) {
        answer.headers_mut().insert(COOKIE, cookie);
    }
    answer
}

/// Answers a request that is no upgrade: whether one would be let in.
async fn trial(context: &Context, publisher: Publisher) -> Response {
    debug!(from = %publisher.address, camera = %publisher.camera, "trial of a publisher");
    match context.relay.try_sender(publisher, Trial::Quic).await {
        Some(Err(refusal)) => publish_answer::refused(refusal),
        Some(Ok(())) => {
            let mut answer = publish_answer::error(
                StatusCode::UPGRADE_REQUIRED,
                "upgrade",
                "you may publish here, by a WebSocket with one JPEG a binary message; single JPEGs go to /cam/NAME/frame",
            );
            let websocket = HeaderValue::from_static("websocket");
            answer.headers_mut().insert(header::UPGRADE, websocket);
            answer
        }
        None => publish_answer::error(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "the relay is stopping",
        ),
    }
}
