//! Frames and boxes over one WebSocket, for the page and for viewers. The page requests the next frame after it has displayed the
//! last one, so a slow phone misses frames and its picture is never delayed. A viewer on a long path requests one more at the
//! start, so that one is on its way while the answer to the last one travels.
//!
//! ```text
//!  browser                                   relay
//!                                        <-- binary: a labelled JPEG
//!      an empty binary message           -->         the frame is displayed, send the next one
//!                                        <-- text: a detections message; {"camera":{..}}, {"cameras":[..]},
//!      {"ping":{"t1":..}}                -->       {"rendition_of":..} as on the QUIC transport
//!                                        <-- {"pong":{"t1":..,"t2":..,"t3":..}}
//! ```
//!
//! A frame needs no header of its own: number, time and camera are in its label, at a fixed offset behind SOI.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use bytes::Bytes;
use platform::clock::steady_micros;
use protocol::geometry::Size;
use protocol::label::CameraName;
use protocol::quic::{self as wire, CameraInfo, ClientMessage, Ping, Pong, ServerMessage};
use relay_core::rendition_ladder::RenditionLadder;
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, Sleep, sleep_until};

use super::super::quic_session::names;
use super::connection::Connection;
use super::request::Viewer;
use super::shared_feed::{HttpSubscription, SharedFrame, Slot, next_frame, next_line};
use crate::access::Grant;
use crate::fanout::PublishedFrame;
use crate::shared_renditions::SharedRenditions;

/// Most bytes of a message from a browser.
const MAX_CLIENT_MESSAGE: usize = 512;
/// Bytes of each socket's read buffer.
const READ_BUFFER: usize = 1024;
/// Most frames that may be on their way.
const MAX_AHEAD: u32 = 4;
/// Time without a message from the browser after which the relay pings it.
const PING_INTERVAL: Duration = Duration::from_secs(15);
/// Unanswered pings after which the connection ends.
const MAX_UNANSWERED_PINGS: u32 = 2;

/// Answers the upgrade, and serves the socket until it ends.
pub(super) fn upgrade(
    upgrade: WebSocketUpgrade,
    subscription: HttpSubscription,
    renditions: Arc<SharedRenditions>,
    connection: Arc<Connection>,
    viewer: Viewer,
) -> Response {
    upgrade
        .max_message_size(MAX_CLIENT_MESSAGE)
        .max_frame_size(MAX_CLIENT_MESSAGE)
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .on_upgrade(async move |socket| {
            tokio::select! {
                _ = SocketSession::new(socket, subscription, renditions, viewer.grant).run() => {}
                () = connection.lost() => {}
                () = viewer.session.ended() => {}
            }
        })
}

/// One WebSocket that shows a camera.
struct SocketSession {
    socket: WebSocket,
    frames: Slot,
    detections: broadcast::Receiver<Bytes>,
    camera: watch::Receiver<CameraInfo>,
    live: watch::Receiver<Vec<CameraName>>,
    /// What the browser may see.
    grant: Grant,
    /// Frames that the browser has requested and not been sent.
    requested: u32,
    /// When the frames were sent that the browser has not displayed yet, at most [`MAX_AHEAD`].
    sent_at: VecDeque<Instant>,
    /// Number of the last frame.
    last: Option<u64>,
    /// The form of its frames, from the first one on.
    ladder: Option<RenditionLadder>,
    renditions: Arc<SharedRenditions>,
    /// Size of the originals, while renditions are sent.
    rendition_of: Option<Size>,
    unanswered_pings: u32,
    subscription: HttpSubscription,
}

/// What a session waits for.
enum SocketEvent {
    Frame(Arc<SharedFrame>),
    /// A detections message, a line of JSON.
    Detections(Bytes),
    ServerMessage(ServerMessage),
    ClientMessage(Message),
    PingDue,
}

impl SocketSession {
    fn new(
        socket: WebSocket,
        subscription: HttpSubscription,
        renditions: Arc<SharedRenditions>,
        grant: Grant,
    ) -> Self {
        let mut live = subscription.live();
        live.mark_changed();
        let mut camera = subscription.camera();
        camera.mark_changed();
        Self {
            socket,
            frames: subscription.frames(),
            detections: subscription.messages(),
            camera,
            live,
            grant,
            requested: 1,
            sent_at: VecDeque::new(),
            last: None,
            ladder: None,
            renditions,
            rendition_of: None,
            unanswered_pings: 0,
            subscription,
        }
    }

    /// Serves the socket; returns `None` once the browser, the camera's feed or the relay has ended.
    async fn run(mut self) -> Option<()> {
        let mut ping = Box::pin(sleep_until(Instant::now() + PING_INTERVAL));
        loop {
            match self.next(&mut ping).await? {
                SocketEvent::Frame(frame) => self.send_frame(&frame).await?,
                SocketEvent::Detections(line) => self.send_line(line).await?,
                SocketEvent::ServerMessage(message) => {
                    self.send_line(wire::to_line(&message).into()).await?;
                }
                SocketEvent::ClientMessage(message) => {
                    self.unanswered_pings = 0;
                    self.handle(message).await?;
                }
                SocketEvent::PingDue => {
                    self.unanswered_pings += 1;
                    ping.as_mut().reset(Instant::now() + PING_INTERVAL);
                    if self.unanswered_pings > MAX_UNANSWERED_PINGS {
                        return None;
                    }
                    self.socket.send(Message::Ping(Bytes::new())).await.ok()?;
                }
            }
        }
    }

    async fn next(&mut self, ping: &mut Pin<Box<Sleep>>) -> Option<SocketEvent> {
        Some(tokio::select! {
            message = self.socket.recv() => SocketEvent::ClientMessage(message?.ok()?),
            frame = next_frame(&mut self.frames), if self.requested > 0 => SocketEvent::Frame(frame?),
            line = next_line(&mut self.detections) => SocketEvent::Detections(line?),
            changed = self.camera.changed() => {
                changed.ok()?;
                let camera = self.camera.borrow_and_update().clone();
                SocketEvent::ServerMessage(ServerMessage::Camera(camera))
            }
            changed = self.live.changed() => {
                changed.ok()?;
                let cameras = names(&self.grant.visible(&self.live.borrow_and_update()));
                SocketEvent::ServerMessage(ServerMessage::Cameras(cameras))
            }
            () = ping.as_mut() => SocketEvent::PingDue,
        })
    }

    async fn send_frame(&mut self, shared: &SharedFrame) -> Option<()> {
        let Some(jpeg) = self.form_of(&shared.frame).await? else {
            return Some(());
        };
        self.subscription.on_sent(&shared.frame, self.last);
        self.last = Some(shared.frame.number);
        self.requested -= 1;
        self.sent_at.push_back(Instant::now());
        self.socket.send(Message::Binary(jpeg)).await.ok()
    }

    /// Returns the frame in the form that the path carries, and sends a line before it if that begins or ends to be a
    /// rendition. `Some(None)` leaves the frame out, since the maker of renditions has too much to do.
    async fn form_of(&mut self, frame: &PublishedFrame) -> Option<Option<Bytes>> {
        let (bytes, width) = (frame.jpeg.len(), frame.size.width);
        let ladder = self
            .ladder
            .get_or_insert_with(|| RenditionLadder::of_http(bytes, width));
        let form = ladder.form(width);
        let jpeg = match form {
            None => frame.jpeg.clone(),
            Some(form) => match self.renditions.of_viewer(frame, form.into()).await {
                Ok(jpeg) => jpeg,
                Err(_) => return Some(None),
            },
        };
        let rendition_of = form.map(|_| frame.size);
        if std::mem::replace(&mut self.rendition_of, rendition_of) != rendition_of {
            let notice = ServerMessage::RenditionOf(rendition_of.map(Size::into));
            self.send_line(wire::to_line(&notice).into()).await?;
        }
        Some(Some(jpeg))
    }

    /// Notes that the browser has displayed a frame, or requests one ahead, and sends the next.
    fn on_displayed(&mut self) {
        self.requested = MAX_AHEAD.min(self.requested + 1);
        if let (Some(sent_at), Some(ladder)) = (self.sent_at.pop_front(), &mut self.ladder) {
            ladder.on_acknowledged(sent_at.elapsed(), Instant::now().into());
        }
    }

    /// Sends a line of JSON without its end of line.
    async fn send_line(&mut self, line: Bytes) -> Option<()> {
        let text = Utf8Bytes::try_from(line.slice(..line.len().saturating_sub(1))).ok()?;
        self.socket.send(Message::Text(text)).await.ok()
    }

    /// Handles a message of the browser; `None` if it closes the socket.
    async fn handle(&mut self, message: Message) -> Option<()> {
        match message {
            Message::Binary(_) => self.on_displayed(),
            Message::Text(text) => {
                if let Some(ClientMessage::Ping(Ping { t1 })) = wire::from_line(text.as_bytes()) {
                    let now = steady_micros();
                    let pong = ServerMessage::Pong(Pong {
                        t1,
                        t2: now,
                        t3: now,
                    });
                    self.send_line(wire::to_line(&pong).into()).await?;
                }
            }
            Message::Ping(_) | Message::Pong(_) => {}
            Message::Close(_) => return None,
        }
        Some(())
    }
}
