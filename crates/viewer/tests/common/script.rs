//! What a test's relay does on a QUIC connection, step by step.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use platform::clock::unix_micros;
use protocol::control::LeaseVerdict;
use protocol::label::Label;
use protocol::quic::{
    Answer, CameraInfo, ClientMessage, Hello, Ping, Pong, Refusal, ServerMessage, from_line,
    to_line,
};
use quic::frames::DETECTIONS_PRIORITY;
use quic::lines::Lines;
use quinn::{Connection, SendStream, VarInt};
use serde_json::json;

use super::{INTERVAL, captured, labelled, labelled_as};

/// The refusals that end a viewer, and a part of the sentence that names the cure.
pub(crate) const FINAL_REFUSALS: [(Refusal, &str); 5] = [
    (Refusal::Private, "relay-server ticket add makes one"),
    (Refusal::Token, "relay-server ticket add makes another"),
    (Refusal::Role, "viewer one of relay-server ticket add view"),
    (Refusal::Camera, "leave out --camera"),
    (Refusal::Hello, "update the older of the two"),
];

/// A viewer that is connected by QUIC and has sent its hello.
pub(crate) struct ViewerSession {
    pub(crate) connection: Connection,
    pub(crate) hello: Hello,
    pub(crate) control: SendStream,
    pub(crate) lines: Lines,
}

type SessionFuture = Pin<Box<dyn Future<Output = Option<()>> + Send>>;
type SessionHandler = dyn Fn(ViewerSession) -> SessionFuture + Send + Sync;
/// For a frame's number: how late its message is, and the left edges of its boxes.
type TrackedBoxes = dyn Fn(u64) -> Option<(Duration, Vec<f64>)> + Send + Sync;

/// What the relay does.
#[derive(Clone)]
pub(crate) struct RelayScript {
    /// The answer to hellos and probes over UDP.
    pub(crate) verdict: LeaseVerdict,
    /// Whether QUIC connections are accepted.
    pub(crate) accepts_quic: Arc<AtomicBool>,
    /// What happens on a QUIC connection.
    pub(crate) handle: Arc<SessionHandler>,
    /// The number of the first UDP frame, less one.
    pub(crate) udp_from: u64,
}

impl RelayScript {
    /// Returns a script that accepts both transports and handles QUIC connections like this.
    pub(crate) fn new<F>(handle: impl Fn(ViewerSession) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Option<()>> + Send + 'static,
    {
        Self {
            verdict: LeaseVerdict::Welcome,
            accepts_quic: Arc::new(AtomicBool::new(true)),
            handle: Arc::new(move |session| Box::pin(handle(session))),
            udp_from: 0,
        }
    }

    /// Returns a script with the camera `yard`, whose frames have these numbers plus 1, 2, .. on both transports.
    pub(crate) fn yard(stream: u64, from: u64) -> Self {
        let count = Arc::new(AtomicU64::new(from));
        let script = Self::new(move |session| session.send_frames(stream, count.clone()));
        Self {
            udp_from: from,
            ..script
        }
    }

    /// Returns a script with the camera `yard` and boxes that come ahead of its frames: its own for each frame whose number
    /// is a multiple of `every`, none for the others.
    pub(crate) fn boxes_ahead(every: u64) -> Self {
        Self::new(move |session| session.send_boxes_ahead(every, 0.25))
    }

    /// Returns a script with the camera `yard` and a box on each frame, with this top edge.
    pub(crate) fn box_at(top: f64) -> Self {
        Self::new(move |session| session.send_boxes_ahead(1, top))
    }

    /// Returns a script with the camera `yard`, and behind each frame the message that `tracked` gives for its number: so
    /// long behind it, and with these left edges of boxes whose ids are 7, 8, ..
    pub(crate) fn boxes_behind(
        interval: Duration,
        tracked: impl Fn(u64) -> Option<(Duration, Vec<f64>)> + Send + Sync + 'static,
    ) -> Self {
        let tracked = Arc::new(tracked);
        Self::new(move |session| session.send_boxes_behind(interval, tracked.clone()))
    }

    /// Returns a script with these cameras, of which a viewer that chooses none gets the first. Each numbers its frames from
    /// 1 on every connection.
    pub(crate) fn cameras(live: &[&'static str]) -> Self {
        let live = live.to_vec();
        Self::new(move |mut session: ViewerSession| {
            let live = live.clone();
            async move {
                session.answer(&live).await?;
                let asked = session.hello.camera.clone();
                let name = asked.unwrap_or_else(|| live[0].to_owned());
                let connection = session.connection.clone();
                let frames = async {
                    for seq in 1.. {
                        send(&connection, &labelled_as(&name, 1, seq)).await?;
                        tokio::time::sleep(INTERVAL).await;
                    }
                    Some(())
                };
                session.answer_pings_beside(frames).await
            }
        })
    }

    /// Returns a script that handles QUIC connections like this until the returned flag is set, and then sends the camera
    /// `yard`.
    pub(crate) fn until_good<F>(
        bad: impl Fn(ViewerSession) -> F + Send + Sync + 'static,
    ) -> (Self, Arc<AtomicBool>)
    where
        F: Future<Output = Option<()>> + Send + 'static,
    {
        let good = Arc::new(AtomicBool::new(false));
        let is_good = good.clone();
        let bad = Arc::new(bad);
        let script = Self::new(move |mut session: ViewerSession| {
            let (good, bad) = (is_good.load(Ordering::Relaxed), bad.clone());
            async move {
                if !good {
                    return bad(session).await;
                }
                session.answer(&["yard"]).await?;
                send_yard(&session.connection).await
            }
        });
        (script, good)
    }

    /// Returns a script that refuses every QUIC connection.
    pub(crate) fn refusing(refusal: Refusal) -> Self {
        Self::new(move |session| session.refuse(refusal))
    }
}

impl ViewerSession {
    pub(crate) async fn answer(&mut self, cameras: &[&str]) -> Option<()> {
        let answer = Answer {
            ok: true,
            refusal: None,
            cameras: cameras.iter().map(ToString::to_string).collect(),
            cookie: None,
        };
        self.control.write_all(&to_line(&answer)).await.ok()
    }

    pub(crate) async fn send_message(&mut self, message: &ServerMessage) -> Option<()> {
        self.control.write_all(&to_line(message)).await.ok()
    }

    async fn refuse(mut self, refusal: Refusal) -> Option<()> {
        let answer = Answer {
            ok: false,
            refusal: Some(refusal),
            cameras: Vec::new(),
            cookie: None,
        };
        self.control.write_all(&to_line(&answer)).await.ok()?;
        self.control.finish().ok()?;
        let _ = self.control.stopped().await;
        self.connection
            .close(VarInt::from_u32(2), &to_line(&refusal));
        Some(())
    }

    /// Answers pings while this sends, until either ends.
    pub(crate) async fn answer_pings_beside(
        &mut self,
        sending: impl Future<Output = Option<()>>,
    ) -> Option<()> {
        tokio::select! {
            ended = self.answer_pings() => ended,
            ended = sending => ended,
        }
    }

    /// Answers pings until the connection ends.
    async fn answer_pings(&mut self) -> Option<()> {
        loop {
            if let Some(ClientMessage::Ping(Ping { t1 })) =
                from_line(&self.lines.next().await.ok()?)
            {
                let now = unix_micros();
                let pong = Pong {
                    t1,
                    t2: now,
                    t3: now,
                };
                self.send_message(&ServerMessage::Pong(pong)).await?;
            }
        }
    }

    async fn send_boxes_ahead(mut self, every: u64, top: f64) -> Option<()> {
        self.answer(&["yard"]).await?;
        self.send_message(&ServerMessage::Camera(camera_info("yard")))
            .await?;
        let mut boxes = self.connection.open_uni().await.ok()?;
        boxes.set_priority(DETECTIONS_PRIORITY).ok()?;
        for seq in 1.. {
            let jpeg = labelled(1, seq);
            if seq % every == 0 {
                let name = format!("thing {seq}");
                let message = one_box(&jpeg, &name, top);
                boxes.write_all(&message).await.ok()?;
            }
            tokio::time::sleep(INTERVAL).await;
            send(&self.connection, &jpeg).await?;
        }
        Some(())
    }

    async fn send_boxes_behind(
        mut self,
        interval: Duration,
        tracked: Arc<TrackedBoxes>,
    ) -> Option<()> {
        self.answer(&["yard"]).await?;
        self.send_message(&ServerMessage::Camera(camera_info("yard")))
            .await?;
        let mut boxes = self.connection.open_uni().await.ok()?;
        boxes.set_priority(DETECTIONS_PRIORITY).ok()?;
        let start = unix_micros();
        for seq in 1_u32.. {
            // The clock's own unevenness is left out, so that what moves evenly does so in the messages too.
            let since = interval * (seq - 1);
            let jpeg = captured(1, seq.into(), start + since.as_micros() as u64);
            send(&self.connection, &jpeg).await?;
            if let Some((late, edges)) = tracked(seq.into()) {
                tokio::time::sleep(late).await;
                let own = |(id, x)| {
                    json!({ "id": id, "class": 0, "label": format!("thing {seq}"), "score": 0.5,
                    "box": [x, 0.25, x + 0.25, 0.75] })
                };
                let list = (7..).zip(edges).map(own).collect();
                boxes.write_all(&line(&jpeg, "tracked", list)).await.ok()?;
            }
            let passed = Duration::from_micros(unix_micros() - start);
            tokio::time::sleep((since + interval).saturating_sub(passed)).await;
        }
        Some(())
    }

    async fn send_frames(mut self, stream: u64, count: Arc<AtomicU64>) -> Option<()> {
        self.answer(&["yard"]).await?;
        let connection = self.connection.clone();
        let frames = async {
            loop {
                let seq = count.fetch_add(1, Ordering::Relaxed) + 1;
                send(&connection, &labelled(stream, seq)).await?;
                tokio::time::sleep(INTERVAL).await;
            }
        };
        self.answer_pings_beside(frames).await
    }
}

/// Returns the line of a detections message with one box for this frame.
fn one_box(jpeg: &[u8], name: &str, top: f64) -> Vec<u8> {
    let one = json!([{ "id": 7, "class": 0, "label": name, "score": 0.5, "box": [0.25, top, 0.5, 0.75] }]);
    line(jpeg, "tracked", one)
}

/// Returns the line of a detections message for this frame.
fn line(jpeg: &[u8], kind: &str, detections: serde_json::Value) -> Vec<u8> {
    let label = Label::read(jpeg).unwrap().unwrap();
    let message = json!({
        "v": 1, "camera": "yard", "seq": label.seq, "t": label.captured_us as f64 / 1e6,
        "w": 300, "h": 200, "kind": kind, "detections": detections,
    });
    format!("{message}\n").into_bytes()
}

/// Sends bytes on a stream of their own.
pub(crate) async fn send(connection: &Connection, bytes: &[u8]) -> Option<()> {
    let mut stream = connection.open_uni().await.ok()?;
    stream.write_all(bytes).await.ok()?;
    stream.finish().ok()
}

/// Sends the frames of the camera `yard`, from number 1 on, until the connection ends.
pub(crate) async fn send_yard(connection: &Connection) -> Option<()> {
    for seq in 1.. {
        send(connection, &labelled(1, seq)).await?;
        tokio::time::sleep(INTERVAL).await;
    }
    Some(())
}

/// Returns the facts about a camera whose sender has reported none.
pub(crate) fn camera_info(name: &str) -> CameraInfo {
    CameraInfo {
        name: name.to_owned(),
        ..CameraInfo::default()
    }
}
