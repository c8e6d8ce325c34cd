//! The native door: knocks there, and stays for as long as the connection stands.

use std::net::SocketAddr;
use std::pin::pin;

use protocol::quic::{Hello, Role};
use protocol::ticket::Key;
use quic::client::{Client, ConnectFailure, DONE, Session};
use quic::frames;
use tokio::sync::mpsc;

use super::Plan;
use super::intake::Intake;

/// What may wait for its turn to be scanned; frames then wait in a slot of one.
const WAITING: usize = 8;

/// The first line that is said there.
pub(super) fn hello(plan: &Plan) -> Hello {
    Hello {
        role: Role::View,
        camera: plan.camera.as_ref().map(ToString::to_string),
        token: plan.token.map(|token| token.to_string()),
        stream: None,
    }
}

/// Tries once to open the door. The client comes back for the next time, unless its socket has failed.
pub(super) async fn knock(
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

/// Takes all that comes until the connection ends.
pub(super) async fn stay(session: Session, intake: &mut Intake) {
    let Session {
        connection,
        answer,
        control: mut talk,
    } = session;
    intake.opened(answer.cameras);
    let (out, mut arrivals) = mpsc::channel(WAITING);
    let mut receiving = pin!(frames::receive(&connection, out));
    loop {
        tokio::select! {
            _ = &mut receiving => break,
            Some(arrival) = arrivals.recv() => intake.arrival(arrival),
            heard = talk.next() => match heard {
                Ok(heard) => intake.heard(heard),
                Err(_) => break,
            },
        }
    }
    connection.close(DONE, b"");
    intake.ended();
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::Args;

    #[test]
    fn the_hello_tells_camera_and_token() {
        let ticket = format!("sightline://h?token={0}#sha256={0}", "07".repeat(32));
        let words = ["viewer", "--server", &ticket, "--camera", "front door"];
        let said = hello(&Plan::of(&Args::parse_from(words)));
        assert_eq!(said.camera.as_deref(), Some("front door"));
        assert_eq!(said.token, Some("07".repeat(32)));
        let said = hello(&Plan::of(&Args::parse_from(["viewer"])));
        assert_eq!((said.camera, said.token, said.stream), (None, None, None));
    }
}
