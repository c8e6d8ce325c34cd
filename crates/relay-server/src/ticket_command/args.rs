//! The command line of `relay-server ticket`.

use std::ffi::OsString;

use clap::{Args, Parser, Subcommand, ValueEnum};
use protocol::label::CameraName;
use protocol::quic::Role;

use crate::tickets::TicketName;

/// Tickets of a private relay: who may send, and who may view
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(name = "relay-server ticket", bin_name = "relay-server ticket")]
#[command(disable_help_subcommand = true, max_term_width = 100)]
pub(super) struct TicketArgs {
    #[command(subcommand)]
    pub(super) action: Action,
    #[command(flatten)]
    relay: RelayFlags,
}

/// What is done.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub(super) enum Action {
    /// Make a ticket and print it, this once
    Add(Add),
    /// List the tickets: name, role, camera, when made, when and from where last used
    List,
    /// Revoke a ticket: it is void, and its sessions end
    Revoke {
        /// Name of the ticket
        name: TicketName,
    },
}

/// A ticket to be made.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(super) struct Add {
    /// What the ticket permits: to send frames, or to view
    #[arg(value_name = "send|view", hide_possible_values = true)]
    pub(super) role: RoleWord,
    /// Name of the ticket, such as its person's or its place's
    #[arg(value_name = "NAME")]
    pub(super) name: TicketName,
    /// The only camera that the ticket is for; without this flag all
    #[arg(long, value_name = "NAME")]
    pub(super) camera: Option<CameraName>,
}

/// The right that a ticket gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum RoleWord {
    Send,
    View,
}

impl From<RoleWord> for Role {
    fn from(word: RoleWord) -> Self {
        match word {
            RoleWord::Send => Self::Send,
            RoleWord::View => Self::View,
        }
    }
}

/// Flags of the relay itself, whose parser checks their values.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
struct RelayFlags {
    /// The relay's state directory; without this flag the one that its configuration names, or the service's
    #[arg(long, global = true, value_name = "DIR")]
    state: Option<OsString>,
    /// The relay's configuration file; without this flag the one that it finds itself
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<OsString>,
    /// Host in the ticket, if peers reach this machine by another address than its own
    #[arg(long, global = true, value_name = "HOST[:PORT]")]
    advertise: Option<OsString>,
    /// Address of the page in a viewer's link, as browsers reach it
    #[arg(long, global = true, value_name = "URL")]
    http_url: Option<OsString>,
}

impl TicketArgs {
    /// Returns the words of a relay that is started with the same flags.
    pub(super) fn relay_words(&self) -> Vec<OsString> {
        let RelayFlags {
            state,
            config,
            advertise,
            http_url,
        } = &self.relay;
        let flags = [
            ("--state", state),
            ("--config", config),
            ("--advertise", advertise),
            ("--http-url", http_url),
        ];
        let given = flags
            .into_iter()
            .filter_map(|(flag, value)| Some([flag.into(), value.clone()?]));
        std::iter::once("relay-server".into())
            .chain(given.flatten())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<TicketArgs, String> {
        let words = ["ticket"].iter().chain(words);
        TicketArgs::try_parse_from(words).map_err(|err| err.to_string())
    }

    #[test]
    fn the_relays_flags_stand_anywhere_and_go_to_its_own_parser() {
        for words in [
            &["--state", "/s", "add", "view", "anna", "--advertise", "h"][..],
            &["add", "view", "anna", "--advertise", "h", "--state", "/s"],
        ] {
            let args = parse(words).unwrap();
            let relay = args.relay_words();
            assert_eq!(relay, ["relay-server", "--state", "/s", "--advertise", "h"]);
            assert!(matches!(args.action, Action::Add(_)), "{args:?}");
        }
        assert_eq!(parse(&["list"]).unwrap().relay_words(), ["relay-server"]);
    }

    #[test]
    fn a_mistake_is_named_with_what_is_wanted() {
        for (words, text) in [
            (&["add", "look", "anna"][..], "view"),
            (&["add", "view"], "<NAME>"),
            (&["add", "view", "a/b"], "is not a ticket's name"),
            (&["add", "view", "a", "--camera", "a/b"], "--camera"),
            (&["revoke"], "<NAME>"),
            (&["remove", "a"], "revoke"),
            (&[], "revoke"),
        ] {
            let error = parse(words).unwrap_err();
            assert!(error.contains(text), "{words:?}: {error}");
        }
    }
}
