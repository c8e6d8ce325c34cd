//! The pictures of the last events, bounded in number and in bytes. Pure.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use protocol::detections::Detection;
use protocol::event::EventId;

/// Events whose pictures are kept.
const MAX_PICTURES: usize = 100;
/// Most bytes of all pictures: as many of the largest frames as a minute has of a busy camera.
const MAX_BYTES: usize = 64 << 20;

/// The best picture of an event.
#[derive(Debug)]
pub struct EventPicture {
    /// The frame, as it was received.
    pub jpeg: Bytes,
    /// The event's object on it.
    pub object: Detection,
    /// The same with the object's box, made for the first client that wants it.
    pub(super) boxed: OnceLock<Option<Bytes>>,
}

/// The pictures, that of the oldest event first.
#[derive(Debug, Default)]
pub(crate) struct Pictures(VecDeque<(EventId, Arc<EventPicture>)>);

impl EventPicture {
    /// Returns a frame as the picture of an event.
    pub fn new(jpeg: Bytes, object: Detection) -> Self {
        Self {
            jpeg,
            object,
            boxed: OnceLock::new(),
        }
    }

    fn bytes(&self) -> usize {
        let boxed = self.boxed.get().and_then(Option::as_ref);
        self.jpeg.len() + boxed.map_or(0, Bytes::len)
    }
}

impl Pictures {
    /// Keeps a picture, in place of an older one of its event.
    pub(crate) fn keep(&mut self, id: EventId, picture: EventPicture) {
        let picture = Arc::new(picture);
        match self.0.iter_mut().find(|(known, _)| *known == id) {
            Some((_, known)) => *known = picture,
            None => self.0.push_back((id, picture)),
        }
        while self.0.len() > MAX_PICTURES || self.bytes() > MAX_BYTES {
            self.0.pop_front();
        }
    }

    /// Returns the picture of an event.
    pub(crate) fn get(&self, id: EventId) -> Option<Arc<EventPicture>> {
        let found = self.0.iter().find(|(known, _)| *known == id);
        found.map(|(_, picture)| picture.clone())
    }

    fn bytes(&self) -> usize {
        self.0.iter().map(|(_, picture)| picture.bytes()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(bytes: usize) -> EventPicture {
        let object = Detection {
            id: None,
            class: 0,
            label: "person".to_owned(),
            score: 0.9,
            fading: false,
            bbox: [0.1, 0.2, 0.3, 0.4].into(),
        };
        EventPicture::new(vec![0; bytes].into(), object)
    }

    #[test]
    fn the_pictures_of_the_last_hundred_events_are_kept_and_the_better_one_of_each() {
        let mut pictures = Pictures::default();
        let id = |n| EventId::new(n, 0);
        for n in 0..150 {
            pictures.keep(id(n), picture(10));
        }
        pictures.keep(id(60), picture(20));
        assert!(pictures.get(id(49)).is_none());
        assert_eq!(pictures.get(id(50)).unwrap().jpeg.len(), 10);
        assert_eq!(pictures.get(id(60)).unwrap().jpeg.len(), 20);
    }

    #[test]
    fn large_pictures_are_bounded_in_bytes() {
        let mut pictures = Pictures::default();
        for n in 0..50 {
            pictures.keep(EventId::new(n, 0), picture(4 << 20));
        }
        assert_eq!(pictures.0.len(), 16);
        // Those with boxes count too.
        let (_, newest) = pictures.0.back().unwrap();
        newest.boxed.set(Some(vec![0; 4 << 20].into())).unwrap();
        pictures.keep(EventId::new(50, 0), picture(1));
        assert_eq!(pictures.0.len(), 15);
    }
}
