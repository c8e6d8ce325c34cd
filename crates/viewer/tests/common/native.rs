//! Our relay with both doors, played by a thread: the plain one answers, the native one does as the test says.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use platform::clock::unix_micros;
use protocol::control::{Control, Verdict};
use protocol::datagram::{Datagram, classify};
use protocol::label::Label;
use protocol::quic::{
    self as words, Answer, CameraInfo, ClientMessage, Hello, Ping, Pong, Refusal, ServerMessage,
};
use quic::endpoint::{self, PacketFilter};
use quic::frames::DETECTIONS_PRIORITY;
use quic::identity::Identity;
use quic::lines::Lines;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{
    AsyncUdpSocket, Connection, Incoming, Runtime as _, SendStream, TokioRuntime, UdpPoller, VarInt,
};
use serde_json::json;
use tokio::sync::Notify;

use super::{Heard, INTERVAL, captured, labelled};

/// Somebody who has said hello.
pub(crate) struct Visit {
    pub(crate) connection: Connection,
    pub(crate) hello: Hello,
    pub(crate) say: SendStream,
    pub(crate) lines: Lines,
}

type Played = Pin<Box<dyn Future<Output = Option<()>> + Send>>;
/// How late a frame's message is, and the left edges of its boxes.
type Tracked = dyn Fn(u64) -> Option<(Duration, Vec<f64>)> + Send + Sync;
type Play = dyn Fn(Visit) -> Played + Send + Sync;

/// What the relay does.
#[derive(Clone)]
pub(crate) struct Script {
    /// The plain door's answer.
    pub(crate) verdict: Verdict,
    /// Whether the native door opens.
    pub(crate) opens: Arc<AtomicBool>,
    /// What happens behind it.
    pub(crate) play: Arc<Play>,
    /// The number of the first plain frame, less one.
    pub(crate) plain_from: u64,
}

impl Script {
    /// Both doors are open, and behind the native one this happens.
    pub(crate) fn new<F>(play: impl Fn(Visit) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Option<()>> + Send + 'static,
    {
        Self {
            verdict: Verdict::Welcome,
            opens: Arc::new(AtomicBool::new(true)),
            play: Arc::new(move |visit| Box::pin(play(visit))),
            plain_from: 0,
        }
    }

    /// The camera `yard`, whose frames have these numbers plus 1, 2, ..; plain ones too.
    pub(crate) fn yard(stream: u64, from: u64) -> Self {
        let count = Arc::new(AtomicU64::new(from));
        let script = Self::new(move |visit| visit.yard(stream, count.clone()));
        Self {
            plain_from: from,
            ..script
        }
    }

    /// The camera `yard` with boxes that come ahead of its frames: its own for each whose number is a multiple of
    /// `every`, none for the others.
    pub(crate) fn boxes(every: u64) -> Self {
        Self::new(move |visit| visit.boxes(every))
    }

    /// The camera `yard`, and behind each frame the message that `tracked` gives for its number: so long behind it, and
    /// with these left edges of boxes whose ids are 7, 8, ..
    pub(crate) fn tracks(
        interval: Duration,
        tracked: impl Fn(u64) -> Option<(Duration, Vec<f64>)> + Send + Sync + 'static,
    ) -> Self {
        let tracked = Arc::new(tracked);
        Self::new(move |visit| visit.tracks(interval, tracked.clone()))
    }

    /// Nobody is let in.
    pub(crate) fn refusing(refusal: Refusal) -> Self {
        Self::new(move |visit| visit.refuse(refusal))
    }
}

impl Visit {
    pub(crate) async fn answer(&mut self, cameras: &[&str]) -> Option<()> {
        let answer = Answer {
            ok: true,
            refusal: None,
            cameras: cameras.iter().map(ToString::to_string).collect(),
        };
        self.say.write_all(&words::to_line(&answer)).await.ok()
    }

    pub(crate) async fn tell(&mut self, told: &ServerMessage) -> Option<()> {
        self.say.write_all(&words::to_line(told)).await.ok()
    }

    async fn refuse(mut self, refusal: Refusal) -> Option<()> {
        let answer = Answer {
            ok: false,
            refusal: Some(refusal),
            cameras: Vec::new(),
        };
        self.say.write_all(&words::to_line(&answer)).await.ok()?;
        self.say.finish().ok()?;
        let _ = self.say.stopped().await;
        self.connection
            .close(VarInt::from_u32(2), &words::to_line(&refusal));
        Some(())
    }

    /// Compares clocks whenever it is asked, until the connection ends.
    pub(crate) async fn pong(&mut self) -> Option<()> {
        loop {
            if let Some(ClientMessage::Ping(Ping { t1 })) =
                words::from_line(&self.lines.next().await.ok()?)
            {
                let now = unix_micros();
                let pong = Pong {
                    t1,
                    t2: now,
                    t3: now,
                };
                self.tell(&ServerMessage::Pong(pong)).await?;
            }
        }
    }

    async fn boxes(mut self, every: u64) -> Option<()> {
        self.answer(&["yard"]).await?;
        self.tell(&ServerMessage::Camera(camera("yard"))).await?;
        let mut boxes = self.connection.open_uni().await.ok()?;
        boxes.set_priority(DETECTIONS_PRIORITY).ok()?;
        for seq in 1.. {
            let jpeg = labelled(1, seq);
            if seq % every == 0 {
                let name = format!("thing {seq}");
                let message = message(&jpeg, "tracked", &name);
                boxes.write_all(&message).await.ok()?;
            }
            tokio::time::sleep(INTERVAL).await;
            send(&self.connection, &jpeg).await?;
        }
        Some(())
    }

    async fn tracks(mut self, interval: Duration, tracked: Arc<Tracked>) -> Option<()> {
        self.answer(&["yard"]).await?;
        self.tell(&ServerMessage::Camera(camera("yard"))).await?;
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

    async fn yard(mut self, stream: u64, count: Arc<AtomicU64>) -> Option<()> {
        self.answer(&["yard"]).await?;
        let connection = self.connection.clone();
        let frames = async {
            loop {
                let seq = count.fetch_add(1, Ordering::Relaxed) + 1;
                send(&connection, &labelled(stream, seq)).await?;
                tokio::time::sleep(INTERVAL).await;
            }
        };
        tokio::select! {
            ended = self.pong() => ended,
            ended = frames => ended,
        }
    }
}

/// What a relay says of a frame: one box.
fn message(jpeg: &[u8], kind: &str, name: &str) -> Vec<u8> {
    let one = json!([{ "id": 7, "class": 0, "label": name, "score": 0.5, "box": [0.25, 0.25, 0.5, 0.75] }]);
    line(jpeg, kind, one)
}

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

/// What a camera's sender says of itself, or of whom nothing is known.
pub(crate) fn camera(name: &str) -> CameraInfo {
    CameraInfo {
        name: name.to_owned(),
        ..CameraInfo::default()
    }
}

/// The relay; dropped, it is gone as by a power cut.
pub(crate) struct NativeRelay {
    pub(crate) addr: SocketAddr,
    heard: Arc<Mutex<Heard>>,
    hellos: Arc<Mutex<Vec<Hello>>>,
    knocks: Arc<AtomicUsize>,
    ended: Arc<Mutex<Vec<String>>>,
    stop: Arc<Notify>,
    thread: Option<JoinHandle<()>>,
}

impl NativeRelay {
    pub(crate) fn start(addr: &str, identity: &Identity, script: Script) -> Self {
        let socket = UdpSocket::bind(addr).unwrap();
        let mut relay = Self {
            addr: socket.local_addr().unwrap(),
            heard: Arc::default(),
            hellos: Arc::default(),
            knocks: Arc::default(),
            ended: Arc::default(),
            stop: Arc::default(),
            thread: None,
        };
        let party = Party {
            heard: relay.heard.clone(),
            hellos: relay.hellos.clone(),
            knocks: relay.knocks.clone(),
            ended: relay.ended.clone(),
            script,
        };
        let (stop, identity) = (relay.stop.clone(), identity.clone());
        relay.thread = Some(std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = stop.notified() => {}
                    () = party.serve(socket, identity) => {}
                }
            });
            runtime.shutdown_background();
        }));
        relay
    }

    /// What was said at the plain door, and when.
    pub(crate) fn heard(&self) -> Vec<(Instant, Control)> {
        let heard = self.heard.lock().unwrap();
        let control = |said: &[u8]| match classify(said.to_vec()) {
            Ok(Datagram::Control(control)) => control,
            other => panic!("said at the plain door: {other:?}"),
        };
        heard
            .iter()
            .map(|(at, said)| (*at, control(said)))
            .collect()
    }

    /// Who came in at the native one.
    pub(crate) fn hellos(&self) -> Vec<Hello> {
        self.hellos.lock().unwrap().clone()
    }

    /// How often somebody knocked there, let in or not.
    pub(crate) fn knocks(&self) -> usize {
        self.knocks.load(Ordering::Relaxed)
    }

    /// How connections ended.
    pub(crate) fn ended(&self) -> Vec<String> {
        self.ended.lock().unwrap().clone()
    }
}

impl Drop for NativeRelay {
    fn drop(&mut self) {
        self.stop.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the thread holds.
struct Party {
    heard: Arc<Mutex<Heard>>,
    hellos: Arc<Mutex<Vec<Hello>>>,
    knocks: Arc<AtomicUsize>,
    ended: Arc<Mutex<Vec<String>>>,
    script: Script,
}

impl Party {
    async fn serve(self, socket: UdpSocket, identity: Identity) {
        let speaker = socket.try_clone().unwrap();
        let port = Arc::new(Port {
            quic: PacketFilter::new(&identity),
            inner: TokioRuntime.wrap_udp_socket(socket).unwrap(),
            speaker: speaker.try_clone().unwrap(),
            verdict: self.script.verdict,
            heard: self.heard.clone(),
            viewer: Mutex::default(),
        });
        let endpoint = endpoint::server(port.clone(), &identity).unwrap();
        let native = async {
            while let Some(incoming) = endpoint.accept().await {
                self.knocks.fetch_add(1, Ordering::Relaxed);
                if self.script.opens.load(Ordering::Relaxed) {
                    tokio::spawn(self.visit(incoming));
                } else {
                    incoming.ignore();
                }
            }
        };
        let plain = async {
            for seq in self.script.plain_from + 1.. {
                if let Some(viewer) = *port.viewer.lock().unwrap() {
                    let _ = speaker.send_to(&labelled(1, seq), viewer);
                }
                tokio::time::sleep(INTERVAL).await;
            }
        };
        tokio::join!(native, plain);
    }

    fn visit(&self, incoming: Incoming) -> impl Future<Output = Option<()>> + use<> {
        let (hellos, ended, play) = (
            self.hellos.clone(),
            self.ended.clone(),
            self.script.play.clone(),
        );
        async move {
            let connection = incoming.accept().ok()?.await.ok()?;
            let (say, hear) = connection.accept_bi().await.ok()?;
            let mut lines = Lines::new(hear);
            let hello: Hello = words::from_line(&lines.next().await.ok()?)?;
            hellos.lock().unwrap().push(hello.clone());
            let visit = Visit {
                connection: connection.clone(),
                hello,
                say,
                lines,
            };
            play(visit).await;
            let end = tokio::time::timeout(Duration::from_secs(60), connection.closed()).await;
            ended.lock().unwrap().push(format!("{end:?}"));
            Some(())
        }
    }
}

/// The relay's socket: quinn sees nothing but QUIC.
struct Port {
    quic: PacketFilter,
    inner: Arc<dyn AsyncUdpSocket>,
    speaker: UdpSocket,
    verdict: Verdict,
    heard: Arc<Mutex<Heard>>,
    /// Who wants plain frames.
    viewer: Mutex<Option<SocketAddr>>,
}

impl Port {
    fn plain(&self, said: &[u8], from: SocketAddr) {
        self.heard
            .lock()
            .unwrap()
            .push((Instant::now(), said.to_vec()));
        let mut viewer = self.viewer.lock().unwrap();
        let nonce = match classify(said.to_vec()) {
            Ok(Datagram::Control(Control::Hello { nonce })) => {
                *viewer = Some(from);
                nonce
            }
            Ok(Datagram::Control(Control::Probe { nonce })) => {
                *viewer = None;
                nonce
            }
            _ => return,
        };
        let verdict = self.verdict;
        let accept = Control::Accept { nonce, verdict }.write();
        let _ = self.speaker.send_to(&accept, from);
    }
}

impl std::fmt::Debug for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Port")
    }
}

impl AsyncUdpSocket for Port {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.inner.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.inner.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(self.inner.poll_recv(cx, bufs, metas))?;
        for (meta, buf) in metas.iter_mut().zip(bufs.iter()).take(count) {
            // The viewer speaks at each door from another port, so a piece is of one kind.
            let piece = &buf[..meta.len];
            if !self.quic.is_quic(&piece[..meta.stride.min(meta.len)]) {
                for datagram in piece.chunks(meta.stride.max(1)) {
                    self.plain(datagram, meta.addr);
                }
                meta.len = 0;
            }
        }
        Poll::Ready(Ok(count))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}
