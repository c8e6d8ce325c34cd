//! Command line, environment and configuration file, in that order of precedence, over the built-in defaults.
//!
//! The file's and the environment's values become clap's *defaults*. So one parser validates all of them, `--help`
//! shows the values in force, and the order "flag, environment, file, built-in" is clap's own.

mod relay_word;
mod tables;
mod template;
mod variables;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{env, fs};

use clap::builder::BoolishValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Args, Command, Parser, ValueEnum};

use crate::directories;

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

/// Parses the process's command line. On a usage error, `--help` or `--version` it prints and ends the process.
///
/// `check` refuses values that the types cannot, with a sentence; that is a usage error too.
pub fn parse<A: Parser>(check: impl FnOnce(&A) -> Result<(), String>) -> A {
    try_parse(check).unwrap_or_else(|err| err.exit())
}

/// Parses the command line as [`parse`] does, for a running program that reads its file again.
///
/// # Errors
/// clap's error if a value is wrong.
pub fn try_parse<A: Parser>(
    check: impl FnOnce(&A) -> Result<(), String>,
) -> Result<A, clap::Error> {
    let mut command = command::<A>();
    let matches = resolve(command.clone(), env::args_os().collect())?;
    let args = A::from_arg_matches(&matches)?;
    check(&args).map_err(|sentence| command.error(ErrorKind::ValueValidation, sentence))?;
    Ok(args)
}

/// Returns the configuration file in force, if there is one.
pub fn file<A: Parser>() -> Option<PathBuf> {
    let argv: Vec<OsString> = env::args_os().collect();
    chosen_file(A::command().get_name(), &argv)
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
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args([help, version])
        .max_term_width(100)
        .after_help(after)
        .mut_args(|arg| match arg.get_action() {
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
    let command = match chosen_file(command.get_name(), &argv) {
        Some(path) => with_file(command, &path)?,
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

/// Returns the command with a file's values as its defaults.
fn with_file(mut command: Command, path: &Path) -> Result<Command, clap::Error> {
    let origin = path.display().to_string();
    let values = read_file(&command, path)
        .map_err(|why| command.error(ErrorKind::ValueValidation, format!("{origin}: {why}")))?;
    for (key, value) in values {
        command = with_default(command, &key, &value, &origin)?;
    }
    Ok(command)
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
        Some(id) => command.mut_arg(id, |arg| arg.default_value(value)),
        None => command,
    })
}

/// Reads a file's keys and values; the error is the rest of a sentence that begins with the file's name.
fn read_file(command: &Command, path: &Path) -> Result<Vec<(String, String)>, String> {
    let text = fs::read_to_string(path)
        .map_err(|err| format!("the configuration file cannot be read: {err}"))?;
    let table: toml::Table = text
        .parse()
        .map_err(|err| format!("not valid TOML: {err}"))?;
    let known: Vec<&str> = settings(command).filter_map(Arg::get_long).collect();
    let mut values = Vec::new();
    for (key, value) in table {
        if value.is_table() && tables::is_table(command.get_name(), &key) {
            continue;
        }
        if let Some(new) = new_name(command, &key) {
            return Err(format!("the key '{key}' is now '{new}'"));
        }
        if !known.contains(&key.as_str()) {
            return Err(format!(
                "unknown key '{key}'; the keys are {}",
                known.join(", ")
            ));
        }
        let value = flag_text(&value)
            .ok_or_else(|| format!("'{key}' takes a single value or a list of them"))?;
        values.push((key, value));
    }
    Ok(values)
}

/// Returns a TOML value as the text of a flag's value.
fn flag_text(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(s) => Some(s.clone()),
        toml::Value::Integer(n) => Some(n.to_string()),
        toml::Value::Float(x) => Some(x.to_string()),
        toml::Value::Boolean(b) => Some(b.to_string()),
        toml::Value::Array(list) => Some(
            list.iter()
                .map(flag_text)
                .collect::<Option<Vec<_>>>()?
                .join(","),
        ),
        toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Parser)]
    #[command(name = "config-test-program", version)]
    struct Example {
        #[command(flatten)]
        common: Common,
        /// How many
        #[arg(long, default_value_t = 4)]
        every: u32,
        /// Where
        #[arg(long)]
        server: Option<String>,
        /// Switch
        #[arg(long)]
        preview: bool,
        /// A key that had another name
        #[arg(long, default_value_t = 4)]
        udp_viewers: u16,
    }

    fn parse(file: &str, args: &[&str]) -> Result<Example, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("example.toml");
        fs::write(&path, file).unwrap();
        let mut argv = vec!["x".into(), "--config".into(), path.into_os_string()];
        argv.extend(args.iter().map(OsString::from));
        let matches = resolve(command::<Example>(), argv).map_err(|err| err.to_string())?;
        clap::FromArgMatches::from_arg_matches(&matches).map_err(|err: clap::Error| err.to_string())
    }

    #[test]
    fn a_flag_goes_before_the_file_and_the_file_before_the_default() {
        assert_eq!(parse("", &[]).unwrap().every, 4);
        assert_eq!(parse("every = 3", &[]).unwrap().every, 3);
        assert_eq!(parse("every = 3", &["--every", "2"]).unwrap().every, 2);
        assert_eq!(parse("server = 'a:1'", &[]).unwrap().server.unwrap(), "a:1");
    }

    #[test]
    fn a_switch_can_be_set_in_the_file_and_taken_back_on_the_command_line() {
        assert!(!parse("", &[]).unwrap().preview);
        assert!(parse("", &["--preview"]).unwrap().preview);
        assert!(parse("preview = true", &[]).unwrap().preview);
        assert!(
            !parse("preview = true", &["--preview=false"])
                .unwrap()
                .preview
        );
    }

    #[test]
    fn doctor_stands_before_or_behind_the_flags_and_changes_none_of_them() {
        assert_eq!(parse("", &[]).unwrap().common.task, None);
        for line in [
            &["doctor", "--every", "2", "--preview"][..],
            &["--every=2", "--preview", "doctor"],
        ] {
            let args = parse("server = 'a:1'", line).unwrap();
            assert_eq!(args.common.task, Some(Task::Doctor), "{line:?}");
            assert!(args.every == 2 && args.preview && args.server.is_some());
        }
        let err = parse("", &["docter"]).unwrap_err();
        assert!(err.contains("'docter'") && err.contains("doctor"), "{err}");
        assert!(parse("", &["doctor", "--evry", "2"]).is_err());
        assert!(parse("task = 'doctor'", &[]).is_err(), "no key of a file");
    }

    #[test]
    fn a_negative_number_is_a_bad_value_and_no_unknown_flag() {
        let err = parse("", &["--every", "-1"]).unwrap_err();
        assert!(err.contains("invalid value '-1' for '--every"), "{err}");
    }

    #[test]
    fn an_unknown_key_is_an_error_that_lists_the_known_ones() {
        let err = parse("evry = 3", &[]).unwrap_err();
        assert!(
            err.contains("unknown key 'evry'") && err.contains("every, server"),
            "{err}"
        );
    }

    #[test]
    fn a_bad_value_is_an_error_that_names_the_file() {
        let err = parse("every = 'often'", &[]).unwrap_err();
        assert!(
            err.contains("--every") && err.contains("example.toml"),
            "{err}"
        );
        assert!(
            parse("every = {}", &[])
                .unwrap_err()
                .contains("single value")
        );
        assert!(parse("every", &[]).unwrap_err().contains("TOML"));
    }

    #[test]
    fn a_key_that_was_renamed_is_an_error_that_gives_its_new_name() {
        let err = parse("plain-viewers = 2", &[]).unwrap_err();
        assert!(
            err.contains("'plain-viewers' is now 'udp-viewers'"),
            "{err}"
        );
        for args in [&["--plain-viewers", "2"][..], &["--plain-viewers=2"]] {
            let err = parse("", args).unwrap_err();
            assert!(
                err.contains("--plain-viewers is now --udp-viewers"),
                "{err}"
            );
        }
        let unrelated = parse("", &["--plain-egress", "2"]).unwrap_err();
        assert!(
            !unrelated.contains("is now"),
            "it has no such key: {unrelated}"
        );
        assert_eq!(parse("udp-viewers = 2", &[]).unwrap().udp_viewers, 2);
    }

    #[test]
    fn the_template_names_every_key_and_changes_nothing() {
        let text = template(&command::<Example>());
        for line in [
            "#every = 4",
            "#preview = false",
            "#log-format = \"text\"",
            "#server = \"SERVER\"   # no default",
        ] {
            assert!(text.contains(line), "{line} is missing in:\n{text}");
        }
        assert_eq!(parse(&text, &[]).unwrap().every, 4);
        let set = text
            .replace("#every = 4", "every = 5")
            .replace("#preview = false", "preview = true");
        assert!(parse(&set, &[]).unwrap().preview);
    }
}
