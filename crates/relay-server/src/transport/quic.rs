//! The QUIC transport: accepts peers, one task a connection. Who is let in is decided elsewhere: by [`Access`], by
//! the table of connections, and by the relay for the names of cameras.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use platform::egress::EgressStats;
use protocol::label::CameraName;
use protocol::peer::{Host, Proof, Standing};
use protocol::quic::{Answer, Hello, Refusal, Role, Trial, from_line, to_line};
use protocol::text::printable;
use protocol::transport::Transport;
use quic::endpoint::widen_windows;
use quic::frames::CONTROL_PRIORITY;
use quic::lines::Lines;
use quinn::{ConnectionError, Endpoint, Incoming, VarInt};
use relay_core::Publisher;
use relay_core::handshakes::HandshakeLimit;
use relay_core::known_hosts::KnownHosts;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::{debug, info, warn};

use super::connections::{Connections, Slot};
use super::port::lock;
use super::quic_session::{Peer, SenderSession, ViewerSession};
use crate::access::{Access, Grant};
use crate::event::{Event, Ingress, PublishRequest};
use crate::handle::RelayHandle;
use crate::input::SharedInput;
use crate::shared_renditions::SharedRenditions;

/// Longest time for the handshake, and for the hello behind it.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// Error code of a connection that ends because its peer is refused; the refusal is the reason's text.
pub(super) const REFUSED: VarInt = VarInt::from_u32(2);
/// Longest time for the refusal to arrive before the connection is closed.
const REFUSAL_TIMEOUT: Duration = Duration::from_millis(500);

/// What all connections share.
#[derive(Debug)]
pub struct QuicTransport {
    access: Arc<Access>,
    connections: Arc<Connections>,
    events: mpsc::Sender<Event>,
    relay: RelayHandle,
    input: SharedInput,
    renditions: Arc<SharedRenditions>,
    hosts: Arc<Mutex<KnownHosts>>,
    /// Counters of the frames to all viewers.
    pub stats: Arc<EgressStats>,
}

/// A connection's entry in the table of hosts, until it is dropped.
struct KnownHost<'a> {
    hosts: &'a Mutex<KnownHosts>,
    host: Host,
}

impl<'a> KnownHost<'a> {
    fn new(hosts: &'a Mutex<KnownHosts>, host: Host) -> Self {
        lock(hosts).on_opened(host, Instant::now());
        Self { hosts, host }
    }
}

impl Drop for KnownHost<'_> {
    fn drop(&mut self) {
        lock(self.hosts).on_closed(self.host, Instant::now());
    }
}

impl QuicTransport {
    /// Returns the transport without a peer; `hosts` are those that the port lets packets of connections through from, and
    /// `input` and `renditions` are shared with the other transports.
    pub fn new(
        access: Arc<Access>,
        input: SharedInput,
        renditions: Arc<SharedRenditions>,
        events: mpsc::Sender<Event>,
        relay: RelayHandle,
        hosts: Arc<Mutex<KnownHosts>>,
    ) -> Self {
        Self {
            hosts,
            connections: Connections::quic(access.is_private()),
            input,
            renditions,
            access,
            events,
            relay,
            stats: Arc::default(),
        }
    }

    /// Returns who is let in.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// Accepts peers for as long as the endpoint is open.
    pub async fn serve(self: Arc<Self>, endpoint: Endpoint) {
        let mut handshakes = HandshakeLimit::new(Instant::now());
        while let Some(incoming) = endpoint.accept().await {
            let from = incoming.remote_address();
            if !incoming.remote_address_validated() {
                // An address that may be forged gets one small packet, and has to answer it.
                let _ = incoming.retry();
            } else if !handshakes.admit(from.into(), Instant::now()) {
                // Its client sends the packet again.
                incoming.ignore();
            } else if let Some(slot) = self.connections.open(from.into()) {
                tokio::spawn(Arc::clone(&self).serve_connection(incoming, from, slot));
            } else {
                incoming.refuse();
            }
        }
    }

    async fn serve_connection(self: Arc<Self>, incoming: Incoming, from: SocketAddr, slot: Slot) {
        let _known = KnownHost::new(&self.hosts, from.into());
        let hello = tokio::select! {
            hello = receive_hello(incoming, from) => hello,
            () = slot.lost() => None,
        };
        let Some((peer, hello)) = hello else { return };
        let connection = peer.connection.clone();
        // The session notices the end by itself, so that the relay learns that a sender has left.
        let close = async {
            slot.lost().await;
            connection.close(REFUSED, &to_line(&Refusal::Full));
            std::future::pending::<()>().await;
        };
        let serve = async {
            let checked = self.access.check(&hello);
            slot.settle(checked.is_ok());
            let refused = match checked {
                Ok(grant) => self.serve_granted(peer, &hello, grant, &slot).await,
                Err(refusal) => Err((peer, refusal)),
            };
            if let Err((peer, refusal)) = refused {
                self.refuse(peer, &hello, refusal).await;
            }
        };
        tokio::select! {
            () = close => {}
            () = serve => {}
        }
    }

    /// Serves a peer until it leaves or its ticket is revoked, or returns it with the reason why it is refused.
    async fn serve_granted(
        &self,
        peer: Peer,
        hello: &Hello,
        grant: Grant,
        slot: &Slot,
    ) -> Result<(), (Peer, Refusal)> {
        let (from, connection) = (peer.from, peer.connection.clone());
        let session = self.access.session(&grant, from.ip());
        let revoked = async {
            session.ended().await;
            info!(%from, role = hello.role.name(), "connection ended: its ticket was revoked");
            connection.close(REFUSED, &to_line(&Refusal::Token));
            // As above, the session notices the end by itself.
            std::future::pending::<Infallible>().await
        };
        tokio::select! {
            served = self.serve_peer(peer, hello, grant, slot) => served,
            never = revoked => match never {},
        }
    }

    /// Serves a peer until it leaves, or returns it with the reason why it is refused.
    async fn serve_peer(
        &self,
        peer: Peer,
        hello: &Hello,
        grant: Grant,
        slot: &Slot,
    ) -> Result<(), (Peer, Refusal)> {
        let camera = match hello.camera() {
            Ok(camera) => camera,
            Err(refusal) => return Err((peer, refusal)),
        };
        match (hello.role, camera) {
            (Role::Send, Some(camera)) => self.serve_sender(peer, camera, hello, slot).await,
            (Role::Send, None) => Err((peer, Refusal::Hello)),
            (Role::View, camera) => {
                let camera = camera.or_else(|| grant.camera.clone());
                self.serve_viewer(peer, camera, grant, hello.original).await;
                Ok(())
            }
        }
    }

    async fn serve_sender(
        &self,
        mut peer: Peer,
        camera: CameraName,
        hello: &Hello,
        slot: &Slot,
    ) -> Result<(), (Peer, Refusal)> {
        let publisher = Publisher {
            id: self.relay.next_sender(),
            address: peer.from,
            standing: match self.access.is_private() {
                true => Standing::Authenticated,
                false => Standing::Validated,
            },
            camera,
            stream: hello.stream(),
            transport: Transport::Quic,
        };
        if let Some(trial) = hello.trial {
            return self.serve_trial(peer, publisher, trial).await;
        }
        let publisher = Arc::new(publisher);
        let (reply, answer) = oneshot::channel();
        let (refused, refusal) = oneshot::channel();
        let request = PublishRequest {
            publisher: publisher.clone(),
            proof: hello.proof(),
            reply,
            refused,
        };
        let request = Ingress::PublishRequest(request);
        if self.events.send(request.into()).await.is_err() {
            return Ok(());
        }
        let accepted = match answer.await {
            Ok(Ok(accepted)) => accepted,
            Ok(Err(refusal)) => return Err((peer, refusal)),
            Err(_) => return Ok(()),
        };
        let (id, connection) = (publisher.id, peer.connection.clone());
        if peer
            .accept(accepted.cameras, &accepted.proof)
            .await
            .is_some()
        {
            let input = self.input.join(peer.from.into());
            let window = tokio::select! {
                window = input.open() => window,
                _ = connection.closed() => 0,
            };
            widen_windows(&peer.connection, window);
            slot.protect();
            info!(camera = %publisher.camera, source = %peer.from, "sender joined by QUIC");
            let session = SenderSession {
                peer,
                publisher,
                room: input.room(),
            };
            session.run(&self.events, refusal).await;
        }
        let closed = matches!(
            connection.close_reason(),
            Some(ConnectionError::ApplicationClosed(_))
        );
        let left = Ingress::SenderLeft(id, closed);
        let _ = self.events.send(left.into()).await;
        Ok(())
    }

    /// Answers whether a sender would be let in, and then its pings until it leaves.
    async fn serve_trial(
        &self,
        mut peer: Peer,
        publisher: Publisher,
        trial: Trial,
    ) -> Result<(), (Peer, Refusal)> {
        match self.relay.try_sender(publisher, trial).await {
            None => Ok(()),
            Some(Err(refusal)) => Err((peer, refusal)),
            Some(Ok(())) => {
                if peer.accept(Vec::new(), &Proof::default()).await.is_some() {
                    peer.answer_pings().await;
                }
                Ok(())
            }
        }
    }

    async fn serve_viewer(
        &self,
        mut peer: Peer,
        camera: Option<CameraName>,
        grant: Grant,
        originals: bool,
    ) {
        let Some(subscription) = self.relay.subscribe(camera.clone()).await else {
            return;
        };
        let cameras = grant.visible(&subscription.feed.live.borrow());
        if peer.accept(cameras, &Proof::default()).await.is_none() {
            return;
        }
        let (viewer, asked) = (peer.from, camera.map(|name| name.to_string()));
        info!(%viewer, camera = asked.as_deref().unwrap_or("any"), "viewer joined by QUIC");
        self.stats.on_joined();
        let session = ViewerSession {
            peer,
            subscription,
            grant,
            renditions: self.renditions.clone(),
            originals,
        };
        session.run(&self.stats).await;
        self.stats.on_left();
        info!(%viewer, "viewer left");
    }

    /// Sends the reason and closes the connection.
    async fn refuse(&self, mut peer: Peer, hello: &Hello, refusal: Refusal) {
        let from = peer.from;
        let camera = printable(hello.camera.as_deref().unwrap_or("any"), CameraName::MAX);
        warn!(%from, role = hello.role.name(), %camera, why = %refusal, "peer refused");
        let answer = Answer {
            ok: false,
            refusal: Some(refusal),
            cameras: Vec::new(),
            cookie: None,
        };
        let delivered = async {
            peer.send(&answer).await?;
            peer.control.finish().ok()?;
            peer.control.stopped().await.ok()
        };
        let _ = timeout(REFUSAL_TIMEOUT, delivered).await;
        peer.connection.close(REFUSED, &to_line(&refusal));
    }
}

/// Completes the handshake and receives the hello; `None` if the peer takes too long.
async fn receive_hello(incoming: Incoming, from: SocketAddr) -> Option<(Peer, Hello)> {
    let connection = timeout(HELLO_TIMEOUT, incoming.accept().ok()?)
        .await
        .ok()?
        .ok()?;
    let first = async {
        let (control, lines) = connection.accept_bi().await.ok()?;
        control.set_priority(CONTROL_PRIORITY).ok()?;
        let mut lines = Lines::new(lines);
        let line = lines.next().await.ok()?;
        Some((control, lines, from_line(&line)?))
    };
    let Ok(Some((control, lines, hello))) = timeout(HELLO_TIMEOUT, first).await else {
        debug!(%from, "sent no hello");
        connection.close(REFUSED, &to_line(&Refusal::Hello));
        return None;
    };
    let peer = Peer {
        connection,
        from,
        control,
        lines,
    };
    Some((peer, hello))
}
