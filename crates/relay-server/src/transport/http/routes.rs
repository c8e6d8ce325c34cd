//! The paths of the HTTP server.

use std::sync::Arc;

use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{Extension, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream;
use protocol::CAMERA_TIMEOUT;
use protocol::label::CameraName;
use serde_json::json;
use tokio::time::timeout;

use super::connections::Connection;
use super::request::{Parameters, guard, of, text};
use super::shared_feed::{HttpSubscription, next_frame, next_line};
use super::{Context, mjpeg, socket};
use crate::event::Status;
use crate::handle::Unavailable;
use crate::metrics;
use relay_core::CameraStatus;

/// The page, whole.
const PAGE: &str = include_str!("page.html");
/// What in it stands for the word that its own script and style are known by.
const NONCE: &str = "{nonce}";

/// All paths.
pub(super) fn router(context: Arc<Context>) -> Router {
    Router::new()
        .route("/", get(root))
        .route("/cam/{name}/stream.mjpg", get(stream_of))
        .route("/cam/{name}/snapshot.jpg", get(snapshot_of))
        .route("/cam/{name}/detections", get(detections))
        .route("/cam/{name}/ws", get(ws))
        .route("/api/cameras", get(cameras))
        .route("/stream.mjpg", get(stream))
        .route("/stream", get(stream))
        .route("/snapshot.jpg", get(snapshot))
        .route("/snapshot", get(snapshot))
        .route("/healthz", get(health))
        .route("/readyz", get(readiness))
        .route("/metrics", get(metrics))
        .fallback(async || text(StatusCode::NOT_FOUND, "no such path; / is the page"))
        .layer(middleware::from_fn_with_state(context.clone(), guard))
        .with_state(context)
}

impl IntoResponse for Unavailable {
    fn into_response(self) -> Response {
        text(StatusCode::SERVICE_UNAVAILABLE, self)
    }
}

async fn root(
    State(context): State<Arc<Context>>,
    Query(parameters): Query<Parameters>,
) -> Response {
    match parameters.action.as_deref() {
        None => page(),
        Some("stream") => stream(State(context), Query(parameters)).await,
        Some("snapshot") => snapshot(State(context), Query(parameters)).await,
        Some(_) => text(StatusCode::BAD_REQUEST, "action is stream or snapshot"),
    }
}

/// The page runs its own script and style, asks this context alone, and loads nothing from anywhere.
fn page() -> Response {
    let Ok(nonce) = getrandom::u64() else {
        return text(StatusCode::INTERNAL_SERVER_ERROR, "no random numbers");
    };
    let nonce = format!("{nonce:016x}");
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src 'self' blob: data:; \
         connect-src 'self'; base-uri 'none'; form-action 'none'"
    );
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
        (header::CONTENT_SECURITY_POLICY, policy),
    ];
    (headers, PAGE.replace(NONCE, &nonce)).into_response()
}

type Answer = Result<Response, Response>;

async fn stream(
    State(context): State<Arc<Context>>,
    Query(parameters): Query<Parameters>,
) -> Response {
    frames(&context, None, &parameters)
        .await
        .unwrap_or_else(|why| why)
}

async fn stream_of(
    State(context): State<Arc<Context>>,
    Path(name): Path<String>,
    Query(parameters): Query<Parameters>,
) -> Response {
    let frames = frames(&context, Some(&name), &parameters).await;
    frames.unwrap_or_else(|why| why)
}

async fn snapshot(
    State(context): State<Arc<Context>>,
    Query(parameters): Query<Parameters>,
) -> Response {
    frame(&context, None, &parameters)
        .await
        .unwrap_or_else(|why| why)
}

async fn snapshot_of(
    State(context): State<Arc<Context>>,
    Path(name): Path<String>,
    Query(parameters): Query<Parameters>,
) -> Response {
    let frame = frame(&context, Some(&name), &parameters).await;
    frame.unwrap_or_else(|why| why)
}

async fn frames(context: &Context, name: Option<&str>, parameters: &Parameters) -> Answer {
    let subscription = subscribe(context, name).await?;
    let slot = match parameters.annotated() {
        true => subscription.annotated().await,
        false => subscription.frames(),
    };
    Ok(mjpeg::stream(subscription, slot))
}

/// The picture of now: a camera that has stopped has none.
async fn frame(context: &Context, name: Option<&str>, parameters: &Parameters) -> Answer {
    let subscription = subscribe(context, name).await?;
    let mut slot = match parameters.annotated() {
        true => subscription.annotated().await,
        false => subscription.frames(),
    };
    let young = async {
        loop {
            let shown = next_frame(&mut slot).await?;
            if shown.frame.received.elapsed() < CAMERA_TIMEOUT {
                return Some(shown);
            }
        }
    };
    let Ok(Some(shown)) = timeout(CAMERA_TIMEOUT, young).await else {
        let why = "no frame comes from this camera";
        return Err(text(StatusCode::SERVICE_UNAVAILABLE, why));
    };
    subscription.on_sent(&shown.frame, None);
    let headers = [
        ("content-type", "image/jpeg".to_owned()),
        ("x-timestamp", mjpeg::timestamp(&shown.frame)),
    ];
    Ok((headers, shown.frame.jpeg.clone()).into_response())
}

/// Detections messages as server-sent events.
async fn detections(State(context): State<Arc<Context>>, Path(name): Path<String>) -> Response {
    let subscription = match subscribe(&context, Some(&name)).await {
        Ok(subscription) => subscription,
        Err(why) => return why,
    };
    let messages = subscription.messages();
    let events = stream::unfold(
        (subscription, messages),
        async |(subscription, mut messages)| {
            let line = next_line(&mut messages).await?;
            let event = sse::Event::default().data(String::from_utf8_lossy(line.trim_ascii_end()));
            Some((
                Ok::<_, std::convert::Infallible>(event),
                (subscription, messages),
            ))
        },
    );
    Sse::new(events)
        .keep_alive(KeepAlive::default())
        .into_response()
}

async fn ws(
    State(context): State<Arc<Context>>,
    Path(name): Path<String>,
    Extension(connection): Extension<Arc<Connection>>,
    upgrade: WebSocketUpgrade,
) -> Response {
    match subscribe(&context, Some(&name)).await {
        Ok(subscription) => socket::upgrade(upgrade, subscription, connection),
        Err(why) => why,
    }
}

/// A place before the camera of this name, or before the first that is live; or why there is none.
async fn subscribe(context: &Context, name: Option<&str>) -> Result<HttpSubscription, Response> {
    let status = context
        .relay
        .status()
        .await
        .map_err(IntoResponse::into_response)?;
    let camera = match name {
        None if status.cameras.is_empty() => {
            let why = "no camera has appeared yet";
            return Err(text(StatusCode::SERVICE_UNAVAILABLE, why));
        }
        None => None,
        Some(name) => Some(known(name, &status.cameras).ok_or_else(|| unknown(&status))?),
    };
    let ending = || text(StatusCode::SERVICE_UNAVAILABLE, "the relay ends");
    context.feeds.subscribe(camera).await.ok_or_else(ending)
}

fn known(name: &str, cameras: &[CameraStatus]) -> Option<CameraName> {
    let known = cameras.iter().any(|seen| seen.name == name);
    name.parse().ok().filter(|_| known)
}

fn unknown(status: &Status) -> Response {
    let names: Vec<_> = status
        .cameras
        .iter()
        .map(|seen| seen.name.as_str())
        .collect();
    let names = match names.is_empty() {
        true => "none is".to_owned(),
        false => format!("these are: {}", names.join(", ")),
    };
    text(
        StatusCode::NOT_FOUND,
        format!("no camera of that name is here; {names}"),
    )
}

async fn cameras(State(context): State<Arc<Context>>) -> Response {
    let status = match context.relay.status().await {
        Ok(status) => status,
        Err(why) => return why.into_response(),
    };
    let cameras = status.cameras.iter().map(|seen| {
        json!({
            "name": seen.name.as_str(),
            "live": seen.live,
            "fps": seen.fps.map(|fps| (fps * 10.0).round() / 10.0),
            "width": seen.size.width,
            "height": seen.size.height,
            "age_ms": u64::try_from(seen.silence.as_millis()).unwrap_or(u64::MAX),
        })
    });
    let json = serde_json::Value::from_iter(cameras).to_string();
    ([(header::CONTENT_TYPE, of("application/json"))], json).into_response()
}

/// Whether the relay is alive: not yet loaded is alive, a loop that does not answer is not.
async fn health(State(context): State<Arc<Context>>) -> Response {
    match context.relay.status().await {
        Err(Unavailable::Stuck) => Unavailable::Stuck.into_response(),
        Ok(_) | Err(Unavailable::Loading) => text(StatusCode::OK, "alive"),
    }
}

/// Whether there is something to see.
async fn readiness(State(context): State<Arc<Context>>) -> Response {
    let unready = |why: &str| text(StatusCode::SERVICE_UNAVAILABLE, why);
    match context.relay.status().await {
        Err(why) => why.into_response(),
        Ok(status) if status.model_died => {
            unready("the model's thread has died; frames go on without boxes")
        }
        Ok(status) if !status.cameras.iter().any(|seen| seen.live) => unready("no camera is live"),
        Ok(_) => text(StatusCode::OK, "ready"),
    }
}

/// What there is to graph.
async fn metrics(State(context): State<Arc<Context>>) -> Response {
    match context.relay.metrics().await {
        Ok(metrics) => {
            let text = metrics.render();
            ([(header::CONTENT_TYPE, of(metrics::CONTENT_TYPE))], text).into_response()
        }
        Err(why) => why.into_response(),
    }
}
