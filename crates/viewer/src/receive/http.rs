//! The HTTP transport: the list of cameras, and the WebSocket of one; the relay's README describes both.

use std::time::{Duration, Instant};

use ::quic::client::ControlEvent;
use ::quic::clock::OffsetEstimator;
use ::quic::doctor::is_relay;
use bytes::Bytes;
use platform::clock::steady_micros;
use platform::http_client::{
    HttpClient, HttpFailure, HttpMessage, HttpReader, HttpSession, HttpWriter, camera_path,
};
use protocol::label::CameraName;
use protocol::lease::RelayKind;
use protocol::quic::{ClientMessage, ServerMessage, from_line};
use protocol::transport::Transport;
use tokio::time::{sleep, sleep_until, timeout};
use tracing::{debug, info, warn};

use super::inbox::Inbox;
use super::status::LinkState;
use super::{FatalError, ReceiveTask};

/// Time between two tries to connect, and between two requests of the list while no camera is live.
const PAUSE: Duration = Duration::from_secs(1);
/// Time between two tries by QUIC.
const QUIC_INTERVAL: Duration = Duration::from_secs(30);
/// Tries in a row that fail, after which the viewer searches the relay by UDP again.
const MAX_FAILURES: u32 = 30;
/// Time without a message of the relay after which the connection is lost: it answers a clock exchange every 2 s.
const SILENT_AFTER: Duration = Duration::from_secs(6);
/// Frames that may be on their way beside the one that is awaited: one is being served while the last one's answer travels.
const FRAMES_AHEAD: usize = 1;

impl ReceiveTask {
    /// Receives by HTTP until UDP leads to the relay again, or HTTP does not any more.
    pub(super) async fn by_http(&mut self) -> Result<(), FatalError> {
        let Some(server) = self.options.http.clone() else {
            return Ok(());
        };
        let client = HttpClient::new(&server);
        let client = client.map_err(|why| FatalError(format!("{why:#}")))?;
        let only = self.options.is_http_only();
        if server
            .url()
            .is_some_and(platform::server::RelayUrl::exposes_token)
        {
            warn!("http:// shows the token to everything on the path; https:// does not");
        }
        let (address, options) = (self.address.clone(), self.options.clone());
        let quic_client = self.client.take();
        let back = async move {
            if only {
                std::future::pending::<()>().await;
            }
            let mut client = quic_client;
            loop {
                sleep(QUIC_INTERVAL).await;
                let Some(relay) = address.current() else {
                    continue;
                };
                if !options.has_ticket() {
                    // What it finds again may be a tutorial's relay: no byte of QUIC goes there.
                    if is_relay(relay).await {
                        return None;
                    }
                    continue;
                }
                let hello = super::quic::hello(&options);
                let connect =
                    super::quic::connect(client.take(), options.fingerprint, relay, hello);
                let (again, connected) = connect.await;
                client = again;
                if let Ok(session) = connected {
                    return Some((client, session));
                }
            }
        };
        let mut http = HttpReceive {
            inbox: &mut self.inbox,
            client,
            chosen: self.options.camera.clone(),
            only,
        };
        tokio::select! {
            ended = http.run() => ended,
            ready = back => {
                info!("UDP leads to the relay again");
                if let Some((client, session)) = ready {
                    (self.client, self.ready) = (client, Some(session));
                }
                self.inbox.on_disconnected();
                Ok(())
            }
        }
    }
}

/// One stay at a relay by HTTP.
struct HttpReceive<'a> {
    inbox: &'a mut Inbox,
    client: HttpClient,
    chosen: Option<CameraName>,
    /// Whether no other transport is used.
    only: bool,
}

/// Why a session ended.
enum SessionEnd {
    Lost(HttpFailure),
    /// The camera is not live any more, and another one is.
    OtherCamera,
}

impl HttpReceive<'_> {
    /// Receives until the relay does not answer any more; without limit if no other transport is used.
    async fn run(&mut self) -> Result<(), FatalError> {
        let mut failures = 0;
        let mut logged = None;
        loop {
            match self.connect().await {
                Ok(Some((session, camera))) => {
                    (failures, logged) = (0, None);
                    info!(relay = %session.url, %camera, "connected by HTTP");
                    let end = self.receive(session, &camera).await;
                    if let SessionEnd::Lost(why) = end {
                        info!(%why, "the viewer connects again");
                    }
                    self.inbox.on_camera_left();
                }
                Ok(None) => failures = 0,
                Err(HttpFailure::Refused(why)) if self.only && !why.is_temporary() => {
                    return Err(FatalError(why.to_string()));
                }
                Err(why) => {
                    failures += 1;
                    if logged.replace(why.clone()) != Some(why.clone()) {
                        debug!(%why, "no connection by HTTP");
                    }
                    self.set_link(RelayKind::Silent, LinkState::Closed);
                    if failures >= MAX_FAILURES && !self.only {
                        self.inbox.on_disconnected();
                        return Ok(());
                    }
                }
            }
            sleep(PAUSE).await;
        }
    }

    fn set_link(&self, relay: RelayKind, link: LinkState) {
        self.inbox.set_relay(relay, link, Instant::now());
    }

    /// Connects to the chosen camera, or to the first that is live; `None` if it is not live.
    async fn connect(&mut self) -> Result<Option<(HttpSession, CameraName)>, HttpFailure> {
        let listed = self.client.cameras().await?;
        let live = listed.into_iter().filter(|camera| camera.live);
        let live: Vec<_> = live.map(|camera| camera.name).collect();
        let first = live.first().cloned();
        let chosen = self.chosen.clone().filter(|chosen| live.contains(chosen));
        self.inbox.set_cameras(live);
        self.set_link(RelayKind::Sightline, LinkState::Open);
        let camera = match self.chosen {
            Some(_) => chosen,
            None => first,
        };
        let Some(camera) = camera else {
            return Ok(None);
        };
        let path = camera_path(&camera, "ws");
        let session = self.client.open(&path, &[]).await?;
        Ok(Some((session, camera)))
    }

    async fn receive(&mut self, session: HttpSession, camera: &CameraName) -> SessionEnd {
        let HttpSession {
            mut reader,
            mut writer,
            ..
        } = session;
        let live = vec![camera.to_string()];
        self.inbox.on_connected(Transport::Http, live);
        let end = self.exchange(&mut reader, &mut writer, camera).await;
        let end = end.map_or_else(SessionEnd::Lost, |()| SessionEnd::OtherCamera);
        let _ = timeout(super::CLOSE_TIMEOUT, writer.close()).await;
        end
    }

    /// Hands all that comes to the inbox until the connection ends, or the camera does where another one is live.
    async fn exchange(
        &mut self,
        reader: &mut HttpReader,
        writer: &mut HttpWriter,
        camera: &CameraName,
    ) -> Result<(), HttpFailure> {
        for _ in 0..FRAMES_AHEAD {
            writer.send_binary(Bytes::new()).await?;
        }
        let mut clock = OffsetEstimator::default();
        let mut next_ping = tokio::time::Instant::now();
        loop {
            let message = tokio::select! {
                message = timeout(SILENT_AFTER, reader.next()) => message.map_err(|_| silent())??,
                () = sleep_until(next_ping) => {
                    next_ping = tokio::time::Instant::now() + clock.interval();
                    let ping = ClientMessage::Ping(clock.ping(steady_micros()));
                    let line = serde_json::to_string(&ping).expect("a number is JSON");
                    send(writer.send_text(line)).await?;
                    continue;
                }
            };
            match message {
                HttpMessage::Binary(jpeg) => {
                    self.inbox.on_jpeg(jpeg, Transport::Http);
                    send(writer.send_binary(Bytes::new())).await?;
                }
                HttpMessage::Text(line) => match from_line(&line) {
                    Some(ServerMessage::Pong(pong)) => {
                        let offset = clock.on_pong(pong, steady_micros());
                        let events = offset.into_iter().map(ControlEvent::Offset);
                        events.for_each(|event| self.inbox.on_control(event));
                    }
                    Some(message) => {
                        let gone = self.is_gone(&message, camera);
                        self.inbox.on_control(ControlEvent::Message(message));
                        if gone {
                            return Ok(());
                        }
                    }
                    None => self.inbox.on_detections_line(&line),
                },
                HttpMessage::Alive => {}
            }
        }
    }

    /// Returns whether a list of live cameras shows that the first one, which was not chosen, is another now.
    fn is_gone(&self, message: &ServerMessage, camera: &CameraName) -> bool {
        match message {
            ServerMessage::Cameras(live) => {
                let has_gone = !live.iter().any(|name| name == camera.as_str());
                self.chosen.is_none() && has_gone && !live.is_empty()
            }
            _ => false,
        }
    }
}

/// Waits for a message to leave.
async fn send(sent: impl Future<Output = Result<(), HttpFailure>>) -> Result<(), HttpFailure> {
    timeout(SILENT_AFTER, sent).await.map_err(|_| silent())?
}

fn silent() -> HttpFailure {
    HttpFailure::Ended("the relay is silent".to_owned())
}
