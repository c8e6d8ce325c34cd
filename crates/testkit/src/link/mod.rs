//! A bad network between real programs: a link in user space that loses, delays, squeezes and rebinds as it is told.
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
//! no fragmented datagram arrives at all. On a real path large plain frames therefore fare far worse than here.
//!
//! **The same seed gives the same fates** to the same packets in the same order. A test that fails prints the seed; what
//! depends on time (the queue) is as repeatable as the programs are.
//!
//! ```no_run
//! # use std::time::Duration;
//! # use testkit::link::{Conditions, Link, Loss, Path};
//! # let relay = std::net::SocketAddr::from(([127, 0, 0, 1], 8081));
//! let bad = Path {
//!     loss: Loss::Bursts { share: 0.05, length: 5.0 },
//!     delay: Duration::from_millis(25),
//!     ..Path::default()
//! };
//! let link = Link::start(relay, Conditions::both(bad), 7);
//! // .. pi-sender --server {link.address()} ..
//! link.rebind();
//! assert!(link.counters().up.delivered.datagrams > 0);
//! ```

mod carrier;
mod lane;
mod path;
#[cfg(test)]
mod tests;

use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use carrier::{Carrier, Order};
pub use path::{Bottleneck, Counts, Loss, Path, Volume, ip_bytes};

/// A link that runs until it is dropped.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    seed: u64,
    control: Option<Control>,
    thread: Option<JoinHandle<()>>,
}

/// Both directions.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Conditions {
    /// From the clients to the target.
    pub up: Path,
    /// From the target to the clients.
    pub down: Path,
}

/// What went over a link so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// From the clients to the target.
    pub up: Counts,
    /// From the target to the clients.
    pub down: Counts,
}

impl Conditions {
    /// The same in both directions.
    pub fn both(path: Path) -> Self {
        Self {
            up: path,
            down: path,
        }
    }
}

impl Link {
    /// A link on any port of 127.0.0.1 to `target`, which is on this machine too.
    ///
    /// # Panics
    /// Where the system has no socket or thread left, or the conditions make no sense.
    pub fn start(target: SocketAddr, conditions: Conditions, seed: u64) -> Self {
        let carrier = Carrier::new(target, conditions, seed);
        let address = carrier.address();
        let (orders, taken) = mpsc::channel();
        let (bell, rung) = UnixStream::pair().expect("the system has sockets left");
        rung.set_nonblocking(true)
            .expect("a socket can be non-blocking");
        let thread = thread::Builder::new()
            .name("link".to_owned())
            .spawn(move || carrier.run(&taken, &rung))
            .expect("the system has threads left");
        Self {
            address,
            seed,
            control: Some(Control { orders, bell }),
            thread: Some(thread),
        }
    }

    /// Where clients find the target now.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Other conditions from now on; what is on its way keeps its own.
    ///
    /// # Panics
    /// Where they make no sense.
    pub fn set(&self, conditions: Conditions) {
        conditions.up.check();
        conditions.down.check();
        self.ask(move |carrier| carrier.set(conditions));
    }

    /// Pulls the plug, or puts it in again: a cut link drops everything, also what is on its way.
    pub fn cut(&self, cut: bool) {
        self.ask(move |carrier| carrier.cut(cut));
    }

    /// Gives every client a new port towards the target, as a router that forgot its mappings does. What comes for an old
    /// one is dropped without a word.
    pub fn rebind(&self) {
        self.ask(Carrier::rebind);
    }

    /// What went over it so far.
    pub fn counters(&self) -> Counters {
        self.ask(|carrier| carrier.counters())
    }

    /// Has the thread do something, and waits until it is done.
    fn ask<T: Send + 'static>(&self, order: impl FnOnce(&mut Carrier) -> T + Send + 'static) -> T {
        let (answer, answered) = mpsc::channel();
        let order: Order = Box::new(move |carrier| drop(answer.send(order(carrier))));
        let control = self.control.as_ref().expect("only a drop takes it");
        control
            .orders
            .send(order)
            .expect("the thread runs as long as its handle");
        // A bell that is full has been rung.
        let _ = (&control.bell).write(&[1]);
        answered
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

/// The way to the thread; dropped, the thread ends.
#[derive(Debug)]
struct Control {
    orders: mpsc::Sender<Order>,
    bell: UnixStream,
}
