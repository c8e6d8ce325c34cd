//! The web door's port: who gets a place, and how long a connection may take over nothing.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

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

use super::{Door, routes};
use crate::door::guard::Guard;

/// Connections in all: below the 1024 descriptors that a process often may have, which the other doors need too.
const IN_ALL: usize = 512;
/// Connections from one host: browsers open up to six each.
const FROM_ONE: usize = 64;
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

/// A connection's place, given back when it is dropped: by the connection, and by the WebSocket that it may become.
#[derive(Debug)]
pub(super) struct Place {
    door: Arc<Door>,
    /// Where the connection comes from.
    pub(super) from: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.door.places.leave(self.from);
    }
}

/// Who is inside, and who guesses tokens. Whoever comes from this machine may be a tunnel or a proxy with everybody
/// behind it, and so is not counted as one host.
#[derive(Debug)]
pub(super) struct Places(Mutex<Guard>);

impl Default for Places {
    fn default() -> Self {
        Self(Mutex::new(Guard::new(IN_ALL, FROM_ONE)))
    }
}

impl Places {
    /// Who is barred comes in too, and is told why.
    fn enter(&self, from: IpAddr) -> bool {
        match from.to_canonical().is_loopback() {
            true => self.guard().enter_uncounted(),
            false => self.guard().enter(from),
        }
    }

    fn leave(&self, from: IpAddr) {
        self.guard().leave(from);
    }

    /// Somebody there had a wrong token.
    pub(super) fn guessed(&self, from: IpAddr) {
        if !from.to_canonical().is_loopback() {
            self.guard().guessed(from, Instant::now());
        }
    }

    /// Whether nobody there is listened to for now.
    pub(super) fn is_barred(&self, from: IpAddr) -> bool {
        self.guard().is_barred(from, Instant::now())
    }

    fn guard(&self) -> MutexGuard<'_, Guard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

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
                let (door, from) = (door.clone(), from.ip());
                tokio::spawn(attend(Place { door, from }, router.clone(), stream));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_host_has_so_many_places_and_a_tunnel_on_this_machine_all_of_them() {
        let places = Places::default();
        let enter = |from: &str| {
            let from = from.parse().unwrap();
            (0..1000).take_while(|_| places.enter(from)).count()
        };
        assert_eq!(enter("192.0.2.1"), FROM_ONE);
        assert_eq!(enter("::ffff:192.0.2.1"), 0, "the same host");
        places.leave("192.0.2.1".parse().unwrap());
        assert_eq!(enter("192.0.2.1"), 1);
        assert_eq!(enter("::ffff:127.0.0.1"), IN_ALL - FROM_ONE);
        places.leave("127.0.0.1".parse().unwrap());
        assert_eq!(enter("127.0.0.1"), 1);
    }

    #[test]
    fn who_guesses_tokens_is_barred_but_not_all_who_come_by_a_tunnel() {
        let places = Places::default();
        let guess = |from: &str| {
            let from = from.parse().unwrap();
            (0..10).for_each(|_| places.guessed(from));
            places.is_barred(from)
        };
        assert!(guess("192.0.2.1"));
        assert!(!guess("127.0.0.1") && !guess("::1"));
    }
}
