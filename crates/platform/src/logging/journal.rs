//! Writes the log to systemd's journal, with each value as a field of its own.
//!
//! The journal takes datagrams of lines `KEY=value`. Its message is the line that the text log would have, values included,
//! since `journalctl` shows the message alone; the fields are for queries (`journalctl SIGHTLINE_CAMERA=yard`). Text is escaped
//! and cut as in the text log, so a value cannot forge a field, and every event fits into a datagram.

use std::env;
use std::fmt::{self, Write as _};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use nix::sys::stat::fstat;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::one_line::escape;

/// The journal's socket.
const SOCKET: &str = "/run/systemd/journal/socket";
/// Before each field's name, since the journal and systemd have names of their own (`MESSAGE`, `UNIT`, ..).
const PREFIX: &str = "SIGHTLINE_";
/// Most fields of an event: none of the programs' has half as many, and each is bounded.
const MAX_FIELDS: usize = 32;
/// Longest name of a field, prefix included; the journal drops longer ones.
const MAX_NAME: usize = 64;

/// Returns whether this is the stream that systemd has connected to the journal.
pub(super) fn is_journal(stream: impl AsFd) -> bool {
    let Ok(file) = fstat(stream) else {
        return false;
    };
    let named = env::var("JOURNAL_STREAM").unwrap_or_default();
    named == format!("{}:{}", file.st_dev, file.st_ino)
}

/// Sends events to the journal.
#[derive(Debug)]
pub(super) struct Journal {
    socket: UnixDatagram,
    program: String,
}

impl Journal {
    /// Connects to this machine's journal.
    pub(super) fn open() -> io::Result<Self> {
        Self::at(Path::new(SOCKET))
    }

    fn at(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(path)?;
        let program = env::args_os().next().unwrap_or_default();
        let program = Path::new(&program).file_name().unwrap_or_default();
        Ok(Self {
            socket,
            program: program.to_string_lossy().into_owned(),
        })
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut entry = Entry::default();
        event.record(&mut entry);
        let metadata = event.metadata();
        let text = entry.text(
            &self.program,
            *metadata.level(),
            (metadata.file(), metadata.line()),
        );
        // There is nothing left to report a failure to.
        let _ = self.socket.send(text.as_bytes());
    }
}

/// An event's message, and its fields in order.
#[derive(Debug, Default)]
struct Entry {
    message: String,
    /// Name, and value as it is.
    fields: Vec<(&'static str, String)>,
    /// The fields as the text log shows them.
    shown: String,
}

impl Entry {
    fn text(
        &self,
        program: &str,
        level: Level,
        (file, line): (Option<&str>, Option<u32>),
    ) -> String {
        let message = format!("{}{}", self.message, self.shown);
        let mut text = String::new();
        put(&mut text, "PRIORITY", priority(level));
        put(&mut text, "SYSLOG_IDENTIFIER", program);
        put(&mut text, "MESSAGE", message.trim_start());
        put(&mut text, "CODE_FILE", file.unwrap_or("?"));
        put(&mut text, "CODE_LINE", &line.unwrap_or(0).to_string());
        for (name, value) in &self.fields {
            put(&mut text, &field_name(name), value);
        }
        text
    }

    /// Adds a field. `shown` is its value in the text log.
    fn add(&mut self, field: &Field, value: String, shown: &str) {
        if field.name() == "message" {
            self.message = value;
        } else if self.fields.len() < MAX_FIELDS {
            let _ = write!(self.shown, " {}={shown}", field.name());
            self.fields.push((field.name(), value));
        }
    }
}

impl Visit for Entry {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.to_owned(), &format!("{value:?}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        self.add(field, text.clone(), &text);
    }
}

/// Adds a line; the value is escaped and cut.
fn put(text: &mut String, name: &str, value: &str) {
    let _ = writeln!(text, "{name}={}", escape(value, false));
}

/// Returns a field's name as the journal takes it: upper case, digits and underscores.
fn field_name(name: &str) -> String {
    let allowed = |c: char| match c.is_ascii_alphanumeric() {
        true => c.to_ascii_uppercase(),
        false => '_',
    };
    let mut whole: String = PREFIX.to_owned();
    whole.extend(name.chars().map(allowed));
    whole.truncate(MAX_NAME);
    whole
}

/// Returns a level as syslog numbers it. INFO is "informational" and not "notice": `journalctl` prints the latter in bold.
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        _ => "7",
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use tracing::{error, info, warn};
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// Returns what the journal gets of the events of `work`, each as its lines.
    fn journal(work: impl FnOnce()) -> Vec<Vec<String>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let journal = UnixDatagram::bind(&path).unwrap();
        journal.set_nonblocking(true).unwrap();
        let layer = Journal::at(&path).unwrap();
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, work);
        let mut entries = Vec::new();
        let mut buffer = vec![0; 1 << 20];
        while let Ok(length) = journal.recv(&mut buffer) {
            let text = String::from_utf8(buffer[..length].to_vec()).unwrap();
            assert!(text.ends_with('\n'), "{text:?}");
            entries.push(text.lines().map(str::to_owned).collect());
        }
        entries
    }

    fn has(entry: &[String], line: &str) {
        assert!(entry.iter().any(|found| found == line), "{line}: {entry:?}");
    }

    #[test]
    fn values_are_fields_and_the_message_shows_them_too() {
        let entries = journal(|| {
            info!(camera = %"yard", count = 3, name = "a b", "camera appeared");
            warn!("plain");
            error!(code.one = 1, "dotted");
        });
        let [first, second, third] = &entries[..] else {
            panic!("{entries:?}");
        };
        has(
            first,
            "MESSAGE=camera appeared camera=yard count=3 name=\"a b\"",
        );
        has(first, "SIGHTLINE_CAMERA=yard");
        has(first, "SIGHTLINE_COUNT=3");
        has(first, "SIGHTLINE_NAME=a b");
        has(first, "PRIORITY=6");
        assert!(first.iter().any(|line| line.starts_with("CODE_FILE=")));
        has(second, "MESSAGE=plain");
        has(second, "PRIORITY=4");
        has(third, "PRIORITY=3");
        has(third, "SIGHTLINE_CODE_ONE=1");
    }

    #[test]
    fn a_hostile_value_forges_no_field_and_an_endless_one_is_cut() {
        let entries = journal(|| {
            info!(
                why = "x\nPRIORITY=0\n\nMESSAGE=forged",
                "refused\nMESSAGE=forged\n"
            );
            info!(long = %"y".repeat(1 << 20), "long");
        });
        let [forged, long] = &entries[..] else {
            panic!("{} entries", entries.len());
        };
        let of = |key: &str| forged.iter().filter(|line| line.starts_with(key)).count();
        assert_eq!((of("PRIORITY="), of("MESSAGE=")), (1, 1), "{forged:?}");
        assert!(long.iter().all(|line| line.len() < 9000));
        has(long, "PRIORITY=6");
    }

    #[test]
    fn a_stream_is_the_journal_only_if_systemd_names_it() {
        // The variable is not set for tests, or names another stream.
        assert!(!is_journal(File::open("/dev/null").unwrap()));
    }
}
