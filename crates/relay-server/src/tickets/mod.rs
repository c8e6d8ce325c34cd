//! The tickets of a private relay: who may send or view, and which camera. Pure.
//!
//! ```text
//!   token (32 random bytes, shown once) --SHA-256--> hash: what the state directory holds
//!                                                    its first 16 bytes: the ticket's id, in sessions, cookies and uses
//! ```
//!
//! A plain hash is enough, without salt and without a slow function: those protect secrets that people choose. An attacker
//! who reads the hashes would have to try 2^256 random tokens, however fast each try is.

pub mod cookie;
pub mod file;
pub mod uses;

use std::fmt;
use std::str::FromStr;

use protocol::label::CameraName;
use protocol::quic::{Refusal, Role};
use protocol::ticket::Key;
use ring::digest::{SHA256, digest};
use subtle::ConstantTimeEq as _;

/// Most tickets of a relay: each try of a token is compared with all of them, in some 30 us.
pub const MAX_TICKETS: usize = 1000;
/// Bytes of a [`TicketId`].
const ID: usize = 16;

/// A ticket's name, unique at its relay: that of a person or of a place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TicketName(CameraName);

/// Why a text is not a [`TicketName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a ticket's name: letters, digits, spaces, '-', '_' and '.', at most {max} bytes",
    max = CameraName::MAX
)]
pub struct BadTicketName(String);

/// SHA-256 of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenHash(Key);

/// Names one ticket for as long as it is in force: another ticket of the same name has another id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TicketId([u8; ID]);

/// A ticket as the relay knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTicket {
    /// The name.
    pub name: TicketName,
    /// The right that it gives.
    pub role: Role,
    /// The only camera that it is for; any if absent.
    pub camera: Option<CameraName>,
    /// Time at which it was made, in seconds since the Unix epoch.
    pub created: u64,
    /// The hash of its token.
    pub hash: TokenHash,
}

/// What a peer may do that was let in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grant {
    /// The ticket that it showed; `None` at an open relay.
    pub ticket: Option<TicketId>,
    /// The only camera that it may send or view; any if absent.
    pub camera: Option<CameraName>,
}

/// Why a ticket is not added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAdded {
    /// A name that another ticket has.
    #[error("there is a ticket named '{0}' already; choose another name, or revoke that one first")]
    Exists(TicketName),
    /// As many tickets as there may be.
    #[error(
        "there are {MAX_TICKETS} tickets already, which is the most; revoke those that are not needed"
    )]
    Full,
}

/// All tickets in force, in the order in which they were made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tickets(Vec<StoredTicket>);

impl Tickets {
    /// Returns the tickets.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &StoredTicket> {
        self.0.iter()
    }

    /// Adds a ticket.
    ///
    /// # Errors
    /// [`NotAdded`].
    pub fn add(&mut self, ticket: StoredTicket) -> Result<(), NotAdded> {
        if self.0.iter().any(|known| known.name == ticket.name) {
            return Err(NotAdded::Exists(ticket.name));
        }
        if self.0.len() >= MAX_TICKETS {
            return Err(NotAdded::Full);
        }
        self.0.push(ticket);
        Ok(())
    }

    /// Removes a ticket and returns it; `None` if there is none of that name.
    pub fn remove(&mut self, name: &TicketName) -> Option<StoredTicket> {
        let at = self.0.iter().position(|known| known.name == *name)?;
        Some(self.0.remove(at))
    }

    /// Checks a token for a role, and for a camera if the peer names one. Takes the same time for any wrong token.
    ///
    /// # Errors
    /// Why the peer is refused.
    pub fn check(
        &self,
        role: Role,
        camera: Option<&CameraName>,
        token: &Key,
    ) -> Result<Grant, Refusal> {
        let ticket = self.find(TokenHash::of(token)).ok_or(Refusal::Token)?;
        ticket.grant(role, camera)
    }

    /// Returns what a ticket lets its owner view, while it is in force.
    pub fn viewer(&self, id: TicketId) -> Option<Grant> {
        let ticket = self.0.iter().find(|known| known.id() == id)?;
        ticket.grant(Role::View, None).ok()
    }

    /// Returns whether a ticket is in force.
    pub fn contains(&self, id: TicketId) -> bool {
        self.0.iter().any(|known| known.id() == id)
    }

    /// Returns whether a ticket has this token.
    pub fn has_token(&self, token: &Key) -> bool {
        self.find(TokenHash::of(token)).is_some()
    }

    /// Compares with every ticket, so that the time does not depend on where the right one stands.
    fn find(&self, hash: TokenHash) -> Option<&StoredTicket> {
        let same = |known: &StoredTicket| bool::from(known.hash.0.0.ct_eq(&hash.0.0));
        let matches = self.0.iter().filter(|known| same(known));
        matches.fold(None, |found, ticket| found.or(Some(ticket)))
    }
}

impl StoredTicket {
    /// Returns the ticket's id.
    pub fn id(&self) -> TicketId {
        self.hash.id()
    }

    fn grant(&self, role: Role, camera: Option<&CameraName>) -> Result<Grant, Refusal> {
        if self.role != role {
            return Err(Refusal::Role);
        }
        let grant = Grant {
            ticket: Some(self.id()),
            camera: self.camera.clone(),
        };
        match camera.is_none_or(|camera| grant.covers(camera.as_str())) {
            true => Ok(grant),
            false => Err(Refusal::Camera),
        }
    }
}

impl Grant {
    /// Returns whether the grant is for this camera too.
    pub fn covers(&self, camera: &str) -> bool {
        let only = self.camera.as_ref();
        only.is_none_or(|only| *only == camera)
    }

    /// Returns those of the cameras that the grant is for.
    pub fn visible(&self, cameras: &[CameraName]) -> Vec<CameraName> {
        let seen = cameras.iter().filter(|name| self.covers(name.as_str()));
        seen.cloned().collect()
    }
}

impl TokenHash {
    /// Returns a token's hash.
    pub fn of(token: &Key) -> Self {
        let mut hash = Key([0; 32]);
        hash.0.copy_from_slice(digest(&SHA256, &token.0).as_ref());
        Self(hash)
    }

    fn id(self) -> TicketId {
        let (id, _) = self.0.0.split_first_chunk().expect("a hash is longer");
        TicketId(*id)
    }
}

impl FromStr for TicketName {
    type Err = BadTicketName;

    fn from_str(s: &str) -> Result<Self, BadTicketName> {
        let shown = || BadTicketName(protocol::text::printable(s, CameraName::MAX));
        s.parse().map(Self).map_err(|_| shown())
    }
}

impl fmt::Display for TicketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for TicketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl TicketId {
    /// Parses 32 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        // A key has twice as many.
        let doubled = Key::parse(&text.repeat(2))?;
        Some(TokenHash(doubled).id())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Returns a ticket whose token is this byte, 32 times.
    pub(crate) fn ticket(name: &str, role: Role, camera: Option<&str>, token: u8) -> StoredTicket {
        StoredTicket {
            name: name.parse().unwrap(),
            role,
            camera: camera.map(|camera| camera.parse().unwrap()),
            created: 1_763_820_000,
            hash: TokenHash::of(&Key([token; 32])),
        }
    }

    pub(crate) fn table() -> Tickets {
        let mut tickets = Tickets::default();
        for one in [
            ticket("pi", Role::Send, None, 1),
            ticket("yard pi", Role::Send, Some("yard"), 2),
            ticket("anna", Role::View, None, 3),
            ticket("ben", Role::View, Some("yard"), 4),
        ] {
            tickets.add(one).unwrap();
        }
        tickets
    }

    fn check(role: Role, camera: Option<&str>, token: u8) -> Result<Option<String>, Refusal> {
        let camera: Option<CameraName> = camera.map(|camera| camera.parse().unwrap());
        let grant = table().check(role, camera.as_ref(), &Key([token; 32]))?;
        assert!(table().contains(grant.ticket.unwrap()));
        Ok(grant.camera.map(|camera| camera.to_string()))
    }

    #[test]
    fn a_token_gives_its_own_role_and_each_refusal_says_why() {
        assert_eq!(check(Role::Send, Some("any"), 1), Ok(None));
        assert_eq!(check(Role::View, None, 3), Ok(None));
        assert_eq!(check(Role::View, Some("yard"), 3), Ok(None));
        assert_eq!(check(Role::View, None, 1), Err(Refusal::Role));
        assert_eq!(check(Role::Send, Some("yard"), 4), Err(Refusal::Role));
        assert_eq!(check(Role::View, None, 9), Err(Refusal::Token));
    }

    #[test]
    fn a_ticket_for_one_camera_is_for_no_other() {
        let yard = Ok(Some("yard".to_owned()));
        assert_eq!(check(Role::Send, Some("yard"), 2), yard);
        assert_eq!(check(Role::Send, Some("drive"), 2), Err(Refusal::Camera));
        assert_eq!(check(Role::View, Some("yard"), 4), yard);
        assert_eq!(check(Role::View, Some("drive"), 4), Err(Refusal::Camera));
        assert_eq!(check(Role::View, None, 4), yard, "it stands for its own");
        let grant = table().check(Role::View, None, &Key([4; 32])).unwrap();
        let cameras = ["drive", "yard"].map(|name| name.parse().unwrap());
        assert_eq!(grant.visible(&cameras), [cameras[1].clone()]);
        assert_eq!(Grant::default().visible(&cameras), cameras);
    }

    #[test]
    fn names_are_unique_and_tickets_have_a_bound() {
        let mut tickets = table();
        let again = ticket("anna", Role::Send, None, 8);
        assert!(matches!(tickets.add(again), Err(NotAdded::Exists(_))));
        let there = tickets.iter().len();
        for n in there..MAX_TICKETS {
            let name = format!("t{n}");
            tickets.add(ticket(&name, Role::View, None, 7)).unwrap();
        }
        let more = ticket("more", Role::View, None, 8);
        assert_eq!(tickets.add(more.clone()), Err(NotAdded::Full));
        assert!(tickets.remove(&"t9".parse().unwrap()).is_some());
        tickets.add(more).unwrap();
    }

    #[test]
    fn a_revoked_ticket_is_gone_and_one_of_the_same_name_is_another() {
        let mut tickets = table();
        let old = tickets.remove(&"anna".parse().unwrap()).unwrap();
        assert_eq!(tickets.remove(&"anna".parse().unwrap()), None);
        tickets.add(ticket("anna", Role::View, None, 5)).unwrap();
        assert!(!tickets.contains(old.id()) && tickets.viewer(old.id()).is_none());
        let refused = tickets.check(Role::View, None, &Key([3; 32]));
        assert_eq!(refused, Err(Refusal::Token));
        assert!(tickets.check(Role::View, None, &Key([1; 32])).is_err());
        assert!(tickets.check(Role::View, None, &Key([5; 32])).is_ok());
    }

    #[test]
    fn a_senders_ticket_lets_nothing_be_viewed_by_its_id_either() {
        let tickets = table();
        let id = |name: &str| {
            let mut known = tickets.iter();
            known.find(|one| one.name.to_string() == name).unwrap().id()
        };
        assert_eq!(tickets.viewer(id("pi")), None);
        let grant = tickets.viewer(id("ben")).unwrap();
        assert!(grant.covers("yard") && !grant.covers("drive"));
    }

    #[test]
    fn an_id_is_shown_and_read_and_names_are_those_of_cameras() {
        let id = table().iter().next().unwrap().id();
        assert_eq!(TicketId::parse(&id.to_string()), Some(id));
        for bad in ["", "1f", &"g".repeat(32), &"0".repeat(64)] {
            assert_eq!(TicketId::parse(bad), None, "{bad}");
        }
        for bad in ["", "a/b", "a\nb", " a", &"x".repeat(65)] {
            let why = bad.parse::<TicketName>().unwrap_err().to_string();
            assert!(!why.contains('\n') && why.len() < 200, "{why}");
        }
    }
}
