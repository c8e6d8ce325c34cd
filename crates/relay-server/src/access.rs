//! Access to the relay: a token for each role, and the certificate by which peers recognise the relay. Both are created
//! once and stored in the state directory.

use std::path::Path;

use anyhow::Context as _;
use platform::state_dir::StateDir;
use protocol::quic::{Hello, Refusal, Role};
use protocol::ticket::{Host, Key, Ticket};
use quic::identity::Identity;
use subtle::ConstantTimeEq as _;
use tracing::warn;

/// Largest file of these, in bytes: a certificate and its key have less than one kilobyte.
const MAX_FILE: usize = 16 << 10;
/// What is wrong if the directory itself cannot be opened.
const UNUSABLE: &str = "the state directory cannot be used; --state DIR names another";

/// Files in the state directory that only the owner may read: the certificate with its key, and the two tokens.
pub(crate) const SECRETS: [&str; 3] = ["identity", "sender.token", "viewer.token"];

/// The relay's certificate, and the tokens that peers of a private relay need.
#[derive(Debug)]
pub struct Access {
    /// Certificate and key.
    pub identity: Identity,
    /// `None` if the relay is open to all peers.
    tokens: Option<Tokens>,
}

#[derive(Debug)]
struct Tokens {
    send: Key,
    view: Key,
}

impl Access {
    /// Reads the files below `state` and creates those that are missing, or all of them anew with `rotate`. An open relay
    /// works without a state directory, a private one does not.
    ///
    /// # Errors
    /// If the tokens of a private relay cannot be stored.
    pub fn open(state: Option<&Path>, private: bool, rotate: bool) -> anyhow::Result<Self> {
        let missing = "there is neither --state nor a home directory";
        let stored = match state {
            None if private => anyhow::bail!(
                "--private needs a directory for its tokens, and {missing}: name one with --state DIR"
            ),
            None => Err(anyhow::anyhow!(missing)),
            Some(state) => Self::load(state, private, rotate),
        };
        match stored {
            Err(err) if private => Err(err),
            Err(err) => {
                warn!(
                    "the certificate is not stored, so each start makes a new one; name a directory with --state DIR: {err:#}"
                );
                let identity = Identity::generate().context("making a certificate")?;
                Ok(Self {
                    identity,
                    tokens: None,
                })
            }
            stored => stored,
        }
    }

    fn load(state: &Path, private: bool, rotate: bool) -> anyhow::Result<Self> {
        let directory = StateDir::create(state).context(UNUSABLE)?;
        let secrets = Secrets { directory, rotate };
        let identity = secrets.identity()?;
        let [_, sender, viewer] = SECRETS;
        let tokens = private.then(|| -> anyhow::Result<_> {
            let send = secrets.token(sender)?;
            let view = secrets.token(viewer)?;
            Ok(Tokens { send, view })
        });
        Ok(Self {
            identity,
            tokens: tokens.transpose()?,
        })
    }

    /// Returns whether the relay admits only peers with a ticket.
    pub fn is_private(&self) -> bool {
        self.tokens.is_some()
    }

    /// Checks a peer's token; takes the same time for any wrong one.
    ///
    /// # Errors
    /// If the peer is to be refused.
    pub fn check(&self, hello: &Hello) -> Result<(), Refusal> {
        let Some(Tokens { send, view }) = &self.tokens else {
            return Ok(());
        };
        let token = hello.token.as_deref().ok_or(Refusal::Private)?;
        let token = Key::parse(token).ok_or(Refusal::Token)?;
        let [own, other] = match hello.role {
            Role::Send => [send, view],
            Role::View => [view, send],
        };
        let matches = |key: &Key| bool::from(key.0.ct_eq(&token.0));
        match (matches(own), matches(other)) {
            (true, _) => Ok(()),
            (false, true) => Err(Refusal::Role),
            (false, false) => Err(Refusal::Token),
        }
    }

    /// Returns the sender's and the viewer's ticket for a relay at `host`; `None` for an open relay.
    pub fn tickets(&self, host: &Host) -> Option<(Ticket, Ticket)> {
        let ticket = |token: &Key| Ticket {
            host: host.clone(),
            camera: None,
            token: *token,
            fingerprint: self.identity.fingerprint(),
        };
        let Tokens { send, view } = self.tokens.as_ref()?;
        Some((ticket(send), ticket(view)))
    }
}

/// Checks the files below `state`, without creating or changing any.
///
/// # Errors
/// If a file cannot be used.
pub(crate) fn examine(state: &Path) -> anyhow::Result<()> {
    let Some(directory) = StateDir::examine(state).context(UNUSABLE)? else {
        return Ok(());
    };
    for name in SECRETS {
        if let Some(stored) = directory.read(name, MAX_FILE)? {
            let path = directory.path_of(name);
            match name == SECRETS[0] {
                true => parse_identity(&path, &stored.bytes).map(drop)?,
                false => parse_token(&path, &stored.bytes).map(drop)?,
            }
        }
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
    let [own, other] = match path.ends_with(SECRETS[1]) {
        true => ["senders", "viewers"],
        false => ["viewers", "senders"],
    };
    let path = path.display();
    key.with_context(|| {
        format!(
            "{path} does not hold a token; restore it, or remove this file alone: the next start makes a new ticket for \
             {own}, and those of {other} stay valid"
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

/// The files that only their owner may read.
struct Secrets {
    directory: StateDir,
    /// Whether the files are replaced.
    rotate: bool,
}

impl Secrets {
    fn identity(&self) -> anyhow::Result<Identity> {
        let [name, ..] = SECRETS;
        let stored = self.load(name, || {
            let identity = Identity::generate().context("making a certificate")?;
            Ok(pack(&identity))
        })?;
        parse_identity(&self.directory.path_of(name), &stored)
    }

    fn token(&self, name: &str) -> anyhow::Result<Key> {
        let stored = self.load(name, || {
            let mut key = Key([0; 32]);
            getrandom::fill(&mut key.0).context("no random numbers from the system")?;
            Ok(format!("{key}\n").into_bytes())
        })?;
        parse_token(&self.directory.path_of(name), &stored)
    }

    /// Returns a file's content, made if the file does not exist. Of two relays that create it at the same time, the
    /// second one takes the content of the first.
    fn load(
        &self,
        name: &str,
        make: impl FnOnce() -> anyhow::Result<Vec<u8>>,
    ) -> anyhow::Result<Vec<u8>> {
        if self.rotate {
            self.directory.replace(name, &make()?)?;
        } else if let Some(stored) = self.directory.read(name, MAX_FILE)? {
            return Ok(stored.bytes);
        } else {
            self.directory.write_new(name, &make()?)?;
        }
        let written = self.directory.read(name, MAX_FILE)?;
        let path = self.directory.path_of(name);
        written
            .map(|stored| stored.bytes)
            .with_context(|| format!("{} was removed as soon as written", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    use super::*;

    fn private(state: &Path, rotate: bool) -> Access {
        Access::open(Some(state), true, rotate).unwrap()
    }

    fn tickets(access: &Access) -> [Ticket; 2] {
        access.tickets(&"relay".parse().unwrap()).unwrap().into()
    }

    fn hello(role: Role, token: Option<&str>) -> Hello {
        Hello {
            role,
            camera: None,
            token: token.map(str::to_owned),
            stream: None,
            cookie: None,
            trial: None,
            original: false,
        }
    }

    #[test]
    fn tokens_and_certificate_outlive_a_restart_and_not_a_rotation() {
        let state = tempfile::tempdir().unwrap();
        let state = state.path().join("deep/in");
        let first = tickets(&private(&state, false));
        assert_eq!(tickets(&private(&state, false)), first);
        let rotated = tickets(&private(&state, true));
        for (old, new) in first.iter().zip(&rotated) {
            assert!(old.token != new.token && old.fingerprint != new.fingerprint);
        }
        assert_eq!(tickets(&private(&state, false)), rotated);
    }

    #[test]
    fn nobody_else_can_read_them() {
        let state = tempfile::tempdir().unwrap();
        let state = state.path().join("state");
        private(&state, false);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&state), 0o700);
        let files: Vec<_> = fs::read_dir(&state)
            .unwrap()
            .map(|file| file.unwrap().path())
            .collect();
        assert_eq!(files.len(), 3);
        assert!(files.iter().all(|file| mode(file) == 0o600));
    }

    #[test]
    fn each_refusal_says_which() {
        let state = tempfile::tempdir().unwrap();
        let access = private(state.path(), false);
        let [send, view] = tickets(&access).map(|ticket| ticket.token.to_string());
        let check = |role, token| access.check(&hello(role, token));
        assert_eq!(check(Role::Send, Some(&send)), Ok(()));
        assert_eq!(check(Role::View, Some(&view)), Ok(()));
        assert_eq!(check(Role::Send, None), Err(Refusal::Private));
        assert_eq!(check(Role::Send, Some(&view)), Err(Refusal::Role));
        assert_eq!(check(Role::View, Some(&send)), Err(Refusal::Role));
        for wrong in [&send[1..], "", &"0".repeat(64)] {
            assert_eq!(check(Role::View, Some(wrong)), Err(Refusal::Token));
        }
    }

    #[test]
    fn an_open_relay_lets_in_all_and_needs_no_place_to_keep_anything() {
        let access = Access::open(None, false, false).unwrap();
        assert_eq!(access.check(&hello(Role::View, Some("x"))), Ok(()));
        assert!(!access.is_private() && access.tickets(&"relay".parse().unwrap()).is_none());
        let why = Access::open(None, true, false).unwrap_err();
        assert!(format!("{why:#}").contains("--state DIR"));
    }

    fn refused(state: &Path) -> String {
        format!("{:#}", Access::open(Some(state), true, false).unwrap_err())
    }

    #[test]
    fn a_damaged_token_is_named_and_its_removal_keeps_all_other_tickets() {
        let state = tempfile::tempdir().unwrap();
        let [send, view] = tickets(&private(state.path(), false));
        let file = state.path().join("viewer.token");
        fs::write(&file, "12").unwrap();
        let why = refused(state.path());
        for part in [
            "viewer.token does not hold a token",
            "remove this file alone",
            "a new ticket for viewers",
            "those of senders stay valid",
        ] {
            assert!(why.contains(part), "{why}");
        }
        assert!(
            !why.contains("needs a directory") && !why.contains("--rotate"),
            "{why}"
        );
        fs::remove_file(&file).unwrap();
        let [send_after, view_after] = tickets(&private(state.path(), false));
        assert_eq!(send_after, send);
        assert_ne!(view_after.token, view.token);
        assert_eq!(view_after.fingerprint, view.fingerprint);
    }

    #[test]
    fn a_damaged_certificate_is_named() {
        let state = tempfile::tempdir().unwrap();
        private(state.path(), false);
        let file = state.path().join("identity");
        let whole = fs::read(&file).unwrap();
        let mut other_key = whole.clone();
        *other_key.last_mut().unwrap() ^= 1;
        for damaged in [&b""[..], b"\0\x02ab", &whole[..whole.len() - 1], &other_key] {
            fs::write(&file, damaged).unwrap();
            let why = refused(state.path());
            assert!(why.contains("identity is damaged"), "{why}");
            assert!(examine(state.path()).is_err());
        }
    }

    #[test]
    fn what_another_user_prepared_is_refused_and_modes_of_ours_are_repaired() {
        let state = tempfile::tempdir().unwrap();
        let first = tickets(&private(state.path(), false));
        let set_mode = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        let token = state.path().join("viewer.token");
        set_mode(state.path(), 0o777);
        set_mode(&token, 0o644);
        assert_eq!(tickets(&private(state.path(), false)), first);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(state.path()), mode(&token)), (0o755, 0o600));
        let aside = state.path().join("aside");
        fs::rename(&token, &aside).unwrap();
        symlink(&aside, &token).unwrap();
        let why = refused(state.path());
        assert!(why.contains("viewer.token: it is a symbolic link"), "{why}");
        if chown(state.path(), Some(12345), None).is_ok() {
            let why = refused(state.path());
            assert!(why.contains("--state") && why.contains("12345"), "{why}");
        }
    }

    #[test]
    fn relays_that_start_together_agree() {
        let state = tempfile::tempdir().unwrap();
        let start = || {
            std::thread::scope(|scope| {
                let relays: Vec<_> = (0..8)
                    .map(|_| scope.spawn(|| tickets(&private(state.path(), false))))
                    .collect();
                relays
                    .into_iter()
                    .map(|relay| relay.join().unwrap())
                    .collect::<Vec<_>>()
            })
        };
        let first = start();
        assert!(first.iter().all(|tickets| *tickets == first[0]));
    }
}
