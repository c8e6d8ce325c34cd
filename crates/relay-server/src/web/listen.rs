//! The web door's port: how long a connection may take over nothing, and what may wait on it.

use std::sync::Arc;
use std::time::Duration;

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

use super::places::Place;
use super::{Door, routes};

/// For a request's head, also for the next one on a connection that is kept.
const HEAD: Duration = Duration::from_secs(10);
/// What a request's head may take, and what may wait in the door for a slow reader before the frames behind it are skipped.
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

/// Lets in whoever comes.
pub(super) async fn serve(door: Arc<Door>, listener: std::net::TcpListener) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(err) => return warn!(%err, "the web door does not open"),
    };
    let router = routes::router(door.clone());
    loop {
        match listener.accept().await {
            Ok((stream, from)) if door.places.enter(from.ip()) => {
                let place = Place::new(door.clone(), from.ip());
                tokio::spawn(attend(place, router.clone(), stream));
            }
            // Closing it tells all: there is no place.
            Ok((_, from)) => debug!(%from, "no place at the web door"),
            Err(err) => {
                debug!(%err, "nobody can be let in");
                sleep(EXHAUSTED).await;
            }
        }
    }
}

async fn attend(place: Place, router: Router, stream: TcpStream) {
    let from = place.from;
    if let Err(err) = prepare(&stream) {
        debug!(%from, %err, "a connection's settings");
    }
    let place = Arc::new(place);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(place.clone());
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
