//! The thread of a link: sleeps until something comes or is due, and does what the lanes decide.

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

use super::lane::Lane;
use super::{Conditions, Counters};

/// What waits to be read while the thread has no processor: 1 s of 30 Mbit/s. It is what Linux grants, if set to.
const BUFFER: usize = 4 << 20;
/// Datagrams taken from one socket before the others have their turn.
const TURN: usize = 256;
const LARGEST: usize = 65_536;

/// Something that the handle wants done.
pub(super) type Order = Box<dyn FnOnce(&mut Carrier) + Send>;

/// All that a link has; its thread owns it.
pub(super) struct Carrier {
    near: UdpSocket,
    target: SocketAddr,
    clients: Vec<Client>,
    /// Sockets of before a rebinding: open, so that what comes for them is not refused, and read by nobody.
    forgotten: Vec<UdpSocket>,
    up: Lane,
    down: Lane,
    /// By when they are due; among equals, first come, first served.
    waiting: BTreeMap<(Instant, u64), Letter>,
    /// Letters so far.
    letters: u64,
    buffer: Vec<u8>,
}

struct Client {
    address: SocketAddr,
    far: UdpSocket,
}

/// A datagram on its way.
struct Letter {
    way: Way,
    /// Which of the clients it is from or for.
    client: usize,
    words: Arc<[u8]>,
}

#[derive(Debug, Clone, Copy)]
enum Way {
    Up,
    Down,
}

impl Carrier {
    pub(super) fn new(target: SocketAddr, conditions: Conditions, seed: u64) -> Self {
        let (mut seeds, now) = (Rng::with_seed(seed), Instant::now());
        Self {
            near: socket().expect("127.0.0.1 has a free port"),
            target,
            clients: Vec::new(),
            forgotten: Vec::new(),
            up: Lane::new(conditions.up, seeds.fork(), now),
            down: Lane::new(conditions.down, seeds.fork(), now),
            waiting: BTreeMap::new(),
            letters: 0,
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
            self.forgotten.push(old);
        }
    }

    pub(super) fn counters(&self) -> Counters {
        Counters {
            up: self.up.counts(),
            down: self.down.counts(),
        }
    }

    /// Works until the handle is gone.
    pub(super) fn run(mut self, orders: &Receiver<Order>, bell: &UnixStream) {
        loop {
            self.deliver(Instant::now());
            self.wait(bell);
            self.take_up();
            self.take_down();
            let _ = (&mut &*bell).read(&mut [0; 64]);
            loop {
                match orders.try_recv() {
                    Ok(order) => order(&mut self),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
        }
    }

    /// Sleeps until something can be read or the next datagram is due.
    fn wait(&self, bell: &UnixStream) {
        let sockets = self.clients.iter().map(|client| client.far.as_fd());
        let mut all: Vec<PollFd> = [bell.as_fd(), self.near.as_fd()]
            .into_iter()
            .chain(sockets)
            .map(|socket| PollFd::new(socket, PollFlags::POLLIN))
            .collect();
        let due = self.waiting.first_key_value().map(|((due, _), _)| {
            TimeSpec::from_duration(due.saturating_duration_since(Instant::now()))
        });
        // Interrupted or not, the next thing is a look at everything.
        let _ = ppoll(&mut all, due, None);
    }

    fn take_up(&mut self) {
        for _ in 0..TURN {
            let Ok((length, from)) = self.near.recv_from(&mut self.buffer) else {
                return;
            };
            if let Some(client) = self.client(from) {
                self.admit(Way::Up, client, length);
            }
        }
    }

    fn take_down(&mut self) {
        for client in 0..self.clients.len() {
            for _ in 0..TURN {
                // An error is the answer to what was sent to a target that is not there.
                let Ok(length) = self.clients[client].far.recv(&mut self.buffer) else {
                    break;
                };
                self.admit(Way::Down, client, length);
            }
        }
    }

    /// The client with this address, which may be a new one; `None` where the system has no socket left for it.
    fn client(&mut self, address: SocketAddr) -> Option<usize> {
        let known = self.clients.iter().position(|c| c.address == address);
        known.or_else(|| {
            let far = towards(self.target).ok()?;
            self.clients.push(Client { address, far });
            Some(self.clients.len() - 1)
        })
    }

    /// Asks the lane about the datagram in the buffer.
    fn admit(&mut self, way: Way, client: usize, length: usize) {
        let Some(arrival) = self.lane(way).admit(length, Instant::now()) else {
            return;
        };
        let words: Arc<[u8]> = self.buffer[..length].into();
        for _ in 0..arrival.copies {
            self.letters += 1;
            let letter = Letter {
                way,
                client,
                words: Arc::clone(&words),
            };
            self.waiting.insert((arrival.at, self.letters), letter);
        }
    }

    /// Hands over what is due.
    fn deliver(&mut self, now: Instant) {
        while let Some(first) = self.waiting.first_entry()
            && first.key().0 <= now
        {
            let Letter { way, client, words } = first.remove();
            if !self.lane(way).arrives(words.len()) {
                continue;
            }
            let client = &self.clients[client];
            // Nobody there is weather.
            let _ = match way {
                Way::Up => client.far.send(&words),
                Way::Down => self.near.send_to(&words, client.address),
            };
        }
    }

    fn lane(&mut self, way: Way) -> &mut Lane {
        match way {
            Way::Up => &mut self.up,
            Way::Down => &mut self.down,
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
