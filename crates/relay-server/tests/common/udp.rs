//! UDP peers of the relay: a camera and a viewer.

#![allow(dead_code, reason = "each test file uses its part")]
#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

use std::net::{SocketAddr, UdpSocket};

use opencv::core::{CV_8UC3, Mat, Scalar};
use protocol::control::{Control, LeaseVerdict, Question};
use protocol::datagram::{Datagram, classify};
use protocol::peer::Cookie;

use super::process::SOON;

pub(crate) fn socket(from: &str, relay: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((from, 0)).unwrap();
    socket.connect(relay).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket
}

/// Returns a viewer that has a lease and has proved its address.
pub(crate) fn viewer(relay: SocketAddr) -> UdpSocket {
    let socket = socket("127.0.0.1", relay);
    let (verdict, cookie) = hello(&socket, None);
    assert_eq!(verdict, LeaseVerdict::Welcome);
    hello(&socket, cookie);
    socket
}

/// Sends a hello with this cookie, and returns the relay's answer and cookie.
pub(crate) fn hello(socket: &UdpSocket, cookie: Option<Cookie>) -> (LeaseVerdict, Option<Cookie>) {
    let hello = Control::Hello(Question::new(1, cookie));
    socket.send(&hello.write()).unwrap();
    loop {
        if let Ok(Datagram::Control(Control::Accept {
            verdict, cookie, ..
        })) = classify(receive(socket))
        {
            return (verdict, cookie);
        }
    }
}

pub(crate) fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 70_000];
    let length = socket.recv(&mut buffer).expect("a datagram in time");
    buffer.truncate(length);
    buffer
}

/// Returns a JPEG whose brightness depends on its number.
pub(crate) fn picture(seq: u64) -> Vec<u8> {
    let grey = Scalar::all((seq % 256) as f64);
    let picture = Mat::new_rows_cols_with_default(200, 300, CV_8UC3, grey).unwrap();
    imaging::jpeg::encode(&picture, 80).unwrap()
}
