//! Hostile peers of a relay on this machine: each attack is one future, and runs in a thread that may be bound to one
//! processor, so that attacker and relay do not share it.
//!
//! All of 127.0.0.0/8 is this machine, so 256 of its addresses stand for as many hosts. By IPv6 they are 256 networks of 64
//! bits, with addresses that have to be added to the machine first ([`ipv6_addresses`]). An attacker that forges the very
//! address and port of an honest peer cannot be made of plain sockets: the property tests of `relay-core` have it.

mod bombs;
mod datagrams;
mod floods;
mod handshakes;
mod host;
mod http;
mod lines;
mod names;
mod pace;
mod quiet;

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use tokio::runtime::Builder;
use tokio::sync::Notify;

pub use self::bombs::bomb;
pub use self::host::ipv6_addresses;
pub use self::quiet::{Cameras, watch_one_frame};

/// What is attacked.
#[derive(Debug, Clone)]
pub struct Target {
    /// UDP address of the relay.
    pub relay: SocketAddr,
    /// Address of its HTTP server.
    pub http: SocketAddr,
    /// Name of the honest camera.
    pub camera: String,
}

/// What an attack has done so far.
#[derive(Debug, Default)]
pub struct Tally {
    done: AtomicU64,
    refused: AtomicU64,
}

impl Tally {
    /// Counts one act.
    pub(crate) fn act(&self) {
        self.acts(1);
    }

    /// Counts several acts.
    pub(crate) fn acts(&self, count: u64) {
        self.done.fetch_add(count, Ordering::Relaxed);
    }

    /// Counts an act that the relay refused.
    pub(crate) fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an act by its outcome.
    pub(crate) fn outcome(&self, done: bool) {
        match done {
            true => self.act(),
            false => self.refuse(),
        }
    }

    /// Returns the number of acts.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }
}

/// An attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attack {
    /// Datagrams of many lengths that are nothing.
    Garbage,
    /// Hellos, probes and the tutorial's `Request`.
    Requests,
    /// QUIC's first packets, and whole handshakes.
    Handshakes,
    /// QUIC and HTTP connections that do nothing.
    Idle,
    /// The smallest frames, by QUIC.
    TinyFrames,
    /// Lines and frames without an end.
    Endless,
    /// Clock exchanges.
    Pings,
    /// Requests for metrics on 64 connections.
    Metrics64,
    /// Requests for metrics on 500 connections.
    Metrics500,
    /// Pictures that decoders work longest on.
    Bombs,
    /// The honest camera's name, and many others.
    Names,
    /// All that draws a line of the log.
    Log,
}

impl Attack {
    /// All attacks.
    pub const ALL: [Self; 12] = [
        Self::Garbage,
        Self::Requests,
        Self::Handshakes,
        Self::Idle,
        Self::TinyFrames,
        Self::Endless,
        Self::Pings,
        Self::Metrics64,
        Self::Metrics500,
        Self::Bombs,
        Self::Names,
        Self::Log,
    ];

    /// Returns the name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Garbage => "garbage",
            Self::Requests => "requests",
            Self::Handshakes => "handshakes",
            Self::Idle => "idle",
            Self::TinyFrames => "tiny-frames",
            Self::Endless => "endless",
            Self::Pings => "pings",
            Self::Metrics64 => "metrics-64",
            Self::Metrics500 => "metrics-500",
            Self::Bombs => "bombs",
            Self::Names => "names",
            Self::Log => "log",
        }
    }

    /// Returns what the attack does, with the bound that it sets to itself.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Garbage => "datagrams of 0 to 9000 bytes from 256 addresses, 20 000 a second",
            Self::Requests => "hello, probe, Request from 256 addresses x 4 ports, 9000 a second",
            Self::Handshakes => {
                "first packets of QUIC, 2000 a second, and whole handshakes, 200 a second, from 256 addresses"
            }
            Self::Idle => "256 addresses x 5 viewers of no camera by QUIC, and x 4 by HTTP",
            Self::TinyFrames => {
                "frames of 82 bytes, 8 cameras of 4 addresses, as fast as streams open"
            }
            Self::Endless => {
                "24 connections x 128 streams without an end, half lines and half frames, as fast as they are read"
            }
            Self::Pings => "clock exchanges of 8 connections, as fast as they are answered",
            Self::Metrics64 => "GET /metrics on 64 connections, as fast as it is answered",
            Self::Metrics500 => "GET /metrics on 500 connections, as fast as it is answered",
            Self::Bombs => "the costliest picture that the relay takes, 4 watched cameras x 25 fps",
            Self::Names => {
                "the camera's name and 200 others by UDP, 1000 frames a second, and by QUIC, 60 hellos a second"
            }
            Self::Log => {
                "joins, refusals and nonsense by QUIC, 60 a second, HTTP, 100, and new names by UDP, 500"
            }
        }
    }

    /// Returns what the tally counts.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Garbage | Self::Requests => "datagrams",
            Self::Handshakes => "handshakes",
            Self::Idle => "connections",
            Self::TinyFrames | Self::Bombs => "frames",
            Self::Endless => "streams",
            Self::Pings => "pings",
            Self::Metrics64 | Self::Metrics500 => "answers",
            Self::Names | Self::Log => "acts",
        }
    }

    /// Attacks until it is dropped.
    async fn run(self, target: Target, tally: Arc<Tally>) {
        match self {
            Self::Garbage => datagrams::garbage(&target, &tally).await,
            Self::Requests => datagrams::requests(&target, &tally).await,
            Self::Handshakes => handshakes::storm(target, tally).await,
            Self::Idle => handshakes::idle(&target, &tally),
            Self::TinyFrames => floods::tiny_frames(&target, &tally),
            Self::Endless => lines::endless(&target, &tally),
            Self::Pings => lines::pings(&target, &tally),
            Self::Metrics64 => http::metrics(&target, &tally, 64),
            Self::Metrics500 => http::metrics(&target, &tally, 500),
            Self::Bombs => bombs::storm(&target, &tally),
            Self::Names => names::squat(target, tally).await,
            Self::Log => names::fill_log(target, tally).await,
        }
        pending().await
    }

    /// Starts the attack in a thread, on one processor if `core` names it.
    pub fn start(self, target: &Target, core: Option<usize>) -> Attacker {
        let (stop, tally) = (Arc::<Notify>::default(), Arc::<Tally>::default());
        let (stopped, counted, target) = (stop.clone(), tally.clone(), target.clone());
        let thread = thread::spawn(move || {
            if let Some(core) = core {
                bind_to(core);
            }
            let runtime = Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("the system has descriptors left");
            runtime.block_on(async {
                tokio::select! {
                    () = stopped.notified() => {}
                    () = self.run(target, counted) => {}
                }
            });
            runtime.shutdown_background();
        });
        Attacker {
            stop,
            tally,
            thread: Some(thread),
            since: Instant::now(),
        }
    }
}

/// Binds this thread, and what it starts, to one processor. A machine that does not permit it attacks with all.
fn bind_to(core: usize) {
    let mut cores = CpuSet::new();
    if cores.set(core).is_ok() {
        let _ = sched_setaffinity(Pid::from_raw(0), &cores);
    }
}

/// A running attack. Dropped, it ends.
#[derive(Debug)]
pub struct Attacker {
    stop: Arc<Notify>,
    tally: Arc<Tally>,
    thread: Option<JoinHandle<()>>,
    since: Instant,
}

/// What an attack has achieved.
#[derive(Debug, Clone, Copy)]
pub struct Achieved {
    /// Acts that the relay took, or that were sent without an answer.
    pub done: u64,
    /// Acts that it refused.
    pub refused: u64,
    /// Duration.
    pub took: Duration,
}

impl Attacker {
    /// Returns what it has done so far.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Ends the attack.
    pub fn stop(self) -> Achieved {
        Achieved {
            done: self.tally.done(),
            refused: self.tally.refused.load(Ordering::Relaxed),
            took: self.since.elapsed(),
        }
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        self.stop.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
