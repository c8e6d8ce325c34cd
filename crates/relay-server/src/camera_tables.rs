//! The tables `[events]`, `[camera.NAME]` and `[camera.NAME.zone.ZONE]` of the configuration file: parsed with the line of
//! each mistake, and turned into the settings of model, tracker and events.

mod values;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use protocol::event::EventMessage;
use protocol::every::Every;
use protocol::label::CameraName;
use protocol::quic::MAX_CAMERAS;
use relay_core::events::{CameraSettings, DetectionFilter, EventSettings, Zone};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use self::values::{Armed, Corners, EveryKey, Masks, Name, Names, Score, Seconds};

/// The tables as the configuration file shows them, commented out.
pub const EXAMPLE: &str = r#"
# Tables stand below all keys. [events] is for all cameras, [camera.NAME] for one; each key of them may be left out. With
# [events], a zone or --events, all cameras are inferred and events made of what comes and goes. Times are seconds.
#[events]
#file = "FILE"                # as --events FILE
#min-time = 0.5               # seen for so long, and by two inferences, an object starts an event
#end-after = 5                # gone for so long, its event ends
#cooldown = 0                 # least time between the starts of two events of one label at a camera
#armed = "always"             # or "never", or local times of day, as in "22:00-06:00,12:30-13:00"

# Each camera's own conf, classes and every, and the keys of [events]. A mask hides what stands in it (the middle of the
# box's lower side), and not the picture. Corners are shares of the picture from its top left: 0 to 1.
#[camera.yard]
#conf = 0.4
#classes = ["person", "car"]
#every = 2
#mask = [[[0, 0], [1, 0], [1, 0.2], [0, 0.2]]]
#cooldown = 30

# A zone, which events name. It counts its classes alone, and what stays in it for min-time.
#[camera.yard.zone.drive]
#polygon = [[0.1, 0.5], [0.9, 0.5], [1, 1], [0, 1]]
#classes = ["car"]
#min-time = 2
"#;

/// All tables.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CameraTables {
    /// `[events]`, if the file has it.
    events: Option<EventsTable>,
    /// `[camera.NAME]`.
    cameras: BTreeMap<CameraName, CameraTable>,
}

/// What the tables are parsed into; the file's other keys are the flags'.
#[derive(Debug, Deserialize)]
struct File {
    #[serde(default)]
    events: EventsKey,
    #[serde(default)]
    camera: BTreeMap<Name, CameraTable>,
}

/// `events` is a table, or the flag `--events`.
#[derive(Debug, Default)]
struct EventsKey(Option<EventsTable>);

#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct EventsTable {
    /// `--events`, which cannot stand beside the table in one file.
    file: Option<PathBuf>,
    min_time: Option<Seconds>,
    end_after: Option<Seconds>,
    cooldown: Option<Seconds>,
    armed: Option<Armed>,
}

#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct CameraTable {
    conf: Option<Score>,
    classes: Option<Names>,
    every: Option<EveryKey>,
    mask: Masks,
    min_time: Option<Seconds>,
    end_after: Option<Seconds>,
    cooldown: Option<Seconds>,
    armed: Option<Armed>,
    zone: Zones,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ZoneTable {
    polygon: Corners,
    #[serde(default)]
    classes: Names,
    #[serde(default)]
    min_time: Option<Seconds>,
}

#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(try_from = "BTreeMap<Name, ZoneTable>")]
struct Zones(Vec<Zone>);

impl CameraTables {
    /// Parses the tables of a file's text.
    ///
    /// # Errors
    /// With the line of the mistake, what is wrong and what is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|err| with_line(text, &err))?;
        if file.camera.len() > MAX_CAMERAS {
            return Err(format!("more than {MAX_CAMERAS} tables [camera.NAME]"));
        }
        let cameras = file.camera.into_iter().map(|(name, table)| (name.0, table));
        Ok(Self {
            events: file.events.0,
            cameras: cameras.collect(),
        })
    }

    /// Returns the file of `--events` that the table `[events]` names.
    pub fn events_file(&self) -> Option<&PathBuf> {
        self.events.as_ref()?.file.as_ref()
    }

    /// Returns whether events are wanted: `[events]` or a zone is there.
    pub fn want_events(&self) -> bool {
        let mut cameras = self.cameras.values();
        self.events.is_some() || cameras.any(|camera| !camera.zone.0.is_empty())
    }

    /// Returns the schedules of the model of cameras that have one of their own.
    pub fn every_of(&self) -> BTreeMap<CameraName, Every> {
        let cameras = self.cameras.iter();
        let own = cameras.filter_map(|(name, table)| Some((name.clone(), table.every?.0)));
        own.collect()
    }

    /// Returns the lowest score of a camera's boxes, where the other cameras' is `conf`.
    pub fn conf_of(&self, camera: &CameraName, conf: f32) -> f32 {
        let own = self.cameras.get(camera).and_then(|table| table.conf);
        own.map_or(conf, |own| own.0)
    }

    /// Returns which detections count at a camera, where the other cameras have `conf` and `classes`.
    pub fn filter_of(&self, camera: &CameraName, conf: f32, classes: &[String]) -> DetectionFilter {
        let table = self.cameras.get(camera);
        let own = table.and_then(|table| table.classes.as_ref());
        DetectionFilter {
            conf: self.conf_of(camera, conf),
            classes: own.map_or(classes, |own| &own.0).to_vec(),
            mask: table.map(|table| table.mask.0.clone()).unwrap_or_default(),
        }
    }

    /// Returns the lowest score and the classes that the model reports, so that each camera finds its own among them.
    pub fn for_all(&self, conf: f32, classes: &[String]) -> (f32, Vec<String>) {
        let scores = self.cameras.values().filter_map(|table| table.conf);
        let lowest = scores.fold(conf, |lowest, own| lowest.min(own.0));
        let own = self
            .cameras
            .values()
            .filter_map(|table| table.classes.as_ref());
        let mut all: Vec<&[String]> = own.map(|own| &own.0[..]).collect();
        all.push(classes);
        // One that wants all classes.
        if all.iter().any(|classes| classes.is_empty()) {
            return (lowest, Vec::new());
        }
        let mut all = all.concat();
        all.sort();
        all.dedup();
        (lowest, all)
    }

    /// Returns the settings of events; `min_score` is by camera.
    pub fn event_settings(&self, min_score: impl Fn(Option<&CameraName>) -> f32) -> EventSettings {
        let events = self.events.clone().unwrap_or_default();
        let built_in = CameraSettings::default();
        let time = |own: Option<Seconds>, else_: Duration| own.map_or(else_, |own| own.0);
        let default = CameraSettings {
            min_time: time(events.min_time, built_in.min_time),
            min_score: min_score(None),
            end_after: time(events.end_after, built_in.end_after),
            cooldown: time(events.cooldown, built_in.cooldown),
            armed: events.armed.map_or(built_in.armed, |armed| armed.0),
            zones: Vec::new(),
        };
        let cameras = self.cameras.iter().map(|(name, table)| {
            let settings = CameraSettings {
                min_time: time(table.min_time, default.min_time),
                min_score: min_score(Some(name)),
                end_after: time(table.end_after, default.end_after),
                cooldown: time(table.cooldown, default.cooldown),
                armed: table
                    .armed
                    .clone()
                    .map_or(default.armed.clone(), |armed| armed.0),
                zones: table.zone.0.clone(),
            };
            (name.clone(), settings)
        });
        EventSettings {
            cameras: cameras.collect(),
            default,
        }
    }
}

/// Returns an error on one line, with the number of the line in the file.
fn with_line(text: &str, err: &toml::de::Error) -> String {
    let why = err.message().replace('\n', " ");
    match err.span() {
        Some(span) => {
            let before = text.as_bytes().iter().take(span.start);
            let line = 1 + before.filter(|byte| **byte == b'\n').count();
            format!("line {line}: {why}")
        }
        None => why,
    }
}

impl<'de> Deserialize<'de> for EventsKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Key;

        impl<'de> Visitor<'de> for Key {
            type Value = EventsKey;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a file's name or a table")
            }

            fn visit_str<E>(self, _flag: &str) -> Result<EventsKey, E> {
                Ok(EventsKey(None))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<EventsKey, A::Error> {
                let table = EventsTable::deserialize(MapAccessDeserializer::new(map))?;
                Ok(EventsKey(Some(table)))
            }
        }

        deserializer.deserialize_any(Key)
    }
}

impl TryFrom<BTreeMap<Name, ZoneTable>> for Zones {
    type Error = String;

    fn try_from(zones: BTreeMap<Name, ZoneTable>) -> Result<Self, String> {
        const MAX: usize = EventMessage::MAX_ZONES;
        if zones.len() > MAX {
            return Err(format!("a camera has at most {MAX} zones"));
        }
        let zones = zones.into_iter().map(|(name, table)| Zone {
            name: name.0.to_string(),
            polygon: table.polygon.0,
            classes: table.classes.0,
            min_time: table.min_time.map_or(Duration::ZERO, |time| time.0),
        });
        Ok(Self(zones.collect()))
    }
}

#[cfg(test)]
mod tests;
