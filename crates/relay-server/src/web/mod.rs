//! The web door: a page, streams and figures over HTTP, for browsers and for whatever else takes a URL.
//!
//! ```text
//!  TCP 8080 --> listen, places --> entry, gate (PURE): who may --> routes --> page, cameras, health
//!                                                                     |
//!  the loop's feeds --> show: one look-out a camera ------------------+--> stream.mjpg, snapshot.jpg, detections, ws
//! ```
//!
//! It has a thread and a runtime of its own: a crowd at this door, wanted or not, must not hold up a frame at the others.
//! For the same reason the loop wakes one task a camera here, however many watch it; that task wakes them.

mod entry;
mod gate;
mod listen;
mod mjpeg;
mod places;
mod routes;
mod show;
mod socket;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use platform::egress::EgressStats;
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use self::gate::Gate;
pub use self::gate::Origin;
use self::places::Places;
use self::show::Shows;
use crate::access::Access;
use crate::args::Http;
use crate::event::{Event, Look};

/// Where it is without `--http`: for this machine alone, since plain HTTP shows pictures and tokens to the whole path.
const USUAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
/// For the loop to say how things stand. It forwards frames in less than a thousandth of that.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where the door is to be, if anywhere.
pub fn address(asked: Option<Http>) -> Option<SocketAddr> {
    asked.map_or(Some(USUAL), |Http(address)| address)
}

/// Takes the port; `None` where there is to be no web door. A busy port is no failure where nobody asked for it.
///
/// # Errors
/// Where the port that was asked for cannot be had.
pub fn bind(asked: Option<Http>) -> anyhow::Result<Option<TcpListener>> {
    let Some(address) = address(asked) else {
        return Ok(None);
    };
    match (TcpListener::bind(address), asked) {
        (Ok(listener), _) => {
            listener.set_nonblocking(true)?;
            Ok(Some(listener))
        }
        (Err(err), None) => {
            warn!(%address, %err, "no web door: its port is taken; --http ADDR names another, --http off wants none");
            Ok(None)
        }
        (Err(err), Some(_)) => Err(err).with_context(|| {
            format!(
                "opening the web door at {address}; --http ADDR names another address, --http off does without"
            )
        }),
    }
}

/// What its parts share.
#[derive(Debug)]
struct Door {
    gate: Gate,
    places: Places,
    shows: Shows,
    events: mpsc::Sender<Event>,
    /// Whether the model is loaded and the loop runs.
    ready: AtomicBool,
}

/// The door while it is open.
#[derive(Debug)]
pub struct Open {
    /// Where.
    pub local: SocketAddr,
    /// What became of the frames to all viewers.
    pub stats: Arc<EgressStats>,
    door: Arc<Door>,
    stop: CancellationToken,
    thread: JoinHandle<()>,
}

/// Opens the door, before the loop answers: whoever asks for pictures meanwhile is told so.
///
/// # Errors
/// Where the system has no thread left.
pub fn open(
    listener: TcpListener,
    access: Arc<Access>,
    trusted: &[Origin],
    events: mpsc::Sender<Event>,
) -> anyhow::Result<Open> {
    let local = listener.local_addr()?;
    let stats = Arc::<EgressStats>::default();
    let door = Arc::new(Door {
        gate: Gate::new(access, trusted.to_vec()),
        places: Places::default(),
        shows: Shows::new(events.clone(), stats.clone()),
        events,
        ready: AtomicBool::new(false),
    });
    let stop = CancellationToken::new();
    let (theirs, until) = (door.clone(), stop.clone());
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the web door's runtime")?;
    let serve = move || {
        runtime.block_on(until.run_until_cancelled(listen::serve(theirs, listener)));
    };
    let thread = thread::Builder::new().name("web".to_owned()).spawn(serve);
    Ok(Open {
        local,
        stats,
        door,
        stop,
        thread: thread.context("starting the web door's thread")?,
    })
}

impl Open {
    /// The loop answers from now on.
    pub fn ready(&self) {
        self.door.ready.store(true, Ordering::Release);
    }

    /// Ends all connections.
    pub fn close(self, deadline: Instant) {
        self.stop.cancel();
        while !self.thread.is_finished() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Why nobody can say how things stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unknown {
    /// The model is being loaded.
    Loading,
    /// The loop does not answer.
    Stuck,
}

impl Door {
    /// How things stand.
    async fn look(&self) -> Result<Look, Unknown> {
        self.ask(Event::Look).await
    }

    /// What the loop answers to a question.
    async fn ask<T>(&self, question: fn(oneshot::Sender<T>) -> Event) -> Result<T, Unknown> {
        if !self.ready.load(Ordering::Acquire) {
            return Err(Unknown::Loading);
        }
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.events.send(question(reply)).await.ok()?;
            answer.await.ok()
        };
        timeout(PATIENCE, asked)
            .await
            .ok()
            .flatten()
            .ok_or(Unknown::Stuck)
    }
}
