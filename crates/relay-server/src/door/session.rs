//! A peer at the native door: frames one way, clocks and facts beside them.

use std::net::SocketAddr;

use bytes::Bytes;
use platform::clock::unix_micros;
use platform::egress::EgressStats;
use protocol::label::CameraName;
use protocol::quic::{self as words, Answer, CameraInfo, ClientMessage, Ping, Pong, ServerMessage};
use quic::client::DONE;
use quic::frames::{self, DETECTIONS_PRIORITY, FrameSource, Incoming, OutgoingFrame};
use quic::lines::Lines;
use quinn::{Connection, SendStream};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinSet;

use crate::event::Event;
use crate::feeds::{Frames, Subscription};

/// Frames of one sender that may wait for the loop.
const WAITING: usize = 4;

/// Somebody who has said hello.
#[derive(Debug)]
pub(super) struct Visit {
    pub(super) connection: Connection,
    /// Where the connection began.
    pub(super) from: SocketAddr,
    pub(super) say: SendStream,
    pub(super) lines: Lines,
}

impl Visit {
    pub(super) async fn welcome(&mut self, cameras: Vec<String>) -> Option<()> {
        let answer = Answer {
            ok: true,
            refusal: None,
            cameras,
        };
        self.say(&answer).await
    }

    pub(super) async fn say(&mut self, answer: &Answer) -> Option<()> {
        self.say.write_all(&words::to_line(answer)).await.ok()
    }
}

/// A sender that was let in.
pub(super) struct Sender {
    pub(super) visit: Visit,
    pub(super) camera: CameraName,
}

impl Sender {
    /// Passes its frames and facts on until it leaves. When one of its parts ends, so does the connection, and with
    /// it the others; but frames that were acknowledged before are still passed on.
    pub(super) async fn run(self, events: &mpsc::Sender<Event>) {
        let Visit {
            connection,
            from,
            mut say,
            mut lines,
        } = self.visit;
        let (out, mut arrivals) = mpsc::channel(WAITING);
        let camera = self.camera;
        let close = || connection.close(DONE, b"");
        let pass_on = async move {
            while let Some(Incoming::Frame(jpeg)) = arrivals.recv().await {
                let sent = Event::Sent(from, camera.clone(), jpeg);
                if events.send(sent).await.is_err() {
                    break;
                }
            }
            close();
        };
        let talk = async {
            while let Some(said) = hear(&mut lines, &mut say).await {
                if let ClientMessage::SenderInfo(facts) = said
                    && events.send(Event::Facts(from, facts)).await.is_err()
                {
                    break;
                }
            }
            close();
        };
        // Its end is the connection's, which the others notice.
        let (_, (), ()) = tokio::join!(frames::receive(&connection, out), pass_on, talk);
    }
}

/// A viewer that was let in.
pub(super) struct Viewer {
    pub(super) visit: Visit,
    pub(super) seat: Subscription,
}

impl Viewer {
    /// Shows it its camera until it leaves.
    pub(super) async fn run(self, stats: &EgressStats) {
        let Visit {
            connection,
            say,
            lines,
            ..
        } = self.visit;
        let Subscription {
            mut frames,
            messages,
            camera,
            live,
            ..
        } = self.seat;
        // Tasks of their own, so that a frame's turn is not a look at everything else as well.
        let mut beside = JoinSet::new();
        beside.spawn(tell(connection.clone(), messages));
        beside.spawn(talk(lines, say, camera, live));
        tokio::select! {
            _ = frames::send(&connection, stats, &mut frames) => {}
            _ = beside.join_next() => {}
        }
        connection.close(DONE, b"");
    }
}

impl FrameSource for Frames {
    async fn next(&mut self) -> Option<OutgoingFrame> {
        Self::next(self).await
    }
}

/// Detections on a stream of their own, ahead of frames. A viewer that does not read them misses the oldest.
async fn tell(connection: Connection, mut messages: broadcast::Receiver<Bytes>) -> Option<()> {
    let mut stream = connection.open_uni().await.ok()?;
    stream.set_priority(DETECTIONS_PRIORITY).ok()?;
    loop {
        match messages.recv().await {
            Ok(line) => stream.write_chunk(line).await.ok()?,
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return None,
        }
    }
}

/// Clocks, whose frames these are, and which cameras there are.
async fn talk(
    mut lines: Lines,
    mut say: SendStream,
    mut camera: watch::Receiver<CameraInfo>,
    mut live: watch::Receiver<Vec<String>>,
) -> Option<()> {
    camera.mark_changed();
    live.mark_unchanged();
    let mut last = None;
    loop {
        let told = tokio::select! {
            // What it says is answered on the way.
            line = lines.next() => {
                if let Some(ClientMessage::Ping(ping)) = words::from_line(&line.ok()?) {
                    answer(&mut say, ping).await?;
                }
                continue;
            }
            changed = camera.changed() => {
                changed.ok()?;
                ServerMessage::Camera(camera.borrow_and_update().clone())
            }
            changed = live.changed() => {
                changed.ok()?;
                ServerMessage::Cameras(live.borrow_and_update().clone())
            }
        };
        if last.as_ref() != Some(&told) {
            say.write_all(&words::to_line(&told)).await.ok()?;
            last = Some(told);
        }
    }
}

/// The next thing that a peer says, questions for the clock answered.
async fn hear(lines: &mut Lines, say: &mut SendStream) -> Option<ClientMessage> {
    loop {
        match words::from_line(&lines.next().await.ok()?) {
            Some(ClientMessage::Ping(ping)) => answer(say, ping).await?,
            Some(said) => return Some(said),
            None => {}
        }
    }
}

async fn answer(say: &mut SendStream, Ping { t1 }: Ping) -> Option<()> {
    let now = unix_micros();
    let pong = Pong {
        t1,
        t2: now,
        t3: now,
    };
    say.write_all(&words::to_line(&ServerMessage::Pong(pong)))
        .await
        .ok()
}
