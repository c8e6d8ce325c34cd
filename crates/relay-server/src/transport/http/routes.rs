//! The paths of the HTTP server.

use std::sync::Arc;

use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{Extension, Path, State};
use axum::http::{StatusCode, Uri, header};
use axum::middleware;
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use futures_util::stream;
use protocol::CAMERA_TIMEOUT;
use protocol::label::CameraName;

use super::connection::Connection;
use super::query::{self, Action, QueryError};
use super::request::{guard, header_value, text};
use super::shared_answers::StatusAnswer;
use super::shared_feed::{HttpSubscription, next_frame, next_line};
use super::{Context, events, mjpeg, page, picture, socket};
use crate::event::RelayStatus;
use crate::fanout::PublishedFrame;
use crate::handle::Unavailable;
use crate::metrics;
use relay_core::CameraStatus;

/// Returns the router of all paths.
pub(super) fn router(context: Arc<Context>) -> Router {
    Router::new()
        .route("/", get(root))
        .route("/cam/{name}/stream.mjpg", get(stream_of))
        .route("/cam/{name}/snapshot.jpg", get(snapshot_of))
        .route("/cam/{name}/detections", get(detections))
        .route("/cam/{name}/ws", get(ws))
        .route("/api/cameras", get(cameras))
        .route("/api/events", get(events::list))
        .route("/events", get(events::stream))
        .route("/events/{id}/snapshot.jpg", get(events::snapshot))
        .route("/stream.mjpg", get(first_stream))
        .route("/stream", get(first_stream))
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

async fn root(State(context): State<Arc<Context>>, uri: Uri) -> Response {
    match query::parse(&uri, query::Path::Root).map(|asked| asked.action) {
        Ok(None) => page::response(context.policy.trusted()),
        Ok(Some(Action::Stream)) => answer(frames(&context, None, &uri, query::Path::Root).await),
        Ok(Some(Action::Snapshot)) => answer(frame(&context, None, &uri, query::Path::Root).await),
        Err(error) => bad_query(error),
    }
}

type Answer = Result<Response, Response>;

fn answer(answer: Answer) -> Response {
    answer.unwrap_or_else(|why| why)
}

/// Returns the answer to a query that the path does not take.
fn bad_query(error: QueryError) -> Response {
    text(StatusCode::BAD_REQUEST, error)
}

async fn first_stream(State(context): State<Arc<Context>>, uri: Uri) -> Response {
    answer(frames(&context, None, &uri, query::Path::Stream).await)
}

async fn stream_of(
    State(context): State<Arc<Context>>,
    Path(name): Path<String>,
    uri: Uri,
) -> Response {
    answer(frames(&context, Some(&name), &uri, query::Path::Stream).await)
}

async fn snapshot(State(context): State<Arc<Context>>, uri: Uri) -> Response {
    answer(frame(&context, None, &uri, query::Path::Snapshot).await)
}

async fn snapshot_of(
    State(context): State<Arc<Context>>,
    Path(name): Path<String>,
    uri: Uri,
) -> Response {
    answer(frame(&context, Some(&name), &uri, query::Path::Snapshot).await)
}

async fn frames(context: &Context, name: Option<&str>, uri: &Uri, path: query::Path) -> Answer {
    let asked = query::parse(uri, path).map_err(bad_query)?;
    let subscription = subscribe(context, name).await?;
    let slot = match asked.boxes {
        true => subscription.annotated().await,
        false => subscription.frames(),
    };
    let parts = stream::unfold(
        (subscription, slot, None),
        async |(subscription, mut slot, last)| {
            let shared = next_frame(&mut slot).await?;
            subscription.on_sent(&shared.frame, last);
            let next = (subscription, slot, Some(shared.frame.number));
            Some((shared.part(), next))
        },
    );
    Ok(mjpeg::response(parts))
}

async fn frame(context: &Context, name: Option<&str>, uri: &Uri, path: query::Path) -> Answer {
    let asked = query::parse(uri, path).map_err(bad_query)?;
    let subscription = subscribe(context, name).await?;
    let status = &status(context).await?.status;
    let unavailable = |why: String| text(StatusCode::SERVICE_UNAVAILABLE, why);
    let shared = match picture::live(&status.cameras, name) {
        // The camera may have come back since the status was made.
        Err(silent) => picture::newest(&subscription, picture::BACK)
            .await
            .ok_or(silent),
        // Without a model there is nothing to wait for.
        Ok(camera) => match asked.boxes && status.has_model {
            true => picture::annotated(&subscription, picture::patience(camera.fps)).await,
            false => picture::newest(&subscription, CAMERA_TIMEOUT).await,
        }
        .ok_or_else(|| "no frame comes from this camera".to_owned()),
    };
    let shared = shared.map_err(unavailable)?;
    let jpeg = context.renditions.get(&shared.frame.jpeg, asked.rendition);
    let jpeg = jpeg.await.map_err(|error| unavailable(error.to_string()))?;
    let sent = PublishedFrame {
        jpeg,
        ..shared.frame.clone()
    };
    subscription.on_sent(&sent, None);
    let headers = [
        ("content-type", "image/jpeg".to_owned()),
        ("x-timestamp", mjpeg::timestamp(&sent)),
    ];
    Ok((headers, sent.jpeg).into_response())
}

/// Sends detections messages as server-sent events.
async fn detections(
    State(context): State<Arc<Context>>,
    Path(name): Path<String>,
    uri: Uri,
) -> Response {
    answer(messages(&context, &name, &uri).await)
}

async fn messages(context: &Context, name: &str, uri: &Uri) -> Answer {
    query::parse(uri, query::Path::Data).map_err(bad_query)?;
    let subscription = subscribe(context, Some(name)).await?;
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
    let events = Sse::new(events).keep_alive(KeepAlive::default());
    Ok(events.into_response())
}

async fn ws(
    State(context): State<Arc<Context>>,
    Path(name): Path<String>,
    Extension(connection): Extension<Arc<Connection>>,
    uri: Uri,
    upgrade: WebSocketUpgrade,
) -> Response {
    if let Err(error) = query::parse(&uri, query::Path::Data) {
        return bad_query(error);
    }
    match subscribe(&context, Some(&name)).await {
        Ok(subscription) => socket::upgrade(upgrade, subscription, connection),
        Err(why) => why,
    }
}

/// Subscribes to the camera of this name, or to the first one that is live.
///
/// # Errors
/// With the answer that states why there is no such subscription.
async fn subscribe(context: &Context, name: Option<&str>) -> Result<HttpSubscription, Response> {
    let status = &status(context).await?.status;
    let camera = match name {
        None if status.cameras.is_empty() => {
            let why = "no camera has appeared yet";
            return Err(text(StatusCode::SERVICE_UNAVAILABLE, why));
        }
        None => None,
        Some(name) => Some(find_camera(name, &status.cameras).ok_or_else(|| not_found(status))?),
    };
    let stopping = || text(StatusCode::SERVICE_UNAVAILABLE, "the relay is stopping");
    context.feeds.subscribe(camera).await.ok_or_else(stopping)
}

/// Returns the status, or the answer that states why there is none.
async fn status(context: &Context) -> Result<Arc<StatusAnswer>, Response> {
    let status = context.answers.status().await;
    status.map_err(IntoResponse::into_response)
}

fn find_camera(name: &str, cameras: &[CameraStatus]) -> Option<CameraName> {
    let known = cameras.iter().any(|camera| camera.name == name);
    name.parse().ok().filter(|_| known)
}

fn not_found(status: &RelayStatus) -> Response {
    let names: Vec<_> = status
        .cameras
        .iter()
        .map(|camera| camera.name.as_str())
        .collect();
    let names = match names.is_empty() {
        true => "no camera has appeared yet".to_owned(),
        false => format!("these are: {}", names.join(", ")),
    };
    text(
        StatusCode::NOT_FOUND,
        format!("no camera of that name is here; {names}"),
    )
}

async fn cameras(State(context): State<Arc<Context>>, uri: Uri) -> Response {
    if let Err(error) = query::parse(&uri, query::Path::Data) {
        return bad_query(error);
    }
    match status(&context).await {
        Ok(answer) => typed("application/json", answer.cameras()),
        Err(why) => why,
    }
}

/// Returns whether the relay is alive: it is while the model is being loaded, and is not if the loop does not answer.
async fn health(State(context): State<Arc<Context>>) -> Response {
    match context.answers.status().await {
        Err(Unavailable::Stuck) => Unavailable::Stuck.into_response(),
        Ok(_) | Err(Unavailable::Loading) => text(StatusCode::OK, "alive"),
    }
}

/// Returns whether there is something to watch.
async fn readiness(State(context): State<Arc<Context>>) -> Response {
    let unready = |why: &str| text(StatusCode::SERVICE_UNAVAILABLE, why);
    match context.answers.status().await {
        Err(why) => why.into_response(),
        Ok(answer) if answer.status.model_died => {
            unready("the model's thread has died; frames go on without boxes")
        }
        Ok(answer) if !answer.status.cameras.iter().any(|camera| camera.live) => {
            unready("no camera is live")
        }
        Ok(_) => text(StatusCode::OK, "ready"),
    }
}

/// Returns the metrics, as Prometheus reads them.
async fn metrics(State(context): State<Arc<Context>>) -> Response {
    match context.answers.metrics().await {
        Ok(text) => typed(metrics::CONTENT_TYPE, text),
        Err(why) => why.into_response(),
    }
}

pub(super) fn typed(content_type: &'static str, body: Bytes) -> Response {
    let headers = [(header::CONTENT_TYPE, header_value(content_type))];
    (headers, body).into_response()
}
