//! The loop that moves bytes and decides nothing: datagrams, answers and time into the [`Relay`], its actions out.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use platform::report::Percentiles;
use protocol::datagram::{MAX_DATAGRAM, Reason};
use protocol::detections::Detections;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::door::{Door, Sent};
use crate::event::Event;
use crate::relay::{Action, Burn, Forward, Job, Note, Relay};
use crate::worker::Worker;

/// How often the summary line comes.
const SUMMARY: Duration = Duration::from_secs(10);

/// The relay with its hands.
#[derive(Debug)]
pub struct Server {
    /// Decides.
    pub relay: Relay,
    /// Sends and receives.
    pub door: Door,
    /// The model's thread, where there is a model.
    pub model: Option<Worker<Job>>,
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
}

impl Server {
    /// Runs until `stop`.
    pub async fn run(&mut self, mut events: mpsc::Receiver<Event>, stop: CancellationToken) {
        let mut summary = interval(SUMMARY);
        summary.set_missed_tick_behavior(MissedTickBehavior::Skip);
        summary.tick().await;
        let mut said = Summary::default();
        self.act();
        loop {
            let deadline = self.relay.deadline();
            tokio::select! {
                () = stop.cancelled() => return,
                (from, bytes) = self.door.receive() => self.datagram(from, bytes),
                Some(event) = events.recv() => self.event(event),
                () = sleep_until(deadline.unwrap_or_else(Instant::now).into()), if deadline.is_some() => {}
                _ = summary.tick() => {
                    said = self.summarise(&said);
                    self.keep_places();
                }
            }
            self.relay.tick(Instant::now());
            self.act();
        }
    }

    /// Lets the threads finish, and gives the object of `--report`.
    pub fn close(self, patience: Duration) -> Value {
        let report = self.report();
        let deadline = Instant::now() + patience;
        if let Some(model) = self.model {
            model.close(deadline);
        }
        self.overlay.close(deadline);
        if let Some(sink) = self.sink {
            sink.close(deadline);
        }
        if let Some(places) = self.places {
            places.close(deadline);
        }
        report
    }

    fn report(&self) -> Value {
        let counts = self.relay.counts();
        json!({
            "received": counts.received,
            "forwarded": self.figures.forwarded,
            "dropped": counts.dropped,
            "inferred": counts.inferred,
            "inference_ms_p50": self.figures.inference.ms(50.0),
            "inference_ms_p99": self.figures.inference.ms(99.0),
            "forward_us_p50": self.figures.forward.us(50.0),
            "forward_us_p99": self.figures.forward.us(99.0),
            "viewers_peak": counts.viewers_peak,
            "not_inferred": counts.not_inferred,
            "undecodable": counts.undecodable,
            "over_egress": counts.over_egress,
            "not_forwarded": self.figures.not_forwarded,
            "detections_lost": self.figures.detections_lost,
        })
    }

    fn datagram(&mut self, from: SocketAddr, bytes: Bytes) {
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let wall_us = u64::try_from(wall.as_micros()).unwrap_or(u64::MAX);
        self.relay.datagram(from, bytes, wall_us, Instant::now());
    }

    fn event(&mut self, event: Event) {
        let now = Instant::now();
        match event {
            Event::Datagram(from, bytes) => self.datagram(from, bytes),
            Event::Gone(viewer) => self.relay.unreachable(viewer),
            Event::Answered(answer) => {
                if let Some(found) = &answer.found {
                    self.figures.inference.add(found.took);
                }
                self.relay.answered(answer, now);
            }
            Event::Burned(burn, jpeg) => self.relay.burned(&burn, jpeg, now),
            Event::ModelDied => {
                self.model = None;
                self.relay.model_died(now);
            }
        }
    }

    fn act(&mut self) {
        while let Some(action) = self.relay.next_action() {
            match action {
                Action::Forward(forward) => self.forward(&forward),
                Action::Reply(to, control) => self.door.reply(to, &control.write()),
                Action::Join(viewer) => self.join(viewer),
                Action::Leave(viewer) => {
                    self.door.leave(viewer);
                    self.keep_places();
                    info!(%viewer, "viewer left");
                }
                // The relay asks only a model that is free, so there is always room.
                Action::Infer(job) => {
                    self.model.as_ref().map(|model| model.give(job));
                }
                // Without room, the frame leaves as it came.
                Action::Burn(burn) => {
                    self.overlay.give(burn);
                }
                Action::Tell(message) => self.tell(&message),
                Action::Note(note) => say(&note),
            }
        }
    }

    fn forward(&mut self, forward: &Forward) {
        for &viewer in &forward.viewers {
            match self.door.send(viewer, &forward.jpeg) {
                Sent::Yes => self.figures.forwarded += 1,
                Sent::Full | Sent::No => self.figures.not_forwarded += 1,
                Sent::Gone => {
                    self.figures.not_forwarded += 1;
                    self.relay.unreachable(viewer);
                }
            }
        }
        if let Some(arrived) = forward.passed_through {
            self.figures.forward.add(arrived.elapsed());
        }
    }

    /// Written again with each summary too, so that the file's age tells how long the relay was away.
    fn keep_places(&self) {
        if let Some(places) = &self.places {
            places.give(self.relay.lasting_viewers());
        }
    }

    fn tell(&mut self, message: &Detections) {
        if let Some(sink) = &self.sink {
            let written = sink.give(message.to_json());
            self.figures.detections_lost += u64::from(!written);
        }
    }

    fn join(&mut self, viewer: SocketAddr) {
        match self.door.join(viewer) {
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
            forwarded: self.figures.forwarded,
            inferred: counts.inferred,
            unsent: counts.over_egress + self.figures.not_forwarded,
            dropped: counts.dropped.values().sum(),
        };
        if now != *last || self.relay.viewers() > 0 {
            info!(
                received = now.received - last.received,
                forwarded = now.forwarded - last.forwarded,
                inferred = now.inferred - last.inferred,
                unsent = now.unsent - last.unsent,
                dropped = now.dropped - last.dropped,
                dropped_in_all = ?counts.dropped,
                viewers = self.relay.viewers(),
                cameras = ?self.relay.live_cameras(Instant::now()),
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
    forwarded: u64,
    inferred: u64,
    unsent: u64,
    dropped: u64,
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
            "{}: ffmpeg cuts its stream at 1472 bytes; add ?pkt_size={MAX_DATAGRAM} to its udp:// address", Reason::Piece
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
