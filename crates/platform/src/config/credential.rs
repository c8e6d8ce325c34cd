//! The relay, or a ticket to it, as a credential of the service manager.
//!
//! A unit's `LoadCredential=ticket:FILE` lets the program alone read a file that else root alone may read. It counts where
//! neither a flag, nor the environment, nor the configuration file names the relay.

use std::env;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Command;
use clap::error::ErrorKind;

use super::relay_word::takes_relay;
use super::with_default;

/// Name of the credential.
const NAME: &str = "ticket";
/// What the units set where there is no file: a credential cannot be empty.
const NONE: &str = "-";
/// Longest credential, in bytes; a ticket has 250.
const MAX_LENGTH: u64 = 4096;

/// Returns the command with the credential as the relay's default.
///
/// # Errors
/// If the credential cannot be read or names no relay; its text is a secret and not repeated.
pub(super) fn with_credential(mut command: Command) -> Result<Command, clap::Error> {
    let directory = env::var_os("CREDENTIALS_DIRECTORY").filter(|dir| !dir.is_empty());
    let Some(path) = directory.map(|dir| PathBuf::from(dir).join(NAME)) else {
        return Ok(command);
    };
    if !takes_relay(&command) || !path.exists() {
        return Ok(command);
    }
    let origin = path.display();
    match read(&path) {
        Ok(None) => Ok(command),
        Ok(Some(ticket)) => with_default(command.clone(), "server", &ticket, "").map_err(|_| {
            let sentence = format!(
                "the credential {origin} is neither HOST[:PORT] nor a ticket; it is the file of LoadCredential=ticket:FILE \
                 in the unit"
            );
            command.error(ErrorKind::ValueValidation, sentence)
        }),
        Err(err) => {
            let sentence = format!("the credential {origin} cannot be read: {err}");
            Err(command.error(ErrorKind::Io, sentence))
        }
    }
}

/// Returns the credential; `None` if it is that of a unit without a ticket.
fn read(path: &Path) -> std::io::Result<Option<String>> {
    let mut text = String::new();
    File::open(path)?
        .take(MAX_LENGTH)
        .read_to_string(&mut text)?;
    let text = text.trim();
    Ok((!text.is_empty() && text != NONE).then(|| text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_a_line_and_the_units_placeholder_is_none() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (text, wanted) in [
            ("relay.example\n", Some("relay.example")),
            (
                "  sightline://h?token=1#x \n\n",
                Some("sightline://h?token=1#x"),
            ),
            ("-", None),
            ("-\n", None),
            ("", None),
        ] {
            std::fs::write(file.path(), text).unwrap();
            assert_eq!(read(file.path()).unwrap().as_deref(), wanted, "{text:?}");
        }
        assert!(read(Path::new("/nonexistent/ticket")).is_err());
    }
}
