//! Which labels were ever seen where: what Home Assistant has entities for. Kept across restarts, since an entity that is
//! missing from a discovery message is removed there, and with it what the user built on it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Most labels and zones of a camera that have entities.
const MAX_PLACES: usize = 64;
/// Most cameras that have entities: as many as the relay knows at a time.
const MAX_CAMERAS: usize = protocol::quic::MAX_CAMERAS;
/// Longest name in bytes.
const MAX_NAME: usize = 128;

/// A label in a camera's picture, or in one of its zones.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// The zone; `None` for the whole picture.
    pub zone: Option<String>,
    /// The label.
    pub label: String,
}

impl Place {
    /// Returns the place of a label.
    pub fn new(zone: Option<&str>, label: &str) -> Self {
        Self {
            zone: zone.map(str::to_owned),
            label: label.to_owned(),
        }
    }

    fn is_sane(&self) -> bool {
        let names = self.zone.iter().chain([&self.label]);
        names.into_iter().all(|name| name.len() <= MAX_NAME)
    }
}

/// All places, by camera.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seen(BTreeMap<String, BTreeSet<Place>>);

impl Seen {
    /// Reads what [`Seen::to_json`] wrote; what is damaged is forgotten.
    pub fn parse(json: &[u8]) -> Self {
        let mut seen: Self = serde_json::from_slice(json).unwrap_or_default();
        seen.0
            .retain(|name, places| name.len() <= MAX_NAME && places.len() <= MAX_PLACES);
        while seen.0.len() > MAX_CAMERAS {
            seen.0.pop_last();
        }
        for places in seen.0.values_mut() {
            places.retain(Place::is_sane);
        }
        seen
    }

    /// Returns the text that is stored.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Notes a camera. Returns whether it is new, and there is room for it.
    pub fn add_camera(&mut self, camera: &str) -> bool {
        let new =
            !self.0.contains_key(camera) && self.0.len() < MAX_CAMERAS && camera.len() <= MAX_NAME;
        if new {
            self.0.insert(camera.to_owned(), BTreeSet::new());
        }
        new
    }

    /// Notes a label at a known camera. Returns whether it is new there, and there is room for it.
    pub fn add(&mut self, camera: &str, place: &Place) -> bool {
        let Some(places) = self.0.get_mut(camera) else {
            return false;
        };
        let new = places.len() < MAX_PLACES && place.is_sane();
        new && places.insert(place.clone())
    }

    /// Forgets a camera. Returns its places.
    pub fn remove_camera(&mut self, camera: &str) -> BTreeSet<Place> {
        self.0.remove(camera).unwrap_or_default()
    }

    /// Returns whether there is no room for another camera.
    pub fn is_full(&self) -> bool {
        self.0.len() >= MAX_CAMERAS
    }

    /// Returns the cameras.
    pub fn cameras(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Returns whether a camera is known.
    pub fn knows(&self, camera: &str) -> bool {
        self.0.contains_key(camera)
    }

    /// Returns the places of a camera.
    pub fn places(&self, camera: &str) -> impl Iterator<Item = &Place> {
        self.0.get(camera).into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_outlives_a_restart() {
        let mut seen = Seen::default();
        assert!(seen.add_camera("yard") && !seen.add_camera("yard"));
        assert!(seen.add("yard", &Place::new(None, "person")));
        assert!(seen.add("yard", &Place::new(Some("drive"), "person")));
        assert!(!seen.add("yard", &Place::new(None, "person")));
        assert!(
            !seen.add("porch", &Place::new(None, "person")),
            "it is not known"
        );
        let restored = Seen::parse(seen.to_json().as_bytes());
        assert_eq!(restored, seen);
        assert_eq!(restored.places("yard").count(), 2);
        assert_eq!(Seen::parse(b"\xff{"), Seen::default());
    }

    #[test]
    fn cameras_and_labels_have_a_bound_whatever_a_model_or_a_file_names() {
        let mut seen = Seen::default();
        for n in 0..2 * MAX_CAMERAS {
            seen.add_camera(&format!("{n:03}"));
        }
        assert!(seen.is_full() && seen.cameras().count() == MAX_CAMERAS);
        for n in 0..2 * MAX_PLACES {
            seen.add("000", &Place::new(None, &n.to_string()));
        }
        assert_eq!(seen.places("000").count(), MAX_PLACES);
        assert!(!seen.add("001", &Place::new(None, &"x".repeat(MAX_NAME + 1))));
        let many: BTreeMap<_, BTreeSet<Place>> = (0..1000)
            .map(|n| (n.to_string(), BTreeSet::new()))
            .collect();
        let many = serde_json::to_vec(&many).unwrap();
        assert_eq!(Seen::parse(&many).cameras().count(), MAX_CAMERAS);
    }
}
