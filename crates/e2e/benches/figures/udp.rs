//! A camera and a viewer on UDP sockets, and the delay of each frame between them.
//!
//! The frame's own label carries the time of sending. The time of arrival is the kernel's: when it put the datagram into the
//! viewer's socket, however late this benchmark then got a processor to read it.

use std::io::IoSliceMut;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::cmsg_space;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use protocol::datagram::REQUEST;
use protocol::label::{Label, StreamId};

/// A stream has ended when no frame has arrived for this long.
const SILENCE: Duration = Duration::from_millis(700);

/// A camera that numbers its frames on from one run to the next, as the relay counts them.
pub(crate) struct UdpCamera {
    socket: UdpSocket,
    frames: Vec<Vec<u8>>,
    label: Label,
}

/// A frame that arrived.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReceivedFrame {
    /// Number of the frame; 0 without a label.
    pub(crate) seq: u64,
    /// Time from sending to arrival, in microseconds.
    pub(crate) delay_us: f64,
}

impl UdpCamera {
    pub(crate) fn new(frames: Vec<Vec<u8>>, relay: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(relay).unwrap();
        let label = Label {
            stream: StreamId(1),
            seq: 0,
            captured_us: 0,
            camera: "bench".parse().unwrap(),
        };
        Self {
            socket,
            frames,
            label,
        }
    }

    /// Sends the next frame.
    pub(crate) fn send(&mut self) {
        self.label.seq += 1;
        let frame = &self.frames[self.label.seq as usize % self.frames.len()];
        self.label.captured_us = now_us();
        // A relay that is not there shows in the measurement.
        let _ = self.socket.send(&self.label.write(frame));
    }

    /// Sends frames at an even pace, and returns the number of the first and the frames that `viewer` received.
    pub(crate) fn stream(
        &mut self,
        viewer: &UdpViewer,
        fps: u32,
        long: Duration,
    ) -> (u64, Vec<ReceivedFrame>) {
        let first = self.label.seq + 1;
        let received = thread::scope(|scope| {
            let watching = scope.spawn(|| viewer.watch(SILENCE));
            let start = Instant::now();
            for n in 0..fps * long.as_secs() as u32 {
                let due = start + Duration::from_secs(1) * n / fps;
                thread::sleep(due.saturating_duration_since(Instant::now()));
                self.send();
            }
            watching.join().unwrap()
        });
        (first, received)
    }
}

/// A viewer that requests frames as the tutorial's does.
pub(crate) struct UdpViewer(UdpSocket);

impl UdpViewer {
    pub(crate) fn join(relay: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(relay).unwrap();
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true).unwrap();
        platform::udp::grow_receive_buffer(&socket);
        socket.send(REQUEST).unwrap();
        Self(socket)
    }

    /// Reads the waiting frames and returns their number.
    pub(crate) fn drain(&self) -> usize {
        self.0.set_nonblocking(true).unwrap();
        std::iter::from_fn(|| self.0.recv(&mut [0; 16]).ok()).count()
    }

    /// Reads frames until none arrives for `silence`.
    fn watch(&self, silence: Duration) -> Vec<ReceivedFrame> {
        self.0.set_nonblocking(false).unwrap();
        self.0.set_read_timeout(Some(silence)).unwrap();
        let mut buffer = vec![0; 65_536];
        std::iter::from_fn(|| {
            let (length, arrived_us) = receive(&self.0, &mut buffer)?;
            let label = Label::read(&buffer[..length]).ok().flatten();
            Some(label.map_or(
                ReceivedFrame {
                    seq: 0,
                    delay_us: f64::NAN,
                },
                |label| ReceivedFrame {
                    seq: label.seq,
                    delay_us: arrived_us - label.captured_us as f64,
                },
            ))
        })
        .collect()
    }
}

/// Receives a datagram, and returns its length and the kernel's time of arrival.
fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> Option<(usize, f64)> {
    let mut control = cmsg_space!(TimeSpec);
    let mut parts = [IoSliceMut::new(buffer)];
    let message = recvmsg::<()>(
        socket.as_raw_fd(),
        &mut parts,
        Some(&mut control),
        MsgFlags::empty(),
    )
    .ok()?;
    let stamp = message.cmsgs().ok()?.find_map(|control| match control {
        ControlMessageOwned::ScmTimestampns(stamp) => Some(stamp),
        _ => None,
    })?;
    Some((
        message.bytes,
        stamp.tv_sec() as f64 * 1e6 + stamp.tv_nsec() as f64 / 1e3,
    ))
}

fn now_us() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_micros() as u64
}
