//! The floor of forwarding by UDP: a thread that receives a datagram and sends it to each viewer, with nothing in between.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use protocol::datagram::REQUEST;
use testkit::cpu::CpuClock;

/// A running forwarder; it ends when dropped.
pub(crate) struct DatagramForwarder {
    /// Address on which it listens.
    pub(crate) address: SocketAddr,
    /// Processor time of its thread.
    pub(crate) cpu: CpuClock,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl DatagramForwarder {
    pub(crate) fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(1)))
            .unwrap();
        platform::udp::grow_receive_buffer(&socket);
        let address = socket.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let (sender, receiver) = mpsc::channel();
        let thread = thread::spawn(move || {
            sender.send(CpuClock::of_this_thread()).unwrap();
            forward(&socket, &stopped);
        });
        Self {
            address,
            cpu: receiver.recv().unwrap(),
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for DatagramForwarder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

fn forward(socket: &UdpSocket, stop: &AtomicBool) {
    let mut viewers: Vec<SocketAddr> = Vec::new();
    let mut buffer = vec![0; 65_536];
    while !stop.load(Ordering::Relaxed) {
        let Ok((length, from)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        if &buffer[..length] == REQUEST {
            viewers.push(from);
            continue;
        }
        for viewer in &viewers {
            let _ = socket.send_to(&buffer[..length], viewer);
        }
    }
}
