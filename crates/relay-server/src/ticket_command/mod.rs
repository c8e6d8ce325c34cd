//! `relay-server ticket`: makes, lists and revokes tickets in the state directory, where the running relay finds them.

mod args;
mod show;

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

use anyhow::Context as _;
use clap::Parser as _;
use jiff::tz::TimeZone;
use nix::unistd::geteuid;
use platform::{config, directories, logging};
use protocol::quic::Role;

use self::args::{Action, Add, TicketArgs};
use crate::access::{MadeTicket, Store};
use crate::announce::{advertised_host, page_address};
use crate::args::Args;
use crate::tickets::{TicketName, Tickets};
use crate::transport::http::Listen;

/// The first word of these command lines.
const WORD: &str = "ticket";
/// The state directory of the service.
const SERVICE_STATE: &str = "/var/lib/sightline";

/// Returns the process's words from `ticket` on, if that is the first one.
pub fn words() -> Option<Vec<OsString>> {
    let words: Vec<_> = env::args_os().skip(1).collect();
    words
        .first()
        .is_some_and(|word| word == WORD)
        .then_some(words)
}

/// Runs the command of these words, the first of which is `ticket`.
pub fn run(words: Vec<OsString>) -> ExitCode {
    let ticket = TicketArgs::try_parse_from(words).unwrap_or_else(|err| err.exit());
    let relay = ticket.relay_words();
    // The file of a relay that runs has been checked; what is wrong with it now is reported all the same.
    let relay = config::try_parse_words(relay, Args::check).unwrap_or_else(|err| err.exit());
    let _logging = logging::init(relay.common.log_format);
    platform::exit(execute(&ticket.action, &relay))
}

fn execute(action: &Action, relay: &Args) -> anyhow::Result<()> {
    let state = state(relay)?;
    let store = Store::create_for_owner(&state).with_context(|| match geteuid().is_root() {
        true => "opening the relay's state",
        false => "opening the relay's state, which for a service takes root (sudo)",
    })?;
    match action {
        Action::Add(add) => {
            let text = add_ticket(add, relay, &store, &state)?;
            print(&text)
        }
        Action::List => print(&list(&store)?),
        Action::Revoke { name } => revoke(name, &store),
    }
}

/// Returns the state directory: the one that the flags or the configuration name, else the service's, if this user may write
/// there, else the user's own.
fn state(relay: &Args) -> anyhow::Result<PathBuf> {
    let services = || {
        let found = fs::metadata(SERVICE_STATE).ok()?;
        let user = geteuid();
        let is_ours =
            user.is_root() || std::os::unix::fs::MetadataExt::uid(&found) == user.as_raw();
        (found.is_dir() && is_ours).then(|| PathBuf::from(SERVICE_STATE))
    };
    let named = relay.state.clone().or_else(services);
    directories::state(named.as_deref())
        .context("there is neither --state nor a home directory: name the relay's with --state DIR")
}

fn add_ticket(add: &Add, relay: &Args, store: &Store, state: &Path) -> anyhow::Result<String> {
    let identity = store.identity(false)?;
    let (made, stored) = MadeTicket::new(add.name.clone(), add.role.into(), add.camera.clone())?;
    store.change(|tickets| Ok(tickets.add(stored)?))?;
    let host = advertised_host(relay.advertise.as_ref(), relay.listen);
    let page = page_address(relay, &host, Listen::address(relay.http));
    let link = page
        .filter(|_| made.role == Role::View)
        .map(|page| format!("{page}/#token={}", made.token));
    note(&format!(
        "shown this once, to be kept like a password; the relay on {} takes it within 2 s",
        state.display()
    ))?;
    if !relay.private {
        note(
            "tickets count where the relay runs with --private (private = true in its configuration)",
        )?;
    }
    if relay.advertise.is_none() {
        note(
            "the host in it is this machine's own address; --advertise HOST names another, as a machine behind NAT needs",
        )?;
    }
    let http = Listen::address(relay.http);
    let local = http.is_some_and(|http| http.ip().is_loopback());
    if link.is_some() && local && relay.http_url.is_none() {
        note(
            "the link is for a browser on this machine, since the HTTP server is at its own address alone; --http-url names the page behind a proxy or a tunnel",
        )?;
    }
    let ticket = made.ticket(&host, identity.fingerprint());
    let with_code = io::stdout().is_terminal();
    Ok(show::added(made.role, &ticket, link.as_deref(), with_code))
}

fn list(store: &Store) -> anyhow::Result<String> {
    let tickets = store.read()?.unwrap_or_default();
    Ok(show::list(&tickets, &store.uses(), &TimeZone::system()))
}

fn revoke(name: &TicketName, store: &Store) -> anyhow::Result<()> {
    store.change(|tickets| {
        let removed = tickets.remove(name);
        removed.map(drop).with_context(|| unknown(name, tickets))
    })?;
    note(&format!(
        "the ticket '{name}' is revoked; its sessions at a relay that runs end within 2 s"
    ))
}

fn unknown(name: &TicketName, tickets: &Tickets) -> String {
    let names: Vec<_> = tickets.iter().map(|one| one.name.to_string()).collect();
    match names.is_empty() {
        true => format!("there is no ticket named '{name}', and no other"),
        false => format!(
            "there is no ticket named '{name}'; there are: {}",
            names.join(", ")
        ),
    }
}

fn print(text: &str) -> anyhow::Result<()> {
    io::stdout()
        .write_all(text.as_bytes())
        .context("writing to standard output")
}

/// Writes a line for people, beside the output that a script reads.
fn note(text: &str) -> anyhow::Result<()> {
    writeln!(io::stderr(), "{text}").context("writing to standard error")
}
