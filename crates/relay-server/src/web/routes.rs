//! What there is at the web door, by its path.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{Extension, Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream;
use protocol::label::CameraName;
use protocol::native::Refusal;
use serde::Deserialize;
use serde_json::json;
use tokio::time::timeout;

use super::gate::{Asker, Refused};
use super::listen::Place;
use super::show::{Seat, line, next};
use super::{Door, Unknown, mjpeg, socket};
use crate::event::{Event, Look};
use crate::metrics;
use crate::relay::Seen;

/// The page, whole.
const PAGE: &str = include_str!("page.html");
/// What in it stands for the word that its own script and style are known by.
const NONCE: &str = "{nonce}";
/// For the frame of a snapshot. A camera from which none comes in that time is not live.
const SNAPSHOT: Duration = Duration::from_secs(3);

/// What may follow a path's `?`.
#[derive(Debug, Default, Deserialize)]
struct Words {
    token: Option<String>,
    action: Option<String>,
    boxes: Option<String>,
}

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

/// Lets in who may come in, and sends every answer with the headers that all have.
async fn guard(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    let origin = origin(request.headers()).map(str::to_owned);
    let mut answer = match refusal(&door, &request) {
        Some(answer) => answer,
        None if *request.method() == Method::OPTIONS => preflight(),
        None => next.run(request).await,
    };
    let headers = answer.headers_mut();
    headers.insert(header::CACHE_CONTROL, of("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, of("nosniff"));
    headers.insert(header::REFERRER_POLICY, of("no-referrer"));
    if let Some(origin) = origin.filter(|origin| door.gate.trusts(origin))
        && let Ok(origin) = HeaderValue::from_str(&origin)
    {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::VARY, of("origin"));
    }
    answer
}

/// A browser that asks whether a page of another origin may ask; to that it may is said beside.
fn preflight() -> Response {
    let allowed = [
        (header::ALLOW, "GET, HEAD"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization"),
    ];
    (StatusCode::NO_CONTENT, allowed).into_response()
}

fn of(value: &'static str) -> HeaderValue {
    HeaderValue::from_static(value)
}

fn origin(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::ORIGIN)?.to_str().ok()
}

/// The answer to who may not come in.
fn refusal(door: &Door, request: &Request) -> Option<Response> {
    let preflight = *request.method() == Method::OPTIONS;
    if preflight || request.uri().path() == "/healthz" {
        return None;
    }
    let place = request.extensions().get::<Arc<Place>>();
    let from = place.map(|place| place.from);
    if from.is_some_and(|from| door.places.is_barred(from)) {
        let why = "too many wrong tokens came from there; wait ten seconds";
        return Some(text(StatusCode::TOO_MANY_REQUESTS, why));
    }
    let words = words(request.uri());
    let refused = door.gate.check(asker(request.headers(), &words)).err()?;
    if let (Refused::Token(Refusal::Token | Refusal::Role), Some(from)) = (refused, from) {
        door.places.guessed(from);
    }
    Some(turn_away(refused))
}

/// A name or an origin that is no text is nobody's.
fn asker<'a>(headers: &'a HeaderMap, words: &'a Words) -> Asker<'a> {
    let host = headers.get(header::HOST);
    let origin = headers.get(header::ORIGIN);
    Asker {
        host: host.map(|host| host.to_str().unwrap_or("?.?")),
        origin: origin.map(|origin| origin.to_str().unwrap_or_default()),
        socket: headers.contains_key(header::UPGRADE),
        token: bearer(headers).or(words.token.as_deref()),
    }
}

/// What is behind the `?`; nothing where that is no such text.
fn words(uri: &Uri) -> Words {
    Query::try_from_uri(uri).map_or_else(|_| Words::default(), |Query(words)| words)
}

/// The token of `Authorization: Bearer`.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn turn_away(refused: Refused) -> Response {
    let (status, why) = match refused {
        Refused::Token(Refusal::Private) => (
            StatusCode::UNAUTHORIZED,
            "this relay is private: add ?token=TOKEN, the token of the viewer's ticket in the relay's log",
        ),
        Refused::Token(Refusal::Role) => (
            StatusCode::FORBIDDEN,
            "this is the sender's token; the viewer's is in the other ticket in the relay's log",
        ),
        Refused::Token(_) => (
            StatusCode::UNAUTHORIZED,
            "this token is wrong, or was renewed; the relay's log shows the ticket in force",
        ),
        Refused::Host => (
            StatusCode::MISDIRECTED_REQUEST,
            "this relay does not know itself by that name; if it is its own, start it with --http-origin http://NAME",
        ),
        Refused::Origin => (
            StatusCode::FORBIDDEN,
            "pages of another origin get no WebSocket here; --http-origin ORIGIN of relay-server allows it",
        ),
    };
    let mut answer = text(status, why);
    if status == StatusCode::UNAUTHORIZED {
        answer
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, of("Bearer"));
    }
    answer
}

fn text(status: StatusCode, text: impl std::fmt::Display) -> Response {
    (status, format!("{text}\n")).into_response()
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
            if shown.since.elapsed() < SNAPSHOT {
                return Some(shown);
            }
        }
    };
    let Ok(Some(shown)) = timeout(SNAPSHOT, young).await else {
        let why = "no frame comes from this camera";
        return Err(text(StatusCode::SERVICE_UNAVAILABLE, why));
    };
    seat.traffic().leaves(&shown, None);
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
            "width": seen.size.0,
            "height": seen.size.1,
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

impl Words {
    /// Whether boxes are to be in the picture.
    fn burned(&self) -> bool {
        matches!(self.boxes.as_deref(), Some("" | "1" | "on" | "true"))
    }
}
