//! Command line, environment and configuration file, in that order of precedence, over the built-in defaults.
//!
//! A relay that none of them names may be a credential of the service manager, named `ticket`.
//!
//! The file's and the environment's values become clap's *defaults*. So one parser validates all of them, `--help`
//! shows the values in force, and the order "flag, environment, file, built-in" is clap's own.

mod credential;
mod file;
mod manual;
mod relay_word;
mod secrets;
mod tables;
mod template;
mod variables;
mod waiting;
mod words;

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::SystemTime;

use clap::builder::BoolishValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Args, Command, Parser, ValueEnum};

use crate::service::ServiceManager;
use crate::{directories, version};

pub use self::template::template;
pub use self::variables::warn_of_unknown_variables;

/// The flags that all programs share.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Common {
    /// Check whether the program can work here with these flags, print what to do, and exit
    #[arg(value_name = "doctor", hide_possible_values = true)]
    pub task: Option<Task>,
    /// Configuration file in TOML, its keys named like the flags; without this flag
    /// ~/.config/sightline/PROGRAM.toml, then /etc/sightline/PROGRAM.toml, if present
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Form of the log on standard error
    #[arg(long, value_name = "FORM", default_value = "text")]
    pub log_format: LogFormat,
    /// Print one JSON object with counters and percentiles on standard output at the end
    #[arg(long)]
    pub report: bool,
}

/// A task in place of the program's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Task {
    /// Checks whether the program can work, and prints what to do.
    Doctor,
}

/// Form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// A switch whose value is written out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// Switched on.
    On,
    /// Switched off.
    Off,
}

/// Transport of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TransportChoice {
    /// The best transport that the other end offers.
    Auto,
    /// QUIC: one stream per frame.
    Quic,
    /// Plain UDP: one JPEG per datagram.
    Udp,
}

/// Keys that have another name now: the old name, and the new one. An old name is an error that gives the new one.
const RENAMED: [(&str, &str); 2] = [
    ("plain-viewers", "udp-viewers"),
    ("plain-egress", "udp-egress"),
];

/// Parses the process's command line. On a usage error, `--help`, `--version`, `completions` or `man` it prints and ends the
/// process.
///
/// `check` refuses values that the types cannot, with a sentence; that is a usage error too.
pub fn parse<A: Parser>(check: impl FnOnce(&A) -> Result<(), String>) -> A {
    words::print_if_asked::<A>(&arguments());
    try_parse(check).unwrap_or_else(|err| err.exit())
}

/// Parses the command line as [`parse`] does, for a program that a package starts before it is configured: under a service
/// manager a mistake is no end, but the program waits for another configuration file.
pub fn parse_or_wait<A: Parser>(check: impl Fn(&A) -> Result<(), String>) -> A {
    words::print_if_asked::<A>(&arguments());
    let err = match try_parse(&check) {
        Ok(args) => return args,
        Err(err) => err,
    };
    let manager = ServiceManager::from_environment();
    match err.use_stderr() && manager.is_present() {
        true => waiting::wait(check, &manager),
        false => err.exit(),
    }
}

fn arguments() -> Vec<OsString> {
    env::args_os().collect()
}

/// Parses the command line as [`parse`] does, for a running program that reads its file again.
///
/// # Errors
/// clap's error if a value is wrong.
pub fn try_parse<A: Parser>(
    check: impl FnOnce(&A) -> Result<(), String>,
) -> Result<A, clap::Error> {
    try_parse_words(arguments(), check)
}

/// Parses words, the program's name first, as [`try_parse`] does the process's, with its errors.
pub fn try_parse_words<A: Parser>(
    words: Vec<OsString>,
    check: impl FnOnce(&A) -> Result<(), String>,
) -> Result<A, clap::Error> {
    let mut command = command::<A>();
    let matches = resolve(command.clone(), words)?;
    let args = A::from_arg_matches(&matches)?;
    check(&args).map_err(|sentence| command.error(ErrorKind::ValueValidation, sentence))?;
    Ok(args)
}

/// Returns the configuration file in force, if there is one.
pub fn file<A: Parser>() -> Option<PathBuf> {
    chosen_file(A::command().get_name(), &arguments())
}

/// Returns which configuration file is in force, when it was last changed, and its length; `None` if there is none.
pub fn file_state<A: Parser>() -> Option<(PathBuf, SystemTime, u64)> {
    let file = file::<A>()?;
    let found = file.metadata().ok()?;
    Some((file, found.modified().ok()?, found.len()))
}

/// Returns the sentence of an error without what a terminal gets besides, for the log.
pub fn sentence(err: &clap::Error) -> String {
    let text = err.to_string();
    let line = text.trim_start_matches("error: ").lines().next();
    line.unwrap_or_default().to_owned()
}

fn chosen_file(program: &str, argv: &[OsString]) -> Option<PathBuf> {
    flag_value(argv, "--config")
        .or_else(|| set_variable(program, "config"))
        .map(PathBuf::from)
        .or_else(|| {
            default_files(program)
                .into_iter()
                .find(|path| path.is_file())
        })
}

/// Returns the command line of `A`. Its switches take `=true` and `=false`, so that a flag can undo a value of the
/// file, and its help has the short form only.
pub fn command<A: Parser>() -> Command {
    plain_command::<A>().mut_args(|arg| match arg.get_action() {
        ArgAction::SetTrue => arg
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .value_parser(BoolishValueParser::new())
            .value_name("BOOL")
            .hide_possible_values(true)
            .hide_default_value(true)
            .default_missing_value("true")
            .default_value("false"),
        // So that `-1` is reported as a bad value of the flag, and not as an unknown flag.
        ArgAction::Set if arg.is_positional() => arg,
        ArgAction::Set | ArgAction::Append => arg.allow_negative_numbers(true),
        _ => arg,
    })
}

/// Returns the command line of `A` with switches that take no value.
fn plain_command<A: Parser>() -> Command {
    let command = A::command();
    let variable = variable(command.get_name(), "log-format");
    let after = format!(
        "Each flag is also a key of the configuration file and an environment variable (--log-format: {}).",
        variable.to_string_lossy()
    );
    let help = Arg::new("help")
        .short('h')
        .long("help")
        .action(ArgAction::HelpShort)
        .help("Print this");
    let version = Arg::new("version")
        .short('V')
        .long("version")
        .action(ArgAction::Version)
        .help("Print the version");
    relay_word::with_usage(command)
        .version(version::text())
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args([help, version])
        .max_term_width(100)
        .after_help(after)
}

fn is_switch(arg: &Arg) -> bool {
    arg.get_num_args().is_some_and(|n| n.min_values() == 0)
}

/// Returns the flags that a file can set.
fn settings(command: &Command) -> impl Iterator<Item = &Arg> {
    let excluded = ["config", "help", "version"];
    command
        .get_arguments()
        .filter(move |arg| arg.get_long().is_some_and(|long| !excluded.contains(&long)))
}

/// Returns the name of a key's environment variable: `pi-sender`, `log-format` -> `PI_SENDER_LOG_FORMAT`.
fn variable(program: &str, key: &str) -> OsString {
    format!("{program}_{key}")
        .replace('-', "_")
        .to_uppercase()
        .into()
}

fn resolve(command: Command, argv: Vec<OsString>) -> Result<clap::ArgMatches, clap::Error> {
    let plain = command.clone();
    matches(command, argv).map_err(|err| secrets::without_secrets(plain, err))
}

fn matches(command: Command, argv: Vec<OsString>) -> Result<clap::ArgMatches, clap::Error> {
    let command = credential::with_credential(command)?;
    let command = match chosen_file(command.get_name(), &argv) {
        Some(path) => file::with_file(command, &path)?,
        None => command,
    };
    let mut command = with_environment(command)?;
    let argv = relay_word::with_server_flag(&mut command, argv)?;
    let parsed = command.clone().try_get_matches_from(argv);
    parsed.map_err(|err| {
        let err = with_new_name(command.clone(), err);
        relay_word::with_place_of_word(command, err)
    })
}

/// Returns the present name of a key that was renamed.
fn new_name(command: &Command, old: &str) -> Option<&'static str> {
    let has = |key: &str| settings(command).any(|arg| arg.get_long() == Some(key));
    let (_, new) = RENAMED
        .iter()
        .find(|(name, new)| *name == old && has(new))?;
    Some(new)
}

/// Returns the error for an unknown flag with the flag's present name, if it was renamed.
fn with_new_name(mut command: Command, err: clap::Error) -> clap::Error {
    let Some(ContextValue::String(flag)) = err.get(ContextKind::InvalidArg) else {
        return err;
    };
    let old = flag.trim_start_matches('-');
    match new_name(&command, old) {
        Some(new) => command.error(
            ErrorKind::UnknownArgument,
            format!("the flag --{old} is now --{new}"),
        ),
        None => err,
    }
}

/// Returns the paths of the configuration file, the user's own first.
fn default_files(program: &str) -> Vec<PathBuf> {
    let user = directories::user("XDG_CONFIG_HOME", ".config");
    let directories = user.into_iter().chain([PathBuf::from("/etc")]);
    directories
        .map(|dir| dir.join(format!("sightline/{program}.toml")))
        .collect()
}

/// Returns the value of a flag before clap has run, from `--flag X` or `--flag=X`.
fn flag_value(argv: &[OsString], flag: &str) -> Option<OsString> {
    let mut args = argv.iter().skip(1).take_while(|arg| *arg != "--");
    while let Some(arg) = args.next() {
        if arg == flag {
            return args.next().cloned();
        }
        let value = arg
            .to_str()
            .and_then(|arg| arg.strip_prefix(flag)?.strip_prefix('='));
        if let Some(value) = value {
            return Some(value.into());
        }
    }
    None
}

/// Returns the command with the environment's values as its defaults. An empty variable counts as unset.
fn with_environment(mut command: Command) -> Result<Command, clap::Error> {
    let program = command.get_name().to_owned();
    let keys: Vec<String> = settings(&command)
        .filter_map(|arg| arg.get_long().map(str::to_owned))
        .collect();
    for (old, new) in RENAMED {
        if new_name(&command, old).is_some() && set_variable(&program, old).is_some() {
            let [old, new] = [old, new].map(|key| variable(&program, key));
            let [old, new] = [old.to_string_lossy(), new.to_string_lossy()];
            let sentence = format!("the environment variable {old} is now {new}");
            return Err(command.error(ErrorKind::UnknownArgument, sentence));
        }
    }
    for key in keys {
        if let Some(value) = set_variable(&program, &key) {
            let origin = variable(&program, &key).to_string_lossy().into_owned();
            command = with_default(command, &key, &value.to_string_lossy(), &origin)?;
        }
    }
    Ok(command)
}

fn set_variable(program: &str, key: &str) -> Option<OsString> {
    env::var_os(variable(program, key)).filter(|value| !value.is_empty())
}

/// Returns the command with another default for one flag. The value is parsed as a flag first: clap would report a bad
/// default late, and without its origin.
fn with_default(
    command: Command,
    key: &str,
    value: &str,
    origin: &str,
) -> Result<Command, clap::Error> {
    let alone = [command.get_name().to_owned(), format!("--{key}={value}")];
    if let Err(mut err) = command.clone().try_get_matches_from(alone) {
        let named = format!("--{key} (from {origin})");
        err.insert(ContextKind::InvalidArg, ContextValue::String(named));
        return Err(err);
    }
    let id = settings(&command)
        .find(|arg| arg.get_long() == Some(key))
        .map(|arg| arg.get_id().clone());
    let value = value.to_owned();
    Ok(match id {
        // The help shows the values in force.
        Some(id) => command.mut_arg(id, |arg| {
            let secret = secrets::may_hold_secret(&value);
            let hidden = arg.is_hide_default_value_set() || secret;
            arg.hide_default_value(hidden).default_value(value)
        }),
        None => command,
    })
}

#[cfg(test)]
mod tests;
