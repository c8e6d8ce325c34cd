//! The HTTP server's port: where it is, how long a connection may be idle, and what may wait on it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tracing::{debug, warn};

use super::connections::Connection;
use super::{Context, routes};

/// For a request's head, also for the next one on a connection that is kept.
const HEAD: Duration = Duration::from_secs(10);
/// What a request's head may take, and what may wait in the server for a slow reader before the frames behind it are skipped.
const BUFFER: usize = 16 << 10;
/// What may wait in the kernel to be sent for the first time: less than a frame, so that a slow reader's next frame is
/// the newest of its moment. What is under way on the path is not limited by it.
const UNSENT: u32 = 16 << 10;
/// What may be under way on the path: 2 s of 1 Mbit/s.
const UNDER_WAY: usize = 256 << 10;
/// A peer that has acknowledged nothing for so long is gone; so is one that has read nothing of what waits for it.
const GONE: Duration = Duration::from_secs(30);
/// How soon it is looked after a peer to whom nothing is sent.
const IDLE: Duration = Duration::from_secs(30);
/// Between two trials to let somebody in while the process has no descriptor left.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// The address without `--http`: of this machine alone, since plain HTTP shows pictures and tokens to the whole path.
const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// `--http`: an address, or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen(pub Option<SocketAddr>);

impl FromStr for Listen {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "off" => Ok(Self(None)),
            s => s
                .parse()
                .map(|address| Self(Some(address)))
                .map_err(|_| "ADDRESS:PORT or off".to_owned()),
        }
    }
}

impl Listen {
    /// Returns the address to listen on, the default one without the flag; `None` for no server.
    pub fn address(flag: Option<Self>) -> Option<SocketAddr> {
        flag.map_or(Some(DEFAULT), |Self(address)| address)
    }
}

/// Binds the port; `None` for no server. A taken port is an error only if the flag names it.
///
/// # Errors
/// If the port that the flag names cannot be had.
pub fn bind(flag: Option<Listen>) -> anyhow::Result<Option<std::net::TcpListener>> {
    let Some(address) = Listen::address(flag) else {
        return Ok(None);
    };
    match (std::net::TcpListener::bind(address), flag) {
        (Ok(listener), _) => {
            listener.set_nonblocking(true)?;
            Ok(Some(listener))
        }
        (Err(err), None) => {
            warn!(%address, %err, "no HTTP server: its port is taken; --http ADDR names another, --http off wants none");
            Ok(None)
        }
        (Err(err), Some(_)) => Err(err).with_context(|| {
            format!(
                "opening the HTTP server at {address}; --http ADDR names another address, --http off does without"
            )
        }),
    }
}

/// Accepts connections for as long as the server runs.
pub(super) async fn serve(context: Arc<Context>, listener: std::net::TcpListener) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(err) => return warn!(%err, "the HTTP server does not start"),
    };
    let router = routes::router(context.clone());
    loop {
        match listener.accept().await {
            Ok((stream, from)) if context.connections.admit(from.ip()) => {
                let connection = Connection::new(context.clone(), from.ip());
                tokio::spawn(serve_connection(connection, router.clone(), stream));
            }
            // Closing the connection tells the client that there is no room.
            Ok((_, from)) => debug!(%from, "connection refused: too many"),
            Err(err) => {
                debug!(%err, "no connection can be accepted");
                sleep(EXHAUSTED).await;
            }
        }
    }
}

async fn serve_connection(connection: Connection, router: Router, stream: TcpStream) {
    let from = connection.from;
    if let Err(err) = prepare(&stream) {
        debug!(%from, %err, "a connection's settings");
    }
    let connection = Arc::new(connection);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(connection.clone());
        TowerToHyperService::new(router.clone()).call(request)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    if let Err(err) = served {
        debug!(%from, %err, "a connection's end");
    }
}

/// Frames are late where they wait, and a peer that is gone must not keep its place.
fn prepare(stream: &TcpStream) -> std::io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    socket.set_send_buffer_size(UNDER_WAY)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(IDLE).with_interval(IDLE / 3))?;
    #[cfg(target_os = "linux")]
    {
        socket.set_tcp_notsent_lowat(UNSENT)?;
        socket.set_tcp_user_timeout(Some(GONE))?;
    }
    Ok(())
}
