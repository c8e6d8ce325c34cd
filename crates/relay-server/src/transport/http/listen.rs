//! The HTTP server's port, and the timeouts and buffers of its connections.

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

use super::connection::Connection;
use super::stalls::StallGuard;
use super::{Context, routes};

/// Longest wait for a request's head, also for the next one on a connection that stays open.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Most bytes of a request's head, and of what waits in the server for a slow reader before it skips frames.
const MAX_BUFFER: usize = 16 << 10;
/// Most bytes in the kernel that were not sent yet: less than a frame, so that a slow reader's next frame is the newest
/// when it leaves. Bytes in flight do not count.
const MAX_UNSENT: u32 = 16 << 10;
/// Bytes in flight, which the kernel doubles for its own needs: so a client costs it at most 128 kB. That is 5 Mbit/s over a
/// round trip of 100 ms.
const SEND_BUFFER: usize = 64 << 10;
/// Bytes that came and were not read yet, doubled as well: requests are small, and a body that no path reads waits here.
const RECEIVE_BUFFER: usize = 32 << 10;
/// Time after which a peer is gone that acknowledges nothing, or reads nothing of what waits for it.
const PEER_TIMEOUT: Duration = Duration::from_secs(30);
/// Time after which the kernel probes a peer to which nothing is sent.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Connections that may wait to be accepted: with the standard library's 128, a burst makes honest clients wait a second, as
/// the kernel drops what does not fit.
const BACKLOG: i32 = 1024;
/// Wait between two attempts to accept a connection, for example while the process has no descriptor left.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// The address without `--http`: of this machine alone, since plain HTTP shows pictures and tokens to every host on the path.
const DEFAULT_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

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
        flag.map_or(Some(DEFAULT_ADDRESS), |Self(address)| address)
    }
}

/// Binds the port; `None` for no server. A taken port is an error only if the flag names it.
///
/// # Errors
/// If the port that the flag names cannot be bound.
pub fn bind(flag: Option<Listen>) -> anyhow::Result<Option<std::net::TcpListener>> {
    let Some(address) = Listen::address(flag) else {
        return Ok(None);
    };
    match (std::net::TcpListener::bind(address), flag) {
        (Ok(listener), _) => {
            listener.set_nonblocking(true)?;
            SockRef::from(&listener).listen(BACKLOG)?;
            Ok(Some(listener))
        }
        (Err(err), None) => {
            warn!(%address, %err, "no HTTP server: its address cannot be bound; choose another with --http ADDR, or none with --http off");
            Ok(None)
        }
        (Err(err), Some(_)) => Err(err).with_context(|| {
            format!(
                "binding the HTTP server to {address}; choose another address with --http ADDR, or none with --http off"
            )
        }),
    }
}

/// Accepts connections for as long as the server runs.
pub(super) async fn serve(context: Arc<Context>, listener: std::net::TcpListener) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(err) => return warn!(%err, "the HTTP server cannot start"),
    };
    let router = routes::router(context.clone());
    loop {
        match listener.accept().await {
            Ok((stream, from)) => match context.connections.open(from.into()) {
                Some(slot) => {
                    let connection = Arc::new(Connection::new(slot, from));
                    tokio::spawn(serve_connection(connection, router.clone(), stream));
                }
                // The dropped stream closes the connection: an overloaded server does not send an answer.
                None => debug!(%from, "connection refused: too many"),
            },
            Err(err) => {
                debug!(%err, "no connection can be accepted");
                sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

async fn serve_connection(connection: Arc<Connection>, router: Router, stream: TcpStream) {
    let from = connection.peer;
    if let Err(err) = set_socket_options(&stream) {
        debug!(%from, %err, "a connection's socket options were not set");
    }
    let of_request = connection.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(of_request.clone());
        TowerToHyperService::new(router.clone()).call(request)
    });
    let stream = StallGuard::new(stream, PEER_TIMEOUT);
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_BUFFER)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::select! {
        served = served => {
            if let Err(err) = served {
                debug!(%from, %err, "a connection ended");
            }
        }
        () = connection.lost() => debug!(%from, "a connection was closed for another host's"),
    }
}

/// Bounds what waits on a connection, and how long a dead peer occupies it.
fn set_socket_options(stream: &TcpStream) -> std::io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(KEEPALIVE)
            .with_interval(KEEPALIVE / 3),
    )?;
    #[cfg(target_os = "linux")]
    {
        socket.set_tcp_notsent_lowat(MAX_UNSENT)?;
        socket.set_tcp_user_timeout(Some(PEER_TIMEOUT))?;
    }
    Ok(())
}
