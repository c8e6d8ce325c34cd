//! When each ticket was last used, and from where. Pure.
//!
//! A ticket is in use for as long as one of its sessions is open: a camera that has sent for three days was last used now.

use std::collections::HashMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{MAX_TICKETS, TicketId, Tickets};

/// Longest line of the file in bytes: an id of 32 digits, an IPv6 address of 39 characters, a time, keys and marks.
const MAX_LINE: usize = 160;
/// Longest file in bytes.
pub const MAX_FILE: usize = MAX_LINE * MAX_TICKETS;

/// The last use of a ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastUse {
    /// Seconds since the Unix epoch.
    pub at: u64,
    /// Address of the peer that showed it last.
    pub address: IpAddr,
}

/// The last use of each ticket. Tickets that are not in force are dropped whenever the file is written, and only a peer that
/// showed a ticket adds one, so there are never more than tickets.
#[derive(Debug, Default)]
pub struct Uses {
    of_ticket: HashMap<TicketId, Use>,
    changed: bool,
}

#[derive(Debug, Clone, Copy)]
struct Use {
    last: LastUse,
    /// Number of open sessions.
    open: u32,
}

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    ticket: String,
    at: u64,
    address: IpAddr,
}

impl Uses {
    /// Parses a file. What is not a line of it is skipped: the times are a help for people, and decide nothing.
    pub fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let lines = text.lines().take(MAX_TICKETS);
        let uses = lines.filter_map(|line| {
            let Line {
                ticket,
                at,
                address,
            } = serde_json::from_str(line).ok()?;
            let last = LastUse { at, address };
            Some((TicketId::parse(&ticket)?, Use { last, open: 0 }))
        });
        Self {
            of_ticket: uses.collect(),
            changed: false,
        }
    }

    /// Returns a ticket's last use.
    pub fn last(&self, ticket: TicketId) -> Option<LastUse> {
        self.of_ticket.get(&ticket).map(|used| used.last)
    }

    /// Notes that a session of a ticket begins.
    pub fn open(&mut self, ticket: TicketId, address: IpAddr, now: u64) {
        let last = LastUse { at: now, address };
        let used = self.of_ticket.entry(ticket);
        let used = used.or_insert(Use { last, open: 0 });
        used.last = last;
        used.open += 1;
        self.changed = true;
    }

    /// Notes that a session of a ticket has ended.
    pub fn close(&mut self, ticket: TicketId, now: u64) {
        if let Some(used) = self.of_ticket.get_mut(&ticket) {
            used.last.at = now;
            used.open = used.open.saturating_sub(1);
            self.changed = true;
        }
    }

    /// Returns the file's text, with the tickets in force alone; `None` if nothing was used since the last time.
    pub fn write(&mut self, tickets: &Tickets, now: u64) -> Option<String> {
        let known = self.of_ticket.len();
        // An open session closes its own entry later, so that one stays.
        self.of_ticket
            .retain(|id, used| used.open > 0 || tickets.contains(*id));
        let in_use = self.of_ticket.values().any(|used| used.open > 0);
        let changed = std::mem::take(&mut self.changed);
        if !changed && !in_use && self.of_ticket.len() == known {
            return None;
        }
        let mut lines = Vec::new();
        for (id, used) in &mut self.of_ticket {
            if used.open > 0 {
                used.last.at = now;
            }
            let line = Line {
                ticket: id.to_string(),
                at: used.last.at,
                address: used.last.address,
            };
            lines.push(serde_json::to_string(&line).expect("plain text and numbers") + "\n");
        }
        lines.sort();
        Some(lines.concat())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::table;
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn ids() -> Vec<TicketId> {
        table().iter().map(super::super::StoredTicket::id).collect()
    }

    #[test]
    fn a_use_is_written_once_and_read_again() {
        let (mut uses, id) = (Uses::default(), ids()[0]);
        assert_eq!(uses.write(&table(), 10), None);
        uses.open(id, HERE, 10);
        uses.close(id, 20);
        let text = uses.write(&table(), 30).unwrap();
        assert_eq!(uses.write(&table(), 40), None, "nothing has changed");
        let read = Uses::parse(text.as_bytes());
        let last = LastUse {
            at: 20,
            address: HERE,
        };
        assert_eq!((read.last(id), read.last(ids()[1])), (Some(last), None));
    }

    #[test]
    fn a_ticket_is_in_use_for_as_long_as_a_session_is_open() {
        let (mut uses, id) = (Uses::default(), ids()[0]);
        uses.open(id, HERE, 10);
        uses.open(id, HERE, 11);
        uses.close(id, 12);
        for now in [100, 200] {
            assert!(uses.write(&table(), now).is_some());
            assert_eq!(uses.last(id).unwrap().at, now);
        }
        uses.close(id, 300);
        assert!(uses.write(&table(), 400).is_some());
        assert_eq!(uses.last(id).unwrap().at, 300);
        assert_eq!(uses.write(&table(), 500), None);
    }

    #[test]
    fn a_revoked_ticket_leaves_nothing_behind() {
        let mut uses = Uses::default();
        for id in ids() {
            uses.open(id, HERE, 1);
        }
        uses.close(ids()[0], 2);
        assert!(uses.write(&Tickets::default(), 3).is_some());
        assert_eq!(uses.of_ticket.len(), 3, "these sessions are still open");
        for id in ids() {
            uses.close(id, 4);
        }
        assert_eq!(uses.write(&Tickets::default(), 5), Some(String::new()));
        assert!(uses.of_ticket.is_empty());
    }

    #[test]
    fn what_is_damaged_is_skipped_and_the_longest_file_is_short_enough() {
        let id = ids()[0];
        let longest = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff".parse().unwrap();
        let mut uses = Uses::default();
        uses.open(id, longest, u64::MAX);
        let text = uses.write(&table(), u64::MAX).unwrap();
        assert!(text.len() <= MAX_LINE, "{text}");
        let damaged = format!("x\n{{}}\n{text}\u{0}");
        assert!(Uses::parse(damaged.as_bytes()).last(id).is_some());
    }
}
