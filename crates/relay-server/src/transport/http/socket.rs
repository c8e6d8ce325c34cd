//! Frames and boxes over one WebSocket, for the page: the newest frame whenever the last one has been shown, so a slow
//! phone misses frames and never lags.
//!
//! ```text
//!  browser                                   relay
//!                                        <-- binary: a labelled JPEG
//!      an empty binary message           -->         it is shown, the next one please
//!                                        <-- text: a detections message; {"camera":{..}}, {"cameras":[..]} as at the
//!      {"ping":{"t1":..}}                -->       native door
//!                                        <-- {"pong":{"t1":..,"t2":..,"t3":..}}
//! ```
//!
//! A frame needs no header of its own: number, time and camera are in its label, at a fixed place behind SOI.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use bytes::Bytes;
use platform::clock::unix_micros;
use protocol::label::CameraName;
use protocol::quic::{self as words, CameraInfo, ClientMessage, Ping, Pong, ServerMessage};
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, Sleep, sleep_until};

use super::super::quic_session::names;
use super::connections::Connection;
use super::shared_feed::{HttpSubscription, SharedFrame, Slot, next_frame, next_line};

/// What a browser has to say fits in this many bytes.
const SAID: usize = 512;
/// Bytes read at once, of each socket.
const READ: usize = 1024;
/// How soon a browser that says nothing is asked whether it is there ..
const ASK: Duration = Duration::from_secs(15);
/// .. and how often before it is gone.
const ASKED: u32 = 2;

/// Answers the upgrade, and serves the socket until it ends.
pub(super) fn upgrade(
    upgrade: WebSocketUpgrade,
    subscription: HttpSubscription,
    connection: Arc<Connection>,
) -> Response {
    upgrade
        .max_message_size(SAID)
        .max_frame_size(SAID)
        .read_buffer_size(READ)
        .write_buffer_size(0)
        .on_upgrade(async |socket| {
            let _connection = connection;
            Viewer::new(socket, subscription).run().await;
        })
}

struct Viewer {
    socket: WebSocket,
    frames: Slot,
    messages: broadcast::Receiver<Bytes>,
    camera: watch::Receiver<CameraInfo>,
    live: watch::Receiver<Vec<CameraName>>,
    /// Whether the last frame has not been shown yet.
    busy: bool,
    last: Option<u64>,
    asked: u32,
    subscription: HttpSubscription,
}

/// What comes next.
enum Next {
    Frame(Arc<SharedFrame>),
    Message(Bytes),
    Told(ServerMessage),
    Said(Message),
    Silence,
}

impl Viewer {
    fn new(socket: WebSocket, subscription: HttpSubscription) -> Self {
        let mut live = subscription.live();
        live.mark_changed();
        let mut camera = subscription.camera();
        camera.mark_changed();
        Self {
            socket,
            frames: subscription.frames(),
            messages: subscription.messages(),
            camera,
            live,
            busy: false,
            last: None,
            asked: 0,
            subscription,
        }
    }

    /// Until either side has enough; `None` is how it ends.
    async fn run(mut self) -> Option<()> {
        let mut patience = Box::pin(sleep_until(Instant::now() + ASK));
        loop {
            match self.next(&mut patience).await? {
                Next::Frame(shown) => self.show(&shown).await?,
                Next::Message(line) => self.say(line).await?,
                Next::Told(told) => self.say(words::to_line(&told).into()).await?,
                Next::Said(message) => {
                    self.asked = 0;
                    self.hear(message).await?;
                }
                Next::Silence => {
                    self.asked += 1;
                    patience.as_mut().reset(Instant::now() + ASK);
                    if self.asked > ASKED {
                        return None;
                    }
                    self.socket.send(Message::Ping(Bytes::new())).await.ok()?;
                }
            }
        }
    }

    async fn next(&mut self, patience: &mut Pin<Box<Sleep>>) -> Option<Next> {
        Some(tokio::select! {
            said = self.socket.recv() => Next::Said(said?.ok()?),
            frame = next_frame(&mut self.frames), if !self.busy => Next::Frame(frame?),
            line = next_line(&mut self.messages) => Next::Message(line?),
            changed = self.camera.changed() => {
                changed.ok()?;
                Next::Told(ServerMessage::Camera(self.camera.borrow_and_update().clone()))
            }
            changed = self.live.changed() => {
                changed.ok()?;
                Next::Told(ServerMessage::Cameras(names(&self.live.borrow_and_update())))
            }
            () = patience.as_mut() => Next::Silence,
        })
    }

    async fn show(&mut self, shown: &SharedFrame) -> Option<()> {
        self.subscription.on_sent(&shown.frame, self.last);
        self.last = Some(shown.frame.number);
        self.busy = true;
        let message = Message::Binary(shown.frame.jpeg.clone());
        self.socket.send(message).await.ok()
    }

    /// A line of JSON, its end left out.
    async fn say(&mut self, line: Bytes) -> Option<()> {
        let text = Utf8Bytes::try_from(line.slice(..line.len().saturating_sub(1))).ok()?;
        self.socket.send(Message::Text(text)).await.ok()
    }

    async fn hear(&mut self, message: Message) -> Option<()> {
        match message {
            Message::Binary(_) => self.busy = false,
            Message::Text(text) => {
                if let Some(ClientMessage::Ping(Ping { t1 })) = words::from_line(text.as_bytes()) {
                    let now = unix_micros();
                    let pong = ServerMessage::Pong(Pong {
                        t1,
                        t2: now,
                        t3: now,
                    });
                    self.say(words::to_line(&pong).into()).await?;
                }
            }
            Message::Ping(_) | Message::Pong(_) => {}
            Message::Close(_) => return None,
        }
        Some(())
    }
}
