//! The thread of a link: sleeps until a datagram arrives or is due, and does what the shapers decide.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Instant;

use fastrand::Rng;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use socket2::SockRef;

use super::shaper::Shaper;
use super::{Conditions, Counters};

/// Receive buffer of a socket, for the time that the thread has no processor: 1 s of 30 Mbit/s. Linux grants this much
/// if asked.
const BUFFER: usize = 4 << 20;
/// Datagrams read from one socket before the next socket is read.
const BATCH: usize = 256;
const LARGEST: usize = 65_536;

/// A change or a query by the handle, run on the thread.
pub(super) type Command = Box<dyn FnOnce(&mut Emulator) + Send>;

/// The sockets and shapers of a link; its thread owns them.
pub(super) struct Emulator {
    /// Socket that the clients send to.
    near: UdpSocket,
    target: SocketAddr,
    clients: Vec<Client>,
    /// Sockets from before a rebinding: open, so that the system refuses no datagram for them, but never read.
    retired: Vec<UdpSocket>,
    up: Shaper,
    down: Shaper,
    /// Datagrams on their way, by the time that they are due and, among equals, by their order of arrival.
    in_flight: BTreeMap<(Instant, u64), InFlight>,
    /// Number of copies admitted so far.
    admitted: u64,
    buffer: Vec<u8>,
}

struct Client {
    address: SocketAddr,
    /// Socket of this client towards the target.
    far: UdpSocket,
}

/// A datagram on its way.
struct InFlight {
    direction: Direction,
    /// Index of the client that sent it or will receive it.
    client: usize,
    payload: Arc<[u8]>,
}

#[derive(Debug, Clone, Copy)]
enum Direction {
    Up,
    Down,
}

impl Emulator {
    pub(super) fn new(target: SocketAddr, conditions: Conditions, seed: u64) -> Self {
        let (mut seeds, now) = (Rng::with_seed(seed), Instant::now());
        Self {
            near: socket().expect("127.0.0.1 has a free port"),
            target,
            clients: Vec::new(),
            retired: Vec::new(),
            up: Shaper::new(conditions.up, seeds.fork(), now),
            down: Shaper::new(conditions.down, seeds.fork(), now),
            in_flight: BTreeMap::new(),
            admitted: 0,
            buffer: vec![0; LARGEST],
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.near.local_addr().expect("it is bound")
    }

    pub(super) fn set(&mut self, conditions: Conditions) {
        self.up.set(conditions.up);
        self.down.set(conditions.down);
    }

    pub(super) fn cut(&mut self, cut: bool) {
        self.up.cut(cut);
        self.down.cut(cut);
    }

    pub(super) fn rebind(&mut self) {
        for client in &mut self.clients {
            let new = towards(self.target).expect("127.0.0.1 has a free port");
            let old = std::mem::replace(&mut client.far, new);
            self.retired.push(old);
        }
    }

    pub(super) fn counters(&self) -> Counters {
        Counters {
            up: self.up.counts(),
            down: self.down.counts(),
        }
    }

    /// Runs until the handle is dropped.
    pub(super) fn run(mut self, commands: &Receiver<Command>, wakeup: &UnixStream) {
        loop {
            self.deliver(Instant::now());
            self.wait(wakeup);
            self.read_clients();
            self.read_target();
            let _ = (&mut &*wakeup).read(&mut [0; 64]);
            loop {
                match commands.try_recv() {
                    Ok(command) => command(&mut self),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
        }
    }

    /// Sleeps until a socket can be read or the next datagram is due.
    fn wait(&self, wakeup: &UnixStream) {
        let sockets = self.clients.iter().map(|client| client.far.as_fd());
        let mut all: Vec<PollFd> = [wakeup.as_fd(), self.near.as_fd()]
            .into_iter()
            .chain(sockets)
            .map(|socket| PollFd::new(socket, PollFlags::POLLIN))
            .collect();
        let due = self.in_flight.first_key_value().map(|((due, _), _)| {
            TimeSpec::from_duration(due.saturating_duration_since(Instant::now()))
        });
        // Interrupted or not: every socket is read next.
        let _ = ppoll(&mut all, due, None);
    }

    fn read_clients(&mut self) {
        for _ in 0..BATCH {
            let Ok((length, from)) = self.near.recv_from(&mut self.buffer) else {
                return;
            };
            if let Some(client) = self.client(from) {
                self.admit(Direction::Up, client, length);
            }
        }
    }

    fn read_target(&mut self) {
        for client in 0..self.clients.len() {
            for _ in 0..BATCH {
                // The system reports here that the target was not there for an earlier datagram.
                let Ok(length) = self.clients[client].far.recv(&mut self.buffer) else {
                    break;
                };
                self.admit(Direction::Down, client, length);
            }
        }
    }

    /// Returns the client with this address, which may be a new one; `None` if the system has no socket left for it.
    fn client(&mut self, address: SocketAddr) -> Option<usize> {
        let known = self.clients.iter().position(|c| c.address == address);
        known.or_else(|| {
            let far = towards(self.target).ok()?;
            self.clients.push(Client { address, far });
            Some(self.clients.len() - 1)
        })
    }

    /// Schedules the datagram in the buffer as the shaper decides.
    fn admit(&mut self, direction: Direction, client: usize, length: usize) {
        let Some(arrival) = self.shaper(direction).admit(length, Instant::now()) else {
            return;
        };
        let payload: Arc<[u8]> = self.buffer[..length].into();
        for _ in 0..arrival.copies {
            self.admitted += 1;
            let datagram = InFlight {
                direction,
                client,
                payload: Arc::clone(&payload),
            };
            self.in_flight.insert((arrival.at, self.admitted), datagram);
        }
    }

    /// Sends the datagrams that are due.
    fn deliver(&mut self, now: Instant) {
        while let Some(first) = self.in_flight.first_entry()
            && first.key().0 <= now
        {
            let InFlight {
                direction,
                client,
                payload,
            } = first.remove();
            if !self.shaper(direction).complete(payload.len()) {
                continue;
            }
            let client = &self.clients[client];
            // A receiver that is not there loses the datagram, as on any network.
            let _ = match direction {
                Direction::Up => client.far.send(&payload),
                Direction::Down => self.near.send_to(&payload, client.address),
            };
        }
    }

    fn shaper(&mut self, direction: Direction) -> &mut Shaper {
        match direction {
            Direction::Up => &mut self.up,
            Direction::Down => &mut self.down,
        }
    }
}

fn towards(target: SocketAddr) -> io::Result<UdpSocket> {
    let socket = socket()?;
    socket.connect(target)?;
    Ok(socket)
}

fn socket() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_nonblocking(true)?;
    SockRef::from(&socket).set_recv_buffer_size(BUFFER)?;
    Ok(socket)
}
