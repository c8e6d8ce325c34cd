//! Errors of the command line, the environment and the file without the passwords and tokens in their values. Pure.
//!
//! clap repeats a wrong value, and a value's own error may do so too. A camera's URL with its login is easily given to the
//! wrong flag, and a ticket is easily cut off, so each value that looks like either is left out of the text.

use std::collections::HashSet;
use std::error::Error as _;

use clap::Command;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// What stands in the place of a value that is not shown.
const HIDDEN: &str = "..";
const HINT: &str = "what may hold a password is not repeated here; a camera's URL is pi-sender's --source, and the relay is \
                    HOST[:PORT] or a ticket";
/// Names of parameters whose values are secret, as cameras and tickets have them.
const PARAMETERS: [&str; 5] = ["token=", "password=", "passwd=", "pwd=", "pass="];

/// Returns whether a value is a ticket or a URL of more than a host, has a login like one, or has a parameter for a password.
pub(super) fn may_hold_secret(value: &str) -> bool {
    let lower = value.to_ascii_lowercase();
    let has = |part: &&str| lower.contains(*part);
    let is_more_than_host = |(_, rest): (&str, &str)| {
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        rest.contains(['/', '?', '#', '@'])
    };
    value.split_once("://").is_some_and(is_more_than_host)
        || value.contains('@')
        || PARAMETERS.iter().any(has)
}

/// Returns the value, or two dots for one that [`may_hold_secret`].
pub(super) fn without_secret(value: &str) -> &str {
    match may_hold_secret(value) {
        true => HIDDEN,
        false => value,
    }
}

/// Returns the error without the values that may hold a secret.
pub(super) fn without_secrets(mut command: Command, mut err: clap::Error) -> clap::Error {
    let mut secrets = Vec::new();
    let texts = |value: &ContextValue| match value {
        ContextValue::String(text) => vec![text.clone()],
        ContextValue::Strings(texts) => texts.clone(),
        ContextValue::StyledStr(text) => vec![text.to_string()],
        ContextValue::StyledStrs(texts) => texts.iter().map(ToString::to_string).collect(),
        _ => Vec::new(),
    };
    let context: Vec<(ContextKind, Vec<String>)> = err
        .context()
        .map(|(kind, value)| (kind, texts(value)))
        .collect();
    for (kind, texts) in context {
        if !texts.iter().any(|text| may_hold_secret(text)) {
            continue;
        }
        match kind {
            ContextKind::InvalidArg | ContextKind::InvalidValue => {
                let shown: Vec<_> = texts.iter().map(|text| shown(text)).collect();
                err.insert(kind, ContextValue::String(shown.join(" ")));
            }
            _ => {
                err.remove(kind);
            }
        }
        secrets.extend(texts);
    }
    let Some(cause) = err.source().filter(|_| !secrets.is_empty()) else {
        return err;
    };
    // A value's own error cannot be replaced alone.
    let cause = cause_without(&cause.to_string(), &secrets);
    let flag = match err.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(flag)) => format!(" for '{flag}'"),
        _ => String::new(),
    };
    let sentence = format!("invalid value '{HIDDEN}'{flag}: {cause}");
    command.error(ErrorKind::ValueValidation, sentence)
}

/// Returns a flag with its value hidden (`--flag=..`), or a hidden value.
fn shown(text: &str) -> String {
    match text.split_once('=') {
        Some((flag, _)) if flag.starts_with("--") && !may_hold_secret(flag) => {
            format!("{flag}={HIDDEN}")
        }
        _ => without_secret(text).to_owned(),
    }
}

/// Returns the cause of an error with the values in it hidden; if a word of theirs is left, as where the cause has a value cut
/// or escaped, a hint in its place.
fn cause_without(cause: &str, secrets: &[String]) -> String {
    let hide = |cause: String, secret: &String| cause.replace(secret, HIDDEN);
    let cause = secrets.iter().fold(cause.to_owned(), hide);
    let known: HashSet<&str> = secrets.iter().flat_map(|secret| words(secret)).collect();
    let repeats = words(&cause).any(|word| known.contains(word));
    match repeats {
        true => HINT.to_owned(),
        false => cause,
    }
}

/// Returns the words of a text but for a ticket's own and schemes, whatever escapes stand between them.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !c.is_alphanumeric());
    words.filter(|word| {
        !matches!(
            *word,
            "" | "http" | "https" | "sightline" | "token" | "sha256"
        )
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use protocol::label::CameraName;

    use super::super::{Common, command, resolve};
    use crate::server::Server;

    const URL: &str = "http://admin:hunter2@10.0.0.5/x?pwd=hunter2";

    #[derive(Debug, Parser)]
    #[command(name = "secret-test-program", version)]
    struct Example {
        #[command(flatten)]
        common: Common,
        #[arg(long)]
        server: Option<Server>,
        #[arg(long)]
        camera: Option<CameraName>,
        #[arg(long, default_value_t = 4)]
        every: u32,
        #[arg(long)]
        preview: bool,
    }

    fn error(file: &str, words: &[&str]) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("example.toml");
        std::fs::write(&path, file).unwrap();
        let always = ["x".into(), "--config".into(), path.into_os_string()];
        let argv = always
            .into_iter()
            .chain(words.iter().map(std::ffi::OsString::from));
        let err = resolve(command::<Example>(), argv.collect()).unwrap_err();
        assert!(!format!("{err:?}").contains("hunter2"), "{err:?}");
        let text = err.to_string();
        assert!(!text.contains("hunter2"), "{text}");
        text
    }

    #[test]
    fn no_wrong_value_of_a_flag_shows_a_password() {
        for (flag, shown) in [
            ("--camera", "--camera"),
            ("--server", "--server"),
            ("--every", "--every"),
            ("--log-format", "possible values: text, json"),
            ("--preview", "--preview"),
            ("--sorce", "--sorce"),
        ] {
            let err = error("", &[&format!("{flag}={URL}")]);
            assert!(err.contains(shown), "{err}");
        }
        for words in [
            &["--camera", URL][..],
            &["--sorce", URL],
            &["--every", "u:hunter2@cam"],
            &["--camera", "10.0.0.5/user=admin_password=hunter2_channel=1"],
            &["--camera", "rtsp://u:\"hunter2\\@cam"],
            &["--camera", "yard", URL],
            &["doctor", "relay", URL],
            &["--", URL],
        ] {
            error("", words);
        }
    }

    #[test]
    fn a_ticket_that_is_cut_off_shows_its_cure_and_not_its_token() {
        let err = error("", &["--server", "sightline://relay/yard?token=hunter2"]);
        assert!(err.contains("single quotes"), "{err}");
        assert!(err.contains("--server"), "{err}");
    }

    #[test]
    fn no_error_of_the_file_shows_a_password() {
        for (file, shown) in [
            (format!("camera = \"{URL}\""), "--camera (from"),
            (format!("server = \"{URL}\""), "--server (from"),
            (format!("every = 3\nserver = \"{URL}"), "line 2, column"),
            (format!("server = {URL}"), "not valid TOML at line 1"),
            (format!("\"{URL}\" = 1"), "unknown key '..'"),
        ] {
            let err = error(&file, &[]);
            assert!(err.contains(shown) && err.contains("example.toml"), "{err}");
        }
    }

    #[test]
    fn the_help_shows_no_secret_that_the_file_sets() {
        let digits = "ab".repeat(32);
        let ticket = format!("sightline://relay?token={digits}#sha256={digits}");
        let help = error(&format!("server = \"{ticket}\"\nevery = 7"), &["--help"]);
        assert!(!help.contains(&digits), "{help}");
        assert!(help.contains("[default: 7]"), "{help}");
    }

    #[test]
    fn what_is_no_secret_is_shown_with_its_own_cause() {
        let err = error("", &["--camera", "a/b"]);
        assert!(
            err.contains("'a/b'") && err.contains("letters, digits"),
            "{err}"
        );
        let err = error("", &["--camera", "yard@home"]);
        assert!(err.contains("letters, digits"), "{err}");
        let err = error("", &["--every", "often"]);
        assert!(err.contains("invalid value 'often' for '--every"), "{err}");
    }
}
