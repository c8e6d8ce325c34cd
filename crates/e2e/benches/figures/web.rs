//! What a frame costs the relay for each viewer at the web door, against a thread that writes it to each connection, and
//! reads what a socket's viewer answers; what a blocked viewer does to the others; and what web viewers do to the other
//! doors.
//!
//! Both sides get the same frames in turn, and everything is read while they sleep, so the scheduler's books are exact.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use testkit::cpu::Account;
use testkit::figures::{Goal, Unit};

use crate::native::Audience;
use crate::programs::Relay;
use crate::viewer::{Camera, Seen, Viewer};
use crate::{Run, media, percentile, us};

const FRAME: usize = 20_000;
/// Between two frames of a side, at 10 fps: half of it for the other side.
const INTERVAL: Duration = Duration::from_millis(100);
/// Frames that only warm caches.
const WARM: u64 = 5;
/// What the order promises for a frame and viewer, in microseconds.
const AT_MOST: f64 = 12.0;
/// What an empty binary message of a client is on the wire: it is masked, with nothing to mask.
const SHOWN: [u8; 6] = [0x82, 0x80, 1, 2, 3, 4];

pub(crate) fn measure(run: &mut Run) {
    for kind in [Kind::Mjpeg, Kind::Socket] {
        costs(run, kind);
    }
    blocked(run);
    other_doors(run);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Mjpeg,
    Socket,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Mjpeg => "MJPEG",
            Self::Socket => "WebSocket",
        }
    }

    /// What the least is that a frame takes.
    fn floor(self) -> &'static str {
        match self {
            Self::Mjpeg => "recv + write, TCP",
            Self::Socket => "recv + read + write, TCP",
        }
    }
}

fn costs(run: &mut Run, kind: Kind) {
    let (relay, floor) = (Relay::with_web(), Bare::start(kind));
    let http = relay.http.unwrap();
    let sides = [
        (relay.address, relay.account.clone()),
        (floor.udp, floor.account.clone()),
    ];
    let mut sides = sides.map(|(udp, account)| Side::new(udp, account));
    sides[0].camera.send();
    thread::sleep(INTERVAL);
    for viewers in [1, 10, 50, 200] {
        while sides[0].audience.len() < viewers {
            sides[0].audience.push(Watcher::join(http, kind));
            sides[1].audience.push(Watcher::join(floor.tcp, kind));
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

/// One of the two that send on, with its camera and audience.
struct Side {
    camera: Camera,
    account: Account,
    audience: Vec<Watcher>,
    book: Duration,
    spent: Duration,
    copies: usize,
}

impl Side {
    fn new(udp: SocketAddr, account: Account) -> Self {
        Self {
            camera: Camera::new(vec![media::frame_of(FRAME)], udp),
            account,
            audience: Vec::new(),
            book: Duration::ZERO,
            spent: Duration::ZERO,
            copies: 0,
        }
    }

    fn frame(&mut self, then: Instant, counts: bool) {
        self.camera.send();
        // Half of the time for the frame, half of it for what its readers answer.
        let half = then.saturating_duration_since(Instant::now()) / 2;
        thread::sleep(half);
        let copies: usize = self.audience.iter_mut().map(Watcher::drain).sum();
        thread::sleep(then.saturating_duration_since(Instant::now()));
        let spent = self.account.spent();
        if counts {
            self.spent += spent - self.book;
            self.copies += copies;
        }
        self.book = spent;
    }

    /// Microseconds a copy.
    fn cost(&mut self) -> f64 {
        us(std::mem::take(&mut self.spent)) / std::mem::take(&mut self.copies) as f64
    }
}

/// Somebody who watches by HTTP.
struct Watcher {
    stream: TcpStream,
    kind: Kind,
    /// Bytes since the last frame was whole.
    bytes: usize,
}

impl Watcher {
    fn join(at: SocketAddr, kind: Kind) -> Self {
        let mut stream = TcpStream::connect(at).unwrap();
        let words = match kind {
            Kind::Mjpeg => "GET /stream HTTP/1.1\r\nHost: bench\r\n\r\n",
            Kind::Socket => {
                "GET /cam/bench/ws HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            }
        };
        stream.write_all(words.as_bytes()).unwrap();
        stream.set_nonblocking(true).unwrap();
        Self {
            stream,
            kind,
            bytes: 0,
        }
    }

    /// Takes what waits, and tells how many frames that were. What is not a frame is far less than one.
    fn drain(&mut self) -> usize {
        let mut buffer = [0; 65_536];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => panic!("the door is shut"),
                Ok(length) => self.bytes += length,
                Err(err) if err.kind() == ErrorKind::WouldBlock => break,
                Err(err) => panic!("{err}"),
            }
        }
        let frames = self.bytes / FRAME;
        if frames > 0 {
            self.bytes = 0;
            if self.kind == Kind::Socket {
                self.stream.write_all(&SHOWN).unwrap();
            }
        }
        frames
    }
}

/// The floor: a thread that receives a datagram, takes what each connection has said, and writes it to each as a part of
/// MJPEG.
struct Bare {
    udp: SocketAddr,
    tcp: SocketAddr,
    account: Account,
    stop: Arc<AtomicBool>,
}

impl Bare {
    fn start(kind: Kind) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (tell, told) = mpsc::channel();
        let stopped = Arc::clone(&stop);
        thread::spawn(move || {
            let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
            udp.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
            let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
            let places = (udp.local_addr().unwrap(), tcp.local_addr().unwrap());
            tell.send((places, Account::of_this_thread())).unwrap();
            let viewers = Arc::<Mutex<Vec<TcpStream>>>::default();
            let room = Arc::clone(&viewers);
            thread::spawn(move || {
                for viewer in tcp.incoming() {
                    let viewer = viewer.unwrap();
                    viewer.set_nodelay(true).unwrap();
                    viewer.set_nonblocking(true).unwrap();
                    room.lock().unwrap().push(viewer);
                }
            });
            write_on(&udp, &viewers, kind, &stopped);
        });
        let ((udp, tcp), account) = told.recv().unwrap();
        Self {
            udp,
            tcp,
            account,
            stop,
        }
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn write_on(udp: &UdpSocket, viewers: &Mutex<Vec<TcpStream>>, kind: Kind, stop: &AtomicBool) {
    let (mut buffer, mut said) = (vec![0; 65_536], [0; 1024]);
    while !stop.load(Ordering::Relaxed) {
        let Ok(length) = udp.recv(&mut buffer) else {
            continue;
        };
        let head = format!("Content-Type: image/jpeg\r\nContent-Length: {length}\r\n\r\n");
        let part = [head.as_bytes(), &buffer[..length], b"\r\n--frame\r\n"].concat();
        for viewer in &mut *viewers.lock().unwrap() {
            if kind == Kind::Socket {
                let _ = viewer.read(&mut said);
            }
            let _ = viewer.write_all(&part);
        }
    }
}

/// Whether one viewer that reads nothing changes the age of what another sees among 200.
fn blocked(run: &mut Run) {
    let sides = [Relay::with_web(), Relay::with_web()];
    let mut cameras = [0, 1].map(|side: usize| {
        let mut camera = Camera::new(vec![media::frame_of(FRAME)], sides[side].address);
        camera.send();
        camera
    });
    thread::sleep(INTERVAL);
    let mut rooms = [0, 1].map(|side: usize| {
        let http = sides[side].http.unwrap();
        (0..199)
            .map(|_| Watcher::join(http, Kind::Mjpeg))
            .collect::<Vec<_>>()
    });
    let http = sides[1].http.unwrap();
    let _blocked = [
        Watcher::join(http, Kind::Mjpeg),
        Watcher::join(http, Kind::Socket),
    ];
    let mut delays = [Vec::new(), Vec::new()];
    let frames = 50 + run.seconds(20, 4).as_millis() / INTERVAL.as_millis();
    for frame in 0..frames {
        for side in [0, 1] {
            let start = Instant::now();
            cameras[side].send();
            let watched = &mut rooms[side][100];
            while watched.drain() == 0 {
                assert!(start.elapsed() < 20 * INTERVAL, "no frame comes");
                thread::yield_now();
            }
            // The buffers of the one that is blocked are full by then.
            if frame >= 50 {
                delays[side].push(us(start.elapsed()));
            }
            thread::sleep((INTERVAL / 2).saturating_sub(start.elapsed()));
            rooms[side].iter_mut().for_each(|watcher| {
                watcher.drain();
            });
        }
    }
    for (name, share, goal) in [("p50", 0.5, Goal::Times(1.2)), ("p95", 0.95, Goal::None)] {
        let [free, beside] =
            [0, 1].map(|side: usize| percentile(delays[side].iter().copied(), share));
        let name = format!("age of one web viewer's frame, 1 of 200 blocked, {name}");
        run.add(&name, Unit::Us, beside, ("none blocked", free), goal);
    }
}

/// Whether 50 web viewers change when a plain and a native viewer get their frames.
fn other_doors(run: &mut Run) {
    let sides = [Relay::with_web(), Relay::with_web()];
    let mut cameras = [0, 1].map(|side: usize| {
        let mut camera = Camera::new(vec![media::frame_of(FRAME)], sides[side].address);
        camera.send();
        camera
    });
    thread::sleep(INTERVAL);
    let room = Room::of(sides[1].http.unwrap(), 50);
    let audience = Audience::start();
    let natives = [0, 1].map(|side: usize| audience.time(sides[side].address));
    let viewers = [0, 1].map(|side: usize| Viewer::join(sides[side].address));
    let mut plain = [Vec::new(), Vec::new()];
    for _ in 0..if run.quick { 2 } else { 6 } {
        for side in [0, 1] {
            let (_, seen) = cameras[side].stream(&viewers[side], 30, run.seconds(4, 2));
            plain[side].extend(seen.iter().skip(10).map(|seen: &Seen| seen.delay_us));
        }
    }
    drop(room);
    let native = natives.map(|delays| delays.lock().unwrap().clone());
    for (door, delays) in [("plain", plain), ("native", native)] {
        for (name, share, goal) in [("p50", 0.5, Goal::Times(1.1)), ("p95", 0.95, Goal::None)] {
            let [alone, beside] =
                [0, 1].map(|side: usize| percentile(delays[side].iter().copied(), share));
            let name = format!("delay of a {door} viewer's frame beside 50 web viewers, {name}");
            run.add(&name, Unit::Us, beside, ("without them", alone), goal);
        }
    }
}

/// Web viewers that read in a thread of their own until they are dropped.
struct Room {
    stop: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl Room {
    fn of(http: SocketAddr, viewers: usize) -> Self {
        let mut room: Vec<_> = (0..viewers)
            .map(|_| Watcher::join(http, Kind::Mjpeg))
            .collect();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let reader = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                for watcher in &mut room {
                    watcher.drain();
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

impl Drop for Room {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.reader.take().map(JoinHandle::join);
    }
}
