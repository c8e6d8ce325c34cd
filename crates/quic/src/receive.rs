//! What comes on a connection's unidirectional streams: frames, and from a relay lines of JSON too.
//!
//! A peer may be hostile, so what it can make this end hold is bounded: what was read and not taken yet has a bound in bytes,
//! and a stream takes its first step of that before it is read. At the bound no further stream is read, so none is finished,
//! and quinn's limits of streams and bytes make the peer wait.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use memchr::memchr;
use protocol::datagram::MAX_DATAGRAM;
use quinn::{Connection, ConnectionError, RecvStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::sleep_until;

/// Bytes by which a frame's share grows: most frames need one step.
const STEP: usize = 16 << 10;
/// Unit in which bytes are counted: a semaphore's permit each.
const UNIT: usize = 1 << 10;
/// Length of the longest detections message: 1000 boxes of about 130 bytes.
const MAX_MESSAGE: usize = 256 << 10;

/// What a peer may send, and how much of it is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InputLimits {
    /// Most bytes of frames that were read and not taken yet.
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
}

impl StreamPace {
    fn new(a_second: Option<u32>, now: Instant) -> Self {
        let interval = |rate: u32| Duration::from_secs(1) / rate.max(1);
        Self {
            interval: a_second.map_or(Duration::ZERO, interval),
            due: now,
        }
    }

    /// Notes that a stream was accepted.
    fn on_accepted(&mut self, now: Instant) {
        self.due = self.due.max(now) + self.interval;
    }

    /// Returns the time from which the next one is accepted.
    fn next(&self) -> Instant {
        let burst = self.interval * STREAM_BURST;
        self.due.checked_sub(burst).unwrap_or(self.due)
    }
}

/// An item of a unidirectional stream.
#[derive(Debug)]
pub enum Incoming {
    /// A frame, not scanned yet. It counts as input until [`Held`] is dropped.
    Frame(Bytes, Held),
    /// A line of JSON, without its end.
    Line(Bytes),
}

/// The share of its connection's [`InputLimits`] that a frame takes.
#[derive(Debug, Default)]
pub struct Held(Option<OwnedSemaphorePermit>);

impl Held {
    fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, OwnedSemaphorePermit::num_permits) * UNIT
    }

    /// Waits until there is room for another [`STEP`].
    async fn grow(&mut self, budget: &Arc<Semaphore>) -> Option<()> {
        let units = u32::try_from(STEP / UNIT).ok()?;
        let permit = budget.clone().acquire_many_owned(units).await.ok()?;
        match &mut self.0 {
            Some(held) => held.merge(permit),
            None => self.0 = Some(permit),
        }
        Some(())
    }
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
    let reader = Reader {
        budget: Arc::new(Semaphore::new(limits.bytes.max(MAX_DATAGRAM + STEP) / UNIT)),
        line_streams: Arc::new(Semaphore::new(usize::from(limits.lines))),
        out: out.clone(),
    };
    let mut readers = JoinSet::new();
    let mut pace = StreamPace::new(limits.streams, Instant::now());
    let mut end = None;
    while end.is_none() || !readers.is_empty() {
        tokio::select! {
            stream = accept(connection, pace.next()), if end.is_none() => match stream {
                Ok(stream) => {
                    pace.on_accepted(Instant::now());
                    readers.spawn(reader.clone().read(stream));
                }
                Err(why) => end = Some(why),
            },
            Some(_) = readers.join_next(), if !readers.is_empty() => {}
            () = out.closed() => return Ok(()),
        }
    }
    end.map_or(Ok(()), Err)
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
    budget: Arc<Semaphore>,
    /// The streams of lines that may be open.
    line_streams: Arc<Semaphore>,
    out: mpsc::Sender<Incoming>,
}

impl Reader {
    /// Reads lines if the stream starts with `{`, else a frame. A stream that is reset, too long or not permitted is
    /// dropped.
    async fn read(self, mut stream: RecvStream) -> Option<()> {
        let mut held = Held::default();
        // A copy: a piece of a packet would keep all of what came with it in memory.
        let mut frame = BytesMut::new();
        loop {
            if frame.len() == held.bytes() {
                held.grow(&self.budget).await?;
            }
            let room = held.bytes() - frame.len();
            let Some(chunk) = stream.read_chunk(room, true).await.ok()? else {
                break;
            };
            frame.extend_from_slice(&chunk.bytes);
            if frame.first() == Some(&b'{') {
                drop(held);
                let _permit = self.line_streams.clone().try_acquire_owned().ok()?;
                return self.lines(frame, stream).await;
            }
            if frame.len() > MAX_DATAGRAM {
                return None;
            }
        }
        self.out
            .send(Incoming::Frame(frame.freeze(), held))
            .await
            .ok()
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
        let mut free = StreamPace::new(None, start);
        (0..1000).for_each(|_| free.on_accepted(start));
        assert!(free.next() <= start);
    }
}
