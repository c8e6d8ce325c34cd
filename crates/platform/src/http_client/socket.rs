//! An open WebSocket of a relay.

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use protocol::http::{CLOSE_REFUSED, refusal_of_reason};
use protocol::text::printable;
use reqwest::Upgraded;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};

use super::{HttpFailure, MAX_SHOWN};
use crate::server::RelayUrl;

/// Most bytes of a message of the relay: a detections message of 1000 boxes, or a frame.
const MAX_MESSAGE: usize = 256 << 10;

type Socket = WebSocketStream<Upgraded>;

/// An open WebSocket.
#[derive(Debug)]
pub struct HttpSession {
    /// Where it leads.
    pub url: RelayUrl,
    /// The proof for a sender that comes back.
    pub cookie: Option<String>,
    /// Receives the relay's messages.
    pub reader: HttpReader,
    /// Sends messages.
    pub writer: HttpWriter,
}

/// The receiving half of a WebSocket.
#[derive(Debug)]
pub struct HttpReader(SplitStream<Socket>);

/// The sending half of a WebSocket.
#[derive(Debug)]
pub struct HttpWriter(SplitSink<Socket, Message>);

/// A message of the relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpMessage {
    /// A frame, or an answer to one.
    Binary(Bytes),
    /// A line of JSON.
    Text(Bytes),
    /// A sign of life.
    Alive,
}

impl HttpSession {
    pub(super) async fn new(url: RelayUrl, stream: Upgraded, cookie: Option<String>) -> Self {
        let config = WebSocketConfig::default()
            .max_message_size(Some(MAX_MESSAGE))
            .max_frame_size(Some(MAX_MESSAGE))
            .write_buffer_size(0);
        let socket = WebSocketStream::from_raw_socket(stream, Role::Client, Some(config)).await;
        let (writer, reader) = socket.split();
        Self {
            url,
            cookie,
            reader: HttpReader(reader),
            writer: HttpWriter(writer),
        }
    }
}

impl HttpReader {
    /// Receives the next message. Cancel-safe.
    ///
    /// # Errors
    /// The connection's end.
    pub async fn next(&mut self) -> Result<HttpMessage, HttpFailure> {
        match self.0.next().await {
            Some(Ok(Message::Binary(bytes))) => Ok(HttpMessage::Binary(bytes)),
            Some(Ok(Message::Text(text))) => Ok(HttpMessage::Text(text.into())),
            Some(Ok(Message::Close(close))) => Err(end_of(close)),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {
                Ok(HttpMessage::Alive)
            }
            Some(Err(why)) => Err(ended(&why)),
            None => Err(HttpFailure::Ended("the relay closed it".to_owned())),
        }
    }
}

impl HttpWriter {
    /// Sends a binary message.
    ///
    /// # Errors
    /// The connection's end.
    pub async fn send_binary(&mut self, bytes: Bytes) -> Result<(), HttpFailure> {
        self.send(Message::Binary(bytes)).await
    }

    /// Sends a line of JSON.
    ///
    /// # Errors
    /// The connection's end.
    pub async fn send_text(&mut self, line: String) -> Result<(), HttpFailure> {
        self.send(Message::Text(line.into())).await
    }

    /// Closes the connection.
    pub async fn close(&mut self) {
        let _ = self.0.close().await;
    }

    async fn send(&mut self, message: Message) -> Result<(), HttpFailure> {
        self.0.send(message).await.map_err(|why| ended(&why))
    }
}

fn ended(why: &tungstenite::Error) -> HttpFailure {
    HttpFailure::Ended(printable(&why.to_string(), MAX_SHOWN))
}

/// Returns why the relay closed the connection.
fn end_of(close: Option<CloseFrame>) -> HttpFailure {
    let Some(CloseFrame { code, reason }) = close else {
        return HttpFailure::Ended("the relay closed it".to_owned());
    };
    let refused = code == CloseCode::from(CLOSE_REFUSED);
    match refusal_of_reason(&reason).filter(|_| refused) {
        Some(refusal) => HttpFailure::Refused(refusal),
        None => HttpFailure::Ended(printable(&reason, MAX_SHOWN)),
    }
}
