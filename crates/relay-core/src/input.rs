//! How much the senders may make the relay hold: what has arrived and was not read yet (a connection's flow-control window),
//! and frames that are incomplete or wait for the loop.
//!
//! Senders have equal parts of what their host may hold, and of what all hosts may: with few of them each can send the
//! largest frames, and 63 hostile ones of as many hosts leave an honest one frames of 640 kB. A sender that came when there
//! were fewer may hold more than its part, and then the others wait with what exceeds [`LEAST_SHARE`]. So such a sender
//! [loses](InputPool::is_exceeded) its incomplete frames until it holds no more than its part.

use std::collections::HashMap;

use protocol::peer::Host;

use crate::limits::{
    HOST_INPUT_BYTES, HOST_WINDOWS, INPUT_BYTES, LEAST_SHARE, SENDER_FRAMES, SENDER_WINDOW,
    TICKET_INPUT_BYTES, TICKET_WINDOW,
};

/// The bounds of one pool, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InputBounds {
    /// Of all senders.
    pub all: usize,
    /// Of the senders of one host.
    pub host: usize,
    /// Frames of one sender.
    pub frames: usize,
    /// Flow-control window of one sender.
    pub window: usize,
    /// What the windows of one host's senders share where that is less.
    pub host_windows: usize,
}

impl InputBounds {
    /// Senders without a ticket.
    pub const VALIDATED: Self = Self {
        all: INPUT_BYTES,
        host: HOST_INPUT_BYTES,
        frames: SENDER_FRAMES,
        window: SENDER_WINDOW,
        host_windows: HOST_WINDOWS,
    };
    /// Senders with a ticket.
    pub const AUTHENTICATED: Self = Self {
        all: TICKET_INPUT_BYTES,
        host: TICKET_INPUT_BYTES,
        frames: SENDER_FRAMES,
        window: TICKET_WINDOW,
        host_windows: TICKET_INPUT_BYTES,
    };
}

/// A sender in the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct InputId(u64);

/// Answer to a sender that wants to make the relay hold more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputVerdict {
    /// It is counted.
    Granted,
    /// Not now: the relay reads no more of it until something was given back.
    Wait,
    /// Never, with as many senders as there are: the frame is larger than its sender's part.
    TooLarge,
}

/// The input of all senders that share these bounds.
#[derive(Debug)]
pub struct InputPool {
    bounds: InputBounds,
    next: u64,
    senders: HashMap<InputId, Sender>,
    hosts: HashMap<Host, Sum>,
    all: Sum,
}

#[derive(Debug, Clone, Copy)]
struct Sender {
    host: Host,
    /// Flow-control window; 0 before [`InputPool::open`] and after [`InputPool::leave`].
    window: usize,
    /// Bytes of its frames.
    held: usize,
    /// Bytes of frames that it may hold whatever others do; 0 like its window.
    reserved: usize,
    left: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    /// Senders that have not left.
    senders: usize,
    windows: usize,
    /// Bytes of frames that are held or reserved.
    frames: usize,
}

impl Sender {
    fn frames(&self) -> usize {
        self.held.max(self.reserved)
    }
}

impl Sum {
    fn bytes(&self) -> usize {
        self.windows + self.frames
    }

    /// Returns the equal part of each sender in what the windows leave of so many bytes.
    fn part(&self, bytes: usize) -> usize {
        bytes.saturating_sub(self.windows) / self.senders.max(1)
    }
}

impl InputPool {
    /// Returns an empty pool.
    pub fn new(bounds: InputBounds) -> Self {
        Self {
            bounds,
            next: 0,
            senders: HashMap::new(),
            hosts: HashMap::new(),
            all: Sum::default(),
        }
    }

    /// Counts a sender in: from now on the others have smaller parts. It may send nothing before it is [open](Self::open).
    pub fn join(&mut self, host: Host) -> InputId {
        self.next += 1;
        let id = InputId(self.next);
        let sender = Sender {
            host,
            window: 0,
            held: 0,
            reserved: 0,
            left: false,
        };
        self.senders.insert(id, sender);
        self.hosts.entry(host).or_default().senders += 1;
        self.all.senders += 1;
        id
    }

    /// Returns the flow-control window of a sender that has joined, and reserves it; `None` while the others hold so much
    /// that there is no room for it.
    pub fn open(&mut self, id: InputId) -> Option<usize> {
        let sender = *self.senders.get(&id)?;
        let of_host = self.hosts.get(&sender.host)?.senders;
        let window =
            (self.bounds.host_windows / of_host.max(1)).clamp(LEAST_SHARE, self.bounds.window);
        let opened = Sender {
            window,
            reserved: LEAST_SHARE,
            ..sender
        };
        self.replace(id, opened).then_some(window)
    }

    /// Counts `more` bytes for a frame of which so many `bytes` are held, if the bounds permit it.
    pub fn take(&mut self, id: InputId, bytes: usize, more: usize) -> InputVerdict {
        let Some(sender) = self.senders.get(&id).copied() else {
            return InputVerdict::TooLarge;
        };
        let part = self.part(sender.host);
        let grown = Sender {
            held: sender.held + more,
            ..sender
        };
        if bytes + more > part {
            InputVerdict::TooLarge
        } else if grown.held <= part && self.replace(id, grown) {
            InputVerdict::Granted
        } else {
            InputVerdict::Wait
        }
    }

    /// Returns whether a sender holds more than its part, which has shrunk since others came: it has to lose incomplete frames.
    pub fn is_exceeded(&self, id: InputId) -> bool {
        let sender = self.senders.get(&id);
        sender.is_some_and(|sender| sender.held > self.part(sender.host))
    }

    /// Gives back bytes of a frame that the loop has taken, or that was dropped. Returns whether that leaves more to other
    /// senders: what is reserved does not.
    pub fn give(&mut self, id: InputId, bytes: usize) -> bool {
        let Some(sender) = self.senders.get(&id).copied() else {
            return false;
        };
        let held = sender.held.saturating_sub(bytes);
        let less = Sender { held, ..sender };
        self.replace(id, less);
        self.forget_if_empty(id);
        less.frames() < sender.frames()
    }

    /// Counts a sender out. Its frames that wait for the loop count until they are given back.
    pub fn leave(&mut self, id: InputId) {
        let Some(sender) = self.senders.get(&id).copied().filter(|sender| !sender.left) else {
            return;
        };
        let gone = Sender {
            window: 0,
            reserved: 0,
            left: true,
            ..sender
        };
        self.replace(id, gone);
        self.all.senders -= 1;
        if let Some(host) = self.hosts.get_mut(&sender.host) {
            host.senders -= 1;
        }
        self.forget_if_empty(id);
    }

    /// Returns the most bytes of frames that a sender of this host may make the relay hold now.
    fn part(&self, host: Host) -> usize {
        let InputBounds {
            all,
            host: of_host,
            frames,
            ..
        } = self.bounds;
        let host = self.hosts.get(&host).copied().unwrap_or_default();
        // Reserved for each that is open, also while those that were displaced have not left yet.
        let part = self.all.part(all).min(host.part(of_host));
        part.clamp(LEAST_SHARE, frames)
    }

    /// Puts a sender's new state in place of the old one, if it takes no more or the bounds permit it.
    fn replace(&mut self, id: InputId, new: Sender) -> bool {
        let Some(old) = self.senders.get(&id).copied() else {
            return false;
        };
        let Some(host) = self.hosts.get(&new.host).copied() else {
            return false;
        };
        let changed = |sum: Sum| Sum {
            windows: sum.windows + new.window - old.window,
            frames: sum.frames + new.frames() - old.frames(),
            ..sum
        };
        let (of_host, of_all) = (changed(host), changed(self.all));
        let fits = |new: Sum, old: Sum, bound| new.bytes() <= old.bytes() || new.bytes() <= bound;
        if !fits(of_host, host, self.bounds.host) || !fits(of_all, self.all, self.bounds.all) {
            return false;
        }
        self.hosts.insert(new.host, of_host);
        self.all = of_all;
        self.senders.insert(id, new);
        true
    }

    fn forget_if_empty(&mut self, id: InputId) {
        if let Some(sender) = self.senders.get(&id).copied()
            && sender.left
            && sender.held == 0
        {
            self.senders.remove(&id);
            if self
                .hosts
                .get(&sender.host)
                .is_some_and(|host| host.senders + host.frames == 0)
            {
                self.hosts.remove(&sender.host);
            }
        }
    }
}

#[cfg(test)]
mod tests;
