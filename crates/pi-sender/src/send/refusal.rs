//! Why the relay drops this sender's frames: kept for the preview, and logged when it changes.

use std::time::{Duration, Instant};

use protocol::quic::Refusal;
use tracing::warn;

/// Time after which a refusal is over if it was not repeated: the relay repeats it every second.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3);

/// The relay's last refusal.
#[derive(Debug, Default)]
pub(crate) struct RefusalNotice(Option<(Refusal, Instant)>);

impl RefusalNotice {
    /// Notes a refusal, and logs it if it is another one.
    pub(crate) fn on_refused(&mut self, refusal: Refusal, now: Instant) {
        if self.current(now) != Some(refusal) {
            warn!(why = %refusal, "the relay drops the frames");
        }
        self.0 = Some((refusal, now));
    }

    /// Returns the refusal that is in force.
    pub(crate) fn current(&self, now: Instant) -> Option<Refusal> {
        let recent = |at: Instant| now.saturating_duration_since(at) < FORGOTTEN_AFTER;
        self.0.filter(|(_, at)| recent(*at)).map(|(why, _)| why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_in_force_until_the_relay_repeats_it_no_more() {
        let (mut notice, now) = (RefusalNotice::default(), testkit::time::start());
        assert_eq!(notice.current(now), None);
        notice.on_refused(Refusal::Taken, now);
        let soon = now + FORGOTTEN_AFTER - Duration::from_millis(1);
        assert_eq!(notice.current(soon), Some(Refusal::Taken));
        assert_eq!(notice.current(now + FORGOTTEN_AFTER), None);
    }
}
