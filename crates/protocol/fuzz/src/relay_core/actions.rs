//! What the relay wants done, checked and done.

use super::*;

impl World {
    pub(super) fn act(&mut self, action: Action) {
        match action {
            Action::Forward(Forward { viewers, .. }) => {
                assert!(!viewers.is_empty() && !self.private);
                assert!(viewers.iter().all(|viewer| self.open.contains(viewer)));
            }
            Action::Reply(_, control) => {
                self.replied += control.write().len();
                if let Control::Accept { cookie, .. } = control {
                    cookie
                        .into_iter()
                        .for_each(|cookie| keep(&mut self.cookies, cookie));
                }
            }
            Action::OpenViewer(viewer) => assert!(self.open.insert(viewer), "opened twice"),
            Action::CloseViewer(viewer) => assert!(self.open.remove(&viewer), "closed twice"),
            Action::RefuseSender(sender, _) => {
                assert_ne!(sender, self.honest.id, "the honest camera is refused");
                self.senders.retain(|publisher| publisher.id != sender);
                self.relay.on_sender_left(sender, false);
            }
            Action::Infer(frames) => {
                assert!(self.model_alive && self.inferring.is_empty());
                assert!((1..=self.batch).contains(&frames.len()));
                let cameras: HashSet<_> = frames.iter().map(|frame| frame.camera).collect();
                assert_eq!(cameras.len(), frames.len(), "one frame of each camera");
                self.inferring = frames;
            }
            Action::Track(frame) => {
                assert!(self.tracking.replace(frame).is_none(), "one at a time");
            }
            Action::Annotate(job) => {
                assert!(self.drawing.replace(job).is_none(), "one at a time");
            }
            Action::Publish(publication) => self.published.push(publication),
            Action::PublishAnnotated(publication) => {
                let label = publication.frame.label;
                let own = label.camera.as_str() != HONEST_CAMERA || label.stream == HONEST_STREAM;
                assert!(own, "another sender's picture");
            }
            Action::PublishLive(names) => assert!(names.len() <= MAX_CAMERAS),
            Action::UpdateTracker(..)
            | Action::ResetTracker(_)
            | Action::PublishDetections(_)
            | Action::PublishSenderInfo(..)
            | Action::PublishForeign(_)
            | Action::ObserveTracks(_)
            | Action::Log(_) => {}
        }
    }
}
