//! `completions SHELL` and `man`, as the first word: text for shells and for `man`, made from the flags.
//!
//! They are answered before the configuration is read and before anything is logged, so that a package can be built where
//! there is neither.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process;

use clap::builder::EnumValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Command, Parser, ValueEnum as _, value_parser};
use clap_complete::Shell;

use super::{Task, manual, plain_command, settings};

/// The word for shell completions.
pub(super) const COMPLETIONS: &str = "completions";
/// The word for the manual page.
const MAN: &str = "man";
/// Words that this module answers.
const WORDS: [&str; 2] = [COMPLETIONS, MAN];

/// Prints what the command line asks for and ends the process, if its first word is one of [`WORDS`].
pub(super) fn print_if_asked<A: Parser>(argv: &[OsString]) {
    match text::<A>(argv) {
        None => {}
        Some(Ok(text)) => {
            // A pipe that is closed, as by `| head`, is not a failure.
            let _ = io::stdout().write_all(&text);
            process::exit(0)
        }
        Some(Err(err)) => err.exit(),
    }
}

fn text<A: Parser>(argv: &[OsString]) -> Option<Result<Vec<u8>, clap::Error>> {
    let word = |at: usize| argv.get(at).and_then(|word| word.to_str());
    let asked = word(1).filter(|word| WORDS.contains(word))?;
    let error = |sentence: String| plain_command::<A>().error(ErrorKind::InvalidValue, sentence);
    if asked == MAN {
        return Some(match argv.len() {
            2 => manual::page::<A>().map_err(|err| error(err.to_string())),
            _ => Err(error("man stands alone".to_owned())),
        });
    }
    let shell = word(2).and_then(|shell| Shell::from_str(shell, false).ok());
    Some(match shell {
        Some(shell) if argv.len() == 3 => Ok(completions(shell, for_shells::<A>())),
        _ => Err(error(format!(
            "completions takes the shell: {}",
            names(Shell::value_variants())
        ))),
    })
}

fn completions(shell: Shell, mut command: Command) -> Vec<u8> {
    let program = command.get_name().to_owned();
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, &program, &mut text);
    if shell != Shell::Bash {
        return text;
    }
    // For bash clap_complete 4.6 sets one name for a subcommand of a program with a hyphen, and looks for another.
    let [set, looked_for] = ["__", "__subcmd__"].map(|hyphen| program.replace('-', hyphen));
    let text = String::from_utf8_lossy(&text);
    let text = text.replace(
        &format!("{looked_for}__subcmd__"),
        &format!("{set}__subcmd__"),
    );
    text.into_bytes()
}

/// Returns the command line as it is typed: switches take no value, and the first word may be a task, which takes all flags,
/// or one of [`WORDS`]. They are subcommands here, since some shells complete no other word.
fn for_shells<A: Parser>() -> Command {
    let command = plain_command::<A>();
    let flags: Vec<Arg> = settings(&command).cloned().collect();
    let task = |task: &Task| {
        let value = task.to_possible_value()?;
        let word = Command::new(value.get_name().to_owned()).disable_help_flag(true);
        let about = value.get_help().cloned().unwrap_or_default();
        Some(word.about(about).args(flags.clone()))
    };
    let shell = Arg::new("shell").required(true);
    let shell = shell.value_parser(EnumValueParser::<Shell>::new());
    let word = |name, about| Command::new(name).disable_help_flag(true).about(about);
    let words = [
        word(COMPLETIONS, "Prints the completions for a shell").arg(shell),
        word(MAN, "Prints the manual page"),
    ];
    command
        .mut_arg("task", |task| {
            task.hide(true).value_parser(value_parser!(String))
        })
        .disable_help_subcommand(true)
        .subcommands(Task::value_variants().iter().filter_map(task))
        .subcommands(words)
}

fn names<V: clap::ValueEnum>(values: &[V]) -> String {
    let names: Vec<String> = values.iter().filter_map(name).collect();
    names.join(", ")
}

fn name<V: clap::ValueEnum>(value: &V) -> Option<String> {
    Some(value.to_possible_value()?.get_name().to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::Common;
    use super::*;

    #[derive(Debug, Parser)]
    #[command(name = "words-test-program", version)]
    struct Example {
        #[command(flatten)]
        common: Common,
        /// A switch
        #[arg(long)]
        preview: bool,
    }

    fn answer(words: &[&str]) -> Option<Result<String, String>> {
        let argv: Vec<OsString> = ["x"].iter().chain(words).map(OsString::from).collect();
        let text = text::<Example>(&argv)?;
        let text = text.map(|text| String::from_utf8(text).unwrap());
        Some(text.map_err(|err| err.to_string()))
    }

    #[test]
    fn other_first_words_are_not_answered() {
        for words in [&[][..], &["doctor"], &["--report", "man"], &["mann"]] {
            assert_eq!(answer(words), None, "{words:?}");
        }
    }

    #[test]
    fn each_shell_gets_flags_and_first_words() {
        for shell in Shell::value_variants() {
            let text = answer(&["completions", &shell.to_string()])
                .unwrap()
                .unwrap();
            for word in ["log-format", "preview", "doctor", "completions"] {
                assert!(text.contains(word), "{shell}: {word}");
            }
        }
    }

    #[test]
    fn a_missing_or_unknown_shell_is_answered_with_the_shells() {
        for words in [
            &["completions"][..],
            &["completions", "csh"],
            &["completions", "bash", "x"],
        ] {
            let why = answer(words).unwrap().unwrap_err();
            assert!(why.contains("bash") && why.contains("zsh"), "{why}");
        }
        assert!(answer(&["man", "x"]).unwrap().is_err());
    }
}
