//! The paths of events: the last ones as JSON, new ones as server-sent events, and their pictures.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{Extension, Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use protocol::event::EventId;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::request::{Viewer, text};
use super::routes::{OtherCamera, typed};
use super::{Context, event_query, query};
use crate::access::Grant;
use crate::events::{EventFilter, SentEvent};

/// Returns the events that are wanted, the newest first.
pub(super) async fn list(
    State(context): State<Arc<Context>>,
    Extension(viewer): Extension<Viewer>,
    uri: Uri,
) -> Response {
    let filter = match event_query::parse(&uri) {
        Ok(filter) => filter,
        Err(error) => return text(StatusCode::BAD_REQUEST, error),
    };
    let Some(filter) = permitted(filter, &viewer.grant) else {
        return OtherCamera.into_response();
    };
    match serde_json::to_vec(&context.events.page(&filter)) {
        Ok(page) => typed("application/json", page.into()),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error),
    }
}

/// Sends each new message of an event as a server-sent event. While a client receives them, events are made.
pub(super) async fn stream(
    State(context): State<Arc<Context>>,
    Extension(viewer): Extension<Viewer>,
    uri: Uri,
) -> Response {
    if let Err(error) = query::parse(&uri, query::Path::Data) {
        return text(StatusCode::BAD_REQUEST, error);
    }
    let watching = (context.events.watch(), viewer.grant);
    let messages = stream::unfold(watching, async |(mut watcher, grant)| {
        let json = next_message(&mut watcher.messages, &grant).await?;
        let event = Event::default().data(json);
        Some((Ok::<_, Infallible>(event), (watcher, grant)))
    });
    let messages = Sse::new(messages).keep_alive(KeepAlive::default());
    messages.into_response()
}

/// Narrows a filter to the camera that a client may see; `None` if it asks for another.
fn permitted(filter: EventFilter, grant: &Grant) -> Option<EventFilter> {
    let only = grant.camera.as_ref().map(ToString::to_string);
    let covers = |camera: &String| grant.covers(camera);
    filter.camera.as_ref().is_none_or(covers).then(|| {
        let camera = filter.camera.or(only);
        EventFilter { camera, ..filter }
    })
}

/// Waits for the next message that a client may see; one that is too slow misses the oldest. `None` once the relay has ended.
async fn next_message(messages: &mut Receiver<Arc<SentEvent>>, grant: &Grant) -> Option<String> {
    loop {
        match messages.recv().await {
            Ok(event) if grant.covers(event.message.camera()) => return Some(event.json.clone()),
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return None,
        }
    }
}

/// Returns the picture of an event, with `boxes=1` with its object's box.
pub(super) async fn snapshot(
    State(context): State<Arc<Context>>,
    Extension(viewer): Extension<Viewer>,
    Path(id): Path<String>,
    uri: Uri,
) -> Response {
    match picture(&context, &viewer.grant, &id, &uri).await {
        Ok(jpeg) => typed("image/jpeg", jpeg),
        Err(why) => why,
    }
}

async fn picture(context: &Context, grant: &Grant, id: &str, uri: &Uri) -> Result<Bytes, Response> {
    let bad_query = |error| text(StatusCode::BAD_REQUEST, error);
    let asked = query::parse(uri, query::Path::Stream).map_err(bad_query)?;
    let missing = |why: String| text(StatusCode::NOT_FOUND, why);
    let id: EventId = id.parse().map_err(|err| missing(format!("{err}")))?;
    let gone = || missing("no picture of this event is kept; the last 100 events have one".into());
    let camera = context.events.camera(id).ok_or_else(gone)?;
    if !grant.covers(&camera) {
        return Err(OtherCamera.into_response());
    }
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

#[cfg(test)]
mod tests {
    use protocol::event::EventMessage;
    use tokio::sync::broadcast;

    use super::*;
    use crate::events::event_of;

    fn of_yard() -> Grant {
        Grant {
            camera: "yard".parse().ok(),
            ..Grant::default()
        }
    }

    #[test]
    fn a_ticket_for_one_camera_lists_no_events_of_another() {
        let asked = |camera: Option<&str>, grant: &Grant| {
            let filter = EventFilter {
                camera: camera.map(str::to_owned),
                limit: 7,
                ..EventFilter::default()
            };
            permitted(filter, grant).map(|filter| (filter.camera, filter.limit))
        };
        let yard = Some((Some("yard".to_owned()), 7));
        assert_eq!(asked(None, &of_yard()), yard);
        assert_eq!(asked(Some("yard"), &of_yard()), yard);
        assert_eq!(asked(Some("drive"), &of_yard()), None);
        assert_eq!(asked(None, &Grant::default()), Some((None, 7)));
        let drive = Some((Some("drive".to_owned()), 7));
        assert_eq!(asked(Some("drive"), &Grant::default()), drive);
    }

    #[tokio::test]
    async fn a_ticket_for_one_camera_is_sent_no_events_of_another() {
        let (sender, mut messages) = broadcast::channel(8);
        let mut all = sender.subscribe();
        for (second, camera) in [(1, "drive"), (2, "yard"), (3, "drive")] {
            let message = EventMessage::Object(event_of(second, camera));
            let json = format!("{camera} {second}");
            sender.send(Arc::new(SentEvent { message, json })).unwrap();
        }
        drop(sender);
        let own = next_message(&mut messages, &of_yard()).await;
        assert_eq!(own.as_deref(), Some("yard 2"));
        assert_eq!(next_message(&mut messages, &of_yard()).await, None);
        let first = next_message(&mut all, &Grant::default()).await;
        assert_eq!(first.as_deref(), Some("drive 1"));
    }
}
