//! The event message: one line of JSON, the same bytes in `--events`, `/events` and every other output.
//!
//! An event is one object's stay in a camera's picture: one `start`, any number of `update`s, one `end`. A message of the
//! type `camera` reports that a camera went offline or came back.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::detections::Detections;
use crate::geometry::BBox;

/// What an output is sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum EventMessage {
    /// An object began to be seen, changed or is gone.
    Object(ObjectEvent),
    /// A camera went offline or came back.
    Camera(CameraEvent),
}

/// One object's stay in the picture, as it is known at this message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ObjectEvent {
    /// Version of the message, [`EventMessage::VERSION`].
    pub v: u32,
    /// Position of the message in its event.
    #[serde(rename = "type")]
    pub phase: Phase,
    /// Id of the event.
    pub id: EventId,
    /// Name of the camera.
    pub camera: String,
    /// Name of the object's class.
    pub label: String,
    /// Score when the object was last seen, 0 to 1.
    pub score: f32,
    /// Highest score so far.
    pub top_score: f32,
    /// Bounding box where the object was last seen.
    #[serde(rename = "box")]
    pub bbox: BBox,
    /// Zones that the object is in.
    pub zones: Vec<String>,
    /// Zones that the object has been in, in the order of its entries.
    pub entered_zones: Vec<String>,
    /// Time at which the object was first seen, in seconds since the Unix epoch, by the relay's clock.
    pub start: f64,
    /// Time at which the object was last seen; `None` until the event ends.
    pub end: Option<f64>,
    /// Path of the event's picture at the relay's HTTP server.
    pub snapshot: String,
    /// Path of the event's recording; `None` if there is none.
    pub clip: Option<String>,
    /// Cause of an end other than that the object is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<EndReason>,
}

/// Position of a message in its event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The first message.
    Start,
    /// A better picture, a new zone or another label.
    Update,
    /// The last message.
    End,
}

/// Cause of an end other than that the object is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndReason {
    /// The event was open when the relay died.
    Restart,
    /// The relay stops.
    Stop,
    /// Another model took over, whose labels mean something else.
    Model,
    /// The camera was disarmed.
    Disarmed,
    /// The camera gave its place to another one.
    Camera,
}

/// A camera that went offline or came back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CameraEvent {
    /// Version of the message, [`EventMessage::VERSION`].
    pub v: u32,
    /// Always `camera`.
    #[serde(rename = "type")]
    pub kind: CameraTag,
    /// Name of the camera.
    pub camera: String,
    /// State of the camera now.
    pub state: CameraState,
    /// Time of the change, in seconds since the Unix epoch, by the relay's clock.
    pub t: f64,
}

/// The type `camera` of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CameraTag {
    /// The only value.
    Camera,
}

/// Whether a camera sends frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CameraState {
    /// Frames come.
    Online,
    /// No frame came for 30 s.
    Offline,
}

/// Id of an event, as `1763820000.123-a1b2`: the time of its start, and random bits that keep two events of one
/// millisecond apart, also across restarts. Ids sort by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId {
    /// Start in milliseconds since the Unix epoch.
    start_ms: u64,
    random: u16,
}

/// Why a text is not an [`EventId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event's id is SECONDS.MILLISECONDS-HEX, as in 1763820000.123-a1b2")]
pub struct BadEventId;

/// Why bytes are not an event message.
#[derive(Debug, thiserror::Error)]
pub enum BadEvent {
    /// Bytes that are not the JSON of such a message.
    #[error("not an event message: {0}")]
    Json(#[from] serde_json::Error),
    /// A later version of the message.
    #[error("an event message of version {0}; this program knows {known}", known = EventMessage::VERSION)]
    Version(u32),
    /// A score, a coordinate or a time out of range, an end before its start, an end that is missing or too early, too many
    /// zones, or a name that is too long or has control characters.
    #[error("an event message with values out of range")]
    Range,
}

impl EventId {
    /// Latest start, [`Detections::MAX_TIME`]: so each id is that of a message which can be read.
    const MAX_START_MS: u64 = u64::MAX / 1_000;

    /// Returns the id of an event that starts at so many milliseconds since the Unix epoch.
    pub fn new(start_ms: u64, random: u16) -> Self {
        Self {
            start_ms: start_ms.min(Self::MAX_START_MS),
            random,
        }
    }

    /// Returns the start in milliseconds since the Unix epoch.
    pub fn start_ms(self) -> u64 {
        self.start_ms
    }

    /// Returns the path of the event's picture at the relay's HTTP server.
    pub fn snapshot_path(self) -> String {
        format!("/events/{self}/snapshot.jpg")
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, ms) = (self.start_ms / 1000, self.start_ms % 1000);
        write!(f, "{seconds}.{ms:03}-{:04x}", self.random)
    }
}

impl FromStr for EventId {
    type Err = BadEventId;

    fn from_str(s: &str) -> Result<Self, BadEventId> {
        let parsed = || {
            let (time, random) = s.split_once('-')?;
            let (seconds, ms) = time.split_once('.')?;
            let start_ms = seconds.parse::<u64>().ok()?.checked_mul(1000)?;
            let start_ms = start_ms.checked_add(ms.parse().ok()?)?;
            Some(Self::new(start_ms, u16::from_str_radix(random, 16).ok()?))
        };
        // One id has one text: `parse` takes signs and leading zeros too.
        let id = parsed().filter(|id| id.to_string() == s);
        id.ok_or(BadEventId)
    }
}

impl Serialize for EventId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EventId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl EventMessage {
    /// Version of the message that this program writes and reads.
    pub const VERSION: u32 = 1;
    /// Most zones of one camera, and so of one message.
    pub const MAX_ZONES: usize = 32;

    /// Returns the message as one line of JSON, without the line's end.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers, strings and lists always have a JSON form")
    }

    /// Returns the camera's name.
    pub fn camera(&self) -> &str {
        match self {
            Self::Object(event) => &event.camera,
            Self::Camera(event) => &event.camera,
        }
    }

    /// Returns the type of the message, as it stands in the JSON.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Camera(_) => "camera",
            Self::Object(event) => match event.phase {
                Phase::Start => "start",
                Phase::Update => "update",
                Phase::End => "end",
            },
        }
    }

    /// Parses one line of JSON.
    ///
    /// # Errors
    /// [`BadEvent`], also for values out of range.
    pub fn parse(line: &[u8]) -> Result<Self, BadEvent> {
        let message: Self = serde_json::from_slice(line)?;
        let (version, good) = match &message {
            Self::Object(event) => (event.v, event.is_sane()),
            Self::Camera(event) => (event.v, is_name(&event.camera) && is_time(event.t)),
        };
        match (version, good) {
            (Self::VERSION, true) => Ok(message),
            (Self::VERSION, false) => Err(BadEvent::Range),
            (other, _) => Err(BadEvent::Version(other)),
        }
    }
}

impl ObjectEvent {
    fn is_sane(&self) -> bool {
        let unit = |x: &f32| (0.0..=1.0).contains(x);
        let zones = |zones: &[String]| {
            zones.len() <= EventMessage::MAX_ZONES && zones.iter().all(|zone| is_name(zone))
        };
        let end = match self.end {
            Some(end) => self.phase == Phase::End && is_time(end) && self.start <= end,
            None => self.phase != Phase::End,
        };
        end && is_time(self.start)
            && [self.score, self.top_score].iter().all(unit)
            && self.bbox.edges().iter().all(unit)
            && [&self.camera, &self.label, &self.snapshot].map(|s| is_name(s)) == [true; 3]
            && self.clip.as_deref().is_none_or(is_name)
            && zones(&self.zones)
            && zones(&self.entered_zones)
    }
}

fn is_name(s: &str) -> bool {
    s.len() <= Detections::MAX_NAME && !s.contains(char::is_control)
}

fn is_time(t: f64) -> bool {
    (0.0..=Detections::MAX_TIME).contains(&t)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: &str = r#"{"v":1,"type":"start","id":"1763820000.123-a1b2","camera":"yard","label":"person","score":0.87,"top_score":0.93,"box":[0.1,0.2,0.3,0.4],"zones":["drive"],"entered_zones":["drive"],"start":1763820000.123,"end":null,"snapshot":"/events/1763820000.123-a1b2/snapshot.jpg","clip":null}"#;
    const CAMERA: &str =
        r#"{"v":1,"type":"camera","camera":"yard","state":"offline","t":1763820000.123}"#;

    fn end() -> String {
        let ended = START.replace("\"start\",\"id", "\"end\",\"id");
        ended.replace("\"end\":null", "\"end\":1763820009.5")
    }

    #[test]
    fn the_messages_of_the_documentation_are_read_and_written_to_the_byte() {
        let with_reason = end().replace("null}", "null,\"reason\":\"restart\"}");
        for line in [START, CAMERA, &end(), &with_reason] {
            let message = EventMessage::parse(line.as_bytes()).unwrap();
            assert_eq!(message.to_json(), line);
            assert!(line.contains(&format!(r#""type":"{}""#, message.kind())));
            assert_eq!(message.camera(), "yard");
        }
    }

    #[test]
    fn hostile_messages_are_refused() {
        let many = format!("[{}]", vec!["\"z\""; 33].join(","));
        for (line, old, new) in [
            (START, r#""v":1"#, r#""v":2"#),
            (START, "0.87", "1.5"),
            (START, "0.93", "-1"),
            (START, "0.1,0.2", "0.1,9"),
            (START, "\"start\",\"id", "\"begin\",\"id"),
            (START, "a1b2", "A1b2"),
            (START, "person", "\\u001b[2J"),
            (START, "drive", "a\\nb"),
            (START, "[\"drive\"]", &many),
            (START, "yard", &"x".repeat(257)),
            (START, ":1763820000.123", ":-1"),
            (START, "\"end\":null", "\"end\":1763820001"),
            (&end(), "1763820009.5", "1763820000"),
            (&end(), "1763820009.5", "null"),
            (CAMERA, "offline", "asleep"),
            (CAMERA, "1763820000.123", "1e99"),
        ] {
            let hostile = line.replace(old, new);
            assert_ne!(hostile, line);
            assert!(
                EventMessage::parse(hostile.as_bytes()).is_err(),
                "{hostile}"
            );
        }
    }

    #[test]
    fn an_id_has_one_text_and_ids_sort_by_time() {
        let id: EventId = "1763820000.123-a1b2".parse().unwrap();
        assert_eq!(id, EventId::new(1_763_820_000_123, 0xa1b2));
        assert!(id < EventId::new(1_763_820_000_124, 0));
        for bad in [
            "",
            "1-a1b2",
            "1.23-a1b2",
            "1.1234-a1b2",
            "+1.123-a1b2",
            "01.123-a1b2",
            "1.123-a1b",
            "1.123-A1B2",
            "1.123-a1b2c",
            "1.123/a1b2",
            "18446744073709551615.000-0000",
            "99999999999999999.000-0000",
        ] {
            assert_eq!(bad.parse::<EventId>(), Err(BadEventId), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_id_that_is_written_is_read(start_ms in any::<u64>(), random in any::<u16>()) {
            let id = EventId::new(start_ms, random);
            prop_assert_eq!(id.to_string().parse(), Ok(id));
        }

        #[test]
        fn any_text_gives_an_id_or_a_reason(text in "[0-9a-f.+-]{0,24}") {
            if let Ok(id) = text.parse::<EventId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }

        #[test]
        fn any_bytes_give_a_message_or_a_reason(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = EventMessage::parse(&bytes);
        }

        #[test]
        fn what_is_written_is_read(score in 0f32..=1.0, x in 0f32..=1.0, start_ms in 0u64..1 << 45, label in "\\PC{0,20}") {
            let EventMessage::Object(mut event) = EventMessage::parse(START.as_bytes()).unwrap() else {
                panic!("an object's");
            };
            (event.score, event.label, event.start) = (score, label, start_ms as f64 / 1e3);
            event.bbox = [x, 0.0, 1.0, x].into();
            let message = EventMessage::Object(event);
            prop_assert_eq!(EventMessage::parse(message.to_json().as_bytes()).unwrap(), message);
        }
    }
}
