//! Where the viewer stands with its relay, in words: the same for the window and for the log. Pure but for the log call.

use std::time::{Duration, Instant};

use platform::config::Transport;
use protocol::label::CameraName;
use protocol::lease::{ANSWER_TIMEOUT, RENEW, RelayKind};
use tracing::{info, warn};

use crate::receive::{Native, Plan, Status};

/// Until the second hello has met with no answer either, nothing is complained of.
const PATIENCE: Duration = RENEW.saturating_add(ANSWER_TIMEOUT);

/// What the viewer waits for, if anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Situation {
    /// It has only just asked.
    Looking,
    /// The relay's name has no address.
    Unresolved,
    /// Nobody answers.
    NotFound,
    /// Somebody answered; frames should come at any moment.
    Found,
    /// The relay has no place for another viewer.
    Full,
    /// The relay is there, and no frame ever came.
    NoCamera,
    /// The camera that was asked for is not there; these are.
    OtherCameras(Vec<CameraName>),
    /// A camera was asked for, and the relay's native door, which alone could show it, does not open.
    Shut,
    /// A camera was asked for at a tutorial's relay, which has no choice.
    NoChoice,
    /// Frames came and do not any more.
    Stopped,
    /// The same, and the relay says that it has no camera any more either.
    CameraGone,
    /// Frames come.
    Live,
}

impl Situation {
    /// The situation by what is known of the relay; `live` is `None` before the first frame.
    pub(crate) fn of(plan: &Plan, status: &Status, live: Option<bool>, now: Instant) -> Self {
        let patient = now.saturating_duration_since(status.since) < PATIENCE;
        match (status.native, status.peer) {
            _ if live == Some(true) => Self::Live,
            _ if !status.resolved && !patient => Self::Unresolved,
            _ if !status.resolved => Self::Looking,
            (Native::Open, _) => Self::at_the_native_door(plan, status, live, patient),
            (Native::Full, _) if plan.camera.is_some() || plan.transport == Transport::Quic => {
                Self::Full
            }
            (_, RelayKind::Silent) if patient => Self::Looking,
            (_, RelayKind::Silent) => Self::NotFound,
            (_, RelayKind::SightlineFull) => Self::Full,
            (_, RelayKind::Tutorial) if plan.camera.is_some() => Self::NoChoice,
            (_, _) if plan.camera.is_some() && !patient => Self::Shut,
            (_, _) => Self::without_frames(live, patient),
        }
    }

    fn at_the_native_door(plan: &Plan, status: &Status, live: Option<bool>, patient: bool) -> Self {
        match &plan.camera {
            Some(asked) if !status.cameras.contains(asked) => {
                Self::OtherCameras(status.cameras.clone())
            }
            None if live.is_some() && status.cameras.is_empty() => Self::CameraGone,
            _ => Self::without_frames(live, patient),
        }
    }

    fn without_frames(live: Option<bool>, patient: bool) -> Self {
        match live {
            Some(_) => Self::Stopped,
            None if patient => Self::Found,
            None => Self::NoCamera,
        }
    }

    /// What the window says; nothing while frames come.
    pub(crate) fn lines(&self, plan: &Plan) -> Vec<String> {
        let host = &plan.host;
        let camera = plan.camera.as_ref().map_or("", CameraName::as_str);
        match self {
            Self::Looking => vec![format!("Looking for a relay at {host} ...")],
            Self::Unresolved => vec![format!("'{}' does not resolve;", name(host)), cure(plan)],
            Self::NotFound => vec![format!("No relay found at {host};"), cure(plan)],
            Self::Found => vec![format!("Relay found at {host}")],
            Self::Full => vec![format!("The relay at {host} has no free place")],
            Self::NoCamera => vec![
                format!("Relay found at {host};"),
                "no camera is live yet".to_owned(),
            ],
            Self::OtherCameras(live) => vec![
                format!("Camera '{camera}' is not live at {host};"),
                others(live),
            ],
            Self::Shut => vec![
                format!("The native door (QUIC) of the relay at {host} does not open,"),
                format!("and only there camera '{camera}' can be chosen"),
            ],
            Self::NoChoice => vec![
                format!("The relay at {host} is a tutorial's and has one camera;"),
                format!("it is shown without --camera {camera}"),
            ],
            Self::Stopped => vec![format!("No frames from the relay at {host}")],
            Self::CameraGone => vec![
                format!("No frames from the relay at {host}:"),
                "it has none from its camera".to_owned(),
            ],
            Self::Live => vec![],
        }
    }

    /// The same for the log, to be called when the situation changes.
    pub(crate) fn log(&self, plan: &Plan) {
        let what = self.lines(plan).join(" ");
        match self {
            Self::Looking | Self::Found => info!("{what}"),
            Self::Live => info!(relay = %plan.host, "frames come"),
            // Who follows the name has said so, with the resolver's reason.
            Self::Unresolved => {}
            Self::NotFound
            | Self::Full
            | Self::NoCamera
            | Self::OtherCameras(_)
            | Self::Shut
            | Self::NoChoice
            | Self::Stopped
            | Self::CameraGone => warn!("{what}"),
        }
    }
}

/// What helps where nobody answers.
fn cure(plan: &Plan) -> String {
    match plan.transport {
        _ if plan.has_ticket() => "the relay's log shows the ticket in force",
        Transport::Quic => "--transport auto tries the plain door too",
        Transport::Auto | Transport::Udp => "another one: viewer --server HOST[:PORT]",
    }
    .to_owned()
}

fn others(live: &[CameraName]) -> String {
    let names: Vec<_> = live.iter().map(CameraName::as_str).collect();
    match names.is_empty() {
        true => "none is".to_owned(),
        false => format!("live are: {}", names.join(", ")),
    }
}

/// The host of `host:port`.
fn name(host: &str) -> &str {
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::Args;
    use crate::receive::Door;

    const SOON: Duration = Duration::from_millis(500);
    const LATE: Duration = Duration::from_secs(3);

    fn plan(words: &[&str]) -> Plan {
        let server = ["viewer", "--server", "relay.example"];
        Plan::of(&Args::parse_from(server.iter().chain(words)))
    }

    fn of(plan: &Plan, status: &Status, live: Option<bool>, elapsed: Duration) -> String {
        let situation = Situation::of(plan, status, live, status.since + elapsed);
        situation.lines(plan).join(" ")
    }

    fn status(peer: RelayKind, native: Native) -> Status {
        let mut status = Status::new(Door::Plain, testkit::time::start());
        (status.resolved, status.peer, status.native) = (true, peer, native);
        status
    }

    fn lines(peer: RelayKind, live: Option<bool>, elapsed: Duration) -> String {
        of(&plan(&[]), &status(peer, Native::Shut), live, elapsed)
    }

    #[test]
    fn a_silent_address_is_named_with_the_cure() {
        assert_eq!(
            lines(RelayKind::Silent, None, SOON),
            "Looking for a relay at relay.example:8081 ..."
        );
        let late = lines(RelayKind::Silent, None, LATE);
        assert!(late.starts_with("No relay found at relay.example:8081"));
        assert!(late.contains("viewer --server HOST[:PORT]"));
        let silent = status(RelayKind::Silent, Native::Shut);
        let late = of(&plan(&["--transport", "quic"]), &silent, None, LATE);
        assert!(late.contains("--transport auto"), "{late}");
    }

    #[test]
    fn a_name_that_does_not_resolve_is_told_from_a_silent_relay() {
        let unresolved = Status::new(Door::Plain, testkit::time::start());
        let late = of(&plan(&[]), &unresolved, None, LATE);
        assert!(
            late.starts_with("'relay.example' does not resolve"),
            "{late}"
        );
        assert!(of(&plan(&[]), &unresolved, None, SOON).starts_with("Looking"));
    }

    #[test]
    fn a_relay_without_camera_is_told_from_a_full_one() {
        let open = status(RelayKind::Sightline, Native::Open);
        for status in [
            status(RelayKind::Sightline, Native::Shut),
            status(RelayKind::Tutorial, Native::Shut),
            open,
        ] {
            let lines = |elapsed| of(&plan(&[]), &status, None, elapsed);
            assert_eq!(lines(SOON), "Relay found at relay.example:8081");
            assert_eq!(
                lines(LATE),
                "Relay found at relay.example:8081; no camera is live yet"
            );
        }
        assert!(lines(RelayKind::SightlineFull, None, SOON).contains("no free place"));
        let full = status(RelayKind::Silent, Native::Full);
        let quic = plan(&["--transport", "quic"]);
        assert!(of(&quic, &full, None, SOON).contains("no free place"));
    }

    #[test]
    fn a_camera_that_is_not_there_is_named_with_those_that_are() {
        let plan = plan(&["--camera", "yard"]);
        let mut open = status(RelayKind::Sightline, Native::Open);
        let missing = |open: &Status| of(&plan, open, None, SOON);
        let words = missing(&open);
        assert!(
            words.contains("'yard' is not live") && words.contains("none is"),
            "{words}"
        );
        open.cameras = vec!["door".parse().unwrap(), "gate 2".parse().unwrap()];
        let words = missing(&open);
        assert!(words.contains("live are: door, gate 2"), "{words}");
        open.cameras.push("yard".parse().unwrap());
        assert!(missing(&open).starts_with("Relay found"));
    }

    #[test]
    fn why_a_chosen_camera_cannot_be_shown_at_the_plain_door_is_said() {
        let plan = plan(&["--camera", "yard"]);
        let shut = status(RelayKind::Sightline, Native::Shut);
        assert!(of(&plan, &shut, None, SOON).starts_with("Relay found"));
        let late = of(&plan, &shut, None, LATE);
        assert!(
            late.contains("does not open") && late.contains("'yard'"),
            "{late}"
        );
        let tutorial = status(RelayKind::Tutorial, Native::Shut);
        let words = of(&plan, &tutorial, None, SOON);
        assert!(
            words.contains("one camera") && words.contains("without --camera yard"),
            "{words}"
        );
    }

    #[test]
    fn frames_that_come_need_no_words_and_frames_that_stop_do() {
        for peer in [
            RelayKind::Sightline,
            RelayKind::Tutorial,
            RelayKind::SightlineFull,
            RelayKind::Silent,
        ] {
            assert_eq!(lines(peer, Some(true), LATE), "");
        }
        assert!(lines(RelayKind::Sightline, Some(false), LATE).starts_with("No frames"));
        assert!(lines(RelayKind::Silent, Some(false), LATE).starts_with("No relay"));
        let mut open = status(RelayKind::Sightline, Native::Open);
        let stopped = |open: &Status| of(&plan(&[]), open, Some(false), LATE);
        assert!(stopped(&open).ends_with("none from its camera"));
        open.cameras.push("yard".parse().unwrap());
        assert!(stopped(&open).starts_with("No frames") && !stopped(&open).contains("camera"));
    }
}
