//! The paths of events: the last ones as JSON, new ones as server-sent events, and their pictures.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use protocol::event::EventId;
use tokio::sync::broadcast::error::RecvError;

use super::request::text;
use super::routes::typed;
use super::{Context, event_query, query};
use crate::events::Watcher;

/// Returns the events that are wanted, the newest first.
pub(super) async fn list(State(context): State<Arc<Context>>, uri: Uri) -> Response {
    let filter = match event_query::parse(&uri) {
        Ok(filter) => filter,
        Err(error) => return text(StatusCode::BAD_REQUEST, error),
    };
    match serde_json::to_vec(&context.events.page(&filter)) {
        Ok(page) => typed("application/json", page.into()),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error),
    }
}

/// Sends each new message of an event as a server-sent event. While a client receives them, events are made.
pub(super) async fn stream(State(context): State<Arc<Context>>, uri: Uri) -> Response {
    if let Err(error) = query::parse(&uri, query::Path::Data) {
        return text(StatusCode::BAD_REQUEST, error);
    }
    let messages = stream::unfold(context.events.watch(), async |mut watcher| {
        let json = next_message(&mut watcher).await?;
        Some((Ok::<_, Infallible>(Event::default().data(json)), watcher))
    });
    let messages = Sse::new(messages).keep_alive(KeepAlive::default());
    messages.into_response()
}

/// Waits for the next message; a client that is too slow misses the oldest. `None` once the relay has ended.
async fn next_message(watcher: &mut Watcher) -> Option<String> {
    loop {
        match watcher.messages.recv().await {
            Ok(event) => return Some(event.json.clone()),
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return None,
        }
    }
}

/// Returns the picture of an event, with `boxes=1` with its object's box.
pub(super) async fn snapshot(
    State(context): State<Arc<Context>>,
    Path(id): Path<String>,
    uri: Uri,
) -> Response {
    match picture(&context, &id, &uri).await {
        Ok(jpeg) => typed("image/jpeg", jpeg),
        Err(why) => why,
    }
}

async fn picture(context: &Context, id: &str, uri: &Uri) -> Result<Bytes, Response> {
    let bad_query = |error| text(StatusCode::BAD_REQUEST, error);
    let asked = query::parse(uri, query::Path::EventPicture).map_err(bad_query)?;
    let missing = |why: String| text(StatusCode::NOT_FOUND, why);
    let id: EventId = id.parse().map_err(|err| missing(format!("{err}")))?;
    let gone = || missing("no picture of this event is kept; the last 100 events have one".into());
    let picture = context.events.picture(id).ok_or_else(gone)?;
    if !asked.boxes {
        return Ok(picture.jpeg.clone());
    }
    let broken = || {
        text(
            StatusCode::SERVICE_UNAVAILABLE,
            "this picture cannot be decoded",
        )
    };
    context.events.boxed(picture).await.ok_or_else(broken)
}
