//! The HTTP server: a page, streams and metrics, for browsers and for other software that takes a URL.
//!
//! ```text
//!  TCP 8080 --> listen, connection --> request; entry, origin_policy (PURE): access --> routes --> page, login
//!                  proxies (PURE)                                      query (PURE) |   --> shared_answers: status, metrics
//!                                                                                    |
//!  the loop's fan-out --> shared_feed: one feed a camera ----------------------------+--> stream.mjpg, detections, ws
//!                                                                                    +--> picture --> shared_renditions: snapshot.jpg
//!  the loop <-- publish, publish_socket: frames of publishers; publish_answer (PURE)
//! ```
//!
//! It has a thread and a runtime of its own, so that many HTTP clients, honest or hostile, delay no frame of another
//! transport. For the same reason the loop wakes one task a camera here, for any number of clients; that task wakes theirs,
//! and status and metrics are made once for all clients that request them at the same time.
//!
//! A client costs at most one frame that waits for it, shared with the others that it waits for, and 128 kB in the kernel;
//! one that does not read what waits is dropped (`stalls`).

mod connection;
mod entry;
mod event_query;
mod events;
#[cfg(test)]
#[path = "../../../../protocol/fuzz/src/http_entry.rs"]
mod fuzz_rules;
mod listen;
mod login;
mod mjpeg;
mod origin_policy;
mod page;
mod picture;
mod proxies;
mod publish;
mod publish_answer;
mod publish_socket;
mod query;
mod request;
mod request_rate;
mod routes;
mod shared_answers;
mod shared_feed;
mod socket;
mod stalls;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use platform::egress::EgressStats;
use tokio::runtime::Builder;
use tokio_util::sync::CancellationToken;

pub use self::listen::{Listen, bind};
pub use self::origin_policy::Origin;
use self::origin_policy::OriginPolicy;
pub use self::proxies::ProxyNetwork;
use self::proxies::TrustedProxies;
use self::request_rate::RequestRate;
use self::shared_answers::SharedAnswers;
use self::shared_feed::SharedFeeds;
use super::connections::Connections;
use crate::access::Access;
use crate::events::EventHub;
use crate::handle::RelayHandle;
use crate::shared_renditions::SharedRenditions;

/// What the server's tasks share.
#[derive(Debug)]
struct Context {
    policy: OriginPolicy,
    proxies: TrustedProxies,
    connections: Arc<Connections>,
    feeds: SharedFeeds,
    answers: SharedAnswers,
    /// Of snapshots: whatever sizes are requested, viewers of streams wait for none of them.
    renditions: SharedRenditions,
    /// Of viewers whose path does not carry the originals.
    viewer_renditions: Arc<SharedRenditions>,
    rate: RequestRate,
    events: Arc<EventHub>,
    relay: RelayHandle,
}

/// What the flags say about the clients.
#[derive(Debug, Clone, Copy, Default)]
pub struct Trust<'a> {
    /// Origins whose pages may read the answers.
    pub origins: &'a [Origin],
    /// Proxies that name their clients.
    pub proxies: &'a [ProxyNetwork],
}

/// The running server.
#[derive(Debug)]
pub struct HttpServer {
    /// Its address.
    pub local: SocketAddr,
    /// Counters of the frames to all clients.
    pub stats: Arc<EgressStats>,
    stop: CancellationToken,
    thread: JoinHandle<()>,
}

/// Starts the server. The loop need not run yet: until it does, requests for pictures are answered with that reason.
///
/// # Errors
/// If the system has no thread left.
pub fn start(
    listener: TcpListener,
    access: Arc<Access>,
    trust: Trust<'_>,
    viewer_renditions: Arc<SharedRenditions>,
    relay: RelayHandle,
    events: Arc<EventHub>,
) -> anyhow::Result<HttpServer> {
    let local = listener.local_addr()?;
    let stats = Arc::<EgressStats>::default();
    let context = Arc::new(Context {
        proxies: TrustedProxies::new(trust.proxies),
        connections: Connections::http(access.is_private()),
        policy: OriginPolicy::new(access, trust.origins.to_vec()),
        feeds: SharedFeeds::new(relay.clone(), stats.clone()),
        answers: SharedAnswers::new(relay.clone()),
        renditions: SharedRenditions::of_snapshots(),
        viewer_renditions,
        rate: RequestRate::new(),
        events,
        relay,
    });
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the HTTP server's runtime")?;
    let serve = move || {
        runtime.block_on(stopped.run_until_cancelled(listen::serve(context, listener)));
    };
    let thread = thread::Builder::new().name("http".to_owned()).spawn(serve);
    Ok(HttpServer {
        local,
        stats,
        stop,
        thread: thread.context("starting the HTTP server's thread")?,
    })
}

impl HttpServer {
    /// Ends all connections and waits for the thread until `deadline`.
    pub fn close(self, deadline: Instant) {
        self.stop.cancel();
        while !self.thread.is_finished() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(2));
        }
    }
}
