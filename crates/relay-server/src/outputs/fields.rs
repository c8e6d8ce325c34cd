//! The fields of an event as texts: for the template of a webhook and the environment of a command. Pure.

use protocol::event::{CameraState, EndReason, EventMessage, Phase};

/// Names of all fields, in the order in which the documentation has them.
pub const NAMES: [&str; 14] = [
    "type",
    "id",
    "camera",
    "label",
    "score",
    "top_score",
    "zones",
    "entered_zones",
    "start",
    "end",
    "snapshot",
    "clip",
    "reason",
    "state",
];

/// Returns a field as text, empty where this event has none; `None` for a name that no event has. Scores are in per cent,
/// times in seconds since the Unix epoch.
pub fn text(message: &EventMessage, name: &str) -> Option<String> {
    if !NAMES.contains(&name) {
        return None;
    }
    let text = match (message, name) {
        (_, "type") => message.kind().to_owned(),
        (_, "camera") => message.camera().to_owned(),
        (EventMessage::Object(event), _) => match name {
            "id" => event.id.to_string(),
            "label" => event.label.clone(),
            "score" => percent(event.score),
            "top_score" => percent(event.top_score),
            "zones" => event.zones.join(", "),
            "entered_zones" => event.entered_zones.join(", "),
            "start" => event.start.to_string(),
            "end" => event.end.map(|end| end.to_string()).unwrap_or_default(),
            "snapshot" => event.snapshot.clone(),
            "clip" => event.clip.clone().unwrap_or_default(),
            "reason" => event.reason.map(reason).unwrap_or_default().to_owned(),
            _ => String::new(),
        },
        (EventMessage::Camera(event), "state") => match event.state {
            CameraState::Online => "online".to_owned(),
            CameraState::Offline => "offline".to_owned(),
        },
        (EventMessage::Camera(event), "start") => event.t.to_string(),
        (EventMessage::Camera(_), _) => String::new(),
    };
    Some(text)
}

/// Returns whether a message is worth a notification: an update is not.
pub fn is_news(message: &EventMessage) -> bool {
    !matches!(message, EventMessage::Object(event) if event.phase == Phase::Update)
}

fn percent(score: f32) -> String {
    format!("{:.0}", 100.0 * score)
}

fn reason(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Restart => "restart",
        EndReason::Stop => "stop",
        EndReason::Model => "model",
        EndReason::Disarmed => "disarmed",
        EndReason::Camera => "camera",
    }
}

/// Events for tests.
#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The start of an event at a camera, of an object of this label.
    pub(crate) fn start(camera: &str, label: &str) -> EventMessage {
        let quoted = serde_json::to_string(label).unwrap();
        let line = format!(
            r#"{{"v":1,"type":"start","id":"1763820000.123-a1b2","camera":"{camera}","label":{quoted},"score":0.87,"top_score":0.93,"box":[0.1,0.1,0.2,0.2],"zones":["drive","lawn"],"entered_zones":["drive","lawn"],"start":1763820000.1,"end":null,"snapshot":"/events/1763820000.123-a1b2/snapshot.jpg","clip":null}}"#
        );
        EventMessage::parse(line.as_bytes()).unwrap()
    }

    /// A camera that went offline.
    pub(crate) fn offline(camera: &str) -> EventMessage {
        let line = format!(
            r#"{{"v":1,"type":"camera","camera":"{camera}","state":"offline","t":1763820000.5}}"#
        );
        EventMessage::parse(line.as_bytes()).unwrap()
    }

    #[test]
    fn each_field_is_a_text_and_one_that_is_missing_is_empty() {
        let fields = |message| NAMES.map(|name| text(&message, name).unwrap());
        let of_start = fields(start("yard", "person"));
        assert_eq!(
            of_start[..4],
            ["start", "1763820000.123-a1b2", "yard", "person"]
        );
        assert_eq!(
            of_start[4..10],
            ["87", "93", "drive, lawn", "drive, lawn", "1763820000.1", ""]
        );
        let of_camera = fields(offline("yard"));
        assert_eq!(
            [&of_camera[0], &of_camera[2], &of_camera[13]],
            ["camera", "yard", "offline"]
        );
        assert!(of_camera[3].is_empty());
        assert_eq!(text(&offline("yard"), "colour"), None);
    }

    #[test]
    fn an_update_is_no_news() {
        assert!(is_news(&start("yard", "person")) && is_news(&offline("yard")));
        let EventMessage::Object(mut event) = start("yard", "person") else {
            panic!("an object");
        };
        event.phase = Phase::Update;
        assert!(!is_news(&EventMessage::Object(event)));
    }
}
