//! The cost of a frame at the relay for each HTTP viewer, against a thread that writes it to each connection and reads the
//! answers of WebSocket viewers; the effect of a blocked viewer on the others; and the effect of HTTP viewers on the other
//! transports.
//!
//! Both sides get the same frames in turn, and are measured while they sleep, so that the scheduler's statistics are exact.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use testkit::cpu::CpuClock;
use testkit::figures::{Goal, Unit};

use crate::programs::Relay;
use crate::quic::QuicViewers;
use crate::udp::{ReceivedFrame, UdpCamera, UdpViewer};
use crate::{Run, media, percentile, us};

const FRAME: usize = 20_000;
/// Time between two frames of a side, at 10 fps: half of it for the other side.
const INTERVAL: Duration = Duration::from_millis(100);
/// Number of frames that only warm caches.
const WARM: u64 = 5;
/// Goal of the cost of a frame and viewer, in microseconds.
const AT_MOST: f64 = 12.0;
/// An empty binary message of a client on the wire: it is masked, with nothing to mask.
const SHOWN: [u8; 6] = [0x82, 0x80, 1, 2, 3, 4];

pub(crate) fn measure(run: &mut Run) {
    for kind in [StreamKind::Mjpeg, StreamKind::Socket] {
        costs(run, kind);
    }
    blocked(run);
    other_transports(run);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StreamKind {
    Mjpeg,
    Socket,
}

impl StreamKind {
    fn name(self) -> &'static str {
        match self {
            Self::Mjpeg => "MJPEG",
            Self::Socket => "WebSocket",
        }
    }

    /// Returns the name of the least work that a frame takes.
    fn floor(self) -> &'static str {
        match self {
            Self::Mjpeg => "recv + write, TCP",
            Self::Socket => "recv + read + write, TCP",
        }
    }
}

fn costs(run: &mut Run, kind: StreamKind) {
    let (relay, floor) = (Relay::with_http(), TcpForwarder::start(kind));
    let http = relay.http.unwrap();
    let sides = [
        (relay.address, relay.cpu.clone()),
        (floor.udp, floor.cpu.clone()),
    ];
    let mut sides = sides.map(|(udp, cpu)| HttpFanout::new(udp, cpu));
    sides[0].camera.send();
    thread::sleep(INTERVAL);
    for viewers in [1, 10, 50, 200] {
        while sides[0].viewers.len() < viewers {
            sides[0].viewers.push(HttpViewer::join(http, kind));
            sides[1].viewers.push(HttpViewer::join(floor.tcp, kind));
        }
        let frames = WARM + run.seconds(12, 2).as_millis() as u64 / INTERVAL.as_millis() as u64;
        let mut next = Instant::now();
        for frame in 0..frames {
            for side in &mut sides {
                next += INTERVAL / 2;
                side.frame(next, frame >= WARM);
            }
        }
        let [ours, floor] = [0, 1].map(|side: usize| sides[side].cost());
        let goal = if viewers == 200 {
            Goal::Most(AT_MOST)
        } else {
            Goal::None
        };
        let name = format!(
            "CPU a 20 kB frame and {} viewer, viewers: {viewers}",
            kind.name()
        );
        run.add(&name, Unit::Us, ours, (kind.floor(), floor), goal);
    }
    let name = format!("memory, 200 {} viewers", kind.name());
    run.add_alone(&name, Unit::Mb, relay.resident_mb(), Goal::None);
}

/// A forwarder under measurement, with its camera and viewers.
struct HttpFanout {
    camera: UdpCamera,
    cpu: CpuClock,
    viewers: Vec<HttpViewer>,
    /// Reading of the clock after the last frame.
    last: Duration,
    spent: Duration,
    copies: usize,
}

impl HttpFanout {
    fn new(udp: SocketAddr, cpu: CpuClock) -> Self {
        Self {
            camera: UdpCamera::new(vec![media::frame_of(FRAME)], udp),
            cpu,
            viewers: Vec::new(),
            last: Duration::ZERO,
            spent: Duration::ZERO,
            copies: 0,
        }
    }

    fn frame(&mut self, then: Instant, counts: bool) {
        self.camera.send();
        // Half of the time is for the frame, half of it for the viewers' answers.
        let half = then.saturating_duration_since(Instant::now()) / 2;
        thread::sleep(half);
        let copies: usize = self.viewers.iter_mut().map(HttpViewer::drain).sum();
        thread::sleep(then.saturating_duration_since(Instant::now()));
        let spent = self.cpu.spent();
        if counts {
            self.spent += spent - self.last;
            self.copies += copies;
        }
        self.last = spent;
    }

    /// Returns the microseconds a copy.
    fn cost(&mut self) -> f64 {
        us(std::mem::take(&mut self.spent)) / std::mem::take(&mut self.copies) as f64
    }
}

/// An HTTP viewer.
struct HttpViewer {
    stream: TcpStream,
    kind: StreamKind,
    /// Number of bytes since the last whole frame.
    bytes: usize,
}

impl HttpViewer {
    fn join(at: SocketAddr, kind: StreamKind) -> Self {
        let mut stream = TcpStream::connect(at).unwrap();
        let request = match kind {
            StreamKind::Mjpeg => "GET /stream HTTP/1.1\r\nHost: bench\r\n\r\n",
            StreamKind::Socket => {
                "GET /cam/bench/ws HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            }
        };
        stream.write_all(request.as_bytes()).unwrap();
        stream.set_nonblocking(true).unwrap();
        Self {
            stream,
            kind,
            bytes: 0,
        }
    }

    /// Reads the waiting bytes and returns the number of frames in them. The rest of the bytes is far less than one frame.
    fn drain(&mut self) -> usize {
        let mut buffer = [0; 65_536];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => panic!("the relay closed the connection"),
                Ok(length) => self.bytes += length,
                Err(err) if err.kind() == ErrorKind::WouldBlock => break,
                Err(err) => panic!("{err}"),
            }
        }
        let frames = self.bytes / FRAME;
        if frames > 0 {
            self.bytes = 0;
            if self.kind == StreamKind::Socket {
                self.stream.write_all(&SHOWN).unwrap();
            }
        }
        frames
    }
}

/// The floor: a thread that receives a datagram, reads what each connection sent, and writes the datagram to each as a part
/// of MJPEG.
struct TcpForwarder {
    udp: SocketAddr,
    tcp: SocketAddr,
    cpu: CpuClock,
    stop: Arc<AtomicBool>,
}

impl TcpForwarder {
    fn start(kind: StreamKind) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (sender, receiver) = mpsc::channel();
        let stopped = Arc::clone(&stop);
        thread::spawn(move || {
            let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
            udp.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
            let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
            let addresses = (udp.local_addr().unwrap(), tcp.local_addr().unwrap());
            sender
                .send((addresses, CpuClock::of_this_thread()))
                .unwrap();
            let viewers = Arc::<Mutex<Vec<TcpStream>>>::default();
            let accepted = Arc::clone(&viewers);
            thread::spawn(move || {
                for viewer in tcp.incoming() {
                    let viewer = viewer.unwrap();
                    viewer.set_nodelay(true).unwrap();
                    viewer.set_nonblocking(true).unwrap();
                    accepted.lock().unwrap().push(viewer);
                }
            });
            forward(&udp, &viewers, kind, &stopped);
        });
        let ((udp, tcp), cpu) = receiver.recv().unwrap();
        Self {
            udp,
            tcp,
            cpu,
            stop,
        }
    }
}

impl Drop for TcpForwarder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn forward(udp: &UdpSocket, viewers: &Mutex<Vec<TcpStream>>, kind: StreamKind, stop: &AtomicBool) {
    let (mut buffer, mut answer) = (vec![0; 65_536], [0; 1024]);
    while !stop.load(Ordering::Relaxed) {
        let Ok(length) = udp.recv(&mut buffer) else {
            continue;
        };
        let head = format!("Content-Type: image/jpeg\r\nContent-Length: {length}\r\n\r\n");
        let part = [head.as_bytes(), &buffer[..length], b"\r\n--frame\r\n"].concat();
        for viewer in &mut *viewers.lock().unwrap() {
            if kind == StreamKind::Socket {
                let _ = viewer.read(&mut answer);
            }
            let _ = viewer.write_all(&part);
        }
    }
}

/// Measures whether one viewer that reads nothing changes the age of another's frames, among 200.
fn blocked(run: &mut Run) {
    let sides = [Relay::with_http(), Relay::with_http()];
    let mut cameras = [0, 1].map(|side: usize| {
        let mut camera = UdpCamera::new(vec![media::frame_of(FRAME)], sides[side].address);
        camera.send();
        camera
    });
    thread::sleep(INTERVAL);
    let mut viewers = [0, 1].map(|side: usize| {
        let http = sides[side].http.unwrap();
        (0..199)
            .map(|_| HttpViewer::join(http, StreamKind::Mjpeg))
            .collect::<Vec<_>>()
    });
    let http = sides[1].http.unwrap();
    let _blocked = [
        HttpViewer::join(http, StreamKind::Mjpeg),
        HttpViewer::join(http, StreamKind::Socket),
    ];
    let mut delays = [Vec::new(), Vec::new()];
    let frames = 50 + run.seconds(20, 4).as_millis() / INTERVAL.as_millis();
    for frame in 0..frames {
        for side in [0, 1] {
            let start = Instant::now();
            cameras[side].send();
            let watched = &mut viewers[side][100];
            while watched.drain() == 0 {
                assert!(start.elapsed() < 20 * INTERVAL, "no frame arrives");
                thread::yield_now();
            }
            // The buffers of the blocked viewers are full by then.
            if frame >= 50 {
                delays[side].push(us(start.elapsed()));
            }
            thread::sleep((INTERVAL / 2).saturating_sub(start.elapsed()));
            viewers[side].iter_mut().for_each(|viewer| {
                viewer.drain();
            });
        }
    }
    for (name, share, goal) in [("p50", 0.5, Goal::Times(1.2)), ("p95", 0.95, Goal::None)] {
        let [free, beside] =
            [0, 1].map(|side: usize| percentile(delays[side].iter().copied(), share));
        let name = format!("age of one HTTP viewer's frame, 1 of 200 blocked, {name}");
        run.add(&name, Unit::Us, beside, ("none blocked", free), goal);
    }
}

/// Measures whether 50 HTTP viewers change when a UDP and a QUIC viewer get their frames.
fn other_transports(run: &mut Run) {
    let sides = [Relay::with_http(), Relay::with_http()];
    let mut cameras = [0, 1].map(|side: usize| {
        let mut camera = UdpCamera::new(vec![media::frame_of(FRAME)], sides[side].address);
        camera.send();
        camera
    });
    thread::sleep(INTERVAL);
    let beside = BackgroundViewers::start(sides[1].http.unwrap(), 50);
    let clients = QuicViewers::start();
    let quic = [0, 1].map(|side: usize| clients.join_timed(sides[side].address));
    let viewers = [0, 1].map(|side: usize| UdpViewer::join(sides[side].address));
    let mut udp = [Vec::new(), Vec::new()];
    for _ in 0..if run.quick { 2 } else { 6 } {
        for side in [0, 1] {
            let (_, frames) = cameras[side].stream(&viewers[side], 30, run.seconds(4, 2));
            udp[side].extend(
                frames
                    .iter()
                    .skip(10)
                    .map(|frame: &ReceivedFrame| frame.delay_us),
            );
        }
    }
    drop(beside);
    let quic = quic.map(|delays| delays.lock().unwrap().clone());
    for (transport, delays) in [("UDP", udp), ("QUIC", quic)] {
        for (name, share, goal) in [("p50", 0.5, Goal::Times(1.1)), ("p95", 0.95, Goal::None)] {
            let [alone, beside] =
                [0, 1].map(|side: usize| percentile(delays[side].iter().copied(), share));
            let name =
                format!("delay of a {transport} viewer's frame beside 50 HTTP viewers, {name}");
            run.add(&name, Unit::Us, beside, ("without them", alone), goal);
        }
    }
}

/// HTTP viewers that read in a thread of their own until they are dropped.
struct BackgroundViewers {
    stop: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl BackgroundViewers {
    fn start(http: SocketAddr, viewers: usize) -> Self {
        let mut all: Vec<_> = (0..viewers)
            .map(|_| HttpViewer::join(http, StreamKind::Mjpeg))
            .collect();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let reader = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                for viewer in &mut all {
                    viewer.drain();
                }
                thread::sleep(Duration::from_millis(20));
            }
        });
        Self {
            stop,
            reader: Some(reader),
        }
    }
}

impl Drop for BackgroundViewers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.reader.take().map(JoinHandle::join);
    }
}
