//! Demand: what the viewers and outputs of a camera want at this moment. It is computed once for each event and decides
//! whether the relay infers, tracks, holds and annotates.

use std::collections::HashMap;

use protocol::label::CameraName;

use crate::rules::{Overlay, RelaySettings};

/// A QUIC or HTTP viewer, for as long as it is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SubscriberId(pub u64);

/// What is wanted of one camera.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Demand {
    /// Whether there is a model to make boxes.
    pub(crate) model: bool,
    /// Set if UDP viewers are sent this camera: which frames they want annotated.
    pub(crate) udp: Option<Overlay>,
    /// Whether a subscriber wants boxes as data.
    pub(crate) subscribed: bool,
    /// Whether a subscriber wants boxes drawn into the JPEG.
    pub(crate) annotated: bool,
    /// Whether an output reads the model's detections.
    pub(crate) outputs: bool,
    /// Whether an output wants events.
    pub(crate) events: bool,
}

impl Demand {
    /// Computes the demand for a camera; `udp_viewers` says whether UDP viewers are sent it.
    pub(crate) fn of(
        rules: &RelaySettings,
        udp_viewers: bool,
        subscribed: SubscriberDemand,
        events: bool,
    ) -> Self {
        Self {
            model: rules.every.is_some(),
            udp: udp_viewers.then_some(rules.overlay),
            subscribed: subscribed.any,
            annotated: subscribed.annotated,
            outputs: rules.output_reads_detections,
            events,
        }
    }

    /// Returns whether frames that are due go to the model.
    pub(crate) fn infers(self) -> bool {
        let shown = self.holds_inferred() || self.holds_all() || self.publishes_inferred();
        self.model && (shown || self.events)
    }

    /// Returns whether the tracker finds the boxes of every frame.
    pub(crate) fn tracks(self) -> bool {
        self.model && (self.subscribed || self.holds_all() || self.events)
    }

    /// Returns whether frames that go to the model are held, so that UDP viewers see their boxes.
    pub(crate) fn holds_inferred(self) -> bool {
        self.model && self.udp == Some(Overlay::EveryNth)
    }

    /// Returns whether every frame is held, so that UDP viewers see its boxes.
    pub(crate) fn holds_all(self) -> bool {
        self.model && self.udp == Some(Overlay::Hold)
    }

    /// Returns whether the model's detections are published as a message.
    pub(crate) fn publishes_inferred(self) -> bool {
        self.subscribed || self.outputs
    }
}

/// What the subscribers of one camera want.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct SubscriberDemand {
    /// There is one.
    pub(crate) any: bool,
    /// One wants boxes drawn into the JPEG.
    pub(crate) annotated: bool,
}

/// All subscribers, counted by the camera that they asked for.
#[derive(Debug, Default)]
pub(crate) struct Subscribers {
    /// Camera (`None`: the first that is live), and whether boxes are to be drawn into the JPEG.
    all: HashMap<SubscriberId, (Option<CameraName>, bool)>,
    /// Subscribers, and those of them that want boxes drawn in, by the camera that they asked for: a
    /// walk over a thousand subscribers for each frame would cost more than sending it to one of them.
    counts: HashMap<Option<CameraName>, Counts>,
}

/// The subscribers that asked for one camera.
#[derive(Debug, Default)]
struct Counts {
    any: usize,
    /// Those that want boxes drawn into the JPEG.
    annotated: usize,
    /// Whether one of those is new: the camera's next frame is not its first one yet.
    is_new: bool,
}

impl Subscribers {
    /// Adds a subscriber of a camera, or of the first that is live.
    pub(crate) fn add(&mut self, id: SubscriberId, camera: Option<CameraName>) {
        self.remove(id);
        self.counts.entry(camera.clone()).or_default().any += 1;
        self.all.insert(id, (camera, false));
    }

    /// Notes that a subscriber wants boxes drawn into the JPEG.
    pub(crate) fn request_annotated(&mut self, id: SubscriberId) {
        if let Some((camera, annotated)) = self.all.get_mut(&id)
            && !std::mem::replace(annotated, true)
        {
            let counts = self.counts.entry(camera.clone()).or_default();
            counts.annotated += 1;
            counts.is_new = true;
        }
    }

    /// Removes a subscriber.
    pub(crate) fn remove(&mut self, id: SubscriberId) {
        let Some((camera, annotated)) = self.all.remove(&id) else {
            return;
        };
        let counts = self.counts.entry(camera.clone()).or_default();
        counts.any = counts.any.saturating_sub(1);
        counts.annotated = counts.annotated.saturating_sub(usize::from(annotated));
        counts.is_new &= counts.annotated > 0;
        if counts.any == 0 {
            self.counts.remove(&camera);
        }
    }

    /// Returns whether a subscriber has begun to want boxes drawn into the JPEG since the last call for this camera; those
    /// without a choice count if it `is_default`.
    pub(crate) fn take_new_annotated(&mut self, camera: &CameraName, is_default: bool) -> bool {
        let take = |counts: Option<&mut Counts>| {
            counts.is_some_and(|counts| std::mem::take(&mut counts.is_new))
        };
        let named = take(self.counts.get_mut(&Some(camera.clone())));
        is_default && take(self.counts.get_mut(&None)) || named
    }

    /// Returns the number of subscribers.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Returns what the subscribers of a camera want; those without a choice count if it `is_default`.
    pub(crate) fn of(&self, camera: &CameraName, is_default: bool) -> SubscriberDemand {
        let named = self.counts.get(&Some(camera.clone()));
        let unnamed = self.counts.get(&None).filter(|_| is_default);
        let counts = || [named, unnamed].into_iter().flatten();
        SubscriberDemand {
            any: counts().any(|counts| counts.any > 0),
            annotated: counts().any(|counts| counts.annotated > 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> CameraName {
        text.parse().unwrap()
    }

    fn demand(udp: Option<Overlay>, subscribed: bool, outputs: bool) -> Demand {
        Demand {
            model: true,
            udp,
            subscribed,
            annotated: false,
            outputs,
            events: false,
        }
    }

    #[test]
    fn without_a_viewer_and_an_output_nothing_is_done() {
        let none = demand(None, false, false);
        assert!(!none.infers() && !none.tracks() && !none.holds_all() && !none.holds_inferred());
    }

    #[test]
    fn each_want_brings_what_it_needs_and_no_more() {
        let wants = |demand: Demand| {
            [
                demand.infers(),
                demand.tracks(),
                demand.holds_inferred(),
                demand.holds_all(),
                demand.publishes_inferred(),
            ]
        };
        for (udp, subscribed, outputs, wanted) in [
            (
                Some(Overlay::EveryNth),
                false,
                false,
                [true, false, true, false, false],
            ),
            (
                Some(Overlay::Hold),
                false,
                false,
                [true, true, false, true, false],
            ),
            (Some(Overlay::None), false, false, [false; 5]),
            (
                Some(Overlay::None),
                false,
                true,
                [true, false, false, false, true],
            ),
            (None, true, false, [true, true, false, false, true]),
            (None, false, true, [true, false, false, false, true]),
        ] {
            let found = wants(demand(udp, subscribed, outputs));
            assert_eq!(found, wanted, "{udp:?} {subscribed} {outputs}");
        }
        let events = Demand {
            events: true,
            ..demand(None, false, false)
        };
        assert_eq!(wants(events), [true, true, false, false, false]);
        let without_model = Demand {
            model: false,
            events: true,
            ..demand(Some(Overlay::Hold), true, true)
        };
        assert_eq!(wants(without_model), [false, false, false, false, true]);
    }

    #[test]
    fn subscribers_are_counted_by_camera_and_leave_nothing_behind() {
        let mut subscribers = Subscribers::default();
        subscribers.add(SubscriberId(1), Some(name("yard")));
        subscribers.add(SubscriberId(2), None);
        let (yard, drive) = (name("yard"), name("drive"));
        assert!(subscribers.of(&yard, false).any && !subscribers.of(&drive, false).any);
        assert!(subscribers.of(&drive, true).any, "the first that is live");
        subscribers.request_annotated(SubscriberId(2));
        subscribers.request_annotated(SubscriberId(2));
        assert!(subscribers.of(&drive, true).annotated);
        assert!(!subscribers.of(&yard, false).annotated);
        subscribers.remove(SubscriberId(2));
        subscribers.remove(SubscriberId(2));
        assert_eq!(subscribers.of(&drive, true), SubscriberDemand::default());
        subscribers.remove(SubscriberId(1));
        assert!(subscribers.counts.is_empty() && subscribers.len() == 0);
    }
}
