//! Which relay and camera the user chose, and which transports that leaves. Pure.

use platform::config::TransportChoice;
use platform::server::Server;
use protocol::label::CameraName;
use protocol::ticket::Key;

use super::status::LinkState;
use super::upgrade::Preference;
use crate::args::Args;
use protocol::transport::Transport;

/// The part of the command line that is about the connection.
#[derive(Debug, Clone)]
pub(crate) struct ConnectOptions {
    /// The relay as `host:port`.
    pub(crate) host: String,
    /// The transports that may be used.
    pub(crate) transport: TransportChoice,
    /// The chosen camera.
    pub(crate) camera: Option<CameraName>,
    /// Whether files are written, which get the frames as they came and no renditions.
    pub(super) originals: bool,
    /// The ticket's right to view.
    pub(super) token: Option<Key>,
    /// The only certificate to trust.
    pub(super) fingerprint: Option<Key>,
    /// The relay, where HTTP may be used.
    pub(super) http: Option<Server>,
}

impl ConnectOptions {
    /// Takes the options from the command line.
    pub(crate) fn new(args: &Args) -> Self {
        let ticket = args.server.ticket();
        let uses_http =
            args.transport == TransportChoice::Auto && !args.server.http_urls().is_empty();
        Self {
            host: args.server.to_string(),
            transport: match ticket {
                Some(_) => TransportChoice::Quic,
                None => args.transport,
            },
            camera: args.camera().cloned(),
            originals: args.save.is_some() || args.record.is_some(),
            token: ticket.map(|ticket| ticket.token),
            fingerprint: ticket.map(|ticket| ticket.fingerprint),
            http: uses_http.then(|| args.server.clone()),
        }
    }

    /// Returns whether the viewer connects to the relay that made the ticket, and to no other.
    pub(crate) fn has_ticket(&self) -> bool {
        self.fingerprint.is_some()
    }

    /// Returns whether HTTP is all that is used.
    pub(crate) fn is_http_only(&self) -> bool {
        self.http
            .as_ref()
            .is_some_and(|server| server.url().is_some())
    }

    /// Returns whether the viewer can choose a camera: not over UDP.
    pub(crate) fn can_choose(&self, link: LinkState) -> bool {
        // A camera that was chosen is never received by UDP, also while there is no connection.
        self.camera.is_some() || link == LinkState::Open
    }

    /// Returns the transport that is tried first.
    pub(super) fn first_transport(&self) -> Transport {
        match self.transport {
            _ if self.is_http_only() => Transport::Http,
            TransportChoice::Quic => Transport::Quic,
            TransportChoice::Auto | TransportChoice::Udp => Transport::Udp,
        }
    }

    /// Returns the transports that camera and `--transport` leave together.
    pub(super) fn preference(&self) -> Preference {
        match self.transport {
            TransportChoice::Udp => Preference::UdpOnly,
            // A UDP viewer cannot choose its camera.
            TransportChoice::Auto if self.camera.is_none() => Preference::QuicPreferred,
            TransportChoice::Auto | TransportChoice::Quic => Preference::QuicOnly,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn another_camera_can_be_chosen_where_quic_is_used_and_not_over_udp() {
        for (words, quic, can) in [
            (&[][..], LinkState::Open, true),
            (&[], LinkState::Closed, false),
            (&["--transport", "udp"], LinkState::Closed, false),
            (&["--camera", "yard"], LinkState::Closed, true),
        ] {
            let args = Args::parse_from(["viewer"].iter().chain(words));
            assert_eq!(
                ConnectOptions::new(&args).can_choose(quic),
                can,
                "{words:?}"
            );
        }
    }

    #[test]
    fn a_udp_viewer_cannot_choose_so_who_chooses_wants_quic_alone() {
        for (words, preference) in [
            (&[][..], Preference::QuicPreferred),
            (&["--camera", "yard"], Preference::QuicOnly),
            (&["--transport", "udp"], Preference::UdpOnly),
            (&["--transport", "quic"], Preference::QuicOnly),
        ] {
            let args = Args::parse_from(["viewer"].iter().chain(words));
            assert_eq!(
                ConnectOptions::new(&args).preference(),
                preference,
                "{words:?}"
            );
        }
    }
}
