//! A Sightline relay with both transports, in a thread: it answers over UDP; a script of the test handles QUIC connections.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use protocol::control::{Control, LeaseVerdict, Question};
use protocol::datagram::{Datagram, classify};
use protocol::quic::{Hello, from_line};
use quic::endpoint::{self, PacketFilter};
use quic::identity::Identity;
use quic::lines::Lines;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, Incoming, Runtime as _, TokioRuntime, UdpPoller};
use tokio::sync::Notify;

use super::script::{RelayScript, ViewerSession};
use super::{Datagrams, INTERVAL, labelled};

/// A Sightline relay with both transports, in a thread. Dropped, it is gone as after a power cut.
pub(crate) struct QuicRelay {
    pub(crate) addr: SocketAddr,
    received: Arc<Mutex<Datagrams>>,
    hellos: Arc<Mutex<Vec<Hello>>>,
    attempts: Arc<AtomicUsize>,
    closed: Arc<Mutex<Vec<String>>>,
    stop: Arc<Notify>,
    thread: Option<JoinHandle<()>>,
}

impl QuicRelay {
    pub(crate) fn start(addr: &str, identity: &Identity, script: RelayScript) -> Self {
        let socket = UdpSocket::bind(addr).unwrap();
        let mut relay = Self {
            addr: socket.local_addr().unwrap(),
            received: Arc::default(),
            hellos: Arc::default(),
            attempts: Arc::default(),
            closed: Arc::default(),
            stop: Arc::default(),
            thread: None,
        };
        let server = Server {
            received: relay.received.clone(),
            hellos: relay.hellos.clone(),
            attempts: relay.attempts.clone(),
            closed: relay.closed.clone(),
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
                    () = server.serve(socket, identity) => {}
                }
            });
            runtime.shutdown_background();
        }));
        relay
    }

    /// Returns the control messages that came over UDP, and when.
    pub(crate) fn udp_messages(&self) -> Vec<(Instant, Control)> {
        let received = self.received.lock().unwrap();
        let control = |bytes: &[u8]| match classify(bytes.to_vec()) {
            Ok(Datagram::Control(control)) => control,
            other => panic!("came over UDP: {other:?}"),
        };
        received
            .iter()
            .map(|(at, bytes)| (*at, control(bytes)))
            .collect()
    }

    /// Returns the hellos that came by QUIC.
    pub(crate) fn hellos(&self) -> Vec<Hello> {
        self.hellos.lock().unwrap().clone()
    }

    /// Returns the number of QUIC connections that were tried, accepted or not.
    pub(crate) fn attempts(&self) -> usize {
        self.attempts.load(Ordering::Relaxed)
    }

    /// Returns how connections ended.
    pub(crate) fn closed(&self) -> Vec<String> {
        self.closed.lock().unwrap().clone()
    }
}

impl Drop for QuicRelay {
    fn drop(&mut self) {
        self.stop.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The state of the thread.
struct Server {
    received: Arc<Mutex<Datagrams>>,
    hellos: Arc<Mutex<Vec<Hello>>>,
    attempts: Arc<AtomicUsize>,
    closed: Arc<Mutex<Vec<String>>>,
    script: RelayScript,
}

impl Server {
    async fn serve(self, socket: UdpSocket, identity: Identity) {
        let sender = socket.try_clone().unwrap();
        let socket = Arc::new(DemuxSocket {
            filter: PacketFilter::new(&identity),
            inner: TokioRuntime.wrap_udp_socket(socket).unwrap(),
            sender: sender.try_clone().unwrap(),
            verdict: self.script.verdict,
            received: self.received.clone(),
            viewer: Mutex::default(),
        });
        let endpoint = endpoint::server(socket.clone(), &identity).unwrap();
        let by_quic = async {
            while let Some(incoming) = endpoint.accept().await {
                self.attempts.fetch_add(1, Ordering::Relaxed);
                if self.script.accepts_quic.load(Ordering::Relaxed) {
                    tokio::spawn(self.accept(incoming));
                } else {
                    incoming.ignore();
                }
            }
        };
        let by_udp = async {
            for seq in self.script.udp_from + 1.. {
                if let Some(viewer) = *socket.viewer.lock().unwrap() {
                    let _ = sender.send_to(&labelled(1, seq), viewer);
                }
                tokio::time::sleep(INTERVAL).await;
            }
        };
        tokio::join!(by_quic, by_udp);
    }

    fn accept(&self, incoming: Incoming) -> impl Future<Output = Option<()>> + use<> {
        let (hellos, closed) = (self.hellos.clone(), self.closed.clone());
        let handle = self.script.handle.clone();
        async move {
            let connection = incoming.accept().ok()?.await.ok()?;
            let (control, lines) = connection.accept_bi().await.ok()?;
            let mut lines = Lines::new(lines);
            let hello: Hello = from_line(&lines.next().await.ok()?)?;
            hellos.lock().unwrap().push(hello.clone());
            let session = ViewerSession {
                connection: connection.clone(),
                hello,
                control,
                lines,
            };
            handle(session).await;
            let end = tokio::time::timeout(Duration::from_secs(60), connection.closed()).await;
            closed.lock().unwrap().push(format!("{end:?}"));
            Some(())
        }
    }
}

/// The relay's socket: quinn gets nothing but QUIC, the UDP transport is answered here.
struct DemuxSocket {
    filter: PacketFilter,
    inner: Arc<dyn AsyncUdpSocket>,
    sender: UdpSocket,
    verdict: LeaseVerdict,
    received: Arc<Mutex<Datagrams>>,
    /// The viewer that holds the UDP lease.
    viewer: Mutex<Option<SocketAddr>>,
}

impl DemuxSocket {
    fn on_datagram(&self, datagram: &[u8], from: SocketAddr) {
        self.received
            .lock()
            .unwrap()
            .push((Instant::now(), datagram.to_vec()));
        let mut viewer = self.viewer.lock().unwrap();
        let nonce = match classify(datagram.to_vec()) {
            Ok(Datagram::Control(Control::Hello(Question { nonce, .. }))) => {
                *viewer = (self.verdict == LeaseVerdict::Welcome).then_some(from);
                nonce
            }
            Ok(Datagram::Control(Control::Probe(Question { nonce, .. }))) => {
                *viewer = None;
                nonce
            }
            _ => return,
        };
        let verdict = self.verdict;
        let accept = Control::Accept {
            nonce,
            verdict,
            cookie: None,
        }
        .write();
        let _ = self.sender.send_to(&accept, from);
    }
}

impl std::fmt::Debug for DemuxSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DemuxSocket")
    }
}

impl AsyncUdpSocket for DemuxSocket {
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
            // The viewer uses another port for each transport, so all datagrams of one buffer are of one kind.
            let batch = &buf[..meta.len];
            if !self.filter.is_quic(&batch[..meta.stride.min(meta.len)]) {
                for datagram in batch.chunks(meta.stride.max(1)) {
                    self.on_datagram(datagram, meta.addr);
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
