//! MQTT topics and Home Assistant's ids, made from names that may hold anything. Pure.
//!
//! A name is one level of a topic: `/`, `+` and `#` would make it two or a pattern, so they and `%` are written as in a URL
//! (`%2F`). A name that is a word of ours gets its first letter written so (`%7Aone` for a label `zone`). No two names make
//! the same level.

use std::fmt::Write as _;

use super::broker::{DEFAULT_PREFIX, Prefix};

/// Levels behind a camera that are ours, so that a label cannot have them.
const RESERVED_OF_CAMERA: [&str; 6] = ["detect", "zone", "online", "fps", "age", "picture"];
/// Levels behind the prefix that are ours, so that a camera cannot have them.
const RESERVED_OF_PREFIX: [&str; 3] = ["available", "events", "relay"];
/// First level of Home Assistant's discovery, by its default.
const DISCOVERY: &str = "homeassistant";

/// Makes the topics of one relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics {
    prefix: Prefix,
}

impl Topics {
    /// Returns the topics below a prefix.
    pub fn new(prefix: Prefix) -> Self {
        Self { prefix }
    }

    /// Returns what tells this relay from others by its name: a space and the prefix, unless that is the default.
    pub fn own_prefix(&self) -> String {
        match self.prefix.as_str() {
            DEFAULT_PREFIX => String::new(),
            prefix => format!(" {prefix}"),
        }
    }

    /// Returns the topic of whether the relay is there: the last will's.
    pub fn available(&self) -> String {
        self.below("available")
    }

    /// Returns the topic of event messages.
    pub fn events(&self) -> String {
        self.below("events")
    }

    /// Returns the topic of one of the relay's own figures.
    pub fn relay(&self, what: &str) -> String {
        self.below(&format!("relay/{what}"))
    }

    /// Returns the topic of one of a camera's figures; `what` is a reserved word.
    pub fn camera(&self, camera: &str, what: &str) -> String {
        self.below(&format!("{}/{what}", level(camera, &RESERVED_OF_PREFIX)))
    }

    /// Returns the topic of the objects of a label now, in a camera's picture or in one of its zones.
    pub fn count(&self, camera: &str, zone: Option<&str>, label: &str) -> String {
        match zone {
            None => self.camera(camera, &level(label, &RESERVED_OF_CAMERA)),
            Some(zone) => {
                let (zone, label) = (level(zone, &[]), level(label, &[]));
                self.camera(camera, &format!("zone/{zone}/{label}"))
            }
        }
    }

    /// Returns the topic of the picture of the last event of a label.
    pub fn snapshot(&self, camera: &str, label: &str) -> String {
        format!("{}/snapshot", self.count(camera, None, label))
    }

    /// Returns the topic that switches a camera's detection.
    pub fn detect_set(&self, camera: &str) -> String {
        self.camera(camera, "detect/set")
    }

    /// Returns the pattern of the switches of all cameras.
    pub fn detect_set_of_all(&self) -> String {
        self.below("+/detect/set")
    }

    /// Returns the topic of the discovery of a device, by its id.
    pub fn discovery(device: &str) -> String {
        format!("{DISCOVERY}/device/{device}/config")
    }

    /// Returns the id of the relay as a device of Home Assistant.
    pub fn relay_id(&self) -> String {
        id(&[self.prefix.as_str()])
    }

    /// Returns an id that no other camera, zone or label of this relay has: the prefix and these names.
    pub fn camera_id(&self, names: &[&str]) -> String {
        id(&[&[self.prefix.as_str()], names].concat())
    }

    fn below(&self, rest: &str) -> String {
        format!("{}/{rest}", self.prefix.as_str())
    }
}

/// Returns a name as one level of a topic.
fn level(name: &str, reserved: &[&str]) -> String {
    let mut text = String::with_capacity(name.len());
    let is_reserved = reserved.contains(&name);
    for (place, c) in name.chars().enumerate() {
        let escaped = matches!(c, '/' | '+' | '#' | '%') || c.is_control();
        if escaped || is_reserved && place == 0 {
            escape(c, '%', &mut text);
        } else {
            text.push(c);
        }
    }
    // MQTT permits an empty level, and some tools do not show it; no other name becomes `%` alone.
    if text.is_empty() {
        "%".to_owned()
    } else {
        text
    }
}

/// Returns names as one id of the letters that Home Assistant permits in a discovery topic: `[a-zA-Z0-9_-]`.
fn id(names: &[&str]) -> String {
    let mut text = String::new();
    for (place, name) in names.iter().enumerate() {
        if place > 0 {
            text.push('-');
        }
        for c in name.chars() {
            match c.is_ascii_alphanumeric() {
                true => text.push(c),
                false => escape(c, '_', &mut text),
            }
        }
    }
    text
}

/// Writes a character's bytes as hexadecimal digits.
fn escape(c: char, mark: char, text: &mut String) {
    let mut bytes = [0; 4];
    for byte in c.encode_utf8(&mut bytes).bytes() {
        // Writing to a string does not fail.
        let _ = write!(text, "{mark}{byte:02X}");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn topics() -> Topics {
        Topics::new("home/cams".parse().unwrap())
    }

    #[test]
    fn a_name_is_one_level_and_no_pattern() {
        let topics = topics();
        assert_eq!(topics.camera("yard", "fps"), "home/cams/yard/fps");
        for (label, wanted) in [
            ("person", "person"),
            ("cell phone", "cell phone"),
            ("a/b", "a%2Fb"),
            ("+", "%2B"),
            ("#1", "%231"),
            ("100%", "100%25"),
            ("\0\n", "%00%0A"),
            ("größe", "größe"),
            ("", "%"),
        ] {
            let topic = topics.count("yard", None, label);
            assert_eq!(topic, format!("home/cams/yard/{wanted}"));
        }
        assert_eq!(
            topics.count("yard", Some("a/b"), "person"),
            "home/cams/yard/zone/a%2Fb/person"
        );
        assert_eq!(
            topics.snapshot("yard", "a/b"),
            "home/cams/yard/a%2Fb/snapshot"
        );
    }

    #[test]
    fn a_name_that_is_a_word_of_ours_is_another_topic() {
        let topics = topics();
        assert_eq!(topics.count("yard", None, "zone"), "home/cams/yard/%7Aone");
        assert_eq!(topics.count("yard", None, "fps"), "home/cams/yard/%66ps");
        assert_eq!(
            topics.count("yard", Some("zone"), "fps"),
            "home/cams/yard/zone/zone/fps"
        );
        assert_eq!(
            topics.camera("available", "fps"),
            "home/cams/%61vailable/fps"
        );
        assert_eq!(topics.camera("relay", "online"), "home/cams/%72elay/online");
        assert_eq!(topics.camera("zone", "fps"), "home/cams/zone/fps");
    }

    #[test]
    fn no_two_names_have_a_topic_or_an_id_in_common() {
        let names = [
            "", "%", "a", "a/b", "a%2Fb", "a+b", "a_2Fb", "a-b", "a_b", "A", "zone", "%7Aone", "ä",
            "fps",
        ];
        let topics = topics();
        let levels: HashSet<_> = names
            .iter()
            .map(|name| topics.count("yard", None, name))
            .collect();
        assert_eq!(levels.len(), names.len());
        let mut ids = HashSet::new();
        for camera in names {
            for label in names {
                let id = topics.camera_id(&[camera, label]);
                assert!(
                    id.bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)),
                    "{id}"
                );
                ids.insert(id);
            }
            ids.insert(topics.camera_id(&[camera]));
        }
        assert_eq!(ids.len(), names.len() * (names.len() + 1));
    }
}
