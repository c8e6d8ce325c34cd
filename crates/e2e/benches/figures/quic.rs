//! The cost of a frame at the relay for each QUIC viewer, against quinn alone: a stream opened, written and finished.
//!
//! Both sides get the same frames in turn by UDP and send them on with the same QUIC settings; the relay adds the hello, the
//! frame window, deadlines, clocks and its loop. The viewers read in a thread of this process.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use protocol::label::Label;
use protocol::quic::{Hello, Role};
use quic::client::{self, Client, Session};
use quic::endpoint;
use quic::identity::Identity;
use quinn::{Connection, Runtime as _, TokioRuntime};
use testkit::cpu::CpuClock;
use testkit::figures::{Goal, Unit};
use tokio::runtime::{Builder, Runtime};

use crate::programs::Relay;
use crate::udp::UdpCamera;
use crate::{Run, media, us};

const FRAME: usize = 15_000;
/// Time between two frames of a side, at 10 fps: half of it for the other side.
const INTERVAL: Duration = Duration::from_millis(100);

pub(crate) fn measure(run: &mut Run) {
    for viewers in [1, 10, 50] {
        let (relay, floor) = (Relay::start(None, &[]), StreamForwarder::start());
        let before = relay.resident_mb();
        let clients = QuicViewers::start();
        let seen = [Arc::<AtomicU64>::default(), Arc::default()];
        for _ in 0..viewers {
            clients.join(relay.address, true, &seen[0]);
            clients.join(floor.quic, false, &seen[1]);
        }
        let sides = [
            (
                UdpCamera::new(vec![media::frame_of(FRAME)], relay.address),
                &relay.cpu,
            ),
            (
                UdpCamera::new(vec![media::frame_of(FRAME)], floor.udp),
                &floor.cpu,
            ),
        ];
        let frames = run.seconds(12, 2).as_millis() / INTERVAL.as_millis();
        let costs = compare(sides, &seen, frames as usize);
        let name = format!("CPU a 15 kB frame and QUIC viewer, viewers: {viewers}");
        let floor = ("quinn, a bare stream", costs[1]);
        run.add(&name, Unit::Us, costs[0], floor, Goal::Times(1.2));
        if viewers == 50 {
            let carried = 1e6 / (costs[0] * 10.0);
            run.add_alone(
                "QUIC viewers that one core carries at 10 fps",
                Unit::Count,
                carried,
                Goal::None,
            );
            let all = relay.resident_mb() - before;
            run.add_alone("memory of 50 QUIC viewers", Unit::Mb, all, Goal::Most(25.0));
        }
    }
}

/// Returns the microseconds a frame and viewer, for each side.
fn compare(
    mut sides: [(UdpCamera, &CpuClock); 2],
    seen: &[Arc<AtomicU64>; 2],
    frames: usize,
) -> [f64; 2] {
    let mut next = Instant::now();
    let mut turn = |sides: &mut [(UdpCamera, &CpuClock); 2]| {
        for (camera, _) in sides {
            next += INTERVAL / 2;
            camera.send();
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    };
    (0..10).for_each(|_| turn(&mut sides));
    let spent = |sides: &[(UdpCamera, &CpuClock); 2]| [0, 1].map(|side| sides[side].1.spent());
    let count = || [0, 1].map(|side: usize| seen[side].load(Ordering::Relaxed));
    let (start, first) = (spent(&sides), count());
    (0..frames).for_each(|_| turn(&mut sides));
    let (end, last) = (spent(&sides), count());
    [0, 1].map(|side| us(end[side] - start[side]) / (last[side] - first[side]) as f64)
}

/// QUIC viewers that read in a thread of their own.
pub(crate) struct QuicViewers(Runtime);

impl QuicViewers {
    pub(crate) fn start() -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        Self(runtime.unwrap())
    }

    /// Adds a viewer, and returns the delays of its frames from the camera on, in microseconds, as they are added.
    pub(crate) fn join_timed(&self, at: SocketAddr) -> Arc<Mutex<Vec<f64>>> {
        let delays = Arc::<Mutex<Vec<f64>>>::default();
        let kept = Arc::clone(&delays);
        let session = self.0.block_on(view(at));
        self.0.spawn(async move {
            let connection = session.connection.clone();
            let _open = session;
            while let Ok(mut stream) = connection.accept_uni().await {
                let kept = Arc::clone(&kept);
                // Each stream has its own task: the stream of messages does not end.
                tokio::spawn(async move {
                    let frame = stream.read_to_end(100_000).await.unwrap_or_default();
                    if let Ok(Some(label)) = Label::read(&frame) {
                        let delay =
                            platform::clock::unix_micros() as f64 - label.captured_us as f64;
                        kept.lock().unwrap().push(delay);
                    }
                });
            }
        });
        delays
    }

    /// Adds a viewer, or without `hello` a bare connection, that counts its frames in `seen`.
    pub(crate) fn join(&self, at: SocketAddr, hello: bool, seen: &Arc<AtomicU64>) {
        let seen = Arc::clone(seen);
        let (session, connection) = self.0.block_on(async {
            if hello {
                let session = view(at).await;
                let connection = session.connection.clone();
                (Some(session), connection)
            } else {
                (None, client::connect(at).await.unwrap())
            }
        });
        self.0.spawn(async move {
            let _open = session;
            while let Ok(mut stream) = connection.accept_uni().await {
                let seen = Arc::clone(&seen);
                tokio::spawn(async move {
                    let frame = stream.read_to_end(100_000).await;
                    seen.fetch_add(u64::from(frame.is_ok()), Ordering::Relaxed);
                });
            }
        });
    }
}

async fn view(at: SocketAddr) -> Session {
    let hello = Hello {
        role: Role::View,
        camera: None,
        token: None,
        stream: None,
        cookie: None,
        trial: None,
        original: false,
    };
    Client::new(at, None)
        .unwrap()
        .open(at, &hello)
        .await
        .unwrap()
}

/// quinn alone: a server that sends each datagram as a stream to every connection.
struct StreamForwarder {
    quic: SocketAddr,
    udp: SocketAddr,
    cpu: CpuClock,
}

impl StreamForwarder {
    fn start() -> Self {
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let quic = UdpSocket::bind("127.0.0.1:0").unwrap();
                let udp = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
                let cpu = CpuClock::of_this_thread();
                let addresses = (quic.local_addr().unwrap(), udp.local_addr().unwrap());
                sender.send((addresses, cpu)).unwrap();
                let quic = TokioRuntime.wrap_udp_socket(quic).unwrap();
                let identity = Identity::generate().unwrap();
                let endpoint = endpoint::server(quic, &identity).unwrap();
                let mut viewers: Vec<Connection> = Vec::new();
                let mut buffer = vec![0; 70_000];
                loop {
                    tokio::select! {
                        Some(incoming) = endpoint.accept() => viewers.push(incoming.await.unwrap()),
                        Ok(length) = udp.recv(&mut buffer) => {
                            let frame = Bytes::copy_from_slice(&buffer[..length]);
                            for viewer in &viewers {
                                let mut stream = viewer.open_uni().await.unwrap();
                                stream.write_chunk(frame.clone()).await.unwrap();
                                stream.finish().unwrap();
                            }
                        }
                    }
                }
            });
        });
        let ((quic, udp), cpu) = receiver.recv().unwrap();
        Self { quic, udp, cpu }
    }
}
