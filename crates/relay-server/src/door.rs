//! The plain door's sockets: the one on which everybody is heard, and a connected one for each viewer on the same port.
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

use anyhow::anyhow;
use bytes::Bytes;
use platform::udp;
use protocol::datagram::MAX_DATAGRAM;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::event::Event;

/// The plain door.
#[derive(Debug)]
pub struct Door {
    main: Heard,
    local: SocketAddr,
    seats: HashMap<SocketAddr, Seat>,
    events: mpsc::Sender<Event>,
    buffer: Vec<u8>,
    /// What the kernel granted for datagrams that wait to be read, in bytes.
    pub receive_buffer: usize,
}

/// See [`heard`].
type Heard = AsyncFd<UdpSocket>;

/// A viewer's socket.
#[derive(Debug)]
struct Seat {
    socket: Arc<Heard>,
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
    /// Binds the port for this relay alone.
    ///
    /// # Errors
    /// Where the address is not this machine's or the port is taken.
    pub fn open(listen: SocketAddr, events: mpsc::Sender<Event>) -> anyhow::Result<Self> {
        let (main, receive_buffer) =
            bind(listen).map_err(|err| anyhow!("{}", cure(listen, &err)))?;
        Ok(Self {
            local: main.get_ref().local_addr()?,
            main,
            seats: HashMap::new(),
            events,
            buffer: vec![0; MAX_DATAGRAM + 1],
            receive_buffer,
        })
    }

    /// The address in force.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The next datagram. Errors of the main socket belong to somebody's path and are weather.
    pub async fn receive(&mut self) -> (SocketAddr, Bytes) {
        loop {
            if let Ok((length, from)) = hear(&self.main, &mut self.buffer).await {
                return (from, Bytes::copy_from_slice(&self.buffer[..length]));
            }
        }
    }

    /// Opens a socket for a viewer.
    ///
    /// # Errors
    /// Where there is no route to it, or no socket left.
    pub fn join(&mut self, viewer: SocketAddr) -> io::Result<()> {
        let socket = Arc::new(connect_beside(self.local, viewer)?);
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

    /// Answers a stranger from the main socket, without waiting; if that fails the stranger asks again.
    pub fn reply(&self, to: SocketAddr, bytes: &[u8]) {
        let _ = self.main.get_ref().send_to(bytes, to);
    }
}

/// A socket of which tokio is told to wait for datagrams.
#[expect(
    deprecated,
    reason = "the unsafe successor guards against types that change their descriptor, which a UdpSocket never does"
)]
fn heard(socket: UdpSocket) -> io::Result<Heard> {
    AsyncFd::with_interest(socket, Interest::READABLE)
}

/// The next datagram of a socket.
async fn hear(socket: &Heard, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
    let read = |socket: &UdpSocket| socket.recv_from(buffer);
    socket.async_io(Interest::READABLE, read).await
}

/// Reads what a viewer says; what others said between `bind` and `connect` waits there too, and has its own source.
async fn read(socket: Arc<Heard>, viewer: SocketAddr, events: mpsc::Sender<Event>) {
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

/// Why a port cannot be had, and what helps.
fn cure(listen: SocketAddr, err: &io::Error) -> String {
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
fn bind(listen: SocketAddr) -> io::Result<(Heard, usize)> {
    let socket = udp::socket(listen)?;
    socket.bind(&listen.into())?;
    socket.set_reuse_address(true)?;
    let granted = udp::grow_receive_buffer(&socket);
    Ok((heard(socket.into())?, granted))
}

fn connect_beside(local: SocketAddr, viewer: SocketAddr) -> io::Result<Heard> {
    let socket = udp::socket(local)?;
    socket.set_reuse_address(true)?;
    socket.bind(&local.into())?;
    socket.connect(&viewer.into())?;
    heard(socket.into())
}
