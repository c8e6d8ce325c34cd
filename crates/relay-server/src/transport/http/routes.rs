//! The paths of the HTTP server.

use std::sync::Arc;

use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{Extension, FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri, header};
use axum::middleware;
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use futures_util::stream;
use protocol::CAMERA_TIMEOUT;
use protocol::datagram::Foreign;
use protocol::label::CameraName;

use super::connection::Connection;
use super::query::{self, Action, QueryError};
use super::request::{Viewer, guard, header_value, text};
use super::shared_answers::StatusAnswer;
use super::shared_feed::{HttpSubscription, next_frame, next_line};
use super::{Context, events, login, mjpeg, page, picture, publish, socket};
use crate::access::Grant;
use crate::event::RelayStatus;
use crate::fanout::PublishedFrame;
use crate::handle::Unavailable;
use crate::metrics;
use relay_core::CameraStatus;

/// Returns the router of all paths.
pub(super) fn router(context: Arc<Context>) -> Router {
    Router::new()
        .route("/", get(root))
        .route("/cam/{name}/stream.mjpg", get(mjpeg_stream))
        .route("/cam/{name}/snapshot.jpg", get(snapshot))
        .route("/cam/{name}/detections", get(detections))
        .route("/cam/{name}/ws", get(ws))
        .route("/cam/{name}/frame", post(publish::frame))
        .route("/cam/{name}/publish", get(publish::socket))
        .route("/api/cameras", get(cameras))
        .route("/api/events", get(events::list))
        .route("/events", get(events::stream))
        .route("/events/{id}/snapshot.jpg", get(events::snapshot))
        .route("/stream.mjpg", get(mjpeg_stream))
        .route("/stream", get(mjpeg_stream))
        .route("/snapshot.jpg", get(snapshot))
        .route("/snapshot", get(snapshot))
        .route("/login", get(login::redirect).post(login::sign_in))
        .route("/logout", post(login::sign_out))
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

/// What a request is for, and what its client may see.
struct Target {
    context: Arc<Context>,
    viewer: Viewer,
    /// The camera in the path; without one the first that is live.
    name: Option<String>,
    uri: Uri,
}

impl FromRequestParts<Arc<Context>> for Target {
    type Rejection = Response;

    async fn from_request_parts(
        parts: &mut Parts,
        context: &Arc<Context>,
    ) -> Result<Self, Response> {
        let name = Option::<Path<String>>::from_request_parts(parts, context);
        let name = name.await.map_err(IntoResponse::into_response)?;
        Ok(Self {
            context: context.clone(),
            viewer: Viewer::of(&parts.extensions),
            name: name.map(|Path(name)| name),
            uri: parts.uri.clone(),
        })
    }
}

impl Target {
    /// Parses the query as the path takes it.
    fn query(&self, path: query::Path) -> Result<query::Asked, QueryError> {
        query::parse(&self.uri, path)
    }

    /// Returns the name of the camera, which a ticket for one camera gives as well.
    ///
    /// # Errors
    /// If the client's ticket is for another camera.
    fn camera(&self) -> Result<Option<&str>, OtherCamera> {
        let only = self.viewer.grant.camera.as_ref().map(CameraName::as_str);
        match self.name.as_deref() {
            Some(name) if !self.viewer.grant.covers(name) => Err(OtherCamera),
            name => Ok(name.or(only)),
        }
    }
}

/// A camera that the client's ticket is not for.
#[derive(Debug)]
pub(super) struct OtherCamera;

impl IntoResponse for OtherCamera {
    fn into_response(self) -> Response {
        let why = "this ticket is for another camera";
        text(StatusCode::FORBIDDEN, why)
    }
}

async fn root(target: Target) -> Response {
    match target.query(query::Path::Root).map(|asked| asked.action) {
        Ok(None) => page::response(target.context.policy.trusted(), target.viewer.has_cookie()),
        Ok(Some(Action::Stream)) => answer(frames(target, query::Path::Root).await),
        Ok(Some(Action::Snapshot)) => answer(frame(target, query::Path::Root).await),
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

async fn mjpeg_stream(target: Target) -> Response {
    answer(frames(target, query::Path::Stream).await)
}

async fn snapshot(target: Target) -> Response {
    answer(frame(target, query::Path::Snapshot).await)
}

async fn frames(target: Target, path: query::Path) -> Answer {
    let asked = target.query(path).map_err(bad_query)?;
    let subscription = subscribe(&target).await?;
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

async fn frame(target: Target, path: query::Path) -> Answer {
    let asked = target.query(path).map_err(bad_query)?;
    let subscription = subscribe(&target).await?;
    let context = &target.context;
    let name = target.camera().map_err(IntoResponse::into_response)?;
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
    let jpeg = context.renditions.get(&shared.frame, asked.rendition);
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
async fn detections(target: Target) -> Response {
    answer(messages(target).await)
}

async fn messages(target: Target) -> Answer {
    target.query(query::Path::Data).map_err(bad_query)?;
    let subscription = subscribe(&target).await?;
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
    Extension(connection): Extension<Arc<Connection>>,
    target: Target,
    upgrade: WebSocketUpgrade,
) -> Response {
    if let Err(error) = target.query(query::Path::Data) {
        return bad_query(error);
    }
    match subscribe(&target).await {
        Ok(subscription) => {
            let renditions = target.context.viewer_renditions.clone();
            socket::upgrade(upgrade, subscription, renditions, connection, target.viewer)
        }
        Err(why) => why,
    }
}

/// Subscribes to the camera of a request, or to the first one that is live.
///
/// # Errors
/// With the answer that states why there is no such subscription.
async fn subscribe(target: &Target) -> Result<HttpSubscription, Response> {
    let context = &target.context;
    let name = target.camera().map_err(IntoResponse::into_response)?;
    let status = &status(context).await?.status;
    let camera = match name {
        None if status.cameras.is_empty() => {
            let why = "no camera has appeared yet";
            return Err(text(StatusCode::SERVICE_UNAVAILABLE, why));
        }
        None => None,
        Some(name) => {
            let found = find_camera(name, &status.cameras);
            Some(found.ok_or_else(|| not_found(status, &target.viewer.grant))?)
        }
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

fn not_found(status: &RelayStatus, grant: &Grant) -> Response {
    let names = status.cameras.iter().map(|camera| camera.name.as_str());
    let names: Vec<_> = names.filter(|name| grant.covers(name)).collect();
    let names = match names.is_empty() {
        true => "no camera has appeared yet".to_owned(),
        false => format!("these are: {}", names.join(", ")),
    };
    text(
        StatusCode::NOT_FOUND,
        format!("no camera of that name is here; {names}"),
    )
}

async fn cameras(target: Target) -> Response {
    if let Err(error) = target.query(query::Path::Data) {
        return bad_query(error);
    }
    match status(&target.context).await {
        Ok(answer) => typed("application/json", answer.cameras(&target.viewer.grant)),
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
async fn readiness(target: Target) -> Response {
    let unready = |why: &str| text(StatusCode::SERVICE_UNAVAILABLE, why);
    let grant = &target.viewer.grant;
    let is_shown = |camera: &CameraStatus| camera.live && grant.covers(camera.name.as_str());
    match target.context.answers.status().await {
        Err(why) => why.into_response(),
        Ok(answer) if answer.status.model_died => {
            unready("the model's thread has died; frames go on without boxes")
        }
        Ok(answer) if !answer.status.cameras.iter().any(is_shown) => {
            unready(&nothing_live(answer.status.foreign))
        }
        Ok(_) => text(StatusCode::OK, "ready"),
    }
}

/// Returns why no camera is live. The page shows what stands behind the colon.
fn nothing_live(foreign: Option<Foreign>) -> String {
    foreign.map_or_else(
        || "no camera is live".to_owned(),
        |foreign| {
            let (what, cure) = (foreign.what(), foreign.cure());
            format!("no camera is live: the relay receives {what} and no picture; {cure}")
        },
    )
}

/// Returns the metrics, as Prometheus reads them. They are of all cameras.
async fn metrics(target: Target) -> Response {
    if target.viewer.grant.camera.is_some() {
        let why = "this ticket is for one camera, and the metrics are of all";
        return text(StatusCode::FORBIDDEN, why);
    }
    match target.context.answers.metrics().await {
        Ok(text) => typed(metrics::CONTENT_TYPE, text),
        Err(why) => why.into_response(),
    }
}

pub(super) fn typed(content_type: &'static str, body: Bytes) -> Response {
    let headers = [(header::CONTENT_TYPE, header_value(content_type))];
    (headers, body).into_response()
}
