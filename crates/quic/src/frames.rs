//! Frames over a connection: each on a unidirectional stream of its own, the newest first, reset when it is too old.

use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::{AbortHandle, BoxFuture, abortable};
use futures_util::stream::FuturesUnordered;
use platform::egress::EgressStats;
use protocol::peer::Host;
use quinn::{Connection, ConnectionError, VarInt};
use tokio::sync::watch;
use tokio::time::{Sleep, sleep, sleep_until};

use crate::frame_window::{Delivery, FrameWindow, MAX_FRAME_AGE, Outcome};
use crate::path;

/// Error code of a stream that is reset because its frame is too old.
const EXPIRED: VarInt = VarInt::from_u32(1);
/// Error code of a connection whose peer seems to have moved to another host.
const MOVED: VarInt = VarInt::from_u32(3);
/// Probe packets behind a frame.
const PROBES: usize = 3;
/// Time between two probe packets.
const PROBE_INTERVAL: Duration = Duration::from_millis(8);
/// Time between two readings of the path's lost packets.
const LOSS_CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// Time since the last lost packet after which a path needs no probes.
const LOSS_MEMORY: Duration = Duration::from_secs(10);
/// Priority of the control stream: above all.
pub const CONTROL_PRIORITY: i32 = i32::MAX;
/// Priority of detections: above that of every frame.
pub const DETECTIONS_PRIORITY: i32 = CONTROL_PRIORITY - 1;

/// A frame to send.
#[derive(Debug, Clone)]
pub struct OutgoingFrame {
    /// Number of the frame, counted without gaps from 1 by the source: a gap is a frame that the frame window held
    /// back.
    pub number: u64,
    /// The JPEG.
    pub jpeg: Bytes,
    /// Time since which the frame could have been sent.
    pub ready_at: Instant,
}

/// A source of frames: a newest-wins slot.
pub trait FrameSource: Send {
    /// Waits for the newest frame that was not taken yet, and takes it; returns `None` if no more will come.
    /// Cancel-safe.
    fn next(&mut self) -> impl Future<Output = Option<OutgoingFrame>> + Send;

    /// Notes that a frame was given up in flight.
    fn on_expired(&mut self) {}
}

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

/// Sends the newest frame whenever the frame window is open, until the source ends; returns when the last frame has
/// arrived or expired.
///
/// # Errors
/// The connection's end.
pub async fn send(
    connection: &Connection,
    stats: &EgressStats,
    newest: &mut impl FrameSource,
) -> Result<(), ConnectionError> {
    let mut window = FrameWindow::default();
    let mut loss = LossMonitor::default();
    let mut in_flight = InFlight::default();
    let mut closed = pin!(connection.closed());
    let mut last = None;
    let mut more = true;
    let host = Host::from(connection.remote_address());
    while more || !in_flight.is_empty() {
        tokio::select! {
            reason = &mut closed => return Err(reason),
            delivery = in_flight.next(), if !in_flight.is_empty() => {
                if delivery.outcome == Outcome::Expired {
                    stats.on_expired();
                    newest.on_expired();
                }
                window.on_delivery(delivery, Instant::now());
            }
            frame = newest.next(), if more && window.is_open() => {
                let Some(frame) = frame else {
                    more = false;
                    continue;
                };
                if Host::from(connection.remote_address()) != host {
                    // A packet that a peer sent in the name of another host would make this one send its frames there. A
                    // peer that has really moved connects again; another port is a router's doing.
                    connection.close(MOVED, b"this connection came from another host");
                    return Err(ConnectionError::LocallyClosed);
                }
                let now = Instant::now();
                let skipped = last.map_or(0, |last| frame.number.saturating_sub(last + 1));
                last = last.max(Some(frame.number));
                stats.on_sent(frame.jpeg.len());
                stats.on_skipped(skipped);
                stats.record_wait(now.saturating_duration_since(frame.ready_at));
                if skipped > 0 {
                    window.on_skipped(now);
                }
                window.on_sent(now);
                in_flight.start(connection, frame, loss.is_recent(connection, now));
            }
        }
    }
    Ok(())
}

/// Frames in flight, in the order in which they expire.
///
/// One timer serves all and is set again only when it has fired: a timer for each frame costs as much as a tenth of the
/// frame, since it wakes the runtime's driver each time.
#[derive(Default)]
struct InFlight<'a> {
    deliveries: FuturesUnordered<BoxFuture<'a, Delivery>>,
    deadlines: VecDeque<(Instant, AbortHandle)>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<'a> InFlight<'a> {
    fn is_empty(&self) -> bool {
        self.deliveries.is_empty()
    }

    fn start(&mut self, connection: &'a Connection, frame: OutgoingFrame, probes: bool) {
        let deadline = frame.ready_at + MAX_FRAME_AGE;
        let (delivery, abort) = abortable(send_one(connection, frame, probes));
        let sent = Instant::now();
        self.deliveries.push(Box::pin(async move {
            let arrived = delivery.await.unwrap_or(false);
            let outcome = if arrived {
                Outcome::Acknowledged
            } else {
                Outcome::Expired
            };
            let path = path::sample(connection, sent);
            Delivery {
                sent,
                outcome,
                path,
            }
        }));
        self.deadlines.push_back((deadline, abort));
    }

    /// Returns the next delivery. Cancel-safe.
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
                Some(delivery) = self.deliveries.next() => return delivery,
                () = timer => {
                    self.timer = None;
                    self.expire(Instant::now());
                }
            }
        }
    }

    /// Aborts the frames that are too old; for those that have arrived this has no effect.
    fn expire(&mut self, now: Instant) {
        while let Some((_, abort)) = self.deadlines.pop_front_if(|(at, _)| *at <= now) {
            abort.abort();
        }
    }
}

/// Sends one frame, with probes behind it if the path loses packets; returns whether all of it arrived.
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

/// Sends small packets behind a frame, as TCP's tail loss probe (RFC 8985, section 7): a loss among the last packets of
/// a frame shows by the acknowledgement of packets behind them, of which there are none until the next frame, so that
/// its repair would take a timeout, and two if that packet is lost as well. The probes are QUIC datagrams, which the
/// other end discards.
async fn probe(connection: &Connection) {
    for _ in 0..PROBES {
        sleep(PROBE_INTERVAL).await;
        let _ = connection.send_datagram(Bytes::new());
    }
    std::future::pending().await
}

/// Watches for lost packets; it reads quinn's counters once in a while, since quinn copies all of them for that.
#[derive(Debug, Default)]
struct LossMonitor {
    lost_packets: u64,
    last_loss: Option<Instant>,
    last_check: Option<Instant>,
}

impl LossMonitor {
    /// Returns whether the path has lost a packet within [`LOSS_MEMORY`].
    fn is_recent(&mut self, connection: &Connection, now: Instant) -> bool {
        let check_is_due = |last: Instant| now - last >= LOSS_CHECK_INTERVAL;
        if self.last_check.is_none_or(check_is_due) {
            self.last_check = Some(now);
            let lost = connection.stats().path.lost_packets;
            if lost > self.lost_packets {
                (self.lost_packets, self.last_loss) = (lost, Some(now));
            }
        }
        self.last_loss.is_some_and(|loss| now - loss < LOSS_MEMORY)
    }
}

/// A stream that is reset if it is dropped before all of it has arrived; quinn alone would continue to send it.
struct Expiring(quinn::SendStream);

impl Drop for Expiring {
    fn drop(&mut self) {
        // An error means that the stream has ended already.
        let _ = self.0.reset(EXPIRED);
    }
}

// All of 127.0.0.0/8 is this machine on Linux.
#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::sync::Arc;

    use quinn::{Endpoint, Runtime as _, TokioRuntime};
    use tokio::time::timeout;

    use super::*;
    use crate::endpoint;
    use crate::identity::{CertificateVerifier, Identity, NAME};

    const TIMEOUT: Duration = Duration::from_secs(10);

    /// A viewer's end and the relay's end of a connection, with their endpoints.
    struct Ends {
        viewer: (Endpoint, Connection),
        relay: (Endpoint, Connection),
    }

    impl Ends {
        async fn connect() -> Self {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            let at = socket.local_addr().unwrap();
            let socket = TokioRuntime.wrap_udp_socket(socket).unwrap();
            let relay = endpoint::server(socket, &Identity::generate().unwrap()).unwrap();
            let verifier = CertificateVerifier::new(None, endpoint::ring_provider());
            let config = endpoint::client_config(Arc::new(verifier)).unwrap();
            let viewer = endpoint::client(UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
            let connecting = viewer.connect_with(config, at, NAME).unwrap();
            let (relay_end, viewer_end) = tokio::join!(
                async { relay.accept().await.unwrap().await.unwrap() },
                async { connecting.await.unwrap() }
            );
            Self {
                viewer: (viewer, viewer_end),
                relay: (relay, relay_end),
            }
        }

        /// Moves the viewer to this host and another port, and waits until its packets reach the relay from there.
        async fn move_to(&self, host: &str) {
            let socket = UdpSocket::bind((host, 0)).unwrap();
            let to = socket.local_addr().unwrap();
            self.viewer.0.rebind(socket).unwrap();
            let moved = async {
                while self.relay.1.remote_address() != to {
                    sleep(Duration::from_millis(5)).await;
                }
            };
            timeout(TIMEOUT, moved).await.unwrap();
        }

        /// Returns the next frame that reaches the viewer.
        async fn receive(&self) -> Result<Vec<u8>, ConnectionError> {
            let mut stream = timeout(TIMEOUT, self.viewer.1.accept_uni())
                .await
                .unwrap()?;
            Ok(stream.read_to_end(1000).await.unwrap())
        }
    }

    fn frame(number: u64) -> OutgoingFrame {
        OutgoingFrame {
            number,
            jpeg: Bytes::from(number.to_string()),
            ready_at: Instant::now(),
        }
    }

    #[tokio::test]
    async fn frames_follow_a_peer_to_another_port_and_never_to_another_host() {
        let ends = Ends::connect().await;
        let (newest, mut frames) = watch::channel(None);
        let (connection, stats) = (ends.relay.1.clone(), EgressStats::default());
        let sending = tokio::spawn(async move { send(&connection, &stats, &mut frames).await });
        newest.send_replace(Some(frame(1)));
        assert_eq!(ends.receive().await.unwrap(), b"1");
        ends.move_to("127.0.0.1").await;
        newest.send_replace(Some(frame(2)));
        assert_eq!(ends.receive().await.unwrap(), b"2");
        ends.move_to("127.0.0.2").await;
        newest.send_replace(Some(frame(3)));
        let Err(ConnectionError::ApplicationClosed(end)) = ends.receive().await else {
            panic!("no frame goes to another host");
        };
        assert_eq!(end.error_code, MOVED);
        let sent = timeout(TIMEOUT, sending).await.unwrap().unwrap();
        assert!(matches!(sent, Err(ConnectionError::LocallyClosed)));
    }
}
