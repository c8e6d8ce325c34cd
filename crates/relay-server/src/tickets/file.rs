//! The file of the tickets, as text: a line of JSON that names its version, and then one for each ticket. Pure.

use protocol::label::CameraName;
use protocol::quic::Role;
use protocol::ticket::Key;
use serde::{Deserialize, Serialize};

use super::{MAX_TICKETS, NotAdded, StoredTicket, Tickets, TokenHash};

/// The version that this program writes and reads.
const VERSION: u32 = 1;
/// Longest line in bytes: two names of 64 bytes, and about 150 of all else.
const MAX_LINE: usize = 512;
/// Longest file in bytes.
pub const MAX_FILE: usize = MAX_LINE * (MAX_TICKETS + 1);

/// Why a text is not a file of tickets. No variant repeats any of the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadFile {
    /// A first line that is not one of this file.
    #[error("its first line is not that of a file of tickets")]
    Head,
    /// A version that another program writes.
    #[error(
        "it is of version {0}, and this relay-server reads version {VERSION}: update relay-server"
    )]
    Version(u32),
    /// A line that is not a ticket.
    #[error("line {0} is not a ticket")]
    Line(usize),
    /// A line whose ticket cannot stand beside those before it.
    #[error("line {0}: {1}")]
    NotAdded(usize, NotAdded),
}

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    tickets: u32,
}

/// A ticket's line. A key that this version does not know may narrow the ticket's right, so it is an error.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    name: String,
    role: Role,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    camera: Option<String>,
    created: u64,
    sha256: String,
}

/// Returns the file's text.
pub fn write(tickets: &Tickets) -> String {
    let head = json(&Head { tickets: VERSION });
    let lines = tickets.iter().map(|ticket| {
        json(&Line {
            name: ticket.name.to_string(),
            role: ticket.role,
            camera: ticket.camera.as_ref().map(CameraName::to_string),
            created: ticket.created,
            sha256: ticket.hash.0.to_string(),
        })
    });
    std::iter::once(head).chain(lines).collect()
}

fn json(value: &impl Serialize) -> String {
    let line = serde_json::to_string(value).expect("plain structures of text and numbers");
    line + "\n"
}

/// Parses the file's bytes.
///
/// # Errors
/// [`BadFile`].
pub fn parse(bytes: &[u8]) -> Result<Tickets, BadFile> {
    let text = std::str::from_utf8(bytes).map_err(|_| BadFile::Head)?;
    let mut lines = text.lines().zip(1..);
    let head = lines.next().map(|(line, _)| line).unwrap_or_default();
    let head: Head = serde_json::from_str(head).map_err(|_| BadFile::Head)?;
    if head.tickets != VERSION {
        return Err(BadFile::Version(head.tickets));
    }
    let mut tickets = Tickets::default();
    for (line, number) in lines.filter(|(line, _)| !line.trim().is_empty()) {
        let ticket = parse_ticket(line).ok_or(BadFile::Line(number))?;
        tickets
            .add(ticket)
            .map_err(|why| BadFile::NotAdded(number, why))?;
    }
    Ok(tickets)
}

fn parse_ticket(line: &str) -> Option<StoredTicket> {
    let line: Line = serde_json::from_str(line).ok()?;
    let camera = line.camera.map(|camera| camera.parse().ok());
    Some(StoredTicket {
        name: line.name.parse().ok()?,
        role: line.role,
        camera: match camera {
            Some(camera) => Some(camera?),
            None => None,
        },
        created: line.created,
        hash: TokenHash(Key::parse(&line.sha256)?),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{table, ticket};
    use super::*;

    #[test]
    fn what_is_written_is_read_and_holds_no_token() {
        let text = write(&table());
        assert_eq!(parse(text.as_bytes()), Ok(table()));
        assert_eq!(
            text.lines().next(),
            Some(r#"{"tickets":1}"#),
            "the version stands first"
        );
        for token in 1..=4 {
            assert!(!text.contains(&Key([token; 32]).to_string()));
        }
        assert_eq!(parse(b"{\"tickets\":1}\n"), Ok(Tickets::default()));
    }

    #[test]
    fn the_largest_file_is_read_whole() {
        let mut tickets = Tickets::default();
        let camera = "y".repeat(CameraName::MAX);
        for n in 0..MAX_TICKETS {
            let name = format!("{n:0width$}", width = CameraName::MAX);
            let longest = StoredTicket {
                created: u64::MAX,
                ..ticket(&name, Role::Send, Some(&camera), 1)
            };
            tickets.add(longest).unwrap();
        }
        let text = write(&tickets);
        assert!(text.len() <= MAX_FILE, "{}", text.len());
        assert_eq!(parse(text.as_bytes()), Ok(tickets));
    }

    #[test]
    fn what_is_damaged_is_named_by_its_line_and_not_repeated() {
        let good = write(&table());
        let line = |at: usize| good.lines().nth(at).unwrap().to_owned();
        let head = line(0);
        for (text, why) in [
            (String::new(), BadFile::Head),
            ("root:x:0:0:root\n".to_owned(), BadFile::Head),
            ("{\"tickets\":2}\n".to_owned(), BadFile::Version(2)),
            (format!("{head}\nx"), BadFile::Line(2)),
            (
                good.replace("\"sha256\":\"", "\"sha256\":\"x"),
                BadFile::Line(2),
            ),
            (
                good.replace("\"camera\":\"yard\"", "\"camera\":\"a/b\""),
                BadFile::Line(3),
            ),
            (
                good.replace("\"created\"", "\"expires\":1,\"created\""),
                BadFile::Line(2),
            ),
            (
                format!("{head}\n{one}\n{one}\n", one = line(1)),
                BadFile::NotAdded(3, NotAdded::Exists("pi".parse().unwrap())),
            ),
        ] {
            assert_eq!(parse(text.as_bytes()), Err(why), "{text}");
        }
        assert_eq!(parse(b"\xff\xfe"), Err(BadFile::Head));
    }
}
