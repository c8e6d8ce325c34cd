//! The detections message: one line of JSON, the same bytes by every transport and in the `--detections` file.

use std::time::Duration;

use serde::{Deserialize, Serialize};

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
    /// Confidence, 0 to 1.
    pub score: f32,
    /// Bounding box in the displayed picture.
    #[serde(rename = "box")]
    pub bbox: BBox,
}

/// Why bytes are not a detections message.
#[derive(Debug, thiserror::Error)]
pub enum BadDetections {
    /// Bytes that are not the JSON of such a message.
    #[error("not a detections message: {0}")]
    Json(#[from] serde_json::Error),
    /// A later version of the message.
    #[error("a detections message of version {0}; this program knows {known}", known = Detections::VERSION)]
    Version(u32),
    /// A score or a coordinate outside 0 to 1, an invalid time, more boxes than [`Detections::MAX`], or a name that is too
    /// long or has control characters.
    #[error("a detections message with values out of range")]
    Range,
}

impl Detections {
    /// Version of the message that this program writes and reads.
    pub const VERSION: u32 = 1;
    /// Largest number of boxes in one message, as many as the model's post-processing keeps.
    pub const MAX: usize = 1000;
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
        let good = message.t.is_finite()
            && message.infer_ms.is_none_or(time)
            && name(&message.camera)
            && message.model.as_deref().is_none_or(name)
            && message.detections.len() <= Self::MAX
            && message.detections.iter().all(sane);
        good.then_some(message).ok_or(BadDetections::Range)
    }
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
        ] {
            let line = LINE.replace(old, new);
            assert_ne!(line, LINE);
            assert!(Detections::parse(line.as_bytes()).is_err(), "{line}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            seq in any::<u64>(), score in 0f32..=1.0, x in 0f32..=1.0, label in "\\PC{0,20}", id in any::<Option<u64>>(),
        ) {
            let mut message = Detections::parse(LINE.as_bytes()).unwrap();
            message.seq = seq;
            message.detections[0] = Detection { id, class: 3, label, score, bbox: [x, 0.0, 1.0, x].into() };
            prop_assert_eq!(Detections::parse(message.to_json().as_bytes()).unwrap(), message);
        }

        #[test]
        fn any_bytes_give_a_message_or_a_reason(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Detections::parse(&bytes);
        }
    }
}
