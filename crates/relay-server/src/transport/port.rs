//! The relay's UDP port, which the UDP and the QUIC transport share: quinn sees its own datagrams and nothing else, the
//! UDP transport the rest.
//!
//! Three traps (all measured): where the kernel hands over several datagrams of a sender in one piece (GRO), quinn holds all
//! of it for a byte, so that is switched off; quinn's buffers would then be too small for a 64 kB JPEG, so room for many
//! datagrams is always asked for; and quinn-udp forbids fragments on this socket, so frames leave by the viewers' own
//! sockets ([`super::udp`]).

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use bytes::Bytes;
use platform::udp;
use protocol::datagram;
use quic::endpoint::{PacketFilter, is_handshake};
use quinn::udp::{RecvMeta, Transmit, UdpSocketState};
use quinn::{AsyncUdpSocket, UdpPoller};
use relay_core::TokenBucket;
use relay_core::known_hosts::KnownHosts;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::time::{Sleep, sleep};

use crate::event::{Event, Ingress};

/// Datagrams of one read that quinn makes room for: 64 of 1472 bytes hold the largest frame too.
const SEGMENTS: usize = 64;
/// Reads in a row that hold nothing for quinn, before other tasks have their turn.
const READS_IN_A_ROW: usize = 32;
/// QUIC packets from the sockets of UDP viewers that may wait for quinn.
const DIVERTED: usize = 256;
/// Datagrams a second that cannot be anything and go to the loop all the same: enough for two of a camera's.
const SAMPLE_RATE: f64 = 10.0;
/// After a full send buffer: long enough for it to empty.
const FULL_PAUSE: Duration = Duration::from_millis(1);

#[derive(Debug, Default)]
struct Diverted {
    packets: VecDeque<(SocketAddr, Vec<u8>)>,
    waker: Option<Waker>,
}

/// The port.
#[derive(Debug)]
pub struct SharedUdpSocket {
    socket: AsyncFd<UdpSocket>,
    state: UdpSocketState,
    quic: PacketFilter,
    events: mpsc::Sender<Event>,
    overrun: AtomicU64,
    /// QUIC packets that came to the socket of a UDP viewer, and what wakes quinn for them.
    diverted: Mutex<Diverted>,
    junk: AtomicU64,
    /// Samples of what cannot be anything, for the loop to report.
    samples: Mutex<TokenBucket>,
    hosts: Arc<Mutex<KnownHosts>>,
    /// The send buffer was full the last time.
    full: AtomicBool,
    local: SocketAddr,
    /// What the kernel granted for datagrams that wait to be read, in bytes.
    pub receive_buffer: usize,
}

impl SharedUdpSocket {
    /// Binds the port for this relay alone. What is not `quic` becomes an event.
    ///
    /// # Errors
    /// Where the address is not this machine's or the port is taken.
    pub fn open(
        listen: SocketAddr,
        quic: PacketFilter,
        events: mpsc::Sender<Event>,
    ) -> anyhow::Result<Self> {
        let (socket, receive_buffer) = reserve(listen)?;
        let state = UdpSocketState::new((&socket).into())?;
        udp::separate_datagrams(&socket)?;
        Ok(Self {
            local: socket.local_addr()?,
            state,
            socket: readable(socket)?,
            quic,
            events,
            overrun: AtomicU64::new(0),
            diverted: Mutex::default(),
            junk: AtomicU64::new(0),
            samples: Mutex::new(TokenBucket::new(SAMPLE_RATE, SAMPLE_RATE, Instant::now())),
            hosts: Arc::new(Mutex::new(KnownHosts::new(Instant::now()))),
            full: AtomicBool::new(false),
            receive_buffer,
        })
    }

    /// Returns the table of hosts, for what accepts connections.
    pub fn hosts(&self) -> Arc<Mutex<KnownHosts>> {
        Arc::clone(&self.hosts)
    }

    /// Returns the address in force.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Returns the number of datagrams that were dropped because too many waited for the loop.
    pub fn overrun(&self) -> u64 {
        self.overrun.load(Ordering::Relaxed)
    }

    /// Returns the number of datagrams that were dropped here since they cannot be anything.
    pub fn junk(&self) -> u64 {
        self.junk.load(Ordering::Relaxed)
    }

    /// Takes a datagram that came to the socket of a UDP viewer. QUIC packets go to quinn: a lease may have been requested in
    /// the name of a peer that uses QUIC. Returns whether it was one.
    pub fn divert_quic(&self, from: SocketAddr, datagram: &[u8]) -> bool {
        let is_quic = self.quic.is_quic(datagram);
        if is_quic && self.is_expected(datagram, from) {
            let mut diverted = self.diverted();
            if diverted.packets.len() < DIVERTED {
                diverted.packets.push_back((from, datagram.to_vec()));
            }
            if let Some(waker) = diverted.waker.take() {
                waker.wake();
            }
        }
        is_quic
    }

    fn diverted(&self) -> MutexGuard<'_, Diverted> {
        lock(&self.diverted)
    }

    /// Fills the buffers with diverted packets. Returns their number; with none, quinn is woken by the next.
    fn take_diverted(
        &self,
        cx: &Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> usize {
        let mut diverted = self.diverted();
        let mut count = 0;
        for (meta, buf) in metas.iter_mut().zip(bufs.iter_mut()) {
            let Some((addr, packet)) = diverted.packets.pop_front() else {
                break;
            };
            let len = packet.len().min(buf.len());
            buf[..len].copy_from_slice(&packet[..len]);
            *meta = RecvMeta {
                addr,
                len,
                stride: len.max(1),
                ..RecvMeta::default()
            };
            count += 1;
        }
        match &mut diverted.waker {
            // Without a copy if it wakes the same task, as it does all the time.
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        count
    }

    /// Sends a control message without waiting; if that fails, the peer sends its request again.
    pub fn reply(&self, to: SocketAddr, bytes: &[u8]) {
        let _ = self.socket.get_ref().send_to(bytes, to);
    }

    /// Keeps QUIC's datagrams in `piece`, which holds datagrams of `stride` bytes, and passes the rest on. Returns the new
    /// length.
    fn split(&self, piece: &mut [u8], stride: usize, from: SocketAddr) -> usize {
        if piece.is_empty() {
            self.pass_on(piece, from);
        }
        let mut kept = 0;
        let mut start = 0;
        while start < piece.len() {
            let end = piece.len().min(start + stride);
            if self.quic.is_quic(&piece[start..end]) {
                if self.is_expected(&piece[start..end], from) {
                    piece.copy_within(start..end, kept);
                    kept += end - start;
                }
            } else {
                self.pass_on(&piece[start..end], from);
            }
            start = end;
        }
        kept
    }

    /// Returns whether a QUIC packet begins a connection, or comes from a host that has one.
    fn is_expected(&self, packet: &[u8], from: SocketAddr) -> bool {
        is_handshake(packet) || lock(&self.hosts).knows(from.into(), Instant::now())
    }

    fn pass_on(&self, datagram: &[u8], from: SocketAddr) {
        // A flood of garbage is not copied for the loop.
        if datagram::is_junk(datagram) && !lock(&self.samples).take(1.0, Instant::now()) {
            self.junk.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let datagram = Ingress::Datagram(from, Bytes::copy_from_slice(datagram));
        if self.events.try_send(datagram.into()).is_err() {
            self.overrun.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl AsyncUdpSocket for SharedUdpSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(FullBufferPause {
            port: self,
            sleep: None,
        })
    }

    /// Ignores errors: each belongs to one peer's path, and quinn sends again what is lost.
    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        match self.state.try_send(self.socket.get_ref().into(), transmit) {
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => {
                self.full.store(true, Ordering::Relaxed);
                Err(err)
            }
            _ => Ok(()),
        }
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let diverted = self.take_diverted(cx, bufs, metas);
        if diverted > 0 {
            return Poll::Ready(Ok(diverted));
        }
        for _ in 0..READS_IN_A_ROW {
            let mut ready = ready!(self.socket.poll_read_ready(cx))?;
            let read = ready.try_io(|socket| self.state.recv(socket.get_ref().into(), bufs, metas));
            // Neither an error of one path nor an empty socket ends this: the next poll waits.
            let Ok(Ok(count)) = read else {
                continue;
            };
            let mut kept = 0;
            for (meta, buf) in metas.iter_mut().zip(bufs.iter_mut()).take(count) {
                meta.len = self.split(&mut buf[..meta.len], meta.stride.max(1), meta.addr);
                kept += meta.len;
            }
            if kept > 0 {
                return Poll::Ready(Ok(count));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }

    fn max_transmit_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.state.gro_segments().max(SEGMENTS)
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A socket of which tokio is told to wait for datagrams.
#[expect(
    deprecated,
    reason = "the unsafe successor guards against types that change their descriptor, which a UdpSocket never does"
)]
pub(super) fn readable(socket: UdpSocket) -> io::Result<AsyncFd<UdpSocket>> {
    AsyncFd::with_interest(socket, Interest::READABLE)
}

/// Waits for a full send buffer by the clock: to be woken by the socket would cost each datagram that leaves a turn of the
/// runtime (see [`super::udp`]), and a full one is rare. quinn asks before each send.
#[derive(Debug)]
struct FullBufferPause {
    port: Arc<SharedUdpSocket>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl UdpPoller for FullBufferPause {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.port.full.load(Ordering::Relaxed) {
            let pause = self
                .sleep
                .get_or_insert_with(|| Box::pin(sleep(FULL_PAUSE)));
            ready!(pause.as_mut().poll(cx));
            self.port.full.store(false, Ordering::Relaxed);
        }
        self.sleep = None;
        Poll::Ready(Ok(()))
    }
}

/// Takes the port for this process alone, and tells how much the kernel lets wait there.
///
/// # Errors
/// Why it cannot be had, and what helps.
pub(crate) fn reserve(listen: SocketAddr) -> anyhow::Result<(UdpSocket, usize)> {
    bind(listen).map_err(|err| anyhow!("{}", bind_error(listen, &err)))
}

/// Why a port cannot be had, and what helps.
fn bind_error(listen: SocketAddr, err: &io::Error) -> String {
    let cure = match err.kind() {
        io::ErrorKind::AddrInUse => {
            "another relay or the tutorial's server runs here: stop it, or use another port with --listen"
        }
        io::ErrorKind::AddrNotAvailable => {
            "--listen takes an address of this machine; 0.0.0.0 is all of them"
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 are the system's: use another with --listen"
        }
        _ => "use another address with --listen",
    };
    format!("binding {listen}: {err}; {cure}")
}

/// Bound without SO_REUSEADDR, so that a second relay gets "address in use"; set afterwards, so that the viewers' sockets
/// may bind beside it.
fn bind(listen: SocketAddr) -> io::Result<(UdpSocket, usize)> {
    let socket = udp::socket(listen)?;
    socket.bind(&listen.into())?;
    socket.set_reuse_address(true)?;
    let granted = udp::grow_receive_buffer(&socket);
    Ok((socket.into(), granted))
}

#[cfg(test)]
mod tests {
    use nix::sys::socket::{getsockopt, sockopt::UdpGroSegment};
    use protocol::datagram::MAX_DATAGRAM;
    use quic::identity::Identity;

    use super::*;

    fn port() -> (SharedUdpSocket, mpsc::Receiver<Event>) {
        let (sender, events) = mpsc::channel(8);
        let identity = Identity::generate().unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let port = SharedUdpSocket::open(any, PacketFilter::new(&identity), sender).unwrap();
        (port, events)
    }

    #[tokio::test]
    async fn quinn_makes_room_for_the_largest_frame_whatever_the_kernel_hands_over_at_once() {
        let (port, _events) = port();
        let quinns = usize::try_from(quinn::EndpointConfig::default().get_max_udp_payload_size());
        assert!(port.max_receive_segments() * quinns.unwrap() >= MAX_DATAGRAM);
    }

    #[tokio::test]
    async fn the_kernel_hands_over_one_datagram_at_a_time() {
        let (port, _events) = port();
        let joins = getsockopt(port.socket.get_ref(), UdpGroSegment);
        assert_eq!(joins, Ok(false));
    }

    #[tokio::test]
    async fn a_piece_of_both_kinds_is_split_by_its_stride_and_quic_moves_together() {
        let (port, mut events) = port();
        let quic = |n: u8| [&[0xC0, 0, 0, 0, 1][..], &[n; 5]].concat();
        let plain = *b"\xFF\xD8\xFF\xE0123456";
        let end = b"\xFF\xD8\xFF";
        let mut piece = [&plain[..], &quic(1), &plain, &quic(2), end].concat();
        let from = SocketAddr::from(([192, 0, 2, 1], 7));
        let kept = port.split(&mut piece, 10, from);
        assert_eq!(piece[..kept], [quic(1), quic(2)].concat());
        for expected in [&plain[..], &plain, end] {
            let Some(Event::Ingress(Ingress::Datagram(source, bytes))) = events.recv().await else {
                panic!("no datagram");
            };
            assert_eq!((source, bytes.as_ref()), (from, expected));
        }
    }

    #[tokio::test]
    async fn who_floods_the_loop_is_counted_and_nothing_waits() {
        let (port, events) = port();
        let from = SocketAddr::from(([192, 0, 2, 1], 7));
        for _ in 0..20 {
            port.split(&mut [0x55; 10], 10, from);
            port.split(&mut b"Request".to_owned(), 7, from);
        }
        // Ten samples of the garbage go to the loop too.
        assert_eq!((port.junk(), port.overrun(), events.len()), (10, 22, 8));
    }
}
