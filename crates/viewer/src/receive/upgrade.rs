//! When to try QUIC with a relay that has answered over UDP, and when to take UDP frames meanwhile. Pure.
//!
//! A tutorial relay dies of a byte of QUIC, so each try needs a fresh answer: a Sightline relay is at that address now.

use std::time::{Duration, Instant};

use protocol::lease::{RENEW_INTERVAL, SEARCH_INTERVAL};

/// Time from the relay's first answer until UDP frames are requested.
const UDP_AFTER: Duration = Duration::from_millis(700);
/// Pause after a failed try while UDP frames come.
const RETRY: Duration = Duration::from_secs(5);
/// Shortest pause after a failed try when no other transport may be used, and after a connection has ended.
pub(super) const RETRY_SOON: Duration = Duration::from_millis(100);
/// An answer is fresh for this long: one of the last two hellos was answered.
const FRESH: Duration = RENEW_INTERVAL.saturating_add(SEARCH_INTERVAL);

/// The transports that may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Preference {
    /// UDP, and nothing else.
    UdpOnly,
    /// QUIC, and UDP for as long as there is no QUIC connection.
    QuicPreferred,
    /// QUIC, and nothing else; UDP serves to find a Sightline relay.
    QuicOnly,
}

/// The way from a relay's answer over UDP to a QUIC connection.
#[derive(Debug)]
pub(super) struct Upgrade {
    preference: Preference,
    first_answer: Option<Instant>,
    last_answer: Option<Instant>,
    connecting: bool,
    /// No try before this time.
    paused_until: Option<Instant>,
}

impl Upgrade {
    /// Creates the state before the relay has answered.
    pub(super) fn new(preference: Preference) -> Self {
        Self {
            preference,
            first_answer: None,
            last_answer: None,
            connecting: false,
            paused_until: None,
        }
    }

    /// Creates the state after a QUIC connection has ended, with a pause before the next.
    pub(super) fn after_disconnect(preference: Preference, pause: Duration, now: Instant) -> Self {
        Self {
            paused_until: Some(now + pause),
            ..Self::new(preference)
        }
    }

    /// Notes that a Sightline relay answered over UDP.
    pub(super) fn on_answer(&mut self, now: Instant) {
        self.first_answer.get_or_insert(now);
        self.last_answer = Some(now);
    }

    /// Returns whether to start a try now; it is then under way until it has [failed](Self::on_failure).
    pub(super) fn should_connect(&mut self, now: Instant) -> bool {
        let fresh = |at: Instant| now.saturating_duration_since(at) < FRESH;
        let pause_over = self.paused_until.is_none_or(|until| until <= now);
        let wanted = self.preference != Preference::UdpOnly && !self.connecting;
        let due = wanted && pause_over && self.last_answer.is_some_and(fresh);
        self.connecting |= due;
        due
    }

    /// Notes that the try failed; `pause` is that before the next one when no other transport may be used.
    pub(super) fn on_failure(&mut self, pause: Duration, now: Instant) {
        let pause = match self.preference {
            Preference::QuicOnly => pause,
            Preference::UdpOnly | Preference::QuicPreferred => RETRY,
        };
        self.connecting = false;
        self.paused_until = Some(now + pause);
    }

    /// Returns whether to request UDP frames by now.
    pub(super) fn wants_udp_frames(&self, now: Instant) -> bool {
        self.preference == Preference::UdpOnly || self.udp_frames_at().is_some_and(|at| at <= now)
    }

    /// Returns when to call again.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        let pause_end = self.paused_until.filter(|_| !self.connecting);
        let times = [self.udp_frames_at(), pause_end].into_iter().flatten();
        times.filter(|at| *at > now).min()
    }

    fn udp_frames_at(&self) -> Option<Instant> {
        let preferred = self.preference == Preference::QuicPreferred;
        let first = self.first_answer.filter(|_| preferred)?;
        Some(first + UDP_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn start() -> Instant {
        testkit::time::start()
    }

    #[test]
    fn no_attempt_before_our_relay_has_answered_and_one_at_once_then() {
        let (mut upgrade, now) = (Upgrade::new(Preference::QuicPreferred), start());
        assert!(!upgrade.should_connect(now) && !upgrade.should_connect(now + 60_000 * MS));
        upgrade.on_answer(now);
        assert!(upgrade.should_connect(now));
        assert!(!upgrade.should_connect(now + MS), "one at a time");
    }

    #[test]
    fn after_700_ms_udp_will_do_until_quic_is_open() {
        let (mut upgrade, now) = (Upgrade::new(Preference::QuicPreferred), start());
        assert!(
            !upgrade.wants_udp_frames(now + 60_000 * MS),
            "nothing answers"
        );
        upgrade.on_answer(now);
        upgrade.should_connect(now);
        assert_eq!(upgrade.deadline(now), Some(now + UDP_AFTER));
        assert!(
            !upgrade.wants_udp_frames(now + 699 * MS) && upgrade.wants_udp_frames(now + 700 * MS)
        );
        upgrade.on_answer(now + 500 * MS);
        assert!(
            upgrade.wants_udp_frames(now + 700 * MS),
            "the first answer counts"
        );
    }

    #[test]
    fn the_next_attempt_comes_5_s_after_a_vain_one_while_our_relay_answers() {
        let (mut upgrade, now) = (Upgrade::new(Preference::QuicPreferred), start());
        upgrade.on_answer(now);
        assert!(upgrade.should_connect(now));
        upgrade.on_failure(RETRY_SOON, now + 1500 * MS);
        upgrade.on_answer(now + 6000 * MS);
        assert!(!upgrade.should_connect(now + 6499 * MS));
        assert_eq!(upgrade.deadline(now + 6000 * MS), Some(now + 6500 * MS));
        assert!(upgrade.should_connect(now + 6500 * MS));
    }

    #[test]
    fn a_relay_that_answers_no_more_may_be_a_tutorials_by_now() {
        let (mut upgrade, now) = (Upgrade::new(Preference::QuicPreferred), start());
        upgrade.on_answer(now);
        assert!(upgrade.should_connect(now));
        upgrade.on_failure(RETRY_SOON, now + 1500 * MS);
        assert!(!upgrade.should_connect(now + 6500 * MS));
        upgrade.on_answer(now + 9000 * MS);
        assert!(upgrade.should_connect(now + 9000 * MS));
    }

    #[test]
    fn where_only_quic_will_do_it_is_tried_soon_again_and_nothing_else() {
        let (mut upgrade, now) = (Upgrade::new(Preference::QuicOnly), start());
        upgrade.on_answer(now);
        assert!(upgrade.should_connect(now));
        upgrade.on_failure(RETRY_SOON, now + 1500 * MS);
        assert!(
            !upgrade.should_connect(now + 1599 * MS) && upgrade.should_connect(now + 1600 * MS)
        );
        assert!(!upgrade.wants_udp_frames(now + 60_000 * MS));
    }

    #[test]
    fn who_wants_udp_tries_nothing_else() {
        let (mut upgrade, now) = (Upgrade::new(Preference::UdpOnly), start());
        upgrade.on_answer(now);
        assert!(!upgrade.should_connect(now) && upgrade.wants_udp_frames(now));
    }

    #[test]
    fn a_connection_that_ends_at_once_is_not_tried_again_without_a_pause() {
        let now = start();
        let mut upgrade = Upgrade::after_disconnect(Preference::QuicPreferred, RETRY_SOON, now);
        upgrade.on_answer(now + MS);
        assert!(!upgrade.should_connect(now + MS));
        assert_eq!(upgrade.deadline(now + MS), Some(now + RETRY_SOON));
        assert!(upgrade.should_connect(now + RETRY_SOON));
    }
}
