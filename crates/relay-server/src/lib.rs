//! Sightline's relay: frames in, frames and boxes out, now.
//!
//! ```text
//!            +------- serve: one loop, moves bytes -------+        model thread: JPEG -> boxes
//!  UDP 8081  |  doors --> relay (PURE: decides) --> doors | <----> tracks thread: JPEG + earlier boxes -> its own boxes
//!            +----------------------------|---------------+        overlay thread: JPEG + boxes -> JPEG
//!                                         +--> feeds: each camera's newest frame --> a task a native viewer
//!                                                                                +-> web: TCP 8080, on a thread of its own
//! ```

pub mod access;
pub mod args;
pub mod doctor;
pub mod door;
pub mod event;
pub mod feeds;
pub mod metrics;
pub mod places;
pub mod reload;
pub mod serve;
pub mod sink;
pub mod web;
pub mod worker;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use imaging::jpeg;
use platform::{directories, report, signals, udp};
use protocol::label::StreamId;
use protocol::ticket::Host;
use quic::client::DONE;
use quic::endpoint::{self, PacketFilter};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::access::Access;
use crate::args::{Advertise, Args, ModelChoice};
use crate::door::port::Port;
use crate::door::{native, plain};
use crate::event::EVENTS;
use crate::feeds::Feeds;
use crate::serve::{Figures, Server};
use relay_core::{Relay, Rules};
use vision::detect::{Detector, Model, Settings, runtime};

/// The model that is used where none is named.
const MODEL: &str = "models/yolov5n.onnx";
/// How long a stop waits for the inference that runs and for detections to reach their file.
const PATIENCE: Duration = Duration::from_millis(1200);
/// How long a stop waits for peers to hear of it.
const LAST_WORD: Duration = Duration::from_millis(200);

/// Runs the relay until it is told to stop.
///
/// # Errors
/// Whatever keeps it from starting: its message names the cause and the cure.
pub fn run(args: &Args) -> anyhow::Result<()> {
    if args.model != Some(ModelChoice::None) {
        runtime::silence_telemetry();
    }
    // One thread: forwarding a frame is a few system calls, and the model has threads of its own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    runtime.block_on(serve(args))
}

async fn serve(args: &Args) -> anyhow::Result<()> {
    let stop = signals::stop_on_signals()?;
    jpeg::single_threaded()?;
    let (tell, events) = mpsc::channel(EVENTS);
    let state = directories::state(args.state.as_deref());
    let access = Access::open(state.as_deref(), args.private, args.rotate)?;
    let access = Arc::new(access);
    let port = Port::open(
        args.listen,
        PacketFilter::new(&access.identity),
        tell.clone(),
    )?;
    let port = Arc::new(port);
    let web = web::bind(args.http)?;
    let web = web.map(|port| web::open(port, access.clone(), &args.http_origin, tell.clone()));
    let web = web.transpose()?;
    let sink = args.detections.as_deref().map(sink::open).transpose()?;
    let settings = reload::watch(args)?;
    let chosen = model(args)?;
    let (model, batch) = match chosen.clone() {
        None => (None, 1),
        Some(model) => {
            let loading = worker::model(loader(args, model), settings.clone(), tell.clone());
            tokio::select! {
                model = loading => model.map(|(model, batch)| (Some(model), batch))?,
                () = stop.cancelled() => return Ok(()),
            }
        }
    };
    let mut relay = Relay::new(rules(args, chosen.as_ref(), batch), Instant::now());
    let places = places::file(state.as_deref(), args.listen.port());
    if let Some(file) = &places {
        relay.restore(places::load(file, SystemTime::now()), Instant::now());
    }
    let quic =
        endpoint::server(port.clone(), &access.identity).context("opening the native door")?;
    let native = Arc::new(native::Door::new(access, tell.clone()));
    let mut server = Server {
        relay,
        tracks: worker::tracks(settings, tell.clone())?,
        overlay: worker::overlay(tell.clone())?,
        plain: plain::Door::new(port, tell),
        native: native.clone(),
        feeds: Feeds::default(),
        web: web.as_ref().map(|web| web.stats.clone()),
        model,
        model_died: false,
        sink,
        places: places.map(places::keeper).transpose()?,
        figures: Figures::new(name(chosen.as_ref())),
    };
    let local = server.plain.port().local();
    // Before anybody reads that it listens: whoever asks from then on is answered when the loop runs.
    if let Some(web) = &web {
        web.ready();
    }
    let http = web
        .as_ref()
        .map_or_else(|| "off".to_owned(), |web| web.local.to_string());
    info!(addr = %local, %http, model = %name(chosen.as_ref()), every = %args.every, "listening");
    advise(args, server.plain.port());
    tickets(
        args,
        native.access(),
        local,
        web.as_ref().map(|web| web.local),
    );
    tokio::spawn(native.serve(quic.clone()));
    // As a task like the doors': what runs outside of all tasks is woken by a system call each time.
    let running = tokio::spawn(async move {
        server.run(events, stop).await;
        server
    });
    let server = running.await.context("the loop panicked")?;
    // Peers that hear it look for another way at once, and do not wait for a timeout.
    quic.close(DONE, b"the relay stops");
    let _ = timeout(LAST_WORD, quic.wait_idle()).await;
    if let Some(web) = web {
        web.close(Instant::now() + LAST_WORD);
    }
    let report = server.close(PATIENCE);
    if args.common.report {
        report::print(&report);
    }
    Ok(())
}

/// The model: the one that was named, else the default file where it is present, else the embedded one.
fn model(args: &Args) -> anyhow::Result<Option<Model>> {
    match &args.model {
        Some(ModelChoice::None) => Ok(None),
        Some(ModelChoice::Demo) => Ok(Some(Model::Demo)),
        Some(ModelChoice::File(file)) => {
            let found = runtime::model(file).with_context(|| format!("--model {}", file.display()));
            Ok(Some(Model::File(found?)))
        }
        None => Ok(Some(
            runtime::model(Path::new(MODEL)).map_or(Model::Demo, Model::File),
        )),
    }
}

fn loader(args: &Args, model: Model) -> impl FnOnce() -> anyhow::Result<Detector> + Send + 'static {
    let settings = settings(args);
    let library = args.onnxruntime.clone();
    move || Detector::load(&runtime::load(library.as_deref())?, &model, settings)
}

fn settings(args: &Args) -> Settings {
    Settings {
        conf: args.conf,
        iou: args.iou,
        classes: args.classes.clone(),
        net_size: args.net_size.0,
        threads: threads(args),
        provider: args.provider.asked(),
    }
}

/// Of one inference: all processors but the one that forwards.
fn threads(args: &Args) -> usize {
    let spare = processors().saturating_sub(1).max(1);
    args.threads.map_or(spare, usize::from)
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// How long the model rests after an answer, as a multiple of the time it worked on it: so much that all its threads take
/// no more than their share of the machine.
fn rest(args: &Args) -> f64 {
    let load = threads(args) as f64 / processors() as f64;
    (load.min(1.0) / args.model_cpu - 1.0).max(0.0)
}

fn rules(args: &Args, model: Option<&Model>, batch: usize) -> Rules {
    Rules {
        every: model.map(|_| args.every),
        batch,
        rest: rest(args),
        overlay: args.overlay,
        detections_read: args.detections.is_some(),
        model: name(model),
        demo: model == Some(&Model::Demo),
        plain_viewers: args.plain_viewers.into(),
        plain_egress: (args.plain_egress * 1e6) as u64,
        private: args.private,
        // Without random numbers two runs of this relay look like one to a viewer, and nothing worse.
        stream: StreamId(getrandom::u64().unwrap_or_default()),
    }
}

fn name(model: Option<&Model>) -> String {
    model.map_or_else(|| "none".to_owned(), ToString::to_string)
}

/// What an operator should know at the start.
fn advise(args: &Args, port: &Port) {
    if !args.private && !args.listen.ip().is_loopback() {
        warn!(
            "open to all: whoever reaches UDP port {} can watch, and send; --private lets in nobody without a ticket",
            port.local().port()
        );
    }
    if args.model == Some(ModelChoice::None) && args.detections.is_some() {
        warn!("--model none finds nothing, so nothing will be written for --detections");
    }
    if port.receive_buffer < udp::SMALL_BUFFER {
        warn!(
            granted = port.receive_buffer,
            "the kernel grants a small receive buffer, so bursts of large frames may be lost; sysctl -w net.core.rmem_max={} cures it",
            udp::RECEIVE_BUFFER
        );
    }
}

/// Two lines ready to paste.
fn tickets(args: &Args, access: &Access, local: SocketAddr, web: Option<SocketAddr>) {
    let host = match &args.advertise {
        Some(Advertise {
            host,
            port_given: true,
        }) => host.clone(),
        Some(Advertise {
            host,
            port_given: false,
        }) => host.clone().at(local.port()),
        None => own_host(local),
    };
    let Some((send, view)) = access.tickets(&host) else {
        return;
    };
    info!("private; the two tickets, to be kept like passwords:");
    info!("pi-sender --server '{send}'");
    info!("viewer --server '{view}'");
    if let Some(web) = web {
        let page = match web.ip().is_unspecified() {
            true => host.at(web.port()).to_string(),
            false => web.to_string(),
        };
        info!(
            "a browser, where it reaches the web door: 'http://{page}/?token={}'",
            view.token
        );
    }
    if args.advertise.is_none() {
        info!(
            "the host in them is this machine's own address; --advertise HOST names another, as a machine behind NAT needs"
        );
    }
}

/// Where this machine may be found: the address that was asked for, else the one from which it speaks to the world.
fn own_host(local: SocketAddr) -> Host {
    let route = || -> std::io::Result<SocketAddr> {
        let probe = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        // Documentation's address (RFC 5737): connecting a UDP socket chooses a route and sends nothing.
        probe.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        probe.local_addr()
    };
    let ip = match local.ip() {
        ip if !ip.is_unspecified() => ip,
        _ => route().map_or(Ipv4Addr::LOCALHOST.into(), |address| address.ip()),
    };
    let address = SocketAddr::new(ip, local.port()).to_string();
    address.parse().expect("an address is a host")
}
