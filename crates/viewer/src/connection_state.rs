//! What the viewer waits for, in words: the same for the window and for the log. Pure but for the log call.

use std::time::{Duration, Instant};

use platform::config::TransportChoice;
use protocol::datagram::Foreign;
use protocol::label::CameraName;
use protocol::lease::{ANSWER_TIMEOUT, RENEW_INTERVAL, RelayKind};
use tracing::{info, warn};

use crate::receive::{ConnectOptions, LinkState, ReceiveStatus};

/// No warning before a second hello has gone without an answer too.
const PATIENCE: Duration = RENEW_INTERVAL.saturating_add(ANSWER_TIMEOUT);

/// Cameras that a line names; a relay may list 64, whose names would fill the window.
const MAX_NAMED: usize = 8;

/// What the viewer waits for, if anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ConnectionState {
    /// The first hello was sent a moment ago.
    Searching,
    /// The relay's name has no address.
    Unresolved,
    /// Nothing answers at the address.
    NoAnswer,
    /// A relay answered; frames should come at any moment.
    RelayFound,
    /// The relay takes no further connection.
    RelayFull,
    /// The relay takes no further UDP viewer.
    UdpFull,
    /// The relay takes no UDP viewers.
    UdpClosed,
    /// The relay accepts each connection and ends it at once.
    RelayUnstable,
    /// What answers is not a relay that this viewer understands.
    NotARelay,
    /// The relay is there, and no frame ever came, but perhaps something that is none.
    NoCamera(Option<Foreign>),
    /// The camera that was chosen is not live; these are.
    CameraNotLive(Vec<CameraName>),
    /// A camera was chosen, which needs QUIC, and no QUIC connection comes about.
    QuicUnavailable,
    /// A camera was chosen at a tutorial's relay, which has one only.
    CameraNotSelectable,
    /// Frames came and do not any more.
    FramesStopped,
    /// The same, and the relay reports that it has no camera any more either.
    CameraGone,
    /// Frames come.
    Live,
}

impl ConnectionState {
    /// Returns the state by what is known of the relay; `live` is `None` before the first frame.
    pub(crate) fn new(
        options: &ConnectOptions,
        status: &ReceiveStatus,
        live: Option<bool>,
        now: Instant,
    ) -> Self {
        let patient = now.saturating_duration_since(status.since) < PATIENCE;
        let has_choice = options.camera.is_some();
        let by_quic_only = has_choice || options.transport == TransportChoice::Quic;
        match (status.link, status.relay) {
            _ if live == Some(true) => Self::Live,
            _ if !status.resolved && !patient => Self::Unresolved,
            _ if !status.resolved => Self::Searching,
            // A connection that is open for as long as that has not ended at once.
            (LinkState::Open, _) if status.unstable && patient => Self::RelayUnstable,
            (LinkState::Open, _) => Self::connected(options, status, live, patient),
            (LinkState::Full, _) if by_quic_only => Self::RelayFull,
            (LinkState::Nonsense, _) if by_quic_only => Self::NotARelay,
            (LinkState::Closed, RelayKind::Sightline) if status.unstable => Self::RelayUnstable,
            // By QUIC alone no other answer shows that the relay is there.
            (LinkState::Closed, RelayKind::Silent)
                if status.unstable && options.transport == TransportChoice::Quic =>
            {
                Self::RelayUnstable
            }
            (_, RelayKind::Silent) if patient => Self::Searching,
            (_, RelayKind::Silent) => Self::NoAnswer,
            (_, RelayKind::SightlineFull) => Self::UdpFull,
            (_, RelayKind::SightlineClosed) => Self::UdpClosed,
            (_, RelayKind::Tutorial) if has_choice => Self::CameraNotSelectable,
            (_, _) if has_choice && !patient => Self::QuicUnavailable,
            (_, _) => Self::without_frames(live, patient, status.foreign),
        }
    }

    fn connected(
        options: &ConnectOptions,
        status: &ReceiveStatus,
        live: Option<bool>,
        patient: bool,
    ) -> Self {
        match &options.camera {
            Some(chosen) if !status.cameras.contains(chosen) => {
                Self::CameraNotLive(status.cameras.clone())
            }
            None if live.is_some() && status.cameras.is_empty() => Self::CameraGone,
            _ => Self::without_frames(live, patient, status.foreign),
        }
    }

    fn without_frames(live: Option<bool>, patient: bool, foreign: Option<Foreign>) -> Self {
        match live {
            Some(_) => Self::FramesStopped,
            None if patient && foreign.is_none() => Self::RelayFound,
            None => Self::NoCamera(foreign),
        }
    }

    /// Returns the lines for the window; none while frames come.
    pub(crate) fn lines(&self, options: &ConnectOptions) -> Vec<String> {
        let host = &options.host;
        let camera = options.camera.as_ref().map_or("", CameraName::as_str);
        match self {
            Self::Searching => vec![format!("Looking for a relay at {host} ...")],
            Self::Unresolved => vec![
                format!("'{}' does not resolve;", host_name(host)),
                remedy(options),
            ],
            Self::NoAnswer => vec![format!("No relay found at {host};"), remedy(options)],
            Self::RelayFound => vec![format!("Relay found at {host}")],
            Self::RelayFull => vec![
                format!("The relay at {host} is full;"),
                "stop a viewer that is not needed, this one tries again".to_owned(),
            ],
            Self::UdpFull => vec![
                format!("The relay at {host} is full of UDP viewers;"),
                match options.transport {
                    TransportChoice::Udp => "use --transport auto, or raise --udp-viewers there",
                    _ => "QUIC does not open, so raise --udp-viewers there",
                }
                .to_owned(),
            ],
            Self::UdpClosed => vec![
                format!("The relay at {host} takes no UDP viewers;"),
                match options.transport {
                    TransportChoice::Udp => "use --transport quic, or raise --udp-viewers there",
                    _ => "QUIC does not open, so raise --udp-viewers there",
                }
                .to_owned(),
            ],
            Self::RelayUnstable => vec![
                format!("The relay at {host} ends each connection at once;"),
                "the viewer tries again, and the relay's log may have the reason".to_owned(),
            ],
            Self::NotARelay => vec![
                format!("What answers at {host} is not a relay, or of another version;"),
                "check --server; the viewer tries again".to_owned(),
            ],
            Self::NoCamera(None) => vec![
                format!("Relay found at {host};"),
                match options.transport {
                    // By UDP no message names wrong input.
                    TransportChoice::Udp => {
                        "no camera is live yet; if one sends, see viewer doctor"
                    }
                    _ => "no camera is live yet",
                }
                .to_owned(),
            ],
            Self::NoCamera(Some(foreign)) => vec![
                format!(
                    "The relay at {host} receives {} and no picture;",
                    foreign.what()
                ),
                foreign.cure(),
            ],
            Self::CameraNotLive(live) => vec![
                format!("Camera '{camera}' is not live at {host};"),
                live_cameras(live),
            ],
            Self::QuicUnavailable => vec![
                format!("No QUIC connection to the relay at {host},"),
                format!("and only by QUIC can camera '{camera}' be chosen"),
            ],
            Self::CameraNotSelectable => vec![
                format!("The relay at {host} is a tutorial's and has one camera;"),
                format!("it is shown without --camera {camera}"),
            ],
            Self::FramesStopped => vec![format!("No frames from the relay at {host}")],
            Self::CameraGone => vec![
                format!("No frames from the relay at {host}:"),
                "it has none from its camera".to_owned(),
            ],
            Self::Live => vec![],
        }
    }

    /// Logs the same; to be called when the state changes.
    pub(crate) fn log(&self, options: &ConnectOptions) {
        let what = self.lines(options).join(" ");
        match self {
            Self::Searching | Self::RelayFound => info!("{what}"),
            Self::Live => info!(relay = %options.host, "frames come"),
            // The task that resolves the name has logged it, with the resolver's reason.
            Self::Unresolved => {}
            Self::NoAnswer
            | Self::RelayFull
            | Self::UdpFull
            | Self::UdpClosed
            | Self::RelayUnstable
            | Self::NotARelay
            | Self::NoCamera(_)
            | Self::CameraNotLive(_)
            | Self::QuicUnavailable
            | Self::CameraNotSelectable
            | Self::FramesStopped
            | Self::CameraGone => warn!("{what}"),
        }
    }
}

/// Returns what helps when nothing answers.
fn remedy(options: &ConnectOptions) -> String {
    match options.transport {
        _ if options.is_http_only() => "check the URL; the relay needs --http, or a proxy",
        _ if options.has_ticket() => {
            "relay-server ticket add --advertise HOST makes a ticket with another address"
        }
        TransportChoice::Quic => "--transport auto tries the UDP transport too",
        TransportChoice::Auto | TransportChoice::Udp => "another one: viewer --server HOST[:PORT]",
    }
    .to_owned()
}

fn live_cameras(live: &[CameraName]) -> String {
    let named = live.len().min(MAX_NAMED);
    let names: Vec<_> = live[..named].iter().map(CameraName::as_str).collect();
    match live.len() - named {
        _ if live.is_empty() => "none is".to_owned(),
        0 => format!("live are: {}", names.join(", ")),
        more => format!("live are: {} and {more} more", names.join(", ")),
    }
}

/// Returns the host of `host:port`.
fn host_name(host: &str) -> &str {
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::Args;
    use protocol::transport::Transport;

    const SOON: Duration = Duration::from_millis(500);
    const LATE: Duration = Duration::from_secs(3);

    fn options(words: &[&str]) -> ConnectOptions {
        let server = ["viewer", "--server", "relay.example"];
        ConnectOptions::new(&Args::parse_from(server.iter().chain(words)))
    }

    fn text(
        options: &ConnectOptions,
        status: &ReceiveStatus,
        live: Option<bool>,
        elapsed: Duration,
    ) -> String {
        let now = status.since + elapsed;
        let state = ConnectionState::new(options, status, live, now);
        state.lines(options).join(" ")
    }

    fn status(relay: RelayKind, quic: LinkState) -> ReceiveStatus {
        let mut status = ReceiveStatus::new(Transport::Udp, testkit::time::start());
        (status.resolved, status.relay, status.link) = (true, relay, quic);
        status
    }

    fn lines(relay: RelayKind, live: Option<bool>, elapsed: Duration) -> String {
        text(
            &options(&[]),
            &status(relay, LinkState::Closed),
            live,
            elapsed,
        )
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
        let silent = status(RelayKind::Silent, LinkState::Closed);
        let late = text(&options(&["--transport", "quic"]), &silent, None, LATE);
        assert!(late.contains("--transport auto"), "{late}");
    }

    #[test]
    fn a_name_that_does_not_resolve_is_told_from_a_silent_relay() {
        let unresolved = ReceiveStatus::new(Transport::Udp, testkit::time::start());
        let late = text(&options(&[]), &unresolved, None, LATE);
        assert!(
            late.starts_with("'relay.example' does not resolve"),
            "{late}"
        );
        assert!(text(&options(&[]), &unresolved, None, SOON).starts_with("Looking"));
    }

    #[test]
    fn a_relay_without_camera_is_told_from_a_full_one() {
        let open = status(RelayKind::Sightline, LinkState::Open);
        for status in [
            status(RelayKind::Sightline, LinkState::Closed),
            status(RelayKind::Tutorial, LinkState::Closed),
            open,
        ] {
            let lines = |elapsed| text(&options(&[]), &status, None, elapsed);
            assert_eq!(lines(SOON), "Relay found at relay.example:8081");
            assert_eq!(
                lines(LATE),
                "Relay found at relay.example:8081; no camera is live yet"
            );
        }
        let by_udp = status(RelayKind::Sightline, LinkState::Closed);
        let by_udp = text(&options(&["--transport", "udp"]), &by_udp, None, LATE);
        assert!(by_udp.ends_with("see viewer doctor"), "{by_udp}");
        let mut mistaken = status(RelayKind::Sightline, LinkState::Open);
        mistaken.foreign = Some(Foreign::MpegTs);
        let lines = text(&options(&[]), &mistaken, None, SOON);
        assert!(
            lines.contains("receives an MPEG transport stream"),
            "{lines}"
        );
        assert!(lines.contains("-c:v mjpeg"), "{lines}");
        let cures = [
            (RelayKind::SightlineFull, "is full", "--transport auto"),
            (
                RelayKind::SightlineClosed,
                "takes no UDP",
                "--transport quic",
            ),
        ];
        for (relay, cause, cure) in cures {
            let status = status(relay, LinkState::Closed);
            let by_udp = text(&options(&["--transport", "udp"]), &status, None, SOON);
            assert!(by_udp.contains(cause) && by_udp.contains(cure), "{by_udp}");
            let auto = text(&options(&[]), &status, None, SOON);
            assert!(
                auto.contains(cause) && !auto.contains("--transport"),
                "{auto}"
            );
        }
        let full = status(RelayKind::Silent, LinkState::Full);
        let quic = options(&["--transport", "quic"]);
        assert!(text(&quic, &full, None, SOON).contains("is full"));
    }

    #[test]
    fn a_camera_that_is_not_there_is_named_with_those_that_are() {
        let options = options(&["--camera", "yard"]);
        let mut open = status(RelayKind::Sightline, LinkState::Open);
        let missing = |open: &ReceiveStatus| text(&options, open, None, SOON);
        let line = missing(&open);
        assert!(
            line.contains("'yard' is not live") && line.contains("none is"),
            "{line}"
        );
        open.cameras = vec!["drive".parse().unwrap(), "gate 2".parse().unwrap()];
        let line = missing(&open);
        assert!(line.contains("live are: drive, gate 2"), "{line}");
        open.cameras.push("yard".parse().unwrap());
        assert!(missing(&open).starts_with("Relay found"));
    }

    #[test]
    fn of_many_cameras_the_first_few_are_named() {
        let mut open = status(RelayKind::Sightline, LinkState::Open);
        let live = |n| format!("camera {n}").parse().unwrap();
        open.cameras = (1..=8).map(live).collect();
        let line = |open: &ReceiveStatus| text(&options(&["--camera", "yard"]), open, None, SOON);
        assert!(
            line(&open).ends_with("camera 7, camera 8"),
            "{}",
            line(&open)
        );
        open.cameras.extend((9..=64).map(live));
        assert!(
            line(&open).ends_with("camera 8 and 56 more"),
            "{}",
            line(&open)
        );
    }

    #[test]
    fn a_relay_that_ends_each_connection_is_named_until_one_lasts_or_frames_come() {
        let unstable = |words: &[&str], relay, quic, live, elapsed| {
            let mut status = status(relay, quic);
            status.unstable = true;
            text(&options(words), &status, live, elapsed)
        };
        use LinkState::{Closed, Open};
        use RelayKind::{Sightline, Silent};
        let quic: &[&str] = &["--transport", "quic"];
        for (words, relay) in [
            (quic, Silent),
            (&["--camera", "yard"], Sightline),
            (&[], Sightline),
        ] {
            for (state, elapsed) in [(Open, SOON), (Closed, SOON), (Closed, LATE)] {
                let line = unstable(words, relay, state, None, elapsed);
                assert!(line.contains("ends each connection at once"), "{line}");
            }
            let lasting = unstable(words, relay, Open, None, LATE);
            assert!(!lasting.contains("ends each"), "{lasting}");
            assert_eq!(unstable(words, relay, Open, Some(true), SOON), "");
        }
        let gone = unstable(&[], Silent, Closed, None, LATE);
        assert!(gone.starts_with("No relay found"), "{gone}");
    }

    #[test]
    fn an_answer_that_is_not_a_relays_is_reported_at_once_where_only_quic_will_do() {
        let nonsense = status(RelayKind::Silent, LinkState::Nonsense);
        for words in [&["--transport", "quic"][..], &["--camera", "yard"]] {
            let line = text(&options(words), &nonsense, None, Duration::ZERO);
            assert!(
                line.contains("is not a relay") && line.contains("--server"),
                "{line}"
            );
        }
        let by_udp = status(RelayKind::Sightline, LinkState::Nonsense);
        assert!(text(&options(&[]), &by_udp, None, LATE).contains("no camera is live"));
    }

    #[test]
    fn why_a_chosen_camera_cannot_be_shown_by_udp_is_said() {
        let options = options(&["--camera", "yard"]);
        let closed = status(RelayKind::Sightline, LinkState::Closed);
        assert!(text(&options, &closed, None, SOON).starts_with("Relay found"));
        let late = text(&options, &closed, None, LATE);
        assert!(
            late.contains("No QUIC connection") && late.contains("'yard'"),
            "{late}"
        );
        let tutorial = status(RelayKind::Tutorial, LinkState::Closed);
        let line = text(&options, &tutorial, None, SOON);
        assert!(
            line.contains("one camera") && line.contains("without --camera yard"),
            "{line}"
        );
    }

    #[test]
    fn frames_that_come_need_no_words_and_frames_that_stop_do() {
        for relay in [
            RelayKind::Sightline,
            RelayKind::Tutorial,
            RelayKind::SightlineFull,
            RelayKind::Silent,
        ] {
            assert_eq!(lines(relay, Some(true), LATE), "");
        }
        assert!(lines(RelayKind::Sightline, Some(false), LATE).starts_with("No frames"));
        assert!(lines(RelayKind::Silent, Some(false), LATE).starts_with("No relay"));
        let mut open = status(RelayKind::Sightline, LinkState::Open);
        let stopped = |open: &ReceiveStatus| text(&options(&[]), open, Some(false), LATE);
        assert!(stopped(&open).ends_with("none from its camera"));
        open.cameras.push("yard".parse().unwrap());
        assert!(stopped(&open).starts_with("No frames") && !stopped(&open).contains("camera"));
    }
}
