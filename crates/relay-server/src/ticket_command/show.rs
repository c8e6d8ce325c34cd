//! What `relay-server ticket` prints. Pure.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use protocol::quic::Role;
use protocol::ticket::Ticket;
use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};

use crate::tickets::Tickets;
use crate::tickets::uses::Uses;

/// Black on white, whatever the terminal's own colours are: not all phones read a code that is inverted.
const BLACK_ON_WHITE: &str = "\x1b[30;107m";
const NORMAL: &str = "\x1b[0m";

/// Returns what a new ticket's owner is to do with it: the command line, and for a viewer the page's link, which a phone
/// reads from the code.
pub(super) fn added(role: Role, ticket: &Ticket, link: Option<&str>, with_code: bool) -> String {
    let program = match role {
        Role::Send => "pi-sender",
        Role::View => "viewer",
    };
    let mut text = format!("{program} --server '{ticket}'\n");
    if let Some(link) = link {
        text += &format!("{link}\n");
        if let Some(code) = with_code.then(|| code(link)).flatten() {
            text += &code;
        }
    }
    text
}

/// Returns a link as a QR code for a terminal; `None` if it is too long for one.
fn code(link: &str) -> Option<String> {
    let code = QrCode::with_error_correction_level(link, EcLevel::L).ok()?;
    let lines = code.render::<Dense1x2>().quiet_zone(true).build();
    Some(lines.lines().fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "{BLACK_ON_WHITE}{line}{NORMAL}");
        text
    }))
}

/// Returns the tickets as a table, with times in this zone.
pub(super) fn list(tickets: &Tickets, uses: &Uses, zone: &TimeZone) -> String {
    let head = ["NAME", "ROLE", "CAMERA", "CREATED", "LAST USE", "FROM"].map(str::to_owned);
    let rows = tickets.iter().map(|ticket| {
        let last = uses.last(ticket.id());
        let role = match ticket.role {
            Role::Send => "send",
            Role::View => "view",
        };
        [
            ticket.name.to_string(),
            role.to_owned(),
            ticket
                .camera
                .as_ref()
                .map_or_else(|| "any".to_owned(), ToString::to_string),
            time(ticket.created, zone),
            last.map_or_else(|| "never".to_owned(), |last| time(last.at, zone)),
            last.map_or_else(String::new, |last| last.address.to_string()),
        ]
    });
    let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<_> = (0..6).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths);
        let line: Vec<_> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text += line.join("  ").trim_end();
        text.push('\n');
    }
    text
}

/// Returns a time in seconds since the Unix epoch as people read it.
fn time(seconds: u64, zone: &TimeZone) -> String {
    let seconds = i64::try_from(seconds).ok();
    let at = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
    let at = at.map(|at| {
        at.to_zoned(zone.clone())
            .strftime("%Y-%m-%d %H:%M")
            .to_string()
    });
    at.unwrap_or_else(|| "?".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tickets::tests::table;

    #[test]
    fn a_row_has_name_role_camera_times_and_address() {
        let mut uses = Uses::default();
        let tickets = table();
        let id = tickets.iter().nth(1).unwrap().id();
        uses.open(id, "192.0.2.1".parse().unwrap(), 1_763_823_600);
        let text = list(&tickets, &uses, &TimeZone::UTC);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[..3],
            [
                "NAME     ROLE  CAMERA  CREATED           LAST USE          FROM",
                "pi       send  any     2025-11-22 14:00  never",
                "yard pi  send  yard    2025-11-22 14:00  2025-11-22 15:00  192.0.2.1",
            ]
        );
        assert_eq!(lines.len(), 5);
    }

    #[test]
    fn a_sender_gets_a_command_and_a_viewer_a_link_and_its_code_as_well() {
        let digits = "1f".repeat(32);
        let ticket = format!("sightline://h:8081/yard?token={digits}#sha256={digits}");
        let ticket: Ticket = ticket.parse().unwrap();
        let sender = added(Role::Send, &ticket, None, true);
        assert_eq!(sender, format!("pi-sender --server '{ticket}'\n"));
        let link = format!("http://h:8080/#token={digits}");
        let plain = added(Role::View, &ticket, Some(&link), false);
        assert_eq!(plain, format!("viewer --server '{ticket}'\n{link}\n"));
        let with_code = added(Role::View, &ticket, Some(&link), true);
        let code: Vec<_> = with_code[plain.len()..].lines().collect();
        assert!(code.len() > 20 && code.iter().all(|line| line.starts_with(BLACK_ON_WHITE)));
        let widest = code.iter().map(|line| line.chars().count()).max().unwrap();
        assert!(widest < 80, "it fits a terminal: {widest}");
    }
}
