//! MJPEG over HTTP, `multipart/x-mixed-replace`: a browser's `<img>`, ffmpeg, OpenCV and most other software read it.
//!
//! ```text
//!  HTTP/1.0 200 OK | --frame CRLF | head CRLF CRLF jpeg CRLF --frame CRLF | head ..
//! ```
//!
//! The boundary follows its frame at once: many readers display a frame when the next boundary comes, and would otherwise
//! be one frame late. The response is of HTTP/1.0 and ends with the connection, as mjpg-streamer's does: the simplest
//! readers do not know chunks.

use std::convert::Infallible;

use axum::body::Body;
use axum::http::{StatusCode, Version, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _};

use crate::fanout::PublishedFrame;

/// The boundary between two frames.
const BOUNDARY: &str = "\r\n--frame\r\n";

/// Returns a frame with its head, and the boundary behind it.
pub(super) fn part(frame: &PublishedFrame) -> Bytes {
    let head = format!(
        "Content-Type: image/jpeg\r\nContent-Length: {}\r\nX-Timestamp: {}\r\n\r\n",
        frame.jpeg.len(),
        timestamp(frame)
    );
    let part = [head.as_bytes(), &frame.jpeg, BOUNDARY.as_bytes()];
    part.concat().into()
}

/// Returns the capture time in seconds since the Unix epoch.
pub(super) fn timestamp(frame: &PublishedFrame) -> String {
    let us = frame.label.captured_us;
    format!("{}.{:06}", us / 1_000_000, us % 1_000_000)
}

/// Returns the response that sends these parts for as long as the client reads them.
pub(super) fn response(parts: impl Stream<Item = Bytes> + Send + 'static) -> Response {
    let first = Bytes::from_static(BOUNDARY.trim_ascii_start().as_bytes());
    let body = stream::iter([first]).chain(parts);
    Response::builder()
        .status(StatusCode::OK)
        .version(Version::HTTP_10)
        .header(
            header::CONTENT_TYPE,
            "multipart/x-mixed-replace; boundary=frame",
        )
        .body(Body::from_stream(body.map(Ok::<_, Infallible>)))
        .expect("these are valid headers")
}
