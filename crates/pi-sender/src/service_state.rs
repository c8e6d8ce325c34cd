//! What the service manager learns of the send loop: that it turns, and in a line what it does.

use std::time::{Duration, Instant};

use platform::service::{ServiceManager, Watchdog};

use crate::send::{NetworkFeedback, Uplink};

/// Time between two lines of state.
const INTERVAL: Duration = Duration::from_secs(10);

/// The loop's state, for the service manager.
#[derive(Debug)]
pub(crate) struct ServiceState {
    manager: ServiceManager,
    watchdog: Watchdog,
    /// Camera and relay.
    about: String,
    source: String,
    /// Begin of the interval, and the number of the last frame then.
    since: (Instant, u64),
}

/// What became of the frames of an interval.
#[derive(Debug, Clone, PartialEq)]
enum Frames {
    /// The source gave none.
    None,
    /// They leave at this rate (frames a second) by this transport.
    Leave(f64, &'static str),
    /// There is no connection to the relay.
    Kept,
    /// The relay drops them, with this reason.
    Refused(String),
}

impl ServiceState {
    /// Reports the loop as ready: it waits by itself for a camera that is not there.
    pub(crate) fn new(
        manager: ServiceManager,
        about: String,
        source: String,
        now: Instant,
    ) -> Self {
        manager.ready(&format!("{about}: starts"));
        Self {
            watchdog: manager.watchdog(),
            manager,
            about,
            source,
            since: (now, 0),
        }
    }

    /// Feeds the watchdog, and reports the state now and then. To be called at each turn of the loop; `seq` is the number of
    /// the last frame.
    pub(crate) fn turn(&mut self, seq: u64, uplink: &Uplink, now: Instant) {
        self.watchdog.feed(now);
        let (begin, before) = self.since;
        let passed = now.saturating_duration_since(begin);
        if passed < INTERVAL {
            return;
        }
        self.since = (now, seq);
        let frames = match (seq - before, uplink.refusal(now)) {
            (0, _) => Frames::None,
            (_, Some(why)) => Frames::Refused(why.to_string()),
            _ if uplink.feedback() == NetworkFeedback::Disconnected => Frames::Kept,
            (count, None) => Frames::Leave(count as f64 / passed.as_secs_f64(), uplink.transport()),
        };
        self.manager
            .set_status(&line(&self.about, &self.source, &frames));
    }
}

fn line(about: &str, source: &str, frames: &Frames) -> String {
    match frames {
        Frames::None => format!("{about}: no pictures from {source}; it waits for them"),
        Frames::Leave(rate, transport) => {
            format!("{about}: {rate:.1} frames a second by {transport}")
        }
        Frames::Kept => format!("{about}: no connection yet; it tries again and again"),
        Frames::Refused(why) => format!("{about}: the relay drops the frames: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_is_a_line_on_what_becomes_of_the_frames() {
        for (frames, wanted) in [
            (Frames::None, "no pictures from auto"),
            (
                Frames::Leave(9.96, "quic"),
                "yard to h: 10.0 frames a second by quic",
            ),
            (Frames::Kept, "no connection"),
            (
                Frames::Refused("in use".to_owned()),
                "drops the frames: in use",
            ),
        ] {
            let line = line("camera yard to h", "auto", &frames);
            assert!(line.contains(wanted), "{line}");
        }
    }
}
