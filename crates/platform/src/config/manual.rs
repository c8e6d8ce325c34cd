//! The manual page, made from the flags.

use std::io;

use clap::{Command, Parser};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::relay_word::{self, takes_relay};
use super::{command, settings, variable};

/// Where the page stands in the manual, as its header shows it.
const MANUAL: &str = "Sightline";

/// A term and its explanation.
type Entry = (String, String);

/// Returns the manual page of a program, in section 1.
pub(super) fn page<A: Parser>() -> io::Result<Vec<u8>> {
    let command = command::<A>();
    let version = A::command().get_version().unwrap_or_default().to_owned();
    let program = command.get_name().to_owned();
    // The build's commit and date are left out, so that a page changes with its text alone.
    let man = Man::new(relay_word::with_short_usage(command.clone()))
        .source(format!("{program} {version}"))
        .manual(MANUAL);
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    let mut roff = Roff::new();
    let facts = Facts::of(&command);
    section(&mut roff, "COMMANDS", facts.commands());
    section(&mut roff, "FILES", facts.files());
    section(&mut roff, "ENVIRONMENT", facts.environment());
    section(&mut roff, "SIGNALS", facts.signals());
    section(&mut roff, "EXIT STATUS", exit_codes());
    roff.control("SH", ["SEE ALSO"]);
    let programs = ["pi-sender", "relay-server", "viewer"];
    let others = programs.iter().filter(|name| **name != program);
    let others: Vec<String> = others.map(|name| format!("{name}(1)")).collect();
    roff.text([roman(others.join(", "))]);
    roff.to_writer(&mut page)?;
    Ok(page)
}

fn section(roff: &mut Roff, title: &str, entries: Vec<Entry>) {
    roff.control("SH", [title]);
    for (term, text) in entries {
        roff.control("TP", []);
        roff.text([bold(term)]);
        roff.text([roman(text)]);
    }
}

fn entry(term: impl Into<String>, text: impl Into<String>) -> Entry {
    (term.into(), text.into())
}

fn exit_codes() -> Vec<Entry> {
    vec![
        entry(
            "0",
            "The program was stopped by a signal, or did what it was asked for.",
        ),
        entry(
            "1",
            "It failed; the last line of its log has the cause and the cure. Of doctor: something has to be repaired.",
        ),
        entry(
            "2",
            "Mistake in a flag, a variable or the configuration file.",
        ),
    ]
}

/// What differs from program to program.
struct Facts {
    program: String,
    /// Whether it connects to a relay.
    takes_relay: bool,
    /// Whether it is the relay.
    is_relay: bool,
    /// Whether it sends a camera's pictures.
    is_sender: bool,
    /// Name of an environment variable of a flag.
    variable: String,
}

impl Facts {
    fn of(command: &Command) -> Self {
        let has = |flag: &str| settings(command).any(|arg| arg.get_long() == Some(flag));
        let program = command.get_name().to_owned();
        Self {
            takes_relay: takes_relay(command),
            is_relay: has("listen"),
            is_sender: has("source"),
            variable: variable(&program, "log-format")
                .to_string_lossy()
                .into_owned(),
            program,
        }
    }

    fn commands(&self) -> Vec<Entry> {
        let program = &self.program;
        vec![
            entry(
                format!("{program} doctor [OPTIONS]"),
                "Checks whether the program can work here with these flags, prints what to do, and exits.",
            ),
            entry(
                format!("{program} completions SHELL"),
                "Prints the completions for a shell: bash, elvish, fish, powershell or zsh.",
            ),
            entry(format!("{program} man"), "Prints this page."),
        ]
    }

    fn files(&self) -> Vec<Entry> {
        let program = &self.program;
        let mut files = vec![
            entry(
                format!("~/.config/sightline/{program}.toml"),
                "The user's configuration, in TOML; its keys are named like the flags.",
            ),
            entry(
                format!("/etc/sightline/{program}.toml"),
                "The machine's configuration, where the user has none. The service reads this one.",
            ),
        ];
        if self.is_sender {
            files.extend([
                entry(
                    format!("/etc/sightline/{program}-NAME.toml"),
                    format!("Configuration of the service {program}@NAME, a further camera."),
                ),
                entry(
                    format!("/etc/sightline/{program}.ticket"),
                    "The service's relay or ticket, in a file that root alone may read; it counts where the configuration \
                     names no relay.",
                ),
            ]);
        }
        if self.is_relay {
            files.extend([
                entry(
                    "~/.local/state/sightline",
                    "What outlives a restart: certificate, tickets, viewers.",
                ),
                entry("/var/lib/sightline", "The same, of the service."),
            ]);
        }
        files
    }

    fn environment(&self) -> Vec<Entry> {
        let mut variables = vec![
            entry(
                self.variable.clone(),
                "Each flag has such a variable, here that of --log-format. A flag goes before it, and it goes before the \
                 configuration file.",
            ),
            entry(
                "RUST_LOG",
                "Which events are logged: a level, or a list such as info,quinn=debug.",
            ),
            entry("NO_COLOR", "If set, the log has no colours on a terminal."),
        ];
        if self.takes_relay {
            variables.push(entry(
                "CREDENTIALS_DIRECTORY",
                "Set by systemd. Its file ticket is the relay or a ticket, where nothing else names the relay.",
            ));
        }
        if self.is_sender {
            variables.push(entry(
                "SIGHTLINE_INSTANCE",
                "Name of the camera where neither a flag, nor the configuration, nor a ticket has one.",
            ));
        }
        if self.is_relay {
            variables.extend([
                entry(
                    "ORT_DYLIB_PATH",
                    "ONNX Runtime's shared library, as --onnxruntime.",
                ),
                entry(
                    "STATE_DIRECTORY",
                    "Set by systemd: the directory of --state.",
                ),
            ]);
        }
        variables.push(entry(
            "NOTIFY_SOCKET, WATCHDOG_USEC, JOURNAL_STREAM",
            "Set by systemd: the program reports its state, feeds the watchdog, and logs to the journal with fields such as \
             SIGHTLINE_CAMERA.",
        ));
        variables
    }

    fn signals(&self) -> Vec<Entry> {
        let (stop, hang_up) = ("Stop cleanly, within 2 s.", "SIGHUP");
        match self.is_relay {
            true => vec![
                entry("SIGINT, SIGTERM", stop),
                entry(
                    hang_up,
                    "Reads the configuration file again. A change of the file is read by itself, a second later.",
                ),
            ],
            false => vec![entry(format!("SIGINT, SIGTERM, {hang_up}"), stop)],
        }
    }
}
