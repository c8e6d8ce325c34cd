//! The last events, each as its newest message says. Pure.

use std::collections::VecDeque;

use protocol::event::{EventId, ObjectEvent};

/// Most events that are kept; a thousand take about half a megabyte.
const MAX_EVENTS: usize = 1000;
/// Most events on one page.
pub(crate) const MAX_PAGE: usize = 200;

/// The last events, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct History(VecDeque<ObjectEvent>);

/// Which events are wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EventFilter {
    /// Of this camera.
    pub camera: Option<String>,
    /// With this label.
    pub label: Option<String>,
    /// That have been in this zone.
    pub zone: Option<String>,
    /// That started before this one.
    pub before: Option<EventId>,
    /// As many at most; 0 for as many as a page holds.
    pub limit: usize,
}

/// Some events, the newest first.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct EventPage {
    /// The events.
    pub events: Vec<ObjectEvent>,
    /// The last of them, if there are older ones: what `before` is for the next page.
    pub next: Option<EventId>,
}

impl History {
    /// Keeps what a message says of its event.
    pub(crate) fn put(&mut self, event: &ObjectEvent) {
        let mut known = self.0.iter_mut().rev();
        if let Some(known) = known.find(|known| known.id == event.id) {
            known.clone_from(event);
            return;
        }
        // In order of their ids, so that a page goes on where the last one ended: an event starts after it was first seen.
        let newer = self.0.iter().rev().take_while(|known| known.id > event.id);
        let place = self.0.len() - newer.count();
        self.0.insert(place, event.clone());
        if self.0.len() > MAX_EVENTS {
            self.0.pop_front();
        }
    }

    /// Returns the camera of an event.
    pub(crate) fn camera(&self, id: EventId) -> Option<String> {
        let mut known = self.0.iter().rev();
        let event = known.find(|event| event.id == id)?;
        Some(event.camera.clone())
    }

    /// Returns the events that are wanted.
    pub(crate) fn page(&self, filter: &EventFilter) -> EventPage {
        let limit = match filter.limit {
            0 => MAX_PAGE,
            limit => limit.min(MAX_PAGE),
        };
        let mut wanted = self.0.iter().rev().filter(|event| filter.takes(event));
        let events: Vec<_> = wanted.by_ref().take(limit).cloned().collect();
        let more = wanted.next().is_some();
        let next = events.last().filter(|_| more).map(|event| event.id);
        EventPage { events, next }
    }
}

impl EventFilter {
    fn takes(&self, event: &ObjectEvent) -> bool {
        let is = |wanted: &Option<String>, name: &str| wanted.as_deref().is_none_or(|w| w == name);
        let in_zone = |zone: &String| event.entered_zones.contains(zone);
        is(&self.camera, &event.camera)
            && is(&self.label, &event.label)
            && self.zone.as_ref().is_none_or(in_zone)
            && self.before.is_none_or(|before| event.id < before)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use protocol::event::{EventMessage, Phase};

    use super::*;

    /// The event that starts in this second.
    pub(crate) fn event(second: u64, camera: &str) -> ObjectEvent {
        let id = EventId::new(1000 * second, 0xa1b2);
        ObjectEvent {
            v: EventMessage::VERSION,
            phase: Phase::Start,
            id,
            camera: camera.to_owned(),
            label: "person".to_owned(),
            score: 0.8,
            top_score: 0.9,
            bbox: [0.1, 0.2, 0.3, 0.4].into(),
            zones: Vec::new(),
            entered_zones: vec!["drive".to_owned()],
            start: second as f64,
            end: None,
            snapshot: id.snapshot_path(),
            clip: None,
            reason: None,
        }
    }

    fn seconds(page: &EventPage) -> Vec<u64> {
        page.events
            .iter()
            .map(|event| event.id.start_ms() / 1000)
            .collect()
    }

    #[test]
    fn the_last_thousand_events_are_kept_as_their_newest_messages_say() {
        let mut history = History::default();
        // One that starts late was seen first.
        for second in (1..=1008).chain([1010, 1009]) {
            history.put(&event(second, "yard"));
        }
        let mut ended = event(1000, "yard");
        ended.end = Some(1005.0);
        history.put(&ended);
        assert_eq!(history.0.len(), 1000);
        assert!(history.0.iter().is_sorted_by_key(|event| event.id));
        let page = history.page(&EventFilter::default());
        assert_eq!(
            (page.events[10].id, page.events[10].end),
            (ended.id, Some(1005.0))
        );
    }

    #[test]
    fn pages_have_every_event_once_and_the_last_one_has_no_next() {
        let mut history = History::default();
        (1..=25).for_each(|second| history.put(&event(second, "yard")));
        let (mut seen, mut before, mut pages) = (Vec::new(), None, 0);
        loop {
            let page = history.page(&EventFilter {
                before,
                limit: 10,
                ..EventFilter::default()
            });
            seen.extend(seconds(&page));
            pages += 1;
            before = page.next;
            if before.is_none() {
                break;
            }
        }
        assert_eq!((pages, seen), (3, (1..=25).rev().collect::<Vec<_>>()));
    }

    #[test]
    fn camera_label_and_zone_choose() {
        let mut history = History::default();
        for second in 1..=4 {
            history.put(&event(second, ["yard", "gate"][second as usize % 2]));
        }
        let mut dog = event(5, "yard");
        (dog.label, dog.entered_zones) = ("dog".to_owned(), Vec::new());
        history.put(&dog);
        let text = |text: &str| Some(text.to_owned());
        let of = |filter: EventFilter| seconds(&history.page(&filter));
        let all = EventFilter::default;
        assert_eq!(
            of(EventFilter {
                camera: text("yard"),
                ..all()
            }),
            [5, 4, 2]
        );
        assert_eq!(
            of(EventFilter {
                label: text("dog"),
                ..all()
            }),
            [5]
        );
        assert_eq!(
            of(EventFilter {
                zone: text("drive"),
                ..all()
            }),
            [4, 3, 2, 1]
        );
        assert_eq!(
            of(EventFilter {
                zone: text("lawn"),
                ..all()
            }),
            [0; 0]
        );
    }
}
