//! The UDP transport: a connected socket for each viewer, on the relay's own port.
//!
//! A connected socket has a send buffer of its own, so one slow path fills no other's; it learns from ICMP that its
//! viewer is gone; and its datagrams are cut into fragments for its own path. The kernel then delivers what that viewer
//! sends to this socket and no longer to the main one, so each has a task that reads it.
//!
//! Tokio waits for datagrams only; sending goes past it, without waiting. Its own UDP socket would wake its task each time
//! a sent datagram leaves the buffer (a third of the cost of a frame), and refuse to send on a new socket until the
//! reactor has learned that it is writable: the frame right behind a viewer's hello would be lost.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use bytes::Bytes;
use platform::udp;
use protocol::datagram::MAX_DATAGRAM;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::JoinHandle;

use super::port::{SharedUdpSocket, readable};
use crate::event::{Event, Ingress};

/// The sockets of all UDP viewers.
#[derive(Debug)]
pub struct UdpTransport {
    port: Arc<SharedUdpSocket>,
    viewers: HashMap<SocketAddr, ViewerSocket>,
    events: mpsc::Sender<Event>,
}

/// A viewer's socket.
#[derive(Debug)]
struct ViewerSocket {
    socket: Arc<AsyncFd<UdpSocket>>,
    reader: JoinHandle<()>,
}

impl Drop for ViewerSocket {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// What became of a datagram to a viewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendOutcome {
    /// The kernel took it.
    Sent,
    /// The viewer's send buffer is full: this frame is skipped, the next one may fit.
    Full,
    /// The viewer's host refused an earlier frame: its port may be closed.
    Refused,
    /// The network could not take it.
    Failed,
}

impl UdpTransport {
    /// Returns the transport without viewers.
    pub fn new(port: Arc<SharedUdpSocket>, events: mpsc::Sender<Event>) -> Self {
        Self {
            port,
            viewers: HashMap::new(),
            events,
        }
    }

    /// Returns the port.
    pub fn port(&self) -> &SharedUdpSocket {
        &self.port
    }

    /// Opens a socket for a viewer.
    ///
    /// # Errors
    /// If there is no route to it, or no socket left.
    pub fn open_viewer(&mut self, viewer: SocketAddr) -> io::Result<()> {
        let socket = Arc::new(connect_beside(self.port.local(), viewer)?);
        let port = Arc::clone(&self.port);
        let reader = tokio::spawn(read(Arc::clone(&socket), viewer, port, self.events.clone()));
        self.viewers.insert(viewer, ViewerSocket { socket, reader });
        Ok(())
    }

    /// Closes a viewer's socket. Returns whether there was one.
    pub fn close_viewer(&mut self, viewer: SocketAddr) -> bool {
        self.viewers.remove(&viewer).is_some()
    }

    /// Sends a frame to a viewer, without waiting.
    pub fn send(&self, viewer: SocketAddr, jpeg: &[u8]) -> SendOutcome {
        let Some(viewer_socket) = self.viewers.get(&viewer) else {
            return SendOutcome::Failed;
        };
        match viewer_socket.socket.get_ref().send(jpeg) {
            Ok(_) => SendOutcome::Sent,
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => SendOutcome::Full,
            Err(err) if err.kind() == io::ErrorKind::ConnectionRefused => {
                // The refusal, which may be forged, is of an earlier frame; this one has not left yet.
                let _ = viewer_socket.socket.get_ref().send(jpeg);
                SendOutcome::Refused
            }
            Err(_) => SendOutcome::Failed,
        }
    }
}

/// Receives the next datagram of a socket.
async fn recv(socket: &AsyncFd<UdpSocket>, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
    let read = |socket: &UdpSocket| socket.recv_from(buffer);
    socket.async_io(Interest::READABLE, read).await
}

/// Reads what a viewer sends. Datagrams of other peers that came between `bind` and `connect` wait there too, each with its
/// own source.
async fn read(
    socket: Arc<AsyncFd<UdpSocket>>,
    viewer: SocketAddr,
    port: Arc<SharedUdpSocket>,
    events: mpsc::Sender<Event>,
) {
    let mut buffer = vec![0; MAX_DATAGRAM + 1];
    loop {
        let ingress = match recv(&socket, &mut buffer).await {
            Ok((length, from)) if port.divert_quic(from, &buffer[..length]) => continue,
            Ok((length, from)) => {
                Ingress::Datagram(from, Bytes::copy_from_slice(&buffer[..length]))
            }
            Err(err) if err.kind() == io::ErrorKind::ConnectionRefused => Ingress::Refused(viewer),
            Err(_) => continue,
        };
        // Without room it is lost, as at the port itself.
        if let Err(TrySendError::Closed(_)) = events.try_send(ingress.into()) {
            return;
        }
    }
}

fn connect_beside(local: SocketAddr, viewer: SocketAddr) -> io::Result<AsyncFd<UdpSocket>> {
    let socket = udp::socket(local)?;
    socket.set_reuse_address(true)?;
    socket.bind(&local.into())?;
    socket.connect(&viewer.into())?;
    readable(socket.into())
}
