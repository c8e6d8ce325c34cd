//! The native door: lets peers in, one task a connection. What may be is decided elsewhere: who comes in by [`Access`] and
//! `Guard`, whose frames are a camera's by the relay.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use platform::egress::EgressStats;
use protocol::label::{CameraName, StreamId};
use protocol::quic::{self as words, Answer, Hello, Refusal, Role};
use quic::endpoint::widen_windows;
use quic::frames::CONTROL_PRIORITY;
use quic::lines::Lines;
use quinn::{Endpoint, Incoming, VarInt};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::{debug, info, warn};

use super::session::{Sender, Viewer, Visit};
use crate::access::Access;
use crate::event::{Event, Knock};
use relay_core::ScreenId;
use relay_core::connection_limits::Guard;

/// For the handshake, and for the hello behind it.
const PATIENCE: Duration = Duration::from_secs(5);
/// Why the connection of somebody ends who was not let in; the refusal itself is the reason's text.
const REFUSED: VarInt = VarInt::from_u32(2);
/// For the line that says so to arrive, before the connection's end overtakes it.
const LAST_WORD: Duration = Duration::from_millis(500);

/// What all connections share.
#[derive(Debug)]
pub struct Door {
    access: Arc<Access>,
    guard: Mutex<Guard>,
    events: mpsc::Sender<Event>,
    screens: AtomicU64,
    /// What became of the frames to all viewers.
    pub stats: EgressStats,
}

impl Door {
    /// A door with nobody in it.
    pub fn new(access: Arc<Access>, events: mpsc::Sender<Event>) -> Self {
        Self {
            access,
            guard: Mutex::default(),
            events,
            screens: AtomicU64::new(0),
            stats: EgressStats::default(),
        }
    }

    /// Who is let in.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// Lets peers in for as long as the endpoint is open.
    pub async fn serve(self: Arc<Self>, endpoint: Endpoint) {
        while let Some(incoming) = endpoint.accept().await {
            let from = incoming.remote_address();
            if !incoming.remote_address_validated() {
                // An address that somebody else may have written gets one small packet, and has to answer it.
                let _ = incoming.retry();
            } else if self.guard().enter(from.ip(), Instant::now()) {
                tokio::spawn(Arc::clone(&self).attend(incoming, from));
            } else {
                incoming.refuse();
            }
        }
    }

    async fn attend(self: Arc<Self>, incoming: Incoming, from: SocketAddr) {
        if let Some((visit, hello)) = hear(incoming, from).await {
            let refused = match self.access.check(&hello) {
                Ok(()) => self.let_in(visit, &hello).await,
                Err(refusal) => Err((visit, refusal)),
            };
            if let Err((visit, refusal)) = refused {
                self.turn_away(visit, &hello, refusal).await;
            }
        }
        self.guard().leave(from.ip());
    }

    /// Serves a peer until it leaves, or gives it back with the reason why not.
    async fn let_in(&self, visit: Visit, hello: &Hello) -> Result<(), (Visit, Refusal)> {
        let camera = match hello.camera() {
            Ok(camera) => camera,
            Err(refusal) => return Err((visit, refusal)),
        };
        match (hello.role, camera) {
            (Role::Send, Some(camera)) => self.sender(visit, camera, hello).await,
            (Role::Send, None) => Err((visit, Refusal::Hello)),
            (Role::View, camera) => {
                self.viewer(visit, camera).await;
                Ok(())
            }
        }
    }

    async fn sender(
        &self,
        mut visit: Visit,
        camera: CameraName,
        hello: &Hello,
    ) -> Result<(), (Visit, Refusal)> {
        let stream = hello.stream.as_deref();
        let stream = stream.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        let (reply, answer) = oneshot::channel();
        let knock = Knock {
            from: visit.from,
            camera: camera.clone(),
            stream: stream.map(StreamId),
            reply,
        };
        if self.events.send(Event::Sender(knock)).await.is_err() {
            return Ok(());
        }
        let cameras = match answer.await {
            Ok(Ok(cameras)) => cameras,
            Ok(Err(refusal)) => return Err((visit, refusal)),
            Err(_) => return Ok(()),
        };
        if visit.welcome(cameras).await.is_some() {
            widen_windows(&visit.connection);
            info!(%camera, source = %visit.from, "sender joined at the native door");
            let from = visit.from;
            Sender { visit, camera }.run(&self.events).await;
            let _ = self.events.send(Event::SenderLeft(from)).await;
        }
        Ok(())
    }

    async fn viewer(&self, mut visit: Visit, camera: Option<CameraName>) {
        let screen = ScreenId(self.screens.fetch_add(1, Ordering::Relaxed));
        let (reply, seat) = oneshot::channel();
        let event = Event::Screen(screen, camera.clone(), reply);
        if self.events.send(event).await.is_err() {
            return;
        }
        if let Ok(seat) = seat.await {
            let cameras = seat.live.borrow().clone();
            if visit.welcome(cameras).await.is_some() {
                let (viewer, asked) = (visit.from, camera.map(|name| name.to_string()));
                info!(%viewer, camera = asked.as_deref().unwrap_or("any"), "viewer joined at the native door");
                self.stats.on_joined();
                Viewer { visit, seat }.run(&self.stats).await;
                self.stats.on_left();
                info!(%viewer, "viewer left");
            }
        }
        let _ = self.events.send(Event::ScreenLeft(screen)).await;
    }

    /// Says why, and closes.
    async fn turn_away(&self, mut visit: Visit, hello: &Hello, refusal: Refusal) {
        let from = visit.from;
        warn!(%from, ?hello, why = %refusal, "not let in");
        if matches!(refusal, Refusal::Token | Refusal::Role) {
            self.guard().guessed(from.ip(), Instant::now());
        }
        let answer = Answer {
            ok: false,
            refusal: Some(refusal),
            cameras: Vec::new(),
        };
        let heard = async {
            visit.say(&answer).await?;
            visit.say.finish().ok()?;
            visit.say.stopped().await.ok()
        };
        let _ = timeout(LAST_WORD, heard).await;
        visit.connection.close(REFUSED, &words::to_line(&refusal));
    }

    fn guard(&self) -> MutexGuard<'_, Guard> {
        self.guard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The handshake and the first line; whoever is slow with them is none of ours.
async fn hear(incoming: Incoming, from: SocketAddr) -> Option<(Visit, Hello)> {
    let connection = timeout(PATIENCE, incoming.accept().ok()?)
        .await
        .ok()?
        .ok()?;
    let first = async {
        let (say, hear) = connection.accept_bi().await.ok()?;
        say.set_priority(CONTROL_PRIORITY).ok()?;
        let mut lines = Lines::new(hear);
        let line = lines.next().await.ok()?;
        Some((say, lines, words::from_line(&line)?))
    };
    let Ok(Some((say, lines, hello))) = timeout(PATIENCE, first).await else {
        debug!(%from, "said no hello");
        connection.close(REFUSED, &words::to_line(&Refusal::Hello));
        return None;
    };
    let visit = Visit {
        connection,
        from,
        say,
        lines,
    };
    Some((visit, hello))
}
