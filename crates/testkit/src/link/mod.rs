//! A bad network between real programs: a link emulator in user space, with loss, delay, a bottleneck and rebinding.
//!
//! ```text
//!  client A --+                    up: cut? queue, loss, delay             +--> socket A' --+
//!             +--> 127.0.0.1:port ======================================= +                +--> target
//!  client B --+                   down: the same, with its own settings    +--> socket B' --+
//! ```
//!
//! Each client has a socket of its own towards the target, as behind a NAT; all share one queue a direction, as behind one
//! router. In user space, since many kernels have no `netem`, and a test may not need root.
//!
//! **A large datagram is many packets.** IP cuts what is above 1472 bytes of payload into fragments of 1480, each of which
//! takes its share of the rate and may be lost alone; then the datagram is. What the link does not do is what Linux does
//! with the rest: it keeps the fragments of each incomplete datagram for 30 s in a pool of 4 MB, and while that is full,
//! no fragmented datagram arrives at all. On a real path large UDP frames therefore fare far worse than here.
//!
//! **The same seed decides the same** for the same packets in the same order. A test that fails prints the seed; what
//! depends on time (the queue) is as repeatable as the programs are.
//!
//! ```no_run
//! # use std::time::Duration;
//! # use testkit::link::{Conditions, Link, Loss, Impairments};
//! # let relay = std::net::SocketAddr::from(([127, 0, 0, 1], 8081));
//! let bad = Impairments {
//!     loss: Loss::Bursts { share: 0.05, length: 5.0 },
//!     delay: Duration::from_millis(25),
//!     ..Impairments::default()
//! };
//! let link = Link::start(relay, Conditions::both(bad), 7);
//! // .. pi-sender --server {link.address()} ..
//! link.rebind();
//! assert!(link.counters().up.delivered.datagrams > 0);
//! ```

mod emulator;
mod impairments;
mod shaper;
#[cfg(test)]
mod tests;

use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use emulator::{Command, Emulator};
pub use impairments::{Bottleneck, Counts, Impairments, Loss, Volume, ip_bytes};

/// A link that runs until it is dropped.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    seed: u64,
    control: Option<Control>,
    thread: Option<JoinHandle<()>>,
}

/// The impairments of both directions.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Conditions {
    /// From the clients to the target.
    pub up: Impairments,
    /// From the target to the clients.
    pub down: Impairments,
}

/// Counts of a link so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// From the clients to the target.
    pub up: Counts,
    /// From the target to the clients.
    pub down: Counts,
}

impl Conditions {
    /// Returns the same impairments for both directions.
    pub fn both(impairments: Impairments) -> Self {
        Self {
            up: impairments,
            down: impairments,
        }
    }
}

impl Link {
    /// Starts a link on any port of 127.0.0.1 to `target`, which is on this machine too.
    ///
    /// # Panics
    /// If the system has no socket or thread left, or the conditions make no sense.
    pub fn start(target: SocketAddr, conditions: Conditions, seed: u64) -> Self {
        let emulator = Emulator::new(target, conditions, seed);
        let address = emulator.address();
        let (commands, received) = mpsc::channel();
        let (wakeup, woken) = UnixStream::pair().expect("the system has sockets left");
        woken
            .set_nonblocking(true)
            .expect("a socket can be non-blocking");
        let thread = thread::Builder::new()
            .name("link".to_owned())
            .spawn(move || emulator.run(&received, &woken))
            .expect("the system has threads left");
        Self {
            address,
            seed,
            control: Some(Control { commands, wakeup }),
            thread: Some(thread),
        }
    }

    /// Returns the address at which clients reach the target.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the conditions from now on; datagrams on their way keep theirs.
    ///
    /// # Panics
    /// If they make no sense.
    pub fn set(&self, conditions: Conditions) {
        conditions.up.check();
        conditions.down.check();
        self.run(move |emulator| emulator.set(conditions));
    }

    /// Cuts the link, or restores it: a cut link drops every datagram, also those on their way.
    pub fn cut(&self, cut: bool) {
        self.run(move |emulator| emulator.cut(cut));
    }

    /// Gives every client a new port towards the target, as a router that forgot its mappings does. Datagrams for an
    /// old port are dropped without an error.
    pub fn rebind(&self) {
        self.run(Emulator::rebind);
    }

    /// Returns the counts so far.
    pub fn counters(&self) -> Counters {
        self.run(|emulator| emulator.counters())
    }

    /// Runs a command on the thread, and waits for its result.
    fn run<T: Send + 'static>(
        &self,
        command: impl FnOnce(&mut Emulator) -> T + Send + 'static,
    ) -> T {
        let (result, results) = mpsc::channel();
        let command: Command = Box::new(move |emulator| drop(result.send(command(emulator))));
        let control = self.control.as_ref().expect("only a drop takes it");
        control
            .commands
            .send(command)
            .expect("the thread runs as long as its handle");
        // A socket that is full wakes the thread anyway.
        let _ = (&control.wakeup).write(&[1]);
        results
            .recv()
            .expect("the thread runs as long as its handle")
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the link's seed: {}", self.seed);
        }
        self.control = None;
        // Its own panic has been printed.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// The channel to the thread, which ends when this is dropped.
#[derive(Debug)]
struct Control {
    commands: mpsc::Sender<Command>,
    /// Wakes the thread from its sleep on sockets.
    wakeup: UnixStream,
}
