//! Where the viewer stands with its relay, in words: the same for the window and for the log. Pure but for the log call.

use std::time::Duration;

use protocol::handshake::{ANSWER, Peer, RENEW};
use tracing::{info, warn};

/// Until the second hello has met with no answer either, nothing is complained of.
const PATIENCE: Duration = RENEW.saturating_add(ANSWER);

/// What the viewer waits for, if anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    /// Frames came and do not any more.
    Stopped,
    /// Frames come.
    Live,
}

impl Situation {
    /// The situation when `peer` has been what it is for `elapsed`; `live` is `None` before the first frame.
    pub(crate) fn of(resolved: bool, peer: Peer, live: Option<bool>, elapsed: Duration) -> Self {
        let patient = elapsed < PATIENCE;
        match peer {
            _ if live == Some(true) => Self::Live,
            _ if !resolved && !patient => Self::Unresolved,
            _ if !resolved => Self::Looking,
            Peer::Silent if patient => Self::Looking,
            Peer::Silent => Self::NotFound,
            Peer::FullRelay => Self::Full,
            Peer::Relay | Peer::Tutorial => match live {
                Some(_) => Self::Stopped,
                None if patient => Self::Found,
                None => Self::NoCamera,
            },
        }
    }

    /// What the window says; nothing while frames come.
    pub(crate) fn lines(self, host: &str) -> Vec<String> {
        let cure = "another one: viewer --server HOST[:PORT]".to_owned();
        match self {
            Self::Looking => vec![format!("Looking for a relay at {host} ...")],
            Self::Unresolved => vec![format!("'{}' does not resolve;", name(host)), cure],
            Self::NotFound => vec![format!("No relay found at {host};"), cure],
            Self::Found => vec![format!("Relay found at {host}")],
            Self::Full => vec![format!("The relay at {host} has no free place")],
            Self::NoCamera => vec![
                format!("Relay found at {host};"),
                "no camera is live yet".to_owned(),
            ],
            Self::Stopped => vec![format!("No frames from the relay at {host}")],
            Self::Live => vec![],
        }
    }

    /// The same for the log, to be called when the situation changes.
    pub(crate) fn log(self, host: &str) {
        let what = self.lines(host).join(" ");
        match self {
            Self::Looking | Self::Found => info!("{what}"),
            Self::Live => info!(relay = %host, "frames come"),
            // Who follows the name has said so, with the resolver's reason.
            Self::Unresolved => {}
            Self::NotFound | Self::Full | Self::NoCamera | Self::Stopped => warn!("{what}"),
        }
    }
}

/// The host of `host:port`.
fn name(host: &str) -> &str {
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(500);
    const LATE: Duration = Duration::from_secs(3);

    fn lines(resolved: bool, peer: Peer, live: Option<bool>, elapsed: Duration) -> String {
        Situation::of(resolved, peer, live, elapsed)
            .lines("relay.example:8081")
            .join(" ")
    }

    #[test]
    fn a_silent_address_is_named_with_the_cure() {
        assert_eq!(
            lines(true, Peer::Silent, None, SOON),
            "Looking for a relay at relay.example:8081 ..."
        );
        let late = lines(true, Peer::Silent, None, LATE);
        assert!(late.starts_with("No relay found at relay.example:8081"));
        assert!(late.contains("viewer --server HOST[:PORT]"));
    }

    #[test]
    fn a_name_that_does_not_resolve_is_told_from_a_silent_relay() {
        let late = lines(false, Peer::Silent, None, LATE);
        assert!(
            late.starts_with("'relay.example' does not resolve"),
            "{late}"
        );
        assert!(lines(false, Peer::Silent, None, SOON).starts_with("Looking"));
    }

    #[test]
    fn a_relay_without_camera_is_told_from_a_full_one() {
        for peer in [Peer::Relay, Peer::Tutorial] {
            assert_eq!(
                lines(true, peer, None, SOON),
                "Relay found at relay.example:8081"
            );
            assert_eq!(
                lines(true, peer, None, LATE),
                "Relay found at relay.example:8081; no camera is live yet"
            );
        }
        assert!(lines(true, Peer::FullRelay, None, SOON).contains("no free place"));
    }

    #[test]
    fn frames_that_come_need_no_words_and_frames_that_stop_do() {
        for peer in [Peer::Relay, Peer::Tutorial, Peer::FullRelay, Peer::Silent] {
            assert_eq!(lines(true, peer, Some(true), LATE), "");
        }
        assert!(lines(true, Peer::Relay, Some(false), LATE).starts_with("No frames"));
        assert!(lines(true, Peer::Silent, Some(false), LATE).starts_with("No relay"));
    }
}
