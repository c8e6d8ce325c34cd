//! The detections message: one line of JSON, the same bytes by every transport and in the `--detections` file.

use std::fmt;
use std::time::Duration;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::geometry::{BBox, Size};

/// The boxes of one frame, from the model or from the tracker between two inferences.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Detections {
    /// Version of the message, [`Detections::VERSION`].
    pub v: u32,
    /// The camera's name.
    pub camera: String,
    /// Number of the frame the boxes belong to: its label's, or the relay's count if it has none.
    pub seq: u64,
    /// Capture time (arrival if there is no label) in seconds since the Unix epoch.
    pub t: f64,
    /// Width of the displayed picture in pixels.
    pub w: u16,
    /// Height of the displayed picture in pixels.
    pub h: u16,
    /// Origin of the boxes.
    pub kind: Kind,
    /// Time from taking the JPEG to final boxes, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub infer_ms: Option<f32>,
    /// Name of the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The boxes, best score first.
    #[serde(deserialize_with = "bounded")]
    pub detections: Vec<Detection>,
}

/// Origin of boxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The model's own detections of that frame, unaltered.
    Inferred,
    /// The tracks' boxes at that frame.
    Tracked,
}

/// A detector's result for one picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Size of the displayed picture.
    pub size: Size,
    /// Time from taking the JPEG to final boxes.
    pub took: Duration,
    /// The detections, best score first.
    pub detections: Vec<Detection>,
}

/// One detected or tracked object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// Number of its track, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// Number of its class in the model.
    pub class: usize,
    /// Name of its class.
    pub label: String,
    /// Confidence, 0 to 1: the model's, or of a fading box less with its age.
    pub score: f32,
    /// Whether the newest inference missed a track's object, or is too long ago. The score is then not the model's, and no screen
    /// shows it as that. Absent from the JSON if false; version 0.1 ignores it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fading: bool,
    /// Bounding box in the displayed picture.
    #[serde(rename = "box")]
    pub bbox: BBox,
}

/// Why bytes are not a detections message.
#[derive(Debug, thiserror::Error)]
pub enum BadDetections {
    /// Bytes that are not the JSON of such a message, or one with more boxes than [`Detections::MAX`].
    #[error("not a detections message: {0}")]
    Json(#[from] serde_json::Error),
    /// A later version of the message.
    #[error("a detections message of version {0}; this program knows {known}", known = Detections::VERSION)]
    Version(u32),
    /// A score or a coordinate outside 0 to 1, a time that no label holds, or a name that is too long or has control
    /// characters.
    #[error("a detections message with values out of range")]
    Range,
}

impl Detections {
    /// Version of the message that this program writes and reads.
    pub const VERSION: u32 = 1;
    /// Largest number of boxes in one message, as many as the model's post-processing keeps.
    pub const MAX: usize = 1000;
    /// Largest number of boxes that a program draws on one picture, the best scores of them: as many as COCO's evaluation
    /// counts, and more than are legible. It bounds what a screen spends on a frame, and what it keeps of one.
    pub const MAX_DRAWN: usize = 100;
    /// Latest capture time in seconds since the Unix epoch: a frame's label holds microseconds in 64 bits.
    pub const MAX_TIME: f64 = u64::MAX as f64 / 1e6;
    /// Length of the longest name in a message (camera, model, class) in bytes: names are drawn into pictures.
    pub const MAX_NAME: usize = 256;

    /// Returns the message as one line of JSON, without the line's end.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers, strings and lists always have a JSON form")
    }

    /// Parses one line of JSON.
    ///
    /// # Errors
    /// [`BadDetections`], also for values out of range.
    pub fn parse(line: &[u8]) -> Result<Self, BadDetections> {
        let message: Self = serde_json::from_slice(line)?;
        if message.v != Self::VERSION {
            return Err(BadDetections::Version(message.v));
        }
        let unit = |x: &f32| (0.0..=1.0).contains(x);
        let name = |s: &str| s.len() <= Self::MAX_NAME && !s.contains(char::is_control);
        let sane =
            |d: &Detection| unit(&d.score) && d.bbox.edges().iter().all(unit) && name(&d.label);
        let time = |ms: f32| ms.is_finite() && ms >= 0.0;
        let good = (0.0..=Self::MAX_TIME).contains(&message.t)
            && message.infer_ms.is_none_or(time)
            && name(&message.camera)
            && message.model.as_deref().is_none_or(name)
            && message.detections.iter().all(sane);
        good.then_some(message).ok_or(BadDetections::Range)
    }

    /// Keeps the boxes that are drawn, those with the best scores, best first. The order of a peer's boxes proves nothing.
    pub fn keep_drawn(&mut self) {
        let boxes = &mut self.detections;
        // A stable sort: boxes of one score keep their order from frame to frame.
        boxes.sort_by(|a, b| b.score.total_cmp(&a.score));
        if boxes.len() > Self::MAX_DRAWN {
            boxes.truncate(Self::MAX_DRAWN);
            boxes.shrink_to_fit();
        }
    }
}

/// Parses a list of at most [`Detections::MAX`] boxes, and stops at the first one too many.
fn bounded<'de, D: Deserializer<'de>>(list: D) -> Result<Vec<Detection>, D::Error> {
    struct Bounded;

    impl<'de> Visitor<'de> for Bounded {
        type Value = Vec<Detection>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {} boxes", Detections::MAX)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut boxes = Vec::new();
            while let Some(detection) = list.next_element()? {
                if boxes.len() == Detections::MAX {
                    return Err(A::Error::invalid_length(boxes.len() + 1, &self));
                }
                boxes.push(detection);
            }
            Ok(boxes)
        }
    }

    list.deserialize_seq(Bounded)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LINE: &str = r#"{"v":1,"camera":"yard","seq":1234,"t":1763820000.123,"w":300,"h":200,"kind":"inferred","infer_ms":41.2,"model":"yolov5n","detections":[{"id":7,"class":0,"label":"person","score":0.87,"box":[0.1,0.2,0.3,0.4]}]}"#;

    #[test]
    fn the_message_of_the_documentation_is_read_and_written_to_the_byte() {
        let message = Detections::parse(LINE.as_bytes()).unwrap();
        assert_eq!(message.detections[0].label, "person");
        assert_eq!(message.to_json(), LINE);
    }

    #[test]
    fn hostile_messages_are_refused() {
        for (old, new) in [
            (r#""v":1"#, r#""v":2"#),
            ("0.87", "1.5"),
            ("0.1,0.2", "-0.1,0.2"),
            ("0.1,0.2", "1e99,0.2"),
            (r#""inferred""#, r#""guessed""#),
            ("41.2", "1e39"),
            ("41.2", "-1"),
            ("0.1,0.2,", "0.1,"),
            ("person", "\\u001b[2J"),
            ("yolov5n", "a\\nb"),
            ("yard", &"x".repeat(257)),
            ("1763820000.123", "-1"),
            ("1763820000.123", "1e14"),
            ("1763820000.123", "1e999"),
            ("1763820000.123", "null"),
            ("1234", "18446744073709551616"),
            ("1234", "-1"),
            ("1234", "1e3"),
        ] {
            let line = LINE.replace(old, new);
            assert_ne!(line, LINE);
            assert!(Detections::parse(line.as_bytes()).is_err(), "{line}");
        }
    }

    /// The line of a message with so many boxes; their scores rise.
    fn with_boxes(count: usize) -> String {
        let mut message = Detections::parse(LINE.as_bytes()).unwrap();
        let one = message.detections[0].clone();
        let rising = |n: usize| Detection {
            id: Some(n as u64),
            score: n as f32 / count as f32,
            ..one.clone()
        };
        message.detections = (0..count).map(rising).collect();
        message.to_json()
    }

    #[test]
    fn a_message_has_1000_boxes_at_most_and_parsing_ends_at_the_next_one() {
        let parsed = |line: String| Detections::parse(line.as_bytes());
        assert_eq!(parsed(with_boxes(1000)).unwrap().detections.len(), 1000);
        let why = parsed(with_boxes(1001)).unwrap_err().to_string();
        assert!(why.contains("a list of at most 1000 boxes"), "{why}");
        // Nothing behind the box that is one too many is read, or this would be an error of syntax.
        let torn = with_boxes(1001).replace(r#"}]}"#, r#"},?"#);
        let why = parsed(torn).unwrap_err().to_string();
        assert!(why.contains("at most 1000 boxes"), "{why}");
    }

    #[test]
    fn the_100_best_boxes_are_drawn_whatever_their_order() {
        let mut message = Detections::parse(with_boxes(1000).as_bytes()).unwrap();
        message.keep_drawn();
        let ids: Vec<_> = message.detections.iter().flat_map(|d| d.id).collect();
        assert_eq!(ids, (900..1000).rev().collect::<Vec<_>>());
        assert!(message.detections.capacity() < 200, "memory is given back");
    }

    #[test]
    fn boxes_of_one_score_keep_their_order() {
        let mut message = Detections::parse(with_boxes(300).as_bytes()).unwrap();
        message.detections.iter_mut().for_each(|d| d.score = 0.5);
        message.keep_drawn();
        let ids: Vec<_> = message.detections.iter().flat_map(|d| d.id).collect();
        assert_eq!(ids, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn any_time_of_a_label_is_a_time_of_a_message() {
        for us in [0, 1, u64::MAX] {
            let mut message = Detections::parse(LINE.as_bytes()).unwrap();
            message.t = us as f64 / 1e6;
            assert_eq!(
                Detections::parse(message.to_json().as_bytes()).unwrap(),
                message
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            seq in any::<u64>(), score in 0f32..=1.0, x in 0f32..=1.0, label in "\\PC{0,20}", id in any::<Option<u64>>(), fading in any::<bool>(),
        ) {
            let mut message = Detections::parse(LINE.as_bytes()).unwrap();
            message.seq = seq;
            message.detections[0] = Detection { id, class: 3, label, score, fading, bbox: [x, 0.0, 1.0, x].into() };
            prop_assert_eq!(Detections::parse(message.to_json().as_bytes()).unwrap(), message);
        }

        #[test]
        fn any_bytes_give_a_message_or_a_reason(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Detections::parse(&bytes);
        }
    }
}
