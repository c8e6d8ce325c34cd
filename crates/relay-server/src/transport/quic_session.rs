//! A QUIC peer that was let in: frames one way, clocks and reports beside them.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use platform::clock::steady_micros;
use platform::egress::EgressStats;
use protocol::datagram::Foreign;
use protocol::geometry::Size;
use protocol::label::CameraName;
use protocol::peer::Proof;
use protocol::quic::{
    Answer, CameraInfo, ClientMessage, Ping, Pong, Refusal, ServerMessage, from_line, to_line,
};
use quic::client::DONE;
use quic::frames::{self, DETECTIONS_PRIORITY};
use quic::lines::Lines;
use quic::receive::{self, Incoming, InputLimits, Room};
use quinn::{Connection, SendStream};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, broadcast, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::access::Grant;
use crate::event::{Event, Ingress};
use crate::fanout::Feed;
use crate::handle::Subscription;
use crate::rendition_source::RenditionSource;
use crate::shared_renditions::SharedRenditions;
use relay_core::limits::{
    FRAME_BURST, FRAME_RATE, LINE_BURST, LINE_RATE, SENDER_FRAMES, STREAM_RATE,
};
use relay_core::{Publisher, TokenBucket};

use super::quic::REFUSED;

/// Frames of one sender that may wait for the loop.
const WAITING: usize = 4;
/// What a sender may send; it shares its room with the others.
const INPUT: InputLimits = InputLimits {
    bytes: SENDER_FRAMES,
    lines: false,
    streams: Some(STREAM_RATE),
};

/// A peer that has sent its hello.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) connection: Connection,
    /// The address at which the connection began.
    pub(super) from: SocketAddr,
    /// The sending half of the control stream.
    pub(super) control: SendStream,
    pub(super) lines: Lines,
}

impl Peer {
    /// Lets the peer in.
    pub(super) async fn accept(&mut self, cameras: Vec<CameraName>, proof: &Proof) -> Option<()> {
        let answer = Answer {
            ok: true,
            refusal: None,
            cameras: names(&cameras),
            cookie: proof.to_digits(),
        };
        self.send(&answer).await
    }

    /// Answers pings until the peer leaves.
    pub(super) async fn answer_pings(mut self) {
        let mut pace = line_pace();
        while let Ok(line) = self.lines.next().await {
            wait_for(&mut pace).await;
            if let Some(ClientMessage::Ping(ping)) = from_line(&line)
                && answer_ping(&mut self.control, ping).await.is_none()
            {
                return;
            }
        }
    }

    /// Sends the answer to its hello.
    pub(super) async fn send(&mut self, answer: &Answer) -> Option<()> {
        self.control.write_all(&to_line(answer)).await.ok()
    }
}

/// A sender that was let in.
pub(super) struct SenderSession {
    pub(super) peer: Peer,
    pub(super) publisher: Arc<Publisher>,
    /// What the relay may hold of it.
    pub(super) room: Room,
}

impl SenderSession {
    /// Receives its frames and reports until it leaves, or until it is refused after all. When one of its parts ends, so
    /// does the connection, and with it the others; but frames that were acknowledged before are still passed on.
    pub(super) async fn run(
        self,
        events: &mpsc::Sender<Event>,
        refused: oneshot::Receiver<Refusal>,
    ) {
        let Peer {
            connection,
            mut control,
            mut lines,
            ..
        } = self.peer;
        let (incoming_tx, mut incoming) = mpsc::channel(WAITING);
        let too_large = Notify::new();
        let publisher = self.publisher;
        let id = publisher.id;
        let close = || {
            // The first reason stays: whether the sender closed the connection.
            if connection.close_reason().is_none() {
                connection.close(DONE, b"");
            }
        };
        let forward = async {
            let mut pace = TokenBucket::new(FRAME_RATE, FRAME_BURST, Instant::now());
            while let Some(incoming) = incoming.recv().await {
                let Incoming::Frame(jpeg, held) = incoming else {
                    too_large.notify_one();
                    continue;
                };
                wait_for(&mut pace).await;
                let received = Ingress::FrameReceived(publisher.clone(), jpeg, held);
                if events.send(received.into()).await.is_err() {
                    break;
                }
            }
            close();
        };
        let reports = async {
            let mut pace = line_pace();
            loop {
                let line = tokio::select! {
                    line = lines.next() => line,
                    () = too_large.notified() => {
                        let notice = to_line(&ServerMessage::FrameTooLarge(true));
                        match control.write_all(&notice).await {
                            Ok(()) => continue,
                            Err(_) => break,
                        }
                    }
                };
                let Ok(line) = line else { break };
                wait_for(&mut pace).await;
                let info = match from_line(&line) {
                    Some(ClientMessage::SenderInfo(info)) => info,
                    Some(ClientMessage::Ping(ping)) => {
                        match answer_ping(&mut control, ping).await {
                            Some(()) => continue,
                            None => break,
                        }
                    }
                    None => continue,
                };
                let report = Ingress::SenderInfo(id, info);
                if events.send(report.into()).await.is_err() {
                    break;
                }
            }
            close();
        };
        let refusal = async {
            if let Ok(refusal) = refused.await {
                connection.close(REFUSED, &to_line(&refusal));
            }
            std::future::pending::<Infallible>().await
        };
        // Its end is the connection's, which the others notice.
        let receive = receive::receive_into(self.room, &connection, INPUT, incoming_tx);
        tokio::select! {
            _ = async { tokio::join!(receive, forward, reports) } => {}
            never = refusal => match never {},
        }
    }
}

/// A viewer that was let in.
pub(super) struct ViewerSession {
    pub(super) peer: Peer,
    pub(super) subscription: Subscription,
    /// What the viewer may see.
    pub(super) grant: Grant,
    pub(super) renditions: Arc<SharedRenditions>,
    /// Whether it takes no renditions.
    pub(super) originals: bool,
}

impl ViewerSession {
    /// Sends it its camera until it leaves.
    pub(super) async fn run(self, stats: &EgressStats) {
        let Peer {
            connection,
            control,
            lines,
            ..
        } = self.peer;
        // The guard unsubscribes at the end.
        let Subscription {
            feed,
            guard: _guard,
        } = self.subscription;
        let Feed {
            frames,
            messages,
            camera,
            live,
            foreign,
            ..
        } = feed;
        let (rendition_tx, rendition_of) = watch::channel(None);
        let mut frames =
            RenditionSource::new(frames, self.renditions, self.originals, rendition_tx);
        // Tasks of their own, so that a frame's turn is not a look at everything else as well.
        let mut beside = JoinSet::new();
        beside.spawn(send_detections(connection.clone(), messages));
        let watched = Watched {
            camera,
            live,
            foreign,
            rendition_of,
            grant: self.grant,
        };
        beside.spawn(serve_control(lines, control, watched));
        tokio::select! {
            _ = frames::send(&connection, stats, &mut frames) => {}
            _ = beside.join_next() => {}
        }
        connection.close(DONE, b"");
    }
}

/// Sends detections on a stream of their own, ahead of frames. A viewer that does not read them misses the oldest.
async fn send_detections(
    connection: Connection,
    mut messages: broadcast::Receiver<Bytes>,
) -> Option<()> {
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

/// What a viewer is sent beside the frames, when it changes.
struct Watched {
    camera: watch::Receiver<CameraInfo>,
    live: watch::Receiver<Vec<CameraName>>,
    foreign: watch::Receiver<Option<Foreign>>,
    rendition_of: watch::Receiver<Option<Size>>,
    grant: Grant,
}

/// Answers pings, and sends which camera the frames are of, which cameras are live, what comes in place of JPEGs, and
/// whether the frames are renditions.
async fn serve_control(mut lines: Lines, mut control: SendStream, watched: Watched) -> Option<()> {
    let Watched {
        mut camera,
        mut live,
        mut foreign,
        mut rendition_of,
        grant,
    } = watched;
    camera.mark_changed();
    if foreign.borrow().is_some() {
        foreign.mark_changed();
    }
    live.mark_unchanged();
    let mut last = None;
    let mut pace = line_pace();
    loop {
        let message = tokio::select! {
            // A ping is answered on the way.
            line = lines.next() => {
                wait_for(&mut pace).await;
                if let Some(ClientMessage::Ping(ping)) = from_line(&line.ok()?) {
                    answer_ping(&mut control, ping).await?;
                }
                continue;
            }
            changed = camera.changed() => {
                changed.ok()?;
                ServerMessage::Camera(camera.borrow_and_update().clone())
            }
            changed = live.changed() => {
                changed.ok()?;
                ServerMessage::Cameras(names(&grant.visible(&live.borrow_and_update())))
            }
            changed = foreign.changed() => {
                changed.ok()?;
                ServerMessage::Foreign(*foreign.borrow_and_update())
            }
            changed = rendition_of.changed() => {
                changed.ok()?;
                ServerMessage::RenditionOf((*rendition_of.borrow_and_update()).map(Size::into))
            }
        };
        if last.as_ref() != Some(&message) {
            control.write_all(&to_line(&message)).await.ok()?;
            last = Some(message);
        }
    }
}

fn line_pace() -> TokenBucket {
    TokenBucket::new(LINE_RATE, LINE_BURST, Instant::now())
}

/// Waits until the peer may send the next item.
async fn wait_for(pace: &mut TokenBucket) {
    let wait = pace.take_later(Instant::now());
    if !wait.is_zero() {
        sleep(wait).await;
    }
}

async fn answer_ping(control: &mut SendStream, Ping { t1 }: Ping) -> Option<()> {
    let now = steady_micros();
    let pong = ServerMessage::Pong(Pong {
        t1,
        t2: now,
        t3: now,
    });
    control.write_all(&to_line(&pong)).await.ok()
}

/// Returns cameras' names as they travel.
pub(super) fn names(cameras: &[CameraName]) -> Vec<String> {
    cameras.iter().map(ToString::to_string).collect()
}
