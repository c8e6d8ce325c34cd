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

use super::show::{Seat, Shown, Slot, next};

/// Between two frames.
const BOUNDARY: &str = "\r\n--frame\r\n";

/// A frame with its head, and the boundary behind it.
pub(super) fn part(shown: &Shown) -> Bytes {
    let head = format!(
        "Content-Type: image/jpeg\r\nContent-Length: {}\r\nX-Timestamp: {}\r\n\r\n",
        shown.jpeg.len(),
        timestamp(shown)
    );
    let part = [head.as_bytes(), &shown.jpeg, BOUNDARY.as_bytes()];
    part.concat().into()
}

/// Capture time in seconds since the Unix epoch.
pub(super) fn timestamp(shown: &Shown) -> String {
    let us = shown.captured_us;
    format!("{}.{:06}", us / 1_000_000, us % 1_000_000)
}

/// The camera's frames for as long as they are read. Where none come, the last one stands.
pub(super) fn stream(seat: Seat, slot: Slot) -> Response {
    let first = Bytes::from_static(BOUNDARY.trim_ascii_start().as_bytes());
    let parts = stream::unfold((seat, slot, None), async |(seat, mut slot, last)| {
        let shown = next(&mut slot).await?;
        seat.on_sent(&shown, last);
        Some((shown.part(), (seat, slot, Some(shown.number))))
    });
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
