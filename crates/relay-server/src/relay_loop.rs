//! The loop: datagrams, answers and time into the [`Relay`], its actions out. It moves bytes and decides nothing.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::pin::pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use platform::clock::{steady_micros, unix_micros};
use platform::report::Percentiles;
use platform::service::ServiceManager;
use protocol::datagram::DropReason;
use protocol::detections::Detections;
use protocol::jpeg::Defect;
use protocol::quic::{Refusal, Trial};
use relay_core::{Action, AnnotationJob, CameraFrame, Forward, Relay, SenderId};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::egress::EgressByTransport;
use crate::event::{
    Accepted, Completion, Event, HttpFrame, HttpPublisher, Ingress, PublishRequest, Query,
    RelayStatus,
};
use crate::events::EventFeed;
use crate::fanout::Fanout;
use crate::live_settings::LiveSettings;
use crate::metrics::LoopMetrics;
use crate::metrics::distribution::{BucketHistogram, INFERENCE};
use crate::metrics::tally::Tally;
use crate::outputs::Outputs;
use crate::summary::{Summary, log_note};
use crate::threads::Worker;
use crate::threads::tracking::TrackCommand;
use crate::transport::udp::{SendOutcome, UdpTransport};

/// Time between two summary lines.
pub(crate) const SUMMARY_INTERVAL: Duration = Duration::from_secs(10);

/// The relay with its threads, transports and outputs.
#[derive(Debug)]
pub struct RelayLoop {
    /// Decides.
    pub relay: Relay,
    /// The sockets of UDP viewers.
    pub udp: UdpTransport,
    /// Ends the connection of each sender that was let in.
    pub senders: HashMap<SenderId, oneshot::Sender<Refusal>>,
    /// Frames and messages for subscribers.
    pub fanout: Fanout,
    /// What became of the frames, by transport.
    pub egress: EgressByTransport,
    /// The model's thread, where there is a model.
    pub model: Option<Worker<Vec<CameraFrame>>>,
    /// Whether the model's thread has died.
    pub model_died: bool,
    /// The tracking thread.
    pub tracking: Worker<TrackCommand>,
    /// The annotation thread.
    pub annotation: Worker<AnnotationJob>,
    /// Where detections go besides viewers.
    pub outputs: Outputs,
    /// What the configuration file changes.
    pub settings: watch::Receiver<LiveSettings>,
    /// Where events are made of the tracks.
    pub events: EventFeed,
    /// The thread that keeps the leases of tutorial viewers on disk.
    pub leases: Option<Worker<Vec<SocketAddr>>>,
    /// What only the loop can count.
    pub stats: LoopStats,
    /// The service manager, whose watchdog the loop feeds.
    pub service: ServiceManager,
}

/// What only the loop can count.
#[derive(Debug)]
pub struct LoopStats {
    inference: Percentiles,
    /// The same, for metrics: to count it here costs less than to walk the percentiles.
    inference_spread: BucketHistogram,
    tally: Tally,
    model: String,
}

impl LoopStats {
    /// Returns figures of a relay with this model that has done nothing yet.
    pub fn new(model: String) -> Self {
        Self {
            inference: Percentiles::default(),
            inference_spread: BucketHistogram::new(INFERENCE),
            tally: Tally::default(),
            model,
        }
    }
}

impl RelayLoop {
    /// Runs until `stop`. What comes by UDP has a queue of its own, and the two take turns.
    pub async fn run(
        &mut self,
        mut events: mpsc::Receiver<Event>,
        mut datagrams: mpsc::Receiver<Event>,
        stop: CancellationToken,
    ) {
        let mut summaries = interval(SUMMARY_INTERVAL);
        summaries.set_missed_tick_behavior(MissedTickBehavior::Skip);
        summaries.tick().await;
        let mut last = Summary::default();
        let mut watchdog = self.service.watchdog();
        let mut feedings = interval(watchdog.interval());
        feedings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut watchers = self.events.hub().watchers();
        self.apply_settings(*watchers.borrow_and_update());
        self.act();
        // Set again only if the next deadline is before the timer: to set one may cost a system call.
        let mut timer = pin!(sleep(SUMMARY_INTERVAL));
        loop {
            if let Some(deadline) = self.relay.deadline()
                && deadline < timer.deadline().into_std()
            {
                timer.as_mut().reset(deadline.into());
            }
            tokio::select! {
                () = stop.cancelled() => return,
                Some(event) = events.recv() => self.on_event(event),
                Some(event) = datagrams.recv() => self.on_event(event),
                Ok(()) = self.settings.changed() => {
                    let watchers = *watchers.borrow();
                    self.apply_settings(watchers);
                }
                Ok(()) = watchers.changed() => {
                    let watchers = *watchers.borrow_and_update();
                    self.want_events(watchers);
                }
                () = &mut timer => timer.as_mut().reset(tokio::time::Instant::now() + SUMMARY_INTERVAL),
                _ = summaries.tick() => {
                    let summary = Summary::of(&self.relay, &self.egress);
                    summary.log(&last, &self.relay, &self.fanout, &self.egress);
                    self.service.set_status(&summary.status(&last, &self.relay, &self.egress));
                    last = summary;
                    // Written again although nothing changed, so that the file's age tells how long the relay was away.
                    self.store_leases();
                }
                _ = feedings.tick() => watchdog.feed(Instant::now()),
            }
            let now = Instant::now();
            if self
                .relay
                .deadline()
                .is_some_and(|deadline| deadline <= now)
            {
                self.relay.tick(now);
            }
            self.act();
        }
    }

    fn apply_settings(&mut self, watchers: usize) {
        let every = self.settings.borrow_and_update().tables.every_of();
        self.relay.set_every_of(every);
        self.want_events(watchers);
    }

    /// Notes whether events are wanted: by the configuration, or by so many clients that receive them.
    fn want_events(&mut self, watchers: usize) {
        let configured = self.settings.borrow().want_events();
        self.relay.want_events(configured || watchers > 0);
    }

    /// Lets the threads finish until `timeout` is over. Returns the object of `--report`.
    pub fn close(self, timeout: Duration) -> Value {
        let report = self.report();
        let deadline = Instant::now() + timeout;
        if let Some(model) = self.model {
            model.close(deadline);
        }
        self.tracking.close(deadline);
        self.annotation.close(deadline);
        self.outputs.close(deadline);
        self.events.close(deadline);
        if let Some(leases) = self.leases {
            leases.close(deadline);
        }
        report
    }

    /// Returns the datagrams and frames that were dropped, by reason; some are dropped at the port already.
    fn dropped(&self) -> BTreeMap<&'static str, u64> {
        let mut dropped = self.relay.counts().dropped.clone();
        let junk = self.udp.port().junk();
        if junk > 0 {
            *dropped
                .entry(DropReason::Jpeg(Defect::NotJpeg).name())
                .or_default() += junk;
        }
        dropped
    }

    fn report(&self) -> Value {
        let mut forward = Percentiles::default();
        for (_, stats) in self.egress.transports() {
            forward.merge(&stats.waits());
        }
        let counts = self.relay.counts();
        let [forwarded, not_forwarded] = self.egress.totals();
        json!({
            "received": counts.received,
            "forwarded": forwarded,
            "dropped": self.dropped(),
            "overrun": self.udp.port().overrun(),
            "inferred": counts.inferred,
            "inference_ms_p50": self.stats.inference.ms(50.0),
            "inference_ms_p99": self.stats.inference.ms(99.0),
            "forward_us_p50": forward.us(50.0),
            "forward_us_p99": forward.us(99.0),
            "viewers_peak": counts.viewers_peak,
            "not_inferred": counts.not_inferred,
            "undecodable": counts.undecodable,
            "over_egress": counts.over_egress,
            "not_forwarded": not_forwarded,
            "detections_lost": self.outputs.lost,
        })
    }

    /// Returns the loop's part of the metrics: copies of counters, so that no frame waits for more.
    fn metrics(&self, now: Instant) -> LoopMetrics {
        let counts = self.relay.counts();
        let mut dropped = self.dropped();
        dropped.insert("overrun", self.udp.port().overrun());
        let live = self.relay.live_cameras(now);
        LoopMetrics {
            tally: self.stats.tally.clone(),
            live: live.iter().map(ToString::to_string).collect(),
            dropped,
            over_egress: counts.over_egress,
            egress: self.egress.clone(),
            inference: self.stats.inference_spread.clone(),
            not_inferred: vec![
                ("busy", counts.not_inferred),
                ("undecodable", counts.undecodable),
            ],
            model: self.stats.model.clone(),
            events: self.events.hub().counts(),
        }
    }

    fn on_event(&mut self, event: Event) {
        let now = Instant::now();
        match event {
            Event::Ingress(ingress) => self.on_ingress(ingress, now),
            Event::Completion(completion) => self.on_completion(completion, now),
            Event::Query(query, _waited) => self.on_query(query, now),
        }
    }

    fn on_ingress(&mut self, ingress: Ingress, now: Instant) {
        match ingress {
            Ingress::Datagram(from, bytes) => {
                self.relay.on_datagram(from, bytes, unix_micros(), now);
            }
            Ingress::Refused(viewer) => self.relay.on_refused(viewer, now),
            Ingress::PublishRequest(request) => self.on_publish_request(request, now),
            Ingress::FrameReceived(publisher, bytes, _held) => {
                self.relay.on_frame(&publisher, bytes, unix_micros(), now);
            }
            Ingress::SenderInfo(sender, info) => self.relay.on_sender_info(sender, info),
            Ingress::SenderLeft(sender, closed) => {
                self.senders.remove(&sender);
                self.relay.on_sender_left(sender, closed);
            }
        }
    }

    fn on_completion(&mut self, completion: Completion, now: Instant) {
        match completion {
            Completion::Inferred(inferences) => {
                let found = inferences
                    .iter()
                    .filter_map(|inference| inference.found.as_ref());
                for found in found {
                    self.stats.inference.record(found.took);
                    self.stats.inference_spread.add(found.took);
                    self.stats.tally.on_found(found);
                }
                self.relay.on_inferred(inferences, now);
            }
            Completion::Tracked(tracked) => self.relay.on_tracked(tracked, now),
            Completion::Annotated(annotate, jpeg) => {
                self.relay.on_annotated(&annotate, jpeg, now);
            }
            Completion::ModelDied => {
                self.model = None;
                self.model_died = true;
                self.relay.on_model_died(now);
            }
        }
    }

    /// Answers; an error of a reply means that the asking end is gone.
    fn on_query(&mut self, query: Query, now: Instant) {
        match query {
            Query::Subscribe(subscriber, camera, reply) => {
                let _ = reply.send(self.fanout.subscribe(camera.as_ref()));
                self.relay.subscribe(subscriber, camera);
            }
            Query::RequestAnnotated(subscriber) => self.relay.request_annotated(subscriber),
            Query::Unsubscribe(subscriber) => self.relay.unsubscribe(subscriber),
            Query::Trial(publisher, trial, reply) => {
                let by_udp = trial == Trial::Udp;
                let _ = reply.send(self.relay.would_admit(&publisher, by_udp, now));
            }
            Query::TakeFrame(frame) => self.on_http_frame(frame, now),
            Query::Status(reply) => {
                let cameras = self.relay.cameras(now);
                let health = cameras
                    .iter()
                    .map(|camera| self.stats.tally.health(camera.name.as_str()));
                let _ = reply.send(RelayStatus {
                    health: health.collect(),
                    cameras,
                    has_model: self.model.is_some(),
                    model_died: self.model_died,
                    foreign: self.fanout.foreign(),
                });
            }
            Query::Metrics(reply) => {
                let _ = reply.send(Box::new(self.metrics(now)));
            }
        }
    }

    fn on_http_frame(&mut self, frame: HttpFrame, now: Instant) {
        let HttpFrame {
            publisher,
            jpeg,
            reply,
        } = frame;
        let verdict = match &publisher {
            HttpPublisher::Socket(publisher) => {
                self.relay.on_frame(publisher, jpeg, unix_micros(), now)
            }
            HttpPublisher::Poster(poster) => {
                self.relay.on_posted_frame(poster, jpeg, unix_micros(), now)
            }
        };
        let _ = reply.send(verdict);
    }

    fn on_publish_request(&mut self, request: PublishRequest, now: Instant) {
        let PublishRequest {
            publisher,
            proof,
            reply,
            refused,
        } = request;
        let verdict = self.relay.on_publish_request(&publisher, &proof, now);
        let accepted = verdict.map(|proof| Accepted {
            proof,
            cameras: self.fanout.live(),
        });
        if accepted.is_ok() {
            self.senders.insert(publisher.id, refused);
        }
        let _ = reply.send(accepted);
    }

    fn act(&mut self) {
        while let Some(action) = self.relay.next_action() {
            self.perform(action);
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Forward(forward) => self.forward(&forward),
            Action::Reply(to, control) => self.udp.port().reply(to, &control.write()),
            Action::RefuseSender(sender, refusal) => {
                if let Some(refused) = self.senders.remove(&sender) {
                    let _ = refused.send(refusal);
                }
            }
            Action::OpenViewer(viewer) => self.open_viewer(viewer),
            Action::CloseViewer(viewer) => self.close_viewer(viewer),
            // The relay gives frames to a model that is free, so there is always room.
            Action::Infer(frames) => {
                self.model.as_ref().map(|model| model.send(frames));
            }
            // The same holds for the threads that track and draw; one without room has died, or lags by many updates. Then
            // this frame's boxes are left out, or this update is, and the frame leaves as it came.
            Action::Track(frame) => {
                if !self.tracking.send(TrackCommand::Track(frame)) {
                    self.relay.on_tracker_free(Instant::now());
                }
            }
            Action::ObserveTracks(tracked) => self.events.observe(tracked),
            Action::UpdateTracker(camera, count, detections) => {
                let update = TrackCommand::Update(camera, count, detections);
                self.tracking.send(update);
            }
            Action::ResetTracker(camera) => drop(self.tracking.send(TrackCommand::Reset(camera))),
            Action::Annotate(annotate) => {
                if !self.annotation.send(annotate) {
                    self.relay.on_annotation_free(Instant::now());
                }
            }
            Action::Publish(publication) => {
                let tally = &mut self.stats.tally;
                tally.on_received(&publication.frame, unix_micros(), steady_micros());
                self.fanout.publish(&publication);
            }
            Action::PublishAnnotated(publication) => self.fanout.publish_annotated(&publication),
            Action::PublishDetections(message) => self.publish_detections(&message),
            Action::PublishSenderInfo(camera, info) => {
                self.stats.tally.on_sender_info(camera.as_str(), info);
                self.fanout.publish_sender_info(&camera, info);
            }
            Action::PublishLive(cameras) => {
                self.stats.tally.on_live(&cameras);
                self.events.set_live(cameras.clone());
                self.fanout.publish_live(cameras);
            }
            Action::PublishForeign(foreign) => self.fanout.publish_foreign(foreign),
            Action::Log(note) => log_note(&note),
        }
    }

    fn forward(&mut self, forward: &Forward) {
        let (stats, bytes) = (&self.egress.udp, forward.jpeg.len());
        for &viewer in &forward.viewers {
            match self.udp.send(viewer, &forward.jpeg) {
                SendOutcome::Sent if forward.unheld_received_at.is_some() => stats.on_sent(bytes),
                SendOutcome::Sent => stats.on_annotated_sent(bytes),
                SendOutcome::Full | SendOutcome::Failed => stats.on_skipped(1),
                SendOutcome::Refused => {
                    stats.on_skipped(1);
                    self.relay.on_refused(viewer, Instant::now());
                }
            }
        }
        if let Some(received) = forward.unheld_received_at {
            stats.record_wait(received.elapsed());
        }
    }

    fn publish_detections(&mut self, message: &Detections) {
        let json = message.to_json();
        let line = Bytes::from(format!("{json}\n"));
        self.fanout.publish_message(&message.camera, &line);
        self.outputs.publish(message, json);
    }

    fn open_viewer(&mut self, viewer: SocketAddr) {
        match self.udp.open_viewer(viewer) {
            Ok(()) => {
                self.egress.udp.on_joined();
                self.store_leases();
                info!(%viewer, "viewer joined");
            }
            Err(err) => {
                warn!(%viewer, %err, "viewer cannot be reached");
                self.relay.on_unreachable(viewer);
            }
        }
    }

    fn close_viewer(&mut self, viewer: SocketAddr) {
        if self.udp.close_viewer(viewer) {
            self.egress.udp.on_left();
        }
        self.store_leases();
        info!(%viewer, "viewer left");
    }

    fn store_leases(&self) {
        if let Some(leases) = &self.leases {
            leases.send(self.relay.permanent_leases());
        }
    }
}
