//! What there is at the web door, by its path.

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

use super::entry::{Words, guard, of, text};
use super::places::Place;
use super::show::{Seat, line, next};
use super::{Door, Unknown, mjpeg, socket};
use crate::event::{Event, Look};
use crate::metrics;
use relay_core::Seen;

/// The page, whole.
const PAGE: &str = include_str!("page.html");
/// What in it stands for the word that its own script and style are known by.
const NONCE: &str = "{nonce}";

/// All paths.
pub(super) fn router(door: Arc<Door>) -> Router {
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
        .layer(middleware::from_fn_with_state(door.clone(), guard))
        .with_state(door)
}

impl IntoResponse for Unknown {
    fn into_response(self) -> Response {
        let why = match self {
            Self::Loading => "the model is being loaded",
            Self::Stuck => "the relay does not answer",
        };
        text(StatusCode::SERVICE_UNAVAILABLE, why)
    }
}

async fn root(State(door): State<Arc<Door>>, Query(words): Query<Words>) -> Response {
    match words.action.as_deref() {
        None => page(),
        Some("stream") => stream(State(door), Query(words)).await,
        Some("snapshot") => snapshot(State(door), Query(words)).await,
        Some(_) => text(StatusCode::BAD_REQUEST, "action is stream or snapshot"),
    }
}

/// The page runs its own script and style, asks this door alone, and loads nothing from anywhere.
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

async fn stream(State(door): State<Arc<Door>>, Query(words): Query<Words>) -> Response {
    frames(&door, None, &words).await.unwrap_or_else(|why| why)
}

async fn stream_of(
    State(door): State<Arc<Door>>,
    Path(name): Path<String>,
    Query(words): Query<Words>,
) -> Response {
    let frames = frames(&door, Some(&name), &words).await;
    frames.unwrap_or_else(|why| why)
}

async fn snapshot(State(door): State<Arc<Door>>, Query(words): Query<Words>) -> Response {
    frame(&door, None, &words).await.unwrap_or_else(|why| why)
}

async fn snapshot_of(
    State(door): State<Arc<Door>>,
    Path(name): Path<String>,
    Query(words): Query<Words>,
) -> Response {
    let frame = frame(&door, Some(&name), &words).await;
    frame.unwrap_or_else(|why| why)
}

async fn frames(door: &Door, name: Option<&str>, words: &Words) -> Answer {
    let seat = seat(door, name).await?;
    let slot = match words.burned() {
        true => seat.burned().await,
        false => seat.frames(),
    };
    Ok(mjpeg::stream(seat, slot))
}

/// The picture of now: a camera that has stopped has none.
async fn frame(door: &Door, name: Option<&str>, words: &Words) -> Answer {
    let seat = seat(door, name).await?;
    let mut slot = match words.burned() {
        true => seat.burned().await,
        false => seat.frames(),
    };
    let young = async {
        loop {
            let shown = next(&mut slot).await?;
            if shown.since.elapsed() < CAMERA_TIMEOUT {
                return Some(shown);
            }
        }
    };
    let Ok(Some(shown)) = timeout(CAMERA_TIMEOUT, young).await else {
        let why = "no frame comes from this camera";
        return Err(text(StatusCode::SERVICE_UNAVAILABLE, why));
    };
    seat.on_sent(&shown, None);
    let headers = [
        ("content-type", "image/jpeg".to_owned()),
        ("x-timestamp", mjpeg::timestamp(&shown)),
    ];
    Ok((headers, shown.jpeg.clone()).into_response())
}

/// Detections messages as server-sent events.
async fn detections(State(door): State<Arc<Door>>, Path(name): Path<String>) -> Response {
    let seat = match seat(&door, Some(&name)).await {
        Ok(seat) => seat,
        Err(why) => return why,
    };
    let messages = seat.messages();
    let events = stream::unfold((seat, messages), async |(seat, mut messages)| {
        let line = line(&mut messages).await?;
        let event = sse::Event::default().data(String::from_utf8_lossy(line.trim_ascii_end()));
        Some((Ok::<_, std::convert::Infallible>(event), (seat, messages)))
    });
    Sse::new(events)
        .keep_alive(KeepAlive::default())
        .into_response()
}

async fn ws(
    State(door): State<Arc<Door>>,
    Path(name): Path<String>,
    Extension(place): Extension<Arc<Place>>,
    upgrade: WebSocketUpgrade,
) -> Response {
    match seat(&door, Some(&name)).await {
        Ok(seat) => socket::upgrade(upgrade, seat, place),
        Err(why) => why,
    }
}

/// A place before the camera of this name, or before the first that is live; or why there is none.
async fn seat(door: &Door, name: Option<&str>) -> Result<Seat, Response> {
    let look = door.look().await.map_err(IntoResponse::into_response)?;
    let camera = match name {
        None if look.cameras.is_empty() => {
            let why = "no camera has appeared yet";
            return Err(text(StatusCode::SERVICE_UNAVAILABLE, why));
        }
        None => None,
        Some(name) => Some(known(name, &look.cameras).ok_or_else(|| unknown(&look))?),
    };
    let ending = || text(StatusCode::SERVICE_UNAVAILABLE, "the relay ends");
    door.shows.join(camera).await.ok_or_else(ending)
}

fn known(name: &str, cameras: &[Seen]) -> Option<CameraName> {
    let known = cameras.iter().any(|seen| seen.name == name);
    name.parse().ok().filter(|_| known)
}

fn unknown(look: &Look) -> Response {
    let names: Vec<_> = look.cameras.iter().map(|seen| seen.name.as_str()).collect();
    let names = match names.is_empty() {
        true => "none is".to_owned(),
        false => format!("these are: {}", names.join(", ")),
    };
    text(
        StatusCode::NOT_FOUND,
        format!("no camera of that name is here; {names}"),
    )
}

async fn cameras(State(door): State<Arc<Door>>) -> Response {
    let look = match door.look().await {
        Ok(look) => look,
        Err(why) => return why.into_response(),
    };
    let cameras = look.cameras.iter().map(|seen| {
        json!({
            "name": seen.name,
            "live": seen.live,
            "fps": seen.fps.map(|fps| (fps * 10.0).round() / 10.0),
            "width": seen.size.width,
            "height": seen.size.height,
            "age_ms": u64::try_from(seen.silent.as_millis()).unwrap_or(u64::MAX),
        })
    });
    let json = serde_json::Value::from_iter(cameras).to_string();
    ([(header::CONTENT_TYPE, of("application/json"))], json).into_response()
}

/// Whether the relay is alive: not yet loaded is alive, a loop that does not answer is not.
async fn health(State(door): State<Arc<Door>>) -> Response {
    match door.look().await {
        Err(Unknown::Stuck) => Unknown::Stuck.into_response(),
        Ok(_) | Err(Unknown::Loading) => text(StatusCode::OK, "alive"),
    }
}

/// Whether there is something to see.
async fn readiness(State(door): State<Arc<Door>>) -> Response {
    let unready = |why: &str| text(StatusCode::SERVICE_UNAVAILABLE, why);
    match door.look().await {
        Err(why) => why.into_response(),
        Ok(look) if look.model_died => {
            unready("the model's thread has died; frames go on without boxes")
        }
        Ok(look) if !look.cameras.iter().any(|seen| seen.live) => unready("no camera is live"),
        Ok(_) => text(StatusCode::OK, "ready"),
    }
}

/// What there is to graph.
async fn metrics(State(door): State<Arc<Door>>) -> Response {
    match door.ask(Event::Figures).await {
        Ok(metrics) => {
            let text = metrics.render();
            ([(header::CONTENT_TYPE, of(metrics::CONTENT_TYPE))], text).into_response()
        }
        Err(why) => why.into_response(),
    }
}
