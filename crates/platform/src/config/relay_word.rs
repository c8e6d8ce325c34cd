//! The relay as a bare word: `viewer relay.example` is `viewer --server relay.example`.
//!
//! The word becomes the flag before clap runs, so that both have one parser, and giving both is clap's own error.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, ValueEnum as _};

use protocol::ticket::SCHEME;

use super::secrets::{may_hold_secret, without_secret};
use super::words::COMPLETIONS;
use super::{Task, settings};
use crate::server::RelayUrl;

/// Largest number of typing errors in a word that is taken for a task's name.
const MAX_TYPOS: usize = 2;

/// Returns whether the program connects to a relay, and so takes one as its first word.
pub(super) fn takes_relay(command: &Command) -> bool {
    settings(command).any(|arg| arg.get_long() == Some("server"))
}

/// Returns the command with the relay in its line of usage; clap writes that of a program that takes none.
pub(super) fn with_usage(command: Command) -> Command {
    match takes_relay(&command) {
        true => with_short_usage(command),
        false => command,
    }
}

/// Returns the command with a line of usage that lists no flag.
pub(super) fn with_short_usage(command: Command) -> Command {
    let relay = match takes_relay(&command) {
        true => " [HOST[:PORT]|TICKET|URL]",
        false => "",
    };
    let usage = format!("{} [doctor]{relay} [OPTIONS]", command.get_name());
    command.override_usage(usage)
}

/// Returns the words with a relay that stands first, or right behind the task, as the flag `--server`.
///
/// # Errors
/// If that word looks like a mistyped task, which would otherwise be a relay whose name never resolves.
pub(super) fn with_server_flag(
    command: &mut Command,
    mut argv: Vec<OsString>,
) -> Result<Vec<OsString>, clap::Error> {
    let at = if argv.get(1).is_some_and(is_task) {
        2
    } else {
        1
    };
    let Some(word) = argv.get(at).and_then(|word| word.to_str()) else {
        return Ok(argv);
    };
    if word.starts_with('-') || is_task(&argv[at]) || !takes_relay(command) {
        return Ok(argv);
    }
    if !is_relay(word) && may_hold_secret(word) {
        let sentence = "the relay is HOST[:PORT], a ticket, or the URL of its HTTP server without a path (examples: \
                        relay.example, 10.0.0.7:9000, https://cam.example); a camera's URL is pi-sender's --source";
        return Err(command.error(ErrorKind::InvalidValue, sentence));
    }
    if let Some(task) = mistyped_task(word) {
        let sentence = format!(
            "the first word '{word}' is no task; did you mean {task}? A relay of that name is --server {word}"
        );
        return Err(command.error(ErrorKind::InvalidValue, sentence));
    }
    argv[at] = format!("--server={word}").into();
    Ok(argv)
}

/// Returns a clearer error for a word that stands where the program takes none.
pub(super) fn with_place_of_word(mut command: Command, err: clap::Error) -> clap::Error {
    let text = |kind| match err.get(kind) {
        Some(ContextValue::String(text)) => text.as_str(),
        _ => "",
    };
    let (arg, value) = (
        text(ContextKind::InvalidArg),
        text(ContextKind::InvalidValue),
    );
    let word = match err.kind() {
        ErrorKind::UnknownArgument if !arg.starts_with('-') => arg,
        ErrorKind::InvalidValue if arg.starts_with('[') => value,
        _ => "",
    };
    if word.is_empty() || !takes_relay(&command) {
        return err;
    }
    let word = without_secret(word);
    let sentence = format!(
        "the word '{word}' belongs to no flag; the relay is the first word (or --server HOST[:PORT]|TICKET), and there \
         is only one"
    );
    command.error(ErrorKind::UnknownArgument, sentence)
}

/// Returns whether a word is a ticket or a relay's URL.
fn is_relay(word: &str) -> bool {
    word.starts_with(SCHEME) || word.parse::<RelayUrl>().is_ok()
}

fn is_task(word: &OsString) -> bool {
    tasks().iter().any(|task| **word == **task)
}

/// Returns the task whose name the word resembles. A word with a dot or a port is an address.
fn mistyped_task(word: &str) -> Option<String> {
    let near = |task: &String| strsim::damerau_levenshtein(task, word) <= MAX_TYPOS;
    let is_address = word.contains(['.', ':']);
    // Not `man`, which many a short name of a host resembles.
    let mut words = tasks().into_iter().chain([COMPLETIONS.to_owned()]);
    words.find(near).filter(|_| !is_address)
}

fn tasks() -> Vec<String> {
    let values = Task::value_variants().iter();
    let named = values.filter_map(Task::to_possible_value);
    named.map(|value| value.get_name().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Common, command, resolve};
    use super::*;

    #[derive(Debug, Parser)]
    #[command(name = "relay-word-test-program", version)]
    struct Example {
        #[command(flatten)]
        common: Common,
        /// Where
        #[arg(long)]
        server: Option<String>,
        /// How many
        #[arg(long, default_value_t = 4)]
        every: u32,
    }

    #[derive(Debug, Parser)]
    #[command(name = "no-relay-test-program", version)]
    struct NoRelay {
        #[command(flatten)]
        common: Common,
    }

    fn parse<A: Parser>(words: &[&str]) -> Result<A, String> {
        let argv = ["x"].iter().chain(words).map(OsString::from).collect();
        let matches = resolve(command::<A>(), argv).map_err(|err| err.to_string())?;
        A::from_arg_matches(&matches).map_err(|err| err.to_string())
    }

    #[test]
    fn a_url_in_a_words_place_is_refused_and_not_repeated() {
        for words in [
            &["http://u:secret@cam/x"][..],
            &["u:secret@cam"],
            &["relay", "rtsp://u:secret@cam"],
        ] {
            let why = parse::<Example>(words).unwrap_err();
            assert!(!why.contains("secret") && why.contains("relay"), "{why}");
        }
    }

    #[test]
    fn a_bare_first_word_is_the_relay() {
        let ticket = "sightline://h/yard?token=1f#sha256=9c";
        for relay in [
            "relay.example",
            "10.0.0.7:9000",
            "[::1]:8081",
            "pi",
            "https://cam.example",
            ticket,
        ] {
            let args: Example = parse(&[relay, "--every", "2"]).unwrap();
            assert_eq!((args.server.as_deref(), args.every), (Some(relay), 2));
            assert_eq!(args.common.task, None);
        }
    }

    #[test]
    fn the_doctor_goes_before_the_relay_or_behind_it_or_stands_alone() {
        for line in [&["doctor", "relay"][..], &["relay", "doctor"]] {
            let args: Example = parse(line).unwrap();
            assert_eq!(args.common.task, Some(Task::Doctor), "{line:?}");
            assert_eq!(args.server.as_deref(), Some("relay"), "{line:?}");
        }
        let args: Example = parse(&["doctor"]).unwrap();
        assert_eq!((args.common.task, args.server), (Some(Task::Doctor), None));
    }

    #[test]
    fn a_mistyped_task_is_reported_and_not_taken_for_a_relay() {
        for word in ["docter", "dcotor", "Doctor"] {
            let err = parse::<Example>(&[word]).unwrap_err();
            assert!(err.contains("did you mean doctor?"), "{err}");
            assert!(err.contains(&format!("--server {word}")), "{err}");
        }
        let err = parse::<Example>(&["completion", "bash"]).unwrap_err();
        assert!(err.contains("did you mean completions?"), "{err}");
        for host in ["mac", "nas", "van"] {
            let args: Example = parse(&[host]).unwrap();
            assert_eq!(args.server.as_deref(), Some(host));
        }
        let relay: Example = parse(&["doctor.x"]).unwrap();
        assert_eq!(relay.server.as_deref(), Some("doctor.x"));
    }

    #[test]
    fn a_second_relay_and_one_behind_the_flags_are_errors_that_say_where_it_belongs() {
        for line in [
            &["a", "b"][..],
            &["--every", "2", "a"],
            &["doctor", "a", "b"],
        ] {
            let err = parse::<Example>(line).unwrap_err();
            assert!(err.contains("the relay is the first word"), "{err}");
        }
        let err = parse::<Example>(&["a", "--server", "b"]).unwrap_err();
        assert!(err.contains("--server"), "{err}");
    }

    #[test]
    fn a_program_without_a_relay_takes_no_word_but_the_task() {
        let err = parse::<NoRelay>(&["relay.example"]).unwrap_err();
        assert!(
            err.contains("'relay.example'") && err.contains("doctor"),
            "{err}"
        );
        assert!(!err.contains("first word"), "{err}");
    }

    #[test]
    fn the_help_shows_the_relay_in_its_usage() {
        let help = command::<Example>().render_help().to_string();
        assert!(
            help.contains("[doctor] [HOST[:PORT]|TICKET|URL] [OPTIONS]"),
            "{help}"
        );
        let help = command::<NoRelay>().render_help().to_string();
        assert!(!help.contains("HOST"), "{help}");
    }
}
