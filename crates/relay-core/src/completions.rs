//! What the threads have completed: the model's detections, the tracker's boxes and annotated JPEGs. They become messages,
//! updates of the tracker and annotation jobs.
//!
//! A frame is decoded and encoded once for all viewers that get the same boxes.

use std::time::Instant;

use bytes::Bytes;
use protocol::detections::{Detection, Detections, Found, Kind};

use crate::Relay;
use crate::action::{Action, AnnotationJob, BoxesOf, Inference, TrackedFrame};
use crate::demand::Demand;
use crate::frame::{CameraFrame, CameraId};
use crate::hold::{BoxesArrival, HoldDecision, Released};
use crate::note::Note;
use crate::rules::Overlay;

impl Relay {
    /// Takes the model's answers to all that it was [given](Action::Infer); the model is free.
    pub fn on_inferred(&mut self, inferences: Vec<Inference>, now: Instant) {
        self.schedule.on_answered(now);
        for Inference { frame, found } in inferences {
            match &found {
                Some(_) => self.counts.inferred += 1,
                None => self.counts.undecodable += 1,
            }
            match found {
                _ if self.is_outdated(&frame) => {}
                Some(found) => self.use_detections(&frame, found, now),
                None => self.annotate_inferred(&frame, Vec::new(), now),
            }
        }
        self.feed_model(now);
    }

    /// Notes that the model is gone for good: frames go on without boxes.
    pub fn on_model_died(&mut self, now: Instant) {
        self.rules.every = None;
        self.schedule.on_model_died();
        for id in self.cameras.ids() {
            self.release(id, now);
        }
    }

    /// Takes the tracker's boxes for a frame that it was [given](Action::Track).
    pub fn on_tracked(&mut self, tracked: TrackedFrame, now: Instant) {
        if !self.is_outdated(&tracked.frame) {
            self.use_tracked(tracked, now);
        }
        self.on_tracker_free(now);
    }

    /// Notes that the tracking thread is done with the frame that it was [given](Action::Track), or has not taken it.
    pub fn on_tracker_free(&mut self, now: Instant) {
        self.tracking.on_tracked(now);
        self.feed_tracker(now);
    }

    /// Notes that the annotation thread is done with the frame that it was [given](Action::Annotate), or has not taken it.
    pub fn on_annotation_free(&mut self, now: Instant) {
        self.annotation.finish(now);
        self.feed_annotation(now);
    }

    /// Takes an annotated frame; `jpeg` is `None` if drawing failed.
    pub fn on_annotated(&mut self, annotate: &AnnotationJob, jpeg: Option<Bytes>, now: Instant) {
        if !self.is_outdated(&annotate.frame) {
            self.use_annotated(annotate, jpeg, now);
        }
        self.on_annotation_free(now);
    }

    /// Returns whether a frame is of another camera than the one that has its number now, or from before that began anew.
    /// Its count then means nothing: a frame of the present camera may have the same.
    fn is_outdated(&self, frame: &CameraFrame) -> bool {
        frame.received_at < self.cameras.get(frame.camera).owner.since()
    }

    fn use_tracked(&mut self, tracked: TrackedFrame, now: Instant) {
        let demand = self.demand(tracked.frame.camera, now);
        if demand.events {
            self.actions
                .push_back(Action::ObserveTracks(tracked.clone()));
        }
        let TrackedFrame {
            frame, detections, ..
        } = tracked;
        if demand.subscribed {
            let message = self.message(&frame, Kind::Tracked, detections.clone());
            self.actions.push_back(Action::PublishDetections(message));
        }
        self.annotate_tracked(frame, detections, demand, now);
    }

    fn use_annotated(&mut self, annotate: &AnnotationJob, jpeg: Option<Bytes>, now: Instant) {
        let AnnotationJob { frame, held, .. } = annotate;
        if annotate.publish {
            let annotated = jpeg
                .clone()
                .map_or_else(|| frame.clone(), |jpeg| frame.with_jpeg(jpeg));
            self.publish_annotated(annotated, now);
        }
        let camera = self.cameras.get_mut(frame.camera);
        if annotate.reduced && !camera.hold.holds(frame.count) {
            let newest = frame.count > camera.forwarded;
            if let Some(jpeg) = jpeg.filter(|_| newest) {
                self.forward(frame, jpeg, None, now);
            }
            return;
        }
        let hold = &mut camera.hold;
        if held.is_some_and(|boxes| hold.on_annotated(frame.count, boxes, jpeg)) {
            self.release(frame.camera, now);
        }
    }

    /// Gives the model the next frames if it is free.
    pub(crate) fn feed_model(&mut self, now: Instant) {
        if let Some(frames) = self.schedule.next_batch(now) {
            self.actions.push_back(Action::Infer(frames));
        }
    }

    /// Gives the tracking thread its next frame if it is idle.
    pub(crate) fn feed_tracker(&mut self, now: Instant) {
        self.actions.extend(self.tracking.next_actions(now));
    }

    /// Gives the annotation thread its next frame if it is idle.
    fn feed_annotation(&mut self, now: Instant) {
        let jobs = self.annotation.next_batch(now).unwrap_or_default();
        self.actions.extend(jobs.into_iter().map(Action::Annotate));
    }

    /// Holds a frame for UDP viewers, or sends it on if there is nothing to hold it for.
    pub(crate) fn hold(
        &mut self,
        frame: CameraFrame,
        awaits_own: bool,
        until: Instant,
        now: Instant,
    ) {
        let id = frame.camera;
        let hold = &mut self.cameras.get_mut(id).hold;
        match hold.hold(frame.clone(), awaits_own, until) {
            HoldDecision::Forward => self.forward_as_it_came(frame, Some(now), now),
            HoldDecision::Waits => {}
            HoldDecision::Draw(older) => {
                self.annotate(frame, older, Some(BoxesOf::Older), false, now);
            }
        }
    }

    /// Sends a camera's held frame on, with boxes if they are drawn.
    pub(crate) fn release(&mut self, id: CameraId, now: Instant) {
        match self.cameras.get_mut(id).hold.release() {
            None => {}
            Some(Released::Annotated(frame, jpeg)) => self.forward(&frame, jpeg, None, now),
            Some(Released::AsItCame(frame)) => self.forward_as_it_came(frame, None, now),
        }
    }

    /// Publishes a frame to subscribers that want boxes in the JPEG.
    pub(crate) fn publish_annotated(&mut self, frame: CameraFrame, now: Instant) {
        let publication = self.publication(frame, false, now);
        self.actions
            .push_back(Action::PublishAnnotated(publication));
    }

    /// Uses what the model found on a frame: in a message, for the tracker, and in the JPEG.
    fn use_detections(&mut self, frame: &CameraFrame, found: Found, now: Instant) {
        let id = frame.camera;
        self.note_demo_match(id, !found.detections.is_empty());
        self.cameras
            .get_mut(id)
            .set_display_size(frame.size(), found.size);
        let demand = self.demand(id, now);
        if demand.publishes_inferred() {
            let message = Detections {
                infer_ms: Some((found.took.as_secs_f32() * 1e4).round() / 10.0),
                model: Some(self.rules.model.clone()),
                ..self.message(frame, Kind::Inferred, found.detections.clone())
            };
            self.actions.push_back(Action::PublishDetections(message));
        }
        if demand.tracks() {
            let update = self
                .tracking
                .update(id, frame.count, found.detections.clone());
            self.actions.extend(update);
        }
        self.annotate_inferred(frame, found.detections, now);
    }

    /// Draws the model's boxes, with `--overlay every-nth`: into their frame while it is held, else into the next one due.
    fn annotate_inferred(&mut self, frame: &CameraFrame, detections: Vec<Detection>, now: Instant) {
        if self.rules.overlay != Overlay::EveryNth {
            return;
        }
        let id = frame.camera;
        let draws = self.needs_annotation(id, &detections);
        let boxes = draws.then_some(detections.clone());
        match self
            .cameras
            .get_mut(id)
            .hold
            .on_detections(frame.count, boxes)
        {
            BoxesArrival::Nothing => {}
            BoxesArrival::Release => self.release(id, now),
            BoxesArrival::Draw(frame) => {
                self.annotate(frame, detections, Some(BoxesOf::Own), false, now);
            }
        }
    }

    /// Draws the tracker's boxes if viewers want boxes in every JPEG.
    fn annotate_tracked(
        &mut self,
        frame: CameraFrame,
        detections: Vec<Detection>,
        demand: Demand,
        now: Instant,
    ) {
        let id = frame.camera;
        let held = demand.holds_all() && self.cameras.get(id).hold.holds(frame.count);
        if !held && !demand.annotated {
            return;
        }
        if self.needs_annotation(id, &detections) {
            let held = held.then_some(BoxesOf::Own);
            if held.is_some() && demand.annotated && frame.is_reduced_for_udp() {
                // Subscribers get it in its own size.
                self.annotate(frame.clone(), detections.clone(), None, true, now);
                return self.annotate(frame, detections, held, false, now);
            }
            return self.annotate(frame, detections, held, demand.annotated, now);
        }
        if demand.annotated {
            self.publish_annotated(frame, now);
        }
        if held {
            self.release(id, now);
        }
    }

    /// Returns whether anything is to be drawn: boxes, or the notice that the demo model does not fit.
    fn needs_annotation(&self, id: CameraId, detections: &[Detection]) -> bool {
        !detections.is_empty() || self.is_demo_mismatch(id)
    }

    fn annotate(
        &mut self,
        frame: CameraFrame,
        detections: Vec<Detection>,
        held: Option<BoxesOf>,
        publish: bool,
        now: Instant,
    ) {
        let annotate = AnnotationJob {
            demo_mismatch: self.is_demo_mismatch(frame.camera),
            reduced: frame.is_reduced_for_udp() && !publish,
            frame,
            detections,
            held,
            publish,
        };
        self.enqueue_annotation(annotate, now);
    }

    /// Has a rendition of a frame made for UDP viewers.
    pub(crate) fn reduce(&mut self, frame: CameraFrame, now: Instant) {
        let rendition = AnnotationJob {
            frame,
            detections: Vec::new(),
            reduced: true,
            demo_mismatch: false,
            held: None,
            publish: false,
        };
        self.enqueue_annotation(rendition, now);
    }

    fn enqueue_annotation(&mut self, job: AnnotationJob, now: Instant) {
        let (id, pixels) = (job.frame.camera, job.frame.pixels());
        self.annotation.enqueue(id, pixels, job);
        self.feed_annotation(now);
    }

    /// Returns the detections message of a frame.
    fn message(&self, frame: &CameraFrame, kind: Kind, detections: Vec<Detection>) -> Detections {
        let size = self.cameras.get(frame.camera).display_size(frame.size());
        Detections {
            v: Detections::VERSION,
            camera: frame.label.camera.to_string(),
            seq: frame.label.seq,
            t: frame.label.captured_us as f64 / 1e6,
            w: size.width,
            h: size.height,
            kind,
            infer_ms: None,
            model: None,
            detections,
        }
    }

    /// Notes whether the demo model finds anything, and logs when it begins not to fit.
    fn note_demo_match(&mut self, id: CameraId, found: bool) {
        let before = self.is_demo_mismatch(id);
        self.cameras.get_mut(id).demo.on_inferred(found);
        if self.is_demo_mismatch(id) && !before {
            let name = self.cameras.get(id).name.clone();
            self.log(Note::DemoMismatch(name));
        }
    }

    fn is_demo_mismatch(&self, id: CameraId) -> bool {
        self.rules.demo && self.cameras.get(id).demo.is_mismatch()
    }
}
