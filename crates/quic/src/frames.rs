//! Frames over a connection: each on a unidirectional stream of its own, the newest first, and none that is old.

use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::{AbortHandle, BoxFuture, abortable};
use futures_util::stream::FuturesUnordered;
use platform::egress::EgressStats;
use protocol::datagram::MAX_DATAGRAM;
use quinn::{Connection, ConnectionError, RecvStream, VarInt};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep, sleep_until};

use crate::frame_window::{Delivery, FrameWindow, MAX_FRAME_AGE, Outcome};
use crate::path;

/// A stream that is given up because its frame is too old.
const EXPIRED: VarInt = VarInt::from_u32(1);
/// Probes behind a frame, and the time between them.
const PROBES: usize = 3;
const PROBE: Duration = Duration::from_millis(8);
/// How often it is looked whether the path loses packets.
const LOOK: Duration = Duration::from_millis(500);
/// A path that has lost no packet for so long needs none.
const LATELY: Duration = Duration::from_secs(10);
/// The priority of clocks and the like: above all.
pub const CONTROL_PRIORITY: i32 = i32::MAX;
/// The priority of detections: above that of every frame.
pub const DETECTIONS_PRIORITY: i32 = CONTROL_PRIORITY - 1;

/// A frame to send.
#[derive(Debug, Clone)]
pub struct OutgoingFrame {
    /// Counted without gaps by whoever offers frames, from 1: a gap here is a frame that the gate kept back.
    pub number: u64,
    /// The JPEG.
    pub jpeg: Bytes,
    /// Since when it could have been sent.
    pub ready_at: Instant,
}

/// Where frames come from: a slot of one.
pub trait FrameSource: Send {
    /// Waits for the newest frame that was not taken yet, and takes it; `None` where no more will come. Nothing is lost
    /// where this is cancelled.
    fn next(&mut self) -> impl Future<Output = Option<OutgoingFrame>> + Send;
}

/// A slot of one.
impl FrameSource for watch::Receiver<Option<OutgoingFrame>> {
    async fn next(&mut self) -> Option<OutgoingFrame> {
        loop {
            self.changed().await.ok()?;
            if let Some(frame) = self.borrow_and_update().clone() {
                return Some(frame);
            }
        }
    }
}

/// Sends what is newest whenever the gate is open, until there is no more; returns when the last one has arrived or is
/// given up.
///
/// # Errors
/// The connection's end.
pub async fn send(
    connection: &Connection,
    stats: &EgressStats,
    newest: &mut impl FrameSource,
) -> Result<(), ConnectionError> {
    let mut gate = FrameWindow::default();
    let mut loss = Loss::default();
    let mut flights = InFlight::default();
    let mut closed = pin!(connection.closed());
    let mut last = None;
    let mut more = true;
    while more || !flights.is_empty() {
        tokio::select! {
            reason = &mut closed => return Err(reason),
            landing = flights.next(), if !flights.is_empty() => {
                if landing.outcome == Outcome::Expired {
                    stats.on_expired();
                }
                gate.on_delivery(landing, Instant::now());
            }
            frame = newest.next(), if more && gate.is_open() => {
                let Some(frame) = frame else {
                    more = false;
                    continue;
                };
                let now = Instant::now();
                let skipped = last.map_or(0, |last| frame.number.saturating_sub(last + 1));
                last = last.max(Some(frame.number));
                stats.on_sent(frame.jpeg.len());
                stats.on_skipped(skipped);
                stats.record_wait(now.saturating_duration_since(frame.ready_at));
                if skipped > 0 {
                    gate.on_skipped(now);
                }
                gate.on_sent(now);
                flights.start(connection, frame, loss.is_seen(connection, now));
            }
        }
    }
    Ok(())
}

/// Frames on their way, in the order in which they become too old.
///
/// One timer for all, set again only when it has run off: a timer a frame costs as much as a tenth of the frame, since it
/// wakes the runtime's driver each time.
#[derive(Default)]
struct InFlight<'a> {
    under_way: FuturesUnordered<BoxFuture<'a, Delivery>>,
    deadlines: VecDeque<(Instant, AbortHandle)>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<'a> InFlight<'a> {
    fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    fn start(&mut self, connection: &'a Connection, frame: OutgoingFrame, probes: bool) {
        let deadline = frame.ready_at + MAX_FRAME_AGE;
        let (flight, abort) = abortable(send_one(connection, frame, probes));
        let sent = Instant::now();
        self.under_way.push(Box::pin(async move {
            let arrived = flight.await.unwrap_or(false);
            let end = if arrived {
                Outcome::Acknowledged
            } else {
                Outcome::Expired
            };
            let met = path::sample(connection, sent);
            Delivery {
                sent,
                outcome: end,
                path: met,
            }
        }));
        self.deadlines.push_back((deadline, abort));
    }

    /// The next one that lands. May be cancelled.
    async fn next(&mut self) -> Delivery {
        loop {
            let first = self
                .deadlines
                .front()
                .map_or_else(Instant::now, |(at, _)| *at);
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(sleep_until(first.into())));
            tokio::select! {
                Some(landing) = self.under_way.next() => return landing,
                () = timer => {
                    self.timer = None;
                    self.give_up(Instant::now());
                }
            }
        }
    }

    /// Gives up what is too old; what has landed is past that.
    fn give_up(&mut self, now: Instant) {
        while let Some((_, flight)) = self.deadlines.pop_front_if(|(at, _)| *at <= now) {
            flight.abort();
        }
    }
}

/// Sends one frame; tells whether all of it arrived. On a path that loses packets, with probes behind it.
async fn send_one(connection: &Connection, frame: OutgoingFrame, probes: bool) -> bool {
    let arrived = async {
        let stream = connection.open_uni().await.ok()?;
        // Priorities are 31 bits and frames of one run far fewer.
        let priority = i32::try_from(frame.number).unwrap_or(DETECTIONS_PRIORITY - 1);
        stream.set_priority(priority).ok()?;
        let mut stream = Expiring(stream);
        stream.0.write_chunk(frame.jpeg).await.ok()?;
        stream.0.finish().ok()?;
        tokio::select! {
            stopped = stream.0.stopped() => matches!(stopped, Ok(None)).then_some(()),
            () = probe(connection), if probes => None,
        }
    };
    arrived.await.is_some()
}

/// Small packets behind a frame, as TCP's tail loss probe (RFC 8985, section 7): a loss among the last packets of a frame
/// shows by the acknowledgement of those behind it, of which there are none until the next frame, so that it would take a
/// timeout to make it good, and two where that one is lost as well. They are datagrams that nobody reads.
async fn probe(connection: &Connection) {
    for _ in 0..PROBES {
        sleep(PROBE).await;
        let _ = connection.send_datagram(Bytes::new());
    }
    std::future::pending().await
}

/// Whether a path has lately lost packets; looked at now and then, since quinn copies all its figures for it.
#[derive(Debug, Default)]
struct Loss {
    packets: u64,
    seen: Option<Instant>,
    looked: Option<Instant>,
}

impl Loss {
    fn is_seen(&mut self, connection: &Connection, now: Instant) -> bool {
        if self.looked.is_none_or(|looked| now - looked >= LOOK) {
            self.looked = Some(now);
            let packets = connection.stats().path.lost_packets;
            if packets > self.packets {
                (self.packets, self.seen) = (packets, Some(now));
            }
        }
        self.seen.is_some_and(|seen| now - seen < LATELY)
    }
}

/// A stream that is reset when it is dropped before all of it has arrived; quinn alone would go on to send it.
struct Expiring(quinn::SendStream);

impl Drop for Expiring {
    fn drop(&mut self) {
        // An error means that it has ended: nothing is left to give up.
        let _ = self.0.reset(EXPIRED);
    }
}

/// What comes on unidirectional streams.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A frame, not scanned yet.
    Frame(Bytes),
    /// A line of JSON, without its end.
    Line(Bytes),
}

/// Hands on all that comes until the connection ends or nobody takes it any more; what has wholly arrived by then was
/// acknowledged, so it is handed on as well. A peer that sends what may not be is cut off.
///
/// # Errors
/// The connection's end.
pub async fn receive(
    connection: &Connection,
    out: mpsc::Sender<Incoming>,
) -> Result<(), ConnectionError> {
    let mut readers = JoinSet::new();
    let mut end = None;
    while end.is_none() || !readers.is_empty() {
        tokio::select! {
            stream = connection.accept_uni(), if end.is_none() => match stream {
                Ok(stream) => {
                    readers.spawn(read(stream, out.clone()));
                }
                Err(why) => end = Some(why),
            },
            Some(_) = readers.join_next(), if !readers.is_empty() => {}
            () = out.closed() => return Ok(()),
        }
    }
    end.map_or(Ok(()), Err)
}

/// One stream: a frame, or lines where it starts like one. A stream that is reset or too long ends without a trace.
async fn read(mut stream: RecvStream, out: mpsc::Sender<Incoming>) -> Option<()> {
    let first = stream.read_chunk(MAX_DATAGRAM, true).await.ok()??.bytes;
    if first.first() == Some(&b'{') {
        return lines(first, stream, &out).await;
    }
    let mut frame = Vec::with_capacity(first.len());
    frame.extend_from_slice(&first);
    while let Some(chunk) = stream.read_chunk(MAX_DATAGRAM + 1, true).await.ok()? {
        if frame.len() + chunk.bytes.len() > MAX_DATAGRAM {
            return None;
        }
        frame.extend_from_slice(&chunk.bytes);
    }
    out.send(Incoming::Frame(frame.into())).await.ok()
}

/// Longest detections message: 1000 boxes of about 130 bytes.
const MAX_MESSAGE: usize = 256 << 10;

async fn lines(first: Bytes, mut stream: RecvStream, out: &mpsc::Sender<Incoming>) -> Option<()> {
    let mut buffer = first.to_vec();
    loop {
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line = Bytes::copy_from_slice(&buffer[..end]);
            buffer.drain(..=end);
            out.send(Incoming::Line(line)).await.ok()?;
        }
        if buffer.len() > MAX_MESSAGE {
            return None;
        }
        let chunk = stream.read_chunk(MAX_DATAGRAM, true).await.ok()??;
        buffer.extend_from_slice(&chunk.bytes);
    }
}
