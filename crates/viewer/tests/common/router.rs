//! A NAT router between the viewer and its relay, in a thread: it can forget its port mappings, and be cut off.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// The router; the viewer finds the relay at its address.
pub(crate) struct Router {
    pub(crate) addr: SocketAddr,
    state: Arc<RouterState>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct RouterState {
    rebind: AtomicBool,
    cut: AtomicBool,
    ports: AtomicUsize,
    stop: AtomicBool,
}

impl Router {
    pub(crate) fn before(relay: SocketAddr) -> Self {
        let inside = socket();
        let (addr, state) = (inside.local_addr().unwrap(), Arc::<RouterState>::default());
        let thread = {
            let state = state.clone();
            std::thread::spawn(move || route(&inside, relay, &state))
        };
        Self {
            addr,
            state,
            thread: Some(thread),
        }
    }

    /// Forgets all port mappings: each sender gets another port from now on.
    pub(crate) fn rebind(&self) {
        self.state.rebind.store(true, Ordering::Relaxed);
    }

    /// Drops every datagram, or forwards them again.
    pub(crate) fn cut(&self, cut: bool) {
        self.state.cut.store(cut, Ordering::Relaxed);
    }

    /// Returns the number of port mappings so far.
    pub(crate) fn ports(&self) -> usize {
        self.state.ports.load(Ordering::Relaxed)
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

fn route(inside: &UdpSocket, relay: SocketAddr, state: &RouterState) {
    let mut outside: HashMap<SocketAddr, UdpSocket> = HashMap::new();
    let mut buffer = vec![0; 70_000];
    while !state.stop.load(Ordering::Relaxed) {
        if state.rebind.swap(false, Ordering::Relaxed) {
            outside.clear();
        }
        let open = !state.cut.load(Ordering::Relaxed);
        while let Ok((length, from)) = inside.recv_from(&mut buffer) {
            let port = outside.entry(from).or_insert_with(|| {
                state.ports.fetch_add(1, Ordering::Relaxed);
                socket()
            });
            let _ = open.then(|| port.send_to(&buffer[..length], relay));
        }
        for (to, port) in &outside {
            while let Ok(length) = port.recv(&mut buffer) {
                let _ = open.then(|| inside.send_to(&buffer[..length], to));
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
