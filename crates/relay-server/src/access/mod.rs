//! Access to the relay: the tickets that peers show, and the certificate by which peers recognise the relay.
//!
//! What is decided stands in [`crate::tickets`], without files and clocks. Here are the files (`store`), the check of them
//! while the relay runs (`watch`), and the sessions that end with their ticket.

mod store;
mod watch;

use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use platform::clock::unix_micros;
use protocol::label::CameraName;
use protocol::quic::{Hello, Refusal, Role};
use protocol::ticket::Key;
use quic::identity::Identity;
use tracing::warn;

pub use self::store::{MadeTicket, Store};
pub(crate) use self::store::{SECRETS, examine};
use self::watch::Watched;
pub use self::watch::watch;
pub use crate::tickets::Grant;
use crate::tickets::cookie::CookieKey;
use crate::tickets::uses::Uses;
use crate::tickets::{TicketId, Tickets};

/// The relay's certificate, and the tickets that peers of a private relay need.
#[derive(Debug)]
pub struct Access {
    /// Certificate and key.
    pub identity: Identity,
    /// `None` if the relay is open to all peers.
    private: Option<Private>,
}

/// What a private relay has besides.
#[derive(Debug)]
struct Private {
    store: Store,
    tickets: tokio::sync::watch::Sender<Arc<Tickets>>,
    uses: Mutex<Uses>,
    cookies: CookieKey,
    watched: Mutex<Watched>,
}

/// What a valid cookie permits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CookieGrant {
    /// What the browser may see.
    pub grant: Grant,
    /// Whether the cookie is to be renewed.
    pub is_old: bool,
}

/// The session of a peer that was let in. While it is open its ticket counts as in use.
#[derive(Debug)]
pub struct TicketSession {
    access: Arc<Access>,
    ticket: Option<TicketId>,
}

impl Access {
    /// Reads the files below `state` and creates those that are missing, or all of them anew with `rotate`. An open relay
    /// works without a state directory, a private one does not. Returns the tickets that were made as well: nothing else
    /// holds their tokens.
    ///
    /// # Errors
    /// If the tickets of a private relay cannot be read or stored.
    pub fn open(
        state: Option<&Path>,
        private: bool,
        rotate: bool,
    ) -> anyhow::Result<(Self, Vec<MadeTicket>)> {
        let missing = "there is neither --state nor a home directory";
        let opened = match state {
            None if private => anyhow::bail!(
                "--private needs a directory for its tickets, and {missing}: name one with --state DIR"
            ),
            None => Err(anyhow::anyhow!(missing)),
            Some(state) if private => return Self::open_private(state, rotate),
            Some(state) => Store::create(state).and_then(|store| store.identity(rotate)),
        };
        let identity = opened.or_else(|err| {
            warn!(
                "the certificate is not stored, so each start makes a new one; name a directory with --state DIR: {err:#}"
            );
            Identity::generate().context("making a certificate")
        })?;
        let open = Self {
            identity,
            private: None,
        };
        Ok((open, Vec::new()))
    }

    fn open_private(state: &Path, rotate: bool) -> anyhow::Result<(Self, Vec<MadeTicket>)> {
        let store = Store::create(state)?;
        let (identity, tickets, made) = store.open_private(rotate)?;
        let cookies = CookieKey::new(&identity.login_secret(), &identity.fingerprint());
        let private = Private {
            watched: Mutex::new(Watched::new(&store)),
            tickets: tokio::sync::watch::Sender::new(Arc::new(tickets)),
            uses: Mutex::new(store.uses()),
            cookies,
            store,
        };
        let access = Self {
            identity,
            private: Some(private),
        };
        Ok((access, made))
    }

    /// Returns whether the relay admits only peers with a ticket.
    pub fn is_private(&self) -> bool {
        self.private.is_some()
    }

    /// Returns the number of tickets in force; `None` for an open relay.
    pub fn ticket_count(&self) -> Option<usize> {
        let private = self.private.as_ref()?;
        Some(private.tickets.borrow().iter().len())
    }

    /// Checks the hello of a QUIC peer.
    ///
    /// # Errors
    /// If the peer is to be refused.
    pub fn check(&self, hello: &Hello) -> Result<Grant, Refusal> {
        let camera = hello.camera()?;
        self.check_token(hello.role, camera.as_ref(), hello.token.as_deref())
    }

    /// Checks a peer's token for a role, and for a camera if the peer names one; takes the same time for any wrong token. An
    /// open relay needs none. The [session](Access::session) of the grant ends when its ticket is revoked.
    ///
    /// # Errors
    /// If the peer is to be refused.
    pub fn check_token(
        &self,
        role: Role,
        camera: Option<&CameraName>,
        token: Option<&str>,
    ) -> Result<Grant, Refusal> {
        let Some(private) = &self.private else {
            return Ok(Grant::default());
        };
        let token = Key::parse(token.ok_or(Refusal::Private)?).ok_or(Refusal::Token)?;
        private.tickets.borrow().check(role, camera, &token)
    }

    /// Returns what the owner of a cookie may view; `None` if the cookie is not one of this relay's, has expired, or is of a
    /// ticket that is not in force.
    pub fn check_cookie(&self, value: &str) -> Option<CookieGrant> {
        let private = self.private.as_ref()?;
        let session = private.cookies.verify(value, now())?;
        let grant = private.tickets.borrow().viewer(session.ticket)?;
        let is_old = session.is_old;
        Some(CookieGrant { grant, is_old })
    }

    /// Returns the name of the cookies of this relay; `None` for an open one.
    pub fn cookie_name(&self) -> Option<&str> {
        self.private.as_ref().map(|private| private.cookies.name())
    }

    /// Returns a new cookie's value for a grant; `None` at an open relay.
    pub fn issue_cookie(&self, grant: &Grant) -> Option<String> {
        let private = self.private.as_ref()?;
        Some(private.cookies.issue(grant.ticket?, now()))
    }

    /// Begins the session of a peer at this address.
    pub fn session(self: &Arc<Self>, grant: &Grant, address: IpAddr) -> TicketSession {
        if let (Some(private), Some(ticket)) = (&self.private, grant.ticket) {
            private.uses().open(ticket, address.to_canonical(), now());
        }
        TicketSession {
            access: self.clone(),
            ticket: grant.ticket,
        }
    }
}

impl Private {
    fn uses(&self) -> MutexGuard<'_, Uses> {
        self.uses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TicketSession {
    /// Waits until the session's ticket is not in force any more. May be cancelled.
    pub async fn ended(&self) {
        if let (Some(private), Some(ticket)) = (&self.access.private, self.ticket) {
            let mut tickets = private.tickets.subscribe();
            let revoked = tickets.wait_for(|tickets| !tickets.contains(ticket)).await;
            // The sender lives as long as this session does, so there is no error.
            if revoked.is_ok() {
                return;
            }
        }
        std::future::pending().await
    }

    /// Returns whether the session depends on a ticket.
    pub fn has_ticket(&self) -> bool {
        self.ticket.is_some()
    }
}

impl Drop for TicketSession {
    fn drop(&mut self) {
        if let (Some(private), Some(ticket)) = (&self.access.private, self.ticket) {
            private.uses().close(ticket, now());
        }
    }
}

/// Returns the seconds since the Unix epoch.
pub(crate) fn now() -> u64 {
    unix_micros() / 1_000_000
}

#[cfg(test)]
pub(crate) mod tests;
