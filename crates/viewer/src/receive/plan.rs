//! What the user wants of which relay, and which doors that leaves. Pure.

use platform::config::Transport;
use protocol::label::CameraName;
use protocol::ticket::Key;

use super::hunt::Quarry;
use super::intake::Door;
use crate::args::Args;

/// What is wanted of which relay.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// The relay as `host:port`.
    pub(crate) host: String,
    /// Which doors may be used.
    pub(crate) transport: Transport,
    /// The camera that was asked for.
    pub(crate) camera: Option<CameraName>,
    /// The right to view.
    pub(super) token: Option<Key>,
    /// The only certificate to trust.
    pub(super) fingerprint: Option<Key>,
}

impl Plan {
    /// What the command line asks for.
    pub(crate) fn of(args: &Args) -> Self {
        let ticket = args.server.ticket();
        Self {
            host: args.server.to_string(),
            transport: match ticket {
                Some(_) => Transport::Quic,
                None => args.transport,
            },
            camera: args.camera().cloned(),
            token: ticket.map(|ticket| ticket.token),
            fingerprint: ticket.map(|ticket| ticket.fingerprint),
        }
    }

    /// Whether only the relay that made the ticket is talked to.
    pub(crate) fn has_ticket(&self) -> bool {
        self.fingerprint.is_some()
    }

    /// The door that is tried first where no other is known.
    pub(super) fn door(&self) -> Door {
        match self.transport {
            Transport::Quic => Door::Native,
            Transport::Auto | Transport::Udp => Door::Plain,
        }
    }

    /// What follows from it for the doors.
    pub(super) fn quarry(&self) -> Quarry {
        match self.transport {
            Transport::Udp => Quarry::Plain,
            // A plain viewer cannot choose its camera.
            Transport::Auto if self.camera.is_none() => Quarry::Best,
            Transport::Auto | Transport::Quic => Quarry::Native,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn a_plain_viewer_cannot_choose_so_who_chooses_wants_the_native_door_alone() {
        for (words, quarry) in [
            (&[][..], Quarry::Best),
            (&["--camera", "yard"], Quarry::Native),
            (&["--transport", "udp"], Quarry::Plain),
            (&["--transport", "quic"], Quarry::Native),
        ] {
            let args = Args::parse_from(["viewer"].iter().chain(words));
            assert_eq!(Plan::of(&args).quarry(), quarry, "{words:?}");
        }
    }
}
