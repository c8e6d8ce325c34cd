//! Access to the relay: a token for each role, and the certificate by which peers recognise the relay. Both are created
//! once and stored in the state directory.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use protocol::quic::{Hello, Refusal, Role};
use protocol::ticket::{Host, Key, Ticket};
use quic::identity::Identity;
use subtle::ConstantTimeEq as _;
use tracing::warn;

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
        let stored = state
            .context("there is neither --state nor a home directory")
            .and_then(|state| Self::load(state, private, rotate));
        match stored {
            Err(err) if private => Err(err
                .context("--private needs a directory for its tokens: name one with --state DIR")),
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
        let file = |name: &str| Secret {
            path: state.join(name),
            rotate,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(state)
            .with_context(|| format!("making {}", state.display()))?;
        let generate = || {
            let identity = Identity::generate().context("making a certificate")?;
            Ok(pack(&identity))
        };
        let [identity, sender, viewer] = SECRETS;
        let file_of_identity = file(identity);
        let identity = parse_identity(&file_of_identity.path, &file_of_identity.load(generate)?)?;
        let tokens = private.then(|| -> anyhow::Result<_> {
            let send = file(sender).token()?;
            let view = file(viewer).token()?;
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

/// Checks the files below `state`, without creating any.
///
/// # Errors
/// If a file cannot be used.
pub(crate) fn examine(state: &Path) -> anyhow::Result<()> {
    let [identity, tokens @ ..] = SECRETS.map(|name| state.join(name));
    let read = |path: &Path| fs::read(path).with_context(|| format!("reading {}", path.display()));
    if identity.exists() {
        parse_identity(&identity, &read(&identity)?)?;
    }
    for token in tokens.iter().filter(|path| path.exists()) {
        parse_token(token, &read(token)?)?;
    }
    Ok(())
}

fn parse_identity(path: &Path, bytes: &[u8]) -> anyhow::Result<Identity> {
    let path = path.display();
    unpack(bytes)
        .with_context(|| format!("{path} is damaged; remove it, which makes all tickets void"))
}

fn parse_token(path: &Path, bytes: &[u8]) -> anyhow::Result<Key> {
    let text = std::str::from_utf8(bytes).ok();
    let key = text.and_then(|text| Key::parse(text.trim_end()));
    let path = path.display();
    key.with_context(|| format!("{path} does not hold a token; --rotate makes a new one"))
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

/// A file that only its owner may read.
struct Secret {
    path: PathBuf,
    /// Whether the file is replaced.
    rotate: bool,
}

impl Secret {
    fn token(&self) -> anyhow::Result<Key> {
        let stored = self.load(|| {
            let mut key = Key([0; 32]);
            getrandom::fill(&mut key.0).context("no random numbers from the system")?;
            Ok(format!("{key}\n").into_bytes())
        })?;
        parse_token(&self.path, &stored)
    }

    /// Returns the file's content, made if the file does not exist. Of two relays that create it at the same time, the
    /// second one takes the content of the first.
    fn load(&self, make: impl FnOnce() -> anyhow::Result<Vec<u8>>) -> anyhow::Result<Vec<u8>> {
        let path = self.path.display();
        let read = || fs::read(&self.path).with_context(|| format!("reading {path}"));
        if !self.rotate && self.path.exists() {
            return read();
        }
        let made = make()?;
        self.write(&made)
            .with_context(|| format!("writing {path}"))?;
        read()
    }

    /// Writes a temporary file and moves it into place, so that a power cut leaves the old content or the new one.
    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let unique = getrandom::u64().map_err(io::Error::other)?;
        let temporary = self.path.with_extension(format!("{unique:016x}.new"));
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        if self.rotate {
            return fs::rename(&temporary, &self.path);
        }
        let linked = fs::hard_link(&temporary, &self.path);
        fs::remove_file(&temporary)?;
        match linked {
            Err(err) if err.kind() == ErrorKind::AlreadyExists => Ok(()),
            linked => linked,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

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

    #[test]
    fn a_damaged_token_is_an_error_with_its_cure() {
        let state = tempfile::tempdir().unwrap();
        private(state.path(), false);
        fs::write(state.path().join("viewer.token"), "12").unwrap();
        let why = format!(
            "{:#}",
            Access::open(Some(state.path()), true, false).unwrap_err()
        );
        assert!(
            why.contains("viewer.token") && why.contains("--rotate"),
            "{why}"
        );
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
