//! The HTTP transport: a task that, while it is wanted, keeps a WebSocket to the relay and sends the newest frame whenever the
//! frame window is open.
//!
//! TCP keeps the order and drops nothing, so a frame that has left cannot be given up. The relay answers each frame that it has
//! taken, and the window counts those that it has not answered: what waits in this machine and on the path is bounded by it.

mod in_flight;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use platform::clock::steady_micros;
use platform::egress::{EgressSnapshot, EgressStats};
use platform::http_client::{
    HttpClient, HttpFailure, HttpMessage, HttpReader, HttpSession, HttpWriter, camera_path,
};
use protocol::health::Health;
use protocol::http::{COOKIE, STREAM};
use protocol::label::{CameraName, StreamId};
use protocol::quic::{ClientMessage, Refusal, ServerMessage, from_line};
use quic::clock::OffsetEstimator;
use quic::frame_window::MAX_FRAME_AGE;
use quic::frames::{FrameSource as _, OutgoingFrame};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep_until, timeout};
use tracing::{debug, info, warn};

use self::in_flight::InFlight;
use super::label_clock::SharedLabelClock;
use super::proofs::SharedProof;
use super::reports::SenderReports;

/// Delay between two attempts, doubled after each that fails.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// Longest of those delays where a relay answers by HTTP, or is to: its frames are back soon after a restart.
const KNOWN_RETRY_DELAY: Duration = Duration::from_secs(2);
/// Longest of those delays otherwise.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(30);
/// Time without a message of the relay after which the connection is lost: the relay answers each frame, and pings when none
/// comes.
const SILENT_AFTER: Duration = Duration::from_secs(6);
/// Time for the reason of a lost camera to be overtaken by the news that frames go by QUIC, which is the reason then.
const QUIC_NEWS: Duration = Duration::from_millis(500);
/// Time for the last frames to arrive.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(300);

/// State of the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HttpState {
    /// No connection.
    Down,
    /// A connection that carries frames, with the counters as they stood when it began.
    Up(EgressSnapshot),
    /// A refusal that another attempt would not change, with its reason.
    Refused(String),
}

/// Handle of the task that keeps the connection.
#[derive(Debug)]
pub(crate) struct HttpSender {
    slot: watch::Sender<Option<OutgoingFrame>>,
    wanted: watch::Sender<bool>,
    state: watch::Receiver<HttpState>,
    refusal: watch::Receiver<Option<Refusal>>,
    stats: Arc<EgressStats>,
    task: JoinHandle<()>,
}

/// What to connect to, and what to send beside frames.
#[derive(Debug)]
pub(crate) struct HttpConfig {
    pub(crate) client: HttpClient,
    pub(crate) camera: CameraName,
    pub(crate) stream: StreamId,
    /// The proof that this is the camera's sender, by whatever transport.
    pub(crate) proof: SharedProof,
    pub(crate) clock: SharedLabelClock,
    pub(crate) quality: watch::Receiver<Option<u8>>,
    pub(crate) health: watch::Receiver<Health>,
    /// The relay by UDP as `--server` names it; `None` if HTTP is all that is used.
    pub(crate) udp: Option<String>,
}

impl HttpSender {
    /// Starts the task. Call it inside a tokio runtime.
    pub(crate) fn start(config: HttpConfig) -> Self {
        let (slot, frames) = watch::channel(None);
        let (wanted, is_wanted) = watch::channel(config.udp.is_none());
        let (state_sender, state) = watch::channel(HttpState::Down);
        let (refusal_sender, refusal) = watch::channel(None);
        let stats = Arc::<EgressStats>::default();
        let task = HttpTask {
            config,
            frames,
            wanted: is_wanted,
            state: state_sender,
            refusal: refusal_sender,
            stats: stats.clone(),
            logged_failure: None,
            logged_fallback: false,
        };
        Self {
            slot,
            wanted,
            state,
            refusal,
            stats,
            task: tokio::spawn(task.run()),
        }
    }

    /// Requests a connection, or none.
    pub(crate) fn want(&self, wanted: bool) {
        self.wanted
            .send_if_modified(|known| std::mem::replace(known, wanted) != wanted);
    }

    /// Returns the state of the connection now.
    pub(crate) fn state(&self) -> watch::Ref<'_, HttpState> {
        self.state.borrow()
    }

    /// Returns a receiver of the state.
    pub(crate) fn states(&self) -> watch::Receiver<HttpState> {
        self.state.clone()
    }

    /// Returns why the relay refused the last attempt; `None` while frames go by HTTP.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        *self.refusal.borrow()
    }

    /// Puts a frame into the slot, in place of one that still waits there.
    pub(crate) fn offer(&self, number: u64, jpeg: Bytes, ready_at: Instant) {
        let frame = OutgoingFrame {
            number,
            jpeg,
            ready_at,
        };
        self.slot.send_replace(Some(frame));
    }

    /// Returns the counters of all connections so far.
    pub(crate) fn stats(&self) -> EgressSnapshot {
        self.stats.snapshot()
    }

    /// Ends the task once the frames in flight have arrived, and returns the counters.
    pub(crate) async fn close(self) -> EgressSnapshot {
        let up = matches!(*self.state.borrow(), HttpState::Up(_));
        drop(self.slot);
        if up {
            let _ = timeout(MAX_FRAME_AGE + CLOSE_TIMEOUT, self.task).await;
        }
        self.stats.snapshot()
    }
}

/// Why a session ended.
enum SessionEnd {
    /// The program ends, and the last frame has left.
    Finished,
    /// It is not wanted any more.
    Unwanted,
    Lost(HttpFailure),
}

struct HttpTask {
    config: HttpConfig,
    frames: watch::Receiver<Option<OutgoingFrame>>,
    wanted: watch::Receiver<bool>,
    state: watch::Sender<HttpState>,
    refusal: watch::Sender<Option<Refusal>>,
    stats: Arc<EgressStats>,
    /// The last failure to connect that was logged.
    logged_failure: Option<String>,
    logged_fallback: bool,
}

impl HttpTask {
    /// Connects whenever that is wanted, until the program ends or the relay refuses for good.
    async fn run(mut self) {
        let mut delay = RETRY_DELAY;
        while self.wanted.wait_for(|wanted| *wanted).await.is_ok() {
            match self.connect().await {
                Ok(session) => {
                    delay = RETRY_DELAY;
                    match self.run_session(session).await {
                        SessionEnd::Finished => return,
                        SessionEnd::Unwanted => continue,
                        SessionEnd::Lost(why) => self.note_loss(&why).await,
                    }
                }
                Err(HttpFailure::Refused(why)) if self.is_final(why) => {
                    let why = format!("the relay refuses this sender: {why}");
                    self.state.send_replace(HttpState::Refused(why));
                    return;
                }
                Err(why) => {
                    self.note_failure(&why);
                    let known = self.config.udp.is_none() || self.logged_fallback;
                    let longest = match known {
                        true => KNOWN_RETRY_DELAY,
                        false => MAX_RETRY_DELAY,
                    };
                    delay = match why {
                        // A name may be free at any moment.
                        HttpFailure::Refused(_) => RETRY_DELAY,
                        _ => longest.min(2 * delay),
                    };
                }
            }
            let wanted = self.wanted.wait_for(|wanted| !wanted);
            let _ = timeout(delay, wanted).await;
        }
    }

    /// Returns whether a refusal ends the program: not where UDP may lead to the relay too.
    fn is_final(&self, refusal: Refusal) -> bool {
        self.config.udp.is_none() && !refusal.is_temporary()
    }

    async fn connect(&mut self) -> Result<HttpSession, HttpFailure> {
        let path = camera_path(&self.config.camera, "publish");
        let stream = format!("{:016x}", self.config.stream.0);
        let mut headers = vec![(STREAM, stream)];
        headers.extend(self.config.proof.digits().map(|digits| (COOKIE, digits)));
        self.config.client.open(&path, &headers).await
    }

    fn note_failure(&mut self, why: &HttpFailure) {
        let refusal = match why {
            HttpFailure::Refused(refusal) => Some(*refusal),
            _ => None,
        };
        self.refusal.send_replace(refusal);
        let failure = why.to_string();
        if self.logged_failure.as_ref() == Some(&failure) {
            return;
        }
        match (&self.config.udp, refusal) {
            (None, _) | (_, Some(_)) => {
                warn!(%why, "no HTTP connection to the relay (yet); trying again");
            }
            // Most often no relay is there at all, or it is a tutorial's.
            (Some(_), None) => info!(
                %why,
                "nothing answers by UDP, as from a tutorial's relay, and no relay by HTTP, for which it needs {}; the \
                 sender goes on as before",
                self.config.client.needs()
            ),
        }
        self.logged_failure = Some(failure);
    }

    /// Logs why the connection has ended.
    async fn note_loss(&mut self, why: &HttpFailure) {
        let unwanted = self.wanted.wait_for(|wanted| !wanted);
        if timeout(QUIC_NEWS, unwanted).await.is_ok() {
            return debug!(%why, "the connection by HTTP has ended");
        }
        if let HttpFailure::Refused(refusal) = why {
            self.refusal.send_replace(Some(*refusal));
        }
        warn!(%why, "the connection to the relay is lost");
    }

    async fn run_session(&mut self, session: HttpSession) -> SessionEnd {
        let HttpSession {
            url,
            cookie,
            reader,
            writer,
        } = session;
        self.config.proof.set_digits(cookie.as_deref());
        self.refusal.send_replace(None);
        self.logged_failure = None;
        match &self.config.udp {
            Some(udp) if !std::mem::replace(&mut self.logged_fallback, true) => warn!(
                relay = %url,
                "UDP to {udp} is blocked; sending by HTTP, where a lost packet delays all frames behind it; QUIC is tried on"
            ),
            _ => info!(relay = %url, "frames go by HTTP, the newest first"),
        }
        self.state
            .send_replace(HttpState::Up(self.stats.snapshot()));
        // A frame that waited while there was no connection is old by now.
        self.frames.mark_unchanged();
        let mut reports = SenderReports::new(
            self.config.clock.clone(),
            self.config.quality.clone(),
            self.config.health.clone(),
        );
        let mut wanted = self.wanted.clone();
        let (answers, answered) = mpsc::channel(1);
        let mut sending = Sending {
            writer,
            frames: &mut self.frames,
            stats: &self.stats,
            reports: &mut reports,
        };
        let end = tokio::select! {
            end = sending.run(answered) => end,
            why = receive(reader, answers) => SessionEnd::Lost(why),
            Ok(_) = wanted.wait_for(|wanted| !wanted) => SessionEnd::Unwanted,
        };
        if !matches!(end, SessionEnd::Lost(_)) {
            let _ = timeout(CLOSE_TIMEOUT, sending.writer.close()).await;
        }
        self.state.send_replace(HttpState::Down);
        end
    }
}

fn stuck() -> HttpFailure {
    HttpFailure::Ended("the path carries nothing".to_owned())
}

/// What the relay answers.
enum AnswerOfRelay {
    /// It has taken a frame, or dropped it.
    Frame,
    Message(ServerMessage),
}

/// Passes on what the relay answers, until the connection ends.
async fn receive(mut reader: HttpReader, answers: mpsc::Sender<AnswerOfRelay>) -> HttpFailure {
    loop {
        let message = match timeout(SILENT_AFTER, reader.next()).await {
            Ok(Ok(message)) => message,
            Ok(Err(why)) => return why,
            Err(_) => return HttpFailure::Ended("the relay is silent".to_owned()),
        };
        let answer = match message {
            HttpMessage::Binary(_) => AnswerOfRelay::Frame,
            HttpMessage::Text(line) => match from_line(&line) {
                Some(message) => AnswerOfRelay::Message(message),
                None => {
                    debug!(answer = %String::from_utf8_lossy(&line), "a frame was dropped");
                    AnswerOfRelay::Frame
                }
            },
            HttpMessage::Alive => continue,
        };
        if answers.send(answer).await.is_err() {
            return HttpFailure::Ended("this end closed it".to_owned());
        }
    }
}

/// The sending half of a session.
struct Sending<'a> {
    writer: HttpWriter,
    frames: &'a mut watch::Receiver<Option<OutgoingFrame>>,
    stats: &'a EgressStats,
    reports: &'a mut SenderReports,
}

impl Sending<'_> {
    /// Sends frames, clock exchanges and reports until the program or the connection ends.
    async fn run(&mut self, mut answers: mpsc::Receiver<AnswerOfRelay>) -> SessionEnd {
        match self.try_run(&mut answers).await {
            Ok(()) => SessionEnd::Finished,
            Err(why) => SessionEnd::Lost(why),
        }
    }

    async fn try_run(
        &mut self,
        answers: &mut mpsc::Receiver<AnswerOfRelay>,
    ) -> Result<(), HttpFailure> {
        let mut in_flight = InFlight::default();
        let mut clock = OffsetEstimator::default();
        let mut next_ping = tokio::time::Instant::now();
        let (mut last, mut more) = (None, true);
        while more || !in_flight.is_empty() {
            tokio::select! {
                answer = answers.recv() => match answer {
                    Some(AnswerOfRelay::Frame) => in_flight.on_answer(Instant::now()),
                    Some(AnswerOfRelay::Message(ServerMessage::Pong(pong))) => {
                        if let Some(offset) = clock.on_pong(pong, steady_micros()) {
                            in_flight.on_round_trip(Duration::from_micros(2 * offset.error_us));
                            self.reports.on_offset(offset);
                        }
                    }
                    Some(AnswerOfRelay::Message(_)) => {}
                    // The receiving half has ended, and has the reason.
                    None => std::future::pending().await,
                },
                frame = self.frames.next(), if more && in_flight.is_open() => {
                    let Some(frame) = frame else {
                        more = false;
                        continue;
                    };
                    let now = Instant::now();
                    let skipped = last.map_or(0, |last| frame.number.saturating_sub(last + 1));
                    last = last.max(Some(frame.number));
                    self.stats.on_sent(frame.jpeg.len());
                    self.stats.on_skipped(skipped);
                    in_flight.on_sent(skipped, now);
                    let sent = timeout(SILENT_AFTER, self.writer.send_binary(frame.jpeg));
                    sent.await.map_err(|_| stuck())??;
                }
                info = self.reports.next() => self.send(&ClientMessage::SenderInfo(info)).await?,
                () = sleep_until(next_ping) => {
                    next_ping = tokio::time::Instant::now() + clock.interval();
                    let ping = ClientMessage::Ping(clock.ping(steady_micros()));
                    self.send(&ping).await?;
                }
            }
        }
        Ok(())
    }

    async fn send(&mut self, message: &ClientMessage) -> Result<(), HttpFailure> {
        let line = serde_json::to_string(message).expect("plain structures of text and numbers");
        self.writer.send_text(line).await
    }
}
