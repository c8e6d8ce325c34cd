//! The last guard of the log: an event stays one line, however hostile the text in its fields.
//!
//! Text of a peer is escaped and cut where it enters a message ([`protocol::text::printable`]). Libraries log as well
//! (ONNX Runtime the names in a model, quinn what a peer sends), and tracing-subscriber escapes the message alone, not the
//! fields, and no line feed.

use std::borrow::Cow;
use std::io::{self, Write};
use std::iter::Peekable;
use std::str::Chars;

use protocol::text::is_hidden;
use tracing_subscriber::fmt::MakeWriter;

/// Longest line, in characters. A ticket has 250, a list of a model's classes some thousand.
const MAX_LINE: usize = 8000;

/// Makes writers of the log from those of `inner`.
pub(super) struct OneLines<M> {
    inner: M,
    /// Whether the log is in colours.
    colour: bool,
}

impl<M> OneLines<M> {
    pub(super) fn new(inner: M, colour: bool) -> Self {
        Self { inner, colour }
    }
}

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for OneLines<M> {
    type Writer = OneLine<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        OneLine::new(self.inner.make_writer(), self.colour)
    }
}

/// A writer of the log. It is given one event at a time.
pub(super) struct OneLine<W> {
    inner: W,
    /// Whether the log is in colours, so that their escape sequences are kept.
    colour: bool,
}

impl<W> OneLine<W> {
    pub(super) fn new(inner: W, colour: bool) -> Self {
        Self { inner, colour }
    }
}

impl<W: Write> Write for OneLine<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        self.inner
            .write_all(one_line(&text, self.colour).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Returns an event as one line without control characters but for colours, and its end.
fn one_line(event: &str, colour: bool) -> Cow<'_, str> {
    let Some(text) = event.strip_suffix('\n') else {
        return escape(event, colour).into();
    };
    let good = !text.contains(is_hidden) && text.len() <= MAX_LINE;
    match good {
        true => event.into(),
        false => (escape(text, colour) + "\n").into(),
    }
}

/// Returns a text without control characters but for colours, cut.
pub(super) fn escape(text: &str, colour: bool) -> String {
    let mut line = String::new();
    let mut chars = text.chars().peekable();
    let mut length = 0;
    while let Some(c) = chars.next() {
        length += 1;
        if length > MAX_LINE {
            line.push_str(if colour { "\x1b[0m.." } else { ".." });
            break;
        }
        if c == '\x1b' && colour && push_colour(&mut chars, &mut line) {
            continue;
        }
        match is_hidden(c) {
            true => line.extend(c.escape_default()),
            false => line.push(c),
        }
    }
    line
}

/// Appends the sequence for a colour that may stand behind an ESC, and returns whether one does.
fn push_colour(chars: &mut Peekable<Chars<'_>>, line: &mut String) -> bool {
    let rest: String = chars.clone().take(16).collect();
    let colour = rest.strip_prefix('[').and_then(|rest| {
        let (parameters, _) = rest.split_once('m')?;
        let plain = |c: char| c.is_ascii_digit() || c == ';';
        parameters.chars().all(plain).then_some(parameters)
    });
    let Some(parameters) = colour else {
        return false;
    };
    line.push_str(&format!("\x1b[{parameters}m"));
    chars.by_ref().nth(parameters.len() + 1);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_cannot_forge_a_line_or_move_the_cursor() {
        let hostile = "WARN why=a\r\nERROR forged \x1b[2J\x1b]0;t\x07 \u{202e}b\n";
        let line = one_line(hostile, false);
        assert_eq!(
            line,
            "WARN why=a\\r\\nERROR forged \\u{1b}[2J\\u{1b}]0;t\\u{7} \\u{202e}b\n"
        );
        let line = one_line(hostile, true);
        assert!(!line.trim_end().contains(is_hidden), "{line:?}");
    }

    #[test]
    fn colours_stay_in_a_coloured_log_alone() {
        let event = "\x1b[2m12:00\x1b[0m \x1b[33mWARN\x1b[0m x\x1b[K\n";
        assert_eq!(
            one_line(event, true),
            "\x1b[2m12:00\x1b[0m \x1b[33mWARN\x1b[0m x\\u{1b}[K\n"
        );
        assert!(!one_line(event, false).contains('\x1b'));
    }

    #[test]
    fn an_ordinary_line_is_written_as_it_is_and_an_endless_one_is_cut() {
        let event = "INFO viewer joined camera=Küche 東門 'a\\b'\n";
        assert!(matches!(one_line(event, false), Cow::Borrowed(same) if same == event));
        let long = "x".repeat(MAX_LINE + 1) + "\n";
        let cut = one_line(&long, false);
        assert!(cut.len() == MAX_LINE + 3 && cut.ends_with("x..\n"));
    }

    #[test]
    fn all_of_an_event_counts_as_written() {
        let mut line = OneLine::new(Vec::new(), false);
        line.write_all(b"a\nb\xff\n").unwrap();
        assert_eq!(line.inner, "a\\nb\u{fffd}\n".as_bytes());
    }
}
