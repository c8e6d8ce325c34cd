//! The files of the relay's access in the state directory: the certificate with its key, the tickets, and their last uses.

use std::path::Path;
use std::time::UNIX_EPOCH;

use anyhow::Context as _;
use platform::state_dir::{FileVersion, StateDir};
use protocol::label::CameraName;
use protocol::quic::Role;
use protocol::ticket::{Host, Key, Ticket};
use quic::identity::Identity;

use super::now;
use crate::tickets::uses::Uses;
use crate::tickets::{StoredTicket, TicketName, Tickets, TokenHash, file, uses};

/// Largest file of an identity or a token in bytes: a certificate and its key have less than one kilobyte.
const MAX_FILE: usize = 16 << 10;
/// What is wrong if the directory itself cannot be opened.
const UNUSABLE: &str = "the state directory cannot be used; --state DIR names another";
/// The certificate with its key.
const IDENTITY: &str = "identity";
/// The tickets.
const TICKETS: &str = "tickets";
/// When each ticket was last used.
const USES: &str = "tickets.used";
/// The token files of version 0.1, which hold the tokens themselves: each with the name and role of its ticket.
const TOKENS: [(&str, &str, Role); 2] = [
    ("sender.token", "sender", Role::Send),
    ("viewer.token", "viewer", Role::View),
];

/// Files in the state directory that only the owner may read.
pub(crate) const SECRETS: [&str; 5] = [IDENTITY, TICKETS, USES, TOKENS[0].0, TOKENS[1].0];

/// A ticket that was just made, with its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadeTicket {
    /// The right that it gives.
    pub role: Role,
    /// The only camera that it is for; any if absent.
    pub camera: Option<CameraName>,
    /// The token, of which the relay stores the hash alone.
    pub token: Key,
}

impl MadeTicket {
    /// Makes a ticket with a random token, and the form in which it is stored.
    ///
    /// # Errors
    /// If the system gives no random numbers.
    pub fn new(
        name: TicketName,
        role: Role,
        camera: Option<CameraName>,
    ) -> anyhow::Result<(Self, StoredTicket)> {
        let mut token = Key([0; 32]);
        getrandom::fill(&mut token.0).context("no random numbers from the system")?;
        let stored = StoredTicket {
            name,
            role,
            camera: camera.clone(),
            created: now(),
            hash: TokenHash::of(&token),
        };
        let made = Self {
            role,
            camera,
            token,
        };
        Ok((made, stored))
    }

    /// Returns the ticket as its owner gets it, for a relay at `host` with this certificate.
    pub fn ticket(&self, host: &Host, fingerprint: Key) -> Ticket {
        Ticket {
            host: host.clone(),
            camera: self.camera.clone(),
            token: self.token,
            fingerprint,
        }
    }
}

/// The state directory with the files of the relay's access.
#[derive(Debug)]
pub struct Store {
    directory: StateDir,
}

impl Store {
    /// Opens the directory, which is created if it does not exist.
    ///
    /// # Errors
    /// If it cannot be used.
    pub fn create(state: &Path) -> anyhow::Result<Self> {
        let directory = StateDir::create(state).context(UNUSABLE)?;
        Ok(Self { directory })
    }

    /// Opens the directory as [`Store::create`] does; root opens a service's in its owner's place.
    ///
    /// # Errors
    /// If it cannot be used.
    pub fn create_for_owner(state: &Path) -> anyhow::Result<Self> {
        let directory = StateDir::create_for_owner(state).context(UNUSABLE)?;
        Ok(Self { directory })
    }

    /// Reads the identity, and makes it if there is none, or anew with `rotate`. Of two relays that make it at the same time,
    /// the second one takes that of the first.
    ///
    /// # Errors
    /// If it is damaged or cannot be stored.
    pub fn identity(&self, rotate: bool) -> anyhow::Result<Identity> {
        let make = || anyhow::Ok(pack(&Identity::generate().context("making a certificate")?));
        if rotate {
            self.directory.replace(IDENTITY, &make()?)?;
        } else if self.directory.version(IDENTITY)?.is_none() {
            self.directory.write_new(IDENTITY, &make()?)?;
        }
        let path = self.directory.path_of(IDENTITY);
        let stored = self.directory.read(IDENTITY, MAX_FILE)?;
        let stored =
            stored.with_context(|| format!("{} was removed as soon as written", path.display()))?;
        parse_identity(&path, &stored.bytes)
    }

    /// Returns identity and tickets of a private relay. The first start makes a ticket for each role that has none, and so
    /// does `rotate`, which voids all others; token files of version 0.1 become tickets.
    pub(super) fn open_private(
        &self,
        rotate: bool,
    ) -> anyhow::Result<(Identity, Tickets, Vec<MadeTicket>)> {
        self.directory.locked(|| {
            // First, so that a damaged file ends the start before anything is changed.
            let stored = if rotate { None } else { self.read()? };
            let first = stored.is_none();
            let before = stored.unwrap_or_default();
            let mut tickets = before.clone();
            if !rotate {
                self.convert_tokens(&mut tickets)?;
            }
            let identity = self.identity(rotate)?;
            let made = match first {
                true => make_missing(&mut tickets)?,
                false => Vec::new(),
            };
            if first || tickets != before {
                self.write(&tickets)?;
            }
            for (token, ..) in TOKENS {
                self.directory.remove(token)?;
            }
            Ok((identity, tickets, made))
        })
    }

    /// Adds the tickets of version 0.1's token files, which stay valid.
    fn convert_tokens(&self, tickets: &mut Tickets) -> anyhow::Result<()> {
        for (token_file, name, role) in TOKENS {
            let Some(stored) = self.directory.read(token_file, MAX_FILE)? else {
                continue;
            };
            let token = parse_token(&self.directory.path_of(token_file), &stored.bytes)?;
            if tickets.has_token(&token) {
                continue;
            }
            let since = stored.modified.duration_since(UNIX_EPOCH);
            tickets.add(StoredTicket {
                name: free_name(tickets, name)?,
                role,
                camera: None,
                created: since.map_or(0, |since| since.as_secs()),
                hash: TokenHash::of(&token),
            })?;
        }
        Ok(())
    }

    /// Returns the tickets; `None` if there is no file of them.
    ///
    /// # Errors
    /// If the file is damaged.
    pub fn read(&self) -> anyhow::Result<Option<Tickets>> {
        let stored = self.directory.read(TICKETS, file::MAX_FILE)?;
        let path = self.directory.path_of(TICKETS);
        stored
            .map(|stored| parse_tickets(&path, &stored.bytes))
            .transpose()
    }

    fn write(&self, tickets: &Tickets) -> anyhow::Result<()> {
        let text = file::write(tickets);
        Ok(self.directory.replace(TICKETS, text.as_bytes())?)
    }

    /// Changes the tickets while no other program does. Token files of version 0.1 become tickets first.
    ///
    /// # Errors
    /// What `change` returns, or that the file is damaged or cannot be stored; it is then as before.
    pub fn change<T>(
        &self,
        change: impl FnOnce(&mut Tickets) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        self.directory.locked(|| {
            let mut tickets = self.read()?.unwrap_or_default();
            self.convert_tokens(&mut tickets)?;
            let changed = change(&mut tickets)?;
            self.write(&tickets)?;
            for (token, ..) in TOKENS {
                self.directory.remove(token)?;
            }
            Ok(changed)
        })
    }

    /// Returns what differs between two contents of the file of tickets.
    pub(super) fn version(&self) -> anyhow::Result<Option<FileVersion>> {
        Ok(self.directory.version(TICKETS)?)
    }

    /// Returns the last uses; none if they cannot be read.
    pub fn uses(&self) -> Uses {
        let stored = self.directory.read(USES, uses::MAX_FILE).ok().flatten();
        stored.map_or_else(Uses::default, |stored| Uses::parse(&stored.bytes))
    }

    pub(super) fn write_uses(&self, text: &str) -> anyhow::Result<()> {
        Ok(self.directory.replace(USES, text.as_bytes())?)
    }
}

/// Makes a ticket for each role that has none.
fn make_missing(tickets: &mut Tickets) -> anyhow::Result<Vec<MadeTicket>> {
    let mut all = Vec::new();
    for (_, name, role) in TOKENS {
        if !tickets.iter().any(|known| known.role == role) {
            let (made, stored) = MadeTicket::new(name.parse()?, role, None)?;
            tickets.add(stored)?;
            all.push(made);
        }
    }
    Ok(all)
}

/// Returns `name`, or `name-2` and so on where that is taken.
fn free_name(tickets: &Tickets, name: &str) -> anyhow::Result<TicketName> {
    let is_taken = |name: &TicketName| tickets.iter().any(|known| known.name == *name);
    let mut candidate: TicketName = name.parse()?;
    let mut number = 2;
    while is_taken(&candidate) {
        candidate = format!("{name}-{number}").parse()?;
        number += 1;
    }
    Ok(candidate)
}

/// Checks the files below `state`, without creating or changing any.
///
/// # Errors
/// If a file cannot be used.
pub(crate) fn examine(state: &Path) -> anyhow::Result<()> {
    let Some(directory) = StateDir::examine(state).context(UNUSABLE)? else {
        return Ok(());
    };
    let read = |name, most| anyhow::Ok((directory.path_of(name), directory.read(name, most)?));
    if let (path, Some(stored)) = read(IDENTITY, MAX_FILE)? {
        parse_identity(&path, &stored.bytes)?;
    }
    for (token, ..) in TOKENS {
        if let (path, Some(stored)) = read(token, MAX_FILE)? {
            parse_token(&path, &stored.bytes)?;
        }
    }
    if let (path, Some(stored)) = read(TICKETS, file::MAX_FILE)? {
        parse_tickets(&path, &stored.bytes)?;
    }
    Ok(())
}

fn parse_identity(path: &Path, bytes: &[u8]) -> anyhow::Result<Identity> {
    let identity = unpack(bytes).filter(|identity| identity.verify().is_ok());
    let path = path.display();
    identity.with_context(|| {
        format!(
            "{path} is damaged; restore it, or remove this file alone: the next start makes a new certificate, and the \
             tickets given out so far are void, since they name the old one"
        )
    })
}

fn parse_token(path: &Path, bytes: &[u8]) -> anyhow::Result<Key> {
    let text = std::str::from_utf8(bytes).ok();
    let key = text.and_then(|text| Key::parse(text.trim_end()));
    let [own, other] = match path.ends_with(TOKENS[0].0) {
        true => ["senders", "viewers"],
        false => ["viewers", "senders"],
    };
    let path = path.display();
    key.with_context(|| {
        format!(
            "{path} does not hold a token; restore it, or remove this file alone: relay-server ticket add makes a new ticket \
             for {own}, and those of {other} stay valid"
        )
    })
}

fn parse_tickets(path: &Path, bytes: &[u8]) -> anyhow::Result<Tickets> {
    let path = path.display();
    file::parse(bytes).map_err(|why| {
        anyhow::anyhow!(
            "{path} is damaged: {why}; restore it, or remove it and start with --private: that makes a new ticket for each \
             role, and all others are void"
        )
    })
}

/// Returns certificate and key as the content of one file, so that neither a crash nor a second relay leaves one without
/// the other: the certificate's length in two bytes, the certificate, the key.
fn pack(identity: &Identity) -> Vec<u8> {
    let certificate = identity.certificate();
    let length =
        u16::try_from(certificate.len()).expect("a certificate of ours has half a kilobyte");
    [&length.to_be_bytes()[..], certificate, identity.key()].concat()
}

fn unpack(bytes: &[u8]) -> Option<Identity> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    let (certificate, key) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
    (!key.is_empty()).then(|| Identity::restore(certificate.to_vec(), key.to_vec()))
}
