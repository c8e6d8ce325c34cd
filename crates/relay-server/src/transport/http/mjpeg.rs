//! MJPEG over HTTP, `multipart/x-mixed-replace`: what a browser's `<img>`, ffmpeg, OpenCV and most other software read.
//!
//! ```text
//!  HTTP/1.0 200 OK | --frame CRLF | head CRLF CRLF jpeg CRLF --frame CRLF | head ..
//! ```
//!
//! The boundary follows its frame at once, since many readers show a frame when they see the next boundary, and would
//! else be one frame late. The answer is of HTTP/1.0 and ends with the connection, as mjpg-streamer's does: the simplest
//! readers know no chunks.

use axum::body::Body;
use axum::http::{StatusCode, Version, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;

use super::shared_feed::{HttpSubscription, Slot, next_frame};
use crate::fanout::PublishedFrame;

/// Between two frames.
const BOUNDARY: &str = "\r\n--frame\r\n";

/// A frame with its head, and the boundary behind it.
pub(super) fn part(frame: &PublishedFrame) -> Bytes {
    let head = format!(
        "Content-Type: image/jpeg\r\nContent-Length: {}\r\nX-Timestamp: {}\r\n\r\n",
        frame.jpeg.len(),
        timestamp(frame)
    );
    let part = [head.as_bytes(), &frame.jpeg, BOUNDARY.as_bytes()];
    part.concat().into()
}

/// Capture time in seconds since the Unix epoch.
pub(super) fn timestamp(frame: &PublishedFrame) -> String {
    let us = frame.label.captured_us;
    format!("{}.{:06}", us / 1_000_000, us % 1_000_000)
}

/// The camera's frames for as long as they are read. Where none come, the last one stands.
pub(super) fn stream(subscription: HttpSubscription, slot: Slot) -> Response {
    let first = Bytes::from_static(BOUNDARY.trim_ascii_start().as_bytes());
    let parts = stream::unfold(
        (subscription, slot, None),
        async |(subscription, mut slot, last)| {
            let shared = next_frame(&mut slot).await?;
            subscription.on_sent(&shared.frame, last);
            Some((
                shared.part(),
                (subscription, slot, Some(shared.frame.number)),
            ))
        },
    );
    let body = stream::StreamExt::chain(stream::iter([first]), parts);
    let body = stream::StreamExt::map(body, Ok::<_, std::convert::Infallible>);
    Response::builder()
        .status(StatusCode::OK)
        .version(Version::HTTP_10)
        .header(
            header::CONTENT_TYPE,
            "multipart/x-mixed-replace; boundary=frame",
        )
        .body(Body::from_stream(body))
        .expect("these are valid headers")
}
