//! UDP sockets: buffers that hold whole frames, and which errors are weather.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// What is asked of the kernel for frames that wait to be read: a second of 40 kB at 100 fps.
pub const RECEIVE_BUFFER: usize = 4 << 20;
/// A receive buffer below this holds less than half a second of a camera's largest frames.
pub const SMALL_BUFFER: usize = 1 << 20;

/// A non-blocking UDP socket that is not bound yet.
///
/// # Errors
/// Where the system has no sockets of this family left.
pub fn socket(family_of: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(family_of),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A non-blocking socket connected to `peer`, so that only its datagrams are received and its errors are seen; bound to
/// `port` where that is free, else to any.
///
/// # Errors
/// Where there is no route to the peer (yet).
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

/// A non-blocking socket on any port, for peers in the address family of this one. It follows this machine from network
/// to network, since each datagram takes the route and the address of its moment.
///
/// # Errors
/// Where the system has no socket of that family left.
pub fn unconnected(peer: SocketAddr) -> io::Result<UdpSocket> {
    let socket = socket(peer)?;
    socket.bind(&any(peer, 0).into())?;
    grow_receive_buffer(&socket);
    Ok(socket.into())
}

fn any(family_of: SocketAddr, port: u16) -> SocketAddr {
    match family_of {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, port).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, port).into(),
    }
}

/// Asks for [`RECEIVE_BUFFER`] and returns what was granted, in bytes of payload (the kernel counts twice).
pub fn grow_receive_buffer<S: std::os::fd::AsFd>(socket: &S) -> usize {
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
