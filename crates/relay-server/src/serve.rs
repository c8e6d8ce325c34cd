//! The loop that moves bytes and decides nothing: datagrams, answers and time into the [`Relay`], its actions out.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use platform::clock::unix_micros;
use platform::egress::EgressStats;
use platform::kernel;
use platform::report::Percentiles;
use protocol::datagram::{DropReason, MAX_DATAGRAM};
use protocol::detections::{Detections, Kind};
use protocol::label::CameraName;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::door::native;
use crate::door::plain::{self, Sent};
use crate::event::{Event, Knock, Look};
use crate::feeds::Feeds;
use crate::metrics::distribution::{Distribution, FORWARDING, INFERENCE};
use crate::metrics::tally::Tally;
use crate::metrics::{self, Metrics};
use crate::worker::{Track, Worker};
use relay_core::{Action, Burn, Forward, Job, Note, Relay};

/// How often the summary line comes.
const SUMMARY: Duration = Duration::from_secs(10);

/// The relay with its hands.
#[derive(Debug)]
pub struct Server {
    /// Decides.
    pub relay: Relay,
    /// The plain viewers.
    pub plain: plain::Door,
    /// The native door, of which only figures are needed here: it serves itself.
    pub native: Arc<native::Door>,
    /// What screens see.
    pub feeds: Feeds,
    /// The figures of the web door, where there is one.
    pub web: Option<Arc<EgressStats>>,
    /// The model's thread, where there is a model.
    pub model: Option<Worker<Vec<Job>>>,
    /// Whether it has died.
    pub model_died: bool,
    /// The thread that follows objects from frame to frame.
    pub tracks: Worker<Track>,
    /// The drawing thread.
    pub overlay: Worker<Burn>,
    /// Where detections are written, where somebody reads them.
    pub sink: Option<Worker<String>>,
    /// Where the places of viewers that ask only once are kept.
    pub places: Option<Worker<Vec<SocketAddr>>>,
    /// What has been seen so far.
    pub figures: Figures,
}

/// What only the shell can count.
#[derive(Debug, Default)]
pub struct Figures {
    forwarded: u64,
    not_forwarded: u64,
    detections_lost: u64,
    forward: Percentiles,
    inference: Percentiles,
    tally: Tally,
    model: String,
}

impl Figures {
    /// Nothing yet, of a relay with this model.
    pub fn new(model: String) -> Self {
        Self {
            model,
            ..Self::default()
        }
    }
}

impl Server {
    /// Runs until `stop`.
    pub async fn run(&mut self, mut events: mpsc::Receiver<Event>, stop: CancellationToken) {
        let mut summary = interval(SUMMARY);
        summary.set_missed_tick_behavior(MissedTickBehavior::Skip);
        summary.tick().await;
        let mut said = Summary::default();
        self.act();
        // Set again only when the next thing is due before it rings: to set a timer may cost a system call.
        let mut alarm = pin!(sleep(SUMMARY));
        loop {
            if let Some(deadline) = self.relay.deadline()
                && deadline < alarm.deadline().into_std()
            {
                alarm.as_mut().reset(deadline.into());
            }
            tokio::select! {
                () = stop.cancelled() => return,
                Some(event) = events.recv() => self.event(event),
                () = &mut alarm => alarm.as_mut().reset(tokio::time::Instant::now() + SUMMARY),
                _ = summary.tick() => {
                    said = self.summarise(&said);
                    self.keep_places();
                }
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

    /// Lets the threads finish, and gives the object of `--report`.
    pub fn close(mut self, patience: Duration) -> Value {
        let report = self.report();
        let deadline = Instant::now() + patience;
        if let Some(model) = self.model {
            model.close(deadline);
        }
        self.tracks.close(deadline);
        self.overlay.close(deadline);
        if let Some(sink) = self.sink {
            sink.close(deadline);
        }
        if let Some(places) = self.places {
            places.close(deadline);
        }
        report
    }

    fn report(&mut self) -> Value {
        self.figures.forward.merge(&self.native.stats.waits());
        if let Some(web) = &self.web {
            self.figures.forward.merge(&web.waits());
        }
        let counts = self.relay.counts();
        json!({
            "received": counts.received,
            "forwarded": self.forwarded(),
            "dropped": counts.dropped,
            "overrun": self.plain.port().overrun(),
            "inferred": counts.inferred,
            "inference_ms_p50": self.figures.inference.ms(50.0),
            "inference_ms_p99": self.figures.inference.ms(99.0),
            "forward_us_p50": self.figures.forward.us(50.0),
            "forward_us_p99": self.figures.forward.us(99.0),
            "viewers_peak": counts.viewers_peak,
            "not_inferred": counts.not_inferred,
            "undecodable": counts.undecodable,
            "over_egress": counts.over_egress,
            "not_forwarded": self.not_forwarded(),
            "detections_lost": self.figures.detections_lost,
        })
    }

    /// All figures, for whoever graphs them.
    fn metrics(&self, now: Instant) -> Metrics {
        let counts = self.relay.counts();
        let mut dropped = counts.dropped.clone();
        dropped.insert("overrun", self.plain.port().overrun());
        Metrics {
            tally: self.figures.tally.clone(),
            live: self
                .relay
                .live_cameras(now)
                .into_iter()
                .map(str::to_owned)
                .collect(),
            dropped,
            doors: self.doors(),
            inference: Distribution::of(INFERENCE, &self.figures.inference),
            not_inferred: vec![
                ("busy", counts.not_inferred),
                ("undecodable", counts.undecodable),
            ],
            model: self.figures.model.clone(),
            reassembly_failures: kernel::reassembly_failures(),
        }
    }

    fn doors(&self) -> Vec<metrics::Door> {
        let (plain, _) = self.relay.viewers();
        let tally = &self.figures.tally;
        let mut doors = vec![metrics::Door {
            name: "plain",
            viewers: plain,
            forwarded: vec![("at_once", tally.plain_at_once), ("held", tally.plain_held)],
            bytes: tally.plain_bytes,
            unsent: vec![
                ("egress", self.relay.counts().over_egress),
                ("viewer", self.figures.not_forwarded),
            ],
            forwarding: Distribution::of(FORWARDING, &self.figures.forward),
        }];
        let others = [
            ("native", Some(&self.native.stats)),
            ("web", self.web.as_deref()),
        ];
        for (name, stats) in others {
            let Some(stats) = stats else { continue };
            let snapshot = stats.snapshot();
            doors.push(metrics::Door {
                name,
                viewers: snapshot.viewers,
                forwarded: vec![("at_once", snapshot.sent)],
                bytes: snapshot.bytes,
                unsent: vec![("skipped", snapshot.skipped), ("expired", snapshot.expired)],
                forwarding: Distribution::of(FORWARDING, &stats.waits()),
            });
        }
        doors
    }

    /// Frames that left for a viewer, at any door.
    fn forwarded(&self) -> u64 {
        let others = self.others().map(|stats| stats.snapshot().sent);
        self.figures.forwarded + others.sum::<u64>()
    }

    /// Frames that a viewer's path or host did not take in time.
    fn not_forwarded(&self) -> u64 {
        let others = self.others().map(|stats| stats.snapshot());
        let unsent = others.map(|snapshot| snapshot.skipped + snapshot.expired);
        self.figures.not_forwarded + unsent.sum::<u64>()
    }

    fn others(&self) -> impl Iterator<Item = &EgressStats> {
        [Some(&self.native.stats), self.web.as_deref()]
            .into_iter()
            .flatten()
    }

    fn event(&mut self, event: Event) {
        let now = Instant::now();
        match event {
            Event::Datagram(from, bytes) => self.relay.datagram(from, bytes, unix_micros(), now),
            Event::Gone(viewer) => self.relay.unreachable(viewer),
            Event::Sender(knock) => self.knock(knock, now),
            Event::Sent(from, camera, bytes) => {
                self.relay.sent(from, &camera, bytes, unix_micros(), now);
            }
            Event::Facts(from, facts) => self.relay.facts(from, facts),
            Event::SenderLeft(from) => self.relay.sender_left(from),
            Event::Screen(screen, camera, reply) => {
                let camera = camera.as_ref().map(CameraName::as_str);
                // Who has gone meanwhile says so next.
                let _ = reply.send(self.feeds.subscribe(camera));
                self.relay.screen_joined(screen, camera.map(str::to_owned));
            }
            Event::Burning(screen) => self.relay.screen_wants_burned(screen, true),
            Event::ScreenLeft(screen) => self.relay.screen_left(screen),
            Event::Look(reply) => {
                let (cameras, model_died) = (self.relay.seen(now), self.model_died);
                let _ = reply.send(Look {
                    cameras,
                    model_died,
                });
            }
            Event::Answered(answers) => {
                let found = answers.iter().filter_map(|answer| answer.found.as_ref());
                found.for_each(|found| {
                    self.figures.inference.record(found.took);
                    self.figures.tally.found(found);
                });
                self.relay.answered(answers, now);
            }
            Event::Tracked(tracked) => self.relay.tracked(tracked, now),
            Event::Burned(burn, jpeg) => self.relay.burned(&burn, jpeg, now),
            Event::Figures(reply) => {
                // Who has gone meanwhile needs none.
                let _ = reply.send(Box::new(self.metrics(now)));
            }
            Event::ModelDied => {
                self.model = None;
                self.model_died = true;
                self.relay.model_died(now);
            }
        }
    }

    fn knock(
        &self,
        Knock {
            from,
            camera,
            stream,
            reply,
        }: Knock,
        now: Instant,
    ) {
        let verdict = self.relay.sender(from, &camera, stream, now);
        let _ = reply.send(verdict.map(|()| self.feeds.live()));
    }

    fn act(&mut self) {
        while let Some(action) = self.relay.next_action() {
            match action {
                Action::Forward(forward) => self.forward(&forward),
                Action::Reply(to, control) => self.plain.port().reply(to, &control.write()),
                Action::Join(viewer) => self.join(viewer),
                Action::Leave(viewer) => {
                    self.plain.leave(viewer);
                    self.keep_places();
                    info!(%viewer, "viewer left");
                }
                // The relay asks only a model that is free, so there is always room.
                Action::Infer(jobs) => {
                    self.model.as_ref().map(|model| model.give(jobs));
                }
                Action::Follow(job) => self.track(Track::Frame(job)),
                Action::Correct(camera, count, found) => {
                    self.track(Track::Answer(camera, count, found));
                }
                Action::Forget(camera) => self.track(Track::Forget(camera)),
                // Without room, the frame leaves as it came.
                Action::Burn(burn) => {
                    self.overlay.give(burn);
                }
                Action::Publish(frame) => {
                    self.figures.tally.received(&frame, unix_micros());
                    self.feeds.publish(frame);
                }
                Action::PublishBurned(frame) => self.feeds.publish_burned(frame),
                Action::Facts(camera, facts) => {
                    self.figures.tally.facts(&camera, facts);
                    self.feeds.facts(&camera, facts);
                }
                Action::Cameras(cameras) => self.feeds.set_live(cameras),
                Action::Tell(message) => self.tell(&message),
                Action::Note(note) => say(&note),
            }
        }
    }

    /// Without room, this frame's boxes are left out, or this correction is.
    fn track(&self, told: Track) {
        self.tracks.give(told);
    }

    fn forward(&mut self, forward: &Forward) {
        for &viewer in &forward.viewers {
            match self.plain.send(viewer, &forward.jpeg) {
                Sent::Yes => {
                    self.figures.forwarded += 1;
                    let at_once = forward.passed_through.is_some();
                    self.figures.tally.sent_plainly(forward.jpeg.len(), at_once);
                }
                Sent::Full | Sent::No => self.figures.not_forwarded += 1,
                Sent::Gone => {
                    self.figures.not_forwarded += 1;
                    self.relay.unreachable(viewer);
                }
            }
        }
        if let Some(arrived) = forward.passed_through {
            self.figures.forward.record(arrived.elapsed());
        }
    }

    /// Written again with each summary too, so that the file's age tells how long the relay was away.
    fn keep_places(&self) {
        if let Some(places) = &self.places {
            places.give(self.relay.lasting_viewers());
        }
    }

    fn tell(&mut self, message: &Detections) {
        let line = message.to_json();
        self.feeds
            .tell(&message.camera, &Bytes::from(format!("{line}\n")));
        if let Some(sink) = &self.sink
            && message.kind == Kind::Inferred
        {
            let written = sink.give(line);
            self.figures.detections_lost += u64::from(!written);
        }
    }

    fn join(&mut self, viewer: SocketAddr) {
        match self.plain.join(viewer) {
            Ok(()) => {
                self.keep_places();
                info!(%viewer, "viewer joined");
            }
            Err(err) => {
                warn!(%viewer, %err, "a viewer cannot be reached");
                self.relay.unreachable(viewer);
            }
        }
    }

    /// Says what happened since the last summary, where anything did.
    fn summarise(&self, last: &Summary) -> Summary {
        let counts = self.relay.counts();
        let now = Summary {
            received: counts.received,
            wanted: counts.wanted,
            forwarded: self.forwarded(),
            inferred: counts.inferred,
            unsent: counts.over_egress + self.not_forwarded(),
            dropped: counts.dropped.values().sum(),
        };
        let (plain, native) = self.relay.viewers();
        let cameras = self.relay.live_cameras(Instant::now());
        let cameras: Vec<_> = cameras
            .into_iter()
            .map(|name| self.feeds.describe(name))
            .collect();
        if now != *last || plain + native > 0 {
            info!(
                received = now.received - last.received,
                forwarded = now.forwarded - last.forwarded,
                inferred = now.inferred - last.inferred,
                every = now.every(last),
                unsent = now.unsent - last.unsent,
                dropped = now.dropped - last.dropped,
                dropped_in_all = ?counts.dropped,
                viewers = plain + native,
                native,
                ?cameras,
                "last 10 s"
            );
        }
        now
    }
}

/// Counters at the last summary line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Summary {
    received: u64,
    wanted: u64,
    forwarded: u64,
    inferred: u64,
    unsent: u64,
    dropped: u64,
}

impl Summary {
    /// Of how many frames with somebody to see their boxes one was inferred since `last`, to a tenth; `None` where none was.
    fn every(&self, last: &Self) -> Option<f64> {
        let inferred = self.inferred.saturating_sub(last.inferred);
        let wanted = self.wanted.saturating_sub(last.wanted);
        (inferred > 0).then(|| (10.0 * wanted as f64 / inferred as f64).round() / 10.0)
    }
}

fn say(note: &Note) {
    match note {
        Note::CameraAppeared(camera, source) => info!(%camera, %source, "camera appeared"),
        Note::CameraMoved(camera, source) => info!(%camera, %source, "camera goes on from here"),
        Note::Stranger(camera, source) => warn!(
            %camera, %source,
            "somebody else sends as this camera and is not let in while it is live; a second camera needs a --camera NAME of its own"
        ),
        Note::Pieces(source) => warn!(
            %source,
            "{}: ffmpeg cuts its stream at 1472 bytes; add ?pkt_size={MAX_DATAGRAM} to its udp:// address", DropReason::Piece
        ),
        Note::OverEgress => warn!(
            "viewers miss frames: all together may be sent no more (--plain-egress); the 10 s lines count them as unsent"
        ),
        Note::Blind(camera) => warn!(
            %camera,
            "the demo model finds nothing here: it knows the demo scene alone; scripts/get-model yolov5n gets a real model"
        ),
        Note::Full(viewer) => debug!(%viewer, "all places are taken (--plain-viewers)"),
    }
}
