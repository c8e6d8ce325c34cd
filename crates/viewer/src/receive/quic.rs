//! The QUIC transport: connects, and receives for as long as the connection is open.

use std::net::SocketAddr;
use std::pin::pin;

use protocol::MAX_FRAME;
use protocol::quic::{Hello, Role};
use protocol::ticket::Key;
use protocol::transport::Transport;
use quic::client::{Client, ConnectFailure, DONE, Session};
use quic::receive::{self, InputLimits};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::CLOSE_TIMEOUT;
use super::inbox::Inbox;
use super::options::ConnectOptions;

/// Streams that may wait to be scanned; frames then wait in a slot of one.
const WAITING: usize = 8;

/// What a relay may make the viewer hold: two of the largest frames, so that one can come while another is incomplete. What
/// is not read yet has [a bound of its own](quic::endpoint::CONNECTION_WINDOW).
const INPUT: InputLimits = InputLimits {
    bytes: 2 * MAX_FRAME,
    lines: true,
    streams: None,
};

/// Returns the viewer's hello.
pub(super) fn hello(options: &ConnectOptions) -> Hello {
    Hello {
        role: Role::View,
        camera: options.camera.as_ref().map(ToString::to_string),
        token: options.token.map(|token| token.to_string()),
        stream: None,
        cookie: None,
        trial: None,
        original: options.originals,
    }
}

/// Tries once to connect. Returns the client too, for the next try, unless its socket has failed.
pub(super) async fn connect(
    client: Option<Client>,
    pinned: Option<Key>,
    relay: SocketAddr,
    hello: Hello,
) -> (Option<Client>, Result<Session, ConnectFailure>) {
    let client = client.map_or_else(|| Client::new(relay, pinned), Ok);
    let mut client = match client {
        Ok(client) => client,
        Err(err) => return (None, Err(err.into())),
    };
    match client.open(relay, &hello).await {
        Err(failure @ ConnectFailure::Host(_)) => (None, Err(failure)),
        opened => (Some(client), opened),
    }
}

/// Hands all that comes to the inbox until the connection ends. Returns why it has ended.
pub(super) async fn receive(session: Session, inbox: &mut Inbox) -> ConnectFailure {
    let Session {
        connection,
        answer,
        mut control,
    } = session;
    inbox.on_connected(Transport::Quic, answer.cameras);
    let (sender, mut streams) = mpsc::channel(WAITING);
    let mut receiving = pin!(receive::receive(&connection, INPUT, sender));
    loop {
        tokio::select! {
            _ = &mut receiving => break,
            Some(incoming) = streams.recv() => inbox.on_incoming(incoming),
            event = control.next() => match event {
                Ok(event) => inbox.on_control(event),
                Err(_) => break,
            },
        }
    }
    // The end of the control stream may overtake that of the connection, which has the reason.
    let end = timeout(CLOSE_TIMEOUT, connection.closed()).await;
    connection.close(DONE, b"");
    inbox.on_disconnected();
    end.map_or(ConnectFailure::Nonsense, ConnectFailure::of_connection)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::Args;

    #[test]
    fn the_hello_tells_camera_and_token() {
        let ticket = format!("sightline://h?token={0}#sha256={0}", "07".repeat(32));
        let words = ["viewer", "--server", &ticket, "--camera", "front yard"];
        let full = hello(&ConnectOptions::new(&Args::parse_from(words)));
        assert_eq!(full.camera.as_deref(), Some("front yard"));
        assert_eq!(full.token, Some("07".repeat(32)));
        let bare = hello(&ConnectOptions::new(&Args::parse_from(["viewer"])));
        assert_eq!((bare.camera, bare.token, bare.stream), (None, None, None));
    }
}
