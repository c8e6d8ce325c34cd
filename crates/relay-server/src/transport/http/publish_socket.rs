//! A publisher's WebSocket; `protocol::http` has its messages.
//!
//! The session reads the next message when the loop has taken the last frame, so one frame of a publisher waits, and TCP makes
//! its sender wait.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use bytes::Bytes;
use platform::clock::steady_micros;
use protocol::http::{CLOSE_REFUSED, close_reason};
use protocol::quic::{self as wire, ClientMessage, Ping, Pong, Refusal, ServerMessage};
use relay_core::limits::{FRAME_BURST, FRAME_RATE, LINE_BURST, LINE_RATE};
use relay_core::{FrameVerdict, Publisher, TokenBucket};
use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::info;

use super::connection::Connection;
use super::publish::MAX_FRAME;
use super::publish_answer::{explanation, too_large_message};
use crate::access::TicketSession;
use crate::event::HttpPublisher;
use crate::handle::{Publication, RelayHandle};

/// Bytes of the socket's read buffer.
const READ_BUFFER: usize = 16 << 10;
/// Time without a message after which the relay pings the publisher.
const PING_AFTER: Duration = Duration::from_secs(2);
/// Time without a whole message after which the publisher is gone: its camera's name is free then. TCP itself repeats a
/// lost segment within a second.
const GONE_AFTER: Duration = Duration::from_secs(6);
/// Longest time for the last message.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);
/// Code of a close message after a message that is too large (RFC 6455, section 7.4.1).
const CLOSE_TOO_LARGE: u16 = 1009;

/// The client that publishes.
pub(super) struct Peer {
    pub(super) publisher: Arc<Publisher>,
    pub(super) connection: Arc<Connection>,
    /// The session, which ends with the publisher's ticket.
    pub(super) ticket: Arc<TicketSession>,
}

/// Answers the upgrade, and serves the publisher until it leaves or is refused.
pub(super) fn upgrade(
    upgrade: WebSocketUpgrade,
    relay: RelayHandle,
    peer: Peer,
    publication: Publication,
) -> Response {
    upgrade
        .max_message_size(MAX_FRAME)
        .max_frame_size(MAX_FRAME)
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .on_upgrade(async move |socket| {
            let Peer {
                publisher,
                connection,
                ticket,
            } = peer;
            let (camera, source) = (publisher.camera.clone(), publisher.address);
            info!(%camera, %source, "sender joined by HTTP");
            let session = PublishSession {
                socket,
                relay,
                publisher,
                frames: TokenBucket::new(FRAME_RATE, FRAME_BURST, Instant::now().into_std()),
                lines: TokenBucket::new(LINE_RATE, LINE_BURST, Instant::now().into_std()),
                heard: Instant::now(),
            };
            session.run(publication, &connection, &ticket).await;
            info!(%camera, %source, "sender left");
        })
}

/// One publisher.
struct PublishSession {
    socket: WebSocket,
    relay: RelayHandle,
    publisher: Arc<Publisher>,
    frames: TokenBucket,
    lines: TokenBucket,
    /// Time of the last message.
    heard: Instant,
}

/// Why a session ends.
enum End {
    /// The publisher or the relay has gone.
    Gone,
    /// The publisher sent a message that is too large.
    TooLarge,
    Refused(Refusal),
}

impl PublishSession {
    async fn run(
        mut self,
        publication: Publication,
        connection: &Connection,
        ticket: &TicketSession,
    ) {
        let Publication {
            mut refusal,
            guard: _guard,
            ..
        } = publication;
        let end = tokio::select! {
            end = self.serve() => end,
            Ok(refusal) = &mut refusal => End::Refused(refusal),
            () = connection.lost() => End::Refused(Refusal::Full),
            () = ticket.ended() => End::Refused(Refusal::Token),
        };
        // The last frame may have cost the sender its camera.
        let end = match refusal.try_recv() {
            Ok(refusal) => End::Refused(refusal),
            Err(_) => end,
        };
        let close = match end {
            End::Gone => return,
            End::TooLarge => CloseFrame {
                code: CLOSE_TOO_LARGE,
                reason: too_large_message().into(),
            },
            End::Refused(refusal) => CloseFrame {
                code: CLOSE_REFUSED,
                reason: close_reason(refusal).into(),
            },
        };
        let closed = async {
            self.socket.send(Message::Close(Some(close))).await.ok()?;
            // What is on its way is read, since a closed socket that has unread bytes resets the connection, and the
            // publisher would lose the reason.
            while let Some(Ok(_)) = self.socket.recv().await {}
            Some(())
        };
        let _ = timeout(CLOSE_TIMEOUT, closed).await;
    }

    async fn serve(&mut self) -> End {
        let mut pinged = false;
        loop {
            let silent_at = self.heard + if pinged { GONE_AFTER } else { PING_AFTER };
            let message = tokio::select! {
                message = self.socket.recv() => message,
                () = sleep_until(silent_at) => {
                    let ping = Message::Ping(Bytes::new());
                    if pinged || self.socket.send(ping).await.is_err() {
                        return End::Gone;
                    }
                    pinged = true;
                    continue;
                }
            };
            (self.heard, pinged) = (Instant::now(), false);
            let handled = match message {
                Some(Ok(Message::Binary(jpeg))) => self.take_frame(jpeg).await,
                Some(Ok(Message::Text(line))) => self.take_line(&line).await,
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => Some(()),
                Some(Err(error)) if is_too_large(&error) => return End::TooLarge,
                Some(Ok(Message::Close(_)) | Err(_)) | None => None,
            };
            if handled.is_none() {
                return End::Gone;
            }
        }
    }

    /// Hands in a frame and answers it; `None` if the publisher or the relay has gone.
    async fn take_frame(&mut self, jpeg: Bytes) -> Option<()> {
        wait_for(&mut self.frames).await;
        let publisher = HttpPublisher::Socket(self.publisher.clone());
        let verdict = self.relay.take_frame(publisher, jpeg.clone()).await.ok()?;
        self.socket.send(answer(verdict, &jpeg)).await.ok()
    }

    /// Answers a ping, or passes on what the sender reports; `None` if one of the two ends has gone.
    async fn take_line(&mut self, line: &str) -> Option<()> {
        wait_for(&mut self.lines).await;
        match wire::from_line(line.as_bytes()) {
            Some(ClientMessage::Ping(Ping { t1 })) => {
                let now = steady_micros();
                let pong = ServerMessage::Pong(Pong {
                    t1,
                    t2: now,
                    t3: now,
                });
                let line = serde_json::to_string(&pong).ok()?;
                self.socket.send(Message::Text(line.into())).await.ok()
            }
            Some(ClientMessage::SenderInfo(info)) => {
                self.relay.report_sender(self.publisher.id, info).await
            }
            None => Some(()),
        }
    }
}

/// Returns the answer to a frame: an empty message, or the reason why it was dropped.
fn answer(verdict: FrameVerdict, jpeg: &[u8]) -> Message {
    match explanation(verdict, jpeg) {
        None => Message::Binary(Bytes::new()),
        Some((reason, message)) => {
            let dropped = json!({ "dropped": { "reason": reason, "message": message } });
            Message::Text(Utf8Bytes::from(dropped.to_string()))
        }
    }
}

/// Waits until the publisher may send the next item.
async fn wait_for(pace: &mut TokenBucket) {
    let wait = pace.take_later(Instant::now().into_std());
    if !wait.is_zero() {
        sleep(wait).await;
    }
}

/// Returns whether a message was larger than the socket takes.
fn is_too_large(error: &axum::Error) -> bool {
    use std::error::Error as _;
    let text = error.source().map(ToString::to_string);
    text.is_some_and(|text| text.starts_with("Space limit exceeded"))
}
