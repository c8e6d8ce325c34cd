//! UDP sockets with receive buffers that hold whole frames.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;

#[cfg(target_os = "linux")]
use nix::sys::socket::{setsockopt, sockopt::UdpGroSegment};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// Receive buffer that is requested of the kernel, in bytes: a second of 40 kB frames at 100 fps.
pub const RECEIVE_BUFFER: usize = 4 << 20;
/// Size in bytes below which a receive buffer holds less than half a second of a camera's largest frames.
pub const SMALL_BUFFER: usize = 1 << 20;

/// Returns a non-blocking UDP socket that is not bound yet.
///
/// # Errors
/// If the system has no sockets of this family left.
pub fn socket(family_of: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(family_of),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Returns a non-blocking socket that is connected to `peer`, so that it receives only that peer's datagrams and
/// errors; it is bound to `port` if that is free, else to any.
///
/// # Errors
/// If there is no route to the peer (yet).
pub fn connected(peer: SocketAddr, port: Option<u16>) -> io::Result<UdpSocket> {
    let socket = socket(peer)?;
    let preferred = port.map_or(Ok(false), |port| {
        socket.bind(&any(peer, port).into()).map(|()| true)
    });
    if !preferred.unwrap_or(false) {
        socket.bind(&any(peer, 0).into())?;
    }
    socket.connect(&peer.into())?;
    grow_receive_buffer(&socket);
    Ok(socket.into())
}

/// Returns a non-blocking socket on any port, for peers in the address family of this one. It works on when this
/// machine changes its network, since the kernel chooses the route and the source address for each datagram.
///
/// # Errors
/// If the system has no socket of that family left.
pub fn unconnected(peer: SocketAddr) -> io::Result<UdpSocket> {
    let socket = socket(peer)?;
    socket.bind(&any(peer, 0).into())?;
    grow_receive_buffer(&socket);
    Ok(socket.into())
}

/// Keeps the kernel from handing over several datagrams in one piece (GRO), which quinn's sockets ask for: quinn then keeps
/// the whole piece, 60 kB, for as long as a byte of it waits to be read, and a peer that sends such bytes one by one makes
/// it hold a hundred times of what flow control allows.
///
/// # Errors
/// The system's own.
pub fn separate_datagrams(socket: &impl AsFd) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    setsockopt(socket, UdpGroSegment, &false)?;
    let _ = socket;
    Ok(())
}

fn any(family_of: SocketAddr, port: u16) -> SocketAddr {
    match family_of {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, port).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, port).into(),
    }
}

/// Requests [`RECEIVE_BUFFER`], and returns the granted size in bytes of payload (the kernel reports twice as many).
pub fn grow_receive_buffer<S: AsFd>(socket: &S) -> usize {
    let socket = SockRef::from(socket);
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    socket.recv_buffer_size().unwrap_or(0) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_preferred_port_gives_any_other() {
        let peer = UdpSocket::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let first = connected(peer, None).unwrap();
        let port = first.local_addr().unwrap().port();
        let second = connected(peer, Some(port)).unwrap();
        assert_ne!(second.local_addr().unwrap().port(), port);
        drop(first);
        let third = connected(peer, Some(port)).unwrap();
        assert_eq!(third.local_addr().unwrap().port(), port);
    }
}
