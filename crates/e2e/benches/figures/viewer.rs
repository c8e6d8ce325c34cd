//! A camera and a viewer on plain sockets: what goes into a relay, when, and when it comes out.
//!
//! The moment of sending travels in the frame's own label, and the moment of arrival is the kernel's: when the datagram
//! was put into the viewer's socket, however late this benchmark then got a processor to read it.

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

/// No more frames come when none has for this long.
const SILENCE: Duration = Duration::from_millis(700);

/// A camera whose frames are numbered on from one run to the next, as the relay counts them.
pub(crate) struct Camera {
    socket: UdpSocket,
    frames: Vec<Vec<u8>>,
    label: Label,
}

/// A frame that came through.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    /// Its number; 0 where the relay took its label away.
    pub(crate) seq: u64,
    /// From being sent to arriving, in microseconds.
    pub(crate) delay_us: f64,
}

impl Camera {
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
        // Nobody there is the measurement's own business.
        let _ = self.socket.send(&self.label.write(frame));
    }

    /// Sends frames at an even pace and gives what `viewer` saw of them, and the number of the first.
    pub(crate) fn stream(&mut self, viewer: &Viewer, fps: u32, long: Duration) -> (u64, Vec<Seen>) {
        let first = self.label.seq + 1;
        let seen = thread::scope(|scope| {
            let seen = scope.spawn(|| viewer.watch(SILENCE));
            let start = Instant::now();
            for n in 0..fps * long.as_secs() as u32 {
                let due = start + Duration::from_secs(1) * n / fps;
                thread::sleep(due.saturating_duration_since(Instant::now()));
                self.send();
            }
            seen.join().unwrap()
        });
        (first, seen)
    }
}

/// A viewer that asked as the tutorial's does.
pub(crate) struct Viewer(UdpSocket);

impl Viewer {
    pub(crate) fn join(relay: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(relay).unwrap();
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true).unwrap();
        platform::udp::grow_receive_buffer(&socket);
        socket.send(REQUEST).unwrap();
        Self(socket)
    }

    /// Takes what waits, and tells how many frames that were.
    pub(crate) fn drain(&self) -> usize {
        self.0.set_nonblocking(true).unwrap();
        std::iter::from_fn(|| self.0.recv(&mut [0; 16]).ok()).count()
    }

    /// Takes frames until none comes for `silence`.
    fn watch(&self, silence: Duration) -> Vec<Seen> {
        self.0.set_nonblocking(false).unwrap();
        self.0.set_read_timeout(Some(silence)).unwrap();
        let mut buffer = vec![0; 65_536];
        std::iter::from_fn(|| {
            let (length, arrived_us) = receive(&self.0, &mut buffer)?;
            let label = Label::read(&buffer[..length]).ok().flatten();
            Some(label.map_or(
                Seen {
                    seq: 0,
                    delay_us: f64::NAN,
                },
                |label| Seen {
                    seq: label.seq,
                    delay_us: arrived_us - label.captured_us as f64,
                },
            ))
        })
        .collect()
    }
}

/// A datagram's length, and when the kernel got it.
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
