//! Sightline's relay: frames in, frames and boxes out, now.
//!
//! ```text
//!  transport/        relay_loop               relay_core            threads/
//!    udp  --+                                  (PURE)                 model       JPEG -> detections
//!    quic --+--> Event --> moves bytes <--> decides --> Action -->    tracking    JPEG, detections -> boxes
//!    http --+                  |                                      annotation  JPEG, boxes -> JPEG
//!     ^  ^                     |
//!     |  +---- udp viewers <---+--> events/ (a thread) --> outputs/: jsonl
//!     +--- fanout: each camera's newest frame <---+
//! ```
//!
//! A transport or an output asks the loop through [`handle::RelayHandle`]; what comes back are [`event::Event`]s by kind.
//! [`access`] lets peers in; at a private relay by [`tickets`], which [`ticket_command`] changes beside it.

pub mod access;
mod announce;
pub mod args;
pub mod camera_tables;
mod configure;
mod descriptors;
pub mod doctor;
pub mod egress;
pub mod event;
pub mod events;
pub mod fanout;
pub mod handle;
pub mod input;
pub mod lease_store;
pub mod live_settings;
pub mod metrics;
pub mod outputs;
pub mod relay_loop;
pub mod reload;
pub mod rendition;
pub mod rendition_source;
pub mod rendition_turns;
pub mod shared_renditions;
mod summary;
pub mod threads;
pub mod ticket_command;
pub mod tickets;
pub mod transport;

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use imaging::jpeg;
use platform::egress::EgressStats;
use platform::service::ServiceManager;
use platform::{directories, report, signals};
use quic::client::DONE;
use quic::endpoint::{self, PacketFilter};
use quic::identity::Identity;
use quinn::Endpoint;
use relay_core::limits::{DATAGRAM_QUEUE, EVENT_QUEUE};
use relay_core::{CameraFrame, CookieSecret, Relay, RelaySettings};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use vision::detect::{Model, runtime};

use crate::access::Access;
use crate::args::{Args, ModelChoice};
use crate::egress::EgressByTransport;
use crate::event::Event;
use crate::events::EventHub;
use crate::fanout::Fanout;
use crate::handle::RelayHandle;
use crate::input::SharedInput;
use crate::lease_store::LeaseFile;
use crate::live_settings::LiveSettings;
use crate::outputs::events::EventOutputs;
use crate::outputs::{Outputs, jsonl};
use crate::relay_loop::{LoopStats, RelayLoop};
use crate::shared_renditions::SharedRenditions;
use crate::threads::model::ModelInfo;
use crate::threads::{Worker, annotation, model, tracking};
use crate::transport::http::{self, HttpServer, Trust};
use crate::transport::port::SharedUdpSocket;
use crate::transport::quic::QuicTransport;
use crate::transport::udp::UdpTransport;

/// How long a stop waits for the inference under way and for detections to reach their file.
const THREADS_TIMEOUT: Duration = Duration::from_millis(1200);
/// How long a stop waits for peers to learn of it.
const GOODBYE_TIMEOUT: Duration = Duration::from_millis(200);

/// Starts the program anew with ONNX Runtime's telemetry off, if it has a model. To be called before the log begins.
///
/// # Errors
/// If that fails.
pub fn silence_telemetry(args: &Args) -> io::Result<()> {
    match args.model {
        Some(ModelChoice::None) => Ok(()),
        _ => runtime::silence_telemetry(),
    }
}

/// Runs the relay until it is told to stop.
///
/// # Errors
/// If it cannot start; the message names the cause and the cure.
pub fn run(args: &Args) -> anyhow::Result<()> {
    // One thread: forwarding a frame is a few system calls, and the model has threads of its own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    runtime.block_on(serve(args))
}

async fn serve(args: &Args) -> anyhow::Result<()> {
    let stop = signals::stop_on_signals(signals::Hangup::Reloads)?;
    let service = ServiceManager::from_environment();
    jpeg::single_threaded()?;
    descriptors::raise_limit();
    let (events_tx, events) = mpsc::channel(EVENT_QUEUE);
    let (datagrams_tx, datagrams) = mpsc::channel(DATAGRAM_QUEUE);
    let handle = RelayHandle::new(events_tx.clone());
    let state = directories::state(args.state.as_deref());
    let (access, made) = Access::open(state.as_deref(), args.private, args.rotate)?;
    let access = Arc::new(access);
    let filter = PacketFilter::new(&access.identity);
    let port = Arc::new(SharedUdpSocket::open(
        args.listen,
        filter,
        datagrams_tx.clone(),
    )?);
    let input = SharedInput::new(access.is_private());
    let renditions = Arc::new(SharedRenditions::of_viewers());
    let http = http::bind(args.http)?;
    let trust = Trust {
        origins: &args.http_origin,
        proxies: &args.http_trust_proxy,
    };
    let hub = Arc::<EventHub>::default();
    let start = |port| {
        http::start(
            port,
            access.clone(),
            trust,
            renditions.clone(),
            handle.clone(),
            hub.clone(),
        )
    };
    let http = http.map(start).transpose()?;
    let event_outputs = EventOutputs::open(args.events.as_deref())?;
    let jsonl = args.detections.as_deref().map(jsonl::open).transpose()?;
    let classes = Arc::new(OnceLock::new());
    let settings = reload::watch(args, classes.clone(), service.clone())?;
    let chosen = configure::model(args)?;
    service.set_status(&format!(
        "loads the model {}",
        configure::name(chosen.as_ref())
    ));
    let loading = load(args, chosen.clone(), settings.clone(), events_tx.clone());
    let loading = service.extend_start(announce::if_slow(loading, chosen.as_ref()));
    let (model, info) = tokio::select! {
        loaded = loading => loaded?.unzip(),
        () = stop.cancelled() => {
            service.stopping();
            return Ok(());
        }
    };
    let batch = info.as_ref().map_or(1, |info| info.batch);
    if let Some(info) = info {
        // This is the only place that sets them.
        let _ = classes.set(info.classes);
    }
    let rules = configure::rules(args, chosen.as_ref(), batch);
    let leases = lease_store::file(state.as_deref(), args.listen.port());
    let endpoint =
        endpoint::server(port.clone(), &access.identity).context("opening the QUIC transport")?;
    let quic = QuicTransport::new(
        access.clone(),
        input.clone(),
        renditions.clone(),
        events_tx.clone(),
        handle.clone(),
        port.hosts(),
    );
    let mut relay_loop = RelayLoop {
        relay: relay(args, &access.identity, rules, leases.as_ref())?,
        tracking: tracking::start(settings.clone(), events_tx.clone())?,
        annotation: annotation::start(events_tx)?,
        udp: UdpTransport::new(port.clone(), datagrams_tx),
        senders: HashMap::new(),
        fanout: Fanout::default(),
        egress: EgressByTransport {
            udp: Arc::<EgressStats>::default(),
            quic: quic.stats.clone(),
            http: http.as_ref().map(|http| http.stats.clone()),
        },
        model,
        model_died: false,
        outputs: Outputs { jsonl, lost: 0 },
        events: events::start(settings.clone(), hub, event_outputs)?,
        settings,
        leases: leases.map(lease_store::writer).transpose()?,
        stats: LoopStats::new(configure::name(chosen.as_ref())),
        service: service.clone(),
    };
    // Before the log says that it listens: a query from then on is answered when the loop runs.
    handle.set_ready();
    let local = http.as_ref().map(|http| http.local);
    announce::listening(args, &port, local, &configure::name(chosen.as_ref()));
    announce::advice(args, &port, chosen.as_ref());
    announce::tickets(args, &access, &made, port.local(), local);
    drop(made);
    tokio::spawn(access::watch(access.clone()));
    service.ready("listens; no camera yet");
    tokio::spawn(Arc::new(quic).serve(endpoint.clone()));
    // As a task like the transports': what runs outside of all tasks is woken by a system call each time.
    let running = tokio::spawn(async move {
        relay_loop.run(events, datagrams, stop).await;
        relay_loop
    });
    let relay_loop = running.await.context("the loop panicked")?;
    service.stopping();
    close_transports(&endpoint, http).await;
    access.close();
    let report = relay_loop.close(THREADS_TIMEOUT);
    if args.common.report {
        report::print(&report);
    }
    Ok(())
}

/// Starts the thread of the chosen model, if one is.
async fn load(
    args: &Args,
    chosen: Option<Model>,
    settings: watch::Receiver<LiveSettings>,
    events: mpsc::Sender<Event>,
) -> anyhow::Result<Option<(Worker<Vec<CameraFrame>>, ModelInfo)>> {
    let Some(chosen) = chosen else {
        return Ok(None);
    };
    let started = model::start(configure::loader(args, chosen), settings, events).await?;
    Ok(Some(started))
}

/// Returns the relay's decisions, with the leases of before the restart; it knows the senders of before by the identity.
fn relay(
    args: &Args,
    identity: &Identity,
    rules: RelaySettings,
    leases: Option<&LeaseFile>,
) -> anyhow::Result<Relay> {
    let mut random = [0; 32];
    getrandom::fill(&mut random).context("no random numbers from the system")?;
    let mut relay = Relay::new(
        rules,
        CookieSecret::new(random, identity.cookie_secret()),
        Instant::now(),
    );
    if let Some(file) = leases {
        let viewers = lease_store::load(file, args.udp_viewers.into(), SystemTime::now());
        relay.restore_leases(viewers, Instant::now());
    }
    Ok(relay)
}

/// Peers that learn of the stop try another way at once and do not wait for a timeout.
async fn close_transports(endpoint: &Endpoint, http: Option<HttpServer>) {
    endpoint.close(DONE, b"the relay stops");
    let _ = timeout(GOODBYE_TIMEOUT, endpoint.wait_idle()).await;
    if let Some(http) = http {
        http.close(Instant::now() + GOODBYE_TIMEOUT);
    }
}
