//! The plain door: a connected socket for each viewer, on the relay's own port.
//!
//! A connected socket has a send buffer of its own, so one slow path fills nobody else's; it learns from ICMP that its
//! viewer is gone; and its datagrams are cut into fragments for its own path. The kernel then delivers what that viewer
//! says there and no longer on the main socket, so each has a task that reads it.
//!
//! Tokio waits for datagrams only; sending goes past it, without waiting. Its own UDP socket would wake its task each time
//! a sent datagram leaves the buffer (a third of the cost of a frame), and refuse to send on a new socket until the
//! reactor has heard that it is writable: the frame right behind a viewer's hello would be lost.

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
use tokio::task::JoinHandle;

use super::port::{Port, readable};
use crate::event::Event;

/// The plain door.
#[derive(Debug)]
pub struct Door {
    port: Arc<Port>,
    seats: HashMap<SocketAddr, Seat>,
    events: mpsc::Sender<Event>,
}

/// A viewer's socket.
#[derive(Debug)]
struct Seat {
    socket: Arc<AsyncFd<UdpSocket>>,
    reader: JoinHandle<()>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// What became of a datagram to a viewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// It is the kernel's.
    Yes,
    /// The viewer's send buffer is full: this frame is skipped, the next one may fit.
    Full,
    /// Nobody listens there any more.
    Gone,
    /// The network could not take it.
    No,
}

impl Door {
    /// A door without viewers.
    pub fn new(port: Arc<Port>, events: mpsc::Sender<Event>) -> Self {
        Self {
            port,
            seats: HashMap::new(),
            events,
        }
    }

    /// The port.
    pub fn port(&self) -> &Port {
        &self.port
    }

    /// Opens a socket for a viewer.
    ///
    /// # Errors
    /// Where there is no route to it, or no socket left.
    pub fn join(&mut self, viewer: SocketAddr) -> io::Result<()> {
        let socket = Arc::new(connect_beside(self.port.local(), viewer)?);
        let reader = tokio::spawn(read(Arc::clone(&socket), viewer, self.events.clone()));
        self.seats.insert(viewer, Seat { socket, reader });
        Ok(())
    }

    /// Closes a viewer's socket.
    pub fn leave(&mut self, viewer: SocketAddr) {
        self.seats.remove(&viewer);
    }

    /// Sends a frame to a viewer, without waiting.
    pub fn send(&self, viewer: SocketAddr, jpeg: &[u8]) -> Sent {
        let Some(seat) = self.seats.get(&viewer) else {
            return Sent::No;
        };
        match seat.socket.get_ref().send(jpeg) {
            Ok(_) => Sent::Yes,
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => Sent::Full,
            Err(err) if err.kind() == io::ErrorKind::ConnectionRefused => Sent::Gone,
            Err(_) => Sent::No,
        }
    }
}

/// The next datagram of a socket.
async fn hear(socket: &AsyncFd<UdpSocket>, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
    let read = |socket: &UdpSocket| socket.recv_from(buffer);
    socket.async_io(Interest::READABLE, read).await
}

/// Reads what a viewer says; what others said between `bind` and `connect` waits there too, and has its own source.
async fn read(socket: Arc<AsyncFd<UdpSocket>>, viewer: SocketAddr, events: mpsc::Sender<Event>) {
    let mut buffer = vec![0; MAX_DATAGRAM + 1];
    loop {
        let event = match hear(&socket, &mut buffer).await {
            Ok((length, from)) => Event::Datagram(from, Bytes::copy_from_slice(&buffer[..length])),
            Err(err) if err.kind() == io::ErrorKind::ConnectionRefused => Event::Gone(viewer),
            Err(_) => continue,
        };
        if events.send(event).await.is_err() {
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
