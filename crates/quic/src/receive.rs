//! What comes on a connection's unidirectional streams: frames, and from a relay lines of JSON too.
//!
//! A peer may be hostile, so what it can make this end hold is bounded ([`Room`]): a stream takes its first step of that
//! before it is read. At the bound no stream is read on, so none is finished, and quinn's limits of streams and bytes make
//! the peer wait. A frame that is incomplete for longer than any of ours is in flight is dropped, and with it what it holds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use memchr::memchr;
use protocol::MAX_FRAME;
use protocol::datagram::MAX_DATAGRAM;
use quinn::{Connection, ConnectionError, RecvStream, VarInt};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Interval, MissedTickBehavior, interval, sleep_until};

use crate::readers::{Ended, Progress, Readers};
pub use crate::room::{Held, Room};

/// Bytes by which a frame's share grows: most frames need one step.
const STEP: usize = 16 << 10;
/// The same above [`MAX_DATAGRAM`], or a quarter of the frame where that is more: each step may move the frame in memory.
const LARGE_STEP: usize = 128 << 10;
/// Length of the longest detections message: 1000 boxes of about 130 bytes.
const MAX_MESSAGE: usize = 256 << 10;
/// Time between two searches for frames that are incomplete for too long. One that is still being read at its third search
/// is dropped, after 2 to 3 s: its sender gives it up after [`MAX_FRAME_AGE`](crate::frame_window::MAX_FRAME_AGE).
const SEARCH_INTERVAL: Duration = Duration::from_secs(1);
/// Time between two checks whether more is held than the room permits: a quarter of the time after which a sender gives up
/// a frame, so that one that waits for this room still arrives.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// Time in which no further stream is read after a frame that was too large, or incomplete for too long.
const PENALTY: Duration = Duration::from_secs(1);
/// Error code of a stream that is stopped because its frame is larger than this end takes.
const TOO_LARGE: VarInt = VarInt::from_u32(4);

/// What a peer may send, and how much of it is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InputLimits {
    /// Most bytes of frames that were read and not taken yet, where the connection shares its room with no other; at least
    /// the largest datagram's frame.
    pub bytes: usize,
    /// Whether the peer may send lines, on one stream at a time.
    pub lines: bool,
    /// Streams a second above which the peer has to wait; 64 more at once.
    pub streams: Option<u32>,
}

/// Streams that are accepted at once, whatever their rate.
const STREAM_BURST: u32 = 64;

/// When the next stream is accepted: streams that are opened and reset cost this end as much as frames do, and are none.
#[derive(Debug)]
struct StreamPace {
    /// Time between two streams.
    interval: Duration,
    /// Time at which the next stream would be due if all had come in that rhythm.
    due: Instant,
    /// Time before which none is accepted in any case.
    not_before: Instant,
}

impl StreamPace {
    fn new(a_second: Option<u32>, now: Instant) -> Self {
        let interval = |rate: u32| Duration::from_secs(1) / rate.max(1);
        Self {
            interval: a_second.map_or(Duration::ZERO, interval),
            due: now,
            not_before: now,
        }
    }

    /// Notes that a stream cost much and gave nothing.
    fn on_wasted(&mut self, now: Instant) {
        self.not_before = now + PENALTY;
    }

    /// Notes that a stream was accepted.
    fn on_accepted(&mut self, now: Instant) {
        self.due = self.due.max(now) + self.interval;
    }

    /// Returns the time from which the next one is accepted.
    fn next(&self) -> Instant {
        let burst = self.interval * STREAM_BURST;
        let due = self.due.checked_sub(burst).unwrap_or(self.due);
        due.max(self.not_before)
    }
}

/// An item of a unidirectional stream.
#[derive(Debug)]
pub enum Incoming {
    /// A frame, not scanned yet. It counts as input until [`Held`] is dropped.
    Frame(Bytes, Held),
    /// A frame was dropped because it is larger than the room permits, or than [`MAX_FRAME`].
    TooLarge,
    /// A line of JSON, without its end.
    Line(Bytes),
}

/// Forwards all items until the connection ends or `out` is closed. Frames that have arrived whole by then were
/// acknowledged, so they are forwarded as well.
///
/// # Errors
/// The connection's end.
pub async fn receive(
    connection: &Connection,
    limits: InputLimits,
    out: mpsc::Sender<Incoming>,
) -> Result<(), ConnectionError> {
    let room = Room::alone(limits.bytes.max(MAX_DATAGRAM + STEP));
    receive_into(room, connection, limits, out).await
}

/// The same, with room that may be shared with other connections, in place of [`InputLimits::bytes`].
///
/// # Errors
/// The connection's end.
pub async fn receive_into(
    room: Room,
    connection: &Connection,
    limits: InputLimits,
    out: mpsc::Sender<Incoming>,
) -> Result<(), ConnectionError> {
    let reader = Reader {
        room,
        lines_allowed: limits.lines,
        line_streams: Arc::new(Semaphore::new(usize::from(limits.lines))),
        out: out.clone(),
        progress: Progress::default(),
    };
    let mut readers = Readers::default();
    let mut search = every(SEARCH_INTERVAL);
    let mut check = every(CHECK_INTERVAL);
    let mut pace = StreamPace::new(limits.streams, Instant::now());
    let mut end = None;
    while end.is_none() || !readers.is_empty() {
        tokio::select! {
            stream = accept(connection, pace.next()), if end.is_none() => match stream {
                Ok(stream) => {
                    pace.on_accepted(Instant::now());
                    readers.spawn(|progress| Reader { progress, ..reader.clone() }.read(stream));
                }
                Err(why) => end = Some(why),
            },
            Some(ended) = readers.next(), if !readers.is_empty() => match ended {
                Ended::Frame | Ended::Nothing => {}
                Ended::TooLarge | Ended::Aborted => pace.on_wasted(Instant::now()),
                // The next one only then: the room is free when the reader has ended.
                Ended::Yielded => drop_excess(&reader.room, &mut readers),
            },
            _ = search.tick() => readers.abort_stale(),
            _ = check.tick() => {
                drop_excess(&reader.room, &mut readers);
                if end.is_some() {
                    readers.abort_incomplete_at_end();
                }
            }
            () = out.closed() => return Ok(()),
        }
    }
    end.map_or(Ok(()), Err)
}

/// Drops the newest incomplete frame if more is held than the room permits now. The oldest has the most of its bytes here,
/// and is whole before the others.
fn drop_excess(room: &Room, readers: &mut Readers) {
    if !readers.is_yielding() && room.is_exceeded() {
        readers.yield_newest();
    }
}

fn every(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Accepts a stream, not before this time. May be cancelled.
async fn accept(connection: &Connection, from: Instant) -> Result<RecvStream, ConnectionError> {
    if from > Instant::now() {
        sleep_until(from.into()).await;
    }
    // After the connection's end, too, it first returns the streams that had arrived.
    connection.accept_uni().await
}

/// Reads one stream.
#[derive(Debug, Clone)]
struct Reader {
    room: Room,
    lines_allowed: bool,
    /// The streams of lines that may be open.
    line_streams: Arc<Semaphore>,
    out: mpsc::Sender<Incoming>,
    progress: Progress,
}

impl Reader {
    /// Reads lines if the stream starts with `{`, else a frame. A stream that is reset, too long or not permitted is
    /// dropped.
    async fn read(self, mut stream: RecvStream) -> Option<Ended> {
        let mut held = self.room.hold();
        held.grow(STEP).await.ok()?;
        if !self.lines_allowed {
            self.progress.on_frame();
        }
        // A copy: a piece of a packet would keep all of what came with it in memory.
        let mut frame = Vec::new();
        loop {
            if held.bytes() == frame.len() {
                grow(&mut held).await;
            }
            // Where it cannot grow, its end may follow all the same.
            let room = (held.bytes() - frame.len()).max(1);
            let Some(chunk) = stream.read_chunk(room, true).await.ok()? else {
                break;
            };
            if frame.first().or(chunk.bytes.first()) == Some(&b'{') {
                drop(held);
                self.progress.on_no_frame();
                let _permit = self.line_streams.clone().try_acquire_owned().ok()?;
                self.lines(BytesMut::from(&chunk.bytes[..]), stream).await;
                return None;
            }
            if frame.is_empty() {
                // Where lines are allowed, a stream without a byte may be theirs, which has nothing to carry yet.
                self.progress.on_frame();
            }
            if frame.len() + chunk.bytes.len() > held.bytes() {
                let _ = stream.stop(TOO_LARGE);
                self.out.send(Incoming::TooLarge).await.ok()?;
                return Some(Ended::TooLarge);
            }
            // Not twice the size, which the standard growth takes.
            frame.reserve_exact(held.bytes() - frame.len());
            frame.extend_from_slice(&chunk.bytes);
        }
        self.progress.on_no_frame();
        self.out
            .send(Incoming::Frame(frame.into(), held))
            .await
            .ok()?;
        Some(Ended::Frame)
    }

    async fn lines(&self, mut buffer: BytesMut, mut stream: RecvStream) -> Option<()> {
        let mut searched = 0;
        loop {
            while let Some(end) = memchr(b'\n', &buffer[searched..]) {
                let mut line = buffer.split_to(searched + end + 1);
                line.truncate(searched + end);
                searched = 0;
                self.out.send(Incoming::Line(line.freeze())).await.ok()?;
            }
            searched = buffer.len();
            if buffer.len() > MAX_MESSAGE {
                return None;
            }
            let chunk = stream.read_chunk(STEP, true).await.ok()??;
            buffer.extend_from_slice(&chunk.bytes);
        }
    }
}

/// Grows a frame's part of the room by a step, or by the least step if there is room for no other; not at all if the frame
/// would be too large.
async fn grow(held: &mut Held) {
    let bytes = held.bytes();
    let step = match bytes < MAX_DATAGRAM {
        true => STEP,
        false => (bytes / 4).max(LARGE_STEP),
    };
    let step = step.min(MAX_FRAME.saturating_sub(bytes));
    if step > 0 && held.grow(step).await.is_err() {
        let _ = held.grow(step.min(STEP)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_wait_above_their_rate_and_a_burst_does_not() {
        let start = Instant::now();
        let mut now = start;
        let mut pace = StreamPace::new(Some(100), start);
        for n in 0..164 {
            assert_eq!(pace.next() > now, n > 64, "{n}");
            now = now.max(pace.next());
            pace.on_accepted(now);
        }
        let took = now - start;
        assert!((0.98..1.01).contains(&took.as_secs_f64()), "{took:?}");
        pace.on_wasted(now);
        assert_eq!(pace.next(), now + PENALTY);
        let mut free = StreamPace::new(None, start);
        (0..1000).for_each(|_| free.on_accepted(start));
        assert!(free.next() <= start);
    }
}
