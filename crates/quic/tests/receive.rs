//! What a hostile peer's streams can make the other end hold.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

use std::net::UdpSocket;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use protocol::MAX_FRAME;
use quic::endpoint::{self, widen_windows};
use quic::identity::Identity;
use quic::receive::{self, Incoming, InputLimits};
use quic::room::{Request, Room, Verdict};
use quinn::{Connection, Endpoint, Runtime as _, TokioRuntime, WriteError};
use tokio::sync::{Notify, mpsc};
use tokio::time::{sleep, timeout};

/// Time without progress after which a peer has to wait.
const STALL: Duration = Duration::from_millis(300);
const TIMEOUT: Duration = Duration::from_secs(10);
const BYTES: usize = 128 << 10;

/// A peer, and what arrives from it.
struct Ends {
    _endpoint: Endpoint,
    peer: Connection,
    arrivals: mpsc::Receiver<Incoming>,
}

impl Ends {
    async fn connect(lines: bool) -> Self {
        Self::connect_with(lines, BYTES, None).await
    }

    async fn with_room(lines: bool, bytes: usize) -> Self {
        Self::connect_with(lines, bytes, None).await
    }

    /// Connects, takes so many bytes, and so many streams a second.
    async fn connect_with(lines: bool, bytes: usize, streams: Option<u32>) -> Self {
        let limits = InputLimits {
            bytes,
            lines,
            streams,
        };
        Self::connect_into(Room::alone(bytes), limits).await
    }

    async fn connect_into(room: Room, limits: InputLimits) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let at = socket.local_addr().unwrap();
        let socket = TokioRuntime.wrap_udp_socket(socket).unwrap();
        let endpoint = endpoint::server(socket, &Identity::generate().unwrap()).unwrap();
        let accepting = endpoint.clone();
        let (peer, connection) = tokio::join!(quic::client::connect(at), async {
            accepting.accept().await.unwrap().await.unwrap()
        });
        widen_windows(&connection, BYTES);
        let (out, arrivals) = mpsc::channel(1);
        tokio::spawn(async move { receive::receive_into(room, &connection, limits, out).await });
        Self {
            _endpoint: endpoint,
            peer: peer.unwrap(),
            arrivals,
        }
    }

    /// Sends frames until the peer has to wait. Returns how many bytes it could send.
    async fn flood(&self, frame: &[u8]) -> usize {
        let mut sent = 0;
        let send = async |sent: &mut usize| {
            let mut stream = self.peer.open_uni().await.unwrap();
            let mut rest = frame;
            while !rest.is_empty() {
                let n = stream.write(rest).await.unwrap();
                *sent += n;
                rest = &rest[n..];
            }
            stream.finish().unwrap();
        };
        while timeout(STALL, send(&mut sent)).await.is_ok() {
            assert!(sent < 100 << 20, "the peer never has to wait");
        }
        sent
    }
}

/// Sends one frame whole.
async fn send(peer: &Connection, frame: &[u8]) {
    let mut stream = peer.open_uni().await.unwrap();
    stream.write_all(frame).await.unwrap();
    stream.finish().unwrap();
}

#[tokio::test]
async fn tiny_frames_faster_than_they_are_taken_make_the_peer_wait() {
    let mut ends = Ends::connect(false).await;
    let sent = ends.flood(&[0x55; 82]).await / 82;
    // One in the channel, those that hold a share of the bytes, and as many streams as may be open.
    assert!(sent <= 1 + BYTES / (16 << 10) + 128 + 1, "{sent} frames");
    for _ in 0..sent {
        let next = timeout(TIMEOUT, ends.arrivals.recv()).await.unwrap();
        assert!(matches!(next, Some(Incoming::Frame(frame, _)) if *frame == [0x55; 82]));
    }
}

#[tokio::test]
async fn large_frames_that_are_not_taken_fill_their_share_and_the_window_and_no_more() {
    let mut ends = Ends::connect(false).await;
    let frame = vec![0x55; 60_000];
    let sent = ends.flood(&frame).await;
    // The peer's own send buffer takes more than it may send.
    let held = 2 * BYTES + frame.len();
    let unsent = 8 << 20;
    assert!(sent <= held + unsent, "{sent} bytes");
    let next = timeout(TIMEOUT, ends.arrivals.recv()).await.unwrap();
    assert!(matches!(next, Some(Incoming::Frame(got, _)) if got == frame));
}

#[tokio::test]
async fn streams_above_their_rate_wait_and_a_burst_does_not() {
    const BURST: u32 = 64;
    let began = Instant::now();
    let mut ends = Ends::connect_with(false, BYTES, Some(1)).await;
    let peer = ends.peer.clone();
    let sending = tokio::spawn(async move {
        for _ in 0..BURST + 3 {
            let mut stream = peer.open_uni().await.unwrap();
            stream.write_all(b"frame").await.unwrap();
            stream.finish().unwrap();
        }
    });
    let mut next = async || timeout(TIMEOUT, ends.arrivals.recv()).await.unwrap();
    for n in 0..=BURST {
        assert!(next().await.is_some(), "{n}");
    }
    // In the rhythm of one a second all of them would take a minute.
    assert!(began.elapsed() < TIMEOUT, "{:?}", began.elapsed());
    for second in 1..=2 {
        assert!(next().await.is_some());
        let waited = began.elapsed();
        assert!(
            waited >= Duration::from_secs(second),
            "{second}: {waited:?}"
        );
    }
    sending.await.unwrap();
}

#[tokio::test]
async fn a_frame_of_4_mib_arrives_through_a_small_window_and_one_byte_more_does_not() {
    let mut ends = Ends::with_room(false, MAX_FRAME + BYTES).await;
    for bytes in [MAX_FRAME, MAX_FRAME - 1, 65_508, MAX_FRAME] {
        let frame: Vec<u8> = (0..bytes).map(|n| (n % 251) as u8).collect();
        let receive = timeout(TIMEOUT, ends.arrivals.recv());
        let ((), next) = tokio::join!(send(&ends.peer, &frame), receive);
        assert!(
            matches!(next, Ok(Some(Incoming::Frame(got, _))) if got == frame),
            "{bytes}"
        );
    }
    let too_large = vec![0x55; MAX_FRAME + 1];
    let receive = timeout(TIMEOUT, ends.arrivals.recv());
    let ((), next) = tokio::join!(send(&ends.peer, &too_large), receive);
    assert!(matches!(next, Ok(Some(Incoming::TooLarge))));
}

#[tokio::test]
async fn frames_that_stay_incomplete_are_dropped_and_their_room_is_there_again() {
    let mut ends = Ends::with_room(false, MAX_FRAME).await;
    let mut incomplete = Vec::new();
    for _ in 0..2 {
        let mut stream = ends.peer.open_uni().await.unwrap();
        let _ = timeout(STALL, stream.write_all(&vec![0x55; MAX_FRAME / 2])).await;
        incomplete.push(stream);
    }
    let start = Instant::now();
    let frame = vec![0x56; MAX_FRAME];
    let receive = timeout(TIMEOUT, ends.arrivals.recv());
    let ((), next) = tokio::join!(send(&ends.peer, &frame), receive);
    assert!(matches!(next, Ok(Some(Incoming::Frame(got, _))) if got == frame));
    assert!(
        start.elapsed() > Duration::from_secs(1),
        "nothing had to be dropped"
    );
    drop(incomplete);
}

/// Bytes that connections share in equal parts.
#[derive(Default)]
struct Shared {
    held: Mutex<Vec<usize>>,
    freed: Arc<Notify>,
}

impl Shared {
    const BYTES: usize = 1 << 20;

    /// Counts a connection in, and returns its room.
    fn join(self: &Arc<Self>) -> Room {
        let mut held = self.held.lock().unwrap();
        let (n, shared) = (held.len(), self.clone());
        held.push(0);
        Room::new(self.freed.clone(), move |request| {
            let mut held = shared.held.lock().unwrap();
            let part = Self::BYTES / held.len();
            match request {
                Request::Give(bytes) => held[n] -= bytes,
                Request::Keep if held[n] > part => return Verdict::TooLarge,
                Request::Keep => {}
                Request::Take { bytes, more } if bytes + more > part => return Verdict::TooLarge,
                Request::Take { more, .. } => {
                    let all: usize = held.iter().sum();
                    if held[n] + more > part || all + more > Self::BYTES {
                        return Verdict::Wait;
                    }
                    held[n] += more;
                }
            }
            Verdict::Granted
        })
    }

    fn held(&self, n: usize) -> usize {
        self.held.lock().unwrap()[n]
    }

    async fn until_held(&self, n: usize, least: usize) {
        let held = async {
            while self.held(n) < least {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(TIMEOUT, held).await.unwrap();
    }
}

/// What a sender may send into a shared room.
const SHARED: InputLimits = InputLimits {
    bytes: 0,
    lines: false,
    streams: None,
};

#[tokio::test]
async fn a_sender_above_its_part_loses_its_newest_incomplete_frame_at_once_and_no_whole_one() {
    let shared = Arc::new(Shared::default());
    let mut first = Ends::connect_into(shared.join(), SHARED).await;
    let mut older = first.peer.open_uni().await.unwrap();
    older.write_all(&[0x43; 200_000]).await.unwrap();
    shared.until_held(0, 200_000).await;
    let mut newer = first.peer.open_uni().await.unwrap();
    newer.write_all(&[0x44; 500_000]).await.unwrap();
    // A frame's part grows by steps, so these hold more than their bytes.
    shared.until_held(0, 917_504).await;
    for whole in [[0x41; 100], [0x42; 100]] {
        send(&first.peer, &whole).await;
    }
    shared.until_held(0, 917_504 + 2 * (16 << 10)).await;

    let mut second = Ends::connect_into(shared.join(), SHARED).await;
    let frame = vec![0x45; 400_000];
    let receive = timeout(TIMEOUT, second.arrivals.recv());
    let ((), next) = tokio::join!(send(&second.peer, &frame), receive);
    assert!(matches!(next, Ok(Some(Incoming::Frame(got, _))) if got == frame));
    let stopped = timeout(TIMEOUT, newer.stopped()).await.unwrap().unwrap();
    assert!(stopped.is_some(), "the newest is dropped");
    // It is within its part now. Had it kept both until they were incomplete for too long, it would have lost both.
    older.write_all(&[0x43; 1000]).await.unwrap();
    older.finish().unwrap();
    for (byte, bytes) in [(0x41, 100), (0x42, 100), (0x43, 201_000)] {
        let next = timeout(TIMEOUT, first.arrivals.recv()).await.unwrap();
        assert!(
            matches!(next, Some(Incoming::Frame(got, _)) if got == vec![byte; bytes]),
            "{byte}"
        );
    }
}

#[tokio::test]
async fn a_connection_that_ends_leaves_its_room_at_once_though_its_frames_wait_for_more() {
    let shared = Arc::new(Shared::default());
    let first = Ends::connect_into(shared.join(), SHARED).await;
    // As many bytes as fill the steps by which a frame's part grows, so that both wait for the next one.
    let (mut one, mut other) = (
        first.peer.open_uni().await.unwrap(),
        first.peer.open_uni().await.unwrap(),
    );
    one.write_all(&[0x55; 458_752]).await.unwrap();
    shared.until_held(0, 589_824).await;
    other.write_all(&[0x55; 458_752]).await.unwrap();
    shared.until_held(0, Shared::BYTES).await;
    one.write_all(&[0x55; 131_072]).await.unwrap();
    sleep(STALL).await;
    let start = Instant::now();
    first.peer.close(0_u32.into(), b"");
    let given_back = async {
        while shared.held(0) > 0 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_millis(1900), given_back)
        .await
        .unwrap_or_else(|_| panic!("held after {:?}", start.elapsed()));
}

#[tokio::test]
async fn a_sender_cannot_send_lines() {
    let mut ends = Ends::connect(false).await;
    let mut stream = ends.peer.open_uni().await.unwrap();
    stream.write_all(b"{\"v\":1}\n").await.unwrap();
    let stopped = timeout(TIMEOUT, stream.stopped()).await.unwrap();
    assert!(stopped.unwrap().is_some(), "the stream is refused");
    let mut stream = ends.peer.open_uni().await.unwrap();
    stream.write_all(b"frame").await.unwrap();
    stream.finish().unwrap();
    let next = timeout(TIMEOUT, ends.arrivals.recv()).await.unwrap();
    assert!(matches!(next, Some(Incoming::Frame(frame, _)) if *frame == *b"frame"));
}

#[tokio::test]
async fn a_relay_sends_lines_on_one_stream_in_any_pieces() {
    let mut ends = Ends::connect(true).await;
    let mut lines = ends.peer.open_uni().await.unwrap();
    let long = format!("{{\"long\":\"{}\"}}", "x".repeat(200_000));
    let text = format!("{{\"a\":1}}\n{long}\n{{\"b\":2}}\n");
    let writing = async {
        for piece in text.as_bytes().chunks(777) {
            lines.write_all(piece).await.unwrap();
        }
    };
    let reading = async {
        for expected in ["{\"a\":1}", &long, "{\"b\":2}"] {
            let next = timeout(TIMEOUT, ends.arrivals.recv()).await.unwrap();
            assert!(matches!(next, Some(Incoming::Line(line)) if line == expected));
        }
    };
    tokio::join!(writing, reading);
    let mut second = ends.peer.open_uni().await.unwrap();
    second.write_all(b"{\"c\":3}\n").await.unwrap();
    let stopped = timeout(TIMEOUT, second.stopped()).await.unwrap();
    assert!(stopped.unwrap().is_some(), "a second stream of lines");
}

#[tokio::test]
async fn a_stream_of_lines_that_is_silent_for_long_stays_open_and_delays_no_frame() {
    let mut ends = Ends::connect(true).await;
    let mut lines = ends.peer.open_uni().await.unwrap();
    // A frame on a later stream opens this one at the other end.
    for n in 0..25 {
        let sent = Instant::now();
        let receive = timeout(TIMEOUT, ends.arrivals.recv());
        let ((), next) = tokio::join!(send(&ends.peer, b"frame"), receive);
        assert!(matches!(next, Ok(Some(Incoming::Frame(..)))), "{n}");
        assert!(
            sent.elapsed() < Duration::from_millis(700),
            "{n}: {:?}",
            sent.elapsed()
        );
        sleep(Duration::from_millis(200)).await;
    }
    lines.write_all(b"{\"a\":1}\n").await.unwrap();
    let next = timeout(TIMEOUT, ends.arrivals.recv()).await.unwrap();
    assert!(matches!(next, Some(Incoming::Line(line)) if line == b"{\"a\":1}".as_slice()));
}

#[tokio::test]
async fn a_line_without_an_end_is_given_up() {
    let ends = Ends::connect(true).await;
    let mut lines = ends.peer.open_uni().await.unwrap();
    let endless = async {
        lines.write_all(b"{").await?;
        loop {
            lines.write_all(&[b'x'; 10_000]).await?;
        }
    };
    let end: Result<(), WriteError> = timeout(TIMEOUT, endless).await.unwrap();
    assert!(matches!(end, Err(WriteError::Stopped(_))));
}
