//! Home Assistant's discovery: one message a device, with all its entities. Pure.
//!
//! The format is that of <https://www.home-assistant.io/integrations/mqtt/#discovery-messages-and-availability>: a device,
//! its origin, and its components by their ids. An entity that is missing from a later message is removed by Home Assistant,
//! so each message has all labels and zones that were ever seen.

use serde_json::{Map, Value, json};

use super::seen::Place;
use super::topics::Topics;

/// This program in Home Assistant's list of devices.
const MAKER: &str = "Sightline";
/// The program's version.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Returns the discovery topic and message of a camera, with all labels and zones that were ever seen there.
pub fn camera<'a>(
    topics: &Topics,
    camera: &str,
    places: impl Iterator<Item = &'a Place>,
) -> (String, String) {
    let mut entities = Entities {
        topics,
        camera,
        all: Map::new(),
    };
    entities.add_own();
    for place in places {
        entities.add_place(place);
    }
    let device = topics.camera_id(&[camera]);
    let message = json!({
        "device": {
            "identifiers": [device],
            "name": camera,
            "manufacturer": MAKER,
            "model": "camera",
            "sw_version": VERSION,
            "via_device": topics.relay_id(),
        },
        "origin": origin(),
        "availability": [{ "topic": topics.available() }],
        "components": entities.all,
        "qos": 1,
    });
    (Topics::discovery(&device), message.to_string())
}

/// Returns the discovery topic and message of the relay.
pub fn relay(topics: &Topics) -> (String, String) {
    let device = topics.relay_id();
    let unique = |what: &str| format!("{device}-{what}");
    let message = json!({
        "device": {
            "identifiers": [device],
            "name": format!("{MAKER} relay{}", topics.own_prefix()),
            "manufacturer": MAKER,
            "model": "relay",
            "sw_version": VERSION,
        },
        "origin": origin(),
        "components": {
            "online": {
                "platform": "binary_sensor",
                "name": "Online",
                "unique_id": unique("online"),
                "device_class": "connectivity",
                "entity_category": "diagnostic",
                "state_topic": topics.available(),
                "payload_on": "online",
                "payload_off": "offline",
            },
            "version": {
                "platform": "sensor",
                "name": "Version",
                "unique_id": unique("version"),
                "icon": "mdi:tag",
                "entity_category": "diagnostic",
                "state_topic": topics.relay("version"),
            },
            "health": {
                "platform": "sensor",
                "name": "Health",
                "unique_id": unique("health"),
                "icon": "mdi:heart-pulse",
                "entity_category": "diagnostic",
                "state_topic": topics.relay("health"),
                "availability": [{ "topic": topics.available() }],
            },
        },
        "qos": 1,
    });
    (Topics::discovery(&device), message.to_string())
}

fn origin() -> Value {
    json!({ "name": MAKER, "sw_version": VERSION })
}

struct Entities<'a> {
    topics: &'a Topics,
    camera: &'a str,
    all: Map<String, Value>,
}

impl Entities<'_> {
    /// Adds what each camera has.
    fn add_own(&mut self) {
        let topic = |what: &str| self.topics.camera(self.camera, what);
        let [picture, fps, age, online, detect] =
            ["picture", "fps", "age", "online", "detect/state"].map(topic);
        // They follow the camera's own state: what was last known of one that is gone is not its state.
        let availability = json!([{ "topic": self.topics.available() }, { "topic": online }]);
        self.add(
            &["picture"],
            json!({ "platform": "camera", "name": "Picture", "topic": picture }),
        );
        self.add(
            &["online"],
            json!({
                "platform": "binary_sensor", "name": "Online", "device_class": "connectivity",
                "entity_category": "diagnostic",
                "state_topic": online, "payload_on": "online", "payload_off": "offline",
            }),
        );
        self.add(&["fps"], json!({
            "platform": "sensor", "name": "Frame rate", "unit_of_measurement": "fps", "state_class": "measurement",
            "entity_category": "diagnostic", "icon": "mdi:speedometer",
            "state_topic": fps, "availability": availability, "availability_mode": "all",
        }));
        self.add(&["age"], json!({
            "platform": "sensor", "name": "Age of the last frame", "device_class": "duration",
            "unit_of_measurement": "s", "state_class": "measurement", "entity_category": "diagnostic",
            "state_topic": age,
        }));
        self.add(
            &["detect"],
            json!({
                "platform": "switch", "name": "Detection", "icon": "mdi:motion-sensor",
                "state_topic": detect, "command_topic": self.topics.detect_set(self.camera),
                "payload_on": "ON", "payload_off": "OFF",
            }),
        );
    }

    /// Adds occupancy and count of a label in the picture or in a zone, and the picture of its last event.
    fn add_place(&mut self, place: &Place) {
        let Place { zone, label } = place;
        let count = self.topics.count(self.camera, zone.as_deref(), label);
        let (key, name) = match zone {
            None => (vec!["label", label], label.clone()),
            Some(zone) => (vec!["zone", zone, label], format!("{zone} {label}")),
        };
        let of = |what| [&key[..], &[what]].concat();
        self.add(&of("occupancy"), json!({
            "platform": "binary_sensor", "name": format!("{name} occupancy"), "device_class": "occupancy",
            "state_topic": count, "value_template": "{{ 'ON' if value | int(0) > 0 else 'OFF' }}",
        }));
        self.add(
            &of("count"),
            json!({
                "platform": "sensor", "name": format!("{name} count"), "state_class": "measurement",
                "icon": "mdi:counter", "state_topic": count,
            }),
        );
        if zone.is_none() {
            self.add(&of("snapshot"), json!({
                "platform": "image", "name": format!("Last {name}"), "content_type": "image/jpeg",
                "image_topic": self.topics.snapshot(self.camera, label),
            }));
        }
    }

    fn add(&mut self, key: &[&str], mut entity: Value) {
        let id = self.topics.camera_id(&[&[self.camera], key].concat());
        entity["unique_id"] = Value::String(id.clone());
        self.all.insert(id, entity);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics() -> Topics {
        Topics::new("sightline".parse().unwrap())
    }

    fn parsed((topic, message): (String, String)) -> (String, Value) {
        (topic, serde_json::from_str(&message).unwrap())
    }

    #[test]
    fn a_camera_is_a_device_with_its_own_entities_and_those_of_each_place() {
        let places = [
            Place::new(None, "person"),
            Place::new(Some("drive"), "person"),
        ];
        let (topic, message) = parsed(camera(&topics(), "yard", places.iter()));
        assert_eq!(topic, "homeassistant/device/sightline-yard/config");
        assert_eq!(message["device"]["identifiers"][0], "sightline-yard");
        assert_eq!(message["device"]["via_device"], "sightline");
        assert_eq!(message["availability"][0]["topic"], "sightline/available");
        assert_eq!(message["origin"]["name"], "Sightline");
        let components = message["components"].as_object().unwrap();
        let ids: Vec<_> = components.keys().map(String::as_str).collect();
        assert_eq!(
            ids,
            [
                "sightline-yard-age",
                "sightline-yard-detect",
                "sightline-yard-fps",
                "sightline-yard-label-person-count",
                "sightline-yard-label-person-occupancy",
                "sightline-yard-label-person-snapshot",
                "sightline-yard-online",
                "sightline-yard-picture",
                "sightline-yard-zone-drive-person-count",
                "sightline-yard-zone-drive-person-occupancy",
            ]
        );
        for (id, entity) in components {
            assert_eq!(entity["unique_id"], id.as_str());
            assert!(
                entity["name"].is_string() && entity["platform"].is_string(),
                "{id}"
            );
        }
        let of = |id: &str| &components[&format!("sightline-yard-{id}")];
        assert_eq!(of("picture")["topic"], "sightline/yard/picture");
        assert_eq!(of("detect")["command_topic"], "sightline/yard/detect/set");
        assert_eq!(of("detect")["state_topic"], "sightline/yard/detect/state");
        assert_eq!(
            of("label-person-count")["state_topic"],
            "sightline/yard/person"
        );
        assert_eq!(
            of("label-person-snapshot")["image_topic"],
            "sightline/yard/person/snapshot"
        );
        assert_eq!(
            of("zone-drive-person-count")["state_topic"],
            "sightline/yard/zone/drive/person"
        );
    }

    #[test]
    fn the_relay_is_a_device_with_version_and_health() {
        let (topic, message) = parsed(relay(&topics()));
        assert_eq!(topic, "homeassistant/device/sightline/config");
        assert_eq!(message["device"]["sw_version"], VERSION);
        assert_eq!(message["device"]["name"], "Sightline relay");
        let (_, other) = parsed(relay(&Topics::new("farm".parse().unwrap())));
        assert_eq!(other["device"]["name"], "Sightline relay farm");
        let components = &message["components"];
        assert_eq!(
            components["health"]["state_topic"],
            "sightline/relay/health"
        );
        assert_eq!(
            components["version"]["state_topic"],
            "sightline/relay/version"
        );
        assert_eq!(components["online"]["payload_on"], "online");
    }

    #[test]
    fn a_label_that_is_a_word_of_ours_takes_no_entity_from_the_camera() {
        let names = ["fps", "detect", "occupancy", "zone", "label"];
        let places: Vec<_> = names
            .into_iter()
            .flat_map(|name| [Place::new(None, name), Place::new(Some(name), name)])
            .collect();
        let (_, message) = parsed(camera(&topics(), "yard", places.iter()));
        assert_eq!(
            message["components"].as_object().unwrap().len(),
            5 + 5 * 3 + 5 * 2
        );
    }
}
